// Writes the glue between JavaScript and the engine's core module: each WIT type becomes a function that reads it from the module's
// memory and one that writes it there, each WIT function one that calls the export.
//
// jco's own glue makes all of its classes and tables anew for each instance, a millisecond and more; here they exist once, and an
// instance is a few views of its memory. The values are the same as jco's: records in camelCase, variants as `{tag, val}`, u64 as
// bigint, absent options as undefined, errors of a result thrown. tests/glue.test.js holds the two against each other.
//
// Owns the canonical ABI as far as wit/engine needs it. Refuses to know SMTP. What it writes fails with a TypeError that names the
// place in the value and what was expected there; nothing is written to the memory of a call that is not made.

import { camel } from './wit.js';

const SIZES = { bool: 1, u8: 1, s8: 1, u16: 2, s16: 2, u32: 4, s32: 4, u64: 8, s64: 8, string: 8 };
const RANGES = { u8: [0, 255], s8: [-128, 127], u16: [0, 65535], s16: [-32768, 32767], u32: [0, 2 ** 32 - 1], s32: [-(2 ** 31), 2 ** 31 - 1] };
const GET = { bool: 'Uint8', u8: 'Uint8', s8: 'Int8', u16: 'Uint16', s16: 'Int16', u32: 'Uint32', s32: 'Int32', u64: 'BigUint64', s64: 'BigInt64' };
/** More flat parameters than this go through memory. */
const MAX_FLAT = 16;

const align = (offset, to) => Math.ceil(offset / to) * to;

/** @param schema of readWit @returns {string} an ES module */
export function writeAbi(schema, wanted) {
  const writer = new Writer(schema);
  const parts = wanted.map((name) => writer.interface(name));
  return [
    '// Made by build/build.js from wit/engine. Not to be edited.',
    "import { badValue, misuse } from '../errors.js';",
    'const EMPTY = Buffer.alloc(0);',
    HELPERS,
    ...writer.functions,
    ...parts,
    '',
  ].join('\n');
}

/** The declarations for it, in terms of those of jco. */
export function declareAbi(schema, wanted) {
  const plain = { bool: 'boolean', string: 'string', u64: 'bigint | number', s64: 'bigint | number' };
  const lines = wanted.map((name) => {
    const title = name[0].toUpperCase() + name.slice(1);
    const type = (of) => {
      if (typeof of === 'string') return plain[of] ?? 'number';
      if (of.kind === 'list' && of.of === 'u8') return 'Uint8Array';
      if (of.kind === 'list') return `Array<${type(of.of)}>`;
      if (of.kind === 'option') return `${type(of.of)} | undefined`;
      if (of.kind === 'name' && schema.types[of.name].kind === 'resource') return 'number';
      const [place, own] = of.name.split('.');
      return `${place[0].toUpperCase()}${place.slice(1)}.${camel(`-${own}`)}`;
    };
    const functions = schema.interfaces[name].functions.map((each) => {
      const given = each.parameters.map((parameter) => `${camel(parameter.name)}: ${type(parameter.type)}`);
      const result = each.kind === 'constructor' ? 'number' : type(each.result.ok);
      return `  ${camel(each.name)}(${['m: Instance', ...(each.kind === 'method' ? ['rep: number'] : []), ...given].join(', ')}): ${result};`;
    });
    return `/** The functions of the interface ${name}: they throw a MisuseError, a ValueError, or what a trap throws. */\nexport interface ${title}Functions {\n${functions.join('\n')}\n}\nexport declare const ${name}: ${title}Functions;`;
  });
  return [
    '// Made by build/build.js from wit/engine. Not to be edited.',
    "import type { Instance } from '../instance.js';",
    "import type * as Types from './interfaces/hermetic-engine-types.js';",
    "import type * as Server from './interfaces/hermetic-engine-server.js';",
    "import type * as Client from './interfaces/hermetic-engine-client.js';",
    ...lines,
    '',
  ].join('\n');
}

