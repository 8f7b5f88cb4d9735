/** What the engine has to be told of content before it is sent. Looks at octets; refuses to know what they mean, but for the header. */

import type { ContentFacts } from './engine/interfaces/hermetic-engine-client.js';

const CR = 13;
const LF = 10;

/** One look at all of the content, piece by piece. */
export class Survey {
  #size = 0;
  #eightBit = false;
  #bareLineEnds = false;
  #longestLine = 0;
  #line = 0;
  #afterCr = false;
  /** Still in the header of the message: until an empty line. */
  #header = true;
  #headerEightBit = false;

  add(octets: Uint8Array): void {
    this.#size += octets.length;
    for (let i = 0; i < octets.length; i++) {
      const octet = octets[i] as number;
      if (octet === LF && this.#afterCr) {
        if (this.#line === 0) this.#header = false;
        else if (this.#line > this.#longestLine) this.#longestLine = this.#line;
        this.#line = 0;
        this.#afterCr = false;
        continue;
      }
      // A CR that no LF follows, or an LF without it, belongs to its line.
      if (this.#afterCr) {
        this.#bareLineEnds = true;
        this.#line++;
      }
      this.#afterCr = octet === CR;
      if (this.#afterCr) continue;
      if (octet === LF) this.#bareLineEnds = true;
      this.#line++;
      if (octet > 127) {
        this.#eightBit = true;
        if (this.#header) this.#headerEightBit = true;
      }
    }
  }

  facts(): ContentFacts {
    const line = this.#line + (this.#afterCr ? 1 : 0);
    return {
      size: BigInt(this.#size),
      eightBit: this.#eightBit,
      bareLineEnds: this.#bareLineEnds || this.#afterCr,
      longestLine: BigInt(Math.max(this.#longestLine, line)),
      utf8Header: this.#headerEightBit,
    };
  }
}
