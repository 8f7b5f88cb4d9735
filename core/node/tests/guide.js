// Follows README.md as somebody new would: writes the files that it shows, types its commands as they stand, and compares what comes out.
//
//   npm run guide        Everything happens below a folder of its own, which is a copy of the checkout as far as links go.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(new URL('../../..', import.meta.url)));
const guide = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const place = mkdtempSync(join(tmpdir(), 'hermetic-guide-'));

/** One script: what is to be written is written where the guide stands at that point. */
const lines = ['set -eu', 'set -m'];
const expected = [];
for (const [, language, name, text] of guide.matchAll(/^```(\w+)(?: (\S+))?\n([^]*?)^```$/gm)) {
  if (language === 'sh') lines.push(text);
  else if (language === 'js' && name) lines.push(`cat >${name} <<'END-OF-FILE'\n${text}END-OF-FILE`);
  else if (language === 'text') expected.push(...text.trimEnd().split('\n'));
}
assert.ok(lines.length > 8 && expected.length > 5, 'the guide has commands and what they show');

try {
  // The checkout, seen from a folder in which things may be left lying.
  for (const entry of readdirSync(root)) if (entry !== 'mail' && !entry.endsWith('.tgz')) symlinkSync(join(root, entry), join(place, entry));
  writeFileSync(join(place, 'guide.sh'), lines.join('\n'));
  const { status, stdout, stderr } = spawnSync('bash', ['guide.sh'], { cwd: place, encoding: 'utf8', timeout: 1_200_000, maxBuffer: 64 << 20 });
  const said = stdout.split('\n');
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  assert.equal(status, 0, 'a command of the guide failed');
  for (const line of expected) assert.ok(said.includes(line), `the guide promises ${JSON.stringify(line)}`);
  console.log(`guide: ${lines.length - 2} blocks, ${expected.length} lines as they were promised`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
