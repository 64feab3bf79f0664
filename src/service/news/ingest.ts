// One source's way in: what it tells becomes entries, what it proves and admits is said of it.

import type { News, NewsSink, NewsSource, Telemetry } from '../../ports.ts';
import type { SourceStanding } from '../source-standing.ts';
import type { Cascades } from './cascades.ts';
import type { CrossCheck } from './cross-check.ts';
import type { Gaps } from './gaps.ts';
import type { Heard } from './heard.ts';
import type { LookFirst } from './look-first.ts';
import type { Looks } from './looks.ts';
import type { Named } from './named.ts';
import type { Writing } from './writing.ts';

/** What all sources of an issuer share. */
export interface SharedByIngests {
  readonly issuer: string;
  readonly writing: Writing;
  readonly heard: Heard;
  readonly looks: Looks;
  readonly lookFirst: LookFirst;
  readonly cascades: Cascades;
  readonly gaps: Gaps;
  /** Where one source can be held against another; of the one that announces. */
  readonly crossCheck: CrossCheck | undefined;
  /** Of the source that can be asked; absent: there is none. */
  readonly named: Named | undefined;
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
  readonly telemetry: Telemetry;
  readonly clockRead: (offsetMs: number) => void;
  /** Resolves when all that is applied here is in the log of the fleet; rejects when we stop. */
  readonly toldAll: () => Promise<void>;
}

/** The sink of one source. */
export class Ingest implements NewsSink {
  readonly source: NewsSource;
  readonly standing: SourceStanding;
  readonly #shared: SharedByIngests;
  readonly #caughtUp: () => void;
  readonly #delay: { observe(value: number): void };
  #hasProven = false;
  /** The last that was proven was heard by another sidecar. */
  #wasElsewhere = false;

  /** `caughtUp` is called once, when the source has told all that it had. */
  constructor(source: NewsSource, standing: SourceStanding, shared: SharedByIngests, caughtUp: () => void) {
    this.source = source;
    this.standing = standing;
    this.#shared = shared;
    this.#caughtUp = caughtUp;
    this.#delay = shared.telemetry.histogram('sidegate_news_delay_seconds', { source: this.#label });
    if (!this.hearsForAll) return;
    shared.telemetry.gauge('sidegate_news_pool_reader', { issuer: shared.issuer }, () => (source.hearsForAll?.() ? 1 : 0));
  }

  get name(): string {
    return this.source.name;
  }

  async tell(news: News): Promise<void> {
    const { heard, monotonicMs } = this.#shared;
    if (!this.#canBeAsked) heard.add(news, monotonicMs());
    await Promise.all([this.#write(news), this.#lookFirst(news), this.#cascade(news)]);
    // Nobody else is told it: it may go from where it came when the others have it.
    if (this.hearsForAll) await this.#shared.toldAll();
  }

  proven(throughMs: number, elsewhere?: { readonly isSuspect: boolean }): void {
    this.standing.proven(throughMs);
    if (!this.#canBeAsked) this.#check(throughMs, elsewhere);
    if (this.#hasProven) return;
    this.#hasProven = true;
    this.#caughtUp();
  }

  async gap(why: string): Promise<void> {
    const { crossCheck, gaps } = this.#shared;
    if (!this.#canBeAsked) crossCheck?.madeWhole();
    const known = gaps.begin(this, why);
    if (this.hearsForAll) await this.#knownToAll(gaps.closed(this));
    else await known;
  }

  async missing(): Promise<void> {
    // Of a queue of all the queue itself shows it, to whoever reads it next: our journal would show it to us alone.
    if (!this.hearsForAll) await this.#shared.gaps.missing(this);
  }

  isSuspect(): boolean {
    return !this.#canBeAsked && (this.#shared.crossCheck?.isSuspect ?? false);
  }

  /** One sidecar hears it for all. */
  get hearsForAll(): boolean {
    return this.source.hearsForAll !== undefined;
  }

  ignored(why: 'unreadable' | 'duplicate' | 'irrelevant'): void {
    this.#shared.telemetry.counter('sidegate_news_ignored_total', { source: this.#label, why }).add();
  }

  clockRead(offsetMs: number): void {
    this.#shared.clockRead(offsetMs);
  }

  /** It names revocations when it is asked, and is held against those that announce. */
  get #canBeAsked(): boolean {
    return this.source.look !== undefined;
  }

  get #label(): string {
    return `${this.#shared.issuer}/${this.source.name}`;
  }

  /** Only who hears what was announced can tell what was not. What another one thinks of it holds until it says otherwise, or we hear. */
  #check(throughMs: number, elsewhere: { readonly isSuspect: boolean } | undefined): void {
    const { crossCheck } = this.#shared;
    if (elsewhere === undefined && this.#wasElsewhere) this.standing.suspect(false);
    this.#wasElsewhere = elsewhere !== undefined;
    if (elsewhere === undefined) {
      crossCheck?.proven(throughMs);
      return;
    }
    crossCheck?.forget();
    this.standing.suspect(elsewhere.isSuspect);
  }

  /** Never rejects: who stops leaves it to the next one. */
  async #knownToAll(closed: Promise<void>): Promise<void> {
    try {
      await closed;
      await this.#shared.toldAll();
    } catch (error) {
      this.#shared.telemetry.log.debug({ source: this.#label, error }, 'a gap is left to whoever reads on');
      await new Promise<never>(() => undefined);
    }
  }

  async #write(news: News): Promise<void> {
    const { writing, nowMs, named } = this.#shared;
    this.standing.broughtNews(news.atMs);
    await Promise.all(news.invalidations.map((one, n) => writing.write(news, n, one, this.name)));
    // What had happened before we heard anything is late by nobody's fault.
    if (this.#hasProven) this.#delay.observe(Math.max(0, nowMs() - news.atMs) / 1000);
    if (this.#canBeAsked) named?.told(news);
  }

  async #lookFirst(news: News): Promise<void> {
    const { lookFirst, looks, writing } = this.#shared;
    if (news.lookFirst === undefined) return;
    if (news.lookFirst.length === 0) return void looks.pair();
    const first = news.invalidations.length;
    if (!(await lookFirst.holds(news))) return;
    await Promise.all(news.lookFirst.map((one, n) => writing.write(news, first + n, one, this.name)));
  }

  async #cascade(news: News): Promise<void> {
    const { cascades, writing } = this.#shared;
    if (news.mayCascadeFrom === undefined) return;
    const invalidations = await cascades.after(news.mayCascadeFrom);
    const first = news.invalidations.length + (news.lookFirst?.length ?? 0);
    await Promise.all(invalidations.map((one, n) => writing.write(news, first + n, one, this.name)));
  }
}
