// The server over real sockets: handlers, answers, AUTH, the order of things, and the end.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';

import { createServer, discard, refuse, Refusal, SmtpClient } from '../dist/index.js';
import { certificate, gathering, Talk, until } from './rig.js';

const MESSAGE = 'MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n';

test('a message arrives as it was sent, dots and all', async (t) => {
  const { port, messages } = await gathering(t, createServer);
  const talk = await Talk.to(port);
  await talk.hear(/^220 localhost ESMTP\r\n/);
  talk.say('EHLO a.test\r\n');
  assert.match(await talk.hear(/250 .*\r\n/), /PIPELINING/);
  talk.say(MESSAGE);
  await talk.hear(/250 .*\r\n250 .*\r\n354 .*\r\n/);
  talk.say('..dot\r\n\x00\xff\r\n.\r\n');
  await talk.hear(/^250 .*\r\n/);
  talk.say('QUIT\r\n');
  assert.match(await talk.end(), /^221 /);
  assert.deepEqual(messages.map(({ from, to, content }) => [from, to, content.toString('latin1')]), [['a@b.test', ['c@d.test'], '.dot\r\n\x00\xff\r\n']]);
});

test('each handler is asked, and its answer is said', async (t) => {
  const asked = [];
  const { port } = await gathering(t, createServer, { plaintextAuth: true }, {
    onConnect: (session) => void asked.push(`connect ${session.remoteAddress}`),
    onHello: async (hello) => (asked.push(`hello ${hello.raw}`), 'Welcome'),
    onSender: (sender) => (asked.push(`sender ${sender.address} ${sender.parameters.size}`), sender.domain === 'bad.test' ? refuse(550, '5.7.1', 'Not you') : undefined),
    onRecipient: async (recipient) => {
      asked.push(`recipient ${recipient.address}`);
      if (recipient.local === 'full') throw new Refusal({ code: 452, status: '4.2.2', text: 'Full\nof it' });
    },
    onVerify: (argument) => (argument === 'anna' ? 'Anna <anna@d.test>' : undefined),
    onAuth: ({ mechanism, username, password, authorization }) => (asked.push(`auth ${mechanism} ${username} ${password} ${authorization}`), password === 'secret' && username),
    onData: (envelope) => void asked.push(`data ${envelope.recipients.length}`),
  });
  const talk = await Talk.to(port);
  await talk.hear(/220 .*\r\n/);
  talk.say('EHLO a.test\r\n');
  assert.match(await talk.hear(/250 .*\r\n/), /Welcome/);
  for (const [say, hear] of [
    ['VRFY anna', /^250 .*Anna <anna@d.test>\r\n/],
    ['VRFY otto', /^252 /],
    [`AUTH PLAIN ${Buffer.from('x\0anna\0wrong').toString('base64')}`, /^535 5.7.8 /],
    ['AUTH PLAIN ====', /^501 /],
    [`AUTH PLAIN ${Buffer.from('only\0two').toString('base64')}`, /^501 5.5.2 /],
    ['AUTH LOGIN', /^334 VXNlcm5hbWU6\r\n/],
    [Buffer.from('anna').toString('base64'), /^334 UGFzc3dvcmQ6\r\n/],
    [Buffer.from('secret').toString('base64'), /^235 /],
    ['MAIL FROM:<x@bad.test>', /^550 5.7.1 Not you\r\n/],
    ['MAIL FROM:<"a b"@c.test> SIZE=12', /^250 /],
    ['RCPT TO:<full@d.test>', /^452 4.2.2 Full of it\r\n/],
    ['RCPT TO:<postmaster>', /^250 /],
    ['DATA', /^354 /],
    ['.', /^250 /],
    ['QUIT', /^221 /],
  ]) {
    talk.say(`${say}\r\n`);
    const { source } = hear;
    await (source.startsWith('^221') ? talk.end() : talk.hear(new RegExp(source.endsWith('\\n') ? source : `${source}.*\\r\\n`)));
  }
  assert.deepEqual(asked, [
    'connect 127.0.0.1', 'hello a.test', 'auth PLAIN anna wrong x', 'auth LOGIN anna secret ', 'sender x@bad.test undefined', 'sender "a b"@c.test 12',
    'recipient full@d.test', 'recipient postmaster', 'data 1',
  ]);
});

test('what a handler throws is told as 451, and to onError', async (t) => {
  const errors = [];
  const { port } = await gathering(t, createServer, {}, {
    onRecipient: () => {
      throw new TypeError('a bug');
    },
    onSender: () => 42,
    onError: (error) => errors.push(error.message),
  });
  const talk = await Talk.to(port);
  await talk.hear(/220 .*\r\n/);
  talk.say('EHLO a.test\r\n');
  await talk.hear(/250 .*\r\n/);
  talk.say('MAIL FROM:<a@b.test>\r\n');
  await talk.hear(/^451 4.3.0 /);
  assert.match(errors[0], /expected nothing, true, a text or a Refusal, got 42/);
  talk.socket.destroy();
});

