/** Addresses as the engine gives them, parsed and unquoted, and as people write them. Refuses to parse: that is the engine's. */

import type { Mailbox, Recipient as EngineRecipient, Sender as EngineSender } from './engine/interfaces/hermetic-engine-types.js';

/** Of the reverse-path or a forward-path. */
export interface Address {
  /** As it is written in a header or a command: quoted where it has to be. Empty for the null reverse-path. */
  readonly address: string;
  /** The local part, unquoted. */
  readonly local: string;
  /** The domain, or a literal in its brackets. Empty for the null reverse-path, and for `postmaster` alone. */
  readonly domain: string;
}

/** MAIL. */
export interface Sender extends Address {
  readonly parameters: EngineSender['parameters'];
}

/** RCPT. */
export interface Recipient extends Address {
  readonly notify: EngineRecipient['notify'];
  readonly orcpt: EngineRecipient['orcpt'];
}

// RFC 5321 section 4.1.2, with RFC 6531's octets beyond ASCII.
const DOT_STRING = /^[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+(\.[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+)*$/u;

/** A mailbox as people write it. */
export function addressOf({ local, host }: Mailbox): Address {
  const domain = host.tag === 'domain' ? host.val : `[${host.val}]`;
  const written = DOT_STRING.test(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`;
  return { address: `${written}@${domain}`, local, domain };
}

export function senderOf({ mailbox, parameters }: EngineSender): Sender {
  const address = mailbox ? addressOf(mailbox) : { address: '', local: '', domain: '' };
  return { ...address, parameters };
}

export function recipientOf({ path, notify, orcpt }: EngineRecipient): Recipient {
  const address = path.tag === 'mailbox' ? addressOf(path.val) : { address: 'postmaster', local: 'postmaster', domain: '' };
  return { ...address, notify, orcpt };
}

/**
 * `local@domain` or `local@[literal]` as the engine takes it. The local part may be quoted. What can not be said in a command the engine
 * refuses.
 */
export function mailboxOf(address: string): Mailbox | undefined {
  const at = address.lastIndexOf('@');
  if (at < 1) return undefined;
  let local = address.slice(0, at);
  const domain = address.slice(at + 1);
  if (local.length >= 2 && local.startsWith('"') && local.endsWith('"')) local = local.slice(1, -1).replace(/\\(.)/gs, '$1');
  const literal = /^\[(.+)\]$/.exec(domain)?.[1];
  return { local, host: literal === undefined ? { tag: 'domain', val: domain } : { tag: 'literal', val: literal } };
}
