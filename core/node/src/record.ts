/**
 * Writes sessions down as they go: `.session` files (wit/session.md), which any build of the engine can run again.
 *
 * Owns the form of the file and its end. Refuses to know what is said; what was said in AUTH and all content is in the file, so it is
 * made for its owner only. A session that is cut short by the end of the process leaves a file without an end, which replay refuses.
 * A file that can not be written ends with a warning, and the session goes on. One that grows beyond `limit` is ended there, between two calls, and is a session as far as it goes.
 */

import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { schema } from './engine/schema.js';
import { ValueError } from './errors.js';
import type { Observer } from './session.js';
import { camel, Values, type Json } from './values.js';

/** A folder, in which each session becomes a file of its own, or a function that gets the pieces of one. */
export type RecordTarget = string | ((text: string) => void);

const values = new Values(schema);
const MISUSE = { kind: 'name', name: 'types.misuse' } as const;
/** Octets of one file. */
const LIMIT = 256 * 1024 * 1024;
let count = 0;

/** One session's recorder. */
export class Recorder implements Observer {
  readonly #write: (text: string) => void;
  readonly #close: () => void;
  readonly #hash = createHash('sha256');
  readonly #about: Record<string, string>;
  readonly #limit: number;
  #half: 'server' | 'client' = 'server';
  #lines = 0;
  #size = 0;
  #over = false;

  constructor(target: RecordTarget, about: Record<string, string> = {}, limit = LIMIT) {
    this.#about = about;
    this.#limit = limit;
    if (typeof target === 'function') {
      this.#write = target;
      this.#close = () => {};
    } else if (typeof target === 'string') {
      mkdirSync(target, { recursive: true, mode: 0o700 });
      const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
      const file = openSync(join(target, `${stamp}-${process.pid}-${++count}.session`), 'wx', 0o600);
      this.#write = (text) => void writeSync(file, text);
      this.#close = () => closeSync(file);
    } else {
      throw new ValueError('record: expected the path of a folder or a function that takes text');
    }
  }

  begin(half: 'server' | 'client', options: object): void {
    this.#half = half;
    this.#line({
      'hermetic-session': 1,
      half,
      wit: schema.version,
      engine: schema.engine,
      recorded: new Date().toISOString(),
      about: this.#about,
      options: values.toJson({ kind: 'name', name: `${half}.options` }, options),
    });
  }

  call(name: string, given: Record<string, unknown>, outcome: { step?: object; misuse?: object; trap?: string }): void {
    const schemaOf = schema.interfaces[this.#half]?.functions.find((one) => one.name === name && one.kind === 'method');
    if (!schemaOf || this.#over) return;
    const line: Record<string, Json> = { call: name };
    for (const parameter of schemaOf.parameters) line[parameter.name] = values.toJson(parameter.type, given[camel(parameter.name)]);
    if (outcome.step) {
      const { result } = schemaOf;
      if (!result?.ok) return;
      line['step'] = values.toJson(result.ok, outcome.step);
    } else if (outcome.misuse) line['misuse'] = values.toJson(MISUSE, outcome.misuse);
    else line['trap'] = outcome.trap ?? '';
    this.#line(line);
    if (this.#size > this.#limit) this.end();
  }

  /** The session is over. May be called twice. */
  end(): void {
    if (this.#over) return;
    this.#put(`${JSON.stringify({ end: this.#lines, sha256: this.#hash.digest('hex') })}\n`);
    this.#stop();
  }

  #put(text: string): void {
    try {
      this.#write(text);
    } catch (error) {
      process.emitWarning(`a session is no longer recorded: ${(error as Error).message}`, 'HermeticWarning');
      this.#stop();
    }
  }

  #stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#close();
  }

  #line(json: Json): void {
    if (this.#over) return;
    const text = `${JSON.stringify(json)}\n`;
    this.#hash.update(text);
    this.#lines++;
    this.#size += text.length;
    this.#put(text);
  }
}
