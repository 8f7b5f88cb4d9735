/**
 * Runs a recorded session again, in this package's engine, and finds the first difference.
 *
 * Owns what a reader of wit/session.md must refuse: each is a SessionFileError that says what was expected. A difference is no error:
 * it is what one looks for.
 */

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';

import { schema } from './engine/schema.js';
import { HermeticError, MisuseError, SessionFileError } from './errors.js';
import { ClientSession, ServerSession } from './session.js';
import { brief, camel, difference, Unfit, Values, type FunctionSchema, type Json, type Type } from './values.js';

/** What came of it. */
export interface Replayed {
  half: 'server' | 'client';
  /** Calls that were made. */
  calls: number;
  /** The first difference, or nothing where all is equal. `line` is the file's. */
  difference?: { line: number; call: string; where: string; recorded: string; now: string };
  /** What is odd and no fault, such as a file of another version of the WIT. */
  notes: string[];
}

const values = new Values(schema);
const MISUSE: Type = { kind: 'name', name: 'types.misuse' };
/** Octets. */
const LARGEST = 512 * 1024 * 1024;

/** Replays a file. */
export function replay(file: string | URL): Replayed {
  let octets: Buffer;
  try {
    const { size } = statSync(file);
    if (size > LARGEST) throw new SessionFileError(`expected at most ${LARGEST} octets, found ${size}`);
    octets = readFileSync(file);
  } catch (error) {
    if (error instanceof HermeticError) throw error;
    throw new SessionFileError(`can not be read: ${(error as Error).message}`);
  }
  return replayText(octets);
}

/** The same of what was read already. */
export function replayText(text: Uint8Array | string): Replayed {
  const octets = typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  const { lines, header } = read(octets);
  const half = header['half'];
  if (half !== 'server' && half !== 'client') throw new SessionFileError(`half: expected server or client, found ${half === undefined ? 'nothing' : brief(half)}`, 1);
  const replayed: Replayed = { half, calls: 0, notes: [] };
  if (typeof header['wit'] !== 'string') throw new SessionFileError('wit: expected the version of hermetic:engine', 1);
  if (header['wit'] !== schema.version) replayed.notes.push(`recorded with version ${header['wit']} of the WIT; this is ${schema.version}`);
  const functions = new Map(schema.interfaces[half]?.functions.filter((one) => one.kind === 'method' && one.name !== 'freeze').map((one) => [one.name, one]));
  const options = fit(1, () => values.fromJson({ kind: 'name', name: `${half}.options` }, header['options'], 'options'));
  // All of the file is read before any of it is run.
  const calls = lines.flatMap((line, index) => {
    const number = index + 2;
    if (Object.hasOwn(line, 'plugin')) return [];
    return [call(line, number, functions)];
  });
  const session = fit(1, () => (half === 'server' ? new ServerSession(options as never) : new ClientSession(options as never)));
  try {
    for (const one of calls) {
      const found = run(session, one);
      replayed.calls++;
      if (found) {
        replayed.difference = found;
        break;
      }
    }
  } finally {
    session.close();
  }
  return replayed;
}

interface Call {
  line: number;
  name: string;
  given: unknown[];
  result: Type;
  /** `step`, `misuse` or `trap`. */
  outcome: string;
  recorded: Json;
}

