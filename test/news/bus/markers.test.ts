// Markers: which of them shows that a queue has lost nothing.

import { describe, expect, it } from 'vitest';
import { Markers } from '../../../src/news/bus/markers.ts';

describe('markers', () => {
  it('each has an id of its own, in each process, and is found by it', () => {
    const [ours, theirs] = [new Markers(), new Markers()];
    const sent = [ours.next(1, 1), ours.next(2, 1), theirs.next(1, 1)];
    expect(new Set(sent.map(({ id }) => id)).size).toBe(3);
    expect(ours.find(sent[1]?.id)).toBe(sent[1]);
    for (const foreign of [sent[2]?.id, 'x', '', undefined, 7]) expect(ours.find(foreign)).toBe(undefined);
  });

  it.each([
    { back: 255, isKnown: true },
    { back: 256, isKnown: false },
  ])('the one $back before the newest is known: $isKnown', ({ back, isKnown }) => {
    const markers = new Markers();
    const first = markers.next(0, 1);
    for (let n = 0; n < back; n += 1) markers.next(n, 1);
    expect(markers.find(first.id) !== undefined).toBe(isKnown);
  });

  it('S10 the first in a queue must be the newest that was proven, or one before it; a later one shows that those were lost', () => {
    const markers = new Markers();
    const [before, proven, later] = [markers.next(1, 1), markers.next(2, 1), markers.next(3, 1)];
    markers.proved(proven);
    markers.proved(before);
    expect([before, proven, later].map((sent) => markers.isFirstOfAll(sent))).toEqual([true, true, false]);
    // Of the process before, which we have long proven past.
    expect(markers.isFirstOfAll(undefined)).toBe(false);
  });

  it('S10 a process that has proven none takes any of the process before it, and none of its own', () => {
    const markers = new Markers();
    expect(markers.isFirstOfAll(undefined)).toBe(true);
    expect(markers.isFirstOfAll(markers.next(1, 1))).toBe(false);
  });

  it('bindings count up', () => {
    const markers = new Markers();
    expect(markers.newBindings()).toBeLessThan(markers.newBindings());
  });
});
