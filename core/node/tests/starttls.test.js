// STARTTLS (RFC 3207): what comes in plaintext is never read as if it came inside TLS, on either side.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createNetServer } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';

import { ClientError, createServer, SmtpClient } from '../dist/index.js';
import { certificate, gathering, Talk } from './rig.js';

/** Goes over to TLS on a connection. */
async function secure(talk, ca) {
  const { socket } = talk;
  socket.removeAllListeners('data');
  const inside = connectTls({ socket, ca, servername: 'localhost' });
  await once(inside, 'secureConnect');
  return new Talk(inside);
}

async function begun(port) {
  const talk = await Talk.to(port);
  await talk.hear(/220 .*\r\n/);
  talk.say('EHLO plain.test\r\n');
  assert.match(await talk.hear(/250 .*\r\n/), /STARTTLS/);
  return talk;
}

test('commands pipelined behind STARTTLS in the same segment are discarded', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const hellos = [];
  const { port, messages } = await gathering(t, createServer, { tls }, { onHello: (hello) => void hellos.push(hello.raw) });
  const talk = await begun(port);
  talk.say('STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<evil@b.test>\r\nRCPT TO:<c@d.test>\r\n');
  assert.match(await talk.hear(/\r\n/), /^220 /);
  const inside = await secure(talk, tls.ca);
  inside.say('RCPT TO:<x@d.test>\r\n');
  // Neither a hello nor a transaction of before counts.
  await inside.hear(/^503 /);
  inside.say('EHLO inside.test\r\n');
  assert.doesNotMatch(await inside.hear(/250 .*\r\n/), /STARTTLS/);
  inside.say('MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n');
  await inside.hear(/^250 .*\r\n250 .*\r\n354 .*\r\n/);
  inside.say('x\r\n.\r\nQUIT\r\n');
  assert.match(await inside.end(), /^250 .*\r\n221 .*\r\n$/);
  assert.deepEqual(hellos, ['plain.test', 'inside.test']);
  assert.deepEqual(messages.map(({ from, secure: s }) => [from, s]), [['a@b.test', true]]);
});

test('commands that come before the handshake in a segment of their own end it, and are not read', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const hellos = [];
  const { port, closed } = await gathering(t, createServer, { tls }, { onHello: (hello) => void hellos.push(hello.raw) });
  const talk = await begun(port);
  talk.say('STARTTLS\r\n');
  await talk.hear(/^220 .*\r\n/);
  talk.say('EHLO injected.test\r\nNOOP\r\n');
  // An alert of TLS may come; nothing of SMTP does.
  assert.doesNotMatch(await talk.end(), /250|500|503/);
  assert.deepEqual(hellos, ['plain.test']);
  assert.equal(closed[0].fault, 'network');
});

test('AUTH waits for TLS', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const { port, messages } = await gathering(t, createServer, { tls, requireAuth: true }, { onAuth: ({ username, password }) => password === 'secret' && username });
  const talk = await begun(port);
  talk.say('AUTH PLAIN AGFubmEAc2VjcmV0\r\n');
  assert.match(await talk.hear(/\r\n/), /^5/);
  talk.say('STARTTLS\r\n');
  await talk.hear(/220 .*\r\n/);
  const inside = await secure(talk, tls.ca);
  inside.say('EHLO a.test\r\n');
  assert.match(await inside.hear(/250 .*\r\n/), /AUTH PLAIN LOGIN/);
  inside.say('AUTH PLAIN AGFubmEAc2VjcmV0\r\n');
  await inside.hear(/^235 /);
  inside.say('MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n');
  await inside.hear(/354 .*\r\n/);
  inside.say('x\r\n.\r\nQUIT\r\n');
  await inside.end();
  assert.equal(messages[0].login, 'anna');
});

test('a handshake that never comes ends', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const { port } = await gathering(t, createServer, { tls, limits: { handshakeTimeout: 100n } });
  const talk = await begun(port);
  talk.say('STARTTLS\r\n');
  await talk.hear(/220 .*\r\n/);
  await talk.end();
  const implicit = await gathering(t, createServer, { tls, implicitTls: true, limits: { handshakeTimeout: 100n } });
  await (await Talk.to(implicit.port)).end();
  assert.equal(implicit.closed[0].code, 'HERMETIC_TIMEOUT');
});

/** A server that says what it is told to, and may go over to TLS. */
async function scripted(t, tls, speak) {
  const server = createNetServer((socket) => {
    socket.on('error', () => {});
    speak(new Talk(socket), () => {
      socket.removeAllListeners('data');
      return new Talk(new TLSSocket(socket, { isServer: true, secureContext: createSecureContext(tls) }));
    }).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server.address().port;
}

test('the client: what comes behind the reply to STARTTLS ends the session', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const said = [];
  const port = await scripted(t, tls, async (talk) => {
    talk.say('220 mx ESMTP\r\n');
    await talk.hear(/EHLO .*\r\n/);
    talk.say('250-mx\r\n250 STARTTLS\r\n');
    await talk.hear(/STARTTLS\r\n/);
    talk.say('220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n');
    said.push(await talk.end());
  });
  const client = new SmtpClient({ port, tls: { ca: tls.ca } });
  await assert.rejects(client.connect(), (error) => error instanceof ClientError && error.failure.fault === 'plaintext' && error.code === 'HERMETIC_PLAINTEXT');
});

test('the client: a reply that comes in plaintext during the handshake is not read', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const port = await scripted(t, tls, async (talk) => {
    talk.say('220 mx ESMTP\r\n');
    await talk.hear(/EHLO .*\r\n/);
    talk.say('250-mx\r\n250 STARTTLS\r\n');
    await talk.hear(/STARTTLS\r\n/);
    talk.say('220 go\r\n');
    await talk.hear(/\x16\x03/);
    talk.say('250-mx\r\n250 AUTH PLAIN\r\n');
    await talk.end();
  });
  const client = new SmtpClient({ port, tls: { ca: tls.ca } });
  await assert.rejects(client.connect(), (error) => error instanceof ClientError && error.failure.stage === 'handshake');
});

test('the client checks the certificate', async (t) => {
  const tls = certificate(t);
  if (!tls) return;
  const { port, messages } = await gathering(t, createServer, { tls });
  await assert.rejects(new SmtpClient({ port }).connect(), /self-signed/);
  await assert.rejects(new SmtpClient({ port, tls: { ca: tls.ca, servername: 'other.test' } }).connect(), ClientError);
  const client = new SmtpClient({ port, startTls: 'required', tls: { ca: tls.ca } });
  const peer = await client.connect();
  assert.equal(peer.tls, true);
  await client.send({ from: 'a@b.test', to: 'c@d.test', content: 'x\r\n' });
  await client.quit();
  assert.equal(messages[0].secure, true);
});

test('the client: TLS that is required and not offered', async (t) => {
  const { port } = await gathering(t, createServer);
  await assert.rejects(new SmtpClient({ port, startTls: 'required' }).connect(), { code: 'HERMETIC_NO_TLS', fault: 'peer' });
});
