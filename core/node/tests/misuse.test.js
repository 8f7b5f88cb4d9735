// What an embedder can do wrong: each mistake is an error with a type, that says what was expected, and the session is as it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ClientSession, clientDefaults, MisuseError, ServerSession, serverDefaults, ValueError } from '../dist/engine.js';
import { createServer, refuse, SmtpClient } from '../dist/index.js';
import { gathering } from './rig.js';

const yes = { tag: 'ok', val: undefined };
const misuse = (tag, text) => (error) => {
  assert.ok(error instanceof MisuseError, String(error));
  assert.equal(error.fault, 'embedder');
  assert.equal(error.misuse?.tag, tag);
  assert.match(error.message, text);
  return true;
};

test('the server half: wrong order, wrong answers, after the end', () => {
  const session = new ServerSession(serverDefaults('mx.test'));
  assert.throws(() => session.receive(0, Buffer.from('x')), misuse('not-started', /`start` comes first/));
  session.start(0);
  assert.throws(() => session.start(0), misuse('bad-state', /start/));
  assert.throws(() => session.receive(0, Buffer.from('x')), misuse('question-open', /a question is open/));
  assert.throws(() => session.answer(0, { tag: 'data', val: yes }), misuse('wrong-answer', /connection/));
  assert.throws(() => session.answer(0, { tag: 'connection', val: { tag: 'err', val: { code: 250, subject: 0, detail: 0, text: '' } } }), misuse('bad-answer', /250|4yz|code/));
  session.answer(0, { tag: 'connection', val: yes });
  assert.throws(() => session.answer(0, { tag: 'connection', val: yes }), misuse('no-question-open', /no open question/));
  assert.throws(() => session.secured(0, []), misuse('bad-state', /./));
  assert.match(session.receive(0, Buffer.from('NOOP\r\n')).transmit.toString(), /^250 /, 'the session is as it was');
  const image = session.freeze();
  assert.throws(() => session.tick(0), misuse('closed', /closed/));
  assert.throws(() => new ServerSession(serverDefaults('mx.test'), undefined, image.subarray(1)), misuse('bad-image', /freeze/));
  const thawed = new ServerSession(serverDefaults('mx.test'), undefined, image);
  assert.match(thawed.receive(1, Buffer.from('QUIT\r\n')).transmit.toString(), /^221 /);
  assert.throws(() => thawed.receive(1, Buffer.from('NOOP\r\n')), misuse('closed', /closed/));
  thawed.close();
  thawed.close();
  assert.throws(() => thawed.receive(1, Buffer.from('NOOP\r\n')), misuse('closed', /closed/));
});

test('values of another type are named, and nothing is called', () => {
  const session = new ServerSession(serverDefaults('mx.test'));
  const unfit = (text) => (error) => error instanceof ValueError && error.fault === 'embedder' && text.test(error.message);
  assert.throws(() => session.start('now'), unfit(/^now: expected a whole number of 64 bits, not negative, got "now"/));
  assert.throws(() => session.start(-1), unfit(/^now: /));
  assert.throws(() => session.start(1.5), unfit(/^now: /));
  session.start(0);
  assert.throws(() => session.answer(0, undefined), unfit(/^answer: expected an object with a tag, got undefined/));
  assert.throws(() => session.answer(0, { tag: 'yes' }), unfit(/^answer: expected a tag of connection, hello, .*, got "yes"/));
  assert.throws(() => session.answer(0, { tag: 'connection', val: { tag: 'err', val: { code: 70000, subject: 0, detail: 0, text: '' } } }), unfit(/code: expected a whole number from 0 to 65535, got 70000/));
  session.answer(0, { tag: 'connection', val: yes });
  assert.throws(() => session.receive(0, 'EHLO'), unfit(/^input: expected a Uint8Array, got "EHLO"/));
  session.close();
  const defaults = serverDefaults('mx.test');
  assert.throws(() => new ServerSession({ ...defaults, protocol: 'http' }), unfit(/protocol: expected one of smtp, lmtp, got "http"/));
  assert.throws(() => new ServerSession({ ...defaults, limits: undefined }), unfit(/limits: expected an object, got undefined/));
  assert.throws(() => new ServerSession(undefined), unfit(/options: expected an object/));
  assert.throws(() => new ServerSession({ ...defaults, xclient: 'NAME' }), unfit(/xclient: expected an array/));
});

