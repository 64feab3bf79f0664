// How long is waited before another try.

import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../../src/service/telling/backoff.ts';

describe('the wait after failures', () => {
  it('is doubled from one second to five minutes, however many there were', () => {
    expect([1, 2, 3, 9, 10, 10_000].map((failures) => backoffMs(failures, 0, () => 0))).toEqual([
      1000, 2000, 4000, 256_000, 300_000, 300_000,
    ]);
  });

  it('is shorter by up to half at random', () => {
    expect([0, 0.5, 0.75].map((random) => backoffMs(2, 0, () => random))).toEqual([2000, 1500, 1250]);
  });

  it('is not shorter than what the other side asks for, up to five minutes', () => {
    expect([0, 30_000, 3_600_000].map((retryAfterMs) => backoffMs(1, retryAfterMs, () => 0.5))).toEqual([750, 30_000, 300_000]);
  });
});