/** What every value needs. `m` is an instance: its exports, `dv` and `u8` of its memory, `alloc`. */
const HELPERS = `
function octets(m, p) {
  const length = m.dv.getUint32(p + 4, true);
  if (length === 0) return EMPTY;
  const start = m.dv.getUint32(p, true);
  const copy = Buffer.allocUnsafe(length);
  // A reply is short: a loop is quicker than what a view of it would cost.
  if (length > 256) copy.set(m.u8.subarray(start, start + length));
  else for (let i = 0, { u8 } = m; i < length; i++) copy[i] = u8[start + i];
  return copy;
}
function text(m, p) {
  const length = m.dv.getUint32(p + 4, true);
  if (length === 0) return '';
  const start = m.dv.getUint32(p, true);
  return m.u8.toString('utf8', start, start + length);
}
function giveOctets(m, v, where) {
  if (!(v instanceof Uint8Array)) throw badValue(where, 'a Uint8Array', v);
  const length = v.length;
  m.length = length;
  if (length === 0) return 1;
  const p = m.alloc(length, 1);
  m.u8.set(v, p);
  return p;
}
function giveText(m, v, where) {
  if (typeof v !== 'string') throw badValue(where, 'a string', v);
  m.length = 0;
  if (v === '') return 1;
  const length = Buffer.byteLength(v);
  const p = m.alloc(length, 1);
  m.u8.write(v, p, length, 'utf8');
  m.length = length;
  return p;
}
function whole(v, low, high, where) {
  if (typeof v !== 'number' || !Number.isInteger(v) || v < low || v > high) throw badValue(where, 'a whole number from ' + low + ' to ' + high, v);
  return v;
}
function long(v, signed, where) {
  if (typeof v === 'number' && Number.isSafeInteger(v) && (signed || v >= 0)) return BigInt(v);
  if (typeof v !== 'bigint' || (signed ? BigInt.asIntN(64, v) : BigInt.asUintN(64, v)) !== v) {
    throw badValue(where, signed ? 'a whole number of 64 bits' : 'a whole number of 64 bits, not negative', v);
  }
  return v;
}
function flag(v, where) {
  if (typeof v !== 'boolean') throw badValue(where, 'true or false', v);
  return v ? 1 : 0;
}
function oneOf(names, v, where) {
  const at = names.indexOf(v);
  if (at < 0) throw badValue(where, 'one of ' + names.join(', '), v);
  return at;
}
function shape(v, where) {
  if (typeof v !== 'object' || v === null || Array.isArray(v)) throw badValue(where, 'an object', v);
}
function tagged(v, where) {
  if (typeof v !== 'object' || v === null || typeof v.tag !== 'string') throw badValue(where, 'an object with a tag', v);
}
function several(v, where) {
  if (!Array.isArray(v)) throw badValue(where, 'an array', v);
}
`;

class Writer {
  constructor(schema) {
    this.schema = schema;
    this.functions = [];
    this.names = new Map();
  }

  definition(type) {
    return type?.kind === 'name' ? this.schema.types[type.name] : type;
  }

  /** Cases of whatever is laid out as a variant. */
  cases(type) {
    const d = this.definition(type);
    if (d.kind === 'option') return [{ name: 'none' }, { name: 'some', type: d.of }];
    if (d.kind === 'result') return [{ name: 'ok', type: d.ok }, { name: 'err', type: d.err }];
    return d.members;
  }

