// The mark "unbroken since".

import { expect, it } from 'vitest';
import { Continuity } from '../../../src/news/bus/continuity.ts';
import { createNewsSink } from '../../fakes/news-sink.ts';

it('S10 a gap is told when it is mended, once, by what broke it first', () => {
  const sink = createNewsSink();
  const continuity = new Continuity(sink);
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([false, []]);
  continuity.break('one');
  continuity.break('two');
  expect([continuity.isBroken, sink.gaps]).toEqual([true, []]);
  continuity.mend();
  continuity.mend();
  expect([continuity.isBroken, sink.gaps]).toEqual([false, ['one']]);
  continuity.break('three');
  continuity.mend();
  expect(sink.gaps).toEqual(['one', 'three']);
});
