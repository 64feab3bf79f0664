// Times and spans: what is read is what was written, and nothing else is read.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dateFromMs, durationFromMs, latestTimeMs, msFromDate, msFromDuration } from '../../src/wire/time.ts';

const reason = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return (error as { reason: unknown }).reason;
  }
};

describe('times of the wire', () => {
  it('an instant comes back as it went', () => {
    fc.assert(fc.property(fc.nat({ max: latestTimeMs }), (ms) => msFromDate(dateFromMs(ms), 'x') === ms));
  });

  it('what never comes, and what is absent, is not sent', () => {
    expect(dateFromMs(Number.POSITIVE_INFINITY)).toBeUndefined();
    expect(dateFromMs(latestTimeMs + 1)).toBeUndefined();
    expect(dateFromMs(undefined)).toBeUndefined();
    expect(msFromDate(undefined, 'x')).toBeUndefined();
  });

  it.each([new Date(-1), new Date(latestTimeMs + 1), new Date(Number.NaN)])('%s is refused', (date) => {
    expect(reason(() => msFromDate(date, 'issued_before'))).toBe('TIME_OUT_OF_RANGE');
  });

  it('a span comes back as it went, in whole milliseconds', () => {
    fc.assert(fc.property(fc.nat({ max: 10_000_000_000 }), (ms) => msFromDuration(durationFromMs(ms), 'x') === ms));
  });

  it('a span never grows: it is rounded down, and a negative one is none', () => {
    expect(durationFromMs(1999.9)).toEqual({ seconds: 1n, nanos: 999_000_000 });
    expect(durationFromMs(-5)).toEqual({ seconds: 0n, nanos: 0 });
    expect(msFromDuration({ seconds: 0n, nanos: 999_999 }, 'x')).toBe(0);
  });

  it.each([
    { seconds: -1n, nanos: 0 },
    { seconds: 0n, nanos: -1 },
    { seconds: 0n, nanos: 1_000_000_000 },
    { seconds: 315_576_000_001n, nanos: 0 },
  ])('a span of $seconds s and $nanos ns is refused', (duration) => {
    expect(reason(() => msFromDuration(duration, 'max_staleness'))).toBe('DURATION_OUT_OF_RANGE');
  });

  it('the longest span is accepted', () => {
    expect(msFromDuration({ seconds: 315_576_000_000n, nanos: 0 }, 'x')).toBe(315_576_000_000_000);
  });
});
