// One writer at a time: what waits while a write is under way is gathered into the next, and compaction takes turns between them.

import { SidecarError } from '../core/errors.ts';

/** How much is gathered. */
export interface LaneLimits {
  /** Most that one write takes. */
  readonly batch: number;
  /** Most that waits; beyond it `add` throws. */
  readonly waiting: number;
}

/** Gathers work and hands it over in order. Turns are first come, first served. */
export class WriteLane<Work> {
  readonly #limits: LaneLimits;
  readonly #write: (batch: readonly Work[]) => Promise<void>;
  #waiting: Work[] = [];
  #scheduled = false;
  #last: Promise<unknown> = Promise.resolve();

  /** `write` settles every piece of work itself and never rejects. */
  constructor(limits: LaneLimits, write: (batch: readonly Work[]) => Promise<void>) {
    this.#limits = limits;
    this.#write = write;
  }

  /** Throws RESOURCE_EXHAUSTED / JOURNAL_BUSY where too much waits already. */
  add(work: Work): void {
    if (this.#waiting.length >= this.#limits.waiting) {
      throw new SidecarError('RESOURCE_EXHAUSTED', 'too many entries wait for the disk', { reason: 'JOURNAL_BUSY', retryAfterMs: 1000 });
    }
    this.#waiting.push(work);
    if (!this.#scheduled) this.#schedule();
  }

  /** Runs `work` when everything that came before it has been written, and nothing else meanwhile. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    // Whoever asked for the turn sees its failure; the next one starts all the same.
    this.#last = turn.catch((_error: unknown) => undefined);
    return turn;
  }

  /** Resolves when nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    do await this.inTurn(async () => undefined);
    while (this.#scheduled);
  }

  #schedule(): void {
    this.#scheduled = true;
    void this.inTurn(async () => {
      const batch = this.#waiting.slice(0, this.#limits.batch);
      this.#waiting = this.#waiting.slice(this.#limits.batch);
      this.#scheduled = false;
      if (this.#waiting.length > 0) this.#schedule();
      await this.#write(batch);
    });
  }
}
