// One test: each URL alone, all together, and data through the relay.

import {alone, Gathering} from './gathering.js';
import {parse} from './ice_url.js';
import {Loop} from './loop.js';
import {ofAll, ofLoop, ofUrl} from './verdict.js';

const QUOTA_REACHED = 486;
// How long the loop waits for the servers that answer, so that it asks for no allocation beside theirs.
const SETTLE_MILLISECONDS = 3_000;

export class Test {
  constructor({iceServers, leftOut, ttlSeconds}, changed) {
    this.epoch = performance.now();
    this.at = new Date();
    this.stopping = new AbortController();
    Object.assign(this, {iceServers, leftOut, ttlSeconds, isOver: false});
    this.each = alone(iceServers, this.epoch, changed);
    this.together = new Gathering(iceServers, this.epoch, changed);
    this.loop = new Loop(iceServers, this.epoch, changed);
  }

  get elapsed() {
    return performance.now() - this.epoch;
  }

  // Each URL and all of them at once, and the loop as soon as there is a relay to take.
  async run() {
    const {signal} = this.stopping;
    const relaying = this.each.filter(isRelaying);
    this.each.filter(gathering => !isRelaying(gathering)).forEach(gathering => { gathering.end = 'skipped'; });
    const gathered = Promise.all([...relaying, this.together].map(gathering => gathering.run(signal)));
    const looped = this.#runLoop(signal, gathered);
    await gathered;
    await looped;
    // Who may not have so many allocations at a time gets them one after the other.
    for (const gathering of relaying.filter(refused => refused.refusedWith(QUOTA_REACHED))) await gathering.run(signal);
    this.isOver = true;
  }

  async #runLoop(signal, gathered) {
    let isGathered = false;
    gathered.then(() => { isGathered = true; });
    const hasSettled = () => this.elapsed > SETTLE_MILLISECONDS || this.each.every(({isRunning}) => !isRunning);
    const isReady = () => this.together.candidates.length > 0 && hasSettled();
    while (!isReady() && !isGathered) await new Promise(resolve => { setTimeout(resolve, 50); });
    if (isReady() && !signal.aborted) await this.loop.run(signal);
    else this.loop.skip('No server has given a relayed address to try.');
  }

  verdicts() {
    return this.each.map(gathering => ofUrl(gathering, this.each));
  }

  toJSON() {
    const verdicts = this.verdicts();
    const {headline, points} = ofAll(verdicts, this.together, this.loop);
    return {
      tool: 'turnpike-doctor-page',
      at: this.at.toISOString(),
      isOver: this.isOver,
      browser: navigator.userAgent,
      headline,
      points,
      // Never with the credential.
      iceServers: this.iceServers.map(({urls, username}) => ({urls, username})),
      ttlSeconds: this.ttlSeconds,
      leftOut: this.leftOut,
      each: this.each.map((gathering, index) => ({...gathering.toJSON(), verdict: verdicts[index]})),
      together: this.together,
      loop: {...this.loop.toJSON(), verdict: ofLoop(this.loop)},
    };
  }
}

export function isRelaying(gathering) {
  return parse(gathering.urls[0]).relays;
}
