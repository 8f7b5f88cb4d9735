// Types of hermetic.js: the values of wit/engine under WIT's names, as wit/session.md writes them. Octets come out as Uint8Array and
// may go in as a string of which each character is one octet. Numbers above 2^53 - 1 are strings of digits.

export type Octets = Uint8Array | string;
export type Natural = number | bigint | string;
export type HostName = { domain: string } | { literal: string };
export interface Mailbox { local: string; host: HostName }
export type ForwardPath = 'postmaster' | { mailbox: Mailbox };
export interface Recipient { path: ForwardPath; notify: ('success' | 'failure' | 'delay')[] | null; orcpt: { 'address-type': string; address: string } | null }
export interface DeliverBy { seconds: number; mode: 'return' | 'notify'; trace: boolean }
export type Submitter = 'unknown' | { mailbox: string };
export interface MailParameters {
  size: number | string | null; body: 'seven-bit' | 'eight-bit-mime' | 'binary-mime'; smtputf8: boolean; 'require-tls': boolean; prdr: boolean;
  ret: 'full' | 'headers' | null; envid: string | null; auth: Submitter | null; hold: { for: number } | { until: number } | null;
  'deliver-by': DeliverBy | null; priority: number | null;
}
export interface Sender { mailbox: Mailbox | null; parameters: MailParameters }
export interface MessageFacts { size: number; 'eight-bit': boolean; 'bare-line-ends': boolean; 'longest-line': number; recipients: number }
export type Question = 'connection' | 'data'
  | { hello: { verb: 'helo' | 'ehlo' | 'lhlo'; host: HostName | null; raw: string } } | { xclient: { name: string; value: string | null }[] }
  | { sasl: { start: [string, Uint8Array | null] } | { response: Uint8Array } } | { sender: Sender } | { recipients: Recipient[] }
  | { verify: string } | { message: MessageFacts };
export interface Refusal { code: number; subject: number; detail: number; text: string }
export type Decision = { ok: string | null } | { err: Refusal };
export type Answer = { connection: Decision } | { hello: Decision } | { xclient: Decision } | { sender: Decision } | { data: Decision }
  | { 'sender-with-priority': number } | { recipients: Decision[] } | { message: Decision[] }
  | { sasl: { challenge: Octets } | { authenticated: string } | { refused: Refusal } }
  | { verify: 'unsure' | { known: string } | { refused: Refusal } };
export type Piece = { range: [number, number] } | { octets: Uint8Array };
export interface Event {
  occasion: 'command' | 'reply' | 'syntax-error' | 'sequence-error' | 'refused' | 'content-refused' | 'plaintext-discarded' | 'auth-cancelled'
    | 'too-many-errors' | 'timed-out' | 'closed';
  detail: string; secret: boolean;
}
export type ServerNeed = 'input' | 'start-tls' | 'close' | { answer: Question };
export interface ServerStep {
  consumed: number; transmit: Uint8Array; body: Piece[]; abandoned: boolean; events: Event[]; need: ServerNeed; wake: number | string;
}
export interface ServerLimits {
  'message-size': Natural; recipients: number; 'recipient-batch': number; 'command-line': number; 'auth-line': number; 'text-line': number;
  errors: number; 'idle-commands': number; messages: number; 'auth-failures': number; 'command-timeout': Natural; 'data-timeout': Natural;
  'handshake-timeout': Natural; 'data-allowance': Natural; 'data-rate': number; session: Natural; 'hold-for': number; 'hold-until': Natural;
  'deliver-by': number;
}
export interface ServerOptions {
  protocol: 'smtp' | 'lmtp'; 'server-name': string; limits: Partial<ServerLimits>; 'implicit-tls': boolean; 'start-tls': boolean;
  'require-tls': boolean; 'plaintext-mechanisms': string[]; 'tls-mechanisms': string[]; 'require-auth': boolean; xclient: string[];
  'strict-hello': boolean; 'deliver-by': boolean; priority: boolean; trace: boolean;
  /** Questions that are not asked: their answer is yes, that of `verify` unsure. */
  unasked: ('connection' | 'hello' | 'xclient' | 'sender' | 'recipients' | 'verify' | 'data' | 'message')[];
}

