// The second tab: the client half delivers a message to the server half.
//
// Owns the run loop of both, in one place: what one transmits the other receives, and each step's need is met.

import { InvalidValue, contentFacts } from './hermetic.js';
import { Desk, octets, text, yes } from './desk.js';
import { asked, duration, h, row, rowsOf, sent } from './dialogue.js';

const $ = (id) => document.getElementById(id);
/** Steps of one delivery. */
const STEPS = 2000;

/** `ada@client.example` as a mailbox. The engine refuses what cannot be sent. */
export function mailbox(written) {
  const at = written.lastIndexOf('@');
  if (at < 1 || at === written.length - 1) throw new InvalidValue(`${written || 'nothing'} is no address: local@domain is expected`);
  const [local, host] = [written.slice(0, at), written.slice(at + 1)];
  return { local, host: /^\[.*\]$/.test(host) ? { literal: host.slice(1, -1) } : { domain: host } };
}

/** Words by commas. */
export function listed(written) {
  return written.split(',').map((word) => word.trim()).filter((word) => word !== '');
}

/** The message's lines with CRLF, as UTF-8. */
export function stored(message) {
  return octets(message.replace(/\r\n?/g, '\n').replaceAll('\n', '\r\n'));
}

/**
 * Delivers: `wish` has `from`, `to`, `unknown`, `content` (octets), and options of both halves. Returns what happened: entries of
 * both in their order, and the outcomes.
 */
export function deliver(wish) {
  const client = new Desk('client', { 'hello-name': 'client.example', ...wish.client });
  const server = new Desk('server', { 'server-name': 'mx.example', ...wish.server });
  const facts = contentFacts(Uint8Array.from(wish.content, (character) => character.charCodeAt(0)));
  const transaction = {
    sender: wish.from === '' ? null : mailbox(wish.from),
    recipients: wish.to.map((address) => ({ path: { mailbox: mailbox(address) }, notify: null, orcpt: null })),
    content: facts,
  };
  const happened = [];
  const outcomes = [];
  let failure = null;
  let toServer = '';
  let toClient = '';
  let handed = false;
  let delivered = false;
  const did = (desk, name, parameters, before = null) => {
    const entry = desk.call(name, parameters);
    if (entry.misuse) throw new InvalidValue(`the engine refuses: ${Object.values(entry.misuse)[0] ?? entry.misuse}`);
    happened.push({ half: desk.half, entry, before });
    if (desk === client) {
      toServer += entry.step.transmit + sent(entry);
      outcomes.push(...entry.step.outcomes);
      failure = entry.step.failure ?? failure;
    } else {
      toClient += entry.step.transmit;
    }
    return entry.step;
  };
  const met = () => {
    const { question } = server;
    if (question) {
      const answer = question.name === 'recipients'
        ? { recipients: question.about.map(({ path }) => (path !== 'postmaster' && wish.unknown.includes(`${path.mailbox.local}@${path.mailbox.host.domain ?? ''}`)
          ? { err: { code: 550, subject: 1, detail: 1, text: 'No such mailbox' } } : { ok: null })) }
        : yes(question);
      did(server, 'answer', { answer }, question);
    } else if (toClient !== '' && client.need !== 'close') {
      const input = toClient;
      toClient = '';
      did(client, 'receive', { input });
    } else if (server.need === 'start-tls' && client.need === 'start-tls') {
      did(server, 'secured', { mechanisms: [] });
      did(client, 'secured', {});
    } else if (server.need === 'input' && toServer !== '') {
      const step = did(server, 'receive', { input: toServer });
      toServer = toServer.slice(step.consumed);
      return step.consumed > 0 || step.need !== 'input';
    } else if (client.need.ready && !delivered) {
      delivered = true;
      did(client, 'deliver', { transaction });
    } else if (client.need === 'content' && !handed) {
      handed = true;
      did(client, 'content', { octets: wish.content, last: true });
    } else if (client.need.ready) {
      did(client, 'quit', {});
    } else if (server.need === 'close' && client.need !== 'close') {
      did(client, 'lost', {});
    } else {
      return false;
    }
    return true;
  };
  did(server, 'start', {});
  did(client, 'start', {});
  let steps = 0;
  while (met()) {
    steps += 1;
    if (steps > STEPS) throw new InvalidValue('the two do not come to an end');
  }
  return { happened, outcomes, failure };
}

const FATES = {
  accepted: 'accepted', temporary: 'try again later', permanent: 'refused', unknown: 'nobody knows', unsent: 'not tried',
};