test('the client half', () => {
  const session = new ClientSession(clientDefaults('a.test'));
  const transaction = { recipients: [], content: { size: 0n, eightBit: false, bareLineEnds: false, longestLine: 0n, utf8Header: false }, requireTls: false };
  assert.throws(() => session.deliver(0, transaction), misuse('not-started', /start/));
  session.start(0);
  assert.throws(() => session.deliver(0, transaction), misuse('bad-state', /./));
  session.receive(0, Buffer.from('220 mx\r\n'));
  assert.equal(session.receive(0, Buffer.from('250 mx\r\n')).need.tag, 'ready');
  const to = (local, domain) => ({ ...transaction, recipients: [{ path: { tag: 'mailbox', val: { local, host: { tag: 'domain', val: domain } } } }] });
  assert.throws(() => session.deliver(0, to('a', 'b>\r\nRSET')), misuse('bad-value', /./));
  assert.throws(() => session.respond(0, Buffer.alloc(1)), misuse('bad-state', /./));
  assert.throws(() => session.content(0, Buffer.alloc(1), true), misuse('bad-state', /./));
  const step = session.deliver(0, { ...to('a', 'b.test'), content: { ...transaction.content, size: 3n, longestLine: 3n } });
  assert.match(step.transmit.toString(), /^MAIL FROM:<>/);
  session.receive(0, Buffer.from('250 ok\r\n'));
  session.receive(0, Buffer.from('250 ok\r\n'));
  assert.equal(session.receive(0, Buffer.from('354 go\r\n')).need.tag, 'content');
  assert.throws(() => session.content(0, Buffer.from('abcdef'), true), misuse('bad-value', /./), 'content that is not what its facts say');
  session.close();
});

test('createServer says at once what is wrong', async (t) => {
  const onMessage = () => {};
  for (const [options, handlers, text] of [
    [undefined, { onMessage }, /^options: expected an object/],
    [{}, {}, /onMessage: expected a function; `discard` takes all mail/],
    [{ port: 25 }, { onMessage }, /^options.port: there is no such name; expected some of name, /],
    [{}, { onMessage, onRcpt: onMessage }, /^handlers.onRcpt: there is no such name/],
    [{}, { onMessage, onSender: 'yes' }, /^handlers.onSender: expected a function, got "yes"/],
    [{ implicitTls: true }, { onMessage }, /^options.tls: expected a key/],
    [{ requireAuth: true }, { onMessage }, /^handlers.onAuth: expected a function/],
    [{ sessions: 0 }, { onMessage }, /^options.sessions: expected a whole number from 1/],
    [{ messageSize: 1.5 }, { onMessage }, /^options.messageSize: expected a whole number/],
    [{ tls: { key: 'x', cert: 'y' } }, { onMessage }, /^options.tls: Node does not take it/],
    [{ protocol: 'http' }, { onMessage }, /protocol: expected one of smtp, lmtp/],
  ]) {
    assert.throws(() => createServer(options, handlers), (error) => error instanceof ValueError && text.test(error.message), String(text));
  }
  const { server, port } = await gathering(t, createServer);
  await assert.rejects(createServer({}, { onMessage }).listen(port, '127.0.0.1'), { code: 'EADDRINUSE', fault: 'network' });
  await assert.rejects(server.listen(0), /listens already/);
  await server.close();
  await assert.rejects(server.listen(0), /was closed/);
  assert.throws(() => server.address(), /does not listen/);
  assert.throws(() => refuse(250, '2.0.0', 'x'), /expected 400 to 599, got 250/);
  assert.throws(() => refuse(550, '4.1.1', 'x'), /expected 5.x.y/);
});

test('SmtpClient: one thing at a time, in order, and not after the end', async (t) => {
  const { port } = await gathering(t, createServer);
  const client = new SmtpClient({ port });
  const letter = { from: 'a@b.test', to: 'c@d.test', content: 'x' };
  await assert.rejects(client.send(letter), /`connect` comes first/);
  await client.connect();
  await assert.rejects(client.connect(), /connects once/);
  await assert.rejects(client.login('a', 'b'), /offers PLAIN or LOGIN/);
  await assert.rejects(client.send({ ...letter, to: [] }), /at least one recipient/);
  await assert.rejects(client.send({ ...letter, to: 'nobody' }), /expected an address such as/);
  await assert.rejects(client.send({ ...letter, to: 'c@d.test>\r\nRSET' }), MisuseError);
  await assert.rejects(client.send({ ...letter, content: 7 }), /expected octets, a string or a stream, got 7/);
  const first = client.send(letter);
  await assert.rejects(client.send(letter), /something else is under way/);
  assert.deepEqual((await first).accepted, ['c@d.test'], 'the session is as it was');
  await client.quit();
  await client.quit();
  await assert.rejects(client.send(letter), { fault: 'embedder' });
  await assert.rejects(new SmtpClient({ port: 1 }).connect(), { code: 'ECONNREFUSED', fault: 'network' });
  await assert.rejects(new SmtpClient({ port: 1 }).send(letter), /`connect` comes first/);
});