  /** Octets and alignment in memory. */
  layout(type) {
    const d = this.definition(type);
    if (typeof d === 'string') return { size: SIZES[d], align: d === 'string' ? 4 : SIZES[d] };
    switch (d.kind) {
      case 'list':
        return { size: 8, align: 4 };
      case 'record':
      case 'tuple': {
        const { size, align: to } = this.fields(d);
        return { size, align: to };
      }
      case 'resource':
        return { size: 4, align: 4 };
      case 'enum':
        return { size: 1, align: 1 };
      case 'flags':
        if (d.members.length > 16) throw new Error(`${d.name}: flags beyond 16 are not laid out here`);
        return d.members.length > 8 ? { size: 2, align: 2 } : { size: 1, align: 1 };
      case 'variant':
      case 'option':
      case 'result': {
        const { payload, size, align: to } = this.variant(type);
        return { size: align(payload + size, to), align: to };
      }
      default:
        throw new Error(`no layout for ${d.kind}`);
    }
  }

  fields(d) {
    const types = d.kind === 'tuple' ? d.of : d.members.map((member) => member.type);
    let size = 0;
    let most = 1;
    const offsets = types.map((type) => {
      const each = this.layout(type);
      size = align(size, each.align);
      most = Math.max(most, each.align);
      const offset = size;
      size += each.size;
      return offset;
    });
    return { size: align(size, most), align: most, offsets, types };
  }

  variant(type) {
    const payloads = this.cases(type).filter((one) => one.type).map((one) => this.layout(one.type));
    const most = Math.max(1, ...payloads.map((one) => one.align));
    return { payload: align(1, most), size: Math.max(0, ...payloads.map((one) => one.size)), align: most };
  }

  /** Core types when given as parameters. */
  flat(type) {
    const d = this.definition(type);
    if (typeof d === 'string') return d === 'string' ? ['i32', 'i32'] : [d === 'u64' || d === 's64' ? 'i64' : 'i32'];
    switch (d.kind) {
      case 'list':
        return ['i32', 'i32'];
      case 'record':
        return d.members.flatMap((member) => this.flat(member.type));
      case 'tuple':
        return d.of.flatMap((of) => this.flat(of));
      case 'enum':
      case 'flags':
        return ['i32'];
      default: {
        const joined = [];
        for (const one of this.cases(type)) {
          (one.type ? this.flat(one.type) : []).forEach((core, index) => {
            joined[index] = joined[index] === undefined || joined[index] === core ? core : 'i64';
          });
        }
        return ['i32', ...joined];
      }
    }
  }

  /** The name of a function for this type, written once. */
  once(verb, type, write) {
    const key = `${verb} ${JSON.stringify(type)}`;
    let name = this.names.get(key);
    if (name === undefined) {
      const label = type.kind === 'name' ? type.name.replace(/[^a-z]/g, '_') : type.kind;
      name = `${verb}_${label}_${this.names.size}`;
      this.names.set(key, name);
      this.functions.push(write(name));
    }
    return name;
  }

  // --- reading -------------------------------------------------------------------------------------------------------

  /** An expression for the value at `p`. */
  load(type, p) {
    const d = this.definition(type);
    if (d === 'bool') return `m.dv.getUint8(${p}) !== 0`;
    if (d === 'string') return `text(m, ${p})`;
    if (typeof d === 'string') return `m.dv.get${GET[d]}(${p}${SIZES[d] > 1 ? ', true' : ''})`;
    if (d.kind === 'list' && d.of === 'u8') return `octets(m, ${p})`;
    return `${this.once('load', type, (name) => this.loader(name, type, d))}(m, ${p})`;
  }

