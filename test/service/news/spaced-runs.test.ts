// Runs that many ask for and share, and that keep their distance.

import { array, assert, asyncProperty, integer, record } from 'fast-check';
import { expect, test } from 'vitest';
import { SpacedRuns } from '../../../src/service/news/spaced-runs.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const always = new AbortController().signal;

function staged(spacingMs = 2_000, work?: () => Promise<number>) {
  const clock = createFakeClock();
  const began: number[] = [];
  const fresh = clock.monotonicMs();
  const runs = new SpacedRuns({
    clock,
    spacingMs,
    stop: always,
    work: work ?? (async () => began.push(clock.monotonicMs() - fresh)),
  });
  return { clock, began, fresh, from: (ms: number) => runs.from(fresh + ms), runs };
}

test('the first begins at once, and those who ask meanwhile share the next one, a spacing later', async () => {
  const { clock, began, from } = staged();
  await from(0);
  expect(began).toEqual([0]);
  await clock.advance(500);
  const others = [from(500), from(600), from(2_000)];
  await clock.advance(1_499);
  expect(began).toEqual([0]);
  await clock.advance(1);
  expect(began).toEqual([0, 2_000]);
  expect(await Promise.all(others)).toEqual([2, 2, 2]);
});

test('one that is wanted later than what is planned is one more', async () => {
  const { clock, began, from } = staged();
  await from(0);
  void from(1_000);
  const later = from(2_001);
  await clock.advance(4_000);
  expect(began).toEqual([0, 2_000, 4_000]);
  expect(await later).toBe(3);
});

test('after a rest it begins at once again', async () => {
  const { clock, began, from } = staged();
  await from(0);
  await clock.advance(2_000);
  await from(2_000);
  expect(began).toEqual([0, 2_000]);
});

test('one that fails fails for those who wait for it, and the next one is made all the same', async () => {
  let n = 0;
  const { clock, from } = staged(2_000, async () => {
    n += 1;
    if (n === 1) throw new Error('no');
    return n;
  });
  await expect(from(0)).rejects.toThrow('no');
  const next = from(0);
  await clock.advance(2_000);
  expect(await next).toBe(2);
});

test('when we stop, whoever waits waits no longer', async () => {
  const clock = createFakeClock();
  const stop = new AbortController();
  const runs = new SpacedRuns({ clock, spacingMs: 2_000, stop: stop.signal, work: async () => 1 });
  await runs.from(0);
  const waiting = runs.from(clock.monotonicMs());
  stop.abort(new Error('the end'));
  await expect(waiting).rejects.toThrow('the end');
});

test('whoever asks, and when: its run begins no sooner than wanted, no run is close to another, and nobody waits for longer than two spacings', async () => {
  const asks = array(record({ afterMs: integer({ min: 0, max: 3_000 }), aheadMs: integer({ min: 0, max: 2_000 }) }), { maxLength: 30 });
  await assert(
    asyncProperty(asks, async (given) => {
      const { clock, began, fresh, from } = staged();
      const waits: Promise<void>[] = [];
      for (const { afterMs, aheadMs } of given) {
        await clock.advance(afterMs);
        const wantedMs = clock.monotonicMs() - fresh + aheadMs;
        waits.push(
          from(wantedMs).then((count) => {
            const beganMs = began[count - 1] ?? -1;
            expect(beganMs).toBeGreaterThanOrEqual(wantedMs);
            expect(beganMs).toBeLessThanOrEqual(wantedMs + 2_000);
          }),
        );
      }
      await clock.advance(10_000);
      await Promise.all(waits);
      for (const [n, ms] of began.entries()) expect(ms - (began[n - 1] ?? -2_000)).toBeGreaterThanOrEqual(2_000);
    }),
    { numRuns: 200 },
  );
});
