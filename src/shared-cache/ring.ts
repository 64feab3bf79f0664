// Which server keeps a key: points on a ring, so that a server more moves only the keys that become its own.

import { hash } from 'node:crypto';

/** Answers the place of a key's server in `servers`. The same for the same names, whatever their order. */
export type Ring = (key: string) => number;

/** Enough that the share of the luckiest of a few servers is within some tens of percent of the unluckiest's. */
const pointsPerServer = 160;
/** Points that one digest gives: SHA-256 has eight words. */
const pointsPerDigest = 8;

/** The ring of `servers`, by their names; at least one, no two alike. Cost of a look: one SHA-256 and a binary search. */
export function createRing(servers: readonly string[]): Ring {
  const points = servers.flatMap((server, place) => pointsOf(server).map((at) => ({ at, server, place })));
  // Where two points meet, the name decides: the order in which servers are configured must not.
  points.sort((a, b) => a.at - b.at || (a.server < b.server ? -1 : 1));
  const ends = Uint32Array.from(points, ({ at }) => at);
  const places = Uint16Array.from(points, ({ place }) => place);
  return (key) => places[firstAtOrAfter(ends, wordsOf(key).readUInt32LE(0))] ?? places[0] ?? 0;
}

function pointsOf(server: string): readonly number[] {
  return Array.from({ length: pointsPerServer / pointsPerDigest }, (_, n) => wordsOf(`${server} ${n}`)).flatMap((words) =>
    Array.from({ length: pointsPerDigest }, (_, word) => words.readUInt32LE(4 * word)),
  );
}

function wordsOf(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}

/** The index of the first of the ascending `ends` that is at least `at`; their number where none is. */
function firstAtOrAfter(ends: Uint32Array, at: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ends[middle] ?? 0) < at) low = middle + 1;
    else high = middle;
  }
  return low;
}
