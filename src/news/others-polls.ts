// Polls that other sidecars of the fleet have made: whoever wants one waits a moment whether another asks (S7).

import type { RevocationEventsDeps } from './keystone-revocation-events.ts';

interface Waiting {
  /** Monotonic. */
  readonly sinceMs: number;
  readonly over: AbortController;
  hasCome: boolean;
}

/**
 * How long a look waits, at random, whether another sidecar has the same question, in milliseconds: the more there are, the sooner the
 * first of them asks, and the longer the rest may wait for it.
 */
const shortestSpreadMs = 100;
const spreadPerOtherMs = 20;
const longestSpreadMs = 1_000;

/** Who waits for one. */
export class OthersPolls {
  readonly #parts: Pick<RevocationEventsDeps, 'clock' | 'random' | 'shared'>;
  readonly #waiting = new Set<Waiting>();

  constructor(parts: Pick<RevocationEventsDeps, 'clock' | 'random' | 'shared'>) {
    this.#parts = parts;
  }

  /** What another has asked since `beganMs` (monotonic) is applied here. */
  came(beganMs: number): void {
    for (const one of this.#waiting) {
      if (one.sinceMs > beganMs) continue;
      one.hasCome = true;
      one.over.abort();
    }
  }

  /** Whether one that another begins from now on comes within a moment. Rejects with the signal's reason when it aborts first. */
  async ask(signal: AbortSignal): Promise<boolean> {
    const { clock, random, shared } = this.#parts;
    const others = shared?.poll.others() ?? 0;
    if (others === 0) return false;
    const spreadMs = Math.min(longestSpreadMs, Math.max(shortestSpreadMs, others * spreadPerOtherMs));
    const one: Waiting = { sinceMs: clock.monotonicMs(), over: new AbortController(), hasCome: false };
    const leave = (): void => one.over.abort();
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    this.#waiting.add(one);
    try {
      await clock.delay(random() * spreadMs, one.over.signal);
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
