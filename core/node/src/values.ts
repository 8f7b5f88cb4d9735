/**
 * WIT's values between JavaScript and the JSON of session files, as wit/session.md says, by the schema of the engine's WIT.
 *
 * Refuses to know which call a value belongs to. A JSON value of another type than WIT's is a complaint that names the place.
 */

/** A type: the name of a primitive, or what it is made of. */
export type Type =
  | string
  | { kind: 'list' | 'option'; of: Type }
  | { kind: 'tuple'; of: Type[] }
  | { kind: 'result'; ok: Type | null; err: Type | null }
  | { kind: 'name'; name: string };

/** A type with a name of its own. */
export interface Definition {
  kind: 'record' | 'variant' | 'enum' | 'flags' | 'resource';
  name: string;
  members?: { name: string; type?: Type }[];
}

/** A function of an interface. */
export interface FunctionSchema {
  name: string;
  kind: 'constructor' | 'method' | 'static';
  parameters: { name: string; type: Type }[];
  result: { kind: 'result'; ok: Type | null; err: Type | null } | null;
}

/** What build/wit.js reads out of wit/engine. */
export interface Schema {
  /** The hash of the component. */
  engine: string;
  /** Of the package `hermetic:engine`. */
  version: string;
  types: Record<string, Definition>;
  interfaces: Record<string, { functions: FunctionSchema[] }>;
}

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A value that is not of its type; `message` says where, what was expected and what was found. */
export class Unfit extends Error {}

/** `kebab-case` as JavaScript writes it. */
export const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

