// The first tab: a person talks to the server half.
//
// Owns its controls. What a session is, the desk knows; how it looks, the dialogue.

import { InvalidValue } from './hermetic.js';
import { writeSessionFile } from './session-file.js';
import { ServerDesk, no, octets, unescaped, yes } from './desk.js';
import { asked, address, duration, h, rowsOf, ruleIn } from './dialogue.js';
import { RULES, place } from './rules.js';
import { fragmentOf, sessionIn } from './share.js';

const $ = (id) => document.getElementById(id);
/** Rows of the log; older ones go. */
const ROWS = 1500;

let desk;
let shownCalls = 0;
let rule = null;
let say = () => {};

const BASE = { 'server-name': 'mx.example', limits: { 'message-size': 10_485_760 }, 'start-tls': true };

/** The options that the form asks for. */
function chosen() {
  const form = $('options-form');
  const on = (name) => form.elements[name].checked;
  return {
    protocol: on('lmtp') ? 'lmtp' : 'smtp',
    'server-name': form.elements['server-name'].value || 'mx.example',
    'start-tls': on('start-tls'),
    'require-tls': on('require-tls'),
    'plaintext-mechanisms': on('auth') ? ['PLAIN'] : [],
    'require-auth': on('require-auth'),
    'strict-hello': on('strict-hello'),
    limits: { 'command-line': form.elements['command-line'].valueAsNumber, 'message-size': form.elements['message-size'].valueAsNumber },
  };
}

function begin(options) {
  desk = new ServerDesk('server', options);
  desk.agrees = $('agrees').checked;
  fresh();
  desk.begin();
  draw();
}

function fresh() {
  $('talk-log').replaceChildren();
  shownCalls = 0;
  rule = null;
}

/** Shows what is new. */
function draw() {
  const log = $('talk-log');
  let before = shownCalls > 0 ? questionAfter(shownCalls - 1) : null;
  for (; shownCalls < desk.calls.length; shownCalls += 1) {
    const entry = desk.calls[shownCalls];
    log.append(...rowsOf(entry, 'server', before));
    rule = ruleIn(entry) ?? rule;
    before = questionAfter(shownCalls);
  }
  while (log.childElementCount > ROWS) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
  drawQuestion();
  drawState();
  drawRule();
  const left = desk.waiting.join('').length;
  const unread = desk.need === 'close' ? desk.unread : 0;
  $('talk-waiting').textContent = left ? `${left} octets wait to be read.` : unread ? `${unread} octets came too late and were not read.` : '';
  $('talk-form').querySelector('button').disabled = desk.need === 'close';
  $('back').disabled = desk.calls.length < 2;
}

function questionAfter(index) {
  const need = desk.calls[index].step?.need?.answer;
  if (need === undefined) return null;
  return typeof need === 'string' ? { name: need, about: null } : Object.entries(need).map(([name, about]) => ({ name, about }))[0];
}

function act(action) {
  try {
    say('');
    action();
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    say(error.message, true);
  }
  draw();
}

function drawQuestion() {
  const body = $('question-body');
  const had = body.contains(document.activeElement);
  fillQuestion(body);
  // The button that was pressed is gone; whoever has no mouse goes on at the next question, or where the client speaks.
  if (had) (body.querySelector('button') ?? $('talk-input')).focus();
}

function fillQuestion(body) {
  if (desk.need === 'start-tls') {
    body.replaceChildren(
      h('p', { class: 'asked' }, 'The server is ready for TLS. Here the handshake is only pretended.'),
      h('div', { class: 'answers' }, h('button', { type: 'button', class: 'primary', id: 'handshake', onclick: () => act(() => desk.secured(['PLAIN'])) }, 'Handshake done')));
    return;
  }
  const { question } = desk;
  if (!question) {
    const words = { input: 'Nothing now: it waits for the client.', close: 'Nothing any more: the session is over.', start: '' };
    body.replaceChildren(h('p', { class: 'asked' }, words[desk.need] ?? ''));
    return;
  }
  const refusal = question.name === 'recipients' ? { code: 550, subject: 1, detail: 1, text: 'No such mailbox' } : { code: 550, subject: 7, detail: 1, text: 'Not accepted' };
  const reply = h('input', { id: 'refusal', value: `${refusal.code} 5.${refusal.subject}.${refusal.detail} ${refusal.text}`, spellcheck: 'false' });
  const agree = () => act(() => desk.answer(yes(question)));
  const refuse = () => act(() => desk.answer(no(question, refusalIn(reply.value))));
  const parts = [h('p', { class: 'asked' }, asked(question))];
  const buttons = [h('button', { type: 'button', class: 'primary', id: 'yes', onclick: agree }, question.name === 'verify' ? 'Perhaps' : 'Yes'),
    h('button', { type: 'button', id: 'no', onclick: refuse }, 'No')];
  if (Array.isArray(question.about) && question.name === 'recipients' && question.about.length > 1) {
    const boxes = question.about.map(({ path }) => h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: true }), ` ${address(path)}`));
    parts.push(...boxes);
    const each = () => act(() => desk.answer({
      recipients: boxes.map((box) => (box.querySelector('input').checked ? { ok: null } : { err: refusalIn(reply.value) })),
    }));
    buttons.splice(1, 0, h('button', { type: 'button', id: 'each', onclick: each }, 'Only those'));
  }
  parts.push(h('div', { class: 'answers' }, ...buttons, h('label', { class: 'field', for: 'refusal' }, 'If not, it says ', reply)));
  body.replaceChildren(...parts);
}

