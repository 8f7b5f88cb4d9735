// Record and replay: what was recorded replays equal, what was changed is found, and what can not be replayed is refused with a sentence.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createServer, refuse, replay, replayText, SessionFileError, SmtpClient } from '../dist/index.js';
import { certificate, folder, gathering, run, until } from './rig.js';

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url));

/** A file with these lines, and a good end. */
function sealed(lines) {
  const text = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
  return `${text}${JSON.stringify({ end: lines.length, sha256: createHash('sha256').update(text).digest('hex') })}\n`;
}

/** One recorded session of each half. */
async function recorded(t) {
  const texts = { server: '', client: '' };
  const tls = certificate(t);
  const { port, server } = await gathering(t, createServer, { record: (text) => (texts.server += text), plaintextAuth: true, ...(tls && { tls }) }, {
    onRecipient: ({ local }) => (local === 'no' ? refuse(550, '5.1.1', 'ä☃') : undefined),
    onAuth: () => true,
  });
  const client = new SmtpClient({ port, record: (text) => (texts.client += text), tls: { ca: tls?.ca } });
  await client.connect();
  await client.login('anna', 'secret');
  await client.send({ from: 'a@b.test', to: ['c@d.test', 'no@d.test', '"q \\" q"@d.test'], content: Buffer.from('x\r\n\xff\x00\r\n.\r\n', 'latin1') });
  await client.quit();
  await until('the session is over', () => server.sessions === 0);
  return texts;
}

test('a recorded session replays equal, on both sides', async (t) => {
  const texts = await recorded(t);
  for (const half of ['server', 'client']) {
    const { difference, calls, half: found } = replayText(texts[half]);
    assert.equal(difference, undefined);
    assert.equal(found, half);
    assert.ok(calls >= 7, `${calls} calls`);
  }
});

test('a folder of sessions, mode 0600, and the command', async (t) => {
  const place = join(folder, 'sessions');
  const { port, server } = await gathering(t, createServer, { record: place });
  for (let i = 0; i < 3; i++) {
    const client = new SmtpClient({ port, chunking: false });
    await client.connect();
    await client.send({ from: 'a@b.test', to: 'c@d.test', content: 'x\r\n' });
    await client.quit();
  }
  await until('all are over', () => server.sessions === 0);
  const files = readdirSync(place).map((name) => join(place, name));
  assert.equal(files.length, 3);
  assert.equal(statSync(files[0]).mode & 0o777, 0o600);
  assert.equal(statSync(place).mode & 0o777, 0o700);
  const good = await run(process.execPath, [cli, 'replay', ...files]);
  assert.deepEqual([good.code, good.stdout, good.stderr], [0, '3 replayed, 0 differ\n', '']);

  // As another engine would have recorded it: one reply has other words.
  const lines = readFileSync(files[1], 'utf8').trimEnd().split('\n').slice(0, -1);
  const at = lines.findIndex((line) => line.includes('"354'));
  lines[at] = lines[at].replace('"354 ', '"354 please ');
  writeFileSync(files[1], sealed(lines));
  const bad = await run(process.execPath, [cli, 'replay', ...files]);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, new RegExp(`^.*:${at + 1}: (receive|answer): step\\.transmit\n  recorded ".*354 please .*"\n  now      ".*354 .*"\n3 replayed, 1 differ\n$`));

  writeFileSync(files[2], 'nonsense\n');
  const ugly = await run(process.execPath, [cli, 'replay', ...files, join(place, 'absent')]);
  assert.equal(ugly.code, 2);
  assert.match(ugly.stdout, /2 replayed, 1 differ, 2 not readable\n$/);
  assert.match(ugly.stderr, /line 1: expected a JSON object.*\n.*absent: can not be read/);
  assert.equal((await run(process.execPath, [cli])).code, 2);
  assert.equal((await run(process.execPath, [cli, '--help'])).code, 0);
});

test('a record that can not be written ends with a warning, and the session goes on', async (t) => {
  const warned = once(process, 'warning');
  const { port, messages } = await gathering(t, createServer, {
    record: () => {
      throw new Error('the disk is full');
    },
  });
  const client = new SmtpClient({ port });
  await client.connect();
  assert.equal((await client.send({ from: 'a@b.test', to: 'c@d.test', content: 'x\r\n' })).accepted.length, 1);
  await client.quit();
  assert.match((await warned)[0].message, /no longer recorded: the disk is full/);
  assert.equal(messages.length, 1);
});

