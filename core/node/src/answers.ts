/**
 * From the engine's questions to the handlers and back. A handler that answers at once is never waited for.
 *
 * Owns what is known of one session and its message on the way in. Refuses to know sockets. A handler's fault is its own: the peer
 * is told 451, and `onError` gets the error.
 */

import { Recipient, Sender } from './address.js';
import type { Answer, Decision, Event, Hello, MessageFacts, Piece, Question, XclientAttribute } from './engine/interfaces/hermetic-engine-types.js';
import { AbandonedError, shown, ValueError } from './errors.js';
import { Content, Message, type Envelope } from './message.js';
import { Refusal } from './refusal.js';
import { Exchange, type Credentials } from './sasl.js';

/** Yes, yes with a text that replaces the usual one, or no. A Refusal may be thrown too. */
export type Verdict = void | undefined | true | string | Refusal;
type Maybe<T> = T | Promise<T>;

/** What handlers know of the session. */
export interface Session {
  /** Counts the sessions of this process. */
  readonly id: number;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly localPort: number | undefined;
  /** Inside TLS. */
  readonly secure: boolean;
  /** How the peer said hello last; only where there is an `onHello`. */
  readonly hello: Hello | undefined;
  /** What `onAuth` called the login. */
  readonly login: string | undefined;
  /** For whatever the handlers want to remember. */
  data: unknown;
  /** Closes the connection at once, without a word. */
  destroy(): void;
}

/** The questions that one cares for. What has no handler is answered with yes, inside the engine. */
export interface Handlers {
  /** May this client speak? */
  onConnect?(session: Session): Maybe<Verdict>;
  onHello?(hello: Hello, session: Session): Maybe<Verdict>;
  /** XCLIENT, where `xclient` lists attributes that the peer may set. */
  onXclient?(attributes: XclientAttribute[], session: Session): Maybe<Verdict>;
  /** PLAIN and LOGIN, offered inside TLS. Returns the name of the login, or true for the user's name. */
  onAuth?(credentials: Credentials, session: Session): Maybe<string | true | Refusal>;
  onSender?(sender: Sender, session: Session): Maybe<Verdict>;
  onRecipient?(recipient: Recipient, session: Session): Maybe<Verdict>;
  /** VRFY: the mailbox that exists, or nothing where one does not want to say. */
  onVerify?(argument: string, session: Session): Maybe<string | void | undefined | Refusal>;
  /** May the content begin? */
  onData?(envelope: Envelope, session: Session): Maybe<Verdict>;
  /**
   * A message: called when its content begins. What is returned is the answer, given when all of the content has come: a verdict for
   * all recipients, or an array with one for each (they hear of their own in LMTP and PRDR). 250 says that the message is safe, so
   * answer when it is. `discard` takes all mail and keeps none.
   */
  onMessage(message: Message, session: Session): Maybe<Verdict | Verdict[]>;
  /** The session has ended; `error` says why where it did not end as it should. */
  onClose?(session: Session, error: Error | undefined): void;
  /** What happened, for a log. With `trace` each command and reply too. An event whose `secret` is true must not be logged. */
  onEvent?(event: Event, session: Session): void;
  /** What a handler threw that is no Refusal. Without it the process is warned. */
  onError?(error: unknown, session: Session): void;
}

/** `onMessage: discard`: messages are accepted and dropped. */
export function discard(): void {}

const YES: Decision = { tag: 'ok', val: undefined };
const YES_SENDER: Answer = { tag: 'sender', val: YES };
const TROUBLE = new Refusal({ code: 451, status: '4.3.0', text: 'Local trouble, try again later' });
const WRONG_LOGIN = new Refusal({ code: 535, status: '5.7.8', text: 'Authentication credentials invalid' });

const later = (value: unknown): value is Promise<unknown> => typeof (value as { then?: unknown } | undefined)?.then === 'function';

/** One session's answers. */
export class Answers {
  hello: Hello | undefined;
  login: string | undefined;
  #sender: Sender | undefined;
  #recipients: Recipient[] = [];
  #exchange: Exchange | undefined;
  #content: Content | undefined;
  #verdict: unknown;

  constructor(
    readonly handlers: Handlers,
    readonly session: Session,
  ) {}

