/**
 * `hermetic-smtp/sink`: a server for tests. It records what it is sent, and fails exactly where a test wants it to.
 *
 * Owns the messages and the script. Each rule says at which point of a session it counts, for whom, and how often; the first that fits is
 * taken. What it keeps is bounded: beyond that it says 452, and never forgets a message silently.
 */

import type { AddressInfo } from 'node:net';

import type { Address, Recipient } from './address.js';
import type { Handlers, Session, Verdict } from './answers.js';
import { shown, ValueError } from './errors.js';
import { Refusal, type RefusalParts } from './refusal.js';
import { createServer, type Server, type ServerOptions } from './server.js';

/** A message as it was accepted. */
export interface SunkMessage {
  /** The reverse-path; empty: the null reverse-path. */
  from: string;
  /** The recipients that were accepted. */
  to: string[];
  /** Octet for octet. */
  content: Buffer;
  /** The same as text. */
  text: string;
  /** Inside TLS. */
  secure: boolean;
  /** What the client logged in as. */
  login: string | undefined;
  /** Sessions are counted from 1. */
  session: number;
}

/**
 * Where in a session: at the connection, EHLO, AUTH, MAIL, RCPT, DATA, when content has begun to come, or when all of it is there and no
 * reply was given yet (after which a client can not know whether the message was taken: RFC 1047).
 */
export type Point = 'connect' | 'hello' | 'auth' | 'mail' | 'rcpt' | 'data' | 'content' | 'message';

/** An address, in any case; `*`: everybody; or what decides. At `auth` it is the user's name. */
export type Who = string | RegExp | ((address: string) => boolean);

export interface RuleOptions {
  /** How often. Default: always. */
  times?: number;
  /** Default: `rcpt`. */
  at?: Point;
}

export interface SinkOptions extends Omit<ServerOptions, 'name'> {
  name?: string;
  host?: string;
  port?: number;
  /** Users and their passwords; without them every login is good. */
  users?: Record<string, string>;
  /** Messages that are kept. Default: 10000. */
  keep?: number;
  /** Octets that are kept. Default: 256 MiB. */
  keepSize?: number;
}

interface Rule {
  who: (address: string) => boolean;
  at: Point;
  left: number;
  what: { refuse: Refusal } | { delay: number } | { drop: true };
}

const POINTS: Point[] = ['connect', 'hello', 'auth', 'mail', 'rcpt', 'data', 'content', 'message'];
const FULL = new Refusal({ code: 452, status: '4.3.1', text: 'The sink is full: reset it' });

/** Listens on a free port of 127.0.0.1. */
export async function createTestSink(options: SinkOptions = {}): Promise<TestSink> {
  const sink = new TestSink(options);
  await sink.listen();
  return sink;
}

export class TestSink {
  /** What was accepted, in order. */
  readonly messages: SunkMessage[] = [];
  readonly #server: Server;
  readonly #options: SinkOptions;
  readonly #rules: Rule[] = [];
  readonly #sessions = new Map<number, number>();
  #count = 0;
  #size = 0;
  #address: AddressInfo | undefined;
  #watchers = new Set<() => void>();

  /** Use `createTestSink`. */
  constructor(options: SinkOptions) {
    const { host: _host, port: _port, users: _users, keep: _keep, keepSize: _keepSize, ...server } = options;
    this.#options = options;
    const offersAuth = options.tls !== undefined || options.plaintextAuth === true;
    this.#server = createServer({ name: 'sink.test', ...server }, this.#handlers(offersAuth));
  }

  /** For `createTestSink`. */
  async listen(): Promise<void> {
    this.#address = await this.#server.listen(this.#options.port ?? 0, this.#options.host ?? '127.0.0.1');
  }

  get host(): string {
    return this.#address?.address ?? '';
  }

  get port(): number {
    return this.#address?.port ?? 0;
  }

  /** Sessions that there were. */
  get sessions(): number {
    return this.#count;
  }

  /** Says no to whom, so many times: `sink.refuse('anna@example.org', {code: 452, status: '4.2.2', text: 'Full'}, {times: 1})`. */
  refuse(who: Who, refusal: RefusalParts | Refusal, options?: RuleOptions): this {
    return this.#rule(who, { refuse: refusal instanceof Refusal ? refusal : new Refusal(refusal) }, options);
  }

  /** Lets whom wait, in milliseconds, before the answer. */
  delay(who: Who, milliseconds: number, options?: RuleOptions): this {
    if (!Number.isFinite(milliseconds) || milliseconds < 0) throw new ValueError(`delay: expected milliseconds, got ${shown(milliseconds)}`);
    return this.#rule(who, { delay: milliseconds }, options);
  }

  /** Closes the connection at this point, instead of an answer. */
  drop(who: Who, options?: RuleOptions): this {
    return this.#rule(who, { drop: true }, options);
  }

  /** Forgets messages and rules. */
  reset(): void {
    this.messages.length = 0;
    this.#rules.length = 0;
    this.#size = 0;
  }

