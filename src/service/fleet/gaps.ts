// That something may have been missed: it is said, and everything is asked about again, spread (S7, S13).

import type { Clock, Telemetry } from '../../ports.ts';
import type { Invalidations } from '../invalidations.ts';
import type { SourceStanding } from '../source-standing.ts';
import { backoffMs } from '../telling/backoff.ts';

/** What it needs. */
export interface GapsParts {
  readonly invalidations: Pick<Invalidations, 'append'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  /** Of the log, for each issuer. */
  readonly standings: readonly Pick<SourceStanding, 'gapUntil'>[];
  readonly maxLagMs: number;
  readonly wideWindowMs: number;
  readonly refreshLifeMs: number;
  /** The others may not have heard yet that they are to tell what is theirs once more, or could not be heard here. */
  readonly isAsking: () => boolean;
  readonly stop: AbortSignal;
}

/** Between two looks whether it is over. */
const lookMs = 1_000;

/** Those of one log. */
export class Gaps {
  readonly #parts: GapsParts;
  /** How often something may have been missed, and of those how many have been asked about again. */
  #begun = 0;
  #closed = 0;
  /** For how many nobody has been asked yet: the journal does not take it. */
  #unasked = 0;

  constructor(parts: GapsParts) {
    this.#parts = parts;
  }

  /** Not everything has been asked about again. */
  get isOpen(): boolean {
    return this.#closed < this.#begun;
  }

  /** For so long that whoever is stopped meanwhile is either within it or behind, when it goes on. */
  say(): void {
    const { clock, maxLagMs } = this.#parts;
    this.#sayUntil(clock.monotonicMs() + maxLagMs + 3 * lookMs);
  }

  /** Says it for as long as `isDoubtful`, and until it is asked. Until `stop` aborts. */
  async watch(isDoubtful: () => boolean): Promise<void> {
    const { clock, stop } = this.#parts;
    while (!stop.aborted) {
      if (isDoubtful() || this.#unasked > 0) this.say();
      await clock.delay(lookMs, stop).catch(() => undefined);
    }
  }

  /** Something may have been missed. `closed`: everything has been asked about again, of this one and of those before. */
  begin(why: string, closed: () => void): void {
    const { telemetry } = this.#parts;
    this.#begun += 1;
    const nth = this.#begun;
    this.say();
    this.#refreshAll(why).then(
      () => {
        this.#closed = Math.max(this.#closed, nth);
        closed();
      },
      (error: unknown) => telemetry.log.debug({ error }, 'we stop before everything was asked about again'),
    );
  }

  async #refreshAll(why: string): Promise<void> {
    const { wideWindowMs, clock, isAsking, stop } = this.#parts;
    this.#unasked += 1;
    await this.#appendRefresh(why);
    this.#unasked -= 1;
    // The one that runs, and one that trails it; and once more where those who are to tell what is theirs have heard of it only then, or
    // have not been heard all the while.
    for (let wasAsking = true; wasAsking || isAsking(); ) {
      wasAsking = isAsking();
      this.#sayUntil(clock.monotonicMs() + 2 * wideWindowMs + lookMs);
      await clock.delay(2 * wideWindowMs, stop);
    }
  }

  async #appendRefresh(reason: string): Promise<void> {
    const { invalidations, wideWindowMs, refreshLifeMs, clock, random, stop } = this.#parts;
    for (let failures = 0; ; ) {
      try {
        await invalidations.append(
          {
            effect: 'REFRESH',
            selector: { kind: 'everything' },
            spreadMs: wideWindowMs,
            lifeMs: refreshLifeMs + 2 * wideWindowMs,
            origin: { source: 'fleet', event: 'gap', reason },
          },
          undefined,
          stop,
        );
        return;
      } catch (error) {
        if (stop.aborted) throw error;
        failures += 1;
        await clock.delay(backoffMs(failures, 0, random), stop);
      }
    }
  }

  #sayUntil(untilMs: number): void {
    for (const standing of this.#parts.standings) standing.gapUntil(untilMs);
  }
}