const RANGES: Record<string, [bigint, bigint]> = {};
for (const bits of [8, 16, 32, 64]) {
  RANGES[`u${bits}`] = [0n, (1n << BigInt(bits)) - 1n];
  RANGES[`s${bits}`] = [-(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n];
}

export class Values {
  constructor(readonly schema: Schema) {}

  #definition(type: { kind: 'name'; name: string }): Definition {
    const found = this.schema.types[type.name];
    if (!found) throw new Error(`the schema has no type ${type.name}`);
    return found;
  }

  /** A value of JavaScript as JSON. */
  toJson(type: Type, value: unknown): Json {
    // The glue has checked the value, or made it.
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    const v = value as any;
    if (typeof type === 'string') {
      if (!RANGES[type]) return v as Json;
      const whole = typeof v === 'bigint' ? v : BigInt(v);
      return whole > BigInt(Number.MAX_SAFE_INTEGER) || whole < -BigInt(Number.MAX_SAFE_INTEGER) ? whole.toString() : Number(whole);
    }
    switch (type.kind) {
      case 'list': {
        if (type.of === 'u8') return Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString('latin1');
        const { of } = type;
        return v.map((one: unknown) => this.toJson(of, one));
      }
      case 'tuple':
        return type.of.map((of, i) => this.toJson(of, v[i]));
      case 'option':
        return v === undefined || v === null ? null : this.toJson(type.of, v);
      case 'result': {
        const of = v.tag === 'ok' ? type.ok : type.err;
        return { [v.tag]: of === null ? null : this.toJson(of, v.val) };
      }
      case 'name': {
        const { kind, members = [] } = this.#definition(type);
        if (kind === 'enum') return v;
        if (kind === 'flags') return members.filter((one) => v[camel(one.name)]).map((one) => one.name);
        if (kind === 'record') {
          return Object.fromEntries(members.map((one) => [one.name, this.toJson(one.type as Type, v[camel(one.name)])]));
        }
        const one = members.find((member) => member.name === v.tag);
        return one?.type ? { [one.name]: this.toJson(one.type, v.val) } : v.tag;
      }
    }
  }

  /** JSON as a value of JavaScript; throws Unfit. */
  fromJson(type: Type, json: Json | undefined, where: string): unknown {
    const unfit = (expected: string): Unfit => new Unfit(`${where}: expected ${expected}, found ${json === undefined ? 'nothing' : brief(json)}`);
    if (typeof type === 'string') {
      if (type === 'bool') {
        if (typeof json !== 'boolean') throw unfit('true or false');
        return json;
      }
      if (type === 'string') {
        if (typeof json !== 'string') throw unfit('a string');
        return json;
      }
      const [low, high] = RANGES[type] as [bigint, bigint];
      const expected = `a whole number from ${low} to ${high}`;
      let whole: bigint;
      if (typeof json === 'number' && Number.isSafeInteger(json)) whole = BigInt(json);
      else if (typeof json === 'string' && /^-?\d{1,20}$/.test(json)) whole = BigInt(json);
      else throw unfit(expected);
      if (whole < low || whole > high) throw unfit(expected);
      return type.endsWith('64') ? whole : Number(whole);
    }
    switch (type.kind) {
      case 'list': {
        const { of } = type;
        if (of === 'u8') {
          if (typeof json !== 'string' || /[^\0-\xff]/.test(json)) throw unfit('a string of octets, U+0000 to U+00FF');
          return Buffer.from(json, 'latin1');
        }
        if (!Array.isArray(json)) throw unfit('an array');
        return json.map((one, i) => this.fromJson(of, one, `${where}[${i}]`));
      }
      case 'tuple':
        if (!Array.isArray(json) || json.length !== type.of.length) throw unfit(`an array of ${type.of.length}`);
        return type.of.map((of, i) => this.fromJson(of, json[i], `${where}[${i}]`));
      case 'option':
        return json === null ? undefined : this.fromJson(type.of, json, where);
      case 'result': {
        const [tag, val] = only(json) ?? [];
        if (tag !== 'ok' && tag !== 'err') throw unfit('an object with `ok` or `err`');
        const of = type[tag];
        if (of === null && val !== null) throw unfit(`\`${tag}\` with null`);
        return { tag, val: of === null ? undefined : this.fromJson(of, val, `${where}.${tag}`) };
      }
      case 'name':
        return this.#named(this.#definition(type), json, where, unfit);
    }
  }

  #named({ kind, members = [] }: Definition, json: Json | undefined, where: string, unfit: (expected: string) => Unfit): unknown {
    const names = members.map((one) => one.name).join(', ');
    switch (kind) {
      case 'enum':
        if (typeof json !== 'string' || !members.some((one) => one.name === json)) throw unfit(`one of ${names}`);
        return json;
      case 'flags': {
        if (!Array.isArray(json)) throw unfit(`an array of ${names}`);
        const value: Record<string, boolean> = Object.fromEntries(members.map((one) => [camel(one.name), false]));
        for (const name of json) {
          if (typeof name !== 'string' || !members.some((one) => one.name === name)) throw unfit(`an array of ${names}`);
          value[camel(name)] = true;
        }
        return value;
      }
      case 'record': {
        if (json === undefined || json === null || typeof json !== 'object' || Array.isArray(json)) throw unfit('an object');
        const value: Record<string, unknown> = {};
        for (const { name, type } of members) {
          if (!Object.hasOwn(json, name)) throw new Unfit(`${where}: expected the member \`${name}\`, which is not there`);
          value[camel(name)] = this.fromJson(type as Type, json[name], `${where}.${name}`);
        }
        const odd = Object.keys(json).find((name) => !members.some((one) => one.name === name));
        if (odd !== undefined) throw new Unfit(`${where}: there is no member ${brief(odd)}; expected ${names}`);
        return value;
      }
      default: {
        const [tag, val] = typeof json === 'string' ? [json] : (only(json) ?? []);
        const one = members.find((member) => member.name === tag);
        if (!one || (one.type === undefined) !== (typeof json === 'string')) throw unfit(`one of ${names}`);
        return one.type === undefined ? { tag } : { tag, val: this.fromJson(one.type, val, `${where}.${tag}`) };
      }
    }
  }
}

/** The one member of an object. */
function only(json: Json | undefined): [string, Json] | undefined {
  if (json === undefined || json === null || typeof json !== 'object' || Array.isArray(json)) return undefined;
  const entries = Object.entries(json);
  return entries.length === 1 ? (entries[0] as [string, Json]) : undefined;
}

/** JSON as a sentence shows it. */
export function brief(json: Json): string {
  const text = JSON.stringify(json);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

/** The first place where two JSON values differ, or nothing. Order of members does not matter. */
export function difference(want: Json | undefined, got: Json | undefined, where: string): { where: string; want: Json | undefined; got: Json | undefined } | undefined {
  if (want === got) return undefined;
  if (Array.isArray(want) && Array.isArray(got)) {
    for (let i = 0; i < Math.max(want.length, got.length); i++) {
      const found = difference(want[i], got[i], `${where}[${i}]`);
      if (found) return found;
    }
    return undefined;
  }
  if (typeof want === 'object' && typeof got === 'object' && want && got && !Array.isArray(want) && !Array.isArray(got)) {
    for (const name of new Set([...Object.keys(want), ...Object.keys(got)])) {
      const found = difference(want[name], got[name], `${where}.${name}`);
      if (found) return found;
    }
    return undefined;
  }
  return { where, want, got };
}
