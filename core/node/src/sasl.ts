/**
 * The server's side of SASL PLAIN (RFC 4616) and LOGIN: from the engine's steps to a name and a password. Refuses to know who may log in.
 */

import type { SaslStep } from './engine/interfaces/hermetic-engine-types.js';
import { Refusal } from './refusal.js';

/** What a client says of itself. */
export interface Credentials {
  mechanism: 'PLAIN' | 'LOGIN';
  username: string;
  password: string;
  /** Who it wants to act as; empty: itself. PLAIN only. */
  authorization: string;
}

/** What has to be said next, or the credentials. */
export type Progress = { challenge: Buffer } | { credentials: Credentials } | { refused: Refusal };

export const MECHANISMS = ['PLAIN', 'LOGIN'];

const MALFORMED = new Refusal({ code: 501, status: '5.5.2', text: 'Malformed response' });
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** One exchange. */
export class Exchange {
  #mechanism = '';
  #username: string | undefined;

  step(step: SaslStep): Progress {
    let response: Uint8Array | undefined;
    if (step.tag === 'start') {
      [this.#mechanism, response] = step.val;
      this.#username = undefined;
    } else response = step.val;
    try {
      return this.#mechanism === 'PLAIN' ? this.#plain(response) : this.#login(response);
    } catch {
      return { refused: MALFORMED };
    }
  }

  #plain(response: Uint8Array | undefined): Progress {
    if (!response) return { challenge: Buffer.alloc(0) };
    const parts = utf8.decode(response).split('\0');
    const [authorization = '', username = '', password = ''] = parts;
    if (parts.length !== 3 || username === '') return { refused: MALFORMED };
    return { credentials: { mechanism: 'PLAIN', username, password, authorization } };
  }

  #login(response: Uint8Array | undefined): Progress {
    if (this.#username === undefined) {
      if (!response) return { challenge: Buffer.from('Username:') };
      this.#username = utf8.decode(response);
      return this.#username === '' ? { refused: MALFORMED } : { challenge: Buffer.from('Password:') };
    }
    const password = utf8.decode(response ?? new Uint8Array());
    return { credentials: { mechanism: 'LOGIN', username: this.#username, password, authorization: '' } };
  }
}
