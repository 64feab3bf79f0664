// Milliseconds inside, Timestamp (as Date) and Duration on the wire.

import { SidecarError } from '../core/errors.ts';
import type { Duration } from '../gen/google/protobuf/duration.ts';

/** 9999-12-31T23:59:59.999Z: the last instant that google.protobuf.Timestamp can say. */
export const latestTimeMs = 253_402_300_799_999;

/** The longest google.protobuf.Duration, in seconds. */
const longestDurationSeconds = 315_576_000_000n;

/**
 * An instant for the wire. `undefined` for what is absent, and for what no Timestamp can say (`Infinity`: never).
 */
export function dateFromMs(ms: number | undefined): Date | undefined {
  return ms === undefined || !Number.isFinite(ms) || ms > latestTimeMs ? undefined : new Date(ms);
}

/**
 * Milliseconds since the epoch; `undefined` when absent.
 * Throws INVALID_ARGUMENT / TIME_OUT_OF_RANGE before 1970, after 9999, and for what is no time at all. `field` names it in the message.
 */
export function msFromDate(date: Date | undefined, field: string): number | undefined {
  if (date === undefined) return undefined;
  const ms = date.getTime();
  if (!(ms >= 0 && ms <= latestTimeMs)) {
    throw new SidecarError('INVALID_ARGUMENT', `${field} is not a time between 1970 and 9999`, { reason: 'TIME_OUT_OF_RANGE' });
  }
  return ms;
}

/** A span for the wire, in whole milliseconds rounded down (a permission must not grow). Negative counts as zero. */
export function durationFromMs(ms: number): Duration {
  const whole = Math.max(0, Math.floor(Math.min(ms, Number(longestDurationSeconds) * 1000)));
  return { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 };
}

/**
 * Whole milliseconds, rounded down; `undefined` when absent.
 * Throws INVALID_ARGUMENT / DURATION_OUT_OF_RANGE for a negative span and for what google.protobuf.Duration does not allow.
 */
export function msFromDuration(duration: Duration | undefined, field: string): number | undefined {
  if (duration === undefined) return undefined;
  const { seconds, nanos } = duration;
  if (seconds < 0n || seconds > longestDurationSeconds || nanos < 0 || nanos > 999_999_999) {
    throw new SidecarError('INVALID_ARGUMENT', `${field} is negative or too long`, { reason: 'DURATION_OUT_OF_RANGE' });
  }
  return Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
}