export interface Status { class: number; subject: number; detail: number }
export interface Reply { code: number; status: Status | null; text: string }
export type Stage = 'greeting' | 'hello' | 'start-tls' | 'handshake' | 'auth' | 'idle' | 'reset' | 'mail' | 'rcpt' | 'data' | 'content' | 'message' | 'quit';
export interface Peer {
  name: string; tls: boolean; authenticated: boolean; extensions: { keyword: string; parameters: string }[]; mechanisms: string[];
  size: number | string | null; 'messages-left': number | null; 'recipients-max': number | null; 'domains-max': number | null;
}
export interface Outcome {
  recipient: number; fate: 'accepted' | 'temporary' | 'permanent' | 'unknown' | 'unsent';
  cause: 'reply' | 'too-large' | 'eight-bit' | 'not-lines' | 'utf8-address' | 'utf8-header' | 'require-tls' | 'deliver-by' | 'limit' | 'bad-reply'
    | 'timed-out' | 'lost' | 'abandoned';
  stage: Stage; status: Status; reply: Reply | null; dsn: boolean; 'deliver-by': boolean;
}
export interface Failure {
  fault: 'refused' | 'no-tls' | 'tls-refused' | 'plaintext' | 'leaving' | 'bad-reply' | 'too-much' | 'timed-out' | 'lost';
  stage: Stage; reply: Reply | null; detail: string;
}
export type ClientNeed = 'input' | 'start-tls' | 'content' | 'close' | { ready: Peer } | { response: Uint8Array };
export interface ClientStep {
  consumed: number; transmit: Uint8Array; content: Piece[]; outcomes: Outcome[]; login: { accepted: boolean; reply: Reply } | null;
  failure: Failure | null; events: Event[]; need: ClientNeed; wake: number | string;
}
export interface ClientLimits {
  'reply-line': number; 'reply-lines': number; 'reply-size': number; 'auth-line': number; 'reply-text': number; received: Natural;
  recipients: number; pipeline: number; messages: number; challenges: number; 'greeting-timeout': Natural; 'command-timeout': Natural;
  'handshake-timeout': Natural; 'mail-timeout': Natural; 'rcpt-timeout': Natural; 'data-timeout': Natural; 'block-timeout': Natural;
  'message-timeout': Natural; 'quit-timeout': Natural; 'idle-timeout': Natural;
}
export interface ClientOptions {
  protocol: 'smtp' | 'lmtp'; 'hello-name': string; limits: Partial<ClientLimits>; tls: 'never' | 'opportunistic' | 'required';
  'implicit-tls': boolean; 'plaintext-auth': boolean; ignore: string[]; pipelining: boolean; chunking: boolean; prdr: boolean; trace: boolean;
}
export interface ContentFacts { size: number; 'eight-bit': boolean; 'bare-line-ends': boolean; 'longest-line': number; 'utf8-header': boolean }
export interface Transaction {
  sender?: Mailbox | null; recipients: Recipient[]; content: ContentFacts; 'require-tls'?: boolean; ret?: 'full' | 'headers' | null;
  envid?: string | null; auth?: Submitter | null; 'deliver-by'?: DeliverBy | null; priority?: number | null;
}

export type MisuseValue = 'no-question-open' | 'question-open' | 'closed' | 'not-started'
  | { 'wrong-answer': string } | { 'bad-answer': string } | { 'bad-state': string } | { 'bad-value': string };
export class HermeticError extends Error {}
/** A call that does not fit the session's state, or what was asked. The session is unchanged. */
export class Misuse extends HermeticError { misuse: MisuseValue }
/** A parameter that is no value of its type. The session is unchanged. */
export class InvalidValue extends HermeticError {}
/** `load` has not been awaited, or could not be done. */
export class NotLoaded extends HermeticError {}
/** The engine has stopped in the middle of a call: a bug of ours. This session is gone, others go on. */
export class EngineFault extends HermeticError {}

/** Loads the engine, once. `source`: left out, `engine_bg.wasm` beside the module. */
export function load(source?: URL | string | Response | BufferSource | WebAssembly.Module): Promise<void>;
/** The version of the package `hermetic:engine`. */
export function witVersion(): string;
/** What a transaction has to say of its content: the whole message, in lines with CRLF. */
export function contentFacts(octets: Uint8Array): ContentFacts;

export class ServerSession {
  constructor(options?: Partial<ServerOptions>);
  static defaults(): ServerOptions;
  call(name: string, parameters: object): { step: ServerStep } | { misuse: MisuseValue };
  start(now: Natural): ServerStep;
  receive(now: Natural, input: Octets): ServerStep;
  secured(now: Natural, mechanisms?: string[]): ServerStep;
  tick(now: Natural): ServerStep;
  answer(now: Natural, answer: Answer): ServerStep;
  drain(now: Natural, farewell: Refusal): ServerStep;
}
export class ClientSession {
  constructor(options?: Partial<ClientOptions>);
  static defaults(): ClientOptions;
  call(name: string, parameters: object): { step: ClientStep } | { misuse: MisuseValue };
  start(now: Natural): ClientStep;
  receive(now: Natural, input: Octets): ClientStep;
  secured(now: Natural): ClientStep;
  tick(now: Natural): ClientStep;
  lost(now: Natural): ClientStep;
  login(now: Natural, mechanism: string, initial?: Octets | null): ClientStep;
  respond(now: Natural, response: Octets): ClientStep;
  cancel(now: Natural): ClientStep;
  deliver(now: Natural, transaction: Transaction): ClientStep;
  content(now: Natural, octets: Octets, last: boolean): ClientStep;
  quit(now: Natural): ClientStep;
}
