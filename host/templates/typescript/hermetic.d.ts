// What `wit/deps/hermetic-plugin` says, in TypeScript. An option is a value or undefined; a result is its value, and its error,
// a Fault, is thrown.

declare module "hermetic:plugin/types@{{version}}" {
  export interface Reason {
    /** The second number of the enhanced status: 7 is policy. */
    subject: number;
    detail: number;
    text: string;
  }

  export interface Fault {
    code: number;
    text: string;
  }

  export type EnvelopeVerdict =
    | { tag: "proceed" }
    | { tag: "accept" }
    | { tag: "defer"; val: Reason }
    | { tag: "reject"; val: Reason };

  export type MessageVerdict =
    | { tag: "proceed" }
    | { tag: "accept" }
    | { tag: "discard" }
    | { tag: "defer"; val: Reason }
    | { tag: "reject"; val: Reason };

  export interface Retry {
    reason: Reason;
    afterSeconds?: number;
  }

  export type Outcome = { tag: "delivered" } | { tag: "retry"; val: Retry } | { tag: "fail"; val: Reason };
}

declare module "hermetic:plugin/facts@{{version}}" {
  export function transactionId(): string;
  export function now(): number;
  export function listener(): string;
  export function listenerKind(): string;
  export function clientAddress(): string | undefined;
  export function clientName(): string | undefined;
  export function helloName(): string | undefined;
  export function identity(): string | undefined;
  export function tlsVersion(): string | undefined;
  export function reversePath(): string | undefined;
  export function bodyType(): string;
  export function smtputf8(): boolean;
  export function forwardPath(): string | undefined;
  export function mailbox(): string | undefined;
  export function recipients(): string[];
  export function messageSize(): number;
}

declare module "hermetic:plugin/header@{{version}}" {
  export interface Field {
    id: number;
    name: string;
    value: Uint8Array;
  }

  export function fields(name: string): Field[];
  export function text(name: string): string[];
}

declare module "hermetic:plugin/body@{{version}}" {
  export function read(offset: number, max: number): Uint8Array;
  export function size(): number;
}

declare module "hermetic:plugin/edit@{{version}}" {
  export function prepend(name: string, value: string): number;
  export function append(name: string, value: string): number;
  export function replace(field: number, value: string): void;
  export function remove(field: number): void;
}

declare module "hermetic:plugin/forwarding@{{version}}" {
  export function redirect(to: string[]): void;
  export function add(to: string): void;
}

declare module "hermetic:plugin/quarantine@{{version}}" {
  export function keep(why: string): void;
}

declare module "hermetic:plugin/scratch@{{version}}" {
  export function get(name: string): Uint8Array | undefined;
  export function set(name: string, value: Uint8Array): void;
}

declare module "hermetic:plugin/rendered@{{version}}" {
  export function read(offset: number, max: number): Uint8Array;
  export function size(): number;
}

declare module "hermetic:plugin/attempt@{{version}}" {
  export function idempotencyKey(): string;
  export function number(): number;
  export function queuedAt(): number;
}

declare module "hermetic:plugin/fate@{{version}}" {
  export function state(): string;
  export function status(): string | undefined;
  export function text(): string;
  export function attempts(): number;
}

declare module "hermetic:plugin/log@{{version}}" {
  export function debug(text: string): void;
  export function info(text: string): void;
  export function warn(text: string): void;
}

declare module "hermetic:plugin/config@{{version}}" {
  export function get(key: string): string | undefined;
  export function json(): string;
}

declare module "hermetic:plugin/keyvalue@{{version}}" {
  export function get(key: string): Uint8Array | undefined;
  export function set(key: string, value: Uint8Array, seconds: number): void;
  export function increment(key: string, by: number, seconds: number): number;
  function remove(key: string): void;
  export { remove as delete };
}

declare module "hermetic:plugin/resolver@{{version}}" {
  export interface Exchanger {
    preference: number;
    name: string;
  }

  export function addresses(name: string): string[];
  export function mx(name: string): Exchanger[];
  export function txt(name: string): Uint8Array[];
  export function ptr(address: string): string[];
}

declare module "hermetic:plugin/http@{{version}}" {
  export interface Field {
    name: string;
    value: string;
  }

  export interface Response {
    status: number;
    fields: Field[];
    body: Uint8Array;
  }

  export function send(method: string, url: string, fields: Field[], body: Uint8Array): Response;
  export function sendMessage(method: string, url: string, fields: Field[]): Response;
}
