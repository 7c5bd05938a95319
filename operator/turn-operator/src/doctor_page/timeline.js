// A drawing of when what happened, one row for each gathering, and the same as rows of a table.

import {drawing, element} from './elements.js';
import {candidateWords, errorWords, seconds} from './words.js';

const ROW_HEIGHT = 52;
const BAR_HEIGHT = 14;
const AXIS_HEIGHT = 26;
const MARGIN = 10;
const STEPS_MILLISECONDS = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000];

// `rows` are {label, startedAt, endedAt, tone, isRunning, candidates, errors}, times in milliseconds.
export function draw(rows, width) {
  const length = Math.max(100, ...rows.map(({endedAt}) => endedAt));
  const x = at => MARGIN + Math.min(1, at / length) * (width - 2 * MARGIN);
  const height = rows.length * ROW_HEIGHT + AXIS_HEIGHT;
  const image = drawing('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': description(rows)});
  image.append(...axis(length, x, height), ...rows.flatMap((row, index) => drawRow(row, index * ROW_HEIGHT, x, width)));
  return [image, legend()];
}

function description(rows) {
  const told = rows.map(({label, badge, startedAt, endedAt}) => `${label}: ${badge}, ${seconds(endedAt - startedAt)}`);
  return `Timeline. ${told.join('. ')}. The table below has every event.`;
}

function axis(length, x, height) {
  const step = STEPS_MILLISECONDS.find(milliseconds => length / milliseconds <= 5) ?? 60_000;
  const count = Math.floor(length / step) + 1;
  return Array.from({length: count}, (_, index) => index * step).flatMap(at => {
    const anchor = at === 0 ? 'start' : x(at) > x(length) - 16 ? 'end' : 'middle';
    const line = drawing('line', {class: 'grid', x1: x(at), x2: x(at), y1: 0, y2: height - AXIS_HEIGHT + 4});
    return [line, drawing('text', {class: 'axis', x: x(at), y: height - 6, 'text-anchor': anchor}, tick(at, step))];
  });
}

function tick(at, step) {
  return step < 1_000 ? `${(at / 1000).toFixed(step < 100 ? 2 : 1)} s` : `${at / 1000} s`;
}

function drawRow(row, top, x, width) {
  const middle = top + 22 + BAR_HEIGHT / 2;
  const place = {y: top + 22, height: BAR_HEIGHT, rx: 4};
  const bar = {...place, x: x(row.startedAt), width: Math.max(4, x(row.endedAt) - x(row.startedAt))};
  return [
    drawing('rect', {...place, class: 'track', x: MARGIN, width: width - 2 * MARGIN}),
    drawing('rect', {...bar, class: `bar ${row.tone} ${row.isRunning ? 'running' : ''}`}),
    drawing('text', {x: MARGIN, y: top + 16}, shortened(row.label, width)),
    ...row.candidates.map(({at}) => drawing('circle', {class: 'candidate', cx: x(at), cy: middle, r: 5})),
    ...row.errors.map(({at}) => drawing('path', {class: 'error', d: cross(Math.min(x(at), width - 8), middle)})),
  ];
}

// In a ring, so that it shows on its bar.
function cross(x, y) {
  return `M${x - 7} ${y}a7 7 0 1 0 14 0a7 7 0 1 0 -14 0m4 -3l6 6m0 -6l-6 6`;
}

// What fits, with the end kept: the transport stands there.
function shortened(label, width) {
  const fits = Math.floor((width - 2 * MARGIN) / 7.6);
  return label.length <= fits ? label : `${label.slice(0, Math.ceil(fits / 2) - 1)}…${label.slice(-Math.floor(fits / 2))}`;
}

function legend() {
  const entries = ['Bar: gathering, or the relayed connection', '○ candidate', '⊗ error'];
  return element('p', 'legend', ...entries.map(text => element('span', '', text)));
}

export function tableRows(rows) {
  const events = rows.flatMap(eventsOf).sort((one, other) => one.at - other.at);
  return events.map(({at, label, what}) => {
    const cells = [(at / 1000).toFixed(3), label, what].map(text => element('td', '', text));
    return element('tr', '', ...cells);
  });
}

function eventsOf(row) {
  const {label, startedAt, endedAt, isRunning, candidates, errors, end} = row;
  return [
    {at: startedAt, label, what: 'starts'},
    ...candidates.map(candidate => ({at: candidate.at, label, what: candidate.what ?? candidateWords(candidate)})),
    ...errors.map(error => ({at: error.at, label, what: errorWords(error)})),
    ...(isRunning ? [] : [{at: endedAt, label, what: end}]),
  ];
}
