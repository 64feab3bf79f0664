// Forgetting what can concern no token any more (S12), now and then, by a clock that cannot be hurried.

import type { Clock, Journal, Telemetry } from '../ports.ts';

/** What compaction needs. */
export interface CompactionParts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** How long facts may serve, skew included: the REFRESH floor. */
  readonly factsLifeMs: number;
}

/** How long what a REFRESH makes stale may be kept. */
export interface RefreshableTimes {
  readonly factsMs: number;
  readonly catalogsMs: number;
  readonly settleMs: number;
  readonly skewMs: number;
}

/** How long a REFRESH matters after its appending: as long as anything that was fetched before it, or too soon after it. */
export function refreshLifeMs({ factsMs, catalogsMs, settleMs, skewMs }: RefreshableTimes): number {
  return Math.max(factsMs, catalogsMs) + settleMs + skewMs;
}

const everyMs = 60_000;

/** Prunes the journal, and with it the index. */
export class Compaction {
  readonly #parts: CompactionParts;
  readonly #sweep: (nowMs: number) => void;
  readonly #began: { readonly wallMs: number; readonly monotonicMs: number };

  constructor(parts: CompactionParts, sweep: (nowMs: number) => void) {
    this.#parts = parts;
    this.#sweep = sweep;
    this.#began = { wallMs: parts.clock.nowMs(), monotonicMs: parts.clock.monotonicMs() };
  }

  /** The wall clock, but never further on than the monotonic one has come: a clock that jumps forward must not make us forget. */
  steadyNowMs(): number {
    const { clock } = this.#parts;
    return Math.min(clock.nowMs(), this.#began.wallMs + (clock.monotonicMs() - this.#began.monotonicMs));
  }

  /** Compacts at once and then each minute, until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, journal, factsLifeMs, telemetry } = this.#parts;
    while (!signal.aborted) {
      try {
        const nowMs = this.steadyNowMs();
        await journal.compact({ nowMs, floorMs: nowMs - factsLifeMs });
        this.#sweep(nowMs);
      } catch (error) {
        telemetry.log.error({ error }, 'compaction failed; it is tried again');
      }
      await clock.delay(everyMs, signal).catch(() => undefined);
    }
  }
}
