// A session as a link: options and calls in the URL's fragment, which no server ever sees.
//
// JSON, deflated, base64url. Bounded both ways; whatever comes in is run by the engine, which refuses what is no value, so a
// forged link can do no more than show a session.

import { InvalidValue } from './hermetic.js';

/** Characters of a fragment. */
export const LONGEST = 32_768;
/** Octets of JSON that it may inflate to. */
export const INFLATED = 1_048_576;
const MARK = '#s1.';

async function through(octets, stream, most) {
  const reader = new Blob([octets]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new InvalidValue('the session in this link is too large');
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The fragment for a session: its half, options and calls without outcomes. */
export async function fragmentOf({ half, options, calls }) {
  const inputs = calls.map(({ step: _step, misuse: _misuse, ...rest }) => rest);
  const json = new TextEncoder().encode(JSON.stringify({ half, options, calls: inputs }));
  const packed = await through(json, new CompressionStream('deflate-raw'), INFLATED);
  let binary = '';
  for (const octet of packed) binary += String.fromCharCode(octet);
  const fragment = MARK + btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  if (fragment.length > LONGEST) throw new InvalidValue('this session is too long for a link; save it as a file instead');
  return fragment;
}

/** The session in a fragment; null where there is none. Rejects with a sentence where it is damaged. */
export async function sessionIn(fragment) {
  if (!fragment.startsWith('#s')) return null;
  if (!fragment.startsWith(MARK)) throw new InvalidValue('this link was made by another version of the playground');
  if (fragment.length > LONGEST) throw new InvalidValue('this link is too long');
  const damaged = new InvalidValue('this link is damaged: the session in it cannot be read');
  let session;
  try {
    const binary = atob(fragment.slice(MARK.length).replaceAll('-', '+').replaceAll('_', '/'));
    const packed = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    session = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await through(packed, new DecompressionStream('deflate-raw'), INFLATED)));
  } catch (error) {
    throw error instanceof InvalidValue ? error : damaged;
  }
  const object = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
  const whole = object(session) && session.half === 'server' && object(session.options) && Array.isArray(session.calls)
    && session.calls.every((call) => object(call) && typeof call.call === 'string' && Number.isSafeInteger(call.now));
  if (!whole) throw damaged;
  return session;
}
