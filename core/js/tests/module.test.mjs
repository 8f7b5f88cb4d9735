// The ES module in Node: values, errors, and that nothing which a page may give ends in anything but a typed error.

import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { missing, site } from './rig.mjs';

const skip = missing(join(site, 'hermetic.js'));
const hermetic = skip ? null : await import(pathToFileURL(join(site, 'hermetic.js')));
const files = skip ? null : await import(pathToFileURL(join(site, 'session-file.js')));
const text = (octets) => new TextDecoder().decode(octets);

test('nothing works before the engine is loaded, and says so', { skip }, async () => {
  assert.throws(() => new hermetic.ServerSession(), hermetic.NotLoaded);
  await assert.rejects(hermetic.load(new Uint8Array([0, 97, 115, 109])), hermetic.NotLoaded);
  await hermetic.load();
});

test('a server says what the native core says', { skip }, () => {
  const session = new hermetic.ServerSession({ 'server-name': 'mx.example' });
  assert.deepEqual(session.start(0).need, { answer: 'connection' });
  assert.equal(text(session.answer(0, { connection: { ok: null } }).transmit), '220 mx.example ESMTP\r\n');
  const step = session.receive(1, new TextEncoder().encode('NOOP\r\nQUIT\r\n'));
  assert.equal(text(step.transmit), '250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n');
  assert.equal(step.need, 'close');
  assert.equal(step.consumed, 12);
});

test('a client delivers to a server', { skip }, () => {
  const client = new hermetic.ClientSession({ 'hello-name': 'a.example' });
  client.start(0);
  assert.equal(text(client.receive(1, '220 mx.example\r\n').transmit), 'EHLO a.example\r\n');
  const { ready } = client.receive(2, '250-mx.example\r\n250 PIPELINING\r\n').need;
  assert.equal(ready.name, 'mx.example');
  const octets = new TextEncoder().encode('Subject: x\r\n\r\n.dot\r\n');
  const step = client.deliver(3, {
    sender: { local: 'a', host: { domain: 'a.example' } },
    recipients: [{ path: { mailbox: { local: 'b', host: { domain: 'mx.example' } } }, notify: ['failure'], orcpt: null }],
    content: hermetic.contentFacts(octets),
  });
  assert.equal(text(step.transmit), 'MAIL FROM:<a@a.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n');
});

test('facts of content', { skip }, () => {
  const facts = (octets) => hermetic.contentFacts(new TextEncoder().encode(octets));
  assert.deepEqual(facts('a: b\r\n\r\nccc\r\n'), { size: 13, 'eight-bit': false, 'bare-line-ends': false, 'longest-line': 4, 'utf8-header': false });
  assert.deepEqual(facts('é: b\r\n\r\n'), { size: 9, 'eight-bit': true, 'bare-line-ends': false, 'longest-line': 5, 'utf8-header': true });
  assert.deepEqual(facts('a: b\r\n\r\né\n'), { size: 11, 'eight-bit': true, 'bare-line-ends': true, 'longest-line': 4, 'utf8-header': false });
  assert.equal(facts('a\rb\r\n')['bare-line-ends'], true);
});

test('plaintext behind STARTTLS never counts in TLS', { skip }, () => {
  const session = new hermetic.ServerSession({ 'start-tls': true });
  session.start(0);
  session.answer(0, { connection: { ok: null } });
  session.receive(1, 'EHLO a.example\r\n');
  session.answer(1, { hello: { ok: null } });
  const input = 'STARTTLS\r\nMAIL FROM:<forged@b.example>\r\n';
  const step = session.receive(2, input);
  assert.equal(step.consumed, input.length);
  assert.equal(step.need, 'start-tls');
  assert.equal(step.events[0].occasion, 'plaintext-discarded');
  assert.equal(text(session.secured(3, []).transmit), '');
  assert.match(text(session.receive(4, 'RCPT TO:<c@d.example>\r\n').transmit), /^503 /);
});

test('a wrong call is a Misuse, and changes nothing', { skip }, () => {
  const session = new hermetic.ServerSession();
  const misuse = (call, expected) => assert.throws(call, (error) => {
    assert.ok(error instanceof hermetic.Misuse && error instanceof hermetic.HermeticError && error instanceof Error);
    assert.deepEqual(error.misuse, expected);
    assert.ok(error.message.length > 10, error.message);
    return true;
  });
  misuse(() => session.receive(0, ''), 'not-started');
  session.start(0);
  misuse(() => session.receive(0, 'NOOP\r\n'), 'question-open');
  misuse(() => session.answer(0, { data: { ok: null } }), { 'wrong-answer': 'connection' });
  misuse(() => session.secured(0, []), { 'bad-state': 'no handshake was asked for' });
  session.answer(0, { connection: { ok: null } });
  misuse(() => session.answer(0, { connection: { ok: null } }), 'no-question-open');
  session.receive(0, 'QUIT\r\n');
  misuse(() => session.tick(1), 'closed');
});

