// Strangers can make up strings of the right shape: their revocations may fill neither the journal nor the index (S4).

import { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';

/** What is allowed of tokens of which only the shape is known. */
export interface UnverifiedLimits {
  /** For each giver (a listener, or who calls with a certificate): refilled evenly, and as many at once after a second of rest. */
  readonly perSecond: number;
  /** Alive at once, of all givers, since this process began. */
  readonly alive: number;
}

/** Buckets at once. A full one need not be kept, and an authority of certificates does not make so many callers in a second. */
const mostBuckets = 10_000;

interface Bucket {
  left: number;
  atMs: number;
}

/** One revocation that was allowed. */
export interface Spent {
  readonly untilMs: number;
}

/** Counts what strangers have had revoked. */
export class UnverifiedBudget {
  readonly #limits: UnverifiedLimits;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();
  readonly #alive = new Set<Spent>();

  constructor(limits: UnverifiedLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Takes one, until `untilMs` by the wall clock. Throws RESOURCE_EXHAUSTED / TOO_MANY_UNVERIFIED where there is none. */
  spend(giver: string, untilMs: number): Spent {
    const nowMs = this.#clock.nowMs();
    for (const one of this.#alive) if (one.untilMs <= nowMs) this.#alive.delete(one);
    if (this.#alive.size >= this.#limits.alive || !this.#fromBucket(giver)) {
      throw new SidecarError('RESOURCE_EXHAUSTED', 'too many revocations of tokens of which only the shape is known', {
        reason: 'TOO_MANY_UNVERIFIED',
        retryAfterMs: 1000,
      });
    }
    const spent = { untilMs };
    this.#alive.add(spent);
    return spent;
  }

  /** It was a token after all: no stranger's string is alive for it. */
  giveBack(spent: Spent): void {
    this.#alive.delete(spent);
  }

  #fromBucket(giver: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const { perSecond } = this.#limits;
    const bucket = this.#buckets.get(giver) ?? { left: perSecond, atMs: nowMs };
    if (this.#buckets.size >= mostBuckets) this.#forgetRested(nowMs);
    if (this.#buckets.size >= mostBuckets && !this.#buckets.has(giver)) return false;
    this.#buckets.set(giver, bucket);
    bucket.left = Math.min(perSecond, bucket.left + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

  #forgetRested(nowMs: number): void {
    for (const [giver, { atMs }] of this.#buckets) if (nowMs - atMs >= 1000) this.#buckets.delete(giver);
  }
}
