// Whether the keys at hand are those of their Keystone: shown by tokens that Keystone itself vouches for.

import type { Clock } from '../ports.ts';
import type { KeysInUse, RepositoryKey } from './key-repository.ts';

/**
 * What a token that no key opens is: `wrong`: wrongly signed; `doubtful`: the same, as far as these keys go; `ask`: only Keystone can
 * tell, as the keys may not be its own, or not all of them.
 */
export type Unopened = 'wrong' | 'doubtful' | 'ask';

/** What is known of the keys whatever they are. */
export interface KeyTraits {
  /** Keystone makes tokens with one key at a time: what is older than a token that is open was made with an older key, or the same. */
  readonly oneAtATime: boolean;
  /** How far Keystone's clock may be ahead of ours. */
  readonly skewMs: number;
}

/** A token that Keystone vouches for, and that no key opens. Times as KeystoneClaims. */
export interface Vouched {
  readonly issuedAtMs: number;
  readonly endsAtMs: number;
}

/** Younger tokens than any that has been opened: so many are asked about at once, and one more each so often. */
const youngerAtOnce = 8;
const youngerEveryMs = 1_000;
/** Of older ones a sample: keys that make tokens no more may be missing here, and not there. */
const sampleEveryMs = 30_000;

/**
 * The evidence about one key set. A copy that has fallen behind, or of which a part is missing, must kill no good token, and strings
 * that are no tokens must not cost a question each. So a token that nothing opens is asked about until Keystone has vouched for one that
 * the keys do open; afterwards only now and then. Keystone accepting one that they do not open is the proof that they are out of step,
 * and then it is asked about everything, until keys have come and open younger ones.
 */
export class KeyProof<Key extends RepositoryKey> {
  readonly #clock: Clock;
  readonly #traits: KeyTraits;
  #opened: { readonly keyId: string; readonly issuedAtMs: number } | undefined;
  #unopened: (Vouched & { readonly generation: number }) | undefined;
  #ownIsUnopened = false;
  #left = youngerAtOnce;
  #leftSinceMs = Number.NEGATIVE_INFINITY;
  #sampledMs = Number.POSITIVE_INFINITY;

  constructor(traits: KeyTraits, clock: Clock) {
    this.#traits = traits;
    this.#clock = clock;
  }

  /** Keystone has accepted a token that none of its keys opens. */
  get isOutOfStep(): boolean {
    // When the last token that shows it has ended, nothing does: whatever comes under that key shows it anew.
    const until = this.#unopened?.endsAtMs ?? Number.NEGATIVE_INFINITY;
    return this.#ownIsUnopened || this.#clock.nowMs() < until;
  }

  /** Keystone has accepted a token that a key of the set in use has opened. */
  isProven({ keys }: KeysInUse<Key>): boolean {
    const by = this.#opened?.keyId;
    return by !== undefined && keys.some(({ id }) => id === by);
  }

  /** Keystone vouches for a token that `key` opens: it has given facts of it, or the token itself. */
  opened(key: RepositoryKey, issuedAtMs: number, { keys, generation }: KeysInUse<Key>): void {
    // It has left meanwhile: nothing is shown of those that are here.
    if (!keys.some(({ id }) => id === key.id)) return;
    if (this.#sampledMs === Number.POSITIVE_INFINITY) this.#sampledMs = this.#clock.monotonicMs();
    if (issuedAtMs >= (this.#opened?.issuedAtMs ?? Number.NEGATIVE_INFINITY)) this.#opened = { keyId: key.id, issuedAtMs };
    const before = this.#unopened;
    // Of several nodes of Keystone one may go on with a key that is here: as long as the keys here are the same, that mends nothing.
    if (before && generation > before.generation && issuedAtMs >= before.issuedAtMs) this.#unopened = undefined;
  }

  /** Keystone vouches for a token that none of the keys opens. */
  unopened(vouched: Vouched, { generation }: KeysInUse<Key>): void {
    const before = this.#unopened ?? { issuedAtMs: Number.NEGATIVE_INFINITY, endsAtMs: Number.NEGATIVE_INFINITY };
    const issuedAtMs = Math.max(before.issuedAtMs, vouched.issuedAtMs);
    this.#unopened = { issuedAtMs, endsAtMs: Math.max(before.endsAtMs, vouched.endsAtMs), generation };
  }

  /** Whether the token that this sidecar itself has of Keystone is one that the keys should open, and do not. */
  ownIsUnopened(is: boolean): void {
    this.#ownIsUnopened = is;
  }

  /**
   * What a token is that none of the keys in use opens. `claimedAtMs`: when it says it was issued. Each `ask` is counted, so call it once
   * for each token.
   */
  judge(claimedAtMs: number | undefined, inUse: KeysInUse<Key>): Unopened {
    const youngest = this.#opened;
    if (!youngest || !this.isProven(inUse) || this.isOutOfStep) return 'ask';
    // It could not be valid yet, whoever made it: most strings that are made up say so.
    if (claimedAtMs !== undefined && claimedAtMs > this.#clock.nowMs() + this.#traits.skewMs) return 'doubtful';
    if (claimedAtMs !== undefined && claimedAtMs <= youngest.issuedAtMs) {
      if (this.#isSample()) return 'ask';
      return this.#traits.oneAtATime ? 'wrong' : 'doubtful';
    }
    return this.#mayAsk() ? 'ask' : 'doubtful';
  }

  #isSample(): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sampledMs < sampleEveryMs) return false;
    this.#sampledMs = nowMs;
    return true;
  }

  #mayAsk(): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#left = Math.min(youngerAtOnce, this.#left + (nowMs - this.#leftSinceMs) / youngerEveryMs);
    this.#leftSinceMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
