// One source held against another: what the poll tells and the bus should have told makes the bus suspect (S10).

import type { Dimension } from '../../core/attributes.ts';
import type { Clock, News, Telemetry } from '../../ports.ts';
import type { SourceStanding } from '../source-standing.ts';
import { type Heard, sameHappeningMs } from './heard.ts';

/** What it needs. */
export interface CrossCheckParts {
  readonly issuer: string;
  readonly heard: Heard;
  /** Of the source that announces. */
  readonly standing: Pick<SourceStanding, 'suspect'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

interface Pending {
  readonly news: News;
  readonly id: string;
  readonly isUser: boolean;
  /** Monotonic. */
  readonly toldMs: number;
}

/** Keystone announces these; the revocation of one token it does not. */
const announced: ReadonlySet<Dimension> = new Set<Dimension>(['user', 'project', 'trust', 'client']);
const mostPending = 1_000;
/** One that cannot be judged for so long, as the announcing source is behind, is not judged: that is said already, and less is remembered. */
const longestMs = 60_000;

/** Judges the announcing source, each time that it proves something. */
export class CrossCheck {
  readonly #parts: CrossCheckParts;
  #pending: Pending[] = [];
  /** Since when the announcing source hears everything, by the wall clock; undefined: it has not proven anything yet. */
  #hearsSinceMs: number | undefined;
  /** Since when it is suspect, by the time of what it did not tell. */
  #suspectSinceMs: number | undefined;

  constructor(parts: CrossCheckParts) {
    this.#parts = parts;
  }

  /** Whether it has not told what the other one has. */
  get isSuspect(): boolean {
    return this.#suspectSinceMs !== undefined;
  }

  /** The other source has told this. */
  told(news: News): void {
    const [first] = news.invalidations;
    const [condition, more] = first?.conditions ?? [];
    const isAnnounced = first?.effect === 'REVOKE' && more === undefined && condition !== undefined && announced.has(condition.dimension);
    if (!isAnnounced || this.#pending.length >= mostPending) return;
    const toldMs = this.#parts.clock.monotonicMs();
    this.#pending.push({ news, id: condition.value, isUser: condition.dimension === 'user', toldMs });
  }

  /** The announcing source has told everything that it had until `throughMs` (monotonic). */
  proven(throughMs: number): void {
    const { clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    this.#hearsSinceMs ??= clock.nowMs() - (nowMs - throughMs);
    if (this.#pending.length === 0) return;
    const young = this.#pending.filter(({ toldMs }) => nowMs - toldMs < longestMs);
    const isDue = ({ toldMs }: Pending): boolean => toldMs + sameHappeningMs <= throughMs;
    this.#pending = young.filter((one) => !isDue(one));
    for (const one of young) if (isDue(one)) this.#judge(one);
  }

  /** It may have missed something, and has been made whole: what it has not told until now says nothing of it. */
  madeWhole(): void {
    this.forget();
    this.#parts.standing.suspect(false);
  }

  /** Another sidecar judges it: what was told until now is not held against it here. */
  forget(): void {
    this.#pending = [];
    this.#hearsSinceMs = undefined;
    this.#suspectSinceMs = undefined;
  }

  #judge({ news, id, isUser }: Pending): void {
    const { heard, standing, telemetry, issuer } = this.#parts;
    const { atMs, event } = news;
    const earliestMs = atMs - sameHappeningMs;
    // What was announced before it heard, and what has been forgotten since, says nothing.
    if (this.#hearsSinceMs === undefined || earliestMs < this.#hearsSinceMs || !heard.isComplete(earliestMs)) return;
    if (heard.hasNamed(id, atMs) || (isUser && heard.hasTouchedUsers(atMs))) {
      if (this.#suspectSinceMs === undefined || atMs <= this.#suspectSinceMs) return;
      this.#suspectSinceMs = undefined;
      standing.suspect(false);
      return;
    }
    telemetry.counter('sidegate_news_unannounced_total', { issuer }).add();
    if (this.#suspectSinceMs === undefined) {
      telemetry.log.warn({ issuer, event, atMs, id }, 'the bus has not told what the poll has: look at what Keystone publishes, and where');
    }
    this.#suspectSinceMs = Math.max(atMs, this.#suspectSinceMs ?? atMs);
    standing.suspect(true);
  }
}