  loader(name, type, d) {
    const body = (text) => `function ${name}(m, p) {\n${text}\n}`;
    switch (d.kind) {
      case 'record': {
        const { offsets } = this.fields(d);
        const lines = d.members.map((member, i) => `    ${camel(member.name)}: ${this.load(member.type, `p + ${offsets[i]}`)},`);
        return body(`  return {\n${lines.join('\n')}\n  };`);
      }
      case 'tuple': {
        const { offsets } = this.fields(d);
        return body(`  return [${d.of.map((of, i) => this.load(of, `p + ${offsets[i]}`)).join(', ')}];`);
      }
      case 'enum':
        return `const ${name}_names = ${JSON.stringify(d.members.map((one) => one.name))};\n${body(`  return ${name}_names[m.dv.getUint8(p)];`)}`;
      case 'flags': {
        const read = d.members.length > 8 ? 'm.dv.getUint16(p, true)' : 'm.dv.getUint8(p)';
        const lines = d.members.map((one, i) => `    ${camel(one.name)}: (bits & ${1 << i}) !== 0,`);
        return body(`  const bits = ${read};\n  return {\n${lines.join('\n')}\n  };`);
      }
      case 'list': {
        const { size } = this.layout(d.of);
        return body(
          `  const length = m.dv.getUint32(p + 4, true);\n  if (length === 0) return [];\n  const found = new Array(length);\n` +
            `  for (let i = 0, at = m.dv.getUint32(p, true); i < length; i++, at += ${size}) found[i] = ${this.load(d.of, 'at')};\n  return found;`,
        );
      }
      case 'option': {
        const { payload } = this.variant(type);
        return body(`  return m.dv.getUint8(p) === 0 ? undefined : ${this.load(d.of, `p + ${payload}`)};`);
      }
      default: {
        const { payload } = this.variant(type);
        const lines = this.cases(type).map((one, i) => {
          const val = one.type ? `, val: ${this.load(one.type, `p + ${payload}`)}` : d.kind === 'result' ? ', val: undefined' : '';
          return `    case ${i}: return { tag: '${one.name}'${val} };`;
        });
        return body(`  switch (m.dv.getUint8(p)) {\n${lines.join('\n')}\n    default: throw new RangeError('the engine returned a case that its WIT does not have');\n  }`);
      }
    }
  }

  // --- writing -------------------------------------------------------------------------------------------------------

  /** An expression that copies a string or a list into the memory: its address, and its length in `m.length`. */
  give(type, v, where) {
    const d = this.definition(type);
    const place = JSON.stringify(where);
    if (d === 'string') return `giveText(m, ${v}, ${place})`;
    if (d?.kind !== 'list') return undefined;
    if (d.of === 'u8') return `giveOctets(m, ${v}, ${place})`;
    const name = this.once('give', type, (name) => {
      const { size, align: to } = this.layout(d.of);
      return (
        `function ${name}(m, v, where) {\n  several(v, where);\n  const length = v.length;\n` +
        `  const start = length === 0 ? ${to} : m.alloc(length * ${size}, ${to});\n` +
        `  for (let i = 0, at = start; i < length; i++, at += ${size}) ${this.store(d.of, 'at', 'v[i]', 'an item of a list')}\n` +
        `  m.length = length;\n  return start;\n}`
      );
    });
    return `${name}(m, ${v}, ${place})`;
  }

  /** Statements that write `v` at `p`. `where` names the place in an error. */
  store(type, p, v, where) {
    const d = this.definition(type);
    const place = JSON.stringify(where);
    if (d === 'bool') return `m.dv.setUint8(${p}, flag(${v}, ${place}));`;
    const give = this.give(type, v, where);
    if (give) return `{ const given = ${give}; m.dv.setUint32(${p}, given, true); m.dv.setUint32(${p} + 4, m.length, true); }`;
    if (d === 'u64' || d === 's64') return `m.dv.set${GET[d]}(${p}, long(${v}, ${d === 's64'}, ${place}), true);`;
    if (typeof d === 'string') return `m.dv.set${GET[d]}(${p}, whole(${v}, ${RANGES[d].join(', ')}, ${place})${SIZES[d] > 1 ? ', true' : ''});`;
    return `${this.once('store', type, (name) => this.storer(name, type, d))}(m, ${p}, ${v}, ${place});`;
  }

