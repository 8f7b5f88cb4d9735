// The fourth tab: a plugin component and its verdicts on one message.
//
// Owns the form, the worker's life and what the plugin keeps from run to run.

import { InvalidValue } from './hermetic.js';
import { h } from './dialogue.js';
import { listed, stored } from './send.js';

const $ = (id) => document.getElementById(id);
/** Milliseconds for making JavaScript of a component, and for all hooks. */
const MAKING = 60_000;
const JUDGING = 3_000;
/** Octets of a component. */
const LARGEST = 32 * 1024 * 1024;

let store = new Map();
let now = Math.floor(Date.now() / 1000);
let named = '';

/** Runs a plugin in a worker of its own; rejects with a sentence. */
export function judge(task) {
  return new Promise((resolve, reject) => {
    const worker = new Worker('./plugin-worker.js', { type: 'module' });
    let timer;
    const end = (settle, value) => {
      clearTimeout(timer);
      worker.terminate();
      settle(value);
    };
    const within = (milliseconds, words) => {
      clearTimeout(timer);
      timer = setTimeout(() => end(reject, new InvalidValue(words)), milliseconds);
    };
    within(MAKING, 'the plugin could not be made ready within a minute');
    worker.addEventListener('message', ({ data }) => {
      if (data.ready) within(JUDGING, 'the plugin was ended: it took more than 3 seconds');
      else if (data.result) end(resolve, data.result);
      else end(reject, new InvalidValue(data.error));
    });
    worker.addEventListener('error', (event) => end(reject, new InvalidValue(`the worker could not be started: ${event.message ?? 'no reason is known'}`)));
    worker.postMessage(task);
  });
}

async function task(form) {
  const { elements } = form;
  const [file] = $('p-file').files;
  if (!file) throw new InvalidValue('choose a plugin first: a component, a file that ends with .wasm');
  if (file.size > LARGEST) throw new InvalidValue('a component of at most 32 MiB is expected');
  let config;
  try {
    config = JSON.parse(elements.config.value || '{}');
  } catch (error) {
    throw new InvalidValue(`the settings are no JSON: ${error.message}`);
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) throw new InvalidValue('the settings are an object: {"delay": 300}');
  const to = listed(elements.to.value);
  if (to.length === 0) throw new InvalidValue('a recipient is needed');
  if (file.name !== named) [store, named] = [new Map(), file.name];
  now += elements.later.valueAsNumber || 0;
  const message = Uint8Array.from(stored(elements.message.value), (character) => character.charCodeAt(0));
  const envelope = { client: elements.client.value.trim(), hello: elements.hello.value.trim(), from: elements.from.value.trim(), to };
  return { component: new Uint8Array(await file.arrayBuffer()), config, envelope, message, now, store };
}

const WORDS = { proceed: 'no opinion', accept: 'accepts', discard: 'accepts, and throws it away', defer: 'not now', reject: 'refuses' };

function shown({ calls, headers, lines, effects, wants, later }) {
  const cell = (text, kind = null) => h('td', kind ? { class: kind } : {}, text);
  const rows = calls.map(({ hook, recipient, verdict }) => {
    const no = verdict.tag === 'reject' || verdict.tag === 'defer';
    const status = no ? `${verdict.tag === 'reject' ? '5' : '4'}.${verdict.subject}.${verdict.detail} ${verdict.text}` : '';
    return h('tr', {}, cell(hook), cell(recipient ?? 'all'), cell(WORDS[verdict.tag] ?? verdict.tag, no ? 'no' : 'good'), cell(status));
  });
  const list = (title, items) => (items.length === 0 ? null : h('section', { class: 'card' }, h('h2', {}, title), h('ul', { class: 'plainlist' }, ...items.map((item) => h('li', {}, item)))));
  const parts = [
    h('p', { class: 'hint' }, `It may use: ${wants.join(', ') || 'nothing'}.${later.length ? ` Its ${later.join(' and ')} would be called by the queue.` : ''}`),
    rows.length === 0 ? h('p', { class: 'hint' }, 'It has no hook that a session calls.') : h('div', { class: 'table' }, h('table', { id: 'verdicts' }, h('caption', {}, 'Its verdicts'),
      h('thead', {}, h('tr', {}, ...['Hook', 'For', 'Verdict', 'The client reads'].map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, ...rows))),
    list('What it does', effects.map(({ text, recipient }) => (recipient ? `${text} (for ${recipient})` : text))),
    list('What it writes to the log', lines.map(({ level, text }) => `${level}: ${text}`)),
    ...headers.slice(0, 5).map(({ recipient, fields }) => h('details', { class: 'card' }, h('summary', {}, `The header that ${recipient} gets`),
      h('pre', { tabindex: '0' }, fields.map(({ name, value }) => `${name}: ${value}`).join('\n')))),
  ];
  $('plugin-result').replaceChildren(...parts.filter((part) => part !== null));
}

/** Wires the tab up. */
export function plugin(say) {
  $('plugin-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.target.querySelector('button');
    button.disabled = true;
    say('');
    $('plugin-result').replaceChildren(h('p', { class: 'hint' }, 'The plugin is made ready…'));
    try {
      const result = await judge(await task(event.target));
      store = result.store;
      shown(result);
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      $('plugin-result').replaceChildren(h('p', { class: 'banner differs', role: 'alert' }, `The plugin gave no verdict: ${error.message}.`));
    } finally {
      button.disabled = false;
    }
  });
}
