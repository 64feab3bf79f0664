// Work of which only so much is done at once.

import { expect, it } from 'vitest';
import { inTurns } from '../../src/formats/in-turns.ts';

/** Work that ends when it is told to, and what has begun. */
function works() {
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const work = (n: number) => async (): Promise<number> => {
    begun.push(n);
    await new Promise<void>((resolve) => ends.push(resolve));
    return n;
  };
  return { begun, ends, work };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('at most so many are under way, and the others follow in the order in which they came', async () => {
  const inTurn = inTurns(2);
  const { begun, ends, work } = works();
  const results = [1, 2, 3, 4].map((n) => inTurn(work(n)));
  await turn();
  expect(begun).toEqual([1, 2]);
  ends[1]?.();
  await turn();
  expect(begun).toEqual([1, 2, 3]);
  // Who comes now does not push in.
  const last = inTurn(work(5));
  for (const at of [0, 2, 3, 4]) {
    ends[at]?.();
    await turn();
  }
  expect(await Promise.all([...results, last])).toEqual([1, 2, 3, 4, 5]);
  expect(begun).toEqual([1, 2, 3, 4, 5]);
});

it('one that fails, and one whose caller has left, give their place on', async () => {
  const inTurn = inTurns(1);
  const left = new AbortController();
  const failing = inTurn(() => Promise.reject(new Error('broken')));
  const leaving = inTurn(() => expect.unreachable('nobody waits for it'), left.signal);
  const next = inTurn(async () => 'done');
  left.abort(new Error('left'));

  await expect(failing).rejects.toThrow('broken');
  await expect(leaving).rejects.toThrow('left');
  expect(await next).toBe('done');
  expect(await inTurn(async () => 'again')).toBe('again');
});
