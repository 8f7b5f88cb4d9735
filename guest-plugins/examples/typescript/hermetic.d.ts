// What `wit/plugin` says, in TypeScript: the part that this filter uses. An option is a value or undefined; a result is its
// value, and its error is thrown.

declare module "hermetic:plugin/types@0.1.0" {
  export interface Reason {
    subject: number;
    detail: number;
    text: string;
  }

  export type MessageVerdict =
    | { tag: "proceed" }
    | { tag: "accept" }
    | { tag: "discard" }
    | { tag: "defer"; val: Reason }
    | { tag: "reject"; val: Reason };
}

declare module "hermetic:plugin/header@0.1.0" {
  export interface Field {
    id: number;
    name: string;
    value: Uint8Array;
  }

  export function fields(name: string): Field[];
  export function text(name: string): string[];
}

declare module "hermetic:plugin/edit@0.1.0" {
  export function prepend(name: string, value: string): number;
  export function append(name: string, value: string): number;
  export function replace(field: number, value: string): void;
  export function remove(field: number): void;
}

declare module "hermetic:plugin/config@0.1.0" {
  export function get(key: string): string | undefined;
  export function json(): string;
}
