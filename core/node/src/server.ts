/**
 * `createServer`: a server on Node's sockets, with the questions that one cares for as handlers.
 *
 * Owns the listening socket, how many sessions there are, and their end. Refuses to know the protocol. What is wrong with the options
 * is a ValueError at once, not at the first connection.
 */

import { EventEmitter, once } from 'node:events';
import { createServer as createNetServer, type AddressInfo, type ListenOptions, type Server as NetServer, type Socket } from 'node:net';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

import { Alarm } from './alarm.js';
import { discard, type Handlers } from './answers.js';
import { Connection, type Shared } from './connection.js';
import { serverDefaults } from './defaults.js';
import { HermeticError, MisuseError, shown, ValueError } from './errors.js';
import type { RecordTarget } from './record.js';
import { MECHANISMS } from './sasl.js';
import { ServerSession, type Server as EngineServer } from './session.js';

/** Everything may be left out. Times in milliseconds, sizes in octets. */
export interface ServerOptions {
  /** In the greeting. Default: `localhost`. */
  name?: string;
  protocol?: 'smtp' | 'lmtp';
  /** Key and certificate: offers STARTTLS. */
  tls?: SecureContextOptions;
  /** TLS from the first octet on. */
  implicitTls?: boolean;
  /** Nothing but EHLO and STARTTLS before TLS. */
  requireTls?: boolean;
  /** Mail only after AUTH. */
  requireAuth?: boolean;
  /** AUTH without TLS: passwords can be read on the way. */
  plaintextAuth?: boolean;
  /** The largest message. Default: 32 MiB. */
  messageSize?: number;
  /** Bounds of a session, as in wit/engine/server.wit. */
  limits?: Partial<EngineServer.Limits>;
  /** Attributes of XCLIENT that peers may set. Default: none. */
  xclient?: string[];
  /** Sessions at a time; others are told 421. Default: 1000, at most 12000. */
  sessions?: number;
  /** For a peer to read what was said to it. Default: 60000. */
  writeTimeout?: number;
  /** Commands and replies are events too. */
  trace?: boolean;
  /** Writes each session down: a folder, or a function that gets the text. AUTH and content are in it. */
  record?: RecordTarget;
}

const KNOWN = [
  'name', 'protocol', 'tls', 'implicitTls', 'requireTls', 'requireAuth', 'plaintextAuth', 'messageSize', 'limits', 'xclient', 'sessions',
  'writeTimeout', 'trace', 'record',
]; // prettier-ignore
const HANDLERS = ['onConnect', 'onHello', 'onXclient', 'onAuth', 'onSender', 'onRecipient', 'onVerify', 'onData', 'onMessage', 'onClose', 'onEvent', 'onError'];

/** Said without a session, where there is no room for one. */
const NO_ROOM = '421 4.7.0 too many connections, try again later\r\n';

/** @throws ValueError where an option or a handler is not what it has to be */
export function createServer(options: ServerOptions, handlers: Handlers): Server {
  return new Server(options, handlers);
}

/** Emits `error` where listening fails after it began. */
export class Server extends EventEmitter<{ error: [Error] }> {
  readonly #net: NetServer;
  readonly #connections = new Set<Connection>();
  readonly #shared: Shared;
  readonly #most: number;
  #closing = false;

