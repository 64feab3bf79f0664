import { expect, it } from 'vitest';
import { backoff } from '../../src/core/backoff.ts';

const limits = { firstMs: 500, longestMs: 10_000 };

it('waits as long as it is told to first, twice as long after each further failure, and never longer than the longest', () => {
  const waits = [0, 1, 2, 3, 4, 5, 6, 7, 1_000_000].map((failures) => backoff(limits, failures, () => 0));
  expect(waits).toEqual([500, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
});

it('takes off up to half at random', () => {
  expect(backoff(limits, 2, () => 0.5)).toBe(750);
  expect(backoff(limits, 20, () => 0.999_999)).toBeCloseTo(5_000, 0);
});
