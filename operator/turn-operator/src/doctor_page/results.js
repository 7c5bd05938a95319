// What a test has found, shown.

import {badge, byId, element, show} from './elements.js';
import {isRelaying} from './test.js';
import {draw, tableRows} from './timeline.js';
import {ofAll, ofLoop} from './verdict.js';
import {addressAndPort, milliseconds} from './words.js';

// What takes longer is late.
const LATE_MILLISECONDS = 3_000;

const ENDS = {complete: 'complete', limit: 'still gathering: not waited for any longer', stopped: 'stopped', threw: 'the browser refuses it'};

export function render(shown) {
  const verdicts = shown.verdicts();
  renderSummary(ofAll(verdicts, shown.together, shown.loop));
  byId('servers').replaceChildren(...shown.each.map((gathering, index) => serverItem(gathering.urls[0], withoutRemedy(verdicts[index]))));
  renderLeftOut(shown.leftOut);
  renderLoop(shown.loop);
  const rows = timelineRows(shown, verdicts);
  const width = Math.max(240, byId('timeline').clientWidth);
  byId('timeline').replaceChildren(...draw(rows, width));
  byId('events').replaceChildren(...tableRows(rows));
  byId('report').textContent = JSON.stringify(shown, null, 2);
}

function renderSummary({headline, tone, points}) {
  byId('headline').textContent = headline;
  byId('summary').dataset.tone = tone;
  byId('points').replaceChildren(...points.map(point => element('li', '', ...said(point))));
}

// What was seen, and what to change.
function said({observation, remedy}) {
  const seen = element('p', '', observation);
  return remedy ? [seen, element('p', 'remedy', remedy)] : [seen];
}

// The summary above has the remedies.
function withoutRemedy(verdict) {
  return {...verdict, remedy: ''};
}

function serverItem(name, verdict) {
  const head = element('div', 'server-head', element('span', 'url', name), badge(verdict));
  return element('li', '', head, ...said(verdict));
}

function renderLeftOut(leftOut) {
  show('left', leftOut.length > 0);
  byId('left-out').replaceChildren(...leftOut.map(({relay, url, listener, reason, message}) => {
    const name = [relay, url ?? listener].filter(Boolean).join(' · ');
    return serverItem(name, {badge: reason ?? 'Left out', tone: 'slow', observation: message ?? '', remedy: ''});
  }));
}

function renderLoop(loop) {
  const verdict = ofLoop(loop);
  byId('loop').replaceChildren(badge(verdict), ` ${verdict.observation} ${verdict.remedy}`);
  byId('loop-figures').replaceChildren(...figures(loop).map(([name, value, isWide]) => (
    element('div', isWide ? 'wide' : '', element('dt', '', name), element('dd', '', value))
  )));
}

function figures({startedAt, connectedAt, pair, pings, block}) {
  const rows = [];
  if (connectedAt !== null) rows.push(['Connected after', milliseconds(connectedAt - startedAt)]);
  if (pings?.received) rows.push(['Round trip, median', milliseconds(pings.roundTripMilliseconds.median)]);
  if (pings) rows.push(['Messages back', `${pings.received} of ${pings.sent}`]);
  if (block) rows.push([`${block.bytes / 1024} KiB sent in`, milliseconds(block.milliseconds)]);
  if (pair?.local) rows.push(['This end', endWords(pair.local), true]);
  if (pair?.remote) rows.push(['Other end', endWords(pair.remote), true]);
  return rows;
}

function endWords(end) {
  const over = end.relayProtocol ? ` over ${end.relayProtocol.toUpperCase()}` : '';
  return `${addressAndPort(end)}${over}`;
}

function timelineRows(shown, verdicts) {
  const rows = shown.each
    .map((gathering, index) => [gathering, verdicts[index]])
    .filter(([gathering]) => isRelaying(gathering))
    .map(([gathering, verdict]) => rowOf(gathering, gathering.urls[0], verdict));
  const {together} = shown;
  const isLate = together.candidates.length > 0 && together.busyMilliseconds > LATE_MILLISECONDS;
  const tone = together.candidates.length ? (isLate ? 'slow' : 'good') : (together.isRunning ? '' : 'bad');
  rows.push(rowOf(together, 'All together', {badge: together.isRunning ? 'Trying' : 'Ended', tone}));
  if (shown.loop.startedAt !== null) rows.push(loopRow(shown.loop));
  return rows;
}

function rowOf(gathering, label, {badge: text, tone}) {
  const {startedAt, busyMilliseconds, isRunning, candidates, errors, end} = gathering;
  return {label, badge: text, tone, startedAt, endedAt: startedAt + busyMilliseconds, isRunning, candidates, errors, end: ENDS[end] ?? ''};
}

function loopRow(loop) {
  const verdict = ofLoop(loop);
  const candidates = loop.connectedAt === null ? [] : [{at: loop.connectedAt, what: 'connected'}];
  const endedAt = loop.endedAt ?? loop.now;
  return {...verdict, label: 'Data through the relay', startedAt: loop.startedAt, endedAt, isRunning: loop.endedAt === null, candidates, errors: loop.errors, end: verdict.badge};
}
