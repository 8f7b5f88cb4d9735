#!/usr/bin/env node
/**
 * The command `hermetic-smtp`. It exits with 0 where all replayed sessions are equal, 1 where one differs, and 2 where a file can not
 * be replayed or the command is not understood.
 */

import { SessionFileError } from './errors.js';
import { replay } from './replay.js';

const USAGE = 'usage: hermetic-smtp replay FILE...\n\nRuns recorded sessions (.session files) again and shows the first difference.\n';

function main(given: string[]): number {
  const [command, ...files] = given;
  if (command === '--help' || command === '-h') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (command !== 'replay' || files.length === 0) {
    process.stderr.write(USAGE);
    return 2;
  }
  let replayed = 0;
  let differ = 0;
  let refused = 0;
  for (const file of files) {
    try {
      const { difference, notes } = replay(file);
      replayed++;
      for (const note of notes) process.stderr.write(`${file}: ${note}\n`);
      if (!difference) continue;
      // The first one is what somebody wants to see.
      if (differ++ === 0) {
        const { line, call, where, recorded, now } = difference;
        process.stdout.write(`${file}:${line}: ${call}: ${where}\n  recorded ${recorded}\n  now      ${now}\n`);
      }
    } catch (error) {
      if (!(error instanceof SessionFileError)) throw error;
      refused++;
      process.stderr.write(`${file}: ${error.message}\n`);
    }
  }
  const rest = refused > 0 ? `, ${refused} not readable` : '';
  process.stdout.write(`${replayed} replayed, ${differ} differ${rest}\n`);
  return refused > 0 ? 2 : differ > 0 ? 1 : 0;
}

process.exitCode = main(process.argv.slice(2));
