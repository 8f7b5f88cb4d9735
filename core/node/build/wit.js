// Reads the WIT of the engine into a schema: the types that cross the boundary, and the functions of each interface.
//
// Owns the part of WIT's grammar that wit/engine uses: packages, interfaces, `use`, records, variants, enums, flags, aliases and
// resources. Refuses to know how values look in memory (abi.js) or in a file. It fails with the line that it does not understand.

const PRIMITIVES = new Set(['bool', 'u8', 'u16', 'u32', 'u64', 's8', 's16', 's32', 's64', 'string']);

/** Words and marks, each with its line. Comments are no part of them. */
function words(text, file) {
  const found = [];
  text.split('\n').forEach((line, index) => {
    const code = line.replace(/\/\/.*$/, '');
    for (const [word] of code.matchAll(/->|[{}()<>,:;=.@/]|[A-Za-z0-9_%-][A-Za-z0-9_%+-]*/g)) {
      found.push({ word, where: `${file}:${index + 1}` });
    }
  });
  return found;
}

/**
 * @param {Record<string, string>} files the texts by their names
 * @returns {{version: string, types: Record<string, object>, interfaces: Record<string, object>}} types by `interface.name`
 */
export function readWit(files) {
  const schema = { version: '', types: {}, interfaces: {} };
  for (const [file, text] of Object.entries(files)) new Reader(words(text, file), schema).file();
  resolve(schema);
  return schema;
}

class Reader {
  constructor(all, schema) {
    this.all = all;
    this.at = 0;
    this.schema = schema;
  }

  peek() {
    return this.all[this.at]?.word;
  }

  next() {
    if (this.at >= this.all.length) throw new Error('the WIT ends in the middle of something');
    return this.all[this.at++].word;
  }

  want(word) {
    const { where } = this.all[this.at] ?? {};
    const got = this.next();
    if (got !== word) throw new Error(`${where}: expected \`${word}\`, found \`${got}\``);
  }

  has(word) {
    if (this.peek() !== word) return false;
    this.at++;
    return true;
  }

  file() {
    this.want('package');
    let name = '';
    while (!this.has(';')) name += this.next();
    this.schema.version = name.split('@')[1] ?? '';
    while (this.at < this.all.length) {
      const kind = this.next();
      const title = this.next();
      this.want('{');
      if (kind === 'interface') this.interface(title);
      else while (!this.has('}')) this.next();
    }
  }

  interface(name) {
    this.name = name;
    this.used = {};
    const functions = [];
    while (!this.has('}')) {
      const { where } = this.all[this.at];
      const kind = this.next();
      if (kind === 'use') this.use();
      else if (kind === 'type') this.alias();
      else if (kind === 'resource') functions.push(...this.resource());
      else if (['record', 'variant', 'enum', 'flags'].includes(kind)) this.named(kind);
      else throw new Error(`${where}: \`${kind}\` is not understood here`);
    }
    this.schema.interfaces[name] = { functions };
  }

  use() {
    const from = this.next();
    this.want('.');
    this.want('{');
    while (!this.has('}')) {
      const name = this.next();
      this.used[name] = `${from}.${name}`;
      this.has(',');
    }
    this.want(';');
  }

  declare(name, type) {
    this.schema.types[`${this.name}.${name}`] = type;
  }

  alias() {
    const name = this.next();
    this.want('=');
    const of = this.type();
    this.want(';');
    this.declare(name, { kind: 'alias', of });
  }

  named(kind) {
    const name = this.next();
    const members = [];
    this.want('{');
    while (!this.has('}')) {
      const member = { name: this.next().replace('%', '') };
      if (kind === 'record') {
        this.want(':');
        member.type = this.type();
      } else if (kind === 'variant' && this.has('(')) {
        member.type = this.type();
        this.want(')');
      }
      members.push(member);
      this.has(',');
    }
    this.declare(name, { kind, name, members });
  }

  resource() {
    const resource = this.next();
    this.declare(resource, { kind: 'resource', name: resource });
    const functions = [];
    this.want('{');
    while (!this.has('}')) {
      let name = this.next();
      let kind = 'constructor';
      if (name !== 'constructor') {
        this.want(':');
        kind = this.has('static') ? 'static' : 'method';
        this.want('func');
      }
      const parameters = this.parameters();
      const result = this.has('->') ? this.type() : null;
      this.want(';');
      functions.push({ resource, name, kind, parameters, result });
    }
    return functions;
  }

  parameters() {
    const parameters = [];
    this.want('(');
    while (!this.has(')')) {
      const name = this.next();
      this.want(':');
      parameters.push({ name, type: this.type() });
      this.has(',');
    }
    return parameters;
  }

  /** A type: the name of a primitive, or an object with its kind. */
  type() {
    const { where } = this.all[this.at];
    const word = this.next();
    if (PRIMITIVES.has(word)) return word;
    if (word === 'list' || word === 'option') {
      this.want('<');
      const of = this.type();
      this.want('>');
      return { kind: word, of };
    }
    if (word === 'tuple') {
      const of = [];
      this.want('<');
      while (!this.has('>')) {
        of.push(this.type());
        this.has(',');
      }
      return { kind: 'tuple', of };
    }
    if (word === 'result') {
      if (!this.has('<')) return { kind: 'result', ok: null, err: null };
      const ok = this.has('_') ? null : this.type();
      const err = this.has(',') ? this.type() : null;
      this.want('>');
      return { kind: 'result', ok, err };
    }
    if (!/^[a-z]/.test(word)) throw new Error(`${where}: \`${word}\` is no type`);
    return { kind: 'name', name: this.used[word] ?? `${this.name}.${word}` };
  }
}

/** Looks through `use` of a `use` and through aliases, so that each name leads to a definition. */
function resolve(schema) {
  const settle = (type) => {
    if (type === null || typeof type === 'string') return type;
    if (type.kind === 'name') {
      const found = schema.types[type.name];
      if (!found) throw new Error(`the WIT names ${type.name} and does not define it`);
      return found.kind === 'alias' ? settle(found.of) : type;
    }
    if (type.kind === 'list' || type.kind === 'option') return { ...type, of: settle(type.of) };
    if (type.kind === 'tuple') return { ...type, of: type.of.map(settle) };
    if (type.kind === 'result') return { ...type, ok: settle(type.ok), err: settle(type.err) };
    return type;
  };
  for (const type of Object.values(schema.types)) {
    for (const member of type.members ?? []) if (member.type) member.type = settle(member.type);
  }
  for (const { functions } of Object.values(schema.interfaces)) {
    for (const each of functions) {
      each.result = settle(each.result);
      for (const parameter of each.parameters) parameter.type = settle(parameter.type);
    }
  }
  for (const [name, type] of Object.entries(schema.types)) if (type.kind === 'alias') delete schema.types[name];
}

/** `kebab-case` as jco and JavaScript write it. */
export const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
