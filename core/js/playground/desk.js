// One session on the page: its calls in their order, and what came of each.
//
// Owns the list of calls, the clock, and what of the input still waits to be read. A session is a pure function of its calls, so
// taking one back is running the others again. Knows nothing of the document.

import { ClientSession, InvalidValue, ServerSession } from './hermetic.js';
import { plain } from './session-file.js';

/** Calls of one session; a page that has more is a mistake. */
export const CALLS = 5000;
export const NEVER = '18446744073709551615';

/** Text as its UTF-8 octets, one character each: how octets stand in a `.session` file. */
export function octets(text) {
  let out = '';
  for (const octet of new TextEncoder().encode(text)) out += String.fromCharCode(octet);
  return out;
}

/** Octets as text to be shown. */
export function text(octets) {
  return new TextDecoder().decode(Uint8Array.from(octets, (character) => character.charCodeAt(0)));
}

/** `\r \n \t \\ \xHH` as what they stand for. Throws a sentence. */
export function unescaped(written) {
  return written.replace(/\\(r|n|t|\\|x[0-9a-fA-F]{2}|[\s\S]?)/g, (whole, what) => {
    const simple = { r: '\r', n: '\n', t: '\t', '\\': '\\' };
    if (what in simple) return simple[what];
    if (what.length === 3) return String.fromCharCode(parseInt(what.slice(1), 16));
    throw new InvalidValue(`${whole} is none of \\r \\n \\t \\\\ \\xHH`);
  });
}

export class Desk {
  constructor(half, options = {}) {
    this.half = half;
    this.options = options;
    this.session = half === 'server' ? new ServerSession(options) : new ClientSession(options);
    this.calls = [];
    this.now = 0;
  }

  /** Makes a call at the desk's time. Misuse is an outcome like others; a value of another type throws. */
  call(name, parameters = {}) {
    if (this.calls.length >= CALLS) throw new InvalidValue(`a session of ${CALLS} calls is enough; begin a new one`);
    const given = plain(parameters);
    const outcome = plain(this.session.call(name, { now: this.now, ...given }));
    const entry = { call: name, now: this.now, ...given, ...outcome };
    this.calls.push(entry);
    return entry;
  }

  /** The outcome of the last call that was one; before the first there is none. */
  get step() {
    return this.calls.findLast((entry) => entry.step)?.step ?? null;
  }

  get need() {
    return this.step?.need ?? 'start';
  }

  /** The open question: its name and what is asked. */
  get question() {
    const asked = this.need?.answer;
    if (asked === undefined) return null;
    return typeof asked === 'string' ? { name: asked, about: null } : Object.entries(asked).map(([name, about]) => ({ name, about }))[0];
  }

  /** When the session wants to be woken; null: never. */
  get wake() {
    const wake = this.step?.wake;
    return wake === undefined || wake === NEVER || this.need === 'close' ? null : Number(wake);
  }

  /** The same session without its last `count` calls. */
  without(count) {
    return Desk.of(this.half, this.options, this.calls.slice(0, Math.max(0, this.calls.length - count)), this.constructor);
  }

  /** The session that these calls make; their outcomes are made anew. */
  static of(half, options, calls, kind = Desk) {
    const desk = new kind(half, options);
    for (const { call, now, step: _step, misuse: _misuse, ...parameters } of calls) {
      desk.now = now;
      desk.call(call, parameters);
    }
    return desk;
  }
}

/** A server's session, and somebody who types. */
export class ServerDesk extends Desk {
  constructor(half, options) {
    super(half, options);
    /** What has been sent and not been read yet. */
    this.waiting = [];
    /** Answers yes by itself. */
    this.agrees = true;
  }

  begin() {
    this.call('start');
    this.run();
  }

  /** Puts octets on the wire: each string arrives as one. */
  send(pieces) {
    this.waiting.push(...pieces.filter((piece) => piece !== ''));
    this.run();
  }

  answer(answer) {
    this.call('answer', { answer });
    this.run();
  }

  secured(mechanisms) {
    this.call('secured', { mechanisms });
    this.run();
  }

  pass(milliseconds) {
    this.now += milliseconds;
    this.call('tick');
    this.run();
  }

  /** Goes on until something is needed that only a person can give. */
  run() {
    for (;;) {
      if (this.need === 'close') {
        this.unread = this.waiting.join('').length;
        this.waiting = [];
        return;
      }
      if (this.question) {
        const answer = this.agrees ? yes(this.question) : null;
        if (answer === null) return;
        this.call('answer', { answer });
        // It may still have to read what it has.
      } else if (this.need === 'input' && this.waiting.length > 0) {
        const input = this.waiting.shift();
        const { step } = this.call('receive', { input });
        const rest = input.slice(step.consumed);
        if (rest !== '') this.waiting.unshift(rest);
        if (step.consumed === 0 && step.need === 'input') return;
      } else {
        return;
      }
    }
  }
}

/** The answer that says yes, or to a login that anybody is who they say. */
export function yes({ name, about }) {
  const agreed = { ok: null };
  switch (name) {
    case 'recipients': return { recipients: about.map(() => agreed) };
    case 'message': return { message: Array.from({ length: about.recipients }, () => agreed) };
    case 'verify': return { verify: 'unsure' };
    case 'sasl': {
      const response = 'start' in about ? about.start[1] : about.response;
      if (response === null) return { sasl: { challenge: '' } };
      return { sasl: { authenticated: text(response).split('\0')[1] || 'somebody' } };
    }
    default: return { [name]: agreed };
  }
}

/** The answer that says no. */
export function no({ name, about }, refusal) {
  const refused = { err: refusal };
  switch (name) {
    case 'recipients': return { recipients: about.map(() => refused) };
    case 'message': return { message: Array.from({ length: about.recipients }, () => refused) };
    case 'verify': return { verify: { refused: refusal } };
    case 'sasl': return { sasl: { refused: refusal } };
    default: return { [name]: refused };
  }
}
