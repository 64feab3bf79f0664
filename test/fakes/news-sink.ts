// A sink that remembers everything that a source says, and keeps news when and as the test wants.

import { vi } from 'vitest';
import type { News, NewsSink } from '../../src/ports.ts';

/** A NewsSink in the hands of a test. */
export interface FakeNewsSink extends NewsSink {
  /** Every call of `tell`, in order; news that were told again are here again. */
  readonly told: readonly News[];
  /** News whose telling has resolved. */
  readonly kept: readonly News[];
  /** Every moment that was proven, in order. */
  readonly proofs: readonly number[];
  readonly gaps: readonly string[];
  /** How often it was told that something is missed from now on. */
  readonly missings: number;
  readonly ignoredAs: readonly string[];
  /** What happened, in one order: `told ID`, `kept ID`, `proven`, `gap`. */
  readonly order: readonly string[];
  /** Calls of `tell` under way, and the most there ever were. */
  readonly telling: { readonly now: number; readonly most: number };
  /** The next `count` tellings are rejected. */
  reject(count: number): void;
  /** From now on tellings wait, until the function is called. */
  hold(): () => void;
  /** From now on nobody knows whether a restart would know of a gap, or that something is missed, until the function is called. */
  holdNotes(): () => void;
  /** Those about `id`. */
  about(id: string): readonly News[];
  /** Waits until `condition` holds, however slow the machine is. */
  until(condition: () => boolean, what: string): Promise<void>;
}

/** For what takes milliseconds, or seconds where a dead connection must be noticed first. */
const patienceMs = 120_000;

/** One that keeps everything at once. */
export function createNewsSink(): FakeNewsSink {
  const told: News[] = [];
  const kept: News[] = [];
  const proofs: number[] = [];
  const gaps: string[] = [];
  const ignoredAs: string[] = [];
  const order: string[] = [];
  const telling = { now: 0, most: 0 };
  let toReject = 0;
  let missings = 0;
  let held: Promise<void> | undefined;
  let notes: Promise<void> | undefined;

  return {
    told,
    kept,
    proofs,
    gaps,
    ignoredAs,
    order,
    telling,
    get missings() {
      return missings;
    },
    async tell(news) {
      told.push(news);
      order.push(`told ${news.id}`);
      telling.now += 1;
      telling.most = Math.max(telling.most, telling.now);
      const fails = toReject > 0;
      if (fails) toReject -= 1;
      try {
        await held;
        if (fails) throw new Error('the journal has failed');
        kept.push(news);
        order.push(`kept ${news.id}`);
      } finally {
        telling.now -= 1;
      }
    },
    proven(throughMs) {
      proofs.push(throughMs);
      order.push('proven');
    },
    async gap(why) {
      gaps.push(why);
      order.push('gap');
      await notes;
    },
    async missing() {
      missings += 1;
      await notes;
    },
    ignored(why) {
      ignoredAs.push(why);
    },
    reject(count) {
      toReject = count;
    },
    hold() {
      let release = (): void => undefined;
      held = new Promise((resolve) => {
        release = resolve;
      });
      return () => {
        held = undefined;
        release();
      };
    },
    holdNotes() {
      let release = (): void => undefined;
      notes = new Promise((resolve) => {
        release = resolve;
      });
      return () => {
        notes = undefined;
        release();
      };
    },
    about: (id) => told.filter((news) => news.about.includes(id)),
    until: (condition, what) =>
      vi.waitFor(
        () => {
          if (!condition()) throw new Error(`it has not come to this: ${what}; ${order.slice(-10).join(', ')}; gaps: ${gaps.join(', ')}`);
        },
        { timeout: patienceMs, interval: 10 },
      ),
  };
}
