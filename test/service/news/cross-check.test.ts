// S10: the bus is held against the poll: what that names and should have been announced makes the bus suspect.

import { afterEach, describe, expect, test } from 'vitest';
import type { Dimension } from '../../../src/core/attributes.ts';
import { newsOf, revoking } from '../../fakes/news-source.ts';
import { createNewsStage, type NewsStage, type NewsStageOptions } from './news-stage.ts';

const stages: NewsStage[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

/** A bus that has been proven for a while, and a poll. */
async function staged(options: NewsStageOptions = {}): Promise<NewsStage> {
  const stage = await createNewsStage(options);
  stages.push(stage);
  prove(stage);
  await pass(stage, 20_000);
  return stage;
}

function prove(stage: NewsStage): void {
  const nowMs = stage.clock.monotonicMs();
  stage.bus.sink.proven(nowMs);
  stage.poll.sink.proven(nowMs);
}

/** So long, while both go on proving each second. */
async function pass(stage: NewsStage, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1_000) {
    await stage.clock.advance(1_000);
    prove(stage);
  }
}

const suspect = (stage: NewsStage): boolean => stage.degradations.by('central').includes('SOURCE_SUSPECT(bus)');
const counted = (stage: NewsStage): number => stage.telemetry.count('sidegate_news_unannounced_total', { issuer: 'central' });
const event = (stage: NewsStage, dimension: Dimension, id: string, atMs = stage.clock.nowMs()) =>
  newsOf({ event: 'OS-REVOKE', atMs, about: [id], invalidations: [revoking([[dimension, id]], atMs)] });
const message = (stage: NewsStage, type: string, about: readonly string[], atMs = stage.clock.nowMs()) =>
  newsOf({ event: type, about, atMs });

describe('S10 an event of the poll', () => {
  test.each(['user', 'project', 'trust', 'client'] as const)(
    'about a %s of which no message has come within 10 s makes the bus suspect, and is counted',
    async (dimension) => {
      const stage = await staged();
      await stage.poll.sink.tell(event(stage, dimension, 'x'));
      await pass(stage, 9_000);
      expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
      await pass(stage, 1_000);
      expect([suspect(stage), counted(stage)]).toEqual([true, 1]);
      expect(stage.telemetry.lines.filter(({ message: said }) => said.includes('the bus has not told'))).toHaveLength(1);
    },
  );

  test.each([
    ['the same moment', 0],
    ['9 s before', -9_000],
    ['9 s after', 9_000],
  ])('with a message about the same at %s does not', async (_when, apartMs) => {
    const stage = await staged();
    const atMs = stage.clock.nowMs();
    if (apartMs <= 0) await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['x'], atMs + apartMs));
    await stage.poll.sink.tell(event(stage, 'user', 'x', atMs));
    await pass(stage, 9_000);
    if (apartMs > 0) await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['x'], atMs + apartMs));
    await pass(stage, 5_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test.each([
    ['11 s before', 'identity.user.updated', 'x', -11_000],
    ['about another', 'identity.user.updated', 'y', 0],
    ['about a project', 'identity.project.updated', 'y', 0],
  ])('with a message %s does', async (_what, type, about, apartMs) => {
    const stage = await staged();
    await stage.bus.sink.tell(message(stage, type, [about], stage.clock.nowMs() + apartMs));
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    await pass(stage, 10_000);
    expect(suspect(stage)).toBe(true);
  });

  test.each([
    ['a user', 'user', 'identity.group.updated', false],
    ['a user', 'user', 'identity.domain.deleted', false],
    ['a project', 'project', 'identity.group.updated', true],
  ] as const)('about %s with a message of its time that names nobody (%s, %s): suspect %s', async (_what, dimension, type, is) => {
    const stage = await staged();
    await stage.bus.sink.tell(message(stage, type, ['g']));
    await stage.poll.sink.tell(event(stage, dimension, 'x'));
    await pass(stage, 10_000);
    expect(suspect(stage)).toBe(is);
  });

  test.each([
    ['of one token', [['identity', 'a']]],
    ['of a domain', [['domain', 'd']]],
    [
      'with several fields',
      [
        ['user', 'u'],
        ['project', 'p'],
      ],
    ],
  ] as const)('%s is never announced, and says nothing', async (_what, conditions) => {
    const stage = await staged();
    await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [revoking(conditions)] }));
    await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [] }));
    await pass(stage, 20_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });
});

