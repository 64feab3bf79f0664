// The pace of an authority: what 99 of its 100 latest answers did not exceed.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pace } from '../../src/service/pace.ts';

describe('Pace', () => {
  it('is what somebody else says, until something has been seen', () => {
    const pace = new Pace();
    expect(pace.p99(500)).toBe(500);
    pace.observe(3);

    expect(pace.p99(500)).toBe(3);
  });

  it('leaves the slowest of a hundred out, and nothing of fewer', () => {
    const pace = new Pace();
    for (let n = 1; n <= 99; n += 1) pace.observe(10);
    pace.observe(9000);
    expect(pace.p99(0)).toBe(10);
    const few = new Pace();
    for (const ms of [10, 10, 9000]) few.observe(ms);

    expect(few.p99(0)).toBe(9000);
  });

  it('agrees with sorting the latest 128, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60_000), { minLength: 1, maxLength: 400 }), (durations) => {
        const pace = new Pace();
        for (const ms of durations) pace.observe(ms);
        const latest = durations.slice(-128).sort((a, b) => a - b);
        const atMost = (ms: number): number => latest.filter((one) => one <= ms).length;
        const p99 = pace.p99(-1);
        expect(latest).toContain(p99);
        expect(atMost(p99)).toBeGreaterThanOrEqual(0.99 * latest.length);
        expect(atMost(p99 - 1)).toBeLessThan(0.99 * latest.length);
      }),
    );
  });
});
