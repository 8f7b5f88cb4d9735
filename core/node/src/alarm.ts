/**
 * One timer for all sessions of a server. What wakes sessions is minutes away and moves with every step, so it is cheaper to look at
 * all of them now and then than to keep a timer for each.
 */

/** Who is to be woken. `wake` is in milliseconds of `now`; Infinity: never. */
export interface Sleeper {
  wake: number;
  woken(): void;
}

/** Milliseconds between two looks, at least. */
const REST = 20;
/** Node's timers end here. */
const FAR = 2 ** 31 - 1;

/** Milliseconds on the clock of all sessions. */
export const now = (): number => Math.floor(performance.now());

export class Alarm {
  readonly #sleepers = new Set<Sleeper>();
  #timer: NodeJS.Timeout | undefined;
  #next = Infinity;

  add(sleeper: Sleeper): void {
    this.#sleepers.add(sleeper);
  }

  delete(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper);
    if (this.#sleepers.size === 0) this.#set(Infinity);
  }

  /** The sleeper wants to be woken at `wake` now. Being early is no harm, so a later time needs no new timer. */
  at(wake: number): void {
    if (wake < this.#next) this.#set(wake);
  }

  #set(next: number): void {
    clearTimeout(this.#timer);
    this.#next = next;
    if (next === Infinity) return;
    this.#timer = setTimeout(() => this.#look(), Math.min(FAR, Math.max(REST, next - now() + 1)));
  }

  #look(): void {
    const time = now();
    let next = Infinity;
    for (const sleeper of [...this.#sleepers]) {
      if (sleeper.wake <= time) sleeper.woken();
    }
    for (const { wake } of this.#sleepers) next = Math.min(next, wake);
    this.#set(next);
  }
}