test('what is no value of its type says where', { skip }, () => {
  const { ServerSession, ClientSession, InvalidValue } = hermetic;
  const invalid = (call, words) => assert.throws(call, (error) => {
    assert.ok(error instanceof InvalidValue, `${error.name}: ${error.message}`);
    assert.match(error.message, words);
    return true;
  });
  invalid(() => new ServerSession({ limits: { recipients: -1 } }), /^options\.limits\.recipients: a whole number of 0 to 4294967295/);
  invalid(() => new ServerSession({ limits: { recipients: 1.5 } }), /recipients/);
  invalid(() => new ServerSession({ limits: { recipients: NaN } }), /recipients/);
  invalid(() => new ServerSession({ limits: { session: 1n << 64n } }), /session/);
  invalid(() => new ServerSession({ 'server_name': 'x' }), /^options\.server_name: nothing has this name here/);
  invalid(() => new ServerSession({ protocol: 'http' }), /^options\.protocol: one of "smtp", "lmtp" is expected, not "http"/);
  invalid(() => new ServerSession(7), /^options: an object is expected, not a number/);
  invalid(() => new ServerSession({ 'tls-mechanisms': ['PLAIN', 3] }), /^options\.tls-mechanisms\[1\]: a text is expected/);
  invalid(() => new ClientSession({ tls: { never: 1 } }), /tls/);
  const session = new ServerSession();
  invalid(() => session.start('soon'), /^now: /);
  session.start(0);
  for (const given of [null, 'yes', {}, { connection: null }, { connection: { ok: null, err: null } }, { connection: { ok: 3 } }, { a: 1, b: 2 }, [], () => 1, Symbol('x'), new Map()]) {
    invalid(() => session.answer(0, given), /./);
  }
  session.answer(0, { connection: { ok: null } });
  invalid(() => session.receive(1, 'ü€'), /above U\+00FF/);
  invalid(() => session.receive(1, 7), /^input: /);
  invalid(() => session.call('frobnicate', { now: 1 }), /no function of this half/);
  invalid(() => session.call('tick', { now: 1, extra: true }), /^extra: /);
  assert.equal(text(session.receive(2, 'NOOP\r\n').transmit), '250 2.0.0 Ok\r\n');
});

test('hostile objects do no harm', { skip }, () => {
  const { ServerSession, InvalidValue } = hermetic;
  const session = new ServerSession();
  session.start(0);
  const round = {};
  round.connection = round;
  assert.throws(() => session.answer(0, round), InvalidValue);
  const getter = { get connection() { throw new Error('boo'); } };
  assert.throws(() => session.answer(0, getter), (error) => error instanceof InvalidValue && /threw/.test(error.message));
  // A getter that calls back: the outer call reads its parameters before the session is touched.
  const again = { get connection() { session.tick(0); return { ok: null }; } };
  session.answer(0, again);
  assert.throws(() => session.receive(1, new Array(4_000_000_000)), InvalidValue);
  assert.throws(() => session.receive(1, new Uint8Array(17 * 1024 * 1024)), (error) => error instanceof InvalidValue && /16 MiB/.test(error.message));
  assert.throws(() => session.receive(1, 'x'.repeat(17 * 1024 * 1024)), InvalidValue);
  assert.throws(() => session.receive(1, new Proxy([], { get() { throw new Error('no'); } })), InvalidValue);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  assert.throws(() => session.receive(1, proxy), (error) => error instanceof hermetic.HermeticError);
  assert.equal(text(session.receive(2, 'NOOP\r\n').transmit), '250 2.0.0 Ok\r\n');
});

test('any octets, in any pieces, are replies or the end, never a fault', { skip }, () => {
  let seed = 20_261_129;
  const random = (below) => { seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0; return seed % below; };
  const words = ['EHLO a\r\n', 'MAIL FROM:<a@b.c>\r\n', 'RCPT TO:<c@d.e>\r\n', 'DATA\r\n', '.\r\n', 'x\r\n', 'BDAT 5 LAST\r\n', 'RSET\r\n', 'AUTH PLAIN\r\n', '\r', '\n', '\0', '\xff', 'STARTTLS\r\n', ' ', 'VRFY x\r\n'];
  for (let run = 0; run < 200; run += 1) {
    const session = new hermetic.ServerSession({ 'start-tls': true, 'plaintext-mechanisms': ['PLAIN'] });
    let step = session.start(0);
    for (let call = 0; call < 60 && step.need !== 'close'; call += 1) {
      const { answer } = step.need;
      if (answer !== undefined) {
        const name = typeof answer === 'string' ? answer : Object.keys(answer)[0];
        const one = random(4) ? { ok: null } : { err: { code: 450 + 100 * random(2), subject: 7, detail: 1, text: 'no\r\n250 yes' } };
        const given = { recipients: () => answer.recipients.map(() => one), message: () => Array.from({ length: answer.message.recipients }, () => one),
          sasl: () => ({ authenticated: 'a' }), verify: () => 'unsure' }[name]?.() ?? one;
        step = session.answer(call, { [name]: given });
      } else if (step.need === 'start-tls') {
        step = session.secured(call, []);
      } else {
        step = session.receive(call, Array.from({ length: 1 + random(4) }, () => words[random(words.length)]).join(''));
      }
      assert.match(text(step.transmit), /^([2-5]\d\d[- ][^\r\n]*\r\n|[2-5]\d\d\r\n)*$/);
    }
  }
});

