// How an authority's clock stands to ours, as far as the `Date` of a reply tells.

/** The moment that a `Date` header tells, in milliseconds (whole seconds); undefined where it is no IMF-fixdate (RFC 9110 §5.6.7). */
export function httpDateMs(date: string | readonly string[] | undefined): number | undefined {
  if (typeof date !== 'string' || !/^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(date)) return undefined;
  const atMs = Date.parse(date);
  return Number.isNaN(atMs) ? undefined : atMs;
}

/** A reply is telling that took no longer. */
const tellingMs = 1_000;

/**
 * By how much another clock surely differs from ours, in milliseconds: theirs minus ours. `Date` has whole seconds, and was
 * written at some moment between sending and reading: what that leaves open is not a difference. Undefined where `date` is no
 * IMF-fixdate (RFC 9110 §5.6.7), and where a slow reply leaves open more than it shows: that is no clock that is right either (S1).
 */
export function clockOffset(
  date: string | readonly string[] | undefined,
  ours: { readonly sentAtMs: number; readonly readAtMs: number },
): number | undefined {
  const theirsMs = httpDateMs(date);
  if (theirsMs === undefined) return undefined;
  const leastMs = theirsMs - ours.readAtMs;
  const mostMs = theirsMs + 1_000 - ours.sentAtMs;
  const surelyMs = leastMs > 0 ? leastMs : Math.min(mostMs, 0);
  const isSlow = ours.readAtMs - ours.sentAtMs > tellingMs;
  return isSlow && Math.abs(surelyMs) < mostMs - leastMs ? undefined : surelyMs;
}
