// What is wrong, what it rests on, and what to change: of each URL, and of all.

import {parse} from './ice_url.js';
import {addressAndPort, capital, milliseconds, place, refusal, seconds} from './words.js';

const UNREACHED = 701;
// What takes longer was silence, and not a refusal.
const SILENT_MILLISECONDS = 5_000;
const SLOW_MILLISECONDS = 3_000;

const WAITS = {
  UDP: 'apps that wait for all candidates wait about 40 s in Chrome and Safari, 11 s in Firefox',
  TCP: 'apps that wait for all candidates wait for minutes in Chrome and Safari, 13 s in Firefox',
};

// Of one URL; `all` are the gatherings of each URL alone.
export function ofUrl(gathering, all) {
  const url = parse(gathering.urls[0]);
  if (!url.relays) return tell('Not tried', '', 'NotTried', 'A stun: server relays nothing, so relayed calls do not need it.', '');
  if (gathering.candidates.length) return ofCandidate(gathering, url);
  const refused = gathering.errors.find(({code}) => code !== UNREACHED);
  if (refused) return ofRefusal(refused.code, gathering, url);
  if (gathering.isRunning) return tell('Trying', '', 'Trying', `No answer for ${seconds(gathering.busyMilliseconds)}.`, '');
  if (gathering.end === 'threw') return bad('Refused by the browser', 'InvalidUrl', `The browser throws: ${gathering.thrown}.`, 'Correct the URL.');
  return ofNothing(gathering, url, all);
}

function tell(badge, tone, reason, observation, remedy) {
  return {badge, tone, reason, observation, remedy};
}

const bad = (badge, ...rest) => tell(badge, 'bad', ...rest);
const good = (...rest) => tell('Works', 'good', 'Works', ...rest);

function ofCandidate(gathering, url) {
  const [first] = gathering.candidates;
  const after = first.at - gathering.startedAt;
  const says = `Relays at ${addressAndPort(first)}, after ${milliseconds(after)}.`;
  const isLate = gathering.busyMilliseconds > SLOW_MILLISECONDS;
  if (after > SLOW_MILLISECONDS) {
    return tell('Works, slowly', 'slow', 'Slow', says, `Measure the way to ${url.host}: packets are lost, or it is far.`);
  }
  if (!isLate) return good(says, '');
  const goesOn = gathering.isRunning ? 'goes on' : 'went on';
  const observation = `${says} But gathering ${goesOn} for ${seconds(gathering.busyMilliseconds)}: not every address of it answers.`;
  return tell('Works in part', 'slow', 'PartlyUnreachable', observation, `See whether ${url.host} has an IPv6 address that is not reached.`);
}

function ofRefusal(code, gathering, url) {
  const {reason, says, remedy} = refusal(code);
  const said = `${place(url)} is reached, but ${says}`;
  const over = code === 401 ? expiry(gathering.iceServers[0].username) : null;
  if (over === null || over > Date.now()) return bad('Refused', reason, `${said}.`, `${capital(remedy)}.`);
  const ended = new Date(over).toLocaleString('en-GB', {dateStyle: 'medium', timeStyle: 'short'});
  const observation = `${said}; by this device’s clock the credential ended on ${ended}.`;
  return bad('Expired', 'CredentialExpired', observation, 'Mint a new one; if it is new, set the clock of who mints it.');
}

// When a time-limited user name ends: the seconds before its first colon. A small number is a name.
function expiry(username) {
  const [, digits] = /^(\d{10,11})(?::|$)/.exec(username ?? '') ?? [];
  return digits === undefined ? null : Number(digits) * 1000;
}

function ofNothing(gathering, url, all) {
  if (gathering.errors.some(({text}) => /lookup|resolve/i.test(text ?? ''))) {
    return bad('No address', 'NameUnresolved', `The name ${url.host} has no address here.`, 'Publish an address for it, correct it, or see this network’s DNS.');
  }
  const isSilent = gathering.busyMilliseconds > SILENT_MILLISECONDS;
  if (gathering.end === 'stopped' && !isSilent) return tell('Stopped', '', 'Stopped', 'It had not answered when the test was stopped.', '');
  return isSilent ? ofSilence(gathering, url, all) : ofRefusedConnection(gathering, url);
}

function ofSilence(gathering, url, all) {
  const wire = url.wire === 'UDP' ? 'UDP' : 'TCP';
  const waited = `nothing came back for ${seconds(gathering.busyMilliseconds)}`;
  const observation = `${place(url)} is not reached from this network: ${waited}; ${WAITS[wire]}.`;
  const others = new Set(all.filter(isAnswered).map(({urls}) => parse(urls[0]).wire === 'UDP' ? 'UDP' : 'TCP'));
  const isAll = others.size > 0 && !others.has(wire);
  const reason = isAll ? `${wire}Blocked` : 'ListenerPortBlocked';
  const open = `Open ${place(url)} in each firewall between`;
  return bad('Not reached', reason, observation, isAll ? `${open}: ${[...others].join(' and ')} to it works, so that one of them blocks ${wire}.` : `${open}, or see whether the server runs.`);
}

function isAnswered(gathering) {
  return gathering.candidates.length > 0 || gathering.errors.some(({code}) => code !== UNREACHED);
}

