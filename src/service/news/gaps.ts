// What may have been missed: looked for, then everything of the issuer is asked about again, spread, and until that is over it is said (S10).

import { freshRequestId } from '../../core/entry-id.ts';
import type { Clock, Journal, News, Telemetry } from '../../ports.ts';
import type { SourceStanding } from '../source-standing.ts';
import { gapEvent } from './drafts.ts';
import type { Looks } from './looks.ts';
import { SpacedRuns } from './spaced-runs.ts';

/** A source that may have a gap. */
export interface GapSource {
  readonly name: string;
  readonly standing: Pick<SourceStanding, 'gapUntil'>;
  /** We hear it for others, who take a gap for theirs by its name. */
  readonly hearsForAll?: boolean;
}

/** What it needs. */
export interface GapsParts {
  readonly issuer: string;
  readonly looks: Looks;
  readonly wideWindowMs: number;
  readonly settleMs: number;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly notes: Pick<Journal, 'note' | 'noted'>;
  /** As `Writing.writeForSure`, of all that the news hold. */
  readonly write: (news: News, source: string) => Promise<void>;
  readonly stop: AbortSignal;
}

/** Noted as long as a gap has not been written down. Else: until when it lasts, by the wall clock, in milliseconds. */
const open = 'open';

/** Gaps of the sources of one issuer. Those that come while everything is being asked about again are closed together after it. */
export class Gaps {
  readonly #parts: GapsParts;
  readonly #windowMs: number;
  readonly #runs: SpacedRuns<void>;
  /** Monotonic: when the REFRESH of everything that runs has taken effect for every token, and whether one trails it (S7). */
  #runningUntilMs = Number.NEGATIVE_INFINITY;
  #isTrailed = false;
  /**
   * Sources whose gap the next refresh closes, which has not begun: whatever else they miss is closed with it. When a restart would know of
   * it, and when it is closed.
   */
  readonly #unclosed = new Map<GapSource, { readonly why: string; readonly known: Promise<void>; readonly closed: Promise<void> }>();
  /** Sources that miss something now. */
  readonly #missing = new Set<GapSource>();
  /** The gap that began last. */
  #last = { name: '', why: '' };

  constructor(parts: GapsParts) {
    this.#parts = parts;
    this.#windowMs = Math.max(parts.wideWindowMs, parts.settleMs);
    const { clock, stop } = parts;
    this.#runs = new SpacedRuns({ clock, stop, spacingMs: this.#windowMs, work: () => this.#refresh() });
  }

