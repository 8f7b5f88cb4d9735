// Our glue against jco's, in the same sessions: each step must be the same value. And what does not fit is told apart from a trap.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';

import { transpile } from '@bytecodealliance/jco';

import { ClientSession, clientDefaults, ServerSession, serverDefaults } from '../dist/engine.js';
import { schema } from '../dist/engine/schema.js';
import { Values } from '../dist/values.js';
import { folder } from './rig.js';

const values = new Values(schema);
let jco;

before(async () => {
  const component = readFileSync(process.env.HERMETIC_ENGINE ?? new URL('../../out/engine.wasm', import.meta.url));
  const { files } = await transpile(component, { name: 'engine', instantiation: 'sync' });
  for (const [name, octets] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, octets);
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const { instantiate } = await import(join(folder, 'engine.js'));
  const modules = {};
  jco = () =>
    instantiate(
      (path) => (modules[path] ??= new WebAssembly.Module(files[path])),
      {},
      (module, imports) => new WebAssembly.Instance(module, imports),
    );
});

/** A value of a type, by chance. */
function random(type, dice, depth = 0) {
  const pick = (n) => Math.floor(dice() * n);
  const d = type?.kind === 'name' ? schema.types[type.name] : type;
  if (d === 'bool') return pick(2) === 1;
  if (d === 'string') return ['', 'a', 'ä☃𝄞', 'x'.repeat(pick(300)), 'mx.example.test', 'two\r\nlines'][pick(6)];
  if (typeof d === 'string') {
    const bits = Number(d.slice(1));
    const large = d.startsWith('u') ? 2 ** Math.min(bits, 32) : 2 ** (Math.min(bits, 32) - 1);
    const small = [0, 1, 600, large - 1, d.startsWith('s') ? -large : 0][pick(5)];
    const whole = bits < 32 && Math.abs(small) > large ? 1 : small;
    return bits === 64 ? [BigInt(whole), 2n ** 63n - 1n, 2n ** 53n + 1n][pick(3)] : Math.min(whole, large - 1);
  }
  switch (d.kind) {
    case 'list':
      if (d.of === 'u8') return Buffer.from(Array.from({ length: pick(40) }, () => pick(256)));
      return Array.from({ length: pick(4) }, () => random(d.of, dice, depth + 1));
    case 'option':
      return pick(2) ? random(d.of, dice, depth + 1) : undefined;
    case 'tuple':
      return d.of.map((of) => random(of, dice, depth + 1));
    case 'result': {
      const tag = pick(2) ? 'ok' : 'err';
      return { tag, val: d[tag] === null ? undefined : random(d[tag], dice, depth + 1) };
    }
    case 'enum':
      return d.members[pick(d.members.length)].name;
    case 'flags':
      return Object.fromEntries(d.members.map((one) => [camel(one.name), pick(2) === 1]));
    case 'record':
      return Object.fromEntries(d.members.map((one) => [camel(one.name), random(one.type, dice, depth + 1)]));
    default: {
      const one = d.members[pick(d.members.length)];
      return one.type ? { tag: one.name, val: random(one.type, dice, depth + 1) } : { tag: one.name };
    }
  }
}

const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

