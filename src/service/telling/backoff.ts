// How long to wait before something that failed is tried again.

const firstMs = 1000;
const longestMs = 300_000;

/**
 * In milliseconds, after so many failures in a row: 1 s, doubled by each further one, up to 5 minutes, less up to half at random, so
 * that what failed together does not come again together. What the other side asked for is kept to, up to 5 minutes.
 * `random`: from 0 to below 1.
 */
export function backoffMs(failures: number, retryAfterMs: number, random: () => number): number {
  const fullMs = Math.min(longestMs, firstMs * 2 ** Math.min(Math.max(0, failures - 1), 20));
  return Math.max(fullMs * (1 - random() / 2), Math.min(retryAfterMs, longestMs));
}
