// S10: a bus that one sidecar hears for all: what it tells is told when the log has it, and what another one has heard counts here.

import { afterEach, describe, expect, test } from 'vitest';
import type { Dimension } from '../../../src/core/attributes.ts';
import { entryIdOf } from '../../../src/core/entry-id.ts';
import type { Entry } from '../../../src/core/invalidation.ts';
import { newsOf, revoking } from '../../fakes/news-source.ts';
import { createNewsStage, type NewsStage } from './news-stage.ts';

const stages: NewsStage[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

/** `tell`: the log has everything. */
async function staged() {
  let told = (): void => undefined;
  const all = new Promise<void>((resolve) => {
    told = resolve;
  });
  const stage = await createNewsStage({ toldAll: () => all });
  stages.push(stage);
  stage.poll.sink.proven(stage.clock.monotonicMs());
  return { ...stage, told };
}

/** What another one has made of what it has heard. */
function entryOf(
  stage: NewsStage,
  part: { readonly event: string; readonly condition?: readonly [Dimension, string]; readonly source?: string; readonly issuer?: string },
): Entry {
  const { condition, event, source = 'central/bus', issuer = 'central' } = part;
  const atMs = stage.clock.nowMs();
  const conditions = condition && [{ dimension: condition[0], value: condition[1] }];
  return {
    id: entryIdOf({ caller: 'news/central', requestId: `${event} ${condition}` }, atMs),
    effect: 'REFRESH',
    selector: conditions ? { kind: 'fit', issuer, conditions } : { kind: 'everything', issuer },
    ...(conditions ? {} : { spreadMs: 30_000 }),
    alsoRefreshes: false,
    learnedAtMs: atMs,
    forgetAtMs: atMs + 600_000,
    keyId: 'k',
    origin: { source, event },
    from: 'theirs',
  };
}

const reasons = (stage: NewsStage): readonly string[] => stage.degradations.by('central');
/** What the poll has just listed; Keystone would have announced it, unless nobody was told. */
const listed = (stage: NewsStage, user: string) => stage.poll.sink.tell(newsOf(stage.userEvent(user)));

describe('what this one hears', () => {
  test('is told when the log has it, and not when it is only here', async () => {
    const stage = await staged();
    let isTold = false;
    const news = newsOf({ atMs: stage.clock.nowMs(), invalidations: [revoking([['user', 'u']])] });
    const telling = stage.bus.sink.tell(news).then(() => {
      isTold = true;
    });
    await stage.clock.advance(5_000);
    expect([isTold, (await stage.entries()).length]).toEqual([false, 1]);
    stage.told();
    await telling;
  });

  test('S13 a gap is known when it is asked about by all, and that something is missed is not this one’s to note', async () => {
    const stage = await staged();
    let isKnown = false;
    void stage.bus.sink.gap('its bindings were gone').then(() => {
      isKnown = true;
    });
    await stage.bus.sink.missing();
    expect(reasons(stage)).toContain('GAP');
    await stage.clock.advance(5_000);
    expect([isKnown, (await stage.entries()).map(({ origin: { event } }) => event)]).toEqual([false, ['gap: its bindings were gone']]);
    stage.told();
    await stage.clock.advance(0);
    expect(isKnown).toBe(true);
  });

  test.each([
    ['before', ['poll', 'bus', 'poll']],
    ['after', ['bus', 'poll']],
  ] as const)('S13 a gap is told as its own, where another source has one %s it that is closed with it', async (_, order) => {
    const stage = await staged();
    for (const name of order) void stage[name].sink.gap(`the ${name} was away`);
    await stage.clock.advance(5_000);
    const told = (await stage.entries()).map(({ origin: { source, event } }) => [source, event]);
    expect(told).toEqual([['central/bus', 'gap: the bus was away']]);
  });

  test('S13 a gap is told as its own, where another source has one while it is looked for', async () => {
    const stage = await staged();
    stage.poll.onLook(async () => void stage.poll.sink.gap('the poll was away'));
    void stage.bus.sink.gap('the bus was away');
    await stage.clock.advance(5_000);
    expect((await stage.entries())[0]?.origin).toMatchObject({ source: 'central/bus', event: 'gap: the bus was away' });
  });

  test('says whether it is what hears', async () => {
    const stage = await staged();
    expect(stage.telemetry.gaugeValue('sidegate_news_pool_reader', { issuer: 'central' })).toBe(1);
  });
});

describe('what another one has heard', () => {
  test('S13 a gap is said here, until its window is over', async () => {
    const stage = await staged();
    stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect: false });
    expect(reasons(stage)).toEqual([]);
    stage.room.heardOf(entryOf(stage, { event: 'gap: its queue was full' }));
    const said: boolean[] = [];
    for (let second = 0; second < 31; second += 1) {
      said.push(reasons(stage).includes('GAP'));
      await stage.clock.advance(1_000);
    }
    expect(said.filter(Boolean)).toHaveLength(30);
    expect(said.at(-1)).toBe(false);
  });

  test.each([
    ['a gap of the bus', { event: 'gap: its queue was full' }, 59],
    ['whatever it was for', { event: 'refresh', source: 'rpc' }, 59],
    ['of another issuer', { event: 'refresh', source: 'rpc', issuer: 'south' }, 30],
  ])('S10 a gap of ours is said until its window is over, which begins when that of another one ends: %s', async (_, part, seconds) => {
    const stage = await staged();
    stage.told();
    const theirs = { ...entryOf(stage, part), from: 'theirs' };
    await stage.invalidations.receive([theirs], new AbortController().signal);
    stage.room.heardOf(theirs);
    await stage.clock.advance(1_000);
    void stage.bus.sink.gap('its bindings were gone');
    let said = 0;
    for (let second = 0; second < 70; second += 1) {
      stage.poll.sink.proven(stage.clock.monotonicMs());
      stage.bus.sink.proven(stage.clock.monotonicMs());
      if (reasons(stage).includes('GAP')) said += 1;
      await stage.clock.advance(1_000);
    }
    expect(said).toBe(seconds);
  });

  test('a gap that matters to nobody any more, as who is new reads it in the log, is not said', async () => {
    const stage = await staged();
    stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect: false });
    const gap = entryOf(stage, { event: 'gap: its queue was full' });
    stage.room.heardOf({ ...gap, forgetAtMs: stage.clock.nowMs() });
    expect(reasons(stage)).toEqual([]);
    stage.room.heardOf({ ...gap, forgetAtMs: stage.clock.nowMs() + 1 });
    expect(reasons(stage)).toEqual(['GAP']);
  });

  test.each([
    ['of another source', { event: 'gap: it was skipped', source: 'central/poll' }],
    ['of another issuer', { event: 'gap: its queue was full', source: 'south/bus' }],
    ['that is no gap', { event: 'identity.role.deleted' }],
  ])('a REFRESH of everything %s is no gap of the bus here', async (_, part) => {
    const stage = await staged();
    stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect: false });
    stage.room.heardOf(entryOf(stage, part));
    expect(reasons(stage)).toEqual([]);
  });

  test('nothing is taken for missing that another one was served; what that one takes for missing is said here too', async () => {
    const stage = await staged();
    const pass = async (isSuspect: boolean, seconds: number): Promise<void> => {
      for (let n = 0; n < seconds; n += 1) {
        await stage.clock.advance(1_000);
        stage.poll.sink.proven(stage.clock.monotonicMs());
        stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect });
      }
    };
    await pass(false, 30);
    await listed(stage, 'u');
    await pass(false, 30);
    expect(reasons(stage)).toEqual([]);
    const lines = stage.telemetry.lines.length;
    await pass(true, 1);
    const sinceMs = stage.clock.nowMs();
    await pass(true, 5);
    expect(stage.degradations.all()).toMatchObject([{ reasons: ['SOURCE_SUSPECT(bus)'], sinceMs }]);
    // One line, not one for each time that it is said.
    expect(stage.telemetry.lines.length).toBe(lines + 1);
    await pass(false, 1);
    expect(reasons(stage)).toEqual([]);
  });

  test('who hears from now on holds nothing against the bus from before, and what comes after it does', async () => {
    const stage = await staged();
    const pass = async (seconds: number): Promise<void> => {
      for (let n = 0; n < seconds; n += 1) {
        await stage.clock.advance(1_000);
        stage.poll.sink.proven(stage.clock.monotonicMs());
        stage.bus.sink.proven(stage.clock.monotonicMs());
      }
    };
    stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect: true });
    await stage.clock.advance(5_000);
    await listed(stage, 'before');
    stage.bus.sink.proven(stage.clock.monotonicMs(), { isSuspect: true });
    expect(reasons(stage)).toEqual(['SOURCE_SUSPECT(bus)']);
    await pass(30);
    expect([reasons(stage), stage.bus.sink.isSuspect?.()]).toEqual([[], false]);
    await listed(stage, 'after');
    await pass(15);
    expect([reasons(stage), stage.bus.sink.isSuspect?.()]).toEqual([['SOURCE_SUSPECT(bus)'], true]);
  });

  test('what its entries name is remembered as heard', async () => {
    const stage = await staged();
    const pass = async (seconds: number): Promise<void> => {
      for (let n = 0; n < seconds; n += 1) {
        await stage.clock.advance(1_000);
        stage.poll.sink.proven(stage.clock.monotonicMs());
        stage.bus.sink.proven(stage.clock.monotonicMs());
      }
    };
    await pass(20);
    stage.room.heardOf(entryOf(stage, { event: 'identity.user.updated', condition: ['user', 'u'] }));
    await listed(stage, 'u');
    await pass(15);
    expect(reasons(stage)).toEqual([]);
  });
});