  /** Whether the handler of the message has enough for now; then `room` is called when it has not. */
  waitsForRoom(room: () => void): boolean {
    if (!this.#content?.full) return false;
    this.#content.onRoom = room;
    return true;
  }

  report(events: Event[]): void {
    for (const event of events) {
      if (event.occasion === 'auth-cancelled') this.#exchange = undefined;
      try {
        this.handlers.onEvent?.(event, this.session);
      } catch (error) {
        this.trouble(error);
      }
    }
  }

  /** Content: ranges of `input`, or octets of its own. */
  content(pieces: Piece[], input: Buffer): void {
    if (this.handlers.onMessage === discard) return;
    const content = this.#content ?? this.#begin();
    for (const piece of pieces) {
      if (piece.tag === 'octets') content.push(piece.val as Buffer);
      else content.push(input.subarray(piece.val[0], piece.val[0] + piece.val[1]));
    }
    content.pushed();
  }

  /** The transaction ended without a message. */
  abandoned(why: string): void {
    this.#content?.abandon(new AbandonedError(why));
    this.#forget();
  }

  /** The client begins anew inside TLS: nothing that it said before counts (RFC 3207 section 4.2). */
  anew(): void {
    this.hello = undefined;
    this.login = undefined;
    this.#exchange = undefined;
    this.abandoned('TLS has begun');
  }

  answer(question: Question): Answer | Promise<Answer> {
    const { handlers, session } = this;
    switch (question.tag) {
      case 'connection':
        return this.#decided('connection', () => handlers.onConnect?.(session));
      case 'hello': {
        const hello = question.val;
        return this.#decided('hello', () => handlers.onHello?.(hello, session), () => (this.hello = hello));
      }
      case 'xclient':
        // It is another client from here on.
        return this.#decided('xclient', () => handlers.onXclient?.(question.val, session), () => {
          this.hello = undefined;
          this.login = undefined;
        });
      case 'sender': {
        const sender = new Sender(question.val);
        if (!handlers.onSender) {
          this.#sender = sender;
          this.#recipients = [];
          return YES_SENDER;
        }
        return this.#decided('sender', () => handlers.onSender?.(sender, session), () => {
          this.#sender = sender;
          this.#recipients = [];
        });
      }
      case 'recipients':
        return this.#each(question.val.map((one) => new Recipient(one)));
      case 'verify':
        return this.#verify(question.val);
      case 'data':
        return this.#decided('data', () => handlers.onData?.(this.#envelope(), session));
      case 'sasl':
        return this.#sasl(question.val);
      case 'message':
        return this.#message(question.val);
    }
  }

  /** A handler's fault. */
  trouble(error: unknown): void {
    const { onError } = this.handlers;
    if (onError) {
      try {
        onError.call(this.handlers, error, this.session);
        return;
      } catch (worse) {
        error = worse;
      }
    }
    process.emitWarning(`a handler failed: ${error instanceof Error ? (error.stack ?? error.message) : shown(error)}`, 'HermeticWarning');
  }

  // --- one by one ----------------------------------------------------------------------------------------------------

  /** Runs a handler; `give` makes the answer of what it returned or threw, at once where it can. */
  #ask<T>(handler: () => unknown, give: (verdict: unknown) => T): T | Promise<T> {
    let verdict: unknown;
    try {
      verdict = handler();
    } catch (error) {
      return give(this.#thrown(error));
    }
    return later(verdict) ? verdict.then(give, (error) => give(this.#thrown(error))) : give(verdict);
  }

  #thrown(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    // It waited for a message that was not finished: it has done nothing wrong, and nobody asks any more.
    if (!(error instanceof AbandonedError)) this.trouble(error);
    return TROUBLE;
  }

  /** What a verdict says to the engine. */
  #decision(verdict: unknown): Decision {
    if (verdict === undefined || verdict === true || verdict === null) return YES;
    if (typeof verdict === 'string') return { tag: 'ok', val: verdict };
    if (verdict instanceof Refusal) return { tag: 'err', val: verdict.parts };
    this.trouble(new ValueError(`a handler's answer: expected nothing, true, a text or a Refusal, got ${shown(verdict)}`));
    return { tag: 'err', val: TROUBLE.parts };
  }

  #decided(tag: 'connection' | 'hello' | 'xclient' | 'sender' | 'data', handler: () => unknown, yes?: () => void): Answer | Promise<Answer> {
    return this.#ask(handler, (verdict): Answer => {
      const val = this.#decision(verdict);
      if (val.tag === 'ok') yes?.();
      return { tag, val };
    });
  }

  /** Recipients are asked for one after the other, in order. */
  #each(recipients: Recipient[]): Answer | Promise<Answer> {
    const { onRecipient } = this.handlers;
    if (!onRecipient) {
      this.#recipients.push(...recipients);
      return { tag: 'recipients', val: recipients.map(() => YES) };
    }
    const decisions: Decision[] = [];
    const answer = (): Answer => ({ tag: 'recipients', val: decisions });
    const note = (recipient: Recipient, verdict: unknown): void => {
      const decision = this.#decision(verdict);
      if (decision.tag === 'ok') this.#recipients.push(recipient);
      decisions.push(decision);
    };
    const go = (from: number): Answer | Promise<Answer> => {
      for (let i = from; i < recipients.length; i++) {
        const recipient = recipients[i] as Recipient;
        const noted = this.#ask(() => onRecipient?.call(this.handlers, recipient, this.session), (verdict) => note(recipient, verdict));
        if (later(noted)) return noted.then(() => go(i + 1));
      }
      return answer();
    };
    return go(0);
  }

  #verify(argument: string): Answer | Promise<Answer> {
    return this.#ask(
      () => this.handlers.onVerify?.(argument, this.session),
      (verdict): Answer => {
        if (typeof verdict === 'string') return { tag: 'verify', val: { tag: 'known', val: verdict } };
        const decision = this.#decision(verdict);
        return { tag: 'verify', val: decision.tag === 'err' ? { tag: 'refused', val: decision.val } : { tag: 'unsure' } };
      },
    );
  }

  #sasl(step: Parameters<Exchange['step']>[0]): Answer | Promise<Answer> {
    if (step.tag === 'start') this.#exchange = new Exchange();
    const progress = this.#exchange?.step(step) ?? { refused: TROUBLE };
    if ('challenge' in progress) return { tag: 'sasl', val: { tag: 'challenge', val: progress.challenge } };
    this.#exchange = undefined;
    const refused = (why: Refusal): Answer => ({ tag: 'sasl', val: { tag: 'refused', val: why.parts } });
    if ('refused' in progress) return refused(progress.refused);
    const { credentials } = progress;
    return this.#ask(
      () => this.handlers.onAuth?.(credentials, this.session),
      (verdict) => {
        if (verdict instanceof Refusal) return refused(verdict);
        const login = verdict === true ? credentials.username : verdict;
        if (login === undefined || login === null || login === false || login === '') return refused(WRONG_LOGIN);
        if (typeof login !== 'string') {
          this.trouble(new ValueError(`onAuth: expected a name, true, nothing or a Refusal, got ${shown(login)}`));
          return refused(TROUBLE);
        }
        this.login = login;
        return { tag: 'sasl', val: { tag: 'authenticated', val: login } };
      },
    );
  }

  // --- the message ---------------------------------------------------------------------------------------------------

  #envelope(): Envelope {
    const sender = this.#sender ?? new Sender({ parameters: { body: 'seven-bit', smtputf8: false, requireTls: false, prdr: false } });
    return { sender, recipients: [...this.#recipients] };
  }

  #begin(): Content {
    const content = new Content();
    this.#content = content;
    const { handlers, session } = this;
    this.#verdict = this.#ask(
      () => handlers.onMessage(new Message(this.#envelope(), content), session),
      (verdict) => {
        content.settled();
        return verdict;
      },
    );
    return content;
  }

  #message(facts: MessageFacts): Answer | Promise<Answer> {
    const content = this.#content ?? this.#begin();
    const verdict = this.#verdict;
    content.complete(facts);
    this.#forget();
    const answer = (given: unknown): Answer => {
      const { recipients } = facts;
      if (!Array.isArray(given)) return { tag: 'message', val: new Array<Decision>(recipients).fill(this.#decision(given)) };
      if (given.length !== recipients) {
        this.trouble(new ValueError(`onMessage: expected ${recipients} verdicts, one for each recipient, got ${given.length}`));
        return { tag: 'message', val: new Array<Decision>(recipients).fill({ tag: 'err', val: TROUBLE.parts }) };
      }
      return { tag: 'message', val: given.map((one) => this.#decision(one)) };
    };
    return later(verdict) ? verdict.then(answer) : answer(verdict);
  }

  #forget(): void {
    this.#sender = undefined;
    this.#recipients = [];
    this.#content = undefined;
    this.#verdict = undefined;
  }
}
