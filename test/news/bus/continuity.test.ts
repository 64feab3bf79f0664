// The mark "unbroken since".

import { expect, it } from 'vitest';
import { Continuity } from '../../../src/news/bus/continuity.ts';
import { createNewsSink } from '../../fakes/news-sink.ts';

it('S10 a gap is told when it is mended, once, by what broke it first', async () => {
  const sink = createNewsSink();
  const continuity = new Continuity(sink);
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([false, []]);
  continuity.break('one');
  continuity.break('two');
  expect([continuity.isBroken, sink.gaps]).toEqual([true, []]);
  await continuity.noted;
  continuity.mend();
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([false, ['one']]);
  continuity.break('three');
  await continuity.noted;
  continuity.mend();
  expect(sink.gaps).toEqual(['one', 'three']);
});

it('S10 nothing is mended before a restart would know that it was broken', async () => {
  const sink = createNewsSink();
  const continuity = new Continuity(sink);
  const note = sink.holdNotes();
  continuity.break('one');
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([true, []]);
  note();
  await continuity.noted;
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([false, ['one']]);
});