  /** What a run before has left. */
  async takeUp(source: GapSource): Promise<void> {
    const { clock, notes } = this.#parts;
    const noted = await notes.noted(this.#noteOf(source));
    if (noted === undefined) return;
    const leftMs = Number(noted) - clock.nowMs();
    if (noted === open) return void this.begin(source, 'the sidecar ended before what it had missed was asked about again');
    if (!(leftMs > 0)) return;
    this.#runningUntilMs = Math.max(this.#runningUntilMs, clock.monotonicMs() + Math.min(leftMs, 2 * this.#windowMs));
    source.standing.gapUntil(this.#runningUntilMs);
  }

  /**
   * Something may have been missed until now. Whatever comes of it, it is said until everything has been asked about again. Resolves when a
   * restart would know of it; where the journal takes nothing, never.
   */
  begin(source: GapSource, why: string): Promise<void> {
    const { issuer, telemetry, stop } = this.#parts;
    telemetry.counter('sidegate_news_gaps_total', { source: `${issuer}/${source.name}` }).add();
    this.#last = { name: source.name, why };
    this.#missing.delete(source);
    const there = this.#unclosed.get(source);
    if (there !== undefined) return there.known;
    telemetry.log.warn({ issuer, source: source.name, why }, 'news may have been missed: everything of this issuer is asked about again');
    const noted = this.#note(source, open);
    const closed = this.#close(source, noted);
    closed.catch((error: unknown) => {
      // We stop: what is not written down is noted, and taken up at the next start.
      if (!stop.aborted) telemetry.log.error({ issuer, source: source.name, error }, 'a gap was not closed');
    });
    const known = new Promise<void>((resolve) => {
      for (const either of [noted, closed]) either.then(resolve, () => undefined);
    });
    this.#unclosed.set(source, { why, known, closed });
    return known;
  }

  /** Resolves when what it has missed until now is being asked about again, here; rejects when we stop. */
  async closed(source: GapSource): Promise<void> {
    await this.#unclosed.get(source)?.closed;
  }

  /** Another sidecar, which hears this source for us, has begun to ask about everything again, which is applied: it takes as long here. */
  begunElsewhere(source: GapSource): void {
    const { clock } = this.#parts;
    source.standing.gapUntil(this.#lastEndMs());
    if (this.#unclosed.has(source) || this.#missing.has(source)) return;
    const untilMs = Math.ceil(clock.nowMs() + this.#lastEndMs() - clock.monotonicMs());
    this.#note(source, String(untilMs)).catch((error: unknown) => this.#sayNotNoted(error));
  }

  /** It misses something from now on, and has a gap when it hears again. Resolves when a restart would know of that. */
  async missing(source: GapSource): Promise<void> {
    const { clock, stop } = this.#parts;
    this.#missing.add(source);
    while (!stop.aborted) {
      try {
        return await this.#note(source, open);
      } catch (error) {
        this.#sayNotNoted(error);
        await clock.delay(1000, stop).catch(() => undefined);
      }
    }
    await new Promise<never>(() => undefined);
  }

  /** A REFRESH of everything of the issuer, spread, has been applied, whoever has made it: ours may have to wait for the end of it. */
  everythingIsRefreshed(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (this.#isTrailed && nowMs >= this.#runningUntilMs) {
      this.#runningUntilMs += this.#windowMs;
      this.#isTrailed = false;
    }
    if (nowMs < this.#runningUntilMs) this.#isTrailed = true;
    else this.#runningUntilMs = nowMs + this.#windowMs;
  }

  async #close(source: GapSource, noted: Promise<void>): Promise<void> {
    const { clock } = this.#parts;
    const refreshed = noted.catch((error: unknown) => this.#sayNotNoted(error)).then(() => this.#runs.from(clock.monotonicMs()));
    await this.#held(source, refreshed);
    const leftMs = this.#lastEndMs() - clock.monotonicMs();
    source.standing.gapUntil(this.#lastEndMs());
    // What it has missed meanwhile is not closed yet.
    if (this.#unclosed.has(source) || this.#missing.has(source)) return;
    await this.#note(source, String(Math.ceil(clock.nowMs() + leftMs))).catch((error: unknown) => this.#sayNotNoted(error));
  }

  /** Waits for what closes the gap, and says that there is one for as long as that takes: the journal may take nothing. */
  async #held(source: GapSource, closing: Promise<void>): Promise<void> {
    const { clock } = this.#parts;
    const over = new AbortController();
    const closed = closing.finally(() => over.abort());
    while (!over.signal.aborted) {
      source.standing.gapUntil(clock.monotonicMs() + this.#windowMs);
      const half = clock.delay(this.#windowMs / 2, over.signal).catch(() => undefined);
      await Promise.race([closed, half]);
    }
    await closed;
  }

  async #refresh(): Promise<void> {
    const { looks, write, clock } = this.#parts;
    const forAll = [...this.#unclosed].find(([{ hearsForAll }]) => hearsForAll);
    const { name, why } = forAll ? { name: forAll[0].name, why: forAll[1].why } : this.#last;
    this.#unclosed.clear();
    await looks.one();
    const everything = { effect: 'REFRESH' as const, conditions: [], isWide: true as const };
    // A gap of another sidecar is not ours, whenever it was.
    const event = `${gapEvent}${why}`;
    await write({ id: `gap ${freshRequestId()}`, event, atMs: clock.nowMs(), about: [], invalidations: [everything] }, name);
  }

  #lastEndMs(): number {
    return this.#runningUntilMs + (this.#isTrailed ? this.#windowMs : 0);
  }

  async #note(source: GapSource, value: string): Promise<void> {
    await this.#parts.notes.note(this.#noteOf(source), value);
  }

  /** The journal itself says that it cannot be written; the gap is closed all the same, if it ever can. */
  #sayNotNoted(error: unknown): void {
    const { telemetry, issuer } = this.#parts;
    telemetry.log.debug({ issuer, error }, 'a gap was not noted');
  }

  #noteOf({ name }: GapSource): string {
    return `gap/${this.#parts.issuer}/${name}`;
  }
}
