// A conversation as rows: who said what, what was asked, what happened.
//
// Owns how octets are shown: line ends are marks, odd ones stand out. Text is set as text, never as markup.

import { octets, text } from './desk.js';
import { ruleOf } from './rules.js';

/** An element with its attributes and children. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Characters of one line that are shown. */
const SHOWN = 600;

/** One line of octets, with its end marked. */
function said(line) {
  const parts = [];
  const end = /(\r\n|\r|\n)?$/.exec(line)[0];
  const body = line.slice(0, line.length - end.length);
  const cut = body.length > SHOWN;
  const shown = text(cut ? body.slice(0, SHOWN) : body);
  // Controls within a line are made visible.
  for (const piece of shown.split(/([\x00-\x1f\x7f])/)) {
    if (/^[\x00-\x1f\x7f]$/.test(piece)) {
      const picture = piece === '\x7f' ? '\u2421' : String.fromCharCode(0x2400 + piece.charCodeAt(0));
      parts.push(h('span', { class: piece === '\t' ? 'mark' : 'mark odd' }, picture));
    } else if (piece !== '') {
      parts.push(piece);
    }
  }
  if (cut) parts.push(h('span', { class: 'mark' }, ` … ${body.length - SHOWN} octets more`));
  if (end === '\r\n') parts.push(h('span', { class: 'mark', 'aria-hidden': 'true' }, ' ↵'));
  else if (end !== '') parts.push(h('span', { class: 'mark odd' }, end === '\n' ? ' LF' : ' CR'));
  return parts;
}

/** A row: `c`, `s` or `n` (a note). */
export function row(who, content, odd = false) {
  const names = { c: ['C', 'Client: '], s: ['S', 'Server: '], n: ['·', ''] };
  const [letter, name] = names[who];
  return h('div', { class: odd ? `${who} wrong` : who },
    h('span', { class: 'who', 'aria-hidden': 'true' }, letter),
    h('span', { class: 'said' }, name ? h('span', { class: 'hidden' }, name) : null, ...content));
}

/** Rows of at most `most` lines of octets. */
export function lines(who, stream, most = 200) {
  const all = stream.split(/(?<=\n)|(?<=\r)(?!\n)/);
  const rows = all.slice(0, most).map((line) => row(who, said(line), who === 'c' && /(^|[^\r])\n$|\r$/.test(line)));
  if (all.length > most) rows.push(row('n', [`${all.length - most} lines more`]));
  return rows;
}

/** How long, in words. */
export function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function mailbox({ local, host }) {
  return `${local}@${host.domain ?? `[${host.literal}]`}`;
}

export function address(path) {
  return path === 'postmaster' ? 'postmaster' : mailbox(path.mailbox);
}

/** What a question is about, in words. */
export function asked({ name, about }) {
  switch (name) {
    case 'connection': return 'May this client speak?';
    case 'hello': return `Is ${about.raw} welcome?`;
    case 'xclient': return 'May the client say who it speaks for?';
    case 'sasl': return 'start' in about ? `May it log in by ${about.start[0]}?` : 'Is this login right?';
    case 'sender': return about.mailbox ? `May ${mailbox(about.mailbox)} send?` : 'May a notice without a sender come?';
    case 'recipients': return `Is there ${about.map(({ path }) => address(path)).join(', ')}?`;
    case 'verify': return `Does ${about} exist?`;
    case 'data': return 'May the message come?';
    case 'message': return `Is the message kept? ${about.size} octets for ${about.recipients} recipient${about.recipients === 1 ? '' : 's'}.`;
    default: return name;
  }
}

function answered(answer) {
  const [[name, given]] = Object.entries(answer);
  const one = (decision) => ('ok' in decision ? 'yes' : `no, ${decision.err.code}`);
  if (Array.isArray(given)) return given.map(one).join(', ');
  if (name === 'sasl') return given.authenticated !== undefined ? `yes, ${given.authenticated}` : given.refused ? `no, ${given.refused.code}` : 'go on';
  if (name === 'verify') return typeof given === 'string' ? 'perhaps' : given.known ?? `no, ${given.refused.code}`;
  if (typeof given === 'number') return `yes, with priority ${given}`;
  return one(given);
}

/** The rows of one call of a server's or a client's session. `before`: the question that was open. */
export function rowsOf(entry, half, before) {
  const us = half === 'server' ? 's' : 'c';
  const them = half === 'server' ? 'c' : 's';
  const rows = [];
  const { step } = entry;
  if (entry.call === 'start') rows.push(row('n', ['The connection is open.']));
  if (entry.call === 'secured') rows.push(row('n', ['The TLS handshake is done.']));
  if (entry.call === 'lost') rows.push(row('n', ['The connection is lost.']));
  if (entry.call === 'drain') rows.push(row('n', ['The server is told to close.']));
  if (entry.call === 'receive' && step) {
    const read = entry.input.slice(0, step.consumed);
    if (read !== '') rows.push(...lines(them, read));
  }
  if (entry.call === 'answer' && step) rows.push(row('n', [`${before ? asked(before) : 'The answer:'} — ${answered(entry.answer)}.`]));
  if (entry.misuse) rows.push(row('n', [`That call does not fit: ${JSON.stringify(entry.misuse)}`], true));
  if (entry.trap) rows.push(row('n', [`The engine stopped: ${entry.trap}`], true));
  if (!step) return rows;
  if (step.transmit !== '') rows.push(...lines(us, step.transmit));
  const content = step.content ?? [];
  if (content.length > 0) rows.push(...lines(us, sent(entry)));
  for (const event of step.events) {
    if (event.occasion === 'command' || event.occasion === 'reply' || event.occasion === 'closed') continue;
    rows.push(row('n', [`${event.occasion}${event.detail ? `: ${event.detail}` : ''}`], true));
  }
  if (step.need === 'start-tls') rows.push(row('n', ['Now both shake hands for TLS.']));
  if (step.need === 'close') rows.push(row('n', ['The connection is closed.']));
  return rows;
}

/** What a client's step sends behind `transmit`. */
export function sent(entry) {
  return entry.step.content.map((piece) => ('range' in piece ? entry.octets.slice(piece.range[0], piece.range[0] + piece.range[1]) : piece.octets)).join('');
}

/** The last rule that a call tells of. */
export function ruleIn(entry) {
  return (entry.step?.events ?? []).map(ruleOf).findLast((rule) => rule !== null) ?? null;
}

export { octets };
