// What is tested: iceServers as RTCPeerConnection takes them, asked of the operator or pasted.

import {Malformed, parse, shown} from './ice_url.js';
import {capital} from './words.js';

// The input's element, the place in it, what stands there, what is wrong and what to do.
export class BadInput extends Error {
  constructor(field, place, value, says, remedy) {
    const parts = [place, value === null ? null : `“${value}”`, says].filter(part => part !== null);
    super(`${parts.join(': ')}. ${capital(remedy)}.`);
    this.field = field;
  }
}

const NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

// Asks the operator. The key goes in a header, so that no log of URLs has it.
export async function asked(namespace, name, key) {
  requireName('namespace', 'Namespace', namespace);
  requireName('name', 'TurnServer', name);
  requireSecret('key', 'API key', key);
  const path = `v1/namespaces/${namespace}/turnservers/${name}/iceservers?diagnose=1`;
  const answer = await answered(path, key, namespace, name);
  const leftOut = Array.isArray(answer.leftOut) ? answer.leftOut : [];
  return {iceServers: checked(answer, 'name', {mayBeEmpty: true}), leftOut, ttlSeconds: answer.ttlSeconds ?? null};
}

// Reads what was pasted: JSON, or a URL on each line.
export function pasted(text, username, credential) {
  const trimmed = text.trim();
  if (!trimmed) {
    throw new BadInput('text', 'iceServers', null, 'nothing is pasted', 'paste JSON, or a URL on each line');
  }
  const document = /^[[{"]/.test(trimmed) ? json(trimmed) : fromLines(trimmed, username, credential);
  return {iceServers: checked(document, 'text', {}), leftOut: [], ttlSeconds: null};
}

export function requireName(field, label, value) {
  const remedy = 'type its name in Kubernetes: small letters, digits and -';
  if (!value) throw new BadInput(field, label, null, 'missing', remedy);
  if (!NAME.test(value)) throw new BadInput(field, label, value, 'no name', remedy);
}

// What goes into a header. It is never repeated.
export function requireSecret(field, label, value) {
  if (!value) throw new BadInput(field, label, null, 'missing', 'type the one that you were given');
  if (!/^[\x21-\x7e]+$/.test(value)) {
    throw new BadInput(field, label, null, 'it holds spaces or letters that none has', 'type it alone, without quotes');
  }
}

async function answered(path, key, namespace, name) {
  const options = {headers: {'X-Api-Key': key}, cache: 'no-store', credentials: 'omit', redirect: 'error'};
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new BadInput('name', 'This operator', null, 'it does not answer', 'see whether this network reaches it, and try again');
  }
  if (!response.ok) throw refusal(response, namespace, name);
  try {
    return await response.json();
  } catch {
    throw new BadInput('name', 'This operator', null, 'it answers, but with no JSON', 'let the proxy before it pass /v1 on as well');
  }
}

function refusal({status}, namespace, name) {
  const resource = `${namespace}/${name}`;
  if (status === 401 || status === 403) {
    return new BadInput('key', 'API key', null, `the operator does not take it for ${resource} (${status})`, 'type a key that is valid for this TurnServer');
  }
  if (status === 404) {
    return new BadInput('name', 'TurnServer', resource, 'the operator knows none of this name (404)', 'type the namespace and the name of a TurnServer');
  }
  if (status === 429) {
    return new BadInput('key', 'API key', null, 'the operator was asked too often (429)', 'wait a minute and try again');
  }
  return new BadInput('name', 'This operator', null, `it answered ${status}`, 'see the operator’s log');
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    const at = /position \d+|line \d+ column \d+/.exec(error.message);
    throw new BadInput('text', 'iceServers', null, `no JSON${at ? `, at ${at[0]}` : ''}`, 'write JSON, with double quotes around names and texts');
  }
}

function fromLines(text, username, credential) {
  const urls = text.split(/\s*\n\s*/).map(line => line.replace(/^["']|["'],?$/g, '')).filter(Boolean);
  return [{urls, username: username || undefined, credential: credential || undefined}];
}

// The list with every entry in one form, or the first thing that is wrong with it.
function checked(document, field, {mayBeEmpty}) {
  const [place, list] = listOf(document, field);
  const isEmpty = list.length === 0 && !mayBeEmpty;
  if (isEmpty) throw new BadInput(field, place || 'iceServers', null, 'empty', 'name at least one server');
  return list.map((entry, index) => server(entry, `${place}[${index}]`, field));
}

function listOf(document, field) {
  if (Array.isArray(document)) return ['iceServers', document];
  if (Array.isArray(document?.iceServers)) return ['iceServers', document.iceServers];
  if (document?.urls ?? document?.url) return ['iceServers', [document]];
  throw new BadInput(field, 'iceServers', null, 'no list', 'write a list of objects with urls, username and credential');
}

function server(entry, place, field) {
  const urls = [entry?.urls ?? entry?.url ?? []].flat();
  const isList = urls.length > 0 && urls.every(url => typeof url === 'string');
  if (!isList) throw new BadInput(field, `${place}.urls`, null, 'no URL', 'write a URL or a list of URLs');
  const {username, credential} = entry;
  urls.forEach((url, index) => requireUrl(url, `${place}.urls[${index}]`, field));
  if (urls.every(url => !parse(url).relays)) return {urls};
  requireText(username, 'username', 'User name', place, field);
  requireText(credential, 'credential', 'Credential', place, field);
  return {urls, username, credential};
}

function requireUrl(url, place, field) {
  try {
    parse(url);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new BadInput(field, place, shown(url), error.message, error.remedy);
  }
}

function requireText(value, key, label, place, field) {
  const remedy = 'give user name and credential, as texts: without them browsers throw at a turn: or turns: URL';
  if (typeof value === 'string' && value) return;
  const isField = field === 'text' && value === undefined;
  const says = value === undefined || value === null || value === '' ? 'missing' : 'no text';
  throw new BadInput(isField ? key : field, `${place}.${key} (${label})`, null, says, remedy);
}
