// News are told until they are kept, by a clock that the test moves.

import { beforeEach, describe, expect, it } from 'vitest';
import { Keeping, mostAtOnce } from '../../../src/news/bus/keeping.ts';
import type { News } from '../../../src/ports.ts';
import { createFakeClock, type FakeClock } from '../../fakes/clock.ts';
import { createNewsSink, type FakeNewsSink } from '../../fakes/news-sink.ts';

const news = (id: string): News => ({ id, event: 'identity.user.deleted', atMs: 0, about: [id], invalidations: [] });

describe('keeping', () => {
  let clock: FakeClock;
  let sink: FakeNewsSink;
  let stopping: AbortController;
  let keeping: Keeping;
  beforeEach(() => {
    clock = createFakeClock();
    sink = createNewsSink();
    stopping = new AbortController();
    keeping = new Keeping({ clock, sink, signal: stopping.signal, random: () => 0 });
  });

  it('what is kept is told once', async () => {
    await keeping.keep(news('a'));
    expect(sink.kept).toHaveLength(1);
  });

  it('what cannot be kept is told again after 0.5, 1, 2 … s, at most 30 s apart, and why is said until it is kept', async () => {
    sink.reject(10);
    const moments: number[] = [];
    const began = clock.monotonicMs();
    const timed = {
      ...sink,
      tell: (one: News) => {
        moments.push(clock.monotonicMs() - began);
        return sink.tell(one);
      },
    };
    const failing = new Keeping({ clock, sink: timed, signal: stopping.signal, random: () => 0 });
    const kept = failing.keep(news('a'));
    await clock.advance(121_600);
    expect(failing.problem).toBe('what it told could not be kept: the journal has failed');
    await clock.advance(30_000);
    await kept;

    expect(moments).toEqual([0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 61_500, 91_500, 121_500, 151_500]);
    expect(failing.problem).toBe(undefined);
  });

  it('what comes again while it is told, or after it was kept, is a duplicate, and is done when it is kept', async () => {
    const release = sink.hold();
    const first = keeping.keep(news('a'));
    let secondIsDone = false;
    const second = keeping.keep(news('a')).then(() => {
      secondIsDone = true;
    });
    await clock.advance(1_000);
    expect(secondIsDone).toBe(false);
    release();
    await Promise.all([first, second]);
    await keeping.keep(news('a'));

    expect(sink.told).toHaveLength(1);
    expect(sink.ignoredAs).toEqual(['duplicate', 'duplicate']);
  });

  it('what failed is no duplicate of itself', async () => {
    sink.reject(1);
    const kept = keeping.keep(news('a'));
    await clock.advance(500);
    await kept;
    expect(sink.told).toHaveLength(2);
    expect(sink.ignoredAs).toEqual([]);
  });

  it.each([
    { others: 4_095, isDuplicate: true },
    { others: 4_096, isDuplicate: false },
  ])('after $others others it is known that it was kept: $isDuplicate', async ({ others, isDuplicate }) => {
    await keeping.keep(news('a'));
    for (let n = 0; n < others; n += 1) await keeping.keep(news(`other-${n}`));
    await keeping.keep(news('a'));
    expect(sink.about('a')).toHaveLength(isDuplicate ? 1 : 2);
  });

  it.each([
    { count: mostAtOnce - 1, isFull: false },
    { count: mostAtOnce, isFull: true },
  ])('with $count under way it is full: $isFull', async ({ count, isFull }) => {
    const release = sink.hold();
    const all = Array.from({ length: count }, (_, n) => keeping.keep(news(`n-${n}`)));
    expect(keeping.isFull).toBe(isFull);
    release();
    await Promise.all(all);
    expect(keeping.isFull).toBe(false);
  });

  it('ends with its signal, between two tries, too', async () => {
    sink.reject(Number.POSITIVE_INFINITY);
    const kept = keeping.keep(news('a'));
    await clock.advance(600);
    const told = sink.told.length;
    stopping.abort(new Error('the end'));
    await expect(kept).rejects.toThrow('the end');
    await clock.advance(60_000);
    expect(sink.told.length).toBe(told);
    await expect(keeping.keep(news('b'))).rejects.toThrow('the end');
    expect(sink.about('b')).toEqual([]);
  });
});