test('what a reader must refuse', async (t) => {
  const { server: text } = await recorded(t);
  const lines = text.trimEnd().split('\n').slice(0, -1).map((line) => JSON.parse(line));
  const [header, start, ...rest] = lines;
  const refused = (file, pattern) => assert.throws(() => replayText(file), (error) => error instanceof SessionFileError && error.fault === 'embedder' && pattern.test(error.message), String(pattern));
  refused('', /found an empty one/);
  refused(text.slice(0, -1), /last line is cut short/);
  refused(text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1), /has no end: it was cut short/);
  refused(text.replace('EHLO', 'HELO'), /was changed after it was recorded/);
  refused(text.replace('"end":', '"end":1'), /the end counts 1\d* lines before it/);
  refused(Buffer.concat([Buffer.from([0xff]), Buffer.from(text)]), /expected UTF-8/);
  refused(sealed(['{', start]), /line 1: expected a JSON object/);
  refused(sealed([[], start]), /line 1: expected a JSON object/);
  refused(sealed([start]), /expected the header/);
  refused(sealed([{ ...header, 'hermetic-session': 2 }]), /expected version 1 of the format, found 2/);
  refused(sealed([{ ...header, half: 'probe' }]), /half: expected server or client, found "probe"/);
  refused(sealed([{ ...header, options: { ...header.options, protocol: 'http' } }]), /options\.protocol: expected one of smtp, lmtp, found "http"/);
  refused(sealed([{ ...header, options: { ...header.options, trace: undefined } }]), /options: expected the member `trace`/);
  refused(sealed([header, { ...start, call: 'begin' }]), /line 2: expected a call of start, receive, .*, found "begin"/);
  refused(sealed([header, { ...start, call: 'toString' }]), /expected a call of/);
  refused(sealed([header, { call: 'start', step: start.step }]), /`start` lacks its parameter `now`/);
  refused(sealed([header, { ...start, now: -1 }]), /now: expected a whole number from 0 to 18446744073709551615, found -1/);
  refused(sealed([header, { ...start, now: '1e9' }]), /now: expected/);
  refused(sealed([header, { ...start, misuse: 'closed' }]), /exactly one of/);
  refused(sealed([header, { call: 'start', now: 0 }]), /exactly one of/);
  refused(sealed([header, { ...start, step: { ...start.step, need: 'rest' } }]), /step\.need: expected one of input, answer, start-tls, close, found "rest"/);
  refused(sealed([header, start, { call: 'receive', now: 0, input: '☃', step: start.step }]), /input: expected a string of octets/);
  refused(sealed([header, start, { call: 'answer', now: 0, answer: { connection: { ok: null, err: null } }, step: start.step }]), /answer\.connection: expected an object with `ok` or `err`/);
  refused(sealed([header, start, { nothing: 1 }]), /line 3: expected a `call`, a `plugin` or the `end`/);
  refused(sealed([header, { ...start, more: 1 }]), /`start` has no parameter "more"/);
  // These are read: another version of the WIT is tried, hooks are passed over, and the order of members does not matter.
  const odd = sealed([{ options: header.options, wit: '0.0.9', half: 'server', 'hermetic-session': 1 }, start, { plugin: 'x', whatever: [] }, ...rest]);
  const { difference, notes } = replayText(odd);
  assert.equal(difference, undefined);
  assert.match(notes[0], /recorded with version 0\.0\.9/);
});

test('a misuse and a difference in the outcome are found', async (t) => {
  const { server: text } = await recorded(t);
  const [header, start] = text.split('\n').map((line) => line && JSON.parse(line));
  const twice = { call: 'start', now: 0, misuse: { 'bad-state': 'x' } };
  const found = replayText(sealed([header, start, twice])).difference;
  assert.deepEqual([found.line, found.where], [3, 'misuse.bad-state']);
  assert.equal(replayText(sealed([header, start, { ...twice, misuse: { 'bad-state': JSON.parse(found.now) } }])).difference, undefined);
  assert.match(replayText(sealed([header, { call: 'start', now: 0, trap: 'x' }])).difference.now, /^step /);
  assert.match(replayText(sealed([header, start, { ...start }])).difference.now, /^misuse /);
});

test('all recorded sessions of the project replay equal', (t) => {
  const place = process.env.HERMETIC_SESSIONS;
  if (!place) return t.skip('HERMETIC_SESSIONS names no folder of session files');
  const files = [];
  const walk = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const inside = join(path, entry.name);
      if (entry.isDirectory()) walk(inside);
      else if (entry.name.endsWith('.session')) files.push(inside);
    }
  };
  walk(place);
  assert.ok(files.length > 0, `${place} has no .session files`);
  const halves = { server: 0, client: 0 };
  for (const file of files) {
    const { half, difference } = replay(file);
    assert.equal(difference, undefined, file);
    halves[half]++;
  }
  const load = files.filter((file) => file.startsWith(join(place, 'load') + sep)).length;
  column('transcripts', files.length - load);
  column('load', load);
  t.diagnostic(`${files.length} sessions replayed, 0 differ: ${halves.server} of the server half, ${halves.client} of the client half`);
});

/** For the table of all runtimes, `tests/columns.py`. */
function column(kind, run) {
  const place = process.env.HERMETIC_COLUMNS;
  if (!place) return;
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, `Node-${kind}.json`), `${JSON.stringify({ column: 'Node', kind, run, skipped: {} })}\n`);
}
