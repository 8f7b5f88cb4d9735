/**
 * An SMTP server, client and test sink whose protocol runs inside a sealed WebAssembly component. README.md has the guide.
 */

export { createServer, Server } from './server.js';
export type { ServerOptions } from './server.js';
export { discard } from './answers.js';
export type { Handlers, Session, Verdict } from './answers.js';
export type { Message, Envelope } from './message.js';
export { Address, Recipient, Sender } from './address.js';
export type { Credentials } from './sasl.js';
export { ClientError, LoginError, SmtpClient } from './client.js';
export type { Delivery, Outcome, SmtpClientOptions } from './client.js';
export type { AddressLike, Letter, LetterRecipient } from './letter.js';
export { createTestSink, TestSink } from './sink.js';
export type { Point, RuleOptions, SinkOptions, SunkMessage, Who } from './sink.js';
export { Refusal, refuse } from './refusal.js';
export type { RefusalParts } from './refusal.js';
export { AbandonedError, EngineError, HermeticError, MisuseError, SessionFileError, ValueError } from './errors.js';
export type { Fault } from './errors.js';
export { replay, replayText } from './replay.js';
export type { Replayed } from './replay.js';
