/**
 * `SmtpClient`: one connection to a server, for as many messages as one likes.
 *
 * Owns the socket, TLS with the certificate checked, and the order of calls: one thing at a time. Refuses to know the protocol. What became
 * of each recipient is an outcome, never an error; an error is the end of the session (ClientError says whose fault), a login that
 * was refused (LoginError: the session goes on), or a misuse.
 *
 * The run loop: each step's octets are written, its content behind them, its outcomes gathered; then its need is met. What came in
 * plaintext behind the reply to STARTTLS never gets past the engine: it ends the session.
 */

import { connect as connectNet, isIP, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { connect as connectTls, TLSSocket, type ConnectionOptions } from 'node:tls';

import { now } from './alarm.js';
import { clientDefaults } from './defaults.js';
import { HermeticError, MisuseError, shown, ValueError, type Fault } from './errors.js';
import { mailbox, measured, recipient, slices, type Letter } from './letter.js';
import { Recorder, type RecordTarget } from './record.js';
import { ClientSession, type Client, type Types } from './session.js';

/** Times in milliseconds. */
export interface SmtpClientOptions {
  /** Default: 127.0.0.1. */
  host?: string;
  /** Default: 25; 465 with implicit TLS. */
  port?: number;
  /** Our name, for EHLO. Default: `localhost`. */
  name?: string;
  protocol?: 'smtp' | 'lmtp';
  /** STARTTLS: `required`, `opportunistic` (the default: where it is offered), or `never`. */
  startTls?: Client.TlsUse;
  /** TLS from the first octet on. */
  implicitTls?: boolean;
  /** For Node's `tls.connect`. The certificate is checked unless `rejectUnauthorized` is false. */
  tls?: ConnectionOptions;
  /** AUTH without TLS: the password can be read on the way. */
  plaintextAuth?: boolean;
  /** To connect. Default: 30000. */
  connectTimeout?: number;
  /** Bounds of the session, as in wit/engine/client.wit. */
  limits?: Partial<Client.Limits>;
  /** Keywords of EHLO that count as if they were not offered. */
  ignore?: string[];
  pipelining?: boolean;
  chunking?: boolean;
  /** What happens; with `trace` each command and reply too. An event whose `secret` is true must not be logged. */
  onEvent?(event: Types.Event): void;
  trace?: boolean;
  /** Writes the session down: a folder, or a function that gets the text. AUTH and content are in it. */
  record?: RecordTarget;
}

/** What became of one recipient. */
export interface Outcome extends Client.Outcome {
  /** As it was given. */
  address: string;
}

/** What became of a message. */
export interface Delivery {
  /** In the order of `to`. */
  outcomes: Outcome[];
  accepted: string[];
  rejected: string[];
}

/** The session is over, against our will. */
export class ClientError extends HermeticError {
  /** What the engine says of it; absent where the engine was not asked. */
  readonly failure: Client.Failure | undefined;

  constructor(fault: Fault, code: string, message: string, failure?: Client.Failure, options?: ErrorOptions) {
    super(fault, code, message, options);
    this.failure = failure;
  }
}

/** AUTH was refused; the session goes on. */
export class LoginError extends HermeticError {
  readonly reply: Client.Reply;

  constructor(reply: Client.Reply) {
    super('peer', 'HERMETIC_LOGIN', `the login was refused: ${reply.code} ${reply.text}`);
    this.reply = reply;
  }
}

/** Whose fault the failures of the engine's list are, where it is not the peer's. */
const FAULTS: Partial<Record<Client.Fault, Fault>> = { lost: 'network', plaintext: 'network' };

type Waiting = { resolve: (need: Client.Need) => void; reject: (error: Error) => void };

export class SmtpClient {
  readonly #options: SmtpClientOptions;
  readonly #engine: Client.Options;
  #socket: Socket | undefined;
  #session: ClientSession | undefined;
  #recorder: Recorder | undefined;
  #timer: NodeJS.Timeout | undefined;
  #need: Client.Need | undefined;
  #peer: Client.Peer | undefined;
  #outcomes: Client.Outcome[] = [];
  #login: Client.Login | undefined;
  #error: Error | undefined;
  #waiting: Waiting | undefined;
  #busy = false;
  #over = false;
  #handshaking = false;

  constructor(options: SmtpClientOptions = {}) {
    this.#options = options;
    const { startTls, implicitTls = false } = options;
    const defaults = clientDefaults(options.name ?? 'localhost');
    this.#engine = {
      ...defaults,
      protocol: options.protocol ?? 'smtp',
      limits: { ...defaults.limits, ...options.limits },
      tls: implicitTls ? 'never' : (startTls ?? 'opportunistic'),
      implicitTls,
      plaintextAuth: options.plaintextAuth ?? false,
      ignore: options.ignore ?? [],
      pipelining: options.pipelining ?? true,
      chunking: options.chunking ?? true,
      trace: options.trace ?? false,
    };
    // What the engine does not take it says now.
    new ClientSession(this.#engine).close();
  }

  /** Connects and says hello, and STARTTLS where it is to be. Resolves with what the server says of itself. */
  async connect(): Promise<Client.Peer> {
    if (this.#session || this.#over) throw new MisuseError('a client connects once: make another one');
    return this.#alone('connect', async () => {
      const socket = await this.#dial();
      if (this.#options.record !== undefined) this.#recorder = new Recorder(this.#options.record, { peer: `${this.#host}:${this.#port}` });
      this.#session = new ClientSession(this.#engine, this.#recorder);
      this.#attach(socket);
      await this.#until('ready', (session) => session.start(now()));
      return this.#peer as Client.Peer;
    });
  }

  /** What is known of the server. */
  get peer(): Client.Peer | undefined {
    return this.#peer;
  }

  /** Whether the session can take another message. */
  get ready(): boolean {
    return !this.#over && !this.#busy && this.#need?.tag === 'ready';
  }

  /**
   * AUTH PLAIN, or LOGIN where only that is offered.
   * @throws LoginError where it is refused
   */
  async login(username: string, password: string): Promise<void> {
    return this.#alone('login', async () => {
      const { mechanisms = [] } = this.#peer ?? {};
      const mechanism = ['PLAIN', 'LOGIN'].find((one) => mechanisms.includes(one));
      if (!mechanism) {
        const offered = mechanisms.length > 0 ? mechanisms.join(', ') : 'none';
        throw new MisuseError(`login: expected a server that offers PLAIN or LOGIN${this.#peer?.tls ? '' : ' (outside of TLS only with plaintextAuth)'}; it offers ${offered}`);
      }
      const answers = mechanism === 'PLAIN' ? [] : [username, password];
      const initial = mechanism === 'PLAIN' ? Buffer.from(`\0${username}\0${password}`) : undefined;
      this.#login = undefined;
      let need = await this.#until('login', (session) => session.login(now(), mechanism, initial));
      while (need.tag === 'response') {
        const answer = answers.shift();
        need = await this.#until('login', (session) => (answer === undefined ? session.cancel(now()) : session.respond(now(), Buffer.from(answer))));
      }
      const login = this.#login as Client.Login | undefined;
      if (login && !login.accepted) throw new LoginError(login.reply);
    });
  }

  /** Delivers a message. Resolves with what became of each recipient, whatever that is. */
  async send(letter: Letter): Promise<Delivery> {
    return this.#alone('send', async () => {
      const to = Array.isArray(letter.to) ? letter.to : [letter.to];
      if (to.length === 0) throw new ValueError('letter.to: expected at least one recipient');
      const recipients = to.map(recipient);
      const sender = letter.from === null || String(letter.from) === '' ? undefined : mailbox(letter.from, 'letter.from');
      const { content, facts } = await measured(letter);
      this.#outcomes = [];
      const transaction: Client.Transaction = {
        recipients: recipients.map(({ engine }) => engine),
        content: facts,
        requireTls: letter.requireTls ?? false,
        ...(sender && { sender }),
        ...(letter.ret !== undefined && { ret: letter.ret }),
        ...(letter.envid !== undefined && { envid: letter.envid }),
        ...(letter.priority !== undefined && { priority: letter.priority }),
      };
      try {
        const need = await this.#until('content', (session) => session.deliver(now(), transaction));
        if (need.tag === 'content') await this.#content(content);
      } catch (error) {
        // In the middle of a message nothing else can be said.
        if (!this.#over && this.#need?.tag !== 'ready') throw this.#end(error as Error);
        // The session is over, but what became of the message is known.
        if (!(error instanceof ClientError) || this.#outcomes.length < recipients.length) throw error;
      } finally {
        if (content instanceof Readable) content.destroy();
      }
      const outcomes: Outcome[] = [];
      for (const outcome of this.#outcomes) {
        outcomes[outcome.recipient] = { ...outcome, address: recipients[outcome.recipient]?.address ?? '' };
      }
      const having = (wanted: boolean) => outcomes.filter((one) => (one.fate === 'accepted') === wanted).map((one) => one.address);
      return { outcomes, accepted: having(true), rejected: having(false) };
    });
  }

  /** Says QUIT and waits for the end. May be called at any time, and twice. */
  async quit(): Promise<void> {
    if (this.#over) return;
    if (this.#busy || !this.#session) return this.destroy();
    this.#busy = true;
    try {
      await this.#until('close', (session) => session.quit(now()));
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
    } finally {
      this.#busy = false;
    }
  }

  /** Closes the connection without a word. */
  destroy(): void {
    this.#end(new ClientError('embedder', 'HERMETIC_CLOSED', 'the client was closed'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.quit();
  }

  // --- the connection ------------------------------------------------------------------------------------------------

  get #host(): string {
    return this.#options.host ?? '127.0.0.1';
  }

  get #port(): number {
    return this.#options.port ?? (this.#options.implicitTls ? 465 : 25);
  }

  get #tls(): ConnectionOptions {
    return { ...(isIP(this.#host) === 0 && { servername: this.#host }), ...this.#options.tls };
  }

  #dial(): Promise<Socket> {
    const { implicitTls, connectTimeout = 30_000 } = this.#options;
    const [host, port] = [this.#host, this.#port];
    return new Promise((resolve, reject) => {
      const socket = implicitTls ? connectTls({ host, port, ...this.#tls }) : connectNet({ host, port, noDelay: true });
      const fail = (error: Error) => {
        clearTimeout(timer);
        this.#over = true;
        socket.destroy();
        reject(new ClientError('network', (error as NodeJS.ErrnoException).code ?? 'HERMETIC_CONNECT', `${host}:${port}: ${error.message}`, undefined, { cause: error }));
      };
      const timer = setTimeout(() => fail(new Error(`no connection within ${connectTimeout} ms`)), connectTimeout);
      socket.once('error', fail);
      socket.once(implicitTls ? 'secureConnect' : 'connect', () => {
        clearTimeout(timer);
        socket.off('error', fail);
        resolve(socket);
      });
    });
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', this.#received);
    socket.on('error', this.#failed);
    socket.on('end', this.#closed);
    socket.on('close', this.#closed);
  }

  #detach(socket: Socket): void {
    socket.off('data', this.#received);
    socket.off('error', this.#failed);
    socket.off('end', this.#closed);
    socket.off('close', this.#closed);
  }

  readonly #received = (octets: Buffer): void => {
    if (!this.#over && !this.#handshaking) this.#step((session) => session.receive(now(), octets));
  };

  #cause: Error | undefined;

  readonly #failed = (error: Error): void => {
    this.#cause = error;
    this.#closed();
  };

  readonly #closed = (): void => {
    if (!this.#over) this.#step((session) => session.lost(now()));
  };

  // --- the session ---------------------------------------------------------------------------------------------------

  /** One thing at a time. */
  async #alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.#over) throw (this.#error ?? new MisuseError(`${what}: the session is over; make another client`));
    if (this.#busy) throw new MisuseError(`${what}: something else is under way; await it first`);
    if (what !== 'connect' && this.#need?.tag !== 'ready') throw new MisuseError(`${what}: the client is not connected; \`connect\` comes first`);
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }

  /** Makes a call, and resolves with the next need that is ours to meet. */
  #until(_what: string, call: (session: ClientSession) => Client.Step): Promise<Client.Need> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#step(call);
    });
  }

  /** `content` is what the call was given of it. */
  #step(call: (session: ClientSession) => Client.Step, content?: Buffer): void {
    let step: Client.Step;
    try {
      step = call(this.#session as ClientSession);
    } catch (error) {
      // The engine has not moved, unless it is broken: then it is the end.
      if (error instanceof HermeticError && error.fault === 'engine') return void this.#end(error);
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting) return waiting.reject(error as Error);
      return void this.#end(error as Error);
    }
    const { need } = step;
    for (const event of step.events) this.#options.onEvent?.(event);
    this.#outcomes.push(...step.outcomes);
    if (step.login) this.#login = step.login;
    if (step.failure) this.#error = failed(step.failure, this.#cause);
    this.#need = need;
    if (need.tag === 'ready') this.#peer = need.val;
    this.#write(step, content);
    this.#alarm(Number(step.wake));
    if (need.tag === 'close') return void this.#end(this.#error);
    if (need.tag === 'start-tls') return this.#upgrade();
    if (need.tag === 'input') return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(need);
  }

  #write(step: Client.Step, content: Buffer | undefined): void {
    const socket = this.#socket as Socket;
    const pieces = step.transmit.length > 0 ? [step.transmit] : [];
    for (const piece of step.content) {
      pieces.push(piece.tag === 'octets' ? piece.val : (content as Buffer).subarray(piece.val[0], piece.val[0] + piece.val[1]));
    }
    if (pieces.length === 0 || !socket.writable) return;
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
  }

  #alarm(wake: number): void {
    clearTimeout(this.#timer);
    if (this.#over || wake > Number.MAX_SAFE_INTEGER) return;
    this.#timer = setTimeout(
      () => {
        if (this.#over) return;
        if (now() < wake) this.#alarm(wake);
        else this.#step((session) => session.tick(now()));
      },
      Math.min(2 ** 31 - 1, Math.max(1, wake - now() + 1)),
    );
    // A session that only waits for another message does not keep the process alive; its socket does.
    this.#timer.unref();
  }

  async #content(content: Buffer | AsyncIterable<Uint8Array>): Promise<void> {
    const pieces = content instanceof Buffer ? slices(content) : content;
    for await (const given of pieces) {
      if (!(given instanceof Uint8Array)) throw this.#end(new ValueError(`letter.content: expected a stream of octets, got ${shown(given)}`));
      for (const part of slices(Buffer.from(given.buffer, given.byteOffset, given.byteLength))) {
        // The peer may have refused it before all of it was sent.
        if (!(await this.#wanted())) return;
        await this.#give(part, false);
      }
    }
    if (await this.#wanted()) await this.#give(Buffer.alloc(0), true);
    // What is missing are the outcomes.
    await this.#wanted();
  }

  /** Waits until the engine wants content, or is ready for something else. */
  async #wanted(): Promise<boolean> {
    if (this.#over) throw this.#error;
    let need = this.#need;
    if (need?.tag !== 'content' && need?.tag !== 'ready') {
      need = await new Promise<Client.Need>((resolve, reject) => {
        this.#waiting = { resolve, reject };
      });
    }
    return need.tag === 'content';
  }

  /** Waits until the peer has room for more. */
  async #give(octets: Buffer, last: boolean): Promise<void> {
    let error: Error | undefined;
    this.#waiting = { resolve: () => {}, reject: (why) => (error = why) };
    this.#step((session) => session.content(now(), octets, last), octets);
    this.#waiting = undefined;
    if (error) throw this.#end(error);
    const socket = this.#socket;
    if (!socket?.writableNeedDrain || this.#over) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
  }

  /** RFC 3207. The engine has used all that came, so nothing of it is left here; what is in the socket goes to TLS, which it is none of. */
  #upgrade(): void {
    const plain = this.#socket as Socket;
    this.#handshaking = true;
    this.#detach(plain);
    plain.on('error', this.#failed);
    const socket = connectTls({ ...this.#tls, socket: plain });
    const lost = (error?: Error) => {
      this.#cause ??= error;
      this.#handshaking = false;
      this.#closed();
    };
    socket.once('error', lost);
    socket.once('close', () => lost());
    this.#socket = socket;
    socket.once('secureConnect', () => {
      socket.removeAllListeners('close');
      socket.off('error', lost);
      this.#handshaking = false;
      this.#attach(socket);
      this.#step((session) => session.secured(now()));
    });
  }

  /** The end, with what whoever waits is told. Returns that. */
  #end(error: Error | undefined): Error {
    const told = error ?? this.#error ?? new ClientError('embedder', 'HERMETIC_CLOSED', 'the session was closed');
    if (this.#over) return told;
    this.#over = true;
    this.#error = told;
    clearTimeout(this.#timer);
    this.#session?.close();
    this.#recorder?.end();
    const socket = this.#socket;
    if (socket) {
      this.#detach(socket);
      socket.on('error', () => {});
      if (error || !(socket instanceof TLSSocket || socket.writable)) socket.destroy();
      else socket.destroySoon();
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) {
      if (this.#need?.tag === 'close' && !error) waiting.resolve(this.#need);
      else waiting.reject(told);
    }
    return told;
  }
}

function failed(failure: Client.Failure, cause: Error | undefined): ClientError {
  const { fault, stage, reply, detail } = failure;
  const said = reply ? `: ${reply.code} ${reply.text}` : detail ? `: ${detail}` : '';
  const why = cause ? ` (${cause.message})` : '';
  return new ClientError(FAULTS[fault] ?? 'peer', `HERMETIC_${fault.toUpperCase().replaceAll('-', '_')}`, `the session ended at ${stage}: ${fault}${said}${why}`, failure, { cause });
}

