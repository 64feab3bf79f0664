// Whether facts may be used for a question, and for how long an answer from them: S1, S6, S16 and W15 in one place.

import type { Demand } from '../core/decision.ts';
import type { Covering } from '../core/invalidation-index.ts';
import type { Clock } from '../ports.ts';
import type { Invalidations } from './invalidations.ts';
import type { Known } from './known.ts';
import type { Question } from './question.ts';

/** What judging facts needs. */
export interface CurrencyParts {
  readonly invalidations: Invalidations;
  readonly clock: Clock;
  readonly settleMs: number;
  /** Facts are kept: otherwise an answer may not be repeated either. */
  readonly caching: boolean;
}

/** For tokens that never end, where facts serve until then: nobody needs an answer to be repeated for longer than a day. */
const longestMaxAgeMs = 86_400_000;

/** Judges facts by their age, by what has been invalidated since, and by what a question makes of them. */
export class Currency {
  readonly #parts: CurrencyParts;

  constructor(parts: CurrencyParts) {
    this.#parts = parts;
  }

  /** Young enough for the configuration and the question, learned after every REFRESH that matches, and settled (S1, S6). */
  isUsable(known: Known, question: Question): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs >= known.freshUntilMs) return false;
    const covering = this.#parts.invalidations.covering(known);
    // Dead whatever a fetch would say: no question to the authority, and an answer also while it is down.
    if (covering.revoked) return true;
    const { maxStalenessMs } = question;
    if (maxStalenessMs !== undefined && nowMs - known.began.monotonicMs > maxStalenessMs) return false;
    if (known.began.revision < covering.refreshRevision) return false;
    if (question.more && !this.#tellsOfItsEnd(known, question)) return false;
    return !this.#isProvisional(known, covering) || nowMs < this.#settledFromMs(covering);
  }

  /** Where a token that has ended may be good: the facts were fetched after its end (S16). */
  #tellsOfItsEnd(known: Known, question: Question): boolean {
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

  /** The fetch began so soon after a matching REFRESH that the authority may have answered from before it (S6). */
  #isProvisional(known: Known, covering: Covering): boolean {
    return known.provenance === 'authority' && known.began.monotonicMs < this.#settledFromMs(covering);
  }

  #settledFromMs(covering: Covering): number {
    return covering.refreshAppliedMs + this.#parts.settleMs;
  }

  /** Facts that were there, or under way, when the call arrived: young enough, and not provisional beyond their window (S6). */
  suits(known: Known, arrivedMs: number, question: Question): boolean {
    const { maxStalenessMs } = question;
    if (maxStalenessMs !== undefined && arrivedMs - known.began.monotonicMs > maxStalenessMs) return false;
    const covering = this.#parts.invalidations.covering(known);
    // A newer REFRESH hides the one whose window the flight may have begun in, so nothing can be told of that: one more flight.
    if (known.began.revision < covering.refreshRevision) return false;
    if (!this.#tellsOfItsEnd(known, question)) return false;
    return !this.#isProvisional(known, covering) || arrivedMs < this.#settledFromMs(covering);
  }

  /** The demand of a question that takes the token beyond its end, as far as its facts tell of that (S16). */
  beyondItsEnd(known: Known, { demand, more }: Question): Demand | undefined {
    const isOthers = more?.expiredOf !== undefined && more.expiredOf !== known.issuer.name;
    if (isOthers || this.#beganAtMs(known) < known.standing.endsAtMs) return demand;
    return { ...demand, expiredWithinMs: known.issuer.expiredWithinMs };
  }

  /**
   * W15: the only permission to keep an answer. Ends with the facts, the token, the settle window and the caller's own bound. A token
   * with access rules gives none, unless the demand names the request: a near cache would not know which ones it was asked for.
   */
  maxAgeMs(known: Known, covering: Covering, { maxStalenessMs, demand }: Question, nowMs: number): number {
    if (!this.#parts.caching) return 0;
    if (known.standing.hasAccessRules && typeof demand?.access !== 'object') return 0;
    // A REFRESH came while the answer was under way: the next one fetches.
    if (known.began.revision < covering.refreshRevision) return 0;
    const monotonicMs = this.#parts.clock.monotonicMs();
    let endsInMs = Math.min(longestMaxAgeMs, known.freshUntilMs - monotonicMs, known.standing.endsAtMs - nowMs);
    if (this.#isProvisional(known, covering)) endsInMs = Math.min(endsInMs, this.#settledFromMs(covering) - monotonicMs);
    if (maxStalenessMs !== undefined) endsInMs = Math.min(endsInMs, known.began.monotonicMs + maxStalenessMs - monotonicMs);
    return Math.max(0, Math.floor(endsInMs));
  }
}
