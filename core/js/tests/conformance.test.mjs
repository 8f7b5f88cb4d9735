// The column "browser": every `.session` file of the folder that HERMETIC_SESSIONS names, replayed in Chromium by the engine that
// the page has. Prints `N replayed, N differ`.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { test } from 'node:test';

import { browser, browserPath, missing, ready, serve, site } from './rig.mjs';

const folder = process.env.HERMETIC_SESSIONS;
const skip = missing(join(site, 'index.html'), browserPath) || (folder ? false : 'HERMETIC_SESSIONS names no folder');

test('recorded sessions are the same in a browser', { skip, timeout: 600_000 }, async (context) => {
  const paths = readdirSync(folder, { recursive: true }).map(String).filter((path) => path.endsWith('.session')).sort();
  assert.notEqual(paths.length, 0, `${folder} has no .session files`);
  const [chromium, server] = await Promise.all([browser(), serve()]);
  try {
    const { page, complaints } = await ready(await chromium.newContext(), server.address);
    const verdicts = { same: 0, differ: [], refused: [], calls: 0 };
    for (const path of paths) {
      const octets = readFileSync(join(folder, path)).toString('base64');
      const said = await page.evaluate(async (base64) => {
        const { readSessionFile, replay } = await import('./session-file.js');
        try {
          const binary = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
          return replay(await readSessionFile(binary));
        } catch (error) {
          return { refused: `${error.name}: ${error.message}` };
        }
      }, octets);
      verdicts.calls += said.calls ?? 0;
      if (said.refused) verdicts.refused.push(`${path}: ${said.refused}`);
      else if (said.difference) verdicts.differ.push(`${path}: line ${said.difference.line}, ${JSON.stringify(said.difference.difference)}`);
      else verdicts.same += 1;
    }
    const differ = verdicts.differ.length + verdicts.refused.length;
    console.log(`browser: ${paths.length} replayed, ${differ} differ (${verdicts.calls} calls, ${relative('.', folder) || folder})`);
    context.diagnostic(`${paths.length} replayed, ${differ} differ`);
    assert.deepEqual([...verdicts.differ, ...verdicts.refused], []);
    assert.deepEqual(complaints, []);
    const load = paths.filter((path) => path.startsWith(`load${sep}`)).length;
    column('transcripts', paths.length - load);
    column('load', load);
  } finally {
    await chromium.close();
    await server.stop();
  }
});

// For the table of all runtimes, `tests/columns.py`.
function column(kind, run) {
  const place = process.env.HERMETIC_COLUMNS;
  if (!place) return;
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, `browser-${kind}.json`), `${JSON.stringify({ column: 'browser', kind, run, skipped: {} })}\n`);
}
