// How long to wait before something that failed is tried again.

/** The shortest and the longest wait, in milliseconds. */
export interface BackoffLimits {
  readonly firstMs: number;
  readonly longestMs: number;
}

/**
 * In milliseconds, after so many failures in a row: the first wait, doubled by each further failure, up to the longest, less up to half
 * at random, so that what failed together does not come again together. `random`: from 0 to below 1.
 */
export function backoff({ firstMs, longestMs }: BackoffLimits, failures: number, random: () => number): number {
  const fullMs = Math.min(longestMs, firstMs * 2 ** Math.min(Math.max(0, failures - 1), 20));
  return fullMs * (1 - random() / 2);
}
