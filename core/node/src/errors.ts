/**
 * What can go wrong, sorted by who is at fault. Every error of this package is one of these; its `fault` says who, its `code` what.
 */

import type { Misuse } from './engine/interfaces/hermetic-engine-types.js';

/** Who is at fault: the program that uses this package, the peer, the way there, or this package's engine. */
export type Fault = 'embedder' | 'peer' | 'network' | 'engine';

/** The base of all errors of this package. */
export class HermeticError extends Error {
  readonly fault: Fault;
  readonly code: string;

  constructor(fault: Fault, code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.fault = fault;
    this.code = code;
  }
}

/** A call that does not fit the state of the session, or an answer that does not fit the question. The session is unchanged. */
export class MisuseError extends HermeticError {
  /** What the engine says of it; absent where the call never got there. */
  readonly misuse: Misuse | undefined;

  constructor(message: string, misuse?: Misuse) {
    super('embedder', 'HERMETIC_MISUSE', message);
    this.misuse = misuse;
  }
}

/** A value that is not what it has to be: of another type, or out of range. */
export class ValueError extends HermeticError {
  constructor(message: string) {
    super('embedder', 'HERMETIC_VALUE', message);
  }
}

/** The engine trapped or could not be made. It ends the one session that lived in it. */
export class EngineError extends HermeticError {
  constructor(message: string, options?: ErrorOptions) {
    super('engine', 'HERMETIC_ENGINE', message, options);
  }
}

/** A message that was not finished: the peer went away, reset, or sent what can not be accepted. */
export class AbandonedError extends HermeticError {
  constructor(message: string) {
    super('peer', 'HERMETIC_ABANDONED', message);
  }
}

/** A session file that can not be replayed: what was expected, and the line. */
export class SessionFileError extends HermeticError {
  /** From 1; absent where the file as a whole is at fault. */
  readonly line: number | undefined;

  constructor(message: string, line?: number) {
    super('embedder', 'HERMETIC_SESSION_FILE', line === undefined ? message : `line ${line}: ${message}`);
    this.line = line;
  }
}

const EXPECTED: Record<Misuse['tag'], string> = {
  'no-question-open': 'there is no open question: `answer` may follow only a step whose need is `answer`',
  'question-open': 'a question is open: `answer` it before anything else is given',
  'wrong-answer': 'the answer is not one to the open question',
  'bad-answer': 'the answer can not be given to the peer',
  closed: 'the session is closed: no call may follow a step whose need is `close`, or `freeze`',
  'not-started': 'the session has not begun: `start` comes first',
  'bad-state': 'the call does not fit the state of the session',
  'bad-value': 'what was given can not be said to the peer',
  'bad-image': 'the image was not made by `freeze` of this version',
};

/** For the generated glue: the error of a result. */
export function misuse(value: Misuse): MisuseError {
  const detail = 'val' in value ? `: ${value.val}` : '';
  return new MisuseError(`${EXPECTED[value.tag]}${detail}`, value);
}

/** For the generated glue: a value that does not fit its type. */
export function badValue(where: string, expected: string, got: unknown): ValueError {
  return new ValueError(`${where}: expected ${expected}, got ${shown(got)}`);
}

/** A value as an error shows it: short, on one line. */
export function shown(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return 'octets';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'function') return 'a function';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