function wished(form) {
  const { elements } = form;
  const on = (name) => elements[name].checked;
  const protocol = on('lmtp') ? 'lmtp' : 'smtp';
  return {
    from: elements.from.value.trim(),
    to: listed(elements.to.value),
    unknown: listed(elements.unknown.value),
    content: stored(elements.message.value),
    client: { protocol, pipelining: on('pipelining'), chunking: on('chunking'), tls: on('tls') ? 'opportunistic' : 'never' },
    server: { protocol, 'start-tls': on('start-tls') },
  };
}

let steps = [];

const NEEDS = {
  input: 'waits for the other', content: 'is ready for the content', 'start-tls': 'waits for TLS', close: 'is done',
};

/** What a half needs, and how long it waits for that. */
function state(half, before) {
  const step = before.findLast((one) => one.half === half)?.entry.step;
  if (!step) return 'has not begun';
  const { need } = step;
  let words = NEEDS[need] ?? 'may deliver, or quit';
  if (need.answer) {
    const [name, about] = typeof need.answer === 'string' ? [need.answer, null] : Object.entries(need.answer)[0];
    words = `asks: ${asked({ name, about })}`;
  }
  // All of it happens at one moment, so this is the whole of the timer.
  return need === 'close' || typeof step.wake !== 'number' ? words : `${words}, for at most ${duration(step.wake)}`;
}

/** Shows the first `count` steps. */
function to(count) {
  const at = Math.max(0, Math.min(count, steps.length));
  const before = steps.slice(0, at);
  const log = $('send-log');
  log.replaceChildren();
  // What one says the other hears: shown once, where it is said.
  for (const { half, entry, before: question } of before) {
    if (entry.call === 'start' && half === 'client') continue;
    const heard = entry.call === 'receive' || (entry.call === 'secured' && half === 'client');
    const shown = heard ? { ...entry, call: 'receive', input: '' } : entry;
    // Both shake hands and both close; the client's word for it is shown.
    const need = half === 'server' && ['close', 'start-tls'].includes(entry.step.need) ? 'input' : entry.step.need;
    log.append(...rowsOf({ ...shown, step: { ...entry.step, need } }, half, question));
  }
  log.scrollTop = at === steps.length ? 0 : log.scrollHeight;
  $('send-at').value = String(at);
  $('send-at').setAttribute('aria-valuetext', `step ${at} of ${steps.length}`);
  $('send-place').textContent = `${at} of ${steps.length}`;
  $('send-back').disabled = at === 0;
  $('send-next').disabled = at === steps.length;
  const facts = [['The client', state('client', before)], ['The server', state('server', before)]];
  $('send-state').replaceChildren(...facts.flatMap(([name, words]) => [h('dt', {}, name), h('dd', {}, words)]));
}

/** Wires the tab up. */
export function send(say) {
  $('send-at').addEventListener('input', (event) => to(event.target.valueAsNumber));
  $('send-back').addEventListener('click', () => to(Number($('send-at').value) - 1));
  $('send-next').addEventListener('click', () => to(Number($('send-at').value) + 1));
  const form = $('send-form');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const log = $('send-log');
    try {
      say('');
      const wish = wished(form);
      const { happened, outcomes, failure } = deliver(wish);
      steps = happened;
      $('send-stepper').hidden = false;
      $('send-at').max = String(steps.length);
      to(steps.length);
      $('send-outcome').replaceChildren(table(wish, outcomes, failure));
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      log.replaceChildren(row('n', [error.message], true));
      $('send-stepper').hidden = true;
      $('send-state').replaceChildren();
      $('send-outcome').replaceChildren();
      say(error.message, true);
    }
  });
}

function table(wish, outcomes, failure) {
  const rows = outcomes.toSorted((a, b) => a.recipient - b.recipient).map(({ recipient, fate, cause, status, reply }) => h('tr', {},
    h('td', {}, wish.to[recipient]),
    h('td', { class: fate === 'accepted' ? 'good' : 'no' }, FATES[fate]),
    h('td', {}, `${status.class}.${status.subject}.${status.detail}`),
    h('td', {}, reply ? `${reply.code} ${text(octets(reply.text))}` : cause)));
  return h('div', { class: 'table' },
    h('table', {}, h('caption', {}, 'What became of each recipient'),
      h('thead', {}, h('tr', {}, ...['Recipient', 'Fate', 'Status', 'Why'].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, ...rows)),
    failure ? h('p', { class: 'bad' }, `The session failed: ${failure.fault} at ${failure.stage}. ${failure.detail}`) : null);
}
