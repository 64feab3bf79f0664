// How current one source of news is: through when it has proven that everything has come here (S13).

import type { Moment, WallMoments } from './wall-moments.ts';

/** What whoever turns news into entries says of a source. */
export interface SourceStanding {
  /** Everything that the source had until `throughMs` (monotonic) is applied here. */
  proven(throughMs: number): void;
  /** It brought news, at `atMs` by the wall clock. */
  broughtNews(atMs: number): void;
  /** What it may have missed has not taken effect everywhere before `untilMs` (monotonic); later ones extend it. */
  gapUntil(untilMs: number): void;
  /** Another source has told what this one should have told, or that is over. */
  suspect(is: boolean): void;
}

/** How it is, for status and checkpoints; times by the wall clock. */
export interface SourceState {
  readonly issuer: string;
  readonly name: string;
  /** Everything from before then has come here. Absent: it has not proven anything yet. */
  readonly lastAliveAtMs?: number;
  readonly lastNewsAtMs?: number;
  /** Since when it cannot be relied on: behind, suspect, or with a gap. Absent: it can. */
  readonly degradedSinceMs?: number;
  readonly isBehind: boolean;
}

/** What is wrong with it, each since when by the wall clock; and the moments after which that may be otherwise without anybody saying so. */
export interface SourceVerdict {
  readonly behindSinceMs?: number;
  readonly suspectSinceMs?: number;
  readonly gapSinceMs?: number;
  readonly until: Moment;
}

/** One source. */
export class Source implements SourceStanding {
  readonly issuer: string;
  readonly name: string;
  readonly #moments: WallMoments;
  readonly #maxLagMs: number;
  readonly #changed: () => void;
  /** Before it has proven anything: since when it is there. */
  #through: Moment;
  #hasProven = false;
  #newsAtMs: number | undefined;
  #gapUntilMs = -Infinity;
  #gapSinceMs: number | undefined;
  #suspectSinceMs: number | undefined;

  constructor(
    { issuer, name }: { readonly issuer: string; readonly name: string },
    { moments, maxLagMs, changed }: { readonly moments: WallMoments; readonly maxLagMs: number; readonly changed: () => void },
  ) {
    this.issuer = issuer;
    this.name = name;
    this.#moments = moments;
    this.#maxLagMs = maxLagMs;
    this.#changed = changed;
    this.#through = moments.look();
  }

  proven(throughMs: number): void {
    if (this.#hasProven && throughMs < this.#through.monotonicMs) return;
    this.#hasProven = true;
    this.#through = { monotonicMs: throughMs, wallMs: this.#moments.wallOf(throughMs) };
    this.#changed();
  }

  broughtNews(atMs: number): void {
    this.#newsAtMs = Math.max(atMs, this.#newsAtMs ?? atMs);
  }

  gapUntil(untilMs: number): void {
    const { monotonicMs, wallMs } = this.#moments.look();
    if (untilMs <= monotonicMs) return;
    if (this.#gapUntilMs <= monotonicMs) this.#gapSinceMs = wallMs;
    this.#gapUntilMs = Math.max(this.#gapUntilMs, untilMs);
    this.#changed();
  }

  suspect(is: boolean): void {
    if (is === (this.#suspectSinceMs !== undefined)) return;
    this.#suspectSinceMs = is ? this.#moments.look().wallMs : undefined;
    this.#changed();
  }

  /**
   * Behind from the first moment on until it proves one: what it had to tell while we were not there may be about facts that others have
   * kept, in the shared tier and in near caches. By both clocks: a machine that has slept is behind by the wall clock alone, and one whose
   * clock was set back by the other one.
   */
  verdict(now: Moment): SourceVerdict {
    const { monotonicMs, wallMs } = this.#through;
    const lateMs = this.#hasProven ? this.#maxLagMs : 0;
    const isBehind = !this.#hasProven || now.monotonicMs - monotonicMs > this.#maxLagMs || now.wallMs - wallMs > this.#maxLagMs;
    const hasGap = now.monotonicMs < this.#gapUntilMs;
    return {
      ...(isBehind ? { behindSinceMs: Math.min(wallMs + lateMs, now.wallMs) } : {}),
      ...(this.#suspectSinceMs === undefined ? {} : { suspectSinceMs: this.#suspectSinceMs }),
      ...(hasGap ? { gapSinceMs: this.#gapSinceMs ?? now.wallMs } : {}),
      until: {
        monotonicMs: Math.min(isBehind ? Infinity : monotonicMs + this.#maxLagMs, hasGap ? this.#gapUntilMs : Infinity),
        wallMs: isBehind ? Infinity : wallMs + this.#maxLagMs,
      },
    };
  }

  state(now: Moment): SourceState {
    const { behindSinceMs, suspectSinceMs, gapSinceMs } = this.verdict(now);
    const since = [behindSinceMs, suspectSinceMs, gapSinceMs].filter((ms) => ms !== undefined);
    return {
      issuer: this.issuer,
      name: this.name,
      ...(this.#hasProven ? { lastAliveAtMs: this.#through.wallMs } : {}),
      ...(this.#newsAtMs === undefined ? {} : { lastNewsAtMs: this.#newsAtMs }),
      ...(since.length === 0 ? {} : { degradedSinceMs: Math.min(...since) }),
      isBehind: behindSinceMs !== undefined,
    };
  }

  /** Everything from before then has come, by the wall clock as it is now; of one that is not behind. */
  provenThroughMs(now: Moment): number {
    const { monotonicMs, wallMs } = this.#through;
    return Math.min(wallMs, now.wallMs - (now.monotonicMs - monotonicMs));
  }
}
