// Two peers of this page that may use relayed candidates only: data goes to the relay, to a relayed
// address, and back the same way.

const CONNECT_MILLISECONDS = 20_000;
const PING_COUNT = 30;
const PING_INTERVAL_MILLISECONDS = 40;
const PING_WAIT_MILLISECONDS = 2_000;
const BLOCK_BYTES = 512 * 1024;
const MESSAGE_BYTES = 16 * 1024;
const BLOCK_MILLISECONDS = 15_000;

export class Loop {
  constructor(iceServers, epoch, changed) {
    this.iceServers = iceServers;
    this.epoch = epoch;
    this.changed = changed;
    Object.assign(this, {state: 'waiting', startedAt: null, connectedAt: null, endedAt: null});
    Object.assign(this, {pair: null, pings: null, block: null, problem: null, errors: []});
  }

  get now() {
    return performance.now() - this.epoch;
  }

  async run(signal) {
    this.#enter('connecting', {startedAt: this.now});
    const configuration = {iceServers: this.iceServers, iceTransportPolicy: 'relay'};
    const peers = [];
    try {
      peers.push(new RTCPeerConnection(configuration), new RTCPeerConnection(configuration));
      const channels = await this.#connect(peers, signal);
      this.#enter('measuring', {connectedAt: this.now, pair: await selectedPair(peers[0])});
      this.pings = await ping(channels.pings, signal);
      this.changed();
      this.block = await sendBlock(channels.block, signal);
      this.#enter(this.pings.received > 0 ? 'works' : 'failed', {endedAt: this.now});
    } catch (error) {
      this.problem = error.message;
      this.#enter(signal.aborted ? 'stopped' : 'failed', {endedAt: this.now});
    } finally {
      peers.forEach(peer => peer.close());
    }
  }

  skip(problem) {
    this.#enter('skipped', {problem});
  }

  #enter(state, more) {
    Object.assign(this, {state, ...more});
    this.changed();
  }

  async #connect(peers, signal) {
    const [caller, callee] = peers;
    // Pings may be lost, so that loss shows.
    const channels = {
      pings: caller.createDataChannel('pings', {ordered: false, maxRetransmits: 0}),
      block: caller.createDataChannel('block'),
    };
    callee.ondatachannel = ({channel}) => sendBack(channel);
    const failed = peers.map(peer => this.#failed(peer));
    const opened = Promise.all(Object.values(channels).map(open));
    await exchangeDescriptions(caller, callee);
    const late = 'no connection through the relay';
    await within(CONNECT_MILLISECONDS, late, signal, Promise.race([opened, ...failed]));
    return channels;
  }

  // Never, or the reason.
  #failed(peer) {
    peer.onicecandidateerror = ({url, errorCode, errorText}) =>
      this.errors.push({at: this.now, url, code: errorCode, text: errorText});
    return new Promise((_, reject) => {
      peer.onconnectionstatechange = () => {
        if (peer.connectionState === 'failed') reject(new Error('no data came through the relayed addresses'));
      };
    });
  }

  toJSON() {
    const {state, problem, startedAt, connectedAt, endedAt, pair, pings, block, errors} = this;
    return {state, problem, startedAt, connectedAt, endedAt, pair, pings, block, errors};
  }
}

// A candidate may only be added to a peer that has the other's description, and comes only after
// setLocalDescription: so each description goes to the other side first.
async function exchangeDescriptions(caller, callee) {
  trickle(caller, callee);
  trickle(callee, caller);
  const offer = await caller.createOffer();
  await callee.setRemoteDescription(offer);
  await caller.setLocalDescription(offer);
  const answer = await callee.createAnswer();
  await caller.setRemoteDescription(answer);
  await callee.setLocalDescription(answer);
}

function trickle(from, to) {
  from.onicecandidate = ({candidate}) => {
    // One that the other end cannot use, or that comes after its end, is no failure.
    if (candidate) to.addIceCandidate(candidate).catch(() => {});
  };
}

function open(channel) {
  channel.binaryType = 'arraybuffer';
  return new Promise(resolve => { channel.onopen = resolve; });
}

// Pings go back as they are; of the block, how much has come.
function sendBack(channel) {
  let received = 0;
  channel.binaryType = 'arraybuffer';
  channel.onmessage = ({data: message}) => {
    received += message.byteLength;
    if (channel.label === 'pings') channel.send(message);
    else if (received >= BLOCK_BYTES) channel.send(String(received));
  };
}

async function ping(channel, signal) {
  const sent = [];
  const times = new Map();
  channel.onmessage = ({data: message}) => {
    const [number] = new Uint32Array(message);
    if (!times.has(number)) times.set(number, performance.now() - sent[number]);
  };
  for (let number = 0; number < PING_COUNT; number += 1) {
    sent.push(performance.now());
    channel.send(new Uint32Array([number, ...new Array(15).fill(0)]));
    await pause(PING_INTERVAL_MILLISECONDS, signal);
  }
  const end = performance.now() + PING_WAIT_MILLISECONDS;
  while (times.size < PING_COUNT && performance.now() < end) await pause(50, signal);
  return measured([...times.values()]);
}

function measured(times) {
  const sorted = times.toSorted((one, other) => one - other);
  const at = share => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
  const roundTripMilliseconds = {least: at(0), median: at(0.5), most: at(1)};
  return {sent: PING_COUNT, received: sorted.length, roundTripMilliseconds};
}

async function sendBlock(channel, signal) {
  const started = performance.now();
  const arrived = new Promise(resolve => { channel.onmessage = resolve; });
  for (let at = 0; at < BLOCK_BYTES; at += MESSAGE_BYTES) channel.send(new Uint8Array(MESSAGE_BYTES));
  const late = 'small messages come through, a larger block does not';
  await within(BLOCK_MILLISECONDS, late, signal, arrived);
  return {bytes: BLOCK_BYTES, milliseconds: performance.now() - started};
}

// Both ends of the pair that carries the data, as the caller sees it.
async function selectedPair(peer) {
  const stats = await peer.getStats();
  const all = [...stats.values()];
  const transport = all.find(({type}) => type === 'transport');
  const pair = stats.get(transport?.selectedCandidatePairId)
    ?? all.find(({type, nominated, state}) => type === 'candidate-pair' && nominated && state === 'succeeded');
  return pair ? {local: end(stats.get(pair.localCandidateId)), remote: end(stats.get(pair.remoteCandidateId))} : null;
}

function end(candidate) {
  if (!candidate) return null;
  const {address, port, candidateType, protocol, relayProtocol, url} = candidate;
  return {address, port, candidateType, protocol, relayProtocol, url};
}

function pause(milliseconds, signal) {
  return within(milliseconds, null, signal, new Promise(() => {}));
}

// The promise's value within a time; after that an error of this text, or nothing if there is none.
function within(milliseconds, late, signal, promise) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new Error('stopped'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, {once: true});
    const over = late === null ? resolve : () => reject(new Error(late));
    const timer = setTimeout(over, milliseconds);
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    };
    promise.then(value => { done(); resolve(value); }, error => { done(); reject(error); });
    setTimeout(() => signal.removeEventListener('abort', stop), milliseconds);
  });
}
