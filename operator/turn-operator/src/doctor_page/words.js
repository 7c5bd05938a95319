// Numbers and codes in words.

// What a server's refusal means, and what to change.
const REFUSALS = {
  300: ['RedirectFailed', 'the server sends clients to another one (300)', 'see whether that other server is reached'],
  400: ['Other', 'the server calls the request malformed (400)', 'see the log of the server'],
  401: ['CredentialsRejected', 'the server does not take the user name or the credential (401)', 'compare the secret that mints the credential with that of the server, and both clocks'],
  403: ['PeersDenied', 'the server forbids it to this user (403)', 'see which users and peers the server allows'],
  420: ['Other', 'the server does not know something that browsers ask for (420)', 'update the server'],
  437: ['AllocationMismatch', 'the server has another allocation for this address and port (437)', 'try again in ten minutes, and see whether a NAT hands out ports twice'],
  438: ['StaleNonce', 'the server’s nonce was stale at once (438)', 'give all servers of one address the same key for nonces, and compare their clocks'],
  440: ['AddressFamily', 'the server relays no such addresses (440)', 'give the server an address of the other family'],
  441: ['CredentialsRejected', 'the allocation belongs to another user (441)', 'keep one user name for one connection'],
  442: ['TransportUnsupported', 'the server does not relay this transport (442)', 'let the server relay UDP'],
  443: ['AddressFamily', 'the peer’s address is of another family (443)', 'give both ends addresses of one family'],
  486: ['QuotaReached', 'the user has as many allocations as are allowed (486)', 'wait until those that it has are over, or allow it more'],
  500: ['Other', 'the server has an error of its own (500)', 'see the log of the server'],
  508: ['RelayFull', 'the relay is full, or about to go (508)', 'add relays, or wait until the one that drains is gone'],
};

export function refusal(code) {
  const [reason, says, remedy] = REFUSALS[code] ?? ['Other', `the server refuses (${code})`, 'see the log of the server'];
  return {reason, says, remedy};
}

// What icecandidateerror tells, for the table.
export function errorWords({code, text, url}) {
  const of = url ? `${url}: ` : '';
  if (code !== 701) return `${of}${refusal(code).says}`;
  const said = text ? `, the browser says “${text.replace(/\.$/, '')}”` : '';
  return `${of}not reached (701)${said}`;
}

export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} s`;
}

export function milliseconds(value) {
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function addressAndPort({address, port}) {
  return address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

// “UDP to 198.51.100.7 port 3478”, as one says it to somebody with a firewall.
export function place({wire, host, port}) {
  return `${wire === 'UDP' ? 'UDP' : 'TCP'} to ${host} port ${port}`;
}

export function candidateWords(candidate) {
  const over = candidate.relayProtocol ? ` over ${candidate.relayProtocol.toUpperCase()}` : '';
  return `candidate ${addressAndPort(candidate)} (${candidate.type}${over})`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
