/**
 * `hermetic-smtp/engine`: the engine itself, for those who bring their own sockets, clock and policy. The steps of the run loop are
 * in core/README.md; createServer and SmtpClient are two ways to walk them.
 */

export { ClientSession, ServerSession } from './session.js';
export type { Client, Observer, Server, Time, Types } from './session.js';
export { AbandonedError, EngineError, HermeticError, MisuseError, SessionFileError, ValueError } from './errors.js';
export type { Fault } from './errors.js';
export { clientDefaults, serverDefaults } from './defaults.js';
export { Recorder } from './record.js';
export type { RecordTarget } from './record.js';
export { replay, replayText } from './replay.js';
export type { Replayed } from './replay.js';
