// The ring: bounded, gapless, never part of a revision.

import { describe, expect, it } from 'vitest';
import { History } from '../../src/core/history.ts';

const ring = (capacity: number, ...revisions: number[]): History<{ revision: number }> => {
  const history = new History<{ revision: number }>(capacity, 0);
  for (const revision of revisions) history.push({ revision });
  return history;
};
const above = (history: History<{ revision: number }>, revision: number, limit?: number): number[] | undefined =>
  history.after(revision, limit)?.map((item) => item.revision);

describe('the history', () => {
  it('tells what is above a revision, exclusive', () => expect(above(ring(8, 1, 2, 5), 2)).toEqual([5]));
  it('tells nothing above the newest', () => expect(above(ring(8, 1, 2), 2)).toEqual([]));
  it('is full at its capacity and then forgets the oldest, saying so', () => {
    const history = ring(3, 1, 2, 3);
    expect(above(history, 0)).toEqual([1, 2, 3]);
    history.push({ revision: 4 });
    expect(history.since).toBe(1);
    expect(above(history, 0)).toBeUndefined();
    expect(above(history, 1)).toEqual([2, 3, 4]);
  });
  it('with part of a revision forgotten begins after all of it', () => {
    const history = ring(3, 1, 1, 2, 3);
    expect(above(history, 0)).toBeUndefined();
    expect(above(history, 1)).toEqual([2, 3]);
  });
  it('never splits a revision over the limit', () => expect(above(ring(8, 1, 1, 1, 2), 0, 2)).toEqual([1, 1, 1]));
  it('begins anew where it is cleared', () => {
    const history = ring(4, 1, 2);
    history.clear(7);
    expect(above(history, 6)).toBeUndefined();
    expect(above(history, 7)).toEqual([]);
  });
});
