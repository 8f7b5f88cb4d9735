// What a plugin may ask of its host (wit/plugin/context.wit), as this page can answer it.
//
// Owns one message and its envelope, the edits of each recipient, and what is noted for the reader. There is no network: DNS and
// HTTP are fault 5, as they are on a host that cannot reach them. Fails as the interfaces say, by a fault.

/** Octets that may be kept in `keyvalue`, and in `scratch`. */
const KEYVALUE = 1_048_576;
const SCRATCH = 65_536;
/** Lines of the log. */
const LINES = 1000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

class Fault extends Error {
  constructor(code, text) {
    super(text);
    // This is where jco looks for what `result<_, fault>` carries.
    this.payload = { code, text };
  }
}

/** A message's header fields, unfolded, and its body. `octets`: lines with CRLF. */
export function parsed(octets) {
  const message = decoder.decode(octets);
  const end = message.indexOf('\r\n\r\n');
  const head = end < 0 ? message : message.slice(0, end);
  const body = encoder.encode(end < 0 ? '' : message.slice(end + 4));
  const fields = [];
  for (const line of head.replace(/\r\n(?=[ \t])/g, '').split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push({ id: fields.length + 1, name: line.slice(0, colon).trim(), value: line.slice(colon + 1).trim() });
  }
  return { fields, body };
}