/** `550 5.1.1 Text`. */
function refusalIn(written) {
  const [, code, subject, detail, text] = /^\s*(\d{3})(?:\s+[245]\.(\d{1,3})\.(\d{1,3}))?\s*(.*)$/s.exec(written) ?? [];
  if (code === undefined) throw new InvalidValue('a refusal is written like 550 5.1.1 No such mailbox');
  return { code: Number(code), subject: Number(subject ?? 0), detail: Number(detail ?? 0), text };
}

/** What can be told from the calls: the engine's own state is sealed. */
function known() {
  const state = { hello: null, tls: false, login: null, from: null, to: [], content: 0, messages: 0 };
  const none = () => Object.assign(state, { from: null, to: [], content: 0 });
  desk.calls.forEach((entry, index) => {
    const before = index > 0 ? questionAfter(index - 1) : null;
    if (!entry.step) return;
    if (entry.call === 'secured') Object.assign(state, { hello: null, tls: true, login: null });
    if (entry.step.abandoned) none();
    for (const piece of entry.step.body) state.content += 'range' in piece ? piece.range[1] : piece.octets.length;
    if (entry.call !== 'answer' || !before) return;
    const [[name, given]] = Object.entries(entry.answer);
    const good = given !== null && typeof given === 'object' && 'ok' in given;
    if (name === 'hello' && good) { none(); state.hello = before.about.raw; }
    if (name === 'sasl' && given.authenticated !== undefined) state.login = given.authenticated;
    if ((name === 'sender' && good) || name === 'sender-with-priority') {
      none();
      state.from = before.about.mailbox ? address({ mailbox: before.about.mailbox }) : '<>';
    }
    if (name === 'recipients') given.forEach((decision, at) => 'ok' in decision && state.to.push(address(before.about[at].path)));
    if (name === 'message') {
      if (given.some((decision) => 'ok' in decision)) state.messages += 1;
      none();
    }
  });
  return state;
}