function ofRefusedConnection(gathering, url) {
  const after = seconds(gathering.busyMilliseconds);
  if (url.wire === 'TLS') {
    return bad('Refused', 'TLSFailed', `${place(url)} gave no TLS connection; it ended after ${after}.`, `Let the server listen there with a certificate for ${url.host} that browsers believe, and see whether a proxy stands between.`);
  }
  if (url.wire === 'TCP') {
    return bad('Refused', 'ConnectionRefused', `${place(url)} was refused after ${after}.`, 'Let the server listen there, or correct the URL.');
  }
  return bad('No candidate', 'Other', `${place(url)}: the browser gave up after ${after} and does not say why.`, 'See whether this device has a network, and the log of the server.');
}

// Of the two peers whose data is relayed.
export function ofLoop(loop) {
  const waiting = {waiting: 'Starts when a relay has answered.', connecting: 'Connecting two ends through the relay…', measuring: 'Connected. Sending data…'};
  if (loop.state in waiting) return tell('Trying', '', 'Trying', waiting[loop.state], '');
  if (loop.state === 'skipped') return tell('Not tried', '', 'NotTried', loop.problem, '');
  if (loop.state === 'stopped') return tell('Stopped', '', 'Stopped', 'It had not ended when the test was stopped.', '');
  return loop.state === 'works' ? ofCarried(loop) : ofFailedLoop(loop);
}

function ofCarried({pings: {sent, received}, pair}) {
  const over = pair?.local?.relayProtocol ? ` over ${pair.local.relayProtocol.toUpperCase()}` : '';
  if (received === sent) return good(`Data goes through the relay${over} and back, and nothing was lost.`, '');
  const lost = Math.round(100 * (1 - received / sent));
  const observation = `Data goes through the relay${over} and back, but ${lost} % of the messages were lost.`;
  return tell('Works, with loss', 'slow', 'Loss', observation, 'Calls will sound and look broken: try another network, or another way of this one.');
}

function ofFailedLoop(loop) {
  if (loop.errors.some(({code}) => code === 486)) {
    const {says, remedy} = refusal(486);
    return bad('Not carried', 'QuotaReached', `Two ends need two allocations, and ${says}.`, `${capital(remedy)}.`);
  }
  if (loop.connectedAt !== null) {
    return bad('Broken', 'PathMTUTooSmall', `The relay connects, but ${loop.problem ?? 'no message came back'}.`, 'Let packets of 1,280 bytes through to the relay and from it, and do not drop ICMP errors.');
  }
  return bad('Not carried', 'RelayRangeBlocked', 'The relay answers, but nothing arrives through its relayed addresses: calls fail after 11 to 15 s.', 'Open the relay’s whole range of relay ports for UDP, in and out, and let it relay between its own clients.');
}

// Of everything: a headline, and the points that matter, the worst first.
export function ofAll(verdicts, together, loop) {
  const loopVerdict = ofLoop(loop);
  const faults = verdicts.filter(({tone}) => tone === 'bad' || tone === 'slow');
  const [headline, tone] = headlineOf(together, loopVerdict, faults);
  const points = [...faults];
  if (['good', 'slow', 'bad'].includes(loopVerdict.tone)) points.push(loopVerdict);
  points.sort((one, other) => rank(one) - rank(other));
  points.push(...waitOf(together));
  return {headline, tone, points: once(points)};
}

function rank({tone}) {
  return ['bad', 'slow', 'good'].indexOf(tone);
}

function headlineOf(together, loopVerdict, faults) {
  if (together.candidates.length === 0) {
    if (together.isRunning) return ['Testing: no relay has answered yet', ''];
    if (together.end === 'stopped') return ['Stopped before any relay answered', 'slow'];
    return ['Calls through a relay do not work from here', 'bad'];
  }
  if (loopVerdict.tone === 'bad') return ['A relay answers, but calls through it do not work', 'bad'];
  if (loopVerdict.reason === 'Trying' || together.isRunning && faults.length === 0 && together.busyMilliseconds < SLOW_MILLISECONDS) {
    return ['Testing: a relay has answered', ''];
  }
  if (together.busyMilliseconds > SLOW_MILLISECONDS) return ['Calls work from here, but some may start late', 'slow'];
  return faults.length ? ['Calls work from here, but not every server does', 'slow'] : ['Calls work from here', 'good'];
}

// What an app notices of all servers together.
function waitOf(together) {
  const [first] = together.candidates;
  if (!first || together.busyMilliseconds < SLOW_MILLISECONDS) return [];
  const found = seconds(first.at - together.startedAt);
  const busy = seconds(together.busyMilliseconds);
  const isOver = together.end === 'complete';
  const gathers = isOver ? `Gathering from all servers took ${busy} here` : `Gathering from all servers was still not complete after ${busy} here`;
  const observation = `${gathers}; the first candidate came after ${found}.`;
  return [tell('Late', 'slow', 'LateGathering', observation, 'Give out no server that is not reached; and let the app send candidates as they come, instead of waiting for all.')];
}

function once(points) {
  const seen = new Set();
  return points.filter(({observation}) => !seen.has(observation) && seen.add(observation));
}