/** RFC 2047: encoded words as text; words of a charset that nobody knows stay. */
export function decoded(value) {
  return value.replace(/\?=\s+=\?/g, '?==?').replace(/=\?([^?*]+)(?:\*[^?]*)?\?([bq])\?([^?]*)\?=/gi, (word, charset, how, coded) => {
    try {
      const binary = how.toLowerCase() === 'b'
        ? atob(coded)
        : coded.replaceAll('_', ' ').replace(/=([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
      return new TextDecoder(charset).decode(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
    } catch {
      return word;
    }
  });
}

export class Context {
  /** `store`: what `keyvalue` holds, a Map that outlives the run. */
  constructor({ envelope, message, config, now, store }) {
    const { fields, body } = parsed(message);
    Object.assign(this, { envelope, config, now, store, body, size: message.length });
    this.shared = { fields, next: fields.length + 1 };
    this.own = new Map();
    this.scratch = new Map();
    this.lines = [];
    this.effects = [];
    /** The recipient that the running hook is called for. */
    this.recipient = null;
    this.accepted = [];
    this.phase = 'connection';
  }

  get header() {
    if (this.recipient === null) return this.shared;
    let own = this.own.get(this.recipient);
    if (!own) this.own.set(this.recipient, own = { fields: this.shared.fields.map((field) => ({ ...field })), next: this.shared.next });
    return own;
  }

  note(level, text) {
    if (this.lines.length < LINES) this.lines.push({ level, text: String(text).slice(0, 1024), hook: this.phase });
  }

  effect(text) {
    this.effects.push({ text, recipient: this.recipient, hook: this.phase });
  }

  rendered() {
    const head = this.header.fields.map(({ name, value }) => `${name}: ${value}\r\n`).join('');
    return new Uint8Array([...encoder.encode(`${head}\r\n`), ...this.body]);
  }

  changed(name, value) {
    if (!/^[!-9;-~]+$/.test(name)) throw new Fault(2, `${name} is no name of a header field`);
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) throw new Fault(2, 'a value is one line without controls');
    if (/^(received|return-path|delivered-to)$/i.test(name)) throw new Fault(2, `${name} is the host's`);
  }

  found(id) {
    const field = this.header.fields.find((one) => one.id === id);
    if (!field) throw new Fault(4, 'there is no such field');
    this.changed(field.name, '');
    return field;
  }

  live(key) {
    const kept = this.store.get(key);
    if (kept && kept.until !== 0 && kept.until <= this.now) {
      this.store.delete(key);
      return undefined;
    }
    return kept;
  }

  keep(key, value, seconds) {
    let used = key.length + value.length;
    for (const [name, kept] of this.store) if (name !== key) used += name.length + kept.value.length;
    if (used > KEYVALUE) throw new Fault(3, 'the quota is used up');
    this.store.set(key, { value, until: seconds === 0 ? 0 : this.now + seconds });
  }

  /** The interfaces by their names, as jco wants them. */
  imports() {
    const { envelope } = this;
    const read = (octets, offset, max) => octets.slice(offset, offset + Math.min(max, 65_536));
    const field = ({ id, name, value }) => ({ id, name, value: encoder.encode(value) });
    const named = (name) => this.header.fields.filter((one) => name === '' || one.name.toLowerCase() === name.toLowerCase());
    const local = () => (this.recipient === null ? undefined : this.recipient.split('@')[0].split('+')[0]);
    const away = () => { throw new Fault(5, 'there is no network in this page'); };
    const put = (where, name, value) => {
      this.changed(name, value);
      const { header } = this;
      const id = header.next++;
      header.fields[where]({ id, name, value });
      this.effect(`${where === 'unshift' ? 'adds above' : 'adds below'} ${name}: ${value}`);
      return id;
    };
    const settings = this.config;
    const all = {
      facts: {
        transactionId: () => 'playground', now: () => this.now, listener: () => 'playground', listenerKind: () => 'mx',
        clientAddress: () => envelope.client || undefined, clientName: () => undefined, helloName: () => envelope.hello || undefined,
        identity: () => undefined, tlsVersion: () => undefined,
        reversePath: () => (this.phase === 'connection' ? undefined : envelope.from), bodyType: () => '7BIT', smtputf8: () => false,
        forwardPath: () => this.recipient ?? undefined, mailbox: local, recipients: () => [...this.accepted], messageSize: () => this.size,
      },
      header: { fields: (name) => named(name).map(field), text: (name) => named(name).map(({ value }) => decoded(value)) },
      body: { read: (offset, max) => read(this.body, offset, max), size: () => this.body.length },
      edit: {
        prepend: (name, value) => put('unshift', name, value), append: (name, value) => put('push', name, value),
        replace: (id, value) => {
          const one = this.found(id);
          this.changed(one.name, value);
          one.value = value;
          this.effect(`changes ${one.name} to ${value}`);
        },
        remove: (id) => {
          const one = this.found(id);
          this.header.fields = this.header.fields.filter((other) => other !== one);
          this.effect(`removes ${one.name}`);
        },
      },
      forwarding: { redirect: (to) => this.effect(`sends on to ${to.join(', ')}`), add: (to) => this.effect(`sends a copy to ${to}`) },
      quarantine: { keep: (why) => this.effect(`keeps it aside: ${why}`) },
      reply: { send: (subject, text) => this.effect(`answers the sender: ${subject || 'Auto'}: ${text.slice(0, 200)}`) },
      scratch: {
        get: (name) => this.scratch.get(name),
        set: (name, value) => {
          let used = name.length + value.length;
          for (const [other, kept] of this.scratch) if (other !== name) used += other.length + kept.length;
          if (used > SCRATCH) throw new Fault(3, 'more than 64 KiB');
          this.scratch.set(name, value);
        },
      },
      rendered: { read: (offset, max) => read(this.rendered(), offset, max), size: () => this.rendered().length },
      attempt: { idempotencyKey: () => 'playground', number: () => 1, queuedAt: () => this.now },
      fate: { state: () => '', status: () => undefined, text: () => '', attempts: () => 0 },
      log: { debug: (text) => this.note('debug', text), info: (text) => this.note('info', text), warn: (text) => this.note('warn', text) },
      config: {
        get: (key) => {
          if (!Object.hasOwn(settings, key)) return undefined;
          return typeof settings[key] === 'object' ? JSON.stringify(settings[key]) : String(settings[key]);
        },
        json: () => JSON.stringify(settings),
      },
      keyvalue: {
        get: (key) => this.live(key)?.value,
        set: (key, value, seconds) => this.keep(key, value, seconds),
        delete: (key) => { this.store.delete(key); },
        increment: (key, by, seconds) => {
          const kept = this.live(key);
          const sum = (kept ? new DataView(kept.value.buffer, kept.value.byteOffset).getInt32(0, true) : 0) + by;
          if (sum !== (sum | 0)) throw new Fault(3, 'the counter is full');
          const value = new Uint8Array(4);
          new DataView(value.buffer).setInt32(0, sum, true);
          this.keep(key, value, seconds);
          if (kept) this.store.get(key).until = kept.until;
          return sum;
        },
      },
      resolver: { addresses: away, mx: away, txt: away, ptr: away },
      http: { send: away, sendMessage: away },
      types: {},
    };
    return Object.fromEntries(Object.entries(all).flatMap(([name, face]) => [[`hermetic:plugin/${name}`, face], [`hermetic:plugin/${name}@0.1.0`, face]]));
  }
}
