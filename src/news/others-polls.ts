// Polls that other sidecars of the fleet have made: whoever wants one waits a moment whether another asks (S7).

import type { Clock } from '../ports.ts';

interface Waiting {
  /** Monotonic. */
  readonly sinceMs: number;
  readonly over: AbortController;
  hasCome: boolean;
}

/** Who waits for one. */
export class OthersPolls {
  readonly #clock: Pick<Clock, 'delay' | 'monotonicMs'>;
  readonly #waiting = new Set<Waiting>();

  constructor(clock: Pick<Clock, 'delay' | 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** What another has asked since `beganMs` (monotonic) is applied here. */
  came(beganMs: number): void {
    for (const one of this.#waiting) {
      if (one.sinceMs > beganMs) continue;
      one.hasCome = true;
      one.over.abort();
    }
  }

  /** Whether one that begins from now on comes within so long. Rejects with the signal's reason when it aborts first. */
  async within(ms: number, signal: AbortSignal): Promise<boolean> {
    const one: Waiting = { sinceMs: this.#clock.monotonicMs(), over: new AbortController(), hasCome: false };
    const leave = (): void => one.over.abort();
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    this.#waiting.add(one);
    try {
      await this.#clock.delay(ms, one.over.signal);
    } catch (error) {
      if (!one.over.signal.aborted) throw error;
    } finally {
      this.#waiting.delete(one);
      signal.removeEventListener('abort', leave);
    }
    if (!one.hasCome) signal.throwIfAborted();
    return one.hasCome;
  }
}
