/** Addresses as the engine gives them, parsed and unquoted, and as people write them. Refuses to parse: that is the engine's. */

import type { Mailbox, Recipient as EngineRecipient, Sender as EngineSender } from './engine/interfaces/hermetic-engine-types.js';

// RFC 5321 section 4.1.2, with RFC 6531's octets beyond ASCII.
const DOT_STRING = /^[\w!#$%&'*+/=?^`{|}~\u0080-\uffff-]+(\.[\w!#$%&'*+/=?^`{|}~\u0080-\uffff-]+)*$/;

/** Of the reverse-path or a forward-path. Written out when somebody looks. */
export class Address {
  readonly #mailbox: Mailbox | undefined;

  constructor(mailbox: Mailbox | undefined) {
    this.#mailbox = mailbox;
  }

  /** The local part, unquoted. Empty for the null reverse-path. */
  get local(): string {
    return this.#mailbox?.local ?? '';
  }

  /** The domain, or a literal in its brackets. Empty for the null reverse-path, and for `postmaster` alone. */
  get domain(): string {
    const host = this.#mailbox?.host;
    if (!host) return '';
    return host.tag === 'domain' ? host.val : `[${host.val}]`;
  }

  /** As it is written in a header or a command: quoted where it has to be. Empty for the null reverse-path. */
  get address(): string {
    if (!this.#mailbox) return '';
    const { local } = this;
    const written = DOT_STRING.test(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`;
    return `${written}@${this.domain}`;
  }

  toString(): string {
    return this.address;
  }

  toJSON(): object {
    const { address, local, domain } = this;
    return { address, local, domain };
  }
}

/** MAIL. */
export class Sender extends Address {
  readonly parameters: EngineSender['parameters'];

  constructor({ mailbox, parameters }: EngineSender) {
    super(mailbox);
    this.parameters = parameters;
  }
}

/** RCPT. */
export class Recipient extends Address {
  readonly notify: EngineRecipient['notify'];
  readonly orcpt: EngineRecipient['orcpt'];
  readonly #postmaster: boolean;

  constructor({ path, notify, orcpt }: EngineRecipient) {
    super(path.tag === 'mailbox' ? path.val : undefined);
    this.#postmaster = path.tag === 'postmaster';
    this.notify = notify;
    this.orcpt = orcpt;
  }

  override get local(): string {
    return this.#postmaster ? 'postmaster' : super.local;
  }

  /** `postmaster` may stand alone. RFC 5321 section 4.5.1. */
  override get address(): string {
    return this.#postmaster ? 'postmaster' : super.address;
  }
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
