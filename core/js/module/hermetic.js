// Hermetic's engine for pages and Node: SMTP sessions as plain values.
//
// Owns the classes and errors that an embedder sees. The engine has no clock, no socket and no secrets: octets, times and
// answers go in; octets, questions and what is needed next come out, as plain objects under the names of `wit/engine`, octets as
// Uint8Array. core/README.md has the run loop. Fails by one of the errors below, never in another way.

import start, { Session, defaults as defaultsOf, wit } from './engine.js';

/** What came wrong, and from where: all errors of this module. */
export class HermeticError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** A call that does not fit the session's state or what was asked. The session is unchanged. `misuse` is WIT's value. */
export class Misuse extends HermeticError {
  constructor(misuse) {
    super(described(misuse));
    this.misuse = misuse;
  }
}

/** A parameter that is no value of its type; the message says which member, and what is expected. The session is unchanged. */
export class InvalidValue extends HermeticError {}

/** `load` has not been awaited, or could not be done. */
export class NotLoaded extends HermeticError {}

/** The engine has stopped in the middle of a call: a bug of ours. This session is gone, others go on. */
export class EngineFault extends HermeticError {}

const SENTENCES = {
  'no-question-open': 'no question is open: call receive, secured or tick',
  'question-open': 'a question is open: answer it first',
  closed: 'the session is closed',
  'not-started': 'the session has not been started: call start first',
};

function described(misuse) {
  if (typeof misuse === 'string') return SENTENCES[misuse] ?? misuse;
  const [[name, why]] = Object.entries(misuse);
  const words = { 'wrong-answer': 'wrong answer: the open question is', 'bad-answer': 'bad answer:', 'bad-state': 'not now:',
    'bad-value': 'cannot be sent:' };
  return `${words[name] ?? name} ${why}`;
}

let loading;
let ready = false;

/**
 * Loads the engine, once; await it before anything else. `source`: where `engine_bg.wasm` is (a URL, a Response) or what it is
 * (its octets, a WebAssembly.Module); left out: beside this file.
 */
export function load(source) {
  loading ??= loaded(source).catch((error) => {
    loading = undefined;
    throw new NotLoaded(`the engine could not be loaded: ${error?.message ?? error}`);
  });
  return loading;
}

async function loaded(source) {
  let from = source ?? new URL('engine_bg.wasm', import.meta.url);
  // Node's fetch knows no files.
  if (from instanceof URL && from.protocol === 'file:') {
    const { readFile } = await import('node:fs/promises');
    from = await readFile(from);
  }
  await start({ module_or_path: from });
  ready = true;
}

function awake() {
  if (!ready) throw new NotLoaded('the engine is not loaded yet: `await load()` first');
}

function fine(outcome) {
  if ('misuse' in outcome) throw new Misuse(outcome.misuse);
  if ('misfit' in outcome) throw new InvalidValue(outcome.misfit);
  return outcome;
}

// A trap, or the stack's end, is an error of the engine's; anything else is not ours to rename.
function guarded(call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
      throw new EngineFault(`the engine has stopped: ${error.message}`);
    }
    throw error;
  }
}

/** What both halves have. Not for use by itself. */
class Half {
  #inner;
  #gone = false;

  constructor(half, options) {
    awake();
    this.#inner = guarded(() => fine(Session.open(half, options)).ok);
  }

  /** One call by its name in WIT, `now` and its parameters as members: `{step}` or `{misuse}`, as in a `.session` file. */
  call(name, parameters) {
    if (this.#gone) throw new EngineFault('the engine has stopped in an earlier call of this session');
    try {
      const outcome = guarded(() => this.#inner.call(String(name), parameters));
      if ('misfit' in outcome) throw new InvalidValue(outcome.misfit);
      return outcome;
    } catch (error) {
      this.#gone = error instanceof EngineFault;
      throw error;
    }
  }

  _step(name, parameters) {
    return fine(this.call(name, parameters)).step;
  }

  /** The connection is open. Once. */
  start(now) { return this._step('start', { now }); }
  /** Octets from the peer (a Uint8Array, or a string of characters up to U+00FF): all that have been read. */
  receive(now, input) { return this._step('receive', { now, input }); }
  /** The time that a step's `wake` named has come. */
  tick(now) { return this._step('tick', { now }); }
}

/** The receiving half: `server.session` of wit/engine/server.wit. Options that are left out have the engine's defaults. */
export class ServerSession extends Half {
  constructor(options = {}) { super('server', options); }
  static defaults() { return defaults('server'); }
  /** The handshake that `start-tls` asked for is done; these mechanisms may be offered. */
  secured(now, mechanisms = []) { return this._step('secured', { now, mechanisms }); }
  /** Answers the open question: `{hello: {ok: null}}`. */
  answer(now, answer) { return this._step('answer', { now, answer }); }
  /** End the session with this refusal as soon as no transaction is open. */
  drain(now, farewell) { return this._step('drain', { now, farewell }); }
}

/** The sending half: `client.session` of wit/engine/client.wit. */
export class ClientSession extends Half {
  constructor(options = {}) { super('client', options); }
  static defaults() { return defaults('client'); }
  /** The handshake that `start-tls` asked for is done. */
  secured(now) { return this._step('secured', { now }); }
  /** The connection is lost. */
  lost(now) { return this._step('lost', { now }); }
  /** AUTH by one of `peer.mechanisms`. */
  login(now, mechanism, initial = null) { return this._step('login', { now, mechanism, initial }); }
  /** The answer to a challenge. */
  respond(now, response) { return this._step('respond', { now, response }); }
  /** Gives up the AUTH exchange. */
  cancel(now) { return this._step('cancel', { now }); }
  /** Begins a transaction; `contentFacts` tells what its `content` has to say. */
  deliver(now, transaction) { return this._step('deliver', { now, transaction }); }
  /** The next octets of the content; `last` with the last ones. */
  content(now, octets, last) { return this._step('content', { now, octets, last }); }
  /** Ends the session. */
  quit(now) { return this._step('quit', { now }); }
}

function defaults(half) {
  awake();
  return guarded(() => fine(defaultsOf(half)).ok);
}

/** The version of the package `hermetic:engine` that is spoken here. */
export function witVersion() {
  awake();
  return wit();
}

/** What a client's transaction has to say of its content. `octets`: the whole message as it is stored, in lines with CRLF. */
export function contentFacts(octets) {
  const facts = { size: octets.length, 'eight-bit': false, 'bare-line-ends': false, 'longest-line': 0, 'utf8-header': false };
  let line = 0;
  let header = true;
  for (let at = 0; at < octets.length; at += 1) {
    const octet = octets[at];
    if (octet === 13 && octets[at + 1] === 10) {
      if (line === 0) header = false;
      facts['longest-line'] = Math.max(facts['longest-line'], line);
      line = 0;
      at += 1;
      continue;
    }
    if (octet === 13 || octet === 10) facts['bare-line-ends'] = true;
    if (octet > 127) {
      facts['eight-bit'] = true;
      // The message's own header; those of its parts are not looked for.
      if (header) facts['utf8-header'] = true;
    }
    line += 1;
  }
  facts['longest-line'] = Math.max(facts['longest-line'], line);
  return facts;
}
