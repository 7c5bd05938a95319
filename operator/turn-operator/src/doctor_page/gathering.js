// ICE gathering in this browser: what comes of a list of servers, and when.

import {parse} from './ice_url.js';

// Longer than any browser waits for a server that says nothing over UDP: Chrome gives up after 39.75
// s. One that says nothing over TCP it does not give up for minutes.
export const LIMIT_MILLISECONDS = 45_000;

export class Gathering {
  #started = null;
  #changed;

  // `epoch` is the zero of all times, in milliseconds of performance.now().
  constructor(iceServers, epoch, changed) {
    this.iceServers = iceServers;
    this.epoch = epoch;
    this.#changed = changed;
    this.clear();
  }

  clear() {
    Object.assign(this, {candidates: [], errors: [], states: [], end: null, tookMilliseconds: null, thrown: null});
  }

  get urls() {
    return this.iceServers.flatMap(server => server.urls);
  }

  get isRunning() {
    return this.end === null;
  }

  get startedAt() {
    return (this.#started ?? performance.now()) - this.epoch;
  }

  // How long it has been busy, or was.
  get busyMilliseconds() {
    return this.tookMilliseconds ?? (this.#started === null ? 0 : performance.now() - this.#started);
  }

  refusedWith(code) {
    return this.errors.some(error => error.code === code);
  }

  // Until it is complete, the limit is over, or the signal stops it.
  async run(signal) {
    this.clear();
    this.#started = performance.now();
    let peer = null;
    try {
      peer = new RTCPeerConnection({iceServers: this.iceServers, iceTransportPolicy: 'relay'});
      const ended = this.#ended(peer, signal);
      peer.createDataChannel('any');
      await peer.setLocalDescription(await peer.createOffer());
      this.end = await ended;
    } catch (error) {
      this.thrown = error.message;
      this.end = 'threw';
    } finally {
      this.tookMilliseconds = performance.now() - this.#started;
      peer?.close();
      this.#changed(this);
    }
  }

  #ended(peer, signal) {
    return new Promise(resolve => {
      const limit = setTimeout(() => resolve('limit'), LIMIT_MILLISECONDS);
      signal.addEventListener('abort', () => resolve('stopped'), {once: true});
      if (signal.aborted) resolve('stopped');
      peer.onicecandidate = ({candidate}) => this.#candidate(candidate);
      peer.onicecandidateerror = event => this.#error(event);
      peer.onicegatheringstatechange = () => {
        this.#note('states', {state: peer.iceGatheringState});
        if (peer.iceGatheringState !== 'complete') return;
        clearTimeout(limit);
        resolve('complete');
      };
    });
  }

  #candidate(candidate) {
    if (!candidate?.candidate) return;
    const {type, protocol, address, port} = candidate;
    const url = candidate.url ?? (this.urls.length === 1 ? this.urls[0] : null);
    // Chromium tells the protocol of TCP and TLS alone, and other browsers none.
    const relayProtocol = candidate.relayProtocol ?? (url ? parse(url).wire.toLowerCase() : null);
    this.#note('candidates', {type, protocol, relayProtocol, address, port, url});
  }

  #error({url, errorCode, errorText, address, port}) {
    this.#note('errors', {url, code: errorCode, text: errorText, localAddress: address, localPort: port});
  }

  #note(list, event) {
    if (!this.isRunning) return;
    this[list].push({at: performance.now() - this.epoch, ...event});
    this.#changed(this);
  }

  toJSON() {
    const {urls, startedAt, candidates, errors, states, end, tookMilliseconds, thrown} = this;
    return {urls, startedAt, end, tookMilliseconds, thrown, candidates, errors, states};
  }
}

// One for each URL alone, each once.
export function alone(iceServers, epoch, changed) {
  const seen = new Set();
  return iceServers
    .flatMap(({urls, ...user}) => urls.map(url => ({urls: [url], ...user})))
    .filter(server => {
      const key = JSON.stringify(server);
      return !seen.has(key) && seen.add(key);
    })
    .map(server => new Gathering([server], epoch, changed));
}
