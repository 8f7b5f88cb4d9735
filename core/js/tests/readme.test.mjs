// The guide's files and commands, as they are written in README.md.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { browser, browserPath, missing, root, site } from './rig.mjs';

const run = promisify(execFile);
const guide = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const commands = [...guide.matchAll(/^ {4}\$ (.*)$/gm)].map(([, command]) => command);
const skip = missing(join(site, 'hermetic.js'), browserPath, '/usr/bin/python3');

test('the guide gives a running server in a page and in Node', { skip, timeout: 120_000 }, async () => {
  assert.equal(commands[0], 'core/js/build.sh site');
  const folder = mkdtempSync(join(tmpdir(), 'guide-'));
  let python;
  try {
    // The first command has been run by run.sh, to another folder: the same files.
    cpSync(site, join(folder, 'site'), { recursive: true });
    for (const [, path, text] of guide.matchAll(/^```\w+ (site\/\S+)\n(.*?)^```$/gms)) writeFileSync(join(folder, path), text);
    const node = commands.find((command) => command.startsWith('node '));
    const { stdout } = await run('bash', ['-c', node], { cwd: folder });
    assert.match(stdout, /^220 mx\.example ESMTP\r\n[\s\S]*250 2\.1\.5 Recipient ok\r\n221 2\.0\.0 Bye\r\n/);
    const serve = commands.find((command) => command.startsWith('python3 ')).split(' ');
    python = spawn(serve[0], serve.slice(1).map((word) => (word === '8000' ? '18473' : word)), { cwd: folder, stdio: 'ignore' });
    const address = 'http://127.0.0.1:18473/mine.html';
    for (let tries = 0; tries < 100; tries += 1) {
      const up = await new Promise((answer) => get(address, (response) => { response.resume(); answer(true); }).on('error', () => answer(false)));
      if (up) break;
      await new Promise((later) => setTimeout(later, 100));
    }
    const chromium = await browser();
    try {
      const page = await chromium.newPage();
      await page.goto(address);
      await page.waitForFunction(() => document.getElementById('said').textContent.includes('221 2.0.0 Bye'));
      assert.match(await page.locator('#said').innerText(), /220 mx\.example ESMTP/);
    } finally {
      await chromium.close();
    }
  } finally {
    python?.kill('SIGTERM');
    rmSync(folder, { recursive: true });
  }
});

test('the guide names what is there', () => {
  const links = [...guide.matchAll(/\]\((\.[^)#]+)\)/g)].map(([, path]) => path);
  assert.ok(links.length >= 3);
  assert.deepEqual(links.filter((path) => !existsSync(join(root, 'core/js', path))), []);
});
