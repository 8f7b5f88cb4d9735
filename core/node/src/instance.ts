/**
 * Instances of the engine: one for each session, so that a trap ends its own session only.
 *
 * The core module is compiled once in a process. An instance costs some hundred microseconds to make, so those whose session
 * has ended well are kept, a bounded number, and their whole memory is put back to what a new one has: nothing of the session before
 * is left in it. One that trapped, or whose memory grew, is never used again. Fails with an EngineError where there is no room for
 * another instance: each reserves some GiB of addresses, which ends at about 12,000 at a time.
 */

import { readFileSync } from 'node:fs';

import { EngineError } from './errors.js';

/** What is needed of WebAssembly: its declarations are in TypeScript's library for browsers only. */
interface Wasm {
  Module: { new (octets: Uint8Array): Module; imports(module: Module): { module: string; name: string }[] };
  Instance: new (module: Module, imports: Imports) => { exports: unknown };
}
interface Module {
  readonly [Symbol.toStringTag]: string;
}
type Imports = Record<string, Record<string, (handle: number) => number>>;
const { WebAssembly } = globalThis as unknown as { WebAssembly: Wasm };

/** What the glue calls, by the names of the canonical ABI. */
export type Exports = Record<string, (...args: never[]) => number> & { memory: { readonly buffer: ArrayBuffer } };

/** Kept for the next sessions. */
const KEPT = 64;
/** Octets that are compared with nothing but zeros at a time. */
const CHUNK = 16 * 1024;
const ZEROS = Buffer.alloc(CHUNK);

let compiled: Module | undefined;
/** What a new instance has in its memory: zeros, but for this. */
let pristine: { size: number; start: number; octets: Buffer } | undefined;
const kept: Instance[] = [];

/** One instance and the views of its memory. The glue reads and writes through it. */
export class Instance {
  readonly exports: Exports;
  dv!: DataView;
  u8!: Buffer;
  /** For the glue: how long the last list or string was that it gave. */
  length = 0;
  readonly #memory: Exports['memory'];
  readonly #reallocate: (at: number, before: number, align: number, size: number) => number;

  private constructor(module: Module) {
    const exports = new WebAssembly.Instance(module, imports(module)).exports as unknown as Exports;
    this.exports = exports;
    this.#memory = exports.memory;
    this.#reallocate = exports['cabi_realloc'] as unknown as (at: number, before: number, align: number, size: number) => number;
    this.look();
  }

  /** For one session. */
  static take(): Instance {
    const rested = kept.pop();
    if (rested) return rested;
    compiled ??= compile();
    let made;
    try {
      made = new Instance(compiled);
    } catch (error) {
      throw new EngineError('there is no room for another instance of the engine', { cause: error });
    }
    pristine ??= imageOf(made.u8);
    return made;
  }

  /** The session has ended, and not by a trap. */
  rest(): void {
    if (kept.length >= KEPT || !pristine || this.#memory.buffer.byteLength !== pristine.size) return;
    this.look();
    wipe(this.u8, pristine);
    kept.push(this);
  }

  /** Memory that grew has moved. */
  look(): void {
    // What it has moved away from is empty.
    if (this.u8?.length) return;
    const { buffer } = this.#memory;
    this.dv = new DataView(buffer);
    this.u8 = Buffer.from(buffer);
  }

  /** For the glue: memory inside, which the call that it is for takes over. */
  alloc(size: number, align: number): number {
    const at = this.#reallocate(0, 0, align, size);
    this.look();
    return at;
  }
}

function compile(): Module {
  const file = new URL('./engine/engine.core.wasm', import.meta.url);
  try {
    return new WebAssembly.Module(readFileSync(file));
  } catch (error) {
    throw new EngineError(`the engine of this package is not there or broken: ${file.pathname}`, { cause: error });
  }
}

/**
 * What the component's own wiring would give: the table of its resources. As an instance holds one session, the handle is what
 * it stands for.
 */
function imports(module: Module): Imports {
  const given: Imports = {};
  for (const { module: place, name } of WebAssembly.Module.imports(module)) {
    if (!place.startsWith('[export]') || !/^\[resource-(new|drop)\]/.test(name)) {
      throw new EngineError(`the engine wants ${place} ${name}, and must import nothing`);
    }
    (given[place] ??= {})[name] = (handle: number) => handle;
  }
  return given;
}

function imageOf(memory: Buffer): { size: number; start: number; octets: Buffer } {
  let start = 0;
  let end = memory.length;
  while (start < end && memory[start] === 0) start++;
  while (end > start && memory[end - 1] === 0) end--;
  return { size: memory.length, start, octets: Buffer.from(memory.subarray(start, end)) };
}

/** Most of a memory was never touched: looking is cheaper than writing, and takes no pages. */
function wipe(memory: Buffer, { start, octets }: { start: number; octets: Buffer }): void {
  const end = start + octets.length;
  const zero = (from: number, to: number) => {
    for (let at = from; at < to; at += CHUNK) {
      const stop = Math.min(at + CHUNK, to);
      if (memory.compare(ZEROS, 0, stop - at, at, stop) !== 0) memory.fill(0, at, stop);
    }
  };
  zero(0, start);
  memory.set(octets, start);
  zero(end, memory.length);
}
