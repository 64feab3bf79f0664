// The room itself: its sources run and end together, and it is said whether they have caught up and how they are.

import { setMaxListeners } from 'node:events';
import { expect, test } from 'vitest';
import { NewsRoom } from '../../../src/service/news/news-room.ts';
import { createFakeNewsSource } from '../../fakes/news-source.ts';
import { createValidationStage } from '../validation-stage.ts';
import { createNewsStage } from './news-stage.ts';

test('S13 it has caught up when every source has proven something, once and for all', async () => {
  const stage = await createNewsStage();
  const seen: string[] = [];
  stage.room.caughtUp(new AbortController().signal).then(() => seen.push('caught up'));
  expect(stage.room.isCaughtUp).toBe(false);
  stage.bus.sink.proven(1_000);
  stage.bus.sink.proven(1_000);
  await stage.clock.advance(1_000);
  expect([stage.room.isCaughtUp, seen]).toEqual([false, []]);
  stage.poll.sink.proven(1_000);
  await stage.clock.advance(0);
  expect([stage.room.isCaughtUp, seen]).toEqual([true, ['caught up']]);
  await stage.clock.advance(60_000);
  expect(stage.room.isCaughtUp).toBe(true);
  await stage.close();
});

test('whoever waits for that leaves with his signal', async () => {
  const stage = await createNewsStage();
  const leaving = new AbortController();
  const waiting = stage.room.caughtUp(leaving.signal);
  leaving.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
  await stage.close();
});

test('without sources it has caught up', async () => {
  const stage = await createNewsStage({ hasBus: false, hasPoll: false });
  expect(stage.room.isCaughtUp).toBe(true);
  expect(stage.room.health()).toEqual([]);
  await stage.close();
});

test('sources run until we stop, and their health is theirs', async () => {
  const stage = await createNewsStage();
  expect([stage.bus.isRunning, stage.poll.isRunning]).toEqual([true, true]);
  stage.bus.setHealth({ reachable: false, problem: 'the exchange is not there' });
  expect(stage.room.health()).toEqual([
    { name: 'central/bus', health: { reachable: false, problem: 'the exchange is not there' } },
    { name: 'central/poll', health: { reachable: true } },
  ]);
  await stage.end();
  expect([stage.bus.isRunning, stage.poll.isRunning]).toEqual([false, false]);
  await stage.close();
});

test('each issuer has news of its own, and those without sources have none', async () => {
  const stage = await createValidationStage();
  const end = new AbortController();
  setMaxListeners(0, end.signal);
  const sources = ['bus', 'bus'].map((name) => createFakeNewsSource(name));
  const names = ['north', 'south', 'nobody'];
  const room = new NewsRoom(
    names.map((name, at) => ({
      issuer: { ...stage.central.issuer, name },
      sources: sources.slice(at, at + 1).map(({ source }) => source),
    })),
    {
      ...stage,
      notes: stage.journal,
      random: () => 0,
      settleMs: 2_000,
      wideWindowMs: 30_000,
      skewMs: 2_000,
      refreshLifeMs: 602_000,
      clockRead: () => undefined,
      toldAll: async () => undefined,
      stop: end.signal,
    },
  );
  const running = room.run();
  await stage.clock.advance(0);
  for (const { sink } of sources) sink.proven(stage.clock.monotonicMs());
  sources[1]?.sink.gap('south alone');
  await stage.clock.advance(0);
  expect(names.map((name) => stage.degradations.by(name))).toEqual([[], ['GAP'], []]);
  expect(room.health().map(({ name }) => name)).toEqual(['north/bus', 'south/bus']);
  end.abort();
  await running;
  await stage.close();
});
