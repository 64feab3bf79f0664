// Whose turn it is: whoever has asked goes on, but for one that is slow where another one is not.

import { beforeEach, expect, it } from 'vitest';
import { PollTurns } from '../../src/news/poll-turns.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';

const everyMs = 2_000;
let clock: FakeClock;
beforeEach(() => {
  clock = createFakeClock();
});

/** `random`: what is drawn, each time. */
function turnsOf({ random = 0, others = 2 } = {}) {
  const turns = new PollTurns({ everyMs, clock, random: () => random, others: () => others });
  return {
    turns,
    /** One of ours; answers whether the others are to hear of it. */
    async ask(tookMs: number): Promise<boolean> {
      turns.begin();
      await clock.advance(tookMs);
      const isTold = turns.answered();
      turns.end();
      return isTold;
    },
    /** Another's, that took so long and ends now: how long it puts ours off. */
    heard(tookMs: number): number {
      turns.heard({ beganMs: clock.monotonicMs() - tookMs, tookMs });
      return turns.notBeforeMs - clock.monotonicMs();
    },
  };
}

it.each([
  [30, 0, 2_030],
  [30, 0.5, 2_530],
  [2_000, 0, 4_000],
])('waits for the interval, and what it took (%d ms, drawn %d)', async (tookMs, random, expectedMs) => {
  const { ask, heard } = turnsOf({ random });
  await ask(10);
  await clock.advance(10_000);
  expect(heard(tookMs)).toBe(expectedMs);
});

it.each([
  ['two of many, drawn low', 20, 0.099, 2_000 + 99],
  ['not the others', 20, 0.1, 7_000 + 100],
  ['all where they are two', 2, 0.999, 2_000 + 999],
])('of those who hear of a slow one %s try whether they are faster', async (_, others, random, expectedMs) => {
  const { ask, heard } = turnsOf({ others, random });
  await ask(10);
  await clock.advance(10_000);
  // One that takes very long is not waited for any longer than that.
  expect(heard(6_000)).toBe(expectedMs);
});

it('who tries and is faster tells, and waits for the slow one no more', async () => {
  const { ask, heard } = turnsOf();
  await clock.advance(10_000);
  heard(4_900);
  await clock.advance(2_000);
  expect(await ask(30)).toBe(true);
  await clock.advance(2_870);
  // It began before ours.
  expect(heard(4_900)).toBeLessThan(0);
  await clock.advance(4_900);
  expect(heard(4_900)).toBe(2_000);
});

it('who tries and is no faster says nothing, and tries no more for a minute', async () => {
  const { ask, heard } = turnsOf();
  await clock.advance(10_000);
  heard(4_900);
  expect(await ask(2_001)).toBe(false);
  // Of its own accord: then it is whoever goes on.
  expect(await ask(2_001)).toBe(true);
  await clock.advance(50_000);
  expect(heard(3_000)).toBe(5_000);
  await clock.advance(10_001);
  expect(heard(3_000)).toBe(2_000);
});

it('who tries in vain, as it has no way to Keystone, tries no more for a minute', async () => {
  const { turns, heard } = turnsOf();
  await clock.advance(10_000);
  expect(heard(3_000)).toBe(2_000);
  turns.begin();
  turns.end();
  await clock.advance(60_000);
  expect(heard(3_000)).toBe(5_000);
  await clock.advance(1);
  expect(heard(3_000)).toBe(2_000);
});

it('of two that overlap goes on whoever began first, unless that one alone is slow', async () => {
  const { turns, heard } = turnsOf();
  turns.begin();
  await clock.advance(2_000);
  expect(heard(30)).toBeLessThan(0);
  await clock.advance(1);
  expect(heard(30)).toBe(2_030);
  await clock.advance(5_000);
  turns.begin();
  await clock.advance(4_000);
  expect(heard(3_000)).toBeLessThan(0);
});
