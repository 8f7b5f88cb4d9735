/**
 * A message on its way in. The handler gets it when the content begins, and says how it wants it: whole, as a stream, or not at all.
 *
 * Owns the content until the handler has taken it, a bounded part of it: what is not taken stops the peer. Refuses to know sockets.
 * A message that is not finished fails with an AbandonedError, in whatever way it is read.
 */

import { Readable } from 'node:stream';

import type { Recipient, Sender } from './address.js';
import type { MessageFacts } from './engine/interfaces/hermetic-engine-types.js';
import { AbandonedError, MisuseError, ValueError } from './errors.js';

/** Who sends what to whom. */
export interface Envelope {
  readonly sender: Sender;
  /** The accepted ones, in the order of RCPT. */
  readonly recipients: readonly Recipient[];
}

/** Octets that wait for a handler that has not said yet how it wants the message. */
const UNDECIDED = 256 * 1024;
/** Pieces below this are put together: one line with a dot in front is a piece of its own, and each costs far more than its octets. */
const SMALL = 4 * 1024;
/** Octets that small pieces are put into. */
const BLOCK = 16 * 1024;
/** Octets that `bytes` gathers at most, unless it is told otherwise. */
const WHOLE = 64 * 1024 * 1024;

/** What `onMessage` gets. Its content is read once. */
export class Message implements Envelope {
  readonly sender: Sender;
  readonly recipients: readonly Recipient[];
  readonly #content: Content;

  constructor(envelope: Envelope, content: Content) {
    this.sender = envelope.sender;
    this.recipients = envelope.recipients;
    this.#content = content;
  }

  /** All of the content, when it is there. Fails with a ValueError where it is more than `limit` octets. */
  bytes(limit = WHOLE): Promise<Buffer> {
    return this.#content.bytes(limit);
  }

  /** The same as text: UTF-8, or where it is none, each octet a character. */
  async text(limit = WHOLE): Promise<string> {
    const octets = await this.bytes(limit);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
    } catch {
      return octets.toString('latin1');
    }
  }

  /** The content as it comes. A handler that reads slowly slows the peer. */
  stream(): Readable {
    return this.#content.stream();
  }

  /** What is known of the content when all of it has come: size, whether it has octets above 127, its longest line. */
  get facts(): MessageFacts | undefined {
    return this.#content.facts;
  }
}

/** The other side of a Message: the connection fills it. */
export class Content {
  facts: MessageFacts | undefined;
  /** Called when there is room again after `full`. */
  onRoom: (() => void) | undefined;
  #mode: 'undecided' | 'bytes' | 'stream' | 'nothing' = 'undecided';
  #pieces: Buffer[] = [];
  /** Small pieces that came last, and how much of it they take. */
  #block: Buffer | undefined;
  #filled = 0;
  #size = 0;
  #limit = 0;
  #error: Error | undefined;
  #whole: { resolve: (octets: Buffer) => void; reject: (error: Error) => void } | undefined;
  #stream: Readable | undefined;
  #thirsty = true;

  /** Whether nothing more should be given for now. */
  get full(): boolean {
    return (this.#mode === 'undecided' && this.#size > UNDECIDED) || (this.#mode === 'stream' && !this.#thirsty);
  }

  push(piece: Buffer): void {
    if (this.#mode === 'nothing') return;
    this.#size += piece.length;
    // Most messages are one piece, which is kept as it is.
    if (piece.length < SMALL && (this.#block || this.#pieces.length > 0 || this.#mode === 'stream')) {
      if (this.#block && this.#filled + piece.length > BLOCK) this.#unblock();
      this.#block ??= Buffer.allocUnsafe(BLOCK);
      this.#block.set(piece, this.#filled);
      this.#filled += piece.length;
    } else {
      this.#unblock();
      this.#keep(piece);
    }
    if (this.#mode === 'bytes' && this.#size > this.#limit) this.#tooLarge();
  }

  /** The step has no more pieces: who reads a stream gets them now. */
  pushed(): void {
    if (this.#mode === 'stream') this.#unblock();
  }

  #keep(piece: Buffer): void {
    if (this.#mode === 'stream') this.#thirsty = this.#stream?.push(piece) ?? true;
    else if (this.#mode !== 'nothing') this.#pieces.push(piece);
  }

  #unblock(): void {
    const block = this.#block;
    if (!block) return;
    const filled = this.#filled;
    this.#block = undefined;
    this.#filled = 0;
    this.#keep(filled > BLOCK / 2 ? block.subarray(0, filled) : Buffer.from(block.subarray(0, filled)));
  }

  #drop(): void {
    this.#pieces = [];
    this.#block = undefined;
  }

  /** All of it is there. */
  complete(facts: MessageFacts): void {
    this.facts = facts;
    this.#unblock();
    if (this.#mode === 'bytes') this.#give();
    else this.#stream?.push(null);
  }

  /** There will be no message. */
  abandon(error: AbandonedError): void {
    if (this.facts || this.#error) return;
    this.#error = error;
    this.#drop();
    this.#whole?.reject(error);
    this.#stream?.destroy(error);
  }

  /** The handler has answered: what it has not asked for until now it does not want. */
  settled(): void {
    if (this.#mode !== 'undecided') return;
    this.#mode = 'nothing';
    this.#drop();
    this.#room();
  }

  bytes(limit: number): Promise<Buffer> {
    this.#decide('bytes');
    this.#limit = limit;
    const whole = new Promise<Buffer>((resolve, reject) => {
      this.#whole = { resolve, reject };
    });
    // A handler may look at the result later, when it is long rejected.
    whole.catch(() => {});
    if (this.#error) this.#whole?.reject(this.#error);
    else if (this.#size > limit) this.#tooLarge();
    else if (this.facts) this.#give();
    this.#room();
    return whole;
  }

  stream(): Readable {
    this.#decide('stream');
    const stream = new Readable({
      read: () => {
        this.#thirsty = true;
        this.#room();
      },
      // Whoever destroys the stream wants no more.
      destroy: (error, done) => {
        this.#mode = 'nothing';
        this.#room();
        done(error);
      },
    });
    this.#stream = stream;
    // Without a reader of errors, an unfinished message would end the process.
    stream.on('error', () => {});
    const pieces = this.#pieces;
    this.#pieces = [];
    for (const piece of pieces) this.#thirsty = stream.push(piece);
    this.#unblock();
    if (this.#error) stream.destroy(this.#error);
    else if (this.facts) stream.push(null);
    else this.#room();
    return stream;
  }

  #decide(mode: 'bytes' | 'stream'): void {
    if (this.#mode !== 'undecided') {
      throw new MisuseError(
        this.#mode === 'nothing'
          ? 'the content is gone: ask for it before the handler answers'
          : 'the content is read once: it was already asked for by `bytes`, `text` or `stream`',
      );
    }
    this.#mode = mode;
  }

  #give(): void {
    const [first] = this.#pieces;
    this.#whole?.resolve(this.#pieces.length === 1 && first ? first : Buffer.concat(this.#pieces));
    this.#pieces = [];
  }

  #tooLarge(): void {
    this.#mode = 'nothing';
    this.#drop();
    this.#whole?.reject(new ValueError(`the message has more than ${this.#limit} octets: read it as a stream, or give \`bytes\` a larger limit`));
    this.#room();
  }

  #room(): void {
    const { onRoom } = this;
    if (onRoom && !this.full) {
      this.onRoom = undefined;
      onRoom();
    }
  }
}
