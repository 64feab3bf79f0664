// Whose turn it is to ask where one sidecar polls for a fleet: whoever has asked goes on, unless it is slow and another one is not.

import type { Clock, HeardQuestion } from '../ports.ts';

/** What it needs. */
export interface PollTurnsParts {
  readonly everyMs: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** From 0 to below 1, for jitter. */
  readonly random: () => number;
  /** How many others are there. */
  readonly others: () => number;
}

/** Whoever has asked goes on before those who have heard of it: they wait so much longer, at random; a part of the interval, and milliseconds. */
const othersWaitLonger = 0.5;
const othersWaitLongestMs = 1_000;
/** One that takes very long is waited for so much longer, at most, in milliseconds. */
const longestTakingMs = 5_000;
/** What takes longer than that, and than the interval, is slow. */
const slowMs = 1_000;
/** Of all who hear of a slow one so many do not wait for it, at random, but try whether they are faster; each once in so long. */
const tries = 2;
const tryEachMs = 60_000;

/** One sidecar's turns. */
export class PollTurns {
  readonly #parts: PollTurnsParts;
  readonly #slowMs: number;
  /** Our last one, monotonic. */
  #last = { beganMs: 0, endedMs: 0 };
  /** When the newest began that was not slow, whoever asked. */
  #fastMs = Number.NEGATIVE_INFINITY;
  /** When we have last tried in vain, or been slow. */
  #triedMs = Number.NEGATIVE_INFINITY;
  /** The next one of ours, or the one that runs, is to show whether we are faster. */
  #willTry = false;
  #isTrying = false;
  #notBeforeMs = 0;

  constructor(parts: PollTurnsParts) {
    this.#parts = parts;
    this.#slowMs = Math.max(slowMs, parts.everyMs);
  }

  /** Monotonic: when ours begins at the earliest, as others ask. */
  get notBeforeMs(): number {
    return this.#notBeforeMs;
  }

  /** Ours begins. */
  begin(): void {
    const beganMs = this.#parts.clock.monotonicMs();
    this.#last = { beganMs, endedMs: Number.POSITIVE_INFINITY };
    if (this.#willTry) this.#triedMs = beganMs;
    this.#isTrying = this.#willTry;
    this.#willTry = false;
  }

  /** Ours is answered. Answers whether the others are to hear of it: not of one that was to be faster, and is not. */
  answered(): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    const isSlow = nowMs - this.#last.beganMs > this.#slowMs;
    this.#triedMs = isSlow ? nowMs : Number.NEGATIVE_INFINITY;
    if (!isSlow) this.#fastMs = Math.max(this.#fastMs, this.#last.beganMs);
    return !(isSlow && this.#isTrying);
  }

  /** Ours is over, whatever came of it. */
  end(): void {
    this.#last = { ...this.#last, endedMs: this.#parts.clock.monotonicMs() };
  }

  /** Another has asked just now. */
  heard({ beganMs, tookMs }: Pick<HeardQuestion, 'beganMs' | 'tookMs'>): void {
    const { everyMs, clock, random, others } = this.#parts;
    const nowMs = clock.monotonicMs();
    const isSlow = tookMs > this.#slowMs;
    // Somebody has asked since, and was faster: that one goes on.
    if (isSlow && beganMs < this.#fastMs) return;
    if (!isSlow) this.#fastMs = Math.max(this.#fastMs, beganMs);
    const ours = this.#last;
    const isOursSlow = Math.min(ours.endedMs, nowMs) - ours.beganMs > this.#slowMs;
    // Of two that overlap whoever began first goes on, unless that one alone is slow.
    if (beganMs >= ours.beganMs && beganMs <= ours.endedMs && (isSlow || !isOursSlow)) return;
    this.#willTry = isSlow && nowMs - this.#triedMs > tryEachMs && random() * others() < tries;
    const longerMs = Math.min(everyMs * othersWaitLonger, othersWaitLongestMs) * random();
    this.#notBeforeMs = nowMs + everyMs + longerMs + (this.#willTry ? 0 : Math.min(tookMs, longestTakingMs));
  }
}
