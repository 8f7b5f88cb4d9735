// The playground as `hermetic serve` serves it: its headers, and that it works under them. HERMETIC_BIN names the server.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get, request as begin } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { browser, browserPath, missing, ready, root } from './rig.mjs';

const program = process.env.HERMETIC_BIN ?? join(root, 'target/debug/hermetic');
const skip = missing(program, browserPath);

const free = () => new Promise((found) => {
  const socket = createServer().listen(0, '127.0.0.1', () => { const { port } = socket.address(); socket.close(() => found(port)); });
});

const fetched = (url, method = 'GET') => new Promise((answer, failed) => {
  begin(url, { method }, (response) => {
    const parts = [];
    response.on('data', (part) => parts.push(part));
    response.on('end', () => answer({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
  }).on('error', failed).end();
});

test('hermetic serve has the playground, under strict headers', { skip, timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'served-'));
  mkdirSync(join(folder, 'mail'));
  const [smtp, http] = [await free(), await free()];
  writeFileSync(join(folder, 'hermetic.toml'), [
    'name = "mx.example"', `data = "${folder}/data"`,
    '[[listener]]', 'kind = "mx"', `address = "127.0.0.1:${smtp}"`,
    '[[domain]]', 'name = "mx.example"', 'mailboxes = ["bob"]', 'aliases = { postmaster = "bob" }', '[observe]', `http = "127.0.0.1:${http}"`, '',
  ].join('\n'));
  const server = spawn(program, ['serve', '--config', join(folder, 'hermetic.toml')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (octets) => { said += octets; });
  const ended = new Promise((end) => server.on('exit', end));
  try {
    const address = `http://127.0.0.1:${http}/playground/`;
    for (let tries = 0; ; tries += 1) {
      const up = await new Promise((answer) => get(address, (response) => { response.resume(); answer(true); }).on('error', () => answer(false)));
      if (up) break;
      assert.ok(tries < 200 && server.exitCode === null, `the server does not serve:\n${said}`);
      await new Promise((later) => setTimeout(later, 100));
    }
    const page = await fetched(address);
    assert.equal(page.status, 200);
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
    assert.equal(page.headers['x-content-type-options'], 'nosniff');
    assert.match(page.headers['content-security-policy'], /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/);
    assert.match(page.headers['content-security-policy'], /frame-ancestors 'none'/);
    assert.equal((await fetched(address.slice(0, -1))).headers.location, '/playground/');
    assert.equal((await fetched(`${address}engine_bg.wasm`)).headers['content-type'], 'application/wasm');
    assert.equal((await fetched(`${address}nothing`)).status, 404);
    assert.equal((await fetched(`${address}..%2f..%2fetc%2fpasswd`)).status, 404);
    assert.equal((await fetched(address, 'POST')).status, 405);
    assert.equal((await fetched(address, 'HEAD')).body.length, 0);
    const chromium = await browser();
    try {
      const { page: tab, complaints } = await ready(await chromium.newContext(), address);
      await tab.fill('#talk-input', 'EHLO client.example');
      await tab.press('#talk-input', 'Enter');
      assert.match(await tab.locator('#talk-log').innerText(), /250-mx\.example/);
      assert.deepEqual(complaints, []);
    } finally {
      await chromium.close();
    }
  } finally {
    server.kill('SIGTERM');
    await ended;
    if (existsSync(folder)) rmSync(folder, { recursive: true });
  }
});
