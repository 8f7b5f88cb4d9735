// Makes dist/ from the engine component and src/.
//
//   npm run build [-- ENGINE]       ENGINE: engine.wasm; without it HERMETIC_ENGINE, then ../out/engine.wasm
//
// jco takes the component apart: its core module and the TypeScript of its interfaces. The glue between the two is written by abi.js
// from wit/engine. That WIT and component are of one version is checked here, for glue that was made for another would misread.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { transpile, types } from '@bytecodealliance/jco';

import { declareAbi, writeAbi } from './abi.js';
import { readWit } from './wit.js';

const here = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const root = resolve(here, '../..');
const dist = join(here, 'dist');
const engine = process.argv[2] ?? process.env.HERMETIC_ENGINE ?? join(here, '../out/engine.wasm');

function fail(message) {
  console.error(`build: ${message}`);
  process.exit(1);
}

let component;
try {
  component = readFileSync(engine);
} catch (error) {
  fail(`the engine can not be read: ${error.message}. Make it by \`cargo run -p engine-wasm -- core/out\`.`);
}

const wit = join(root, 'wit/engine');
const schema = readWit(Object.fromEntries(readdirSync(wit).filter((name) => name.endsWith('.wit')).map((name) => [name, readFileSync(join(wit, name), 'utf8')])));

const { files, imports } = await transpile(component, { name: 'engine', instantiation: 'sync' });
if (imports.length > 0) fail(`the engine imports ${imports.join(', ')}; it must import nothing`);
const text = (bytes) => Buffer.from(bytes).toString('utf8');

// What jco reads out of the component, and what it makes of the WIT, must be the same but for the documentation.
const bare = (declarations) => text(declarations).replace(/\/\*[^]*?\*\//g, '').replace(/\/\/.*$/gm, '').replace(/\s+/g, ' ');
const described = new Map(Object.entries(await types(wit, { worldName: 'engine', name: 'engine', instantiation: 'sync' })));
const interfaces = new Map();
for (const [path, declarations] of Object.entries(files)) {
  const name = /interfaces\/hermetic-engine-(.*)\.d\.ts$/.exec(path)?.[1];
  if (!name || name === 'probe') continue;
  const ours = described.get(path);
  if (!ours || bare(ours) !== bare(declarations)) fail(`the interface ${name} of ${engine} is not that of ${wit}: build the engine anew`);
  interfaces.set(path, text(ours));
}
if (interfaces.size !== 3) fail(`${engine} does not have the interfaces types, server and client`);

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, 'engine/interfaces'), { recursive: true });
writeFileSync(join(dist, 'engine/engine.core.wasm'), files['engine.core.wasm']);
for (const [path, declarations] of interfaces) writeFileSync(join(dist, 'engine', path), declarations);
const halves = ['server', 'client'];
writeFileSync(join(dist, 'engine/abi.js'), writeAbi(schema, halves));
writeFileSync(join(dist, 'engine/abi.d.ts'), declareAbi(schema, halves));
const hash = `sha256:${createHash('sha256').update(component).digest('hex')}`;
const { version, types: all, interfaces: every } = schema;
const kept = { engine: hash, version, types: all, interfaces: { server: every.server, client: every.client } };
writeFileSync(join(dist, 'engine/schema.js'), `// Made by build/build.js from wit/engine. Not to be edited.\nexport const schema = ${JSON.stringify(kept)};\n`);
writeFileSync(join(dist, 'engine/schema.d.ts'), "import type { Schema } from '../values.js';\nexport declare const schema: Schema;\n");

const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
try {
  execFileSync(process.execPath, [tsc, '-p', here], { stdio: 'inherit' });
} catch {
  fail('the sources have faults of type; see above');
}
chmodSync(join(dist, 'cli.js'), 0o755);
for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(join(root, name), join(here, name));
console.log(`build: dist/ from ${engine} (${component.length} octets, ${hash})`);
