// The clock of an authority, read from whole seconds.

import { describe, expect, it } from 'vitest';
import { clockOffset } from '../../src/core/clock-offset.ts';

const noonMs = Date.UTC(2026, 10, 21, 12, 0, 0);
const noon = 'Sat, 21 Nov 2026 12:00:00 GMT';

describe('the clock of an authority', () => {
  it.each([
    ['in the same second', { sentAtMs: noonMs, readAtMs: noonMs }, 0],
    ['at the end of the second', { sentAtMs: noonMs + 999, readAtMs: noonMs + 999 }, 0],
    ['written while the request was under way', { sentAtMs: noonMs - 500, readAtMs: noonMs + 500 }, 0],
    ['just after the second', { sentAtMs: noonMs + 1_001, readAtMs: noonMs + 1_001 }, -1],
    ['before the second', { sentAtMs: noonMs - 40, readAtMs: noonMs - 1 }, 1],
    ['a minute behind us', { sentAtMs: noonMs + 61_000, readAtMs: noonMs + 61_200 }, -60_000],
    ['a minute ahead of us', { sentAtMs: noonMs - 60_200, readAtMs: noonMs - 60_000 }, 60_000],
    ['a minute behind us, by a slow reply', { sentAtMs: noonMs + 65_000, readAtMs: noonMs + 70_000 }, -64_000],
  ])('%s differs by no more than is sure', (_when, ours, expected) => {
    expect(clockOffset(noon, ours)).toBe(expected);
  });

  // Five seconds behind us: who has found that out already must not take this for a clock that is right.
  it.each([
    { sentAtMs: noonMs + 2_000, readAtMs: noonMs + 7_000 },
    { sentAtMs: noonMs - 1_000, readAtMs: noonMs + 10_000 },
    { sentAtMs: noonMs, readAtMs: noonMs + 1_001 },
  ])('S1 a reply that was so long under way that it leaves open more than it shows says nothing', (ours) => {
    expect(clockOffset(noon, ours)).toBeUndefined();
  });

  it('one that took a second says it', () => {
    expect(clockOffset(noon, { sentAtMs: noonMs, readAtMs: noonMs + 1_000 })).toBe(0);
  });

  it.each(['', 'yesterday', '2026-11-21T12:00:00Z', 'Sat, 99 Nov 2026 12:00:00 GMT'])('is not read from "%s"', (date) => {
    expect(clockOffset(date, { sentAtMs: noonMs, readAtMs: noonMs })).toBeUndefined();
  });
});
