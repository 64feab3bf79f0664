// The name that somebody probably meant.

/** The one of `known` that takes the fewest insertions, deletions, replacements and swaps to become `written`; undefined where none is known. */
export function nearest(written: string, known: readonly string[]): string | undefined {
  // The cost is the product of both lengths: a name of a megabyte is not worth it.
  const start = written.slice(0, 64);
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    const distance = distanceOf(start, name);
    if (best === undefined || distance < best.distance) best = { name, distance };
  }
  return best?.name;
}

/** Optimal string alignment distance. */
function distanceOf(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
