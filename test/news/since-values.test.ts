// The seconds that lists are asked for from: none of them twice in an hour, and none remembered for longer.

import { expect, it } from 'vitest';
import { SinceValues } from '../../src/news/since-values.ts';

const hourMs = 3_600_000;

it('a second is given out once in an hour, by whomever', () => {
  const since = new SinceValues();
  since.spend(9_999, 0);
  expect([since.take(10_000, 1), since.take(10_999, 2), since.take(9_000, 3)]).toEqual([10_000, 8_000, 7_000]);
  expect(since.take(10_500, hourMs + 2)).toBe(10_000);
});

it('what others ask is not remembered for longer than that, also by who asks nothing itself', () => {
  const since = new SinceValues();
  for (let second = 0; second < 100_000; second += 2) since.spend(second * 1_000, second * 1_000);
  expect(since.size).toBe(1_801);
});
