// How far the poll of one Keystone has come: up to where all is told, what was never listed, and where a restart goes on.

import type { HeardQuestion, NewsSink } from '../ports.ts';
import type { RevocationEventsDeps, RevocationEventsOptions } from './keystone-revocation-events.ts';

/** What it needs. */
export type PollProgressParts = Pick<RevocationEventsOptions, 'issuer' | 'reachMs' | 'factsLifeMs'> &
  Pick<RevocationEventsDeps, 'clock' | 'log' | 'notes'>;

/** How far it has come is noted when it has come so much further: after a restart so much is asked for again. */
const noteEachMs = 10_000;
/** Keystone keeps its rows for [token] expiration + [revoke] expiration_buffer, of which the latter alone is 1,800 s. */
const keptThereMs = 1_800_000;
const afterFailureMs = 1_000;

/** Of one poll. */
export class PollProgress {
  readonly #parts: PollProgressParts;
  /** The next poll begins here, less the overlap: by Keystone's clock, or by ours where that is behind it. */
  #fromMs = 0;
  /** All until there has been told. */
  #isContinued = false;
  /** And all from there on, without a gap. */
  #wholeFromMs = 0;
  #notedMs = Number.NEGATIVE_INFINITY;
  /** What was never listed to us, in words. */
  #lost: string | undefined;

  constructor(parts: PollProgressParts) {
    this.#parts = parts;
  }

  /** Where the next poll begins, in milliseconds. */
  get fromMs(): number {
    return this.#fromMs;
  }

  /** Where the last run ended. Answers whether the first poll reaches back over a token's whole life. */
  async takeUp(signal: AbortSignal): Promise<boolean> {
    const { clock, notes, log, issuer, reachMs } = this.#parts;
    const earliestMs = clock.nowMs() - reachMs;
    while (!signal.aborted) {
      try {
        const noted = Number(await notes.noted(noteName(issuer)));
        // Later than now: clocks have been set back, and nobody knows what it was by them.
        this.#isContinued = noted <= clock.nowMs();
        if (this.#isContinued) this.#notedMs = noted;
        this.#fromMs = Math.max(this.#notedMs, earliestMs);
        this.#wholeFromMs = this.#fromMs;
        return this.#fromMs === earliestMs;
      } catch (error) {
        log.error({ issuer, error }, 'how far the poll has come cannot be read; trying again');
        await clock.delay(afterFailureMs, signal).catch(() => undefined);
      }
    }
    return false;
  }

  /**
   * A poll of ours has told all that was listed to it; the next one begins at `nextFromMs`. What was lost is admitted. Answers from when on
   * nothing is missing, by Keystone's clock; undefined where that begins now.
   */
  asked(nextFromMs: number, sink: Pick<NewsSink, 'gap'>): number | undefined {
    const pauseMs = nextFromMs - this.#fromMs;
    const isLong = pauseMs > keptThereMs;
    // Keystone itself may have forgotten rows by now. Facts that are younger than the pause know of them.
    if (this.#isContinued && isLong && this.#parts.factsLifeMs > pauseMs) {
      this.#lost ??= 'the poll has been away for longer than Keystone keeps its revocation events';
    }
    const isWhole = this.#lost === undefined;
    // It is on disk before how far the poll has come: the journal keeps the order.
    if (this.#lost !== undefined) void sink.gap(this.#lost);
    this.#lost = undefined;
    this.#fromMs = nextFromMs;
    this.#isContinued = true;
    if (!isWhole) this.#wholeFromMs = nextFromMs;
    // To somebody else what Keystone has forgotten may matter.
    else if (isLong) this.#wholeFromMs = nextFromMs - keptThereMs;
    return isWhole ? this.#wholeFromMs : undefined;
  }

  /** Another sidecar's poll has told us all of this. False: there is something before it that we have not been told, or have lost. */
  heard({ fromMs, throughMs }: Pick<HeardQuestion, 'fromMs' | 'throughMs'>): boolean {
    if (fromMs > this.#fromMs || this.#lost !== undefined) return false;
    this.#fromMs = Math.max(this.#fromMs, throughMs);
    this.#isContinued = true;
    return true;
  }

  /** What has been revoked since is more than can be read: the next poll begins now, and what lies between is lost. In words. */
  skip(why: string): string {
    this.#lost = `the list of revocation events since the last poll ${why}`;
    this.#fromMs = this.#parts.clock.nowMs();
    return this.#lost;
  }

  /** For the next start. Never rejects. */
  async note(): Promise<void> {
    const { notes, log, issuer } = this.#parts;
    const atMs = this.#fromMs;
    if (Math.abs(atMs - this.#notedMs) < noteEachMs) return;
    try {
      await notes.note(noteName(issuer), String(atMs));
      this.#notedMs = atMs;
    } catch (error) {
      // The journal itself says that it cannot be written. After a restart more is asked for again.
      log.debug({ issuer, error }, 'how far the poll has come was not noted');
    }
  }
}

/** In the journal: all until then, by Keystone's clock, has been told. */
const noteName = (issuer: string): string => `polled/${issuer}`;
