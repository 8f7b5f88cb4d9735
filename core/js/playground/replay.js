// The third tab: a `.session` file, run again and stepped through.

import { SessionFileError, readSessionFile, sessionOf, step } from './session-file.js';
import { h, row, rowsOf } from './dialogue.js';
import { witVersion } from './hermetic.js';

const $ = (id) => document.getElementById(id);
/** Calls of a file that are stepped through; a longer one is compared whole and shown to here. */
const SHOWN = 20_000;

let made = [];
let half = 'server';
let at = 0;

/** Runs all of a file: what each call made, up to and with the first difference. */
export function run(file) {
  const session = sessionOf(file);
  const entries = [];
  for (const entry of file.lines) {
    const result = step(session, entry);
    entries.push({ ...result, entry });
    if (result.difference) break;
  }
  return entries;
}

/** What is left of a file behind its first difference, and by which version it was made: a sentence, or none. */
function behind(calls, wit) {
  const words = `${calls > 0 ? `${calls} calls behind it were not made.` : ''}${wit}`.trim();
  return words === '' ? [] : [words];
}

function banner(kind, ...words) {
  $('replay-verdict').replaceChildren(h('div', { class: `banner ${kind}` }, ...words.map((word) => h('p', {}, word))));
}

async function open(source) {
  $('replay-desk').hidden = true;
  try {
    const file = await readSessionFile(await source.arrayBuffer());
    made = run(file);
    half = file.header.half;
    const wit = file.header.wit === witVersion() ? '' : ` It was recorded with hermetic:engine ${file.header.wit}; this is ${witVersion()}.`;
    const last = made.at(-1);
    if (last?.difference) {
      banner('differs', `Call ${made.length} (line ${last.line}, ${last.call}) is the first that differs, at ${last.difference.path}.`, ...behind(file.lines.length - made.length, wit));
    } else {
      banner('fine', `All ${made.length} calls give what was recorded.${file.hooks ? ` ${file.hooks} lines of plugins were passed over.` : ''}${wit}`);
    }
    facts(file);
    $('replay-desk').hidden = false;
    const range = $('replay-at');
    range.max = String(Math.min(made.length, SHOWN));
    to(last?.difference ? made.length : 1);
    range.focus();
  } catch (error) {
    if (!(error instanceof SessionFileError)) throw error;
    banner('differs', `This file cannot be replayed: ${error.message}.`);
  }
}

function facts({ header, lines }) {
  const about = header.about !== null && typeof header.about === 'object' ? Object.entries(header.about).map(([name, value]) => [name, String(value)]) : [];
  const list = [
    ['Half', header.half], ['Calls', String(lines.length)], ['WIT', header.wit], ['Recorded', header.recorded], ['Why', header.why],
    ['Engine', header.engine], ['Masked', Array.isArray(header.masked) ? header.masked.join(', ') : null], ...about,
  ].filter(([, value]) => value !== undefined && value !== null && value !== '');
  $('replay-facts').replaceChildren(...list.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, String(value).slice(0, 200))]));
}

function questionAfter(index) {
  const need = made[index]?.entry.step?.need?.answer;
  if (need === undefined) return null;
  return typeof need === 'string' ? { name: need, about: null } : Object.entries(need).map(([name, about]) => ({ name, about }))[0];
}

function to(place) {
  at = Math.max(0, Math.min(place, Math.min(made.length, SHOWN)));
  const range = $('replay-at');
  range.value = String(at);
  range.setAttribute('aria-valuetext', `call ${at} of ${made.length}`);
  $('replay-place').textContent = `${at} of ${made.length}`;
  const log = $('replay-log');
  // The last ones: a reader looks at where the session is.
  const from = Math.max(0, at - 200);
  log.replaceChildren(...(from > 0 ? [row('n', [`${from} calls before`])] : []));
  for (let index = from; index < at; index += 1) {
    const { entry, difference } = made[index];
    const rows = rowsOf(entry, half, index > 0 ? questionAfter(index - 1) : null);
    if (difference) rows.push(row('n', [`Here this engine does something else: ${difference.path}`], true));
    if (index === at - 1) rows.at(-1)?.classList.toggle('here', Boolean(difference));
    log.append(...rows);
  }
  log.scrollTop = log.scrollHeight;
  for (const [id, off] of [['replay-first', at === 0], ['replay-back', at === 0], ['replay-next', at >= Number(range.max)], ['replay-last', at >= Number(range.max)]]) {
    $(id).disabled = off;
  }
  call();
}

function json(value) {
  const text = JSON.stringify(value, null, 1) ?? 'nothing';
  return text.length > 4000 ? `${text.slice(0, 4000)}…` : text;
}

function call() {
  const body = $('replay-call');
  if (at === 0) {
    body.replaceChildren(h('p', { class: 'hint' }, 'Before the first call.'));
    return;
  }
  const { line, call: name, parameters, expected, got, difference } = made[at - 1];
  const parts = [h('p', { class: 'asked' }, `${name}, line ${line}, at ${parameters.now} ms`)];
  const { now: _now, ...rest } = parameters;
  if (Object.keys(rest).length > 0) parts.push(h('h3', { class: 'hint' }, 'Given'), h('pre', { tabindex: '0' }, json(rest)));
  if (difference) {
    parts.push(h('p', { class: 'bad' }, `The difference is at ${difference.path}.`),
      h('h3', { class: 'hint' }, 'Recorded'), h('pre', { tabindex: '0', id: 'recorded' }, json(difference.expected)),
      h('h3', { class: 'hint' }, 'This engine'), h('pre', { tabindex: '0', id: 'got' }, json(difference.got)));
  } else {
    parts.push(h('h3', { class: 'hint' }, 'Outcome, as recorded'), h('pre', { tabindex: '0' }, json(Object.values(got)[0] ?? expected)));
  }
  body.replaceChildren(...parts);
}

/** Wires the tab up. */
export function replay() {
  $('replay-file').addEventListener('change', (event) => {
    const [file] = event.target.files;
    if (file) open(file);
  });
  $('replay-at').addEventListener('input', (event) => to(event.target.valueAsNumber));
  $('replay-first').addEventListener('click', () => to(0));
  $('replay-back').addEventListener('click', () => to(at - 1));
  $('replay-next').addEventListener('click', () => to(at + 1));
  $('replay-last').addEventListener('click', () => to(made.length));
}
