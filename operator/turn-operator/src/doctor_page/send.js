// What was found, sent to the operator as the report of one of its vantages.

import {BadInput, requireName, requireSecret} from './ice_servers.js';
import {isRelaying} from './test.js';

const NOT_REACHED = 701;
const NOT_THE_LEADER = 503;
// Another replica of the operator may be the leader, or become it.
const ATTEMPTS = 10;
const PAUSE_MILLISECONDS = 500;

// Sends it, and says in words what became of it.
export async function send(test, namespace, name, vantage, token) {
  requireName('send-namespace', 'Namespace', namespace);
  requireName('send-name', 'TurnServer', name);
  requireName('vantage', 'Vantage', vantage);
  requireSecret('token', 'Token', token);
  const body = JSON.stringify(visitOf(test));
  const path = `v1/namespaces/${namespace}/turnservers/${name}/vantages/${vantage}/visit`;
  const {known, probed} = await answered(path, token, body);
  const taken = `Taken: ${known} of the URLs are this TurnServer’s.`;
  if (probed === 0) return `${taken} All of them were reached, and the operator knows it.`;
  return `${taken} What was not reached is probed from everywhere now; the TurnServer’s condition Degraded names it for a quarter of an hour.`;
}

// What the operator is told: of each URL that was tried to its end, whether it gave a candidate.
function visitOf(test) {
  const urls = test.each.filter(gathering => isRelaying(gathering) && isConclusive(gathering)).map(seen);
  if (urls.length === 0) {
    throw new BadInput('send-button', 'Result', null, 'no URL was tried to its end', 'run the test again, and let it end');
  }
  return {urls, relaysData: relaysData(test.loop)};
}

function isConclusive({candidates, end}) {
  return candidates.length > 0 || end === 'complete' || end === 'limit';
}

function seen({urls: [url], candidates, errors}) {
  const codes = errors.map(({code}) => code);
  const errorCode = codes.find(code => code !== NOT_REACHED) ?? codes[0];
  return candidates.length ? {url, relayed: true} : {url, relayed: false, errorCode};
}

function relaysData(loop) {
  if (loop.state === 'works') return true;
  const isOver = loop.endedAt !== null && loop.state !== 'stopped' && loop.state !== 'skipped';
  const isRefused = loop.errors.some(({code}) => code !== NOT_REACHED);
  return isOver && !isRefused ? false : undefined;
}

async function answered(path, token, body) {
  const headers = {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'};
  const options = {method: 'POST', headers, body, cache: 'no-store', credentials: 'omit', redirect: 'error'};
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new BadInput('send-button', 'This operator', null, 'it does not answer', 'see whether this network reaches it, and try again');
    }
    if (response.ok) return response.json();
    if (response.status !== NOT_THE_LEADER || attempt === ATTEMPTS) throw await refusal(response);
    await new Promise(resolve => { setTimeout(resolve, PAUSE_MILLISECONDS); });
  }
}

async function refusal(response) {
  const {status} = response;
  if (status === 401) {
    return new BadInput('token', 'Token', null, 'the operator takes it for no vantage of this name (401)', 'compare all four with the Secret that spec.reachability.vantages names');
  }
  if (status === 429) {
    return new BadInput('send-button', 'This operator', null, 'it has just had a report of this vantage (429)', 'wait ten seconds and send it again');
  }
  const answer = await response.json().catch(() => ({}));
  const says = answer.error?.message ?? 'it gives no reason';
  return new BadInput('send-button', 'This operator', null, `it answered ${status}: ${says}`, 'see the operator’s log');
}
