// The page: from the form to a test, and its progress.

import {byId, element, show} from './elements.js';
import {LIMIT_MILLISECONDS} from './gathering.js';
import {asked, BadInput, pasted} from './ice_servers.js';
import {render} from './results.js';
import {send} from './send.js';
import {Test} from './test.js';

const SPEAK_MILLISECONDS = 10_000;

let test = null;

// Drawn once for many changes.
let isScheduled = false;
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    if (test) render(test);
  });
}

function source() {
  return byId('source-api').checked ? 'api' : 'pasted';
}

function showSource() {
  show('api', source() === 'api');
  show('pasted', source() === 'pasted');
}

function value(id) {
  return byId(id).value.trim();
}

function input() {
  if (source() === 'api') return asked(value('namespace'), value('name'), value('key'));
  return pasted(byId('text').value, value('username'), byId('credential').value);
}

function showProblem(problem, place = 'problems') {
  for (const field of document.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid');
  show(place, problem !== null);
  byId(place).replaceChildren(...(problem ? [element('p', '', problem.message)] : []));
  const field = problem?.field && byId(problem.field);
  if (!field) return;
  field.setAttribute('aria-invalid', 'true');
  field.focus();
}

function speak(text) {
  byId('progress').textContent = text;
}

function setRunning(isRunning) {
  byId('start').disabled = isRunning;
  show('stop', isRunning);
  document.documentElement.dataset.state = isRunning ? 'running' : 'done';
}

async function start(event) {
  event.preventDefault();
  if (test && !test.isOver) return;
  showProblem(null);
  show('results', false);
  byId('clock').textContent = '';
  setRunning(true);
  try {
    test = new Test(await input(), schedule);
    await runShown(test);
  } catch (problem) {
    showProblem(told(problem));
  } finally {
    setRunning(false);
  }
}

function told(problem) {
  return problem instanceof BadInput ? problem : new Error(`This page has failed: ${problem.message}`);
}

async function runShown(running) {
  if (running.iceServers.length === 0) {
    showEmpty(running);
    return;
  }
  byId('start').textContent = 'Test again';
  show('results', true);
  const ticking = tick(running);
  speak('The test runs.');
  try {
    await running.run();
  } finally {
    running.isOver = true;
    clearInterval(ticking);
  }
  render(running);
  if (source() === 'api') for (const name of ['namespace', 'name']) byId(`send-${name}`).value = value(name);
  byId('clock').textContent = `Done in ${(running.elapsed / 1000).toFixed(1)} s.`;
  speak(`The test is over. ${byId('headline').textContent}.`);
  byId('headline').focus({preventScroll: false});
}

// The operator gives out nothing: its reasons are all that there is.
function showEmpty(running) {
  running.isOver = true;
  const reasons = running.leftOut.map(({relay, url, reason, message}) => [relay, url, reason, message].filter(Boolean).join(': '));
  const why = reasons.length ? `Left out: ${reasons.join('; ')}.` : 'It names no reason.';
  throw new BadInput('name', 'TurnServer', null, 'the operator gives out no relay at the moment', `try again when one is reached from outside. ${why}`.replace(/\.$/, ''));
}

function tick(running) {
  let spokenAt = 0;
  return setInterval(() => {
    schedule();
    const elapsed = Math.round(running.elapsed / 1000);
    byId('clock').textContent = `${elapsed} s of at most ${LIMIT_MILLISECONDS / 1000} s`;
    if (running.elapsed - spokenAt < SPEAK_MILLISECONDS) return;
    spokenAt = running.elapsed;
    speak(`${elapsed} seconds. ${byId('headline').textContent}.`);
  }, 250);
}

async function report(event) {
  event.preventDefault();
  showProblem(null, 'send-problems');
  byId('sent').textContent = 'Sending…';
  byId('send-button').disabled = true;
  let words = '';
  try {
    words = await send(test, value('send-namespace'), value('send-name'), value('vantage'), value('token'));
  } catch (problem) {
    showProblem(told(problem), 'send-problems');
  } finally {
    byId('sent').textContent = words;
    byId('send-button').disabled = false;
  }
}

async function copy() {
  const report = byId('report');
  try {
    await navigator.clipboard.writeText(report.textContent);
    byId('copied').textContent = 'Copied.';
  } catch {
    report.closest('details').open = true;
    getSelection().selectAllChildren(report);
    byId('copied').textContent = 'Selected: copy it from here.';
  }
}

function download() {
  const blob = new Blob([byId('report').textContent], {type: 'application/json'});
  const link = element('a', '');
  link.href = URL.createObjectURL(blob);
  link.download = `turnpike-doctor-${test.at.toISOString().slice(0, 19).replaceAll(':', '')}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
}

// Names from the fragment, which no server and no log sees. A key never comes from there.
function prefill() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ['namespace', 'name']) if (given.has(name)) byId(name).value = given.get(name);
}

function begin() {
  if (typeof RTCPeerConnection === 'undefined') {
    byId('start').disabled = true;
    showProblem(new Error('This browser has no WebRTC, or it is switched off: no call would work in it.'));
    return;
  }
  prefill();
  showSource();
  for (const choice of document.querySelectorAll('[name=source]')) choice.addEventListener('change', showSource);
  byId('form').addEventListener('submit', start);
  byId('stop').addEventListener('click', () => test?.stopping.abort());
  byId('copy').addEventListener('click', copy);
  byId('download').addEventListener('click', download);
  byId('send').addEventListener('submit', report);
  addEventListener('hashchange', prefill);
  addEventListener('resize', schedule);
  document.documentElement.dataset.state = 'idle';
}

begin();
