// A sink that keeps all it is told, for the tests of the poll.

import type { News, NewsSink } from '../../src/ports.ts';

/** What has come, oldest first. */
export interface RecordingSink extends NewsSink {
  readonly told: readonly News[];
  /** Monotonic, as they came. */
  readonly provenMs: readonly number[];
  readonly gaps: readonly string[];
  readonly ignoredWhy: readonly string[];
  readonly offsetsMs: readonly number[];
  /** All of that in one order: `tell ID`, `proven N`, `gap WHY`. A tell counts when it has resolved. */
  readonly order: readonly string[];
  /** From now on each tell is what this is; undefined: it resolves. */
  answerTells(by: ((news: News) => Promise<void>) | undefined): void;
}

/** An empty one. */
export function createRecordingSink(): RecordingSink {
  const told: News[] = [];
  const provenMs: number[] = [];
  const gaps: string[] = [];
  const ignoredWhy: string[] = [];
  const offsetsMs: number[] = [];
  const order: string[] = [];
  let answer: ((news: News) => Promise<void>) | undefined;
  return {
    told,
    provenMs,
    gaps,
    ignoredWhy,
    offsetsMs,
    order,
    answerTells(by) {
      answer = by;
    },
    async tell(news) {
      await answer?.(news);
      told.push(news);
      order.push(`tell ${news.id}`);
    },
    proven(throughMs) {
      provenMs.push(throughMs);
      order.push(`proven ${throughMs}`);
    },
    async gap(why) {
      gaps.push(why);
      order.push(`gap ${why}`);
    },
    missing: async () => undefined,
    ignored: (why) => void ignoredWhy.push(why),
    clockRead: (offsetMs) => void offsetsMs.push(offsetMs),
  };
}
