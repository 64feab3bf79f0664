// Whether the keys at hand are those of their Keystone: shown by tokens that Keystone itself vouches for.

import type { Clock } from '../ports.ts';
import type { KeysInUse, RepositoryKey } from './key-repository.ts';

/**
 * What a token that no key opens is: `wrong`: wrongly signed, as far as these keys go, which is never certain: one of Keystone's may be
 * missing here; `ask`: Keystone is to tell, as the keys may not be its own, or not all of them.
 */
export type Unopened = 'wrong' | 'ask';

/** What is known of the keys whatever they are. */
export interface KeyTraits {
  /** Keystone makes tokens with one key at a time: what is from between two tokens that are open was made with a key between theirs. */
  readonly oneAtATime: boolean;
  /** How far Keystone's clock may be ahead of ours. */
  readonly skewMs: number;
}

/** A token that Keystone vouches for, and that no key opens. Times as KeystoneClaims. */
export interface Vouched {
  readonly issuedAtMs: number;
  readonly endsAtMs: number;
}

/** When the tokens were issued that one key has opened. */
interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Tokens from before all that have been opened, and from after them: of either so many are asked about at once, and one more each so often. */
const beyondAtOnce = 8;
const beyondEveryMs = 1_000;
/** Of those from between tokens that are open a sample: a key may be missing here in the middle, or some nodes go on with an old one. */
const sampleEveryMs = 30_000;

/**
 * The evidence about one key set. A copy that has fallen behind, or of which a part is missing, must kill no good token, and strings that
 * are no tokens must not cost a question each. So a token that nothing opens is asked about until Keystone has vouched for one that the
 * keys do open; afterwards a few of those from before and after what they have opened, and of the others only now and then. A copy may
 * lack what comes after the keys that it has as well as what comes before. Keystone accepting one that they do not open is the proof that
 * they are out of step, and then it is asked about everything, until keys have come and open younger ones.
 */
export class KeyProof<Key extends RepositoryKey> {
  readonly #clock: Clock;
  readonly #traits: KeyTraits;
  /** By key, of those in use when a token was last opened: no more than there are keys in a set. */
  readonly #opened = new Map<string, Span>();
  #unopened: (Vouched & { readonly generation: number }) | undefined;
  #ownIsUnopened = false;
  readonly #mayAskOlder: () => boolean;
  readonly #mayAskYounger: () => boolean;
  #sampledMs = Number.POSITIVE_INFINITY;

  constructor(traits: KeyTraits, clock: Clock) {
    this.#traits = traits;
    this.#clock = clock;
    // Apart: who keeps bringing what is of long ago takes no question from a key that has just begun.
    this.#mayAskOlder = allowance(clock);
    this.#mayAskYounger = allowance(clock);
  }

  /** Keystone has accepted a token that none of its keys opens. */
  get isOutOfStep(): boolean {
    // When the last token that shows it has ended, nothing does: whatever comes under that key shows it anew.
    const until = this.#unopened?.endsAtMs ?? Number.NEGATIVE_INFINITY;
    return this.#ownIsUnopened || this.#clock.nowMs() < until;
  }

  /** Keystone has accepted a token that a key of the set in use has opened. */
  isProven({ keys }: KeysInUse<Key>): boolean {
    return keys.some(({ id }) => this.#opened.has(id));
  }

  /** Keystone vouches for a token that `key` opens: it has given facts of it, or the token itself. */
  opened(key: RepositoryKey, issuedAtMs: number, { keys, generation }: KeysInUse<Key>): void {
    // It has left meanwhile: nothing is shown of those that are here.
    if (!keys.some(({ id }) => id === key.id)) return;
    if (this.#sampledMs === Number.POSITIVE_INFINITY) this.#sampledMs = this.#clock.monotonicMs();
    const { fromMs, untilMs } = this.#opened.get(key.id) ?? { fromMs: issuedAtMs, untilMs: issuedAtMs };
    this.#opened.set(key.id, { fromMs: Math.min(fromMs, issuedAtMs), untilMs: Math.max(untilMs, issuedAtMs) });
    for (const keyId of this.#opened.keys()) if (!keys.some(({ id }) => id === keyId)) this.#opened.delete(keyId);
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
    if (!this.isProven(inUse) || this.isOutOfStep) return 'ask';
    // It could not be valid yet, whoever made it: most strings that are made up say so.
    if (claimedAtMs !== undefined && claimedAtMs > this.#clock.nowMs() + this.#traits.skewMs) return 'wrong';
    return this.#isAsked(claimedAtMs ?? Number.POSITIVE_INFINITY, inUse) ? 'ask' : 'wrong';
  }

  #isAsked(claimedAtMs: number, { keys }: KeysInUse<Key>): boolean {
    const spans = keys.flatMap(({ id }) => this.#opened.get(id) ?? []);
    if (spans.every(({ untilMs }) => untilMs < claimedAtMs)) return this.#mayAskYounger();
    // Where each node has a key of its own, tokens of others say nothing of a key that is missing.
    const isBetween = this.#traits.oneAtATime && spans.some(({ fromMs }) => fromMs <= claimedAtMs);
    return isBetween ? this.#isSample() : this.#mayAskOlder();
  }

  #isSample(): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sampledMs < sampleEveryMs) return false;
    this.#sampledMs = nowMs;
    return true;
  }
}

/** Says whether one more may be asked about, and counts it. */
function allowance(clock: Clock): () => boolean {
  let left = beyondAtOnce;
  let sinceMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = clock.monotonicMs();
    left = Math.min(beyondAtOnce, left + (nowMs - sinceMs) / beyondEveryMs);
    sinceMs = nowMs;
    if (left < 1) return false;
    left -= 1;
    return true;
  };
}
