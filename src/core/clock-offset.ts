// How an authority's clock stands to ours, as far as the `Date` of a reply tells.

/** The moment that a `Date` header tells, in milliseconds (whole seconds); undefined where it is no IMF-fixdate (RFC 9110 §5.6.7). */
export function httpDateMs(date: string | readonly string[] | undefined): number | undefined {
  if (typeof date !== 'string' || !/^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(date)) return undefined;
  const atMs = Date.parse(date);
  return Number.isNaN(atMs) ? undefined : atMs;
}

/**
 * By how much another clock surely differs from ours, in milliseconds: theirs minus ours. `Date` has whole seconds, and was
 * written at some moment between sending and reading: what that leaves open is not a difference. Undefined where `date` is no
 * IMF-fixdate (RFC 9110 §5.6.7).
 */
export function clockOffset(
  date: string | readonly string[] | undefined,
  ours: { readonly sentAtMs: number; readonly readAtMs: number },
): number | undefined {
  const theirsMs = httpDateMs(date);
  if (theirsMs === undefined) return undefined;
  const leastMs = theirsMs - ours.readAtMs;
  const mostMs = theirsMs + 1_000 - ours.sentAtMs;
  if (leastMs > 0) return leastMs;
  return mostMs < 0 ? mostMs : 0;
}