function read(octets: Buffer): { header: { [name: string]: Json }; lines: { [name: string]: Json }[] } {
  if (octets.length === 0) throw new SessionFileError('expected a session file, found an empty one');
  if (octets[octets.length - 1] !== 10) throw new SessionFileError('the file has no end: its last line is cut short');
  const end = octets.lastIndexOf(10, octets.length - 2) + 1;
  let texts: string[];
  try {
    texts = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets).split('\n');
  } catch {
    throw new SessionFileError('expected UTF-8');
  }
  texts.pop();
  const all = texts.map((text, index) => {
    let json: Json;
    try {
      json = JSON.parse(text) as Json;
    } catch (error) {
      throw new SessionFileError(`expected a JSON object: ${(error as Error).message}`, index + 1);
    }
    if (json === null || typeof json !== 'object' || Array.isArray(json)) throw new SessionFileError('expected a JSON object', index + 1);
    return json;
  });
  const header = all[0] as { [name: string]: Json };
  const version = header['hermetic-session'];
  if (version === undefined) throw new SessionFileError('expected the header of a session file, `hermetic-session`', 1);
  if (version !== 1) throw new SessionFileError(`expected version 1 of the format, found ${brief(version)}`, 1);
  const last = all[all.length - 1] as { [name: string]: Json };
  if (all.length < 2 || last['end'] === undefined) throw new SessionFileError('the file has no end: it was cut short', all.length);
  if (last['end'] !== all.length - 1) throw new SessionFileError(`the end counts ${brief(last['end'])} lines before it, and there are ${all.length - 1}`, all.length);
  const hash = createHash('sha256').update(octets.subarray(0, end)).digest('hex');
  if (last['sha256'] !== hash) throw new SessionFileError('the end does not fit: the file was changed after it was recorded', all.length);
  return { header, lines: all.slice(1, -1) };
}

function fit<T>(line: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof Unfit) throw new SessionFileError(error.message, line);
    throw error;
  }
}

function call(line: { [name: string]: Json }, number: number, functions: Map<string, FunctionSchema>): Call {
  const name = line['call'];
  if (typeof name !== 'string') throw new SessionFileError('expected a `call`, a `plugin` or the `end`', number);
  const schemaOf = functions.get(name);
  if (!schemaOf?.result?.ok) throw new SessionFileError(`expected a call of ${[...functions.keys()].join(', ')}, found ${brief(name)}`, number);
  const result = schemaOf.result.ok;
  const given = schemaOf.parameters.map((parameter) => {
    if (!Object.hasOwn(line, parameter.name)) throw new SessionFileError(`\`${name}\` lacks its parameter \`${parameter.name}\``, number);
    return fit(number, () => values.fromJson(parameter.type, line[parameter.name], parameter.name));
  });
  const outcomes = ['step', 'misuse', 'trap'].filter((one) => Object.hasOwn(line, one));
  if (outcomes.length !== 1) throw new SessionFileError('expected exactly one of `step`, `misuse` and `trap`', number);
  const outcome = outcomes[0] as string;
  const known = new Set(['call', outcome, ...schemaOf.parameters.map((parameter) => parameter.name)]);
  const odd = Object.keys(line).find((member) => !known.has(member));
  if (odd !== undefined) throw new SessionFileError(`\`${name}\` has no parameter ${brief(odd)}`, number);
  const recorded = fit(number, () => {
    if (outcome === 'trap') return values.toJson('string', values.fromJson('string', line['trap'], 'trap'));
    const type = outcome === 'step' ? result : MISUSE;
    return values.toJson(type, values.fromJson(type, line[outcome], outcome));
  });
  return { line: number, name, given, result, outcome, recorded };
}

function run(session: ServerSession | ClientSession, one: Call): Replayed['difference'] {
  let outcome = 'step';
  let got: Json;
  try {
    const method = (session as unknown as Record<string, (...given: unknown[]) => unknown>)[camel(one.name)];
    got = values.toJson(one.result, method?.call(session, ...one.given));
  } catch (error) {
    if (error instanceof MisuseError && error.misuse) {
      outcome = 'misuse';
      got = values.toJson(MISUSE, error.misuse);
    } else if (error instanceof HermeticError && error.fault === 'engine') {
      outcome = 'trap';
      got = error.message;
    } else throw error;
  }
  const at = { line: one.line, call: one.name };
  if (outcome !== one.outcome) return { ...at, where: one.outcome, recorded: brief(one.recorded), now: `${outcome} ${brief(got)}` };
  // Runtimes have words of their own for a trap.
  if (outcome === 'trap') return undefined;
  const found = difference(one.recorded, got, outcome);
  if (!found) return undefined;
  const show = (json: Json | undefined) => (json === undefined ? 'nothing' : brief(json));
  return { ...at, where: found.where, recorded: show(found.want), now: show(found.got) };
}
