// S7: messages that may hide a revocation which only the poll names.

import { afterEach, describe, expect, test } from 'vitest';
import { SidecarError } from '../../../src/core/errors.ts';
import { newsOf, refreshing } from '../../fakes/news-source.ts';
import { createNewsStage, type NewsStage, type NewsStageOptions } from './news-stage.ts';

const stages: NewsStage[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

async function staged(options: NewsStageOptions = {}): Promise<NewsStage> {
  const stage = await createNewsStage(options);
  stages.push(stage);
  return stage;
}

const wideGroup = { ...refreshing(['group', 'g']), isWide: true as const };
/** A group was changed, and its message keeps to itself who was added or removed. */
const groupUpdated = (stage: NewsStage, atMs = stage.clock.nowMs()) =>
  ({ event: 'identity.group.updated', atMs, about: ['g'], invalidations: [], lookFirst: [wideGroup] }) as const;
const userUpdated = (stage: NewsStage, userId: string) =>
  ({
    event: 'identity.user.updated',
    atMs: stage.clock.nowMs(),
    about: [userId],
    invalidations: [refreshing(['user', userId])],
    lookFirst: [],
  }) as const;
const wides = async (stage: NewsStage): Promise<number> => (await stage.entries()).filter(({ spreadMs }) => spreadMs !== undefined).length;
const looksOf = (stage: NewsStage, outcome: string): number =>
  stage.telemetry.count('sidegate_news_looks_total', { issuer: 'central', outcome });

describe('S7 a message that may hide a revocation', () => {
  test('has the poll asked at once, and once more after settling; as both name nobody, it holds', async () => {
    const stage = await staged();
    const begunMs = stage.clock.monotonicMs();
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(1_999);
    expect([stage.poll.looks, told.said, await wides(stage)]).toEqual([[begunMs], 'nothing', 0]);
    await stage.clock.advance(1);
    expect(stage.poll.looks).toEqual([begunMs, begunMs + 2_000]);
    expect(told.said).toBe('done');
    expect(await stage.entries()).toMatchObject([
      {
        effect: 'REFRESH',
        spreadMs: 30_000,
        selector: { conditions: [{ dimension: 'group', value: 'g' }] },
        origin: { source: 'central/bus' },
      },
    ]);
    expect([looksOf(stage, 'nobody'), looksOf(stage, 'named')]).toEqual([2, 0]);
  });

  test('does not hold where the first look names somebody, and is told then', async () => {
    const stage = await staged();
    stage.poll.onLook(async () => stage.poll.sink.tell(newsOf(stage.userEvent('removed'))));
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(0);
    expect([told.said, await wides(stage), looksOf(stage, 'named')]).toEqual(['done', 0, 1]);
    expect((await stage.entries()).map(({ effect }) => effect)).toEqual(['REVOKE']);
  });

  test('does not hold where only the second look names somebody: the message had come before the revocation was written', async () => {
    const stage = await staged();
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(500);
    stage.poll.onLook(async () => stage.poll.sink.tell(newsOf(stage.userEvent('removed'))));
    await stage.clock.advance(1_500);
    expect([told.said, await wides(stage)]).toEqual(['done', 0]);
  });

  test('does not hold where the poll has told of somebody by its own schedule, between the looks', async () => {
    const stage = await staged();
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(1_000);
    await stage.poll.sink.tell(newsOf(stage.userEvent('removed')));
    await stage.clock.advance(1_000);
    expect([told.said, await wides(stage)]).toEqual(['done', 0]);
  });

  test('does not hold where the poll had told of somebody a moment before the message came', async () => {
    const stage = await staged();
    await stage.poll.sink.tell(newsOf(stage.userEvent('removed')));
    await stage.clock.advance(50);
    const told = stage.tell('bus', groupUpdated(stage, stage.clock.nowMs() - 60));
    await stage.clock.advance(0);
    expect([told.said, await wides(stage)]).toEqual(['done', 0]);
  });

  test.each([
    ['of a user that a message of its own has named', 0, 'password changed'],
    ['that is older than the message by a minute', 60_000, 'removed'],
  ])('holds where all that is named is a revocation %s', async (_what, olderByMs, userId) => {
    const stage = await staged();
    if (userId === 'password changed') await stage.bus.sink.tell(newsOf(userUpdated(stage, userId)));
    const writtenAtMs = stage.clock.nowMs() - olderByMs;
    stage.poll.onLook(async () => stage.poll.sink.tell(newsOf(stage.userEvent(userId, writtenAtMs))));
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(4_000);
    expect([told.said, await wides(stage)]).toEqual(['done', 1]);
  });

  test('holds where what is named is no user', async () => {
    const stage = await staged();
    const token = {
      atMs: stage.clock.nowMs(),
      invalidations: [{ effect: 'REVOKE' as const, conditions: [{ dimension: 'identity' as const, value: 'a' }] }],
    };
    stage.poll.onLook(async () => stage.poll.sink.tell(newsOf(token)));
    stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(4_000);
    expect(await wides(stage)).toBe(1);
  });

  test('is explained by one who is named, and no second message by the same', async () => {
    const stage = await staged();
    let events = 1;
    stage.poll.onLook(async () => {
      events -= 1;
      if (events === 0) await stage.poll.sink.tell(newsOf(stage.userEvent('removed')));
    });
    const told = [stage.tell('bus', groupUpdated(stage)), stage.tell('bus', groupUpdated(stage))];
    await stage.clock.advance(4_000);
    expect(told.map(({ said }) => said)).toEqual(['done', 'done']);
    expect(await wides(stage)).toBe(1);
  });

  test('holds at once where there is no poll', async () => {
    const stage = await staged({ hasPoll: false });
    await stage.bus.sink.tell(newsOf(groupUpdated(stage)));
    expect(await wides(stage)).toBe(1);
  });

  test('holds or not also where it is told by the source that can be asked', async () => {
    const stage = await staged({ hasBus: false });
    const told = stage.tell('poll', groupUpdated(stage));
    await stage.clock.advance(4_000);
    expect([told.said, await wides(stage)]).toEqual(['done', 1]);
  });

  test('holds after settling where the poll cannot be asked', async () => {
    const stage = await staged();
    stage.poll.onLook(async () => {
      throw new SidecarError('UNAVAILABLE', 'nobody answers', { reason: 'KEYSTONE_UNREACHABLE' });
    });
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(2_000);
    expect([told.said, await wides(stage), looksOf(stage, 'failed')]).toEqual(['done', 1, 2]);
  });

  test('holds in the end where the poll hangs: a look is waited for for 5 s', async () => {
    const stage = await staged();
    stage.poll.onLook(
      (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
    );
    const told = stage.tell('bus', groupUpdated(stage));
    await stage.clock.advance(6_999);
    expect([told.said, await wides(stage)]).toEqual(['nothing', 0]);
    await stage.clock.advance(1);
    expect([told.said, await wides(stage)]).toEqual(['done', 1]);
  });

  test('that means nothing itself only has the poll asked: its telling does not wait for that', async () => {
    const stage = await staged();
    await stage.bus.sink.tell(newsOf(userUpdated(stage, 'u')));
    expect((await stage.entries()).map(({ effect }) => effect)).toEqual(['REFRESH']);
    expect(stage.poll.looks).toHaveLength(1);
    await stage.clock.advance(2_000);
    expect(stage.poll.looks).toHaveLength(2);
    await stage.clock.advance(10_000);
    expect(stage.poll.looks).toHaveLength(2);
  });

  test('of which a thousand wait already holds at once: what waits is bounded', async () => {
    const stage = await staged();
    const told = Array.from({ length: 1_001 }, (_, n) =>
      stage.tell('bus', { ...groupUpdated(stage), lookFirst: [{ ...refreshing(['group', `g${n}`]), isWide: true }] }),
    );
    await stage.clock.advance(0);
    expect(told.map(({ said }) => said).filter((said) => said === 'done')).toHaveLength(1);
    expect(await wides(stage)).toBe(1);
    await stage.clock.advance(2_000);
    expect(told.every(({ said }) => said === 'done')).toBe(true);
    expect(await wides(stage)).toBe(1_001);
    expect(stage.poll.looks).toHaveLength(2);
  });
});

describe('S7 a storm of messages', () => {
  test('that all come at once has the poll asked twice', async () => {
    const stage = await staged();
    const told = Array.from({ length: 10_000 }, (_, n) => stage.tell('bus', userUpdated(stage, `u${n}`)));
    await stage.clock.advance(10_000);
    expect(told.every(({ said }) => said === 'done')).toBe(true);
    expect(stage.poll.looks).toHaveLength(2);
    // Each is about another user: each is an entry.
    expect(await stage.entries()).toHaveLength(10_000);
  });

  test('S6 of a robot that logs in 20 times a second for 10 s costs two entries and one look in a settle window', async () => {
    const stage = await staged();
    const begunMs = stage.clock.monotonicMs();
    const told: { said: unknown }[] = [];
    for (let n = 0; n < 200; n += 1) {
      told.push(stage.tell('bus', userUpdated(stage, 'robot')));
      await stage.clock.advance(50);
    }
    await stage.clock.advance(4_000);
    expect(told.every(({ said }) => said === 'done')).toBe(true);
    // At 0 s, and at the end of each of five windows, and one for what came last.
    expect(await stage.entries()).toHaveLength(6);
    expect(stage.poll.looks.map((ms) => ms - begunMs)).toEqual([0, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000]);
  });

  test('leaves the tokens of others alone', async () => {
    const stage = await staged();
    stage.central.knows('other', { token: { user: { id: 'other' } } });
    await stage.ask('other');
    for (let n = 0; n < 20; n += 1) {
      stage.tell('bus', userUpdated(stage, 'robot'));
      await stage.clock.advance(50);
      await stage.ask('other');
    }
    expect(stage.central.reads).toEqual(['other']);
  });
});
