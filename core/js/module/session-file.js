// `.session` files (wit/session.md): reading, writing, and running them again.
//
// Owns the format and its errors. Knows of the engine only its two classes. A file is refused with one sentence that says what
// was expected, and its line; never by a bare stack trace.

import { ClientSession, HermeticError, InvalidValue, ServerSession, witVersion } from './hermetic.js';

/** The format that is read and written. */
export const FORMAT = 1;
/** The largest file that is read, in octets. */
export const LARGEST = 64 * 1024 * 1024;

/** Why a file is no session that can be run; `line` counts from 1, 0: the file as a whole. */
export class SessionFileError extends HermeticError {
  constructor(message, line = 0) {
    super(line > 0 ? `line ${line}: ${message}` : message);
    this.line = line;
  }
}

const HALVES = { server: ServerSession, client: ClientSession };
/** Each function's parameters. */
const CALLS = {
  server: { start: [], receive: ['input'], secured: ['mechanisms'], tick: [], answer: ['answer'], drain: ['farewell'] },
  client: { start: [], receive: ['input'], secured: [], tick: [], lost: [], login: ['mechanism', 'initial'], respond: ['response'],
    cancel: [], deliver: ['transaction'], content: ['octets', 'last'], quit: [] },
};
const OUTCOMES = ['step', 'misuse', 'trap'];
const HEADER = new Set(['hermetic-session', 'half', 'wit', 'engine', 'recorded', 'why', 'masked', 'about', 'options']);

/** A value of the engine as JSON has it: octets become strings of one character each, numbers too large for one, digits. */
export function plain(value) {
  if (value instanceof Uint8Array) {
    let text = '';
    for (let at = 0; at < value.length; at += 8192) text += String.fromCharCode(...value.subarray(at, at + 8192));
    return text;
  }
  if (typeof value === 'bigint') return value > BigInt(Number.MAX_SAFE_INTEGER) ? String(value) : Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
  }
  return value;
}

/** Where two values in JSON's form differ first: a path such as `step.events[0].detail`; null where they are equal. */
export function difference(expected, got, path = '') {
  if (Object.is(expected, got)) return null;
  const objects = [expected, got].every((value) => value !== null && typeof value === 'object');
  if (!objects || Array.isArray(expected) !== Array.isArray(got)) return { path, expected, got };
  const names = new Set([...Object.keys(expected), ...Object.keys(got)]);
  for (const name of names) {
    const inner = Array.isArray(expected) ? `${path}[${name}]` : path ? `${path}.${name}` : name;
    if (!Object.hasOwn(expected, name) || !Object.hasOwn(got, name)) return { path: inner, expected: expected[name], got: got[name] };
    const found = difference(expected[name], got[name], inner);
    if (found) return found;
  }
  return null;
}

