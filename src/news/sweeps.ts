// Now and then all of Keystone's revocation events are gone through: some may have been written later than polls reach back.

import type { HeardQuestion, NewsSink, SharedQuestion } from '../ports.ts';
import type { RevocationEventsDeps, RevocationEventsOptions } from './keystone-revocation-events.ts';
import type { ListedRows } from './listed-rows.ts';
import type { SinceValues } from './since-values.ts';

/** What sweeps have in common with polls. */
export interface SweepsParts extends Pick<RevocationEventsDeps, 'clock' | 'log' | 'random' | 'list' | 'notes'> {
  readonly rows: ListedRows;
  readonly since: SinceValues;
  readonly shared: SharedQuestion | undefined;
}

/** Before the next one, after one that failed, in milliseconds. */
const afterFailureMs = 60_000;
/** After another sidecar's it is put off for so much longer, at random, as a part of the interval. */
const othersWaitLonger = 0.2;

/** Sweeps beside the polls, none of which waits for one. They prove nothing. */
export class Sweeps {
  readonly #options: RevocationEventsOptions;
  readonly #parts: SweepsParts;
  #problem: string | undefined;
  /** When the next one begins, monotonic. */
  #dueMs = 0;

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
    const { clock, random, shared } = this.#parts;
    const { sweepMs } = this.#options;
    shared?.listen((question) => this.#heard(question), signal);
    let pauseMs = Math.max(firstMs, await this.#leftOfOthers());
    while (!signal.aborted) {
      this.#dueMs = clock.monotonicMs() + pauseMs * (1 - 0.2 * random());
      await this.#untilDue(signal);
      if (signal.aborted) return;
      pauseMs = (await this.#sweep(sink, signal)) ? sweepMs : Math.min(sweepMs, afterFailureMs);
    }
  }

  /** Another has swept while we ran before: all that it was told is in the log, which is read. */
  async #leftOfOthers(): Promise<number> {
    const { clock, notes, log } = this.#parts;
    const { issuer, sweepMs } = this.#options;
    try {
      const agoMs = clock.nowMs() - Number(await notes.noted(noteName(issuer)));
      return agoMs >= 0 && agoMs < sweepMs ? sweepMs - agoMs : 0;
    } catch (error) {
      log.debug({ issuer, error }, 'when another sidecar has gone through all revocation events cannot be read');
      return 0;
    }
  }

  /** What others ask meanwhile puts it off. */
  async #untilDue(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    for (let isFirst = true; (isFirst || clock.monotonicMs() < this.#dueMs) && !signal.aborted; isFirst = false) {
      await clock.delay(Math.max(0, this.#dueMs - clock.monotonicMs()), signal).catch(() => undefined);
    }
  }

  /** Another sidecar has swept, and what it was told is applied here. */
  #heard({ sinceMs, isOfNow }: HeardQuestion): void {
    const { clock, random, since, notes, log } = this.#parts;
    const { issuer, sweepMs, reachMs } = this.#options;
    since.spend(sinceMs, clock.monotonicMs());
    // One that is configured otherwise may not reach back as far.
    if (!isOfNow || sinceMs > clock.nowMs() - reachMs) return;
    this.#dueMs = Math.max(this.#dueMs, clock.monotonicMs() + sweepMs * (1 + othersWaitLonger * random()));
    notes.note(noteName(issuer), String(clock.nowMs())).catch((error: unknown) => {
      log.debug({ issuer, error }, 'that another sidecar has gone through all revocation events was not noted');
    });
  }

  async #sweep(sink: NewsSink, signal: AbortSignal): Promise<boolean> {
    const { clock, list, log, rows, since, shared } = this.#parts;
    const { issuer, reachMs, overlapMs } = this.#options;
    const tellOthers = shared?.begin();
    try {
      const sinceMs = since.take(clock.nowMs() - reachMs - overlapMs, clock.monotonicMs());
      const answer = await list(sinceMs, signal);
      const problem = answer.kind === 'too-large' ? 'the list of all revocation events is longer than limits.upstream_body' : undefined;
      if (problem !== undefined && problem !== this.#problem) log.warn({ issuer, source: 'poll' }, `${problem}: it is skipped`);
      this.#problem = problem;
      if (answer.kind !== 'events') return true;
      const listedAtMs = answer.dateMs ?? clock.nowMs();
      await rows.tell({ rows: answer.events, listedAtMs }, sink, signal);
      if (!signal.aborted) tellOthers?.({ fromMs: sinceMs, throughMs: Math.min(listedAtMs, clock.nowMs()), sinceMs });
      return true;
    } catch (error) {
      // What keeps it from being answered is said by the poll, which asks more often.
      if (!signal.aborted) log.debug({ issuer, error }, 'the list of all revocation events was not gone through; trying again');
      return false;
    }
  }
}

/** In the journal: when another sidecar has swept for us, by our clock. */
const noteName = (issuer: string): string => `swept/${issuer}`;
