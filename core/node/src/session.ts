/**
 * The two halves of the engine as they are: a session is fed octets, times and answers, and says in steps what it wants done.
 *
 * Owns the life of a session: which instance it lives in, that nothing is called after its end, that a trap ends it and nothing
 * else. Refuses to know sockets and the meaning of what is said. A call that does not fit is a MisuseError, a value that does not fit
 * a ValueError, and both leave the session as it was; a trap is an EngineError, and the session is over.
 *
 * Times are milliseconds on one clock of the embedder's choice; u64 is bigint, and a number is taken where one is given.
 */

import { client, server } from './engine/abi.js';
import type * as Client from './engine/interfaces/hermetic-engine-client.js';
import type * as Server from './engine/interfaces/hermetic-engine-server.js';
import type { Answer, Refusal, Step } from './engine/interfaces/hermetic-engine-types.js';
import { EngineError, HermeticError, MisuseError } from './errors.js';
import { Instance } from './instance.js';

export type { Client, Server };
export type * as Types from './engine/interfaces/hermetic-engine-types.js';

/** Milliseconds. */
export type Time = number | bigint;

/** Who wants to know of each call and what came of it. */
export interface Observer {
  /** The half and the options, before the first call. */
  begin(half: 'server' | 'client', options: object): void;
  /** `given` has the parameters by their names in camelCase. Exactly one of the outcomes is there. */
  call(name: string, given: Record<string, unknown>, outcome: { step?: object; misuse?: object; trap?: string }): void;
}

/** What both halves have. */
abstract class Session<S extends object> {
  protected instance: Instance | undefined;
  protected rep = 0;
  readonly #observer: Observer | undefined;

  protected constructor(observer: Observer | undefined) {
    this.#observer = observer;
  }

  /** The session is over: what it lived in is made clean for another. Calls that follow are misuses. May be called twice. */
  close(): void {
    this.instance?.rest();
    this.instance = undefined;
  }

  /** Whether calls are still possible. */
  get open(): boolean {
    return this.instance !== undefined;
  }

  protected made(half: 'server' | 'client', options: object, make: (m: Instance) => number): void {
    const instance = Instance.take();
    try {
      this.rep = make(instance);
    } catch (error) {
      if (error instanceof HermeticError) {
        instance.rest();
        throw error;
      }
      throw new EngineError('the engine trapped when the session was made', { cause: error });
    }
    this.instance = instance;
    this.#observer?.begin(half, options);
  }

  protected live(): Instance {
    if (!this.instance) throw new MisuseError('the session is closed: no call may follow `close`, `freeze` or a trap', { tag: 'closed' });
    return this.instance;
  }

  protected told(name: string, given: Record<string, unknown>, step: S): S {
    this.#observer?.call(name, given, { step });
    return step;
  }

  /** What is thrown for what came out of the glue. */
  protected failed(name: string, given: Record<string, unknown>, error: unknown): unknown {
    if (error instanceof MisuseError && error.misuse) {
      this.#observer?.call(name, given, { misuse: error.misuse });
      return error;
    }
    if (error instanceof HermeticError) return error;
    // The memory is in the middle of something: nobody uses it again.
    this.instance = undefined;
    const why = error instanceof Error ? error.message : String(error);
    this.#observer?.call(name, given, { trap: why });
    return new EngineError(`the engine trapped in \`${name}\`: ${why}`, { cause: error });
  }

  protected freezing(freeze: (m: Instance, rep: number) => Uint8Array): Uint8Array {
    const m = this.live();
    try {
      const image = freeze(m, this.rep);
      this.close();
      return image;
    } catch (error) {
      throw this.failed('freeze', {}, error);
    }
  }
}

/** The receiving half: `wit/engine/server.wit`, function by function. */
export class ServerSession extends Session<Step> {
  /** @param image what `freeze` gave; without it the session is new */
  constructor(options: Server.Options, observer?: Observer, image?: Uint8Array) {
    super(observer);
    this.made('server', options, (m) => (image ? server.thaw(m, options, image) : server.constructor(m, options)));
  }

  /** The connection is open. Once. */
  start(now: Time): Step {
    const m = this.live();
    try {
      return this.told('start', { now }, server.start(m, this.rep, now));
    } catch (error) {
      throw this.failed('start', { now }, error);
    }
  }

  /** Octets from the peer, or what is left of them. */
  receive(now: Time, input: Uint8Array): Step {
    const m = this.live();
    try {
      return this.told('receive', { now, input }, server.receive(m, this.rep, now, input));
    } catch (error) {
      throw this.failed('receive', { now, input }, error);
    }
  }