function drawState() {
  const state = known();
  const needs = { input: 'waits for the client', 'start-tls': 'waits for TLS', close: 'is over', start: 'has not begun' };
  const facts = [
    ['The session', desk.question ? 'waits for your answer' : needs[desk.need]],
    ['EHLO', state.hello ?? '—'],
    ['TLS', state.tls ? 'yes' : 'no'],
    ['Login', state.login ?? '—'],
    ['From', state.from ?? '—'],
    ['To', state.to.length > 4 ? `${state.to.slice(0, 3).join(', ')} and ${state.to.length - 3} more` : state.to.join(', ') || '—'],
    ['Content', state.content ? `${state.content} octets` : '—'],
    ['Messages', String(state.messages)],
  ];
  $('state').replaceChildren(...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  const { wake } = desk;
  const began = desk.calls.findLast((entry) => entry.call !== 'tick')?.now ?? 0;
  $('clock').textContent = wake === null
    ? `Clock ${duration(desk.now)}. No timer runs.`
    : `Clock ${duration(desk.now)}. The server gives up in ${duration(Math.max(0, wake - desk.now))}.`;
  $('clock-bar').value = wake === null ? 0 : Math.min(1, Math.max(0, (wake - desk.now) / Math.max(1, wake - began)));
  $('to-wake').disabled = wake === null;
  for (const button of document.querySelectorAll('[data-pass]')) button.disabled = desk.need === 'close' || desk.need === 'start';
}

function drawRule() {
  if (!rule) {
    $('rule').replaceChildren(h('p', { class: 'hint' }, 'Nothing: no rule has been broken yet.'));
    return;
  }
  const where = rule.where.map(place).map(({ name, link }) => h('a', { href: link, rel: 'noreferrer', target: '_blank' }, name));
  $('rule').replaceChildren(h('h3', {}, rule.title), h('p', {}, rule.words), h('p', { class: 'where' }, ...where));
}

function submit() {
  const input = $('talk-input');
  const ends = $('talk-ends').value;
  const written = input.value.replace(/\r\n?/g, '\n');
  act(() => {
    let stream;
    if (ends === 'written') stream = written.replaceAll('\n', '').split(/(\\x[0-9a-fA-F]{2}|\\[\s\S]?)/).map((part, at) => (at % 2 ? unescaped(part) : octets(part))).join('');
    else {
      const lines = written.endsWith('\n') ? written : `${written}\n`;
      stream = octets(ends === 'lf' ? lines : lines.replaceAll('\n', '\r\n'));
    }
    const pieces = $('talk-arrival').value === 'whole' ? [stream] : stream.split(/(?<=\n)/);
    desk.send(pieces);
    input.value = '';
  });
  input.focus();
}

function attempt({ attempt: { options = {}, pieces, wait } }) {
  const merged = { ...BASE, ...options, limits: { ...BASE.limits, ...options.limits } };
  $('agrees').checked = true;
  begin(merged);
  act(() => {
    desk.send(pieces);
    if (wait && desk.wake !== null) desk.pass(desk.wake - desk.now);
  });
  $('talk-log').focus();
}

/** Wires the tab up. `status` shows a sentence to the reader. */
export async function talk(status) {
  say = status;
  $('attempts').replaceChildren(...RULES.filter((one) => one.attempt).map((one) => h('li', {},
    h('button', { type: 'button', 'data-rule': one.id, onclick: () => attempt(one) }, one.attempt.name))));
  $('talk-form').addEventListener('submit', (event) => { event.preventDefault(); submit(); });
  $('talk-input').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
  });
  $('options-form').addEventListener('submit', (event) => { event.preventDefault(); act(() => begin(chosen())); });
  $('agrees').addEventListener('change', () => act(() => { desk.agrees = $('agrees').checked; desk.run(); }));
  for (const button of document.querySelectorAll('[data-pass]')) {
    button.addEventListener('click', () => act(() => desk.pass(Number(button.dataset.pass))));
  }
  $('to-wake').addEventListener('click', () => act(() => desk.pass(Math.max(0, desk.wake - desk.now))));
  $('again').addEventListener('click', () => { history.replaceState(null, '', location.pathname); act(() => begin(desk.options)); $('talk-input').focus(); });
  $('back').addEventListener('click', () => act(() => {
    // Otherwise it would be answered again at once.
    desk = Object.assign(desk.without(1), { agrees: false });
    $('agrees').checked = false;
    fresh();
    say('Taken back. Questions are yours again.');
  }));
  $('link').addEventListener('click', () => share().catch((error) => say(error.message, true)));
  $('save').addEventListener('click', () => save().catch((error) => say(error.message, true)));
  // On a narrow page the list would stand before the conversation's own controls.
  if (matchMedia('(max-width: 56rem)').matches) $('break').open = false;
  await open();
  window.addEventListener('hashchange', () => open());
}

/** The session of the link, or a new one. */
async function open() {
  try {
    const shared = await sessionIn(location.hash);
    if (shared) {
      desk = ServerDesk.of('server', shared.options, shared.calls, ServerDesk);
      desk.agrees = $('agrees').checked;
      fresh();
      draw();
      say('This session came with the link. Go on from here, or take steps back.');
      return;
    }
  } catch (error) {
    say(error.message, true);
  }
  if (!desk) begin(BASE);
}

async function share() {
  const fragment = await fragmentOf(desk);
  history.replaceState(null, '', fragment);
  try {
    await navigator.clipboard.writeText(location.href);
    say('The link is copied. The session stands in it; no server sees it.');
  } catch {
    say('The link is in the address bar now. The session stands in it; no server sees it.');
  }
}

async function save() {
  const file = await writeSessionFile({ half: 'server', options: desk.options, recorded: new Date().toISOString(), why: 'playground' }, desk.calls);
  const link = h('a', { href: URL.createObjectURL(new Blob([file], { type: 'application/json' })), download: 'playground.session' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say('Saved as playground.session; the tab Replay opens it.');
}

