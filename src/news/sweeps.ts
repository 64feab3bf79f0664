// Now and then all of Keystone's revocation events are gone through: some may have been written later than polls reach back.

import type { NewsSink } from '../ports.ts';
import type { RevocationEventsDeps, RevocationEventsOptions } from './keystone-revocation-events.ts';
import type { ListedRows } from './listed-rows.ts';
import type { SinceValues } from './since-values.ts';

/** What sweeps have in common with polls. */
export interface SweepsParts extends Pick<RevocationEventsDeps, 'clock' | 'log' | 'random' | 'list'> {
  readonly rows: ListedRows;
  readonly since: SinceValues;
}

/** Before the next one, after one that failed, in milliseconds. */
const afterFailureMs = 60_000;

/** Sweeps beside the polls, none of which waits for one. They prove nothing. */
export class Sweeps {
  readonly #options: RevocationEventsOptions;
  readonly #parts: SweepsParts;
  #problem: string | undefined;

  constructor(options: RevocationEventsOptions, parts: SweepsParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** What keeps them from being done, where it is not what keeps polls from it. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** The first one in `firstMs`, until `signal` aborts. Never rejects. */
  async run(sink: NewsSink, firstMs: number, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    const { sweepMs } = this.#options;
    let pauseMs = firstMs;
    while (!signal.aborted) {
      await clock.delay(pauseMs * (1 - 0.2 * random()), signal).catch(() => undefined);
      if (signal.aborted) return;
      pauseMs = (await this.#sweep(sink, signal)) ? sweepMs : Math.min(sweepMs, afterFailureMs);
    }
  }

  async #sweep(sink: NewsSink, signal: AbortSignal): Promise<boolean> {
    const { clock, list, log, rows, since } = this.#parts;
    const { issuer, reachMs, overlapMs } = this.#options;
    try {
      const answer = await list(since.take(clock.nowMs() - reachMs - overlapMs, clock.monotonicMs()), signal);
      const problem = answer.kind === 'too-large' ? 'the list of all revocation events is longer than limits.upstream_body' : undefined;
      if (problem !== undefined && problem !== this.#problem) log.warn({ issuer, source: 'poll' }, `${problem}: it is skipped`);
      this.#problem = problem;
      if (answer.kind === 'events') await rows.tell({ rows: answer.events, listedAtMs: answer.dateMs ?? clock.nowMs() }, sink, signal);
      return true;
    } catch (error) {
      // What keeps it from being answered is said by the poll, which asks more often.
      if (!signal.aborted) log.debug({ issuer, error }, 'the list of all revocation events was not gone through; trying again');
      return false;
    }
  }
}
