// What outlives a connection of one who shares a queue with others: who proves it, and since when nobody has.

import type { Clock, HeardQuestion, SharedQuestion } from '../../ports.ts';

/** What it needs. */
export interface PoolParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly random: () => number;
  /** What is heard for all, told to all. */
  readonly shared: SharedQuestion;
  /** Of our journal. */
  readonly journalId: string;
}

/** Nobody has proven the queue for so long: somebody may have to begin. Each draws another time, so that one begins. */
const silenceMs = 2_000;
const silenceSpreadMs = 1_000;
/** Who begins and hears nothing comes back after twice as long each time: hundreds of them must not keep each other awake. */
const longestPauseMs = 30_000;

/** One member's view of its pool. */
export class Pool {
  readonly shared: SharedQuestion;
  readonly journalId: string;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #random: () => number;
  #heardMs = Number.NEGATIVE_INFINITY;
  #tries = 0;
  #tryMs = 0;

  constructor({ clock, random, shared, journalId }: PoolParts) {
    this.#clock = clock;
    this.#random = random;
    this.shared = shared;
    this.journalId = journalId;
  }

  /** Another one has proven it. */
  heard({ isOfNow }: HeardQuestion): void {
    if (!isOfNow) return;
    this.#heardMs = this.#clock.monotonicMs();
    this.#tries = 0;
    this.#tryMs = this.#heardMs + this.#silenceMs();
  }

  /** Monotonic: when another one has proven it last; -Infinity: none has. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** From now on we wait for somebody to read it, who may be us. `isNew`: nobody can have. */
  begin(isNew: boolean): void {
    this.#tries = 0;
    this.#tryMs = this.#clock.monotonicMs() + (isNew ? 0 : this.#silenceMs());
  }

  /** Whether it is time to ask whether anybody reads it. */
  get isSilent(): boolean {
    return this.#clock.monotonicMs() >= this.#tryMs;
  }

  /** It was asked. */
  tried(): void {
    this.#tryMs = this.#clock.monotonicMs() + Math.min(longestPauseMs, this.#silenceMs() * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 10);
  }

  #silenceMs(): number {
    return silenceMs + this.#random() * silenceSpreadMs;
  }
}
