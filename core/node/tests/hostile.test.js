// Peers that want to harm: each gets its end, in bounded time and memory, and others do not notice.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createNetServer } from 'node:net';
import { test } from 'node:test';

import { createServer, EngineError, SmtpClient } from '../dist/index.js';
import { serverDefaults, ServerSession } from '../dist/engine.js';
import { gathering, room, Talk, until } from './rig.js';

const BEGIN = 'EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n';

async function works(port) {
  const talk = await Talk.to(port);
  talk.say(`${BEGIN}`);
  await talk.hear(/354 .*\r\n/);
  talk.say('x\r\n.\r\nQUIT\r\n');
  assert.match(await talk.end(), /^250 .*\r\n221 /);
}

test('a line without an end', async (t) => {
  const { port } = await gathering(t, createServer);
  const talk = await Talk.to(port);
  await talk.hear(/220 .*\r\n/);
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 200 && !talk.ended; i++) {
    if (!talk.socket.write(Buffer.alloc(64 * 1024, 'x'))) await room(talk.socket);
  }
  assert.ok(process.memoryUsage().rss - before < 64 << 20, 'what is too long is not kept');
  talk.say('\r\n');
  assert.match(talk.ended ? talk.text : await talk.hear(/\r\n/), /^(500|421) /);
  talk.socket.destroy();
  await works(port);
});

test('too many faults', async (t) => {
  const { port } = await gathering(t, createServer);
  const talk = await Talk.to(port);
  talk.say('FOO\r\n'.repeat(1000));
  const said = await talk.end();
  assert.match(said, /421 .*\r\n$/);
  assert.ok(said.split('\r\n').length < 40);
});

test('a peer that reads no replies is not read either, and is cut off', async (t) => {
  const { port, closed, server } = await gathering(t, createServer, { writeTimeout: 300, limits: { idleCommands: 1_000_000_000 } });
  const talk = await Talk.to(port);
  talk.socket.pause();
  let written = 0;
  const begun = Date.now();
  while (closed.length === 0 && Date.now() - begun < 20_000) {
    if (talk.socket.write(Buffer.alloc(64 * 1024, 'HELP\r\n')) || written === 0) written += 64 * 1024;
    else await room(talk.socket);
    if (talk.socket.destroyed) break;
  }
  await until('it is cut off', () => closed.length === 1);
  assert.equal(closed[0].code, 'HERMETIC_TIMEOUT');
  assert.ok(written < 64 << 20, `${written} octets were taken from a peer that does not read`);
  assert.equal(server.sessions, 0);
});

test('a peer that says nothing is told 421 when its time is over', async (t) => {
  const { port } = await gathering(t, createServer, { limits: { commandTimeout: 100n } });
  const talk = await Talk.to(port);
  assert.match(await talk.end(), /^220 .*\r\n421 /);
});

test('a peer that goes away in the middle of a message leaves none', async (t) => {
  const errors = [];
  const { port, messages, server } = await gathering(t, createServer, {}, {
    onMessage: async (message) => {
      await message.bytes().catch((error) => errors.push(error));
    },
  });
  for (const end of ['destroy', 'end']) {
    const talk = await Talk.to(port);
    talk.say(BEGIN);
    await talk.hear(/354 .*\r\n/);
    talk.say('half of it\r\n');
    await new Promise((resolve) => setTimeout(resolve, 20));
    talk.socket[end]();
    await until('the session is over', () => server.sessions === 0);
  }
  await until('both are told', () => errors.length === 2);
  assert.deepEqual(errors.map(({ code, fault }) => [code, fault]), [['HERMETIC_ABANDONED', 'peer'], ['HERMETIC_ABANDONED', 'peer']]);
  assert.equal(messages.length, 0);
});

test('smuggling: what is no end of data does not end it', async (t) => {
  const { port, messages } = await gathering(t, createServer);
  for (const fake of ['\n.\n', '\n.\r\n', '\r\n.\n', '\r.\r', '\r\n.\r']) {
    const talk = await Talk.to(port);
    talk.say(BEGIN);
    await talk.hear(/354 .*\r\n/);
    talk.say(`one${fake}MAIL FROM:<evil@b.test>\r\nRCPT TO:<c@d.test>\r\n\r\n.\r\n`);
    // Bare CR and LF are refused, and nothing of it was a command.
    await talk.hear(/^5\d\d .*\r\n/);
    talk.say('QUIT\r\n');
    assert.match(await talk.end(), /^221 /);
  }
  assert.equal(messages.length, 0);
});

test('content in the smallest pieces costs no more than its octets', async (t) => {
  const { port, messages } = await gathering(t, createServer);
  for (const [content, wanted] of [['..\r\n', '.\r\n'], ['x\r\n', 'x\r\n']]) {
    const talk = await Talk.to(port);
    talk.say(BEGIN);
    await talk.hear(/354 .*\r\n/);
    const lines = 1 << 20;
    globalThis.gc?.();
    const before = process.memoryUsage();
    talk.socket.write(Buffer.alloc(lines * content.length, content));
    talk.say('.\r\n');
    await talk.hear(/^250 .*\r\n/, 60_000);
    const after = process.memoryUsage();
    assert.equal(messages.at(-1).content.compare(Buffer.alloc(lines * wanted.length, wanted)), 0);
    assert.ok(after.heapUsed - before.heapUsed < 48 << 20, `${(after.heapUsed - before.heapUsed) >> 20} MiB on the heap`);
    talk.socket.destroy();
  }
  // One octet a chunk.
  const talk = await Talk.to(port);
  talk.say('EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n');
  talk.say('BDAT 1\r\nx'.repeat(50_000));
  talk.say('BDAT 0 LAST\r\n');
  await talk.hear(/Message accepted\r\n/, 60_000);
  assert.equal(messages.at(-1).content.toString(), 'x'.repeat(50_000));
  talk.socket.destroy();
});

