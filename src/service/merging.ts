// REFRESHes of sources that repeat themselves: two entries in a settle window, however often they are told (S6).

import type { Clock } from '../ports.ts';
import type { Appended, Draft, Naming } from './invalidations.ts';

interface Window {
  /** Monotonic. */
  readonly untilMs: number;
  /** The one that stands for all that were told since the window began. */
  trailing: Promise<Appended> | undefined;
  /** It stands for more than the one that it is named after. */
  standsForMore: boolean;
}

/** Merges by selector and spread. Holds a window for each that was told within the last one. */
export class Merging {
  readonly #parts: { readonly clock: Clock; readonly settleMs: number };
  readonly #append: (draft: Draft, naming: Naming | undefined, signal: AbortSignal) => Promise<Appended>;
  readonly #windows = new Map<string, Window>();

  constructor(
    parts: { readonly clock: Clock; readonly settleMs: number },
    append: (draft: Draft, naming: Naming | undefined, signal: AbortSignal) => Promise<Appended>,
  ) {
    this.#parts = parts;
    this.#append = append;
  }

  /**
   * The first REFRESH of a selector is appended at once, those that follow within the settle window merge into one that is appended at
   * its end. Resolves when the one that stands for this call is applied.
   */
  announce(draft: Draft, signal: AbortSignal, naming?: Naming): Promise<Appended> {
    const { clock } = this.#parts;
    // A spread one does not stand for one that takes effect at once.
    const key = JSON.stringify([draft.selector, draft.spreadMs]);
    const nowMs = clock.monotonicMs();
    const open = this.#windows.get(key);
    if (!open || (nowMs >= open.untilMs && !open.trailing)) {
      this.#forgetEnded(nowMs);
      this.#open(key);
      return this.#append(draft, naming, signal);
    }
    if (open.trailing) open.standsForMore = true;
    open.trailing ??= clock
      .delay(open.untilMs - nowMs, signal)
      .finally(() => this.#open(key))
      .then(() => this.#append(draft, naming && { ...naming, standsForMore: open.standsForMore }, signal));
    return open.trailing;
  }

  /** They stand in the order of their ends: ten thousand selectors at once must not look at all of them each. */
  #forgetEnded(nowMs: number): void {
    for (const [key, window] of this.#windows) {
      if (nowMs < window.untilMs) return;
      if (!window.trailing) this.#windows.delete(key);
    }
  }

  #open(key: string): void {
    this.#windows.delete(key);
    this.#windows.set(key, { untilMs: this.#parts.clock.monotonicMs() + this.#parts.settleMs, trailing: undefined, standsForMore: false });
  }
}