async function sha256(octets) {
  if (!globalThis.crypto?.subtle) throw new SessionFileError('its checksum can only be checked on a page from https:// or localhost');
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', octets));
  return Array.from(hash, (octet) => octet.toString(16).padStart(2, '0')).join('');
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function json(text, line) {
  try {
    const value = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  throw new SessionFileError('it is no JSON object', line);
}

/**
 * Reads a file's octets (or its text). What is returned has `header`, and `lines`: each `{line, call, …}` as in the file; hooks
 * are counted in `hooks` and passed over. Rejects with a SessionFileError.
 */
export async function readSessionFile(source) {
  const octets = typeof source === 'string' ? new TextEncoder().encode(source) : new Uint8Array(source);
  if (octets.length > LARGEST) throw new SessionFileError('it is larger than 64 MiB');
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw new SessionFileError('it is no text in UTF-8');
  }
  if (!text.startsWith('{')) throw new SessionFileError('it is no session file: that begins with {"hermetic-session":1');
  const end = text.lastIndexOf('\n', text.length - 2) + 1;
  const all = text.slice(0, end).split('\n').slice(0, -1);
  const header = checkedHeader(json(all[0] ?? text.trimEnd(), 1));
  const last = json(text.slice(end).trimEnd(), all.length + 1);
  if (!('end' in last) || !text.endsWith('\n')) {
    throw new SessionFileError(`the file was cut short: a last line {"end":${all.length + 1},"sha256":…} is expected`);
  }
  if (last.end !== all.length) throw new SessionFileError(`the end tells of ${shown(last.end)} lines, and ${all.length} are there`);
  const before = octets.subarray(0, new TextEncoder().encode(text.slice(0, end)).length);
  if (last.sha256 !== (await sha256(before))) throw new SessionFileError('it was changed: its SHA-256 is not the one at its end');
  const lines = [];
  let hooks = 0;
  for (let place = 1; place < all.length; place += 1) {
    const value = json(all[place], place + 1);
    if ('plugin' in value) hooks += 1;
    else lines.push({ ...checkedCall(value, header.half, place + 1), line: place + 1 });
  }
  return { header, lines, hooks };
}

function shown(value) {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function checkedHeader(header) {
  if (!('hermetic-session' in header)) throw new SessionFileError('a header with "hermetic-session":1 is expected', 1);
  if (header['hermetic-session'] !== FORMAT) {
    throw new SessionFileError(`the format is ${shown(header['hermetic-session'])}, and ${FORMAT} is expected`, 1);
  }
  if (!Object.hasOwn(CALLS, header.half)) throw new SessionFileError(`the half is ${shown(header.half)}; "server" or "client" is expected`, 1);
  if (typeof header.wit !== 'string') throw new SessionFileError('"wit", the version of hermetic:engine, is expected', 1);
  if (!isObject(header.options)) throw new SessionFileError('"options" are expected', 1);
  const strings = (value) => Object.values(value).every((one) => typeof one === 'string');
  for (const name of ['engine', 'recorded', 'why']) {
    if (!['string', 'undefined'].includes(typeof header[name])) throw new SessionFileError(`"${name}" is a text`, 1);
  }
  if (header.masked !== undefined && !(Array.isArray(header.masked) && strings(header.masked))) throw new SessionFileError('"masked" is a list of names', 1);
  if (header.about !== undefined && !(isObject(header.about) && strings(header.about))) throw new SessionFileError('"about" is an object of texts', 1);
  const stranger = Object.keys(header).find((name) => !HEADER.has(name));
  if (stranger !== undefined) throw new SessionFileError(`a header has nothing of the name ${shown(stranger)}`, 1);
  return header;
}

function checkedCall(value, half, line) {
  const known = CALLS[half];
  if (typeof value.call !== 'string' || !Object.hasOwn(known, value.call)) {
    throw new SessionFileError(`"call" is ${shown(value.call)}; one of ${Object.keys(known).join(', ')} is expected`, line);
  }
  if (!('now' in value)) throw new SessionFileError('the time "now" is missing', line);
  const parameters = known[value.call];
  const missing = parameters.find((name) => !(name in value));
  if (missing !== undefined) throw new SessionFileError(`${value.call} needs ${shown(missing)}`, line);
  const outcomes = OUTCOMES.filter((name) => name in value);
  if (outcomes.length !== 1) throw new SessionFileError('exactly one of "step", "misuse" and "trap" is expected', line);
  const stranger = Object.keys(value).find((name) => !['call', 'now', ...parameters, ...outcomes].includes(name));
  if (stranger !== undefined) throw new SessionFileError(`${value.call} has nothing of the name ${shown(stranger)}`, line);
  return value;
}

/** A session of the file's half, before its first call. */
export function sessionOf(file) {
  const { half, options, wit } = file.header;
  if (wit === witVersion()) {
    // What is left out has a default for embedders; in a file of this version nothing is.
    const wanted = HALVES[half].defaults();
    const missing = Object.keys(wanted).find((name) => !Object.hasOwn(options, name))
      ?? Object.keys(wanted.limits).map((name) => `limits.${name}`).find((name) => !Object.hasOwn(options.limits ?? {}, name.slice('limits.'.length)));
    if (missing !== undefined) throw new SessionFileError(`options.${missing}: it is missing`, 1);
  }
  try {
    return new HALVES[half](options);
  } catch (error) {
    if (error instanceof InvalidValue) throw new SessionFileError(error.message, 1);
    throw error;
  }
}

/** Makes one call of a file and compares: `{line, call, expected, got, difference}`, in JSON's form. */
export function step(session, entry) {
  const { line, call, step: _step, misuse: _misuse, trap: _trap, ...parameters } = entry;
  const expected = Object.fromEntries(OUTCOMES.filter((name) => name in entry).map((name) => [name, entry[name]]));
  let got;
  try {
    got = plain(session.call(call, parameters));
  } catch (error) {
    if (error instanceof InvalidValue) throw new SessionFileError(error.message, line);
    got = { trap: error.message };
  }
  // A trap's words differ from one runtime to the other.
  const trapped = 'trap' in expected && 'trap' in got;
  return { line, call, parameters, expected, got, difference: trapped ? null : difference(expected, got) };
}

/** Runs a whole file; the first difference ends it: null where there is none. `otherWit`: the version, if it is not ours. */
export function replay(file) {
  const session = sessionOf(file);
  const otherWit = file.header.wit === witVersion() ? null : file.header.wit;
  for (const [place, entry] of file.lines.entries()) {
    const made = step(session, entry);
    if (made.difference) return { calls: place + 1, otherWit, difference: made };
  }
  return { calls: file.lines.length, otherWit, difference: null };
}

/** Writes a file: its header's members beyond the format and the version, and lines of calls with their outcomes. */
export async function writeSessionFile({ half, options, ...about }, calls) {
  const defaults = HALVES[half].defaults();
  const whole = { ...defaults, ...options, limits: { ...defaults.limits, ...options.limits } };
  const header = { 'hermetic-session': FORMAT, half, wit: witVersion(), ...about, options: plain(whole) };
  const lines = [header, ...calls.map(plain)].map((line) => `${JSON.stringify(line)}\n`);
  const text = lines.join('');
  return `${text}${JSON.stringify({ end: lines.length, sha256: await sha256(new TextEncoder().encode(text)) })}\n`;
}