test('a handler that refuses the message, and LMTP with one answer for each recipient', async (t) => {
  const { port } = await gathering(t, createServer, { protocol: 'lmtp' }, {
    onMessage: (message) => message.recipients.map(({ local }) => (local === 'b' ? refuse(552, '5.2.2', 'Full') : `Taken for ${local}`)),
  });
  const talk = await Talk.to(port);
  await talk.hear(/220 .*\r\n/);
  talk.say('LHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@d.test>\r\nRCPT TO:<b@d.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n');
  await talk.hear(/354 .*\r\n/);
  talk.say('x\r\n.\r\n');
  await talk.hear(/^250 .*Taken for a\r\n552 5.2.2 Full\r\n250 .*Taken for c\r\n/);
  talk.say('QUIT\r\n');
  await talk.end();
});

test('any split of the input gives the same output', async (t) => {
  const input = `EHLO a.test\r\n${MESSAGE.replace('c@d', '"c\\" d"@d')}one\r\n..two\r\n.\r\nNOOP\r\nBAD\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\ndeQUIT\r\n`;
  const { port, messages } = await gathering(t, createServer, {}, {
    // Answers that come later must not change the order.
    onRecipient: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const speak = async (cuts) => {
    const talk = await Talk.to(port);
    let from = 0;
    for (const cut of [...cuts, input.length]) {
      talk.say(input.slice(from, cut));
      from = cut;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return talk.end();
  };
  const whole = await speak([]);
  assert.match(whole, /354 .*\r\n250 .*\r\n250 .*\r\n500 .*\r\n(250 .*\r\n){4}221 .*\r\n$/);
  let seed = 1;
  for (let round = 0; round < 60; round++) {
    const cuts = new Set();
    for (let i = 0; i < 1 + (round % 12); i++) cuts.add((seed = (seed * 1103515245 + 12345) % 2 ** 31) % input.length);
    assert.equal(await speak([...cuts].sort((a, b) => a - b)), whole);
  }
  assert.equal(await speak(Array.from({ length: input.length }, (_, i) => i)), whole, 'octet by octet');
  const contents = new Set(messages.map(({ content }) => content.toString()));
  assert.deepEqual([...contents].sort(), ['abcde', 'one\r\n.two\r\n']);
  assert.equal(messages.length, 2 * 62);
});

test('a peer that closes its side behind QUIT-less input still gets its answers', async (t) => {
  const { port, messages } = await gathering(t, createServer);
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const talk = new Talk(socket);
  socket.end(`EHLO a.test\r\n${MESSAGE}x\r\n.\r\n`);
  assert.match(await talk.end(), /354 .*\r\n250 .*\r\n$/);
  assert.equal(messages.length, 1);
});

test('close tells idle peers 421, lets messages finish, and cuts off the rest', async (t) => {
  const { server, port, messages } = await gathering(t, createServer, { name: 'mx.test' });
  const [idle, busy, stuck] = [await Talk.to(port), await Talk.to(port), await Talk.to(port)];
  for (const talk of [idle, busy, stuck]) {
    talk.say('EHLO a.test\r\n');
    await talk.hear(/250 .*\r\n/);
  }
  for (const talk of [busy, stuck]) {
    talk.say(MESSAGE);
    await talk.hear(/354 .*\r\n/);
  }
  const closed = server.close(500);
  assert.match(await idle.end(), /^421 4.3.2 mx.test is shutting down\r\n$/);
  busy.say('x\r\n.\r\n');
  assert.match(await busy.end(), /^250 .*\r\n421 4.3.2 /);
  await closed;
  assert.equal(await stuck.end(), '');
  assert.equal(messages.length, 1);
  assert.equal(server.sessions, 0);
});

test('too many sessions are told so', async (t) => {
  const { port, server } = await gathering(t, createServer, { sessions: 2 });
  const first = await Talk.to(port);
  const second = await Talk.to(port);
  await second.hear(/220 .*\r\n/);
  assert.match(await (await Talk.to(port)).end(), /^421 4.7.0 too many connections/);
  first.socket.destroy();
  await until('there is room', () => server.sessions === 1);
  const fourth = await Talk.to(port);
  await fourth.hear(/220 .*\r\n/);
  second.socket.destroy();
  fourth.socket.destroy();
});

test('what is not asked for does not cross the boundary, and discard needs no handler', async (t) => {
  const { port } = await gathering(t, createServer, {}, { onMessage: discard });
  const client = new SmtpClient({ port });
  await client.connect();
  const { outcomes } = await client.send({ from: 'a@b.test', to: ['c@d.test'], content: 'x' });
  assert.equal(outcomes[0].fate, 'accepted');
  await client.quit();
});

test('implicit TLS', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const { port, messages } = await gathering(t, createServer, { tls, implicitTls: true });
  const socket = connectTls({ port, host: '127.0.0.1', ca: tls.ca });
  const talk = new Talk(socket);
  talk.say(`EHLO a.test\r\n${MESSAGE}x\r\n.\r\nQUIT\r\n`);
  assert.match(await talk.end(), /^220 .*\r\n[^]*221 .*\r\n$/);
  assert.equal(messages[0].secure, true);
});
