// Mail clients that people use deliver to the Node server, octet for octet. tests/clients/install.sh brings them.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import nodemailer from 'nodemailer';

import { createServer } from '../dist/index.js';
import { certificate, folder, gathering, program, run } from './rig.js';

const tests = fileURLToPath(new URL('../../../tests/', import.meta.url));
const MESSAGE = Buffer.from('From: a@b.test\r\nTo: c@d.test\r\nSubject: dots and octets\r\n\r\n.\r\n..two dots\r\n8bit: \xc3\xa4\xe2\x98\x83\r\n\r\n.end\r\n', 'latin1');
const FROM = 'anna@example.org';
const TO = 'berta@example.test';

/** A server with TLS and AUTH. */
async function server(t, options = {}) {
  const tls = certificate(t);
  if (!tls) return undefined;
  return gathering(t, createServer, { tls, ...options }, { onAuth: ({ username, password }) => username === 'anna' && password === 'secret' && 'anna' });
}

function arrived({ messages }, expected = {}) {
  assert.equal(messages.length, 1);
  const [{ content, ...rest }] = messages;
  assert.equal(content.toString('latin1'), MESSAGE.toString('latin1'));
  assert.deepEqual(rest, { from: FROM, to: [TO], secure: true, login: undefined, ...expected });
}

for (const [how, more, expected, options] of [
  ['plain', {}, { secure: false }, {}],
  ['starttls', {}, {}, { requireTls: true }],
  ['starttls', { user: 'anna', password: 'secret' }, { login: 'anna' }, { requireAuth: true }],
  ['starttls', { user: 'anna', password: 'secret', mechanism: 'LOGIN' }, { login: 'anna' }, { requireAuth: true }],
  ['tls', {}, {}, { implicitTls: true }],
  ['lmtp', {}, { secure: false }, { protocol: 'lmtp' }],
]) {
  test(`smtplib: ${how} ${JSON.stringify(more)}`, async (t) => {
    const python = program(t, 'python3');
    const rig = python && (await server(t, options));
    if (!rig) return;
    const plan = { port: rig.port, sender: FROM, recipients: [TO], how, mail_options: ['BODY=8BITMIME'], ...more };
    const { code, stderr } = await run(python, [join(tests, 'clients/smtplib_send.py'), JSON.stringify(plan)], { input: MESSAGE });
    assert.equal(code, 0, stderr);
    arrived(rig, expected);
  });
}

for (const [name, more, expected, options] of [
  ['plain', [], { secure: false }, {}],
  ['pipelining', ['--pipeline'], { secure: false }, {}],
  ['STARTTLS', ['--tls'], {}, { requireTls: true }],
  ['AUTH PLAIN', ['--tls', '--auth', 'PLAIN', '--auth-user', 'anna', '--auth-password', 'secret'], { login: 'anna' }, { requireAuth: true }],
  ['AUTH LOGIN inside implicit TLS', ['--tls-on-connect', '--auth', 'LOGIN', '--auth-user', 'anna', '--auth-password', 'secret'], { login: 'anna' }, { implicitTls: true, requireAuth: true }],
  ['PRDR', ['--prdr'], { secure: false }, {}],
]) {
  test(`swaks: ${name}`, async (t) => {
    const swaks = program(t, 'swaks');
    const rig = swaks && (await server(t, options));
    if (!rig) return;
    // swaks itself ends the message with a CRLF.
    const file = join(folder, `swaks-${rig.port}`);
    writeFileSync(file, MESSAGE.subarray(0, -2));
    const args = ['--server', '127.0.0.1', '--port', String(rig.port), '--helo', 'client.example.org', '--timeout', '30', '--from', FROM, '--to', TO, '--data', `@${file}`];
    const { code, stdout, stderr } = await run(swaks, [...args, ...more]);
    assert.equal(code, 0, stdout + stderr);
    arrived(rig, expected);
  });
}

for (const [name, scheme, more, expected, options] of [
  ['plain', 'smtp', [], { secure: false }, {}],
  ['STARTTLS', 'smtp', ['--ssl-reqd'], {}, { requireTls: true }],
  ['AUTH PLAIN', 'smtp', ['--ssl-reqd', '--user', 'anna:secret', '--login-options', 'AUTH=PLAIN', '--sasl-ir'], { login: 'anna' }, { requireAuth: true }],
  ['implicit TLS', 'smtps', ['--user', 'anna:secret', '--login-options', 'AUTH=LOGIN'], { login: 'anna' }, { implicitTls: true, requireAuth: true }],
]) {
  test(`curl: ${name}`, async (t) => {
    const curl = program(t, 'curl');
    const rig = curl && (await server(t, options));
    if (!rig) return;
    const args = ['-sS', '--max-time', '60', '--cacert', certificate(t).file, '--mail-from', FROM, '--mail-rcpt', TO, '--url', `${scheme}://localhost:${rig.port}/client.example.org`, '--resolve', `localhost:${rig.port}:127.0.0.1`, '--upload-file', '-'];
    const { code, stderr } = await run(curl, [...args, ...more], { input: MESSAGE });
    assert.equal(code, 0, stderr);
    arrived(rig, expected);
  });
}

for (const [name, transport, expected, options] of [
  ['plain', { ignoreTLS: true }, { secure: false }, {}],
  ['STARTTLS and AUTH', { requireTLS: true, auth: { user: 'anna', pass: 'secret' } }, { login: 'anna' }, { requireTls: true, requireAuth: true }],
  ['implicit TLS', { secure: true }, {}, { implicitTls: true }],
]) {
  test(`nodemailer: ${name}`, async (t) => {
    const rig = await server(t, options);
    if (!rig) return;
    const sender = nodemailer.createTransport({ host: '127.0.0.1', port: rig.port, name: 'client.example.org', tls: { ca: certificate(t).ca, servername: 'localhost' }, ...transport });
    t.after(() => sender.close());
    const { accepted } = await sender.sendMail({ envelope: { from: FROM, to: [TO] }, raw: MESSAGE });
    assert.deepEqual(accepted, [TO]);
    arrived(rig, expected);
  });
}

test('nodemailer: a pool that uses its connections again', async (t) => {
  const rig = await gathering(t, createServer);
  const sender = nodemailer.createTransport({ host: '127.0.0.1', port: rig.port, pool: true, maxConnections: 2, ignoreTLS: true });
  t.after(() => sender.close());
  await Promise.all(Array.from({ length: 50 }, (_, i) => sender.sendMail({ envelope: { from: FROM, to: [TO] }, raw: `Subject: ${i}\r\n\r\n${i}\r\n` })));
  assert.deepEqual(rig.messages.map(({ content }) => Number(/\r\n\r\n(\d+)/.exec(content)[1])).sort((a, b) => a - b), Array.from({ length: 50 }, (_, i) => i));
});
