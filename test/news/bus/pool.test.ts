// When somebody of a pool asks whether anybody reads: not while another one proves it, soon after that ends, and ever more rarely.

import { expect, it } from 'vitest';
import { Pool } from '../../../src/news/bus/pool.ts';
import type { HeardQuestion, SharedQuestion } from '../../../src/ports.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const shared: SharedQuestion = {
  others: () => 2,
  isCurrent: () => true,
  hasTold: () => true,
  begin: () => () => undefined,
  listen: () => undefined,
};

const question: HeardQuestion = { fromMs: 0, throughMs: 0, sinceMs: 0, beganMs: 0, tookMs: 0, isOfNow: true, isSuspect: false };

function poolOf(random: number) {
  const clock = createFakeClock();
  const pool = new Pool({ clock, random: () => random, shared, journalId: 'us' });
  const silentAfter = async (): Promise<number> => {
    const fromMs = clock.monotonicMs();
    while (!pool.isSilent) await clock.advance(10);
    return clock.monotonicMs() - fromMs;
  };
  return { clock, pool, silentAfter };
}

it.each([
  [0, 2_000],
  [0.999, 3_000],
])('asks when nobody has proven it for 2 to 3 s (random %d)', async (random, expectedMs) => {
  const { pool, silentAfter } = poolOf(random);
  pool.begin(false);
  expect(await silentAfter()).toBe(expectedMs);
  pool.heard(question);
  expect(pool.isSilent).toBe(false);
  expect(await silentAfter()).toBe(expectedMs);
});

it('asks at once where nobody can have read it', () => {
  const { pool } = poolOf(0);
  pool.begin(true);
  expect(pool.isSilent).toBe(true);
});

it('waits twice as long each time that nothing comes of it, 30 s at most, until somebody is heard', async () => {
  const { pool, silentAfter } = poolOf(0);
  pool.begin(true);
  const waits: number[] = [];
  for (let n = 0; n < 6; n += 1) {
    pool.tried();
    waits.push(await silentAfter());
  }
  expect(waits).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  pool.heard(question);
  expect(await silentAfter()).toBe(2_000);
});

it('does not take what is read late for somebody who reads', async () => {
  const { clock, pool } = poolOf(0);
  pool.begin(false);
  await clock.advance(1_990);
  pool.heard({ ...question, isOfNow: false });
  await clock.advance(10);
  expect([pool.isSilent, pool.heardMs]).toEqual([true, Number.NEGATIVE_INFINITY]);
});