  constructor(options: ServerOptions, handlers: Handlers) {
    super();
    const engine = engineOptions(options, handlers);
    this.#most = count('sessions', options.sessions ?? 1000, 1, 12_000);
    this.#shared = {
      alarm: new Alarm(),
      handlers,
      options: engine,
      secureContext: options.tls ? secureContext(options.tls) : undefined,
      writeTimeout: count('writeTimeout', options.writeTimeout ?? 60_000, 1, 2 ** 31 - 1),
      record: options.record,
      ended: (connection) => this.#connections.delete(connection),
    };
    // What the engine does not take it says now.
    new ServerSession(engine).close();
    this.#net = createNetServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    this.#net.on('error', (error) => {
      if (this.#net.listening) this.emit('error', error);
    });
  }

  /**
   * Listens: `listen(2525)`, `listen(2525, '127.0.0.1')`, or Node's own options. Without a port the system chooses one.
   * @throws HermeticError where it can not, with the system's code, such as EADDRINUSE
   */
  async listen(port: number | ListenOptions = 0, host?: string): Promise<AddressInfo> {
    if (this.#net.listening) throw new MisuseError('the server listens already');
    if (this.#closing) throw new MisuseError('the server was closed: make another one');
    const options = typeof port === 'number' ? { port, ...(host !== undefined && { host }) } : port;
    this.#net.listen({ backlog: 1024, ...options });
    try {
      await once(this.#net, 'listening');
    } catch (error) {
      const { code = 'HERMETIC_LISTEN', message } = error as NodeJS.ErrnoException;
      throw new HermeticError('network', code, message, { cause: error });
    }
    return this.#net.address() as AddressInfo;
  }

  /** Where it listens. */
  address(): AddressInfo {
    const address = this.#net.address();
    if (!address) throw new MisuseError('the server does not listen: `listen` comes first');
    return address as AddressInfo;
  }

  /** Sessions at the moment. */
  get sessions(): number {
    return this.#connections.size;
  }

  /**
   * Takes no more connections, tells each peer 421 as soon as it has no transaction open, and resolves when all are gone; after `grace`
   * milliseconds the rest is cut off.
   */
  async close(grace = 5000): Promise<void> {
    this.#closing = true;
    const closed = this.#net.listening ? new Promise<void>((resolve) => this.#net.close(() => resolve())) : undefined;
    const farewell = { code: 421, subject: 3, detail: 2, text: `${this.#shared.options.serverName} is shutting down` };
    for (const connection of [...this.#connections]) connection.drain(farewell);
    const cut = setTimeout(() => {
      for (const connection of [...this.#connections]) connection.destroy();
    }, grace);
    await closed;
    clearTimeout(cut);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= this.#most || this.#closing) {
      socket.on('error', () => {});
      // Inside TLS it would be taken for a broken handshake.
      if (this.#shared.options.implicitTls) socket.destroy();
      else socket.end(NO_ROOM, () => socket.destroy());
      return;
    }
    const connection = new Connection(socket, this.#shared);
    this.#connections.add(connection);
    connection.begin();
  }
}

function engineOptions(options: ServerOptions, handlers: Handlers): EngineServer.Options {
  known('options', options, KNOWN);
  known('handlers', handlers, HANDLERS);
  for (const name of HANDLERS) {
    const handler = (handlers as unknown as Record<string, unknown>)[name];
    if (handler !== undefined && typeof handler !== 'function') throw new ValueError(`handlers.${name}: expected a function, got ${shown(handler)}`);
  }
  if (!handlers.onMessage) throw new ValueError('handlers.onMessage: expected a function; `discard` takes all mail and keeps none');
  if ((options.implicitTls || options.requireTls) && !options.tls) throw new ValueError('options.tls: expected a key and a certificate, as TLS is wanted');
  if ((options.requireAuth || options.plaintextAuth) && !handlers.onAuth) throw new ValueError('handlers.onAuth: expected a function, as AUTH is wanted');
  const defaults = serverDefaults(options.name ?? 'localhost');
  const mechanisms = handlers.onAuth ? MECHANISMS : [];
  const envelope = handlers.onMessage !== discard || handlers.onData !== undefined;
  const engine = {
    ...defaults,
    protocol: options.protocol ?? 'smtp',
    limits: { ...defaults.limits, ...(options.messageSize !== undefined && { messageSize: BigInt(count('messageSize', options.messageSize, 0, Number.MAX_SAFE_INTEGER)) }), ...options.limits },
    implicitTls: options.implicitTls ?? false,
    startTls: options.tls !== undefined && !options.implicitTls,
    requireTls: options.requireTls ?? false,
    plaintextMechanisms: options.plaintextAuth ? mechanisms : [],
    tlsMechanisms: options.tls ? mechanisms : [],
    requireAuth: options.requireAuth ?? false,
    xclient: options.xclient ?? [],
    trace: options.trace ?? false,
    unasked: {
      connection: !handlers.onConnect,
      hello: !handlers.onHello,
      xclient: !handlers.onXclient,
      sender: !handlers.onSender && !envelope,
      recipients: !handlers.onRecipient && !envelope,
      verify: !handlers.onVerify,
      data: !handlers.onData,
      message: handlers.onMessage === discard,
    },
  };
  return engine;
}

function secureContext(tls: SecureContextOptions) {
  try {
    return createSecureContext(tls);
  } catch (error) {
    throw new ValueError(`options.tls: Node does not take it: ${(error as Error).message}`);
  }
}

/** A whole number. */
function count(name: string, value: unknown, low: number, high: number): number {
  if (!Number.isInteger(value) || (value as number) < low || (value as number) > high) {
    throw new ValueError(`options.${name}: expected a whole number from ${low} to ${high}, got ${shown(value)}`);
  }
  return value as number;
}

/** A name that is written wrong would silently do nothing. */
function known(place: string, given: unknown, names: string[]): void {
  if (typeof given !== 'object' || given === null) throw new ValueError(`${place}: expected an object, got ${shown(given)}`);
  const odd = Object.keys(given).find((name) => !names.includes(name));
  if (odd !== undefined) throw new ValueError(`${place}.${odd}: there is no such name; expected some of ${names.join(', ')}`);
}