/** Numbers that look like chance, the same each time. */
function chance(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

/** What a call comes to: a step or a misuse, as JSON. */
function outcome(type, call) {
  try {
    return { ok: values.toJson(type, call()) };
  } catch (error) {
    const misuse = error.misuse ?? error.payload;
    if (misuse === undefined) throw error;
    return { misuse: values.toJson({ kind: 'name', name: 'types.misuse' }, misuse) };
  }
}

function compare(half, ours, theirs, calls) {
  for (const [name, ...given] of calls) {
    const { result } = schema.interfaces[half].functions.find((one) => one.name === name);
    const said = outcome(result.ok, () => ours[name](...given));
    const wanted = outcome(result.ok, () => theirs[name](...given.map((one, i) => (i === 0 ? BigInt(one) : one))));
    assert.deepEqual(said, wanted, `${half}.${name}(${given.map((one) => String(JSON.stringify(one, (_, v) => (typeof v === 'bigint' ? `${v}` : v)))).join(', ')})`);
  }
}

test('a session with all that a server can be told gives the same steps', () => {
  const options = { ...serverDefaults('mx.example.test'), startTls: true, tlsMechanisms: ['PLAIN', 'LOGIN'], xclient: ['NAME', 'ADDR'], deliverBy: true, priority: true, trace: true };
  options.limits = { ...options.limits, holdFor: 1000, holdUntil: 2000000000n, messageSize: 2n ** 40n };
  const ours = new ServerSession(options);
  const { server } = jco();
  const theirs = new server.Session(options);
  const say = (text) => ['receive', 5, Buffer.from(text, 'latin1')];
  const yes = { tag: 'ok', val: undefined };
  const no = { tag: 'err', val: { code: 550, subject: 1, detail: 1, text: 'No\r\nsuch ☃' } };
  compare('server', ours, theirs, [
    ['receive', 0, Buffer.from('early')],
    ['start', 1],
    ['start', 1],
    ['answer', 2, { tag: 'hello', val: yes }],
    ['answer', 2, { tag: 'connection', val: { tag: 'ok', val: 'Hello\nthere' } }],
    say('XCLIENT NAME=spike.example.org ADDR=[UNAVAILABLE]\r\n'),
    say('EHLO client.example.org\r\n'),
    ['answer', 3, { tag: 'hello', val: yes }],
    say('XCLIENT NAME=spike.example.org ADDR=[UNAVAILABLE]\r\n'),
    ['answer', 3, { tag: 'xclient', val: yes }],
    ['answer', 3, { tag: 'connection', val: yes }],
    say('EHLO [IPv6:2001:db8::1]\r\n'),
    ['answer', 3, { tag: 'hello', val: yes }],
    say('STARTTLS\r\nEHLO injected\r\n'),
    ['secured', 4, ['PLAIN', 'LOGIN']],
    say('EHLO client.example.org\r\n'),
    ['answer', 4, { tag: 'hello', val: yes }],
    say('AUTH PLAIN AGEAYg==\r\n'),
    ['answer', 4, { tag: 'sasl', val: { tag: 'challenge', val: Buffer.from('more?') } }],
    say('eQ==\r\n'),
    ['answer', 4, { tag: 'sasl', val: { tag: 'authenticated', val: 'a' } }],
    say('MAIL FROM:<"a b"@[192.0.2.1]> SIZE=1099511627775 BODY=8BITMIME RET=FULL ENVID=x+2By AUTH=<> HOLDFOR=60 BY=120;RT MT-PRIORITY=-3\r\n'),
    ['answer', 4, { tag: 'sender-with-priority', val: -9 }],
    say('RCPT TO:<b@c.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+40y\r\nRCPT TO:<Postmaster>\r\nRCPT TO:<d@e.test> NOTIFY=NEVER\r\n'),
    ['answer', 4, { tag: 'recipients', val: [yes, { tag: 'ok', val: 'Fine' }, no] }],
    say('VRFY someone\r\n'),
    ['answer', 4, { tag: 'verify', val: { tag: 'known', val: 'Some One <s@o.test>' } }],
    say('DATA\r\n'),
    ['answer', 4, { tag: 'data', val: yes }],
    say('Subject: x\r\n\r\n..dot\r\n.'),
    say('\r\n.\r\n'),
    ['answer', 4, { tag: 'message', val: [no, yes] }],
    ['tick', 10],
    ['drain', 11, { code: 421, subject: 3, detail: 2, text: 'bye' }],
    ['tick', 12],
  ]);
});

test('a session with all that a client can be told gives the same steps', () => {
  const options = { ...clientDefaults('client.example.org'), plaintextAuth: true, trace: true };
  const ours = new ClientSession(options);
  const { client } = jco();
  const theirs = new client.Session(options);
  const hear = (text) => ['receive', 5, Buffer.from(text, 'latin1')];
  const mailbox = { local: 'a b', host: { tag: 'literal', val: '192.0.2.1' } };
  compare('client', ours, theirs, [
    ['start', 1],
    hear('220 mx ESMTP\r\n'),
    hear('250-mx\r\n250-PIPELINING\r\n250-SIZE 4000000000\r\n250-DSN\r\n250-DELIVERBY 30\r\n250-MT-PRIORITY\r\n250-AUTH PLAIN LOGIN\r\n250-LIMITS RCPTMAX=5 MAILMAX=9\r\n250 ENHANCEDSTATUSCODES\r\n'),
    ['login', 6, 'LOGIN', undefined],
    hear('334 VXNlcm5hbWU6\r\n'),
    ['respond', 6, Buffer.from('anna')],
    hear('535 5.7.8 No\r\n'),
    ['login', 6, 'PLAIN', Buffer.from('\0anna\0secret')],
    hear('334 \r\n'),
    ['cancel', 6],
    hear('501 5.5.2 Cancelled\r\n'),
    ['deliver', 7, {
      sender: mailbox,
      recipients: [
        { path: { tag: 'mailbox', val: { local: 'c', host: { tag: 'domain', val: 'd.test' } } }, notify: { success: true, failure: false, delay: true }, orcpt: { addressType: 'rfc822', address: 'x@y' } },
        { path: { tag: 'postmaster' } },
      ],
      content: { size: 9n, eightBit: false, bareLineEnds: false, longestLine: 5n, utf8Header: false },
      requireTls: false, ret: 'headers', envid: 'a+b', auth: { tag: 'mailbox', val: 'z@w.test' }, deliverBy: { seconds: -5, mode: 'notify', trace: true }, priority: -9,
    }],
    hear('250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 who?\r\n354 go\r\n'),
    ['content', 8, Buffer.from('.a\r\nb'), false],
    ['content', 8, Buffer.from('cd\r\n'), true],
    hear('250 2.0.0 done\r\n'),
    ['quit', 9],
    ['lost', 9],
    ['lost', 9],
  ]);
});

test('any value goes through both the same way', () => {
  const dice = chance(7);
  const { server, client } = jco();
  const type = (name) => ({ kind: 'name', name });
  let taken = 0;
  for (let i = 0; i < 300; i++) {
    const server_ = { ...serverDefaults('mx.example.test'), ...pickSome(random(type('server.options'), dice), dice) };
    server_.limits = random(type('server.limits'), dice);
    const ours = new ServerSession(server_);
    const theirs = new server.Session(server_);
    compare('server', ours, theirs, [
      ['start', i],
      ['answer', i, random(type('types.answer'), dice)],
      ['drain', i, random(type('types.refusal'), dice)],
    ]);
    ours.close();
    theirs[Symbol.dispose]?.();
    const client_ = { ...random(type('client.options'), dice) };
    const mine = new ClientSession(client_);
    const yours = new client.Session(client_);
    compare('client', mine, yours, [
      ['start', i],
      ['receive', i, Buffer.from('220 a\r\n')],
      ['receive', i, Buffer.from('250 a\r\n')],
      ['deliver', i, random(type('client.transaction'), dice)],
    ]);
    mine.close();
    yours[Symbol.dispose]?.();
    taken++;
  }
  assert.equal(taken, 300);
});

/** Some members, so that usual sessions are among them. */
function pickSome(record, dice) {
  return Object.fromEntries(Object.entries(record).filter(() => dice() < 0.5));
}

test('memory of a session before is not in the next', () => {
  const secret = 'THE-SECRET-OF-SOMEBODY-ELSE';
  const first = new ServerSession(serverDefaults('mx.example.test'));
  first.start(0);
  first.answer(0, { tag: 'connection', val: { tag: 'ok', val: undefined } });
  first.receive(0, Buffer.from(`EHLO ${secret}.test\r\n`));
  const { instance } = first;
  assert.ok(instance.u8.includes(secret), 'it was there');
  first.close();
  const second = new ServerSession(serverDefaults('mx.example.test'));
  assert.equal(second.instance, instance, 'the instance is used again');
  assert.ok(!second.instance.u8.includes(secret), 'and has forgotten');
  second.close();
});

test('a memory that was put back is that of a new instance', () => {
  const use = (session) => {
    session.start(0);
    session.answer(0, { tag: 'connection', val: { tag: 'ok', val: undefined } });
    session.receive(0, Buffer.alloc(60_000, 'NOOP\r\n'));
    return session;
  };
  const first = use(new ServerSession(serverDefaults('a.test')));
  const { instance } = first;
  first.close();
  const again = Buffer.from(instance.u8);
  const module = new WebAssembly.Module(readFileSync(new URL('../dist/engine/engine.core.wasm', import.meta.url)));
  const imports = {};
  for (const { module: place, name } of WebAssembly.Module.imports(module)) (imports[place] ??= {})[name] = () => {};
  const fresh = Buffer.from(new WebAssembly.Instance(module, imports).exports.memory.buffer);
  assert.equal(Buffer.compare(again, fresh), 0);
});
