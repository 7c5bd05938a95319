// The URLs of STUN and TURN servers (RFC 7064, RFC 7065), and what browsers make of them.

const FORM = 'write scheme:host:port, such as turn:turn.example.org:3478?transport=udp';

const SCHEMES = {
  stun: {relays: false, secure: false},
  stuns: {relays: false, secure: true},
  turn: {relays: true, secure: false},
  turns: {relays: true, secure: true},
};

// What a browser would refuse a URL for, and what would be right.
export class Malformed extends Error {
  constructor(says, remedy) {
    super(says);
    this.remedy = remedy;
  }
}

export function parse(text) {
  const [, scheme, rest] = /^([^:]*):(.*)$/s.exec(text) ?? refuse('no scheme', FORM);
  const kind = SCHEMES[scheme.toLowerCase()] ?? refuse('not a scheme of STUN or TURN', FORM);
  if (rest.startsWith('//')) refuse(`no // belongs behind ${scheme}:, browsers throw`, FORM);
  const [authority, ...queries] = rest.split('?');
  if (/[@/#\s]/.test(authority)) {
    refuse('more than host and port', 'give user name and credential in their own fields, and nothing behind the port');
  }
  const query = queries.length ? queries.join('?') : null;
  if (query !== null && !kind.relays) refuse('a stun: URL takes nothing behind ?', 'leave it out');
  return {...kind, ...hostAndPort(authority, kind.secure), wire: wire(query, kind.secure)};
}

// The URL without the user and password that do not belong in it.
export function shown(url) {
  return String(url).replace(/:.*@/s, ':…@');
}

function refuse(says, remedy) {
  throw new Malformed(says, remedy);
}

// What carries it, as browsers see it: none speaks TURN over DTLS, and they take that for TLS.
function wire(query, secure) {
  const right = 'write ?transport=udp or ?transport=tcp, in small letters';
  if (query !== null && query !== 'transport=udp' && query !== 'transport=tcp') {
    refuse('neither ?transport=udp nor ?transport=tcp', right);
  }
  if (secure) return 'TLS';
  return query === 'transport=tcp' ? 'TCP' : 'UDP';
}

function hostAndPort(authority, secure) {
  const [, host, digits] = /^(\[[^\]]+\]|[^:[\]]+)(?::(.*))?$/.exec(authority)
    ?? refuse('no host', `${FORM}; an IPv6 address stands in brackets`);
  const port = digits === undefined ? (secure ? 5349 : 3478) : Number(digits);
  if (digits === '' || !Number.isInteger(port) || port < 1 || port > 65535) {
    refuse('no port', 'write a number from 1 to 65535');
  }
  if (port !== 80 && port !== 443 && port < 1024) {
    refuse('a port that browsers do not connect to', 'listen on 443, 80 or a port from 1024 on');
  }
  return {host: host.replace(/^\[|\]$/g, ''), port};
}