test('a handler that reads slowly slows the peer, and nothing is lost', async (t) => {
  let stream;
  let go;
  const begun = new Promise((resolve) => (go = resolve));
  const got = [];
  const { port } = await gathering(t, createServer, {}, {
    onMessage: async (message) => {
      stream = message.stream();
      go();
      for await (const piece of stream) {
        got.push(Buffer.from(piece));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  });
  const content = Buffer.alloc(3 << 20, 'A line of a message that is long enough to be one.\r\n');
  const talk = await Talk.to(port);
  talk.say(BEGIN);
  await talk.hear(/354 .*\r\n/);
  talk.socket.write(content);
  await begun;
  talk.say('\r\n.\r\n');
  await talk.hear(/^250 .*\r\n/, 60_000);
  assert.equal(Buffer.concat(got).compare(Buffer.concat([content, Buffer.from('\r\n')])), 0);
  talk.socket.destroy();
});

test('a handler that does not decide stops the peer', async (t) => {
  let message;
  let answer;
  const { port } = await gathering(t, createServer, {}, {
    onMessage: (given) => {
      message = given;
      return new Promise((resolve) => (answer = resolve));
    },
  });
  const talk = await Talk.to(port);
  talk.say(BEGIN);
  await talk.hear(/354 .*\r\n/);
  const content = Buffer.alloc(24 << 20, 'x'.repeat(70) + '\r\n');
  talk.socket.write(content);
  talk.say('\r\n.\r\n');
  await until('the handler is called', () => message);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(talk.socket.writableLength > 4 << 20, 'most of it is still with the peer');
  const octets = message.bytes();
  const whole = await octets;
  assert.equal(whole.length, content.length + 2);
  answer();
  await talk.hear(/^250 .*\r\n/);
  talk.socket.destroy();
});

test('a trap ends its own session only', async (t) => {
  const errors = [];
  const { port } = await gathering(t, createServer, {}, { onError: (error) => errors.push(error) });
  const [victim, other] = [await Talk.to(port), await Talk.to(port)];
  for (const talk of [victim, other]) {
    talk.say('EHLO a.test\r\n');
    await talk.hear(/250 .*\r\n/);
  }
  // What a fault in the engine would do: the call traps in the middle.
  const receive = ServerSession.prototype.receive;
  ServerSession.prototype.receive = function (now, input) {
    if (input.includes('TRAP')) this.instance.u8.fill(0xff);
    return receive.call(this, now, input);
  };
  try {
    victim.say('NOOP TRAP\r\n');
    assert.match(await victim.end(), /^421 4.3.0 internal trouble/);
  } finally {
    ServerSession.prototype.receive = receive;
  }
  assert.ok(errors[0] instanceof EngineError);
  assert.equal(errors[0].fault, 'engine');
  other.say('NOOP\r\n');
  await other.hear(/^250 .*\r\n/);
  other.socket.destroy();
  await works(port);
});

test('a session that trapped is closed, and its instance is never used again', () => {
  const session = new ServerSession(serverDefaults('a.test'));
  session.start(0);
  const { instance } = session;
  instance.u8.fill(0xff);
  assert.throws(() => session.answer(0, { tag: 'connection', val: { tag: 'ok', val: undefined } }), EngineError);
  assert.equal(session.open, false);
  assert.throws(() => session.tick(0), { code: 'HERMETIC_MISUSE' });
  session.close();
  const next = new ServerSession(serverDefaults('a.test'));
  assert.notEqual(next.instance, instance);
  assert.equal(next.start(0).need.tag, 'answer');
  next.close();
});

test('the client: servers that say nonsense, too much, nothing, or go away', async (t) => {
  const behave = async (speak, options = {}) => {
    const server = createNetServer((socket) => {
      socket.on('error', () => {});
      speak(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const client = new SmtpClient({ port: server.address().port, ...options });
    return client.connect().then(
      () => assert.fail('it connected'),
      (error) => [error.code, error.fault],
    );
  };
  assert.deepEqual(await behave((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')), ['HERMETIC_BAD_REPLY', 'peer']);
  assert.deepEqual(await behave((socket) => socket.write(Buffer.alloc(1 << 20, 'x'))), ['HERMETIC_TOO_MUCH', 'peer']);
  assert.deepEqual(await behave(() => {}, { limits: { greetingTimeout: 100n } }), ['HERMETIC_TIMED_OUT', 'peer']);
  assert.deepEqual(await behave((socket) => socket.end()), ['HERMETIC_LOST', 'network']);
  assert.deepEqual(await behave((socket) => socket.destroy()), ['HERMETIC_LOST', 'network']);
  assert.deepEqual(await behave((socket) => socket.write('554 5.7.1 Go away\r\n')), ['HERMETIC_REFUSED', 'peer']);
});
