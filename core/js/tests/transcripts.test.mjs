// The transcripts of the receiving side (tests/transcripts), spoken to the engine in Chromium: what the server says, the content
// and the end have to be as they are written. What is asked and what is reported, the Rust runner compares.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { browser, browserPath, missing, ready, root, serve, site } from './rig.mjs';

const skip = missing(join(site, 'index.html'), browserPath);
const folder = join(root, 'tests/transcripts');

/** Runs in the page, where it can import the engine. Returns what differs, a line each. */
async function speak(transcripts) {
  const { ServerSession } = await import('./hermetic.js');
  const latin = (octets) => Array.from(octets, (octet) => String.fromCharCode(octet)).join('');
  const utf8 = (text) => latin(new TextEncoder().encode(text));
  const told = (octets) => new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(octets, (c) => c.charCodeAt(0)));
  const simple = { r: '\r', n: '\n', t: '\t', '\\': '\\' };
  const unescaped = (text) => utf8(text).replace(/\\(x[0-9a-fA-F]{2}|[rnt\\])/g, (_, what) => simple[what] ?? String.fromCharCode(parseInt(what.slice(1), 16)));
  const number = (text) => Number(text.replaceAll('_', ''));
  const duration = (text) => {
    const [, count, unit] = /^([\d_]+)(ms|s|m|h)$/.exec(text);
    return number(count) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit];
  };
  const refusal = (why) => {
    const [, code, subject, detail, text] = /^(\d+) \d\.(\d+)\.(\d+) ?(.*)$/s.exec(why);
    return { code: Number(code), subject: Number(subject), detail: Number(detail), text: told(unescaped(text)) };
  };
  const decision = (given) => (given === 'yes' ? { ok: null } : given.startsWith('yes ') ? { ok: told(unescaped(given.slice(4))) } : { err: refusal(given.slice(3)) });
  const words = (text) => text.split(/\s+/).filter((word) => word !== '');
  const rest = (given) => given.slice(given.indexOf(' ') + 1);

  function answersOf(line) {
    const question = line.slice(0, line.indexOf(' '));
    const given = rest(line);
    switch (question) {
      case 'recipients': return given.split(' | ').map((one) => [question, decision(one)]);
      case 'message': return [[question, given.split(' | ').map(decision)]];
      case 'sender-with-priority': return [['sender', { priority: Number(given) }]];
      case 'sasl': return [[question, given.startsWith('challenge ') ? { challenge: unescaped(rest(given)) }
        : given.startsWith('login ') ? { authenticated: rest(given) } : { refused: refusal(rest(given)) }]];
      case 'verify': return [[question, given === 'unsure' ? given : given.startsWith('known ') ? { known: told(unescaped(rest(given))) } : { refused: refusal(rest(given)) }]];
      default: return [[question, decision(given)]];
    }
  }

  function parsed(text) {
    const options = {
      'server-name': 'mx.example.test',
      limits: { 'message-size': 10_000_000, recipients: 100, 'recipient-batch': 50, 'command-line': 2048, 'auth-line': 12_288, 'text-line': 0, errors: 10,
        'idle-commands': 50, messages: 0, 'auth-failures': 3, 'command-timeout': 300_000, 'data-timeout': 180_000, 'handshake-timeout': 60_000,
        'data-allowance': 600_000, 'data-rate': 512, session: 0, 'hold-for': 0, 'hold-until': 0, 'deliver-by': 0 },
    };
    const groups = [];
    let expecting = true;
    text.split('\n').forEach((line, place) => {
      if (line === '' || line.startsWith('#')) return;
      const colon = line.indexOf(':');
      const tag = line.slice(0, colon);
      const value = line.slice(colon + 1).replace(/^ /, '');
      if (tag === 'O') {
        const [name, given] = value.split(' = ');
        if (name.startsWith('limits.')) options.limits[name.slice(7)] = number(given);
        else if (['plaintext-mechanisms', 'tls-mechanisms', 'xclient', 'unasked'].includes(name)) options[name] = words(given);
        else options[name] = given === 'true' ? true : given === 'false' ? false : given;
        return;
      }
      const repeat = /^([cS])\*(.*)$/.exec(tag);
      const action = tag === 'C' ? { send: `${utf8(value)}\r\n` } : tag === 'c' ? { send: unescaped(value) }
        : repeat?.[1] === 'c' ? { send: unescaped(value).repeat(number(repeat[2])) } : tag === 'T' ? { wait: duration(value) }
          : tag === 'TLS' ? { secured: words(value) } : tag === 'D' ? { drain: refusal(value) } : null;
      const acts = action !== null || tag === 'A';
      if (groups.length === 0 || (acts && expecting)) {
        groups.push({ place: place + 1, actions: [], answers: [], output: '', body: null, end: false });
        expecting = false;
      }
      const group = groups.at(-1);
      if (!acts && tag !== 'Q') expecting = true;
      if (action?.send !== undefined && group.actions.at(-1)?.send !== undefined) group.actions.at(-1).send += action.send;
      else if (action) group.actions.push(action);
      else if (tag === 'S') group.output += `${utf8(value)}\r\n`;
      else if (repeat) group.output += `${utf8(value)}\r\n`.repeat(number(repeat[2]));
      else if (tag === 'A') group.answers.push(...answersOf(value));
      else if (tag === 'B') group.body = `${group.body ?? ''}${utf8(value)}\r\n`;
      else if (tag === 'b') group.body = `${group.body ?? ''}${unescaped(value)}`;
      else if (tag === 'END') group.end = true;
      else if (!['Q', 'E'].includes(tag)) throw new Error(`line ${place + 1}: no tag ${tag}`);
    });
    return { options, groups };
  }

  function differences({ options, groups }) {
    const session = new ServerSession(options);
    let [now, step, body, output, bodies, answers] = [1000, null, '', '', [], []];
    const next = (name) => {
      const place = answers.findIndex(([known]) => known === name);
      return place < 0 ? null : answers.splice(place, 1)[0][1];
    };
    const took = (made, input) => {
      step = made;
      output += latin(step.transmit);
      // What was given up came before what this step brings.
      if (step.abandoned) body = '';
      for (const piece of step.body) body += 'range' in piece ? input.slice(piece.range[0], piece.range[0] + piece.range[1]) : latin(piece.octets);
      if (step.need.answer?.message) {
        bodies.push(body);
        body = '';
      }
    };
    const call = (made, input = '') => {
      const { consumed } = made;
      took(made, input);
      while (step.need.answer !== undefined) {
        const asked = step.need.answer;
        const name = typeof asked === 'string' ? asked : Object.keys(asked)[0];
        const yes = { ok: null };
        let answer;
        if (name === 'recipients') answer = { recipients: asked.recipients.map(() => next(name) ?? yes) };
        else {
          const given = next(name);
          const usual = { message: () => Array.from({ length: asked.message.recipients }, () => yes), verify: () => 'unsure',
            sasl: () => ({ refused: { code: 535, subject: 7, detail: 8, text: 'Authentication credentials invalid' } }) }[name]?.() ?? yes;
          answer = given?.priority !== undefined ? { 'sender-with-priority': given.priority } : { [name]: given ?? usual };
        }
        took(session.answer(now, answer), '');
      }
      return consumed;
    };
    const wake = () => (typeof step.wake === 'string' ? Infinity : step.wake);
    const found = [];
    groups.forEach((group, index) => {
      [output, bodies, answers] = ['', [], group.answers];
      if (index === 0) call(session.start(now));
      for (const { send, wait, secured, drain } of group.actions) {
        if (wait !== undefined) {
          const end = now + wait;
          while (step.need !== 'close' && wake() <= end) {
            now = Math.max(now, wake());
            call(session.tick(now));
          }
          now = end;
        } else if (secured) {
          call(session.secured(now, secured));
        } else if (drain) {
          call(session.drain(now, drain));
        } else {
          let left = send;
          while (left !== '' && step.need === 'input') left = left.slice(call(session.receive(now, left), left));
        }
      }
      const differ = (what, expected, got) => { if (expected !== got) found.push(`${group.place}: ${what}: ${JSON.stringify(got).slice(0, 200)} instead of ${JSON.stringify(expected).slice(0, 200)}`); };
      differ('what the server says', group.output, output);
      if (group.body !== null) differ('the content', group.body, bodies.at(-1) ?? '');
      differ('the end', group.end, step.need === 'close');
      if (answers.length > 0) found.push(`${group.place}: nobody asked for ${JSON.stringify(answers)}`);
    });
    return found;
  }

  return transcripts.flatMap(([name, text]) => {
    try {
      return differences(parsed(text)).map((words) => `${name}:${words}`);
    } catch (error) {
      return [`${name}: ${error.name}: ${error.message}`];
    }
  });
}

test('the transcripts are the same in a browser', { skip, timeout: 300_000 }, async (context) => {
  const names = readdirSync(folder).filter((name) => name.endsWith('.txt')).sort();
  assert.ok(names.length > 40);
  const transcripts = names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]);
  const [chromium, server] = await Promise.all([browser(), serve()]);
  try {
    const { page, complaints } = await ready(await chromium.newContext(), server.address);
    const differ = await page.evaluate(speak, transcripts);
    context.diagnostic(`${names.length} transcripts, ${new Set(differ.map((one) => one.split(':')[0])).size} differ`);
    assert.deepEqual(differ, []);
    assert.deepEqual(complaints, []);
    // A changed line is noticed.
    const changed = transcripts.map(([name, text]) => [name, text.replace('S: 221 2.0.0 Bye', 'S: 221 2.0.0 Bah')]);
    assert.ok((await page.evaluate(speak, changed)).length > 5);
  } finally {
    await chromium.close();
    await server.stop();
  }
});
