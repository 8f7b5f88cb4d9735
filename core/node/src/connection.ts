/**
 * One connection of a server: the run loop between a socket and its sealed session.
 *
 * 1. Each step: its events are reported, its content goes to the message, its octets to `out`, then its need is met.
 * 2. `out` is written in one piece before anything that waits.
 * 3. While a question is open, a handler has enough, or the peer reads no replies, nothing is read: what a connection holds is one
 *    read of the socket, one message's bounded part and the unsent replies to one read.
 * 4. What came in plaintext behind STARTTLS is dropped with the buffer it is in, before the handshake begins.
 *
 * Owns the socket and its end. Refuses to know what is said. An engine that traps costs its own connection 421 and nothing else.
 */

import type { Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';

import { now, type Alarm, type Sleeper } from './alarm.js';
import { Answers, type Handlers, type Session } from './answers.js';
import type { Step, Question, Answer } from './engine/interfaces/hermetic-engine-types.js';
import { EngineError, HermeticError, MisuseError } from './errors.js';
import { Recorder, type RecordTarget } from './record.js';
import { ServerSession, type Server } from './session.js';

/** What connections of one server share. */
export interface Shared {
  readonly alarm: Alarm;
  readonly handlers: Handlers;
  readonly options: Server.Options;
  /** For STARTTLS, and where TLS is implicit. */
  readonly secureContext: SecureContext | undefined;
  /** Milliseconds that a peer may take to read what was written. */
  readonly writeTimeout: number;
  readonly record: RecordTarget | undefined;
  /** The connection is over. */
  ended(connection: Connection): void;
}

/** Said without an engine, where there is none to say it. */
const NO_ENGINE = '421 4.3.0 internal trouble, closing the connection\r\n';
/** Milliseconds from our last word until the peer has closed its side. */
const LINGER = 5000;

/** Events that end a session before the peer expects it. */
const CUTTING = new Set(['refused', 'too-many-errors', 'timed-out']);

let count = 0;

export class Connection implements Sleeper, Session {
  readonly id = ++count;
  data: unknown = undefined;
  wake = Infinity;
  readonly #shared: Shared;
  #socket: Socket;
  #answers: Answers;
  #session: ServerSession | undefined;
  #recorder: Recorder | undefined;
  /** Read and not used yet. */
  #rest: Buffer | undefined;
  /** Said and not written yet. */
  #out: Uint8Array[] = [];
  /** `input`: the engine wants more; `busy`: something is waited for first; `closing`: our last word is said. */
  #state: 'input' | 'busy' | 'closing' | 'over' = 'busy';
  /** When the peer must have read what was written. */
  #unread = Infinity;
  #peerEnded = false;
  #drain: { code: number; subject: number; detail: number; text: string } | undefined;
  #error: Error | undefined;

  constructor(socket: Socket, shared: Shared) {
    this.#shared = shared;
    this.#socket = socket;
    this.#answers = new Answers(shared.handlers, this);
    shared.alarm.add(this);
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort;
  }

  get localPort(): number | undefined {
    return this.#socket.localPort;
  }

  get secure(): boolean {
    return this.#socket instanceof TLSSocket;
  }

  get hello(): Session['hello'] {
    return this.#answers.hello;
  }

  get login(): string | undefined {
    return this.#answers.login;
  }

  /** The connection is there. */
  begin(): void {
    if (this.#shared.options.implicitTls) {
      this.#sleep(now() + Number(this.#shared.options.limits.handshakeTimeout));
      this.#secure(() => this.#open());
    } else {
      this.#attach();
      this.#open();
    }
  }

  /** End the session when no transaction is open. */
  drain(farewell: { code: number; subject: number; detail: number; text: string }): void {
    this.#drain = farewell;
    if (this.#state === 'input') this.#drained();
  }

  destroy(): void {
    this.#over(undefined);
  }

  woken(): void {
    const time = now();
    this.wake = Infinity;
    if (this.#state === 'closing' || this.#state === 'over') return this.#over(this.#error);
    if (!this.#session) return this.#over(new HermeticError('peer', 'HERMETIC_TIMEOUT', 'the TLS handshake took too long'));
    if (time >= this.#unread) return this.#over(new HermeticError('peer', 'HERMETIC_TIMEOUT', 'the peer did not read what was said to it'));
    if (this.#state === 'input' || this.#handshaking) this.#call((session) => session.tick(time));
  }

  // --- the socket ----------------------------------------------------------------------------------------------------

  #handshaking = false;

  #attach(): void {
    const socket = this.#socket;
    socket.on('data', this.#received);
    socket.on('end', this.#ended);
    socket.on('drain', this.#drainedOut);
    socket.on('error', this.#failed);
    socket.on('close', this.#closed);
  }

  readonly #received = (octets: Buffer): void => {
    if (this.#state === 'closing' || this.#state === 'over') return;
    this.#rest = this.#rest ? Buffer.concat([this.#rest, octets]) : octets;
    if (this.#state === 'input') this.#feed();
  };

  readonly #ended = (): void => {
    this.#peerEnded = true;
    if (this.#state === 'closing') this.#over(this.#error);
    // What it said before still counts, and is answered: it may only have closed its side.
    else if (this.#state === 'input' && !this.#handshaking) this.#gone();
  };

  readonly #drainedOut = (): void => {
    this.#unread = Infinity;
    if (this.#state === 'busy' && this.#blocked) {
      this.#blocked = false;
      this.#ready();
    }
  };

  readonly #failed = (error: Error): void => {
    // After the last word it does not matter how the peer leaves.
    if (this.#state === 'closing') return this.#over(this.#error);
    this.#over(new HermeticError('network', (error as NodeJS.ErrnoException).code ?? 'HERMETIC_LOST', error.message, { cause: error }));
  };

  readonly #closed = (): void => this.#over(this.#error);

  #blocked = false;
  /** The session may end before the peer expects it. */
  #cutShort = false;

  /** Writes what was said. False: the peer has to read first. */
  #flush(): boolean {
    const out = this.#out;
    if (out.length === 0) return true;
    this.#out = [];
    const [first] = out;
    const kept = this.#socket.write(out.length === 1 && first ? first : Buffer.concat(out));
    if (!kept) {
      this.#unread = now() + this.#shared.writeTimeout;
      this.#sleep(this.#unread);
    }
    return kept;
  }

  #sleep(wake: number): void {
    this.wake = wake;
    this.#shared.alarm.at(wake);
  }

  // --- the session ---------------------------------------------------------------------------------------------------

  #open(): void {
    const { record, options } = this.#shared;
    try {
      if (record !== undefined) this.#recorder = new Recorder(record, { listener: `port ${this.localPort ?? 'unknown'}` });
      this.#session = new ServerSession(options, this.#recorder);
    } catch (error) {
      return this.#broken(error);
    }
    this.#call((session) => session.start(now()));
  }

  #call(call: (session: ServerSession) => Step): void {
    let step: Step;
    try {
      step = call(this.#session as ServerSession);
    } catch (error) {
      return this.#broken(error);
    }
    this.#run(step, undefined);
  }

  /** The engine wants input, and there is some. */
  #feed(): void {
    const input = this.#rest as Buffer;
    let step: Step;
    try {
      step = (this.#session as ServerSession).receive(now(), input);
    } catch (error) {
      return this.#broken(error);
    }
    this.#run(step, input);
  }

  /** Takes steps until something has to be waited for. `input` is what the last call was given. */
  #run(step: Step, input: Buffer | undefined): void {
    this.#state = 'busy';
    const session = this.#session as ServerSession;
    const answers = this.#answers;
    try {
      for (;;) {
        if (step.events.length > 0) answers.report(step.events);
        // Before this step's content, which belongs to what comes behind.
        if (step.abandoned) answers.abandoned('the peer did not finish the message, or it could not be accepted');
        if (step.body.length > 0) answers.content(step.body, input as Buffer);
        if (step.transmit.length > 0) this.#out.push(step.transmit);
        if (input) {
          const { consumed } = step;
          const rest = consumed < input.length ? input.subarray(consumed) : undefined;
          if (consumed === 0 && rest && step.need.tag === 'input') throw new EngineError('the engine makes no progress');
          this.#rest = rest;
        }
        // A handler may have closed the connection.
        if (this.#over_) return;
        const { need } = step;
        if (need.tag === 'answer') {
          input = undefined;
          const answer = answers.answer(need.val);
          if (this.#over_) return;
          if (answer instanceof Promise) return this.#await(answer, need.val);
          step = session.answer(now(), answer);
        } else if (need.tag === 'input') {
          if (answers.waitsForRoom(this.#room)) return this.#wait(step);
          if (!this.#rest) return this.#wait(step);
          input = this.#rest;
          step = session.receive(now(), input);
        } else if (need.tag === 'start-tls') {
          return this.#startTls(step);
        } else {
          this.#cutShort ||= this.#rest !== undefined || step.events.some(({ occasion }) => CUTTING.has(occasion));
          return this.#close();
        }
      }
    } catch (error) {
      this.#broken(error);
    }
  }

  get #over_(): boolean {
    return this.#state === 'over' || this.#state === 'closing';
  }

  /** A handler takes its time: the peer gets what was said so far, and is not read. */
  #await(answer: Promise<Answer>, question: Question): void {
    this.wake = Infinity;
    this.#socket.pause();
    this.#flush();
    answer.then(
      (given) => {
        if (this.#over_) return;
        this.#socket.resume();
        this.#call((session) => session.answer(now(), given));
      },
      (error: unknown) => this.#broken(new EngineError(`the answer to ${question.tag} could not be made`, { cause: error })),
    );
  }

  #wake: bigint = 0n;

  /** The engine wants input: not before the peer has read, and the handler has room. */
  #wait(step: Step): void {
    this.#wake = step.wake;
    if (!this.#flush()) {
      this.#blocked = true;
      this.#socket.pause();
      return;
    }
    if (this.#answers.waitsForRoom(this.#room)) {
      this.wake = Infinity;
      this.#socket.pause();
      return;
    }
    this.#listen();
  }

  readonly #room = (): void => {
    if (this.#state === 'busy' && !this.#blocked) this.#ready();
  };

  /** What was waited for is there. */
  #ready(): void {
    if (this.#answers.waitsForRoom(this.#room)) return;
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#listen();
  }

  #listen(): void {
    this.#state = 'input';
    this.#sleep(Number(this.#wake));
    if (this.#rest) return this.#feed();
    if (this.#drain) return this.#drained();
    if (this.#peerEnded) this.#gone();
  }

  #drained(): void {
    const farewell = this.#drain;
    this.#drain = undefined;
    this.#cutShort = true;
    if (farewell) this.#call((session) => session.drain(now(), farewell));
  }

  // --- TLS -----------------------------------------------------------------------------------------------------------

  /** RFC 3207: nothing that came before the 220 was written counts. */
  #startTls(step: Step): void {
    // Woken too early: the handshake goes on.
    if (this.#handshaking) return this.#sleep(Number(step.wake));
    this.#rest = undefined;
    this.#answers.anew();
    this.#sleep(Number(step.wake));
    this.#handshaking = true;
    const socket = this.#socket;
    socket.pause();
    socket.off('data', this.#received);
    socket.off('end', this.#ended);
    socket.off('drain', this.#drainedOut);
    socket.off('error', this.#failed);
    socket.off('close', this.#closed);
    this.#flush();
    // What is in the socket's own buffer came in plaintext too.
    while (socket.read() !== null);
    this.#secure(() => {
      this.#handshaking = false;
      this.#call((session) => session.secured(now(), this.#shared.options.tlsMechanisms));
    });
  }

  #secure(secured: () => void): void {
    const { secureContext } = this.#shared;
    const plain = this.#socket;
    plain.on('error', this.#failed);
    const socket = new TLSSocket(plain, { isServer: true, ...(secureContext && { secureContext }) });
    // TLSSocket reports it when a handshake fails, and closes both.
    socket.once('secure', () => {
      this.#socket = socket;
      secured();
    });
    this.#socket = socket;
    this.#attach();
  }

  // --- the end -------------------------------------------------------------------------------------------------------

  /** The peer has closed its side, and all that it said is answered. */
  #gone(): void {
    this.#answers.abandoned('the peer closed the connection');
    this.#close();
  }

  /**
   * Our last word, then the peer's. Whoever is cut short may be in the middle of a sentence: closing at once would then reset the connection,
   * and take our last word from the peer.
   */
  #close(): void {
    this.#state = 'closing';
    this.#flush();
    this.#settle();
    this.#sleep(now() + LINGER);
    if (this.#peerEnded || !this.#cutShort) return this.#socket.destroySoon();
    this.#socket.end();
    this.#socket.resume();
  }

  /** The session failed, and not by the peer. */
  #broken(error: unknown): void {
    if (this.#state === 'over') return;
    const known = error instanceof HermeticError ? error : new EngineError('the session failed', { cause: error });
    this.#error = known;
    this.#cutShort = true;
    if (!(error instanceof MisuseError)) this.#answers.trouble(known);
    else this.#answers.trouble(error);
    this.#out.push(Buffer.from(NO_ENGINE));
    this.#close();
  }

  /** Nothing more is asked of the session. */
  #settle(): void {
    this.#answers.abandoned('the session has ended');
    this.#session?.close();
    try {
      this.#recorder?.end();
    } catch (error) {
      this.#answers.trouble(error);
    }
    this.#recorder = undefined;
  }

  #over(error: Error | undefined): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.wake = Infinity;
    this.#settle();
    this.#socket.destroy();
    this.#shared.alarm.delete(this);
    this.#shared.ended(this);
    try {
      this.#shared.handlers.onClose?.(this, error);
    } catch (thrown) {
      this.#answers.trouble(thrown);
    }
  }
}
