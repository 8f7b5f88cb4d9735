// SmtpClient to nodemailer's smtp-server and to our own: octet for octet, with TLS, AUTH, streams, outcomes for each recipient.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { test } from 'node:test';

import { SMTPServer } from 'smtp-server';

import { createServer, LoginError, refuse, SmtpClient } from '../dist/index.js';
import { certificate, gathering } from './rig.js';

const CONTENT = Buffer.from('Subject: x\r\n\r\n.\r\n..two\r\n\xc3\xa4\r\nlast without an end', 'latin1');

async function theirs(t, options = {}) {
  const messages = [];
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    logger: false,
    onAuth: (auth, session, done) => (auth.password === 'secret' ? done(null, { user: auth.username }) : done(new Error('Invalid'))),
    onRcptTo: (address, session, done) => (address.address.startsWith('no') ? done(Object.assign(new Error('Nobody'), { responseCode: 550 })) : done()),
    onData(stream, session, done) {
      const pieces = [];
      stream.on('data', (piece) => pieces.push(piece));
      stream.on('end', () => {
        messages.push({ content: Buffer.concat(pieces), to: session.envelope.rcptTo.map((one) => one.address), user: session.user, secure: session.secure });
        done();
      });
    },
    ...options,
  });
  server.on('error', () => {});
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return { port: server.server.address().port, messages };
}

test("to nodemailer's smtp-server, over STARTTLS, with AUTH", async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const { port, messages } = await theirs(t, { key: tls.key, cert: tls.cert });
  const client = new SmtpClient({ port, startTls: 'required', tls: { ca: tls.ca } });
  await client.connect();
  await assert.rejects(client.login('anna', 'wrong'), LoginError);
  await client.login('anna', 'secret');
  const { accepted, rejected, outcomes } = await client.send({ from: 'a@b.test', to: ['c@d.test', 'no@d.test', 'e@f.test'], content: CONTENT });
  assert.deepEqual([accepted, rejected], [['c@d.test', 'e@f.test'], ['no@d.test']]);
  assert.deepEqual([outcomes[1].fate, outcomes[1].reply.code, outcomes[1].stage], ['permanent', 550, 'rcpt']);
  // By DATA a last line without its end gets one.
  assert.equal(messages[0].content.compare(Buffer.concat([CONTENT, Buffer.from('\r\n')])), 0);
  assert.deepEqual([messages[0].user, messages[0].secure, messages[0].to], ['anna', true, ['c@d.test', 'e@f.test']]);
  // The same connection, a second time.
  assert.deepEqual((await client.send({ from: null, to: 'c@d.test', content: 'again\r\n' })).accepted, ['c@d.test']);
  assert.equal(messages[1].content.toString(), 'again\r\n');
  await client.quit();
});

test('to our own server: by chunks, a large stream, octet for octet', async (t) => {
  const { port, messages } = await gathering(t, createServer, { messageSize: 64 << 20 });
  const client = new SmtpClient({ port });
  await client.connect();
  assert.equal((await client.send({ from: 'a@b.test', to: 'c@d.test', content: CONTENT })).accepted.length, 1);
  assert.equal(messages[0].content.compare(CONTENT), 0);
  const line = Buffer.from('A line of content that is long enough to be one, and no longer.\r\n');
  const lines = 300_000;
  const facts = { size: BigInt(line.length * lines), eightBit: false, bareLineEnds: false, longestLine: BigInt(line.length - 2), utf8Header: false };
  let left = lines / 1000;
  const stream = new Readable({
    read() {
      this.push(left-- > 0 ? Buffer.alloc(line.length * 1000, line) : null);
    },
  });
  assert.equal((await client.send({ from: 'a@b.test', to: 'c@d.test', content: stream, facts })).accepted.length, 1);
  assert.equal(messages[1].content.length, line.length * lines);
  assert.equal(messages[1].content.compare(Buffer.alloc(line.length * lines, line)), 0);
  const gathered = Readable.from([Buffer.from('one\r\n'), Buffer.from('two\r\n')]);
  await client.send({ from: 'a@b.test', to: 'c@d.test', content: gathered });
  assert.equal(messages[2].content.toString(), 'one\r\ntwo\r\n');
  await client.quit();
});

test('LOGIN where only that is offered, and outcomes of every kind', async (t) => {
  const { port, messages } = await theirs(t, { authMethods: ['LOGIN'], allowInsecureAuth: true, disabledCommands: ['STARTTLS'] });
  const client = new SmtpClient({ port, plaintextAuth: true });
  await client.connect();
  await client.login('anna', 'secret');
  assert.equal((await client.send({ from: 'a@b.test', to: ['c@d.test'], content: 'x\r\n' })).accepted.length, 1);
  assert.equal(messages[0].user, 'anna');
  await client.quit();

  const ours = await gathering(t, createServer, { messageSize: 1000 }, {
    onSender: ({ local }) => (local === 'bad' ? refuse(451, '4.7.1', 'Later') : undefined),
    onRecipient: ({ local }) => (local === 'full' ? refuse(452, '4.2.2', 'Full') : undefined),
    onMessage: (message) => (message.sender.local === 'spam' ? refuse(554, '5.7.1', 'Spam') : undefined),
  });
  const other = new SmtpClient({ port: ours.port });
  await other.connect();
  const send = async (letter) => (await other.send({ from: 'a@b.test', to: ['c@d.test', 'full@d.test'], content: 'x\r\n', ...letter })).outcomes.map(({ fate, cause, stage, status }) => [fate, cause, stage, `${status.class}.${status.subject}.${status.detail}`]);
  assert.deepEqual(await send({}), [['accepted', 'reply', 'message', '2.0.0'], ['temporary', 'reply', 'rcpt', '4.2.2']]);
  assert.deepEqual(await send({ from: 'bad@b.test' }), [['temporary', 'reply', 'mail', '4.7.1'], ['temporary', 'reply', 'mail', '4.7.1']]);
  assert.deepEqual((await send({ from: 'spam@b.test', to: ['c@d.test'] }))[0], ['permanent', 'reply', 'message', '5.7.1']);
  assert.deepEqual((await send({ content: Buffer.alloc(2000, 'x\r\n') }))[0].slice(0, 2), ['permanent', 'too-large']);
  await other.quit();
});

test('a server that goes away behind the content leaves it unknown', async (t) => {
  const ours = await gathering(t, createServer, {}, {
    onMessage: async (message, session) => {
      await message.bytes();
      session.destroy();
    },
  });
  const client = new SmtpClient({ port: ours.port });
  await client.connect();
  const { outcomes } = await client.send({ from: 'a@b.test', to: ['c@d.test'], content: 'x\r\n' });
  assert.deepEqual([outcomes[0].fate, outcomes[0].cause], ['unknown', 'lost']);
  await assert.rejects(client.send({ from: 'a@b.test', to: ['c@d.test'], content: 'x\r\n' }), { code: 'HERMETIC_LOST' });
});