  storer(name, type, d) {
    const body = (text) => `function ${name}(m, p, v, where) {\n${text}\n}`;
    const label = type.kind === 'name' ? type.name.split('.')[1] : '';
    switch (d.kind) {
      case 'record': {
        const { offsets } = this.fields(d);
        const lines = d.members.map((member, i) => `  ${this.store(member.type, `p + ${offsets[i]}`, `v.${camel(member.name)}`, `${label}.${camel(member.name)}`)}`);
        return body(`  shape(v, where);\n${lines.join('\n')}`);
      }
      case 'tuple': {
        const { offsets } = this.fields(d);
        return body(`  several(v, where);\n${d.of.map((of, i) => `  ${this.store(of, `p + ${offsets[i]}`, `v[${i}]`, `part ${i} of a tuple`)}`).join('\n')}`);
      }
      case 'enum':
        return `const ${name}_names = ${JSON.stringify(d.members.map((one) => one.name))};\n${body(`  m.dv.setUint8(p, oneOf(${name}_names, v, where));`)}`;
      case 'flags': {
        const write = d.members.length > 8 ? 'm.dv.setUint16(p, bits, true);' : 'm.dv.setUint8(p, bits);';
        const lines = d.members.map((one, i) => `  if (v.${camel(one.name)}) bits |= ${1 << i};`);
        return body(`  shape(v, where);\n  let bits = 0;\n${lines.join('\n')}\n  ${write}`);
      }
      case 'option': {
        const { payload } = this.variant(type);
        return body(
          `  if (v === undefined || v === null) return m.dv.setUint8(p, 0);\n  m.dv.setUint8(p, 1);\n  ${this.store(d.of, `p + ${payload}`, 'v', label || 'an optional value')}`,
        );
      }
      default: {
        const { payload } = this.variant(type);
        const lines = this.cases(type).map(
          (one, i) => `    case '${one.name}': m.dv.setUint8(p, ${i}); ${one.type ? this.store(one.type, `p + ${payload}`, 'v.val', one.name) : ''} break;`,
        );
        return body(`  tagged(v, where);\n  switch (v.tag) {\n${lines.join('\n')}\n    default: throw badValue(where, ${this.expected(type)}, v.tag);\n  }`);
      }
    }
  }

  expected(type) {
    return JSON.stringify(`a tag of ${this.cases(type).map((one) => one.name).join(', ')}`);
  }

  // --- calling -------------------------------------------------------------------------------------------------------

  /** Statements that put `v` into the variables of `slots`, which are of core types that may be wider than the value's own. */
  lower(type, v, slots, where) {
    const d = this.definition(type);
    const place = JSON.stringify(where);
    const put = (slot, core, expression) => `${slot.name} = ${slot.core === core ? expression : `BigInt((${expression}) >>> 0)`};`;
    if (d === 'bool') return put(slots[0], 'i32', `flag(${v}, ${place})`);
    const give = this.give(type, v, where);
    if (give) return `${put(slots[0], 'i32', give)} ${put(slots[1], 'i32', 'm.length')}`;
    if (d === 'u64' || d === 's64') return put(slots[0], 'i64', `long(${v}, ${d === 's64'}, ${place})`);
    if (typeof d === 'string') return put(slots[0], 'i32', `whole(${v}, ${RANGES[d].join(', ')}, ${place})`);
    switch (d.kind) {
      case 'record': {
        let at = 0;
        const lines = d.members.map((member) => {
          const some = slots.slice(at, (at += this.flat(member.type).length));
          return this.lower(member.type, `${v}.${camel(member.name)}`, some, `${d.name}.${camel(member.name)}`);
        });
        return `shape(${v}, ${place}); ${lines.join(' ')}`;
      }
      case 'tuple': {
        let at = 0;
        const lines = d.of.map((of, i) => this.lower(of, `${v}[${i}]`, slots.slice(at, (at += this.flat(of).length)), `part ${i} of ${where}`));
        return `several(${v}, ${place}); ${lines.join(' ')}`;
      }
      case 'enum':
        return put(slots[0], 'i32', `oneOf(${JSON.stringify(d.members.map((one) => one.name))}, ${v}, ${place})`);
      case 'flags':
        return `shape(${v}, ${place}); ${put(slots[0], 'i32', d.members.map((one, i) => `(${v}.${camel(one.name)} ? ${1 << i} : 0)`).join(' | '))}`;
      case 'option':
        return `if (${v} !== undefined && ${v} !== null) { ${put(slots[0], 'i32', '1')} ${this.lower(d.of, v, slots.slice(1), where)} }`;
      default: {
        const lines = this.cases(type).map(
          (one, i) => `case '${one.name}': ${put(slots[0], 'i32', `${i}`)} ${one.type ? this.lower(one.type, `${v}.val`, slots.slice(1), one.name) : ''} break;`,
        );
        return `tagged(${v}, ${place}); switch (${v}.tag) { ${lines.join('\n')} default: throw badValue(${place}, ${this.expected(type)}, ${v}.tag); }`;
      }
    }
  }