  /** The handshake that `start-tls` asked for is done; these mechanisms may now be offered. */
  secured(now: Time, mechanisms: string[]): Step {
    const m = this.live();
    try {
      return this.told('secured', { now, mechanisms }, server.secured(m, this.rep, now, mechanisms));
    } catch (error) {
      throw this.failed('secured', { now, mechanisms }, error);
    }
  }

  /** The time has come. */
  tick(now: Time): Step {
    const m = this.live();
    try {
      return this.told('tick', { now }, server.tick(m, this.rep, now));
    } catch (error) {
      throw this.failed('tick', { now }, error);
    }
  }

  answer(now: Time, answer: Answer): Step {
    const m = this.live();
    try {
      return this.told('answer', { now, answer }, server.answer(m, this.rep, now, answer));
    } catch (error) {
      throw this.failed('answer', { now, answer }, error);
    }
  }

  /** End the session with this reply as soon as no transaction is open, which may be now. */
  drain(now: Time, farewell: Refusal): Step {
    const m = this.live();
    try {
      return this.told('drain', { now, farewell }, server.drain(m, this.rep, now, farewell));
    } catch (error) {
      throw this.failed('drain', { now, farewell }, error);
    }
  }

  /** The whole state; the session is over, and `new ServerSession(options, observer, image)` goes on with it. */
  freeze(): Uint8Array {
    return this.freezing(server.freeze);
  }
}

/** The sending half: `wit/engine/client.wit`, function by function. */
export class ClientSession extends Session<Client.Step> {
  /** @param image what `freeze` gave; without it the session is new */
  constructor(options: Client.Options, observer?: Observer, image?: Uint8Array) {
    super(observer);
    this.made('client', options, (m) => (image ? client.thaw(m, options, image) : client.constructor(m, options)));
  }

  #call(name: string, given: Record<string, unknown>, call: (m: Instance) => Client.Step): Client.Step {
    const m = this.live();
    try {
      return this.told(name, given, call(m));
    } catch (error) {
      throw this.failed(name, given, error);
    }
  }

  /** The connection is open. Once. */
  start(now: Time): Client.Step {
    return this.#call('start', { now }, (m) => client.start(m, this.rep, now));
  }

  /** Octets from the peer: all that have been read. */
  receive(now: Time, input: Uint8Array): Client.Step {
    return this.#call('receive', { now, input }, (m) => client.receive(m, this.rep, now, input));
  }

  /** The handshake that `start-tls` asked for is done. */
  secured(now: Time): Client.Step {
    return this.#call('secured', { now }, (m) => client.secured(m, this.rep, now));
  }

  /** The time has come. */
  tick(now: Time): Client.Step {
    return this.#call('tick', { now }, (m) => client.tick(m, this.rep, now));
  }

  /** The peer has closed the connection, or it has broken. */
  lost(now: Time): Client.Step {
    return this.#call('lost', { now }, (m) => client.lost(m, this.rep, now));
  }

  /** AUTH by one of `peer.mechanisms`, with an initial response if the mechanism has one. */
  login(now: Time, mechanism: string, initial: Uint8Array | undefined): Client.Step {
    return this.#call('login', { now, mechanism, initial }, (m) => client.login(m, this.rep, now, mechanism, initial));
  }

  respond(now: Time, response: Uint8Array): Client.Step {
    return this.#call('respond', { now, response }, (m) => client.respond(m, this.rep, now, response));
  }

  /** Gives up the AUTH exchange; its outcome is that of a refused login. */
  cancel(now: Time): Client.Step {
    return this.#call('cancel', { now }, (m) => client.cancel(m, this.rep, now));
  }

  /** Recipients come back as outcomes. */
  deliver(now: Time, transaction: Client.Transaction): Client.Step {
    return this.#call('deliver', { now, transaction }, (m) => client.deliver(m, this.rep, now, transaction));
  }

  /** The next octets of the content as it is stored; `last` with the last ones, which may be none. */
  content(now: Time, octets: Uint8Array, last: boolean): Client.Step {
    return this.#call('content', { now, octets, last }, (m) => client.content(m, this.rep, now, octets, last));
  }

  /** Ends the session: by QUIT if it is ready, otherwise at once. */
  quit(now: Time): Client.Step {
    return this.#call('quit', { now }, (m) => client.quit(m, this.rep, now));
  }

  /** The whole state; the session is over, and `new ClientSession(options, observer, image)` goes on with it. */
  freeze(): Uint8Array {
    return this.freezing(client.freeze);
  }
}
