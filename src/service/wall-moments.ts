// When by the wall a monotonic moment was, also where the machine has slept in between: the monotonic clock stands still then.

import type { Clock } from '../ports.ts';

/** One moment by both clocks, in milliseconds. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** Clocks that differ by less than this from one look to the next have not been set, nor has the machine slept. */
const steadyMs = 50;

/** Maps moments. It has to be looked at now and then: it can only tell of a sleep that began after its last look. */
export class WallMoments {
  readonly #clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly #longestMs: number;
  /** The wall clock minus the monotonic one: at the last look, and the least that it was lately, before it became that. */
  #offsetMs: number;
  #formerOffsetMs: number;
  /** When it was first seen to be as it is now. */
  #sinceMs: number;

  /** `longestMs`: moments that are further back, by the monotonic clock, are nobody's concern. */
  constructor(clock: Pick<Clock, 'nowMs' | 'monotonicMs'>, longestMs: number) {
    this.#clock = clock;
    this.#longestMs = longestMs;
    this.#offsetMs = clock.nowMs() - clock.monotonicMs();
    this.#formerOffsetMs = this.#offsetMs;
    this.#sinceMs = -Infinity;
  }

  /** Now, by both. */
  look(): Moment {
    const moment = { monotonicMs: this.#clock.monotonicMs(), wallMs: this.#clock.nowMs() };
    const offsetMs = moment.wallMs - moment.monotonicMs;
    if (Math.abs(offsetMs - this.#offsetMs) > steadyMs) {
      // Or a clock that was an hour late when it started would have a step of a moment, weeks later, be taken for that hour.
      const isPast = moment.monotonicMs - this.#sinceMs > this.#longestMs;
      this.#formerOffsetMs = isPast ? this.#offsetMs : Math.min(this.#offsetMs, this.#formerOffsetMs);
      this.#sinceMs = moment.monotonicMs;
    }
    this.#offsetMs = offsetMs;
    return moment;
  }

  /** When `monotonicMs` was, by the wall; not later than it was, where the clocks have parted since. */
  wallOf(monotonicMs: number): number {
    this.look();
    const offsetMs = monotonicMs < this.#sinceMs ? Math.min(this.#formerOffsetMs, this.#offsetMs) : this.#offsetMs;
    return monotonicMs + offsetMs;
  }
}
