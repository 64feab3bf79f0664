// Marks between things that are done in any order, against the one-line model.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InOrder } from '../../../src/news/bus/in-order.ts';

describe('things in order', () => {
  it('a mark with nothing before it is reached at once', () => {
    const reached: string[] = [];
    new InOrder<string>((mark) => reached.push(mark)).mark('a');
    expect(reached).toEqual(['a']);
  });

  it('a mark is reached when everything before it is done, whatever comes after it', () => {
    const reached: string[] = [];
    const order = new InOrder<string>((mark) => reached.push(mark));
    const [one, two] = [order.begin(), order.begin()];
    order.mark('a');
    const three = order.begin();
    order.mark('b');
    order.done(two);
    order.done(three);
    expect([reached, order.marks]).toEqual([[], 2]);
    order.done(one);
    expect([reached, order.marks]).toEqual([['a', 'b'], 0]);
  });

  it('agrees with the model for any order of coming, marking and being done', () => {
    const step = fc.oneof(fc.constant('begin' as const), fc.constant('mark' as const), fc.nat({ max: 30 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const reached: number[] = [];
        const order = new InOrder<number>((mark) => reached.push(mark));
        const isDone: boolean[] = [];
        /** By mark: how many things came before it. */
        const before: number[] = [];
        for (const one of steps) {
          if (one === 'begin') isDone[order.begin()] = false;
          else if (one === 'mark') order.mark(before.push(isDone.length) - 1);
          else if (one < isDone.length) {
            isDone[one] = true;
            order.done(one);
          }
          expect(reached).toEqual(before.flatMap((count, mark) => (isDone.slice(0, count).every(Boolean) ? [mark] : [])));
          expect(order.marks).toBe(before.length - reached.length);
        }
      }),
    );
  });
});
