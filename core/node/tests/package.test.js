// What would be published: its declarations, what `npm pack` puts in, and that it works where it is installed.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { folder, run } from './rig.js';

const here = fileURLToPath(new URL('..', import.meta.url));

test('the declarations are as they are used, and refuse what is wrong', async () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const { code, stdout } = await run(process.execPath, [tsc, '-p', join(here, 'tests/types')]);
  assert.equal(code, 0, stdout);
});

test('the package has the engine in it, needs nothing, and works where it is installed', async () => {
  const packed = join(folder, 'packed');
  mkdirSync(packed);
  const { code, stderr } = await run('npm', ['pack', '--silent', '--pack-destination', packed, here]);
  assert.equal(code, 0, stderr);
  const [file] = readdirSync(packed);
  const { stdout: list } = await run('tar', ['tzf', join(packed, file)]);
  const names = list.trim().split('\n').map((name) => name.replace(/^package\//, ''));
  for (const name of ['package.json', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'dist/index.js', 'dist/index.d.ts', 'dist/cli.js', 'dist/engine/engine.core.wasm', 'dist/engine/abi.js']) {
    assert.ok(names.includes(name), `${name} is missing`);
  }
  assert.deepEqual(names.filter((name) => !/^(dist\/|package\.json$|README\.md$|LICENSE)/.test(name)), []);

  const place = join(folder, 'installed');
  mkdirSync(place);
  writeFileSync(join(place, 'package.json'), '{"type":"module"}');
  const install = await run('npm', ['install', '--silent', '--offline', '--no-audit', '--no-fund', '--prefix', place, join(packed, file)]);
  assert.equal(install.code, 0, install.stderr);
  assert.deepEqual(readdirSync(join(place, 'node_modules')).filter((name) => !name.startsWith('.')), ['hermetic-smtp']);
  writeFileSync(
    join(place, 'use.js'),
    `import { createTestSink, SmtpClient } from 'hermetic-smtp';
     const sink = await createTestSink();
     const client = new SmtpClient({ port: sink.port });
     await client.connect();
     await client.send({ from: 'a@b.test', to: 'c@d.test', content: 'x\\r\\n' });
     await client.quit();
     console.log(sink.messages[0].to[0]);
     await sink.close();`,
  );
  const used = await run(process.execPath, [join(place, 'use.js')]);
  assert.deepEqual([used.stdout, used.code], ['c@d.test\n', 0], used.stderr);
  const command = await run(join(place, 'node_modules/.bin/hermetic-smtp'), ['--help']);
  assert.match(command.stdout, /^usage: hermetic-smtp replay FILE/);
});