  /** Resolves when there are so many messages, with them; fails after `timeout` milliseconds. */
  async waitFor(count = 1, timeout = 5000): Promise<SunkMessage[]> {
    const end = Date.now() + timeout;
    while (this.messages.length < count) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`the sink has ${this.messages.length} messages after ${timeout} ms; expected ${count}`);
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#watchers.delete(done);
          resolve();
        };
        const timer = setTimeout(done, left);
        this.#watchers.add(done);
      });
    }
    return this.messages.slice(0, count);
  }

  /** Ends at once whatever is under way. */
  async close(): Promise<void> {
    await this.#server.close(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #rule(who: Who, what: Rule['what'], { times = Infinity, at = 'rcpt' }: RuleOptions = {}): this {
    if (!POINTS.includes(at)) throw new ValueError(`at: expected one of ${POINTS.join(', ')}, got ${shown(at)}`);
    if (times !== Infinity && (!Number.isInteger(times) || times < 1)) throw new ValueError(`times: expected a whole number from 1, got ${shown(times)}`);
    if ((at === 'connect' || at === 'hello') && typeof who === 'string' && who.includes('@')) {
      throw new ValueError(`at ${at} no address is known yet: expected \`*\`, got ${shown(who)}`);
    }
    this.#rules.push({ who: matcher(who), at, left: times, what });
    return this;
  }

  /** The answer that the script has for this point, if any. `addresses`: whom it may be about. */
  #scripted(at: Point, addresses: string[], session: Session): Verdict | Promise<Verdict> {
    const delays: number[] = [];
    let verdict: Verdict;
    for (const rule of this.#rules) {
      if (rule.at !== at || rule.left === 0 || !addresses.some(rule.who)) continue;
      if ('delay' in rule.what) {
        rule.left--;
        delays.push(rule.what.delay);
        continue;
      }
      rule.left--;
      if ('drop' in rule.what) {
        return after(delays, () => {
          session.destroy();
          return undefined;
        });
      }
      verdict = rule.what.refuse;
      break;
    }
    return after(delays, () => verdict);
  }

  #handlers(offersAuth: boolean): Handlers {
    const { users, keep = 10_000, keepSize = 256 * 1024 * 1024 } = this.#options;
    return {
      onConnect: (session) => {
        this.#sessions.set(session.id, ++this.#count);
        return this.#scripted('connect', ['*'], session);
      },
      onHello: (hello, session) => this.#scripted('hello', [hello.raw], session),
      onSender: (sender, session) => this.#scripted('mail', [sender.address], session),
      onRecipient: (recipient, session) => this.#scripted('rcpt', [recipient.address], session),
      onData: ({ recipients }, session) => this.#scripted('data', recipients.map(written), session),
      onMessage: async (message, session) => {
        const to = message.recipients.map(written);
        const early = await this.#scripted('content', to, session);
        const content = await message.bytes(keepSize);
        if (early instanceof Refusal) return early;
        const verdicts: Verdict[] = [];
        for (const address of to) verdicts.push(await this.#scripted('message', [address], session));
        const taken = to.filter((_, i) => !(verdicts[i] instanceof Refusal));
        if (taken.length > 0) {
          if (this.messages.length >= keep || this.#size + content.length > keepSize) return FULL;
          this.#size += content.length;
          const text = new TextDecoder().decode(content);
          this.messages.push({
            from: message.sender.address,
            to: taken,
            content,
            text,
            secure: session.secure,
            login: session.login,
            session: this.#sessions.get(session.id) ?? 0,
          });
          for (const watcher of [...this.#watchers]) watcher();
        }
        return verdicts;
      },
      onClose: (session) => void this.#sessions.delete(session.id),
      ...(offersAuth && {
        onAuth: async ({ username, password }, session) => {
          const verdict = await this.#scripted('auth', [username], session);
          if (verdict instanceof Refusal) return verdict;
          if (users && users[username] !== password) return new Refusal({ code: 535, status: '5.7.8', text: 'Authentication credentials invalid' });
          return username;
        },
      }),
    };
  }
}

const written = (recipient: Address | Recipient): string => recipient.address;

function matcher(who: Who): Rule['who'] {
  if (who === '*') return () => true;
  if (typeof who === 'string') {
    const wanted = who.toLowerCase();
    return (address) => address.toLowerCase() === wanted;
  }
  if (who instanceof RegExp) {
    // Its state would make every other test fail.
    const plain = new RegExp(who.source, who.flags.replace(/[gy]/g, ''));
    return (address) => plain.test(address);
  }
  if (typeof who === 'function') return who;
  throw new ValueError(`who: expected an address, \`*\`, a regular expression or a function, got ${shown(who)}`);
}

function after(delays: number[], then: () => Verdict): Verdict | Promise<Verdict> {
  if (delays.length === 0) return then();
  const milliseconds = delays.reduce((sum, each) => sum + each, 0);
  return new Promise((resolve) => setTimeout(() => resolve(then()), milliseconds));
}
