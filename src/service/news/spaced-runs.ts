// One piece of work that many ask for: they share its runs, which keep their distance.

import type { Clock } from '../../ports.ts';

interface Planned<Result> {
  /** Monotonic. */
  readonly atMs: number;
  readonly done: Promise<Result>;
}

/** How runs are made. */
export interface SpacedRunsParts<Result> {
  readonly clock: Clock;
  /** Between the beginnings of two. */
  readonly spacingMs: number;
  /** Whoever waits then waits no longer. */
  readonly stop: AbortSignal;
  readonly work: () => Promise<Result>;
}

/**
 * Whoever asks gets the first run that begins no sooner than wanted. However many ask, within one spacing one run begins and one more is
 * planned; of those that are wanted no later than one spacing from now, nobody waits for longer than two for the beginning.
 */
export class SpacedRuns<Result> {
  readonly #parts: SpacedRunsParts<Result>;
  /** Those that have not begun, soonest first. */
  #planned: readonly Planned<Result>[] = [];
  #beganMs = Number.NEGATIVE_INFINITY;

  constructor(parts: SpacedRunsParts<Result>) {
    this.#parts = parts;
  }

  /** What comes of a run that begins at or after `notBeforeMs` (monotonic): at once, where none has begun lately. */
  from(notBeforeMs: number): Promise<Result> {
    const { spacingMs } = this.#parts;
    const there = this.#planned.find(({ atMs }) => atMs >= notBeforeMs);
    if (there) return there.done;
    const { clock, stop } = this.#parts;
    const atMs = Math.max(notBeforeMs, (this.#planned.at(-1)?.atMs ?? this.#beganMs) + spacingMs);
    const leftMs = atMs - clock.monotonicMs();
    if (leftMs <= 0) return this.#begin();
    const done = clock.delay(leftMs, stop).then(() => {
      this.#planned = this.#planned.filter((one) => one.done !== done);
      return this.#begin();
    });
    this.#planned = [...this.#planned, { atMs, done }];
    return done;
  }

  /** Whether one is planned. */
  get isPlanned(): boolean {
    return this.#planned.length > 0;
  }

  async #begin(): Promise<Result> {
    this.#beganMs = this.#parts.clock.monotonicMs();
    return await this.#parts.work();
  }
}
