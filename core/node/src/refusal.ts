/**
 * How a handler says no. A Refusal may be returned or thrown; anything else that is thrown is the handler's own trouble, and the peer
 * is told to try again later.
 */

import type { Refusal as EngineRefusal } from './engine/interfaces/hermetic-engine-types.js';
import { shown, ValueError } from './errors.js';

/** What a refusal is made of, where it is written as one object. */
export interface RefusalParts {
  /** 400 to 599. 421 ends the session. */
  code: number;
  /** The enhanced status code (RFC 3463), such as `5.1.1`: its class is that of `code`. Default: `x.0.0`. */
  status?: string;
  text?: string;
}

/** A negative reply: its class says whether to try again. Its text may have several lines; the engine frames them. */
export class Refusal extends Error {
  readonly code: number;
  readonly status: string;
  /** As the engine takes it. */
  readonly parts: EngineRefusal;

  constructor({ code, status, text }: RefusalParts) {
    super(text ?? (code >= 500 ? 'Refused' : 'Try again later'));
    this.name = 'Refusal';
    if (!Number.isInteger(code) || code < 400 || code > 599) throw new ValueError(`a refusal's code: expected 400 to 599, got ${shown(code)}`);
    const class_ = Math.floor(code / 100);
    const found = /^([245])\.(\d{1,3})\.(\d{1,3})$/.exec(status ?? `${class_}.0.0`);
    if (!found || Number(found[1]) !== class_) {
      throw new ValueError(`a refusal's status: expected ${class_}.x.y for the code ${code}, got ${shown(status)}`);
    }
    this.code = code;
    this.status = found[0];
    this.parts = { code, subject: Number(found[2]), detail: Number(found[3]), text: this.message };
  }
}

/** `refuse(550, '5.1.1', 'No such user')`, `refuse(550, 'No such user')` or `refuse({code, status, text})`. */
export function refuse(code: number | RefusalParts, status?: string, text?: string): Refusal {
  if (typeof code === 'object') return new Refusal(code);
  if (status !== undefined && text === undefined && !/^\d\./.test(status)) return new Refusal({ code, text: status });
  return new Refusal({ code, ...(status !== undefined && { status }), ...(text !== undefined && { text }) });
}
