/**
 * A message as it is given to `send`, and as the engine wants it: addresses apart, content with its facts.
 *
 * Refuses to parse addresses beyond their last `@`: what can not be said in a command the engine refuses. What is no address, and what is
 * no content, is a ValueError that names the place.
 */

import type { Readable } from 'node:stream';

import { Address, mailboxOf } from './address.js';
import { shown, ValueError } from './errors.js';
import { Survey } from './facts.js';
import type { Client, Types } from './session.js';

/** An address as text, or one that a server's handler was given. */
export type AddressLike = string | Address;

export interface Letter {
  /** The reverse-path. Null or empty: none. */
  from: AddressLike | null;
  /** At least one. */
  to: AddressLike | (AddressLike | LetterRecipient)[];
  /** The message as it is sent, lines ending in CRLF. A stream needs its `facts`, or is read into memory first. */
  content: Uint8Array | string | Readable | AsyncIterable<Uint8Array>;
  /** What is known of a stream's content: then it is not read before it is sent. */
  facts?: Client.ContentFacts;
  requireTls?: boolean;
  ret?: Types.ReturnContent;
  envid?: string;
  priority?: number;
}

export interface LetterRecipient {
  address: AddressLike;
  notify?: Types.Notify;
  orcpt?: Types.OriginalRecipient;
}

/** Octets of a stream that are read into memory to learn its facts. */
const WHOLE = 64 * 1024 * 1024;
/** Octets of content that are given to the engine at a time. */
const PIECE = 64 * 1024;
/** An address as the engine takes it. */
export function mailbox(address: AddressLike, where: string): Types.Mailbox {
  const text = typeof address === 'string' ? address : address instanceof Address ? address.address : undefined;
  const found = text === undefined ? undefined : mailboxOf(text);
  if (!found) throw new ValueError(`${where}: expected an address such as \`anna@example.org\`, got ${shown(address)}`);
  return found;
}

/** The same of a recipient, with what was given. */
export function recipient(given: AddressLike | LetterRecipient): { address: string; engine: Types.Recipient } {
  const { address, notify, orcpt }: LetterRecipient = typeof given === 'object' && given !== null && !(given instanceof Address) ? given : { address: given };
  const text = String(address);
  const path: Types.ForwardPath = text.toLowerCase() === 'postmaster' ? { tag: 'postmaster' } : { tag: 'mailbox', val: mailbox(address, 'letter.to') };
  return { address: text, engine: { path, ...(notify && { notify }), ...(orcpt && { orcpt }) } };
}

/** The content, and what the engine wants to know of it. A stream without facts is read here. */
export async function measured(letter: Letter): Promise<{ content: Buffer | AsyncIterable<Uint8Array>; facts: Client.ContentFacts }> {
  const { content, facts } = letter;
  if (facts && typeof content === 'object' && !(content instanceof Uint8Array)) return { content, facts };
  let octets: Buffer;
  if (typeof content === 'string') octets = Buffer.from(content);
  else if (content instanceof Uint8Array) octets = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  else if (typeof content === 'object' && content !== null && Symbol.asyncIterator in content) {
    const pieces: Buffer[] = [];
    let size = 0;
    for await (const piece of content) {
      size += piece.length;
      if (size > WHOLE) throw new ValueError(`letter.content: expected at most ${WHOLE} octets of a stream without \`facts\``);
      pieces.push(Buffer.from(piece));
    }
    octets = Buffer.concat(pieces);
  } else throw new ValueError(`letter.content: expected octets, a string or a stream, got ${shown(content)}`);
  const survey = new Survey();
  survey.add(octets);
  return { content: octets, facts: facts ?? survey.facts() };
}

/** In pieces that the engine is given one by one. */
export function* slices(octets: Buffer): Generator<Buffer> {
  for (let at = 0; at < octets.length; at += PIECE) yield octets.subarray(at, at + PIECE);
}
