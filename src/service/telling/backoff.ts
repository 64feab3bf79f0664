// How long a letter waits before it is tried again.

import { backoff } from '../../core/backoff.ts';

const limits = { firstMs: 1000, longestMs: 300_000 } as const;

/**
 * In milliseconds, after so many failures in a row: 1 s, doubled by each further one, up to 5 minutes, less up to half at random. What
 * the other side asked for is kept to, up to 5 minutes. `random`: from 0 to below 1.
 */
export function backoffMs(failures: number, retryAfterMs: number, random: () => number): number {
  return Math.max(backoff(limits, failures, random), Math.min(retryAfterMs, limits.longestMs));
}