test('a session file is written, read and replayed; a change is found', { skip }, async () => {
  const desk = new hermetic.ServerSession({ 'server-name': 'mx.example' });
  const calls = [];
  const call = (name, parameters) => calls.push({ call: name, ...parameters, ...files.plain(desk.call(name, parameters)) });
  call('start', { now: 0 });
  call('answer', { now: 1, answer: { connection: { ok: null } } });
  call('receive', { now: 2, input: 'NOOP \xff\r\nQUIT\r\n' });
  const written = await files.writeSessionFile({ half: 'server', options: { 'server-name': 'mx.example', limits: { errors: 40 } } }, calls);
  const file = await files.readSessionFile(written);
  assert.deepEqual(files.replay(file), { calls: 3, otherWit: null, difference: null });
  file.lines[2].step.transmit = file.lines[2].step.transmit.replace('Bye', 'Bah');
  const { difference } = files.replay(file);
  assert.equal(difference.line, 4);
  assert.equal(difference.difference.path, 'step.transmit');
});

test('bad session files are refused with a sentence', { skip }, async () => {
  const good = await files.writeSessionFile({ half: 'server', options: {} }, []);
  const sealed = async (...lines) => {
    const body = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
    const hash = Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(body))).toString('hex');
    return `${body}{"end":${lines.length},"sha256":"${hash}"}\n`;
  };
  const header = JSON.parse(good.split('\n')[0]);
  const refused = async (file, words) => {
    await assert.rejects(async () => files.replay(await files.readSessionFile(file)), (error) => {
      assert.ok(error instanceof files.SessionFileError, `${error.stack}`);
      assert.match(error.message, words);
      return true;
    });
  };
  await refused('', /no session file/);
  await refused('hello', /no session file/);
  await refused('{', /no JSON|cut short/);
  await refused(new Uint8Array([0xff, 0xfe]), /UTF-8/);
  await refused(good.slice(0, -30), /JSON|cut short/);
  await refused(good.split('\n').slice(0, -2).join('\n'), /cut short/);
  await refused(good.replace('mx', 'mxx').replace('"half":"server"', '"half":"server" '), /changed|SHA-256/);
  await refused(await sealed({ ...header, 'hermetic-session': 2 }), /format is 2, and 1 is expected/);
  await refused(await sealed({ ...header, half: 'probe' }), /half is "probe"/);
  await refused(await sealed({ ...header, half: '__proto__' }), /half/);
  const { trace, ...fewer } = header.options;
  assert.equal(trace, false);
  await refused(await sealed({ ...header, options: fewer }), /^line 1: options\.trace: it is missing/);
  await refused(await sealed({ ...header, options: { ...header.options, limits: {} } }), /^line 1: options\.limits\.message-size: it is missing/);
  await refused(await sealed({ ...header, options: { ...header.options, limits: { ...header.options.limits, errors: 'many' } } }), /^line 1: options\.limits\.errors/);
  await refused(await sealed({ ...header, about: { a: 1 } }), /"about"/);
  await refused(await sealed(header, 'x'), /^line 2: it is no JSON object/);
  await refused(await sealed(header, { call: 'constructor', now: 0, step: {} }), /^line 2: "call" is "constructor"/);
  await refused(await sealed(header, { call: 'receive', now: 0, step: {} }), /^line 2: receive needs "input"/);
  await refused(await sealed(header, { call: 'start', step: {} }), /^line 2: the time "now" is missing/);
  await refused(await sealed(header, { call: 'start', now: 0 }), /exactly one of/);
  await refused(await sealed(header, { call: 'start', now: 0, step: {}, misuse: 'closed' }), /exactly one of/);
  await refused(await sealed(header, { call: 'start', now: 'x', step: {} }), /^line 2: now/);
  await refused(await sealed(header, { call: 'start', now: 0, step: {}, also: 1 }), /"also"/);
});

test('the engine is small', { skip }, (context) => {
  const gzipped = (name) => gzipSync(readFileSync(join(site, name)), { level: 9 }).length;
  const [wasm, glue] = [gzipped('engine_bg.wasm'), gzipped('engine.js')];
  context.diagnostic(`engine_bg.wasm ${wasm}, engine.js ${glue}, hermetic.js ${gzipped('hermetic.js')} octets gzipped`);
  assert.ok(wasm < 80_000, `the engine has ${wasm} octets gzipped`);
  assert.ok(wasm + glue < 85_000, `the engine and its glue have ${wasm + glue} octets gzipped`);
});
