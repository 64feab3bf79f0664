// The fake of the shared tier, held to the contract that the real one is held to.

import { expect, it } from 'vitest';
import { sharedCacheConformance } from '../conformance/shared-cache.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';

sharedCacheConformance('the fake', async () => {
  const clock = createFakeClock();
  const store = createFakeSharedStore(clock);
  return {
    open: () => store.open(),
    stepWall: (ms) => clock.stepWall(ms),
    forgetAll: async () => store.forgetAll(),
    stop: async () => store.isDown(),
    close: async () => {},
  };
});

it('it counts what it is asked, by operation and by name, and breaks as it is told', async () => {
  const store = createFakeSharedStore(createFakeClock());
  const cache = store.open();
  await cache.set('a', Buffer.from('x'), 1_000);
  await cache.get('a');
  await cache.get('b');
  store.corrupt('a');

  expect(await cache.get('a')).toEqual({ kind: 'unreadable' });
  expect(await cache.add('a', Buffer.from('y'), 1_000)).toBe('exists');
  expect([store.count(), store.count('get'), store.count('get', 'a'), store.count('remove')]).toEqual([5, 3, 2, 0]);
  expect(store.names()).toEqual(['a']);
  store.isDown();
  expect((await cache.get('a')).kind).toBe('unreachable');
  store.isUp();
  expect(await cache.set('a', Buffer.from('z'), 1_000)).toBe(true);
  expect(Buffer.from(store.peek('a') ?? []).toString()).toBe('z');
});