describe('S10 a bus that is suspect', () => {
  test('is one no longer when a later event is matched', async () => {
    const stage = await staged();
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    await pass(stage, 12_000);
    expect(suspect(stage)).toBe(true);
    // Of an earlier one it proves nothing.
    await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['old'], stage.clock.nowMs() - 14_000));
    await stage.poll.sink.tell(event(stage, 'user', 'old', stage.clock.nowMs() - 14_000));
    await pass(stage, 12_000);
    expect(suspect(stage)).toBe(true);
    await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['new']));
    await stage.poll.sink.tell(event(stage, 'user', 'new'));
    await pass(stage, 11_000);
    expect(suspect(stage)).toBe(false);
  });

  test('is one no longer when it has been bound again; what it had not told until then says nothing', async () => {
    const stage = await staged();
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    await pass(stage, 12_000);
    await stage.poll.sink.tell(event(stage, 'user', 'y'));
    stage.bus.sink.gap('bound again');
    expect(suspect(stage)).toBe(false);
    await pass(stage, 30_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 1]);
    // If that has not mended it, the next one says so.
    await stage.poll.sink.tell(event(stage, 'user', 'z'));
    await pass(stage, 11_000);
    expect([suspect(stage), counted(stage)]).toEqual([true, 2]);
  });
});

describe('S10 what says nothing of the bus', () => {
  test('an event from before it heard anything', async () => {
    const stage = await createNewsStage();
    stages.push(stage);
    await stage.poll.sink.tell(event(stage, 'user', 'while it was away', stage.clock.nowMs() - 3_600_000));
    await stage.poll.sink.tell(event(stage, 'user', 'as it began'));
    await pass(stage, 5_000);
    await stage.poll.sink.tell(event(stage, 'user', 'just after'));
    await pass(stage, 30_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test('an event whose message comes late, as the bus is behind', async () => {
    const stage = await staged();
    const atMs = stage.clock.nowMs();
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    // 30 s without a sign of life, then everything at once.
    await stage.clock.advance(30_000);
    await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['x'], atMs));
    await pass(stage, 20_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test('an event whose message has not come yet, as what the bus proves lies 15 s back', async () => {
    const stage = await staged();
    const atMs = stage.clock.nowMs();
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    for (let second = 0; second < 40; second += 1) {
      await stage.clock.advance(1_000);
      stage.bus.sink.proven(stage.clock.monotonicMs() - 15_000);
      if (second === 12) await stage.bus.sink.tell(message(stage, 'identity.user.updated', ['x'], atMs));
    }
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test('an event that could not be judged for a minute: that the bus is behind is said already', async () => {
    const stage = await staged();
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    await stage.clock.advance(60_000);
    await pass(stage, 2_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test('an event when so much has been announced that its message may be forgotten', async () => {
    const stage = await staged();
    const atMs = stage.clock.nowMs();
    for (let n = 0; n < 10_001; n += 1) await stage.bus.sink.tell(message(stage, 'identity.user.updated', [`u${n}`], atMs + n));
    await stage.poll.sink.tell(event(stage, 'user', 'u0', atMs));
    await pass(stage, 12_000);
    expect([suspect(stage), counted(stage)]).toEqual([false, 0]);
  });

  test('an issuer with one source', async () => {
    const stage = await createNewsStage({ hasBus: false });
    stages.push(stage);
    stage.poll.sink.proven(stage.clock.monotonicMs());
    await stage.poll.sink.tell(event(stage, 'user', 'x'));
    await stage.clock.advance(60_000);
    expect(counted(stage)).toBe(0);
  });
});

test('S10 a thousand events at once are held against it, and no more', async () => {
  const stage = await staged();
  for (let n = 0; n < 1_100; n += 1) await stage.poll.sink.tell(event(stage, 'user', `u${n}`));
  await pass(stage, 10_000);
  expect(counted(stage)).toBe(1_000);
  expect(stage.telemetry.lines.filter(({ message: said }) => said.includes('the bus has not told'))).toHaveLength(1);
});
