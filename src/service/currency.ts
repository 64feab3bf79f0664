// Whether facts may be used for a question, and for how long an answer from them: S1, S6, S7, S13, S16 and W15 in one place.

import { currentnessOf, currentUntilMs, type Fetched, newestRefreshOf } from '../core/currentness.ts';
import type { Demand } from '../core/decision.ts';
import { type Covering, uncovered } from '../core/invalidation-index.ts';
import type { Clock } from '../ports.ts';
import { type Degradations, type DegradedPolicy, isAboutNews } from './degradation.ts';
import type { Invalidations } from './invalidations.ts';
import type { Known } from './known.ts';
import type { Question } from './question.ts';
import type { Use } from './use.ts';

/** What judging facts needs. */
export interface CurrencyParts {
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  /** S13. */
  readonly whenDegraded: DegradedPolicy;
  readonly clock: Clock;
  readonly settleMs: number;
  /** Facts are kept: otherwise an answer may not be repeated either. */
  readonly caching: boolean;
}

/** For tokens that never end, where facts serve until then: nobody needs an answer to be repeated for longer than a day. */
const longestMaxAgeMs = 86_400_000;
/** S13, `revalidate`: older facts of a degraded issuer are confirmed first. */
const confirmedForMs = 5000;

/** Judges facts by their age, by what has been invalidated since, by how current the news are, and by what a question makes of them. */
export class Currency {
  readonly #parts: CurrencyParts;

  constructor(parts: CurrencyParts) {
    this.#parts = parts;
  }

  /** What they are good for now. Young enough for the configuration and the question, they are at least in need (S7). */
  use(known: Known, question: Question): Use {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs >= known.freshUntilMs) return 'stale';
    const covering = this.#parts.invalidations.covering(known);
    // Dead whatever a fetch would say: no question to the authority, and an answer also while it is down.
    if (covering.revoked) return 'good';
    const { maxStalenessMs } = question;
    if (maxStalenessMs !== undefined && nowMs - known.began.monotonicMs > maxStalenessMs) return 'stale';
    if (question.more && !this.tellsOfItsEnd(known, question)) return 'stale';
    if (covering !== uncovered) {
      const currentness = currentnessOf(known.began, covering, { nowMs, settleMs: this.#settleMs(known) });
      if (currentness !== 'current') return currentness;
    }
    return this.#isDoubtful(known, nowMs) ? 'doubtful' : 'good';
  }

  /** By both clocks: news are behind on a machine that has slept, and its facts are as old as it has slept. */
  #isDoubtful(known: Known, nowMs: number): boolean {
    const { whenDegraded, degradations, clock } = this.#parts;
    if (whenDegraded !== 'revalidate' || !known.canAsk) return false;
    if (degradations.isSoundFor(nowMs)) return false;
    if (!isAboutNews(degradations.by(known.issuer.name))) return false;
    const { monotonicMs, wallMs } = known.began;
    return Math.max(nowMs - monotonicMs, clock.nowMs() - (clock.monotonicMs() - nowMs) - wallMs) > confirmedForMs;
  }

  /** An authority may have answered from before what it has announced; a signature says the same at all times (S6). */
  #settleMs({ provenance }: Known): number {
    return provenance === 'authority' ? this.#parts.settleMs : 0;
  }

  /** Where a token that has ended may be good: the facts were fetched after its end (S16). */
  tellsOfItsEnd(known: Known, question: Question): boolean {
    const { endsAtMs } = known.standing;
    const nowMs = this.#parts.clock.nowMs();
    // Past its window nothing makes it good.
    if (!question.more?.allowExpired || nowMs < endsAtMs || nowMs >= endsAtMs + known.issuer.expiredWithinMs) return true;
    return this.#beganAtMs(known) >= endsAtMs;
  }

  /** By our own wall clock: another host's may be ahead. */
  #beganAtMs({ began }: Known): number {
    const { clock } = this.#parts;
    return Math.min(began.wallMs, clock.nowMs() - (clock.monotonicMs() - began.monotonicMs));
  }

  /**
   * Facts that were there, or under way, when the call arrived: they were good enough then, and no REFRESH has come since (S6). `arrived`:
   * what had been applied then, and when that was.
   */
  suits(known: Known, arrived: Fetched, question: Question): boolean {
    const { began } = known;
    const { maxStalenessMs } = question;
    if (maxStalenessMs !== undefined && arrived.monotonicMs - began.monotonicMs > maxStalenessMs) return false;
    if (!this.tellsOfItsEnd(known, question) || this.#isDoubtful(known, arrived.monotonicMs)) return false;
    // What was asked since then is what it came for, whatever has come later: or each REFRESH under way would be one more question.
    if (began.monotonicMs >= arrived.monotonicMs && began.revision >= arrived.revision) return true;
    const covering = this.#parts.invalidations.covering(known);
    // A newer REFRESH hides the one whose window the flight may have begun in, so nothing can be told of that: one more flight.
    if (began.revision < newestRefreshOf(covering)) return false;
    return currentnessOf(began, covering, { nowMs: arrived.monotonicMs, settleMs: this.#settleMs(known) }) === 'current';
  }

  /** The demand of a question that takes the token beyond its end, as far as its facts tell of that (S16). */
  beyondItsEnd(known: Known, { demand, more }: Question): Demand | undefined {
    const isOthers = more?.expiredOf !== undefined && more.expiredOf !== known.issuer.name;
    if (isOthers || this.#beganAtMs(known) < known.standing.endsAtMs) return demand;
    return { ...demand, expiredWithinMs: known.issuer.expiredWithinMs };
  }

  /**
   * W15: the only permission to keep an answer. Ends with the facts, the token, the settle window, the token's slot and the caller's own
   * bound. A token with access rules gives none, unless the demand names the request: a near cache would not know which ones it was
   * asked for.
   */
  maxAgeMs(known: Known, covering: Covering, question: Question, nowMs: number): number {
    if (covering !== uncovered) {
      const judging = { nowMs: this.#parts.clock.monotonicMs(), settleMs: this.#settleMs(known) };
      const currentness = currentnessOf(known.began, covering, judging);
      // A REFRESH came while the answer was under way: the next one fetches.
      if (currentness === 'stale' || currentness === 'yielding') return 0;
    }
    return this.maxAgeInNeedMs(known, covering, question, nowMs);
  }

  /** The same where there is no room to fetch them: facts that a broad REFRESH has overtaken serve until their slot (S7). */
  maxAgeInNeedMs(known: Known, covering: Covering, { maxStalenessMs, demand }: Question, nowMs: number): number {
    if (!this.#parts.caching) return 0;
    if (known.standing.hasAccessRules && typeof demand?.access !== 'object') return 0;
    const monotonicMs = this.#parts.clock.monotonicMs();
    let endsInMs = Math.min(longestMaxAgeMs, known.freshUntilMs - monotonicMs, known.standing.endsAtMs - nowMs);
    if (covering !== uncovered) endsInMs = Math.min(endsInMs, currentUntilMs(known.began, covering, this.#settleMs(known)) - monotonicMs);
    if (maxStalenessMs !== undefined) endsInMs = Math.min(endsInMs, known.began.monotonicMs + maxStalenessMs - monotonicMs);
    return Math.max(0, Math.floor(endsInMs));
  }
}