  interface(name) {
    const { functions } = this.schema.interfaces[name];
    const lines = functions.map((each) => this.call(name, each));
    return `export const ${name} = {\n${lines.join(',\n')}\n};`;
  }

  call(place, { resource, name, kind, parameters, result }) {
    const path = `hermetic:engine/${place}@${this.schema.version}#`;
    const symbol = kind === 'constructor' ? `${path}[constructor]${resource}` : `${path}[${kind}]${resource}.${name}`;
    const names = parameters.map((parameter) => camel(parameter.name));
    const cores = parameters.flatMap((parameter) => this.flat(parameter.type));
    const self = kind === 'method' ? 1 : 0;
    const lines = [];
    let given;
    if (cores.length + self <= MAX_FLAT) {
      const slots = cores.map((core, i) => ({ name: `f${i}`, core }));
      if (slots.length) lines.push(`let ${slots.map((slot) => `${slot.name} = ${slot.core === 'i64' ? '0n' : '0'}`).join(', ')};`);
      let at = 0;
      parameters.forEach((parameter, i) => {
        lines.push(this.lower(parameter.type, names[i], slots.slice(at, (at += this.flat(parameter.type).length)), parameter.name));
      });
      given = slots.map((slot) => slot.name);
    } else {
      // With `self` in front where it is a method: canonical ABI, one record of all parameters.
      const all = { kind: 'tuple', of: [...(self ? ['u32'] : []), ...parameters.map((parameter) => parameter.type)] };
      const { size, align: to, offsets } = this.fields(all);
      lines.push(`const at = m.alloc(${size}, ${to});`);
      if (self) lines.push('m.dv.setUint32(at, rep, true);');
      parameters.forEach((parameter, i) => lines.push(this.store(parameter.type, `at + ${offsets[i + self]}`, names[i], parameter.name)));
      given = ['at'];
    }
    const inMemory = cores.length + self > MAX_FLAT;
    const args = [...(self && !inMemory ? ['rep'] : []), ...given].join(', ');
    lines.push(`const r = m.exports[${JSON.stringify(symbol)}](${args});`);
    if (kind === 'constructor') lines.push('return r;');
    else {
      const { payload } = this.variant(result);
      const post = `m.exports[${JSON.stringify(`cabi_post_${symbol}`)}](r);`;
      const ok = this.definition(result.ok);
      const value = ok?.kind === 'resource' ? `m.dv.getUint32(r + ${payload}, true)` : this.load(result.ok, `r + ${payload}`);
      lines.push(
        `m.look();`,
        `if (m.dv.getUint8(r) === 0) { const v = ${value}; ${post} return v; }`,
        `const e = ${this.load(result.err, `r + ${payload}`)}; ${post} throw misuse(e);`,
      );
    }
    const inputs = ['m', ...(self ? ['rep'] : []), ...names].join(', ');
    return `  ${camel(name)}(${inputs}) {\n    ${lines.join('\n    ')}\n  }`;
  }
}
