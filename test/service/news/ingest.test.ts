// What a source tells becomes entries: durable and applied when it resolves, once, and as few as may be.

import { afterEach, describe, expect, test } from 'vitest';
import { SidecarError } from '../../../src/core/errors.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Journal } from '../../../src/ports.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { newsOf, refreshing, revoking } from '../../fakes/news-source.ts';
import { verdict } from '../validation-stage.ts';
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

/** A journal that fails as long as it is told to. */
function failing(inner: Journal): Journal & { fail(is: boolean): void; readonly tries: () => number } {
  let fails = false;
  let tries = 0;
  const append: Journal['append'] = async (entry, once) => {
    tries += 1;
    if (fails) throw new SidecarError('UNAVAILABLE', 'the disk is full', { reason: 'JOURNAL_FAILED' });
    return await inner.append(entry, once);
  };
  const fail = (is: boolean): void => {
    fails = is;
  };
  return new Proxy(inner, {
    get: (target, name) => {
      if (name === 'append') return append;
      if (name === 'fail') return fail;
      if (name === 'tries') return () => tries;
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  }) as Journal & { fail(is: boolean): void; readonly tries: () => number };
}

const sixtySecondsAgo = (stage: NewsStage): number => stage.clock.nowMs() - 60_000;

describe('a REVOKE', () => {
  test('S4 has killed when its telling has resolved; a token issued in the second of the cut-off is dead, one issued later is not', async () => {
    const stage = await staged();
    const cutOffMs = sixtySecondsAgo(stage);
    for (const [raw, issuedAtMs] of [
      ['before', cutOffMs],
      ['after', cutOffMs + 1_000],
    ] as const) {
      stage.central.knows(raw, { token: { issuedAtMs, user: { id: 'u' } } });
      expect(verdict(await stage.ask(raw))).toBe('active');
    }
    await stage.poll.sink.tell(newsOf(stage.userEvent('u', cutOffMs + 500)));
    expect(verdict(await stage.ask('before'))).toBe('REVOKED');
    expect(verdict(await stage.ask('after'))).toBe('active');
    // It is a REFRESH too: the token that lives on was asked about again.
    expect(stage.central.reads).toEqual(['before', 'after', 'after']);
  });

  test('S14 told again, by the same source and by another, is the entry that it was', async () => {
    const stage = await staged();
    const news = newsOf(stage.userEvent('u'));
    await stage.poll.sink.tell(news);
    await stage.poll.sink.tell(news);
    await stage.bus.sink.tell(news);
    expect(await stage.entries()).toMatchObject([
      { effect: 'REVOKE', alsoRefreshes: true, origin: { source: 'central/poll', event: 'OS-REVOKE user_id' } },
    ]);
    expect(stage.telemetry.count('sidegate_invalidations_total', { source: 'central/poll', effect: 'revoke' })).toBe(1);
  });

  test('S14 is the same entry on every sidecar, and begins with the second of the news', async () => {
    const [one, other] = [await staged(), await staged({ clock: createFakeClock(Date.UTC(2026, 10, 21, 10, 7, 3)) })];
    const news = newsOf(one.userEvent('u', Date.UTC(2026, 10, 21, 9, 59, 59)));
    await one.poll.sink.tell(news);
    await other.bus.sink.tell(news);
    const [here, there] = [(await one.entries())[0], (await other.entries())[0]];
    expect(here?.id).toBe(there?.id);
    expect(Number.parseInt(here?.id.slice(0, 8) ?? '', 16) * 1_000).toBe(Date.UTC(2026, 10, 21, 9, 59, 59));
  });

  test('S14 told again after a restart, and only then understood otherwise, holds in both meanings', async () => {
    const stage = await staged();
    const news = newsOf({ atMs: stage.clock.nowMs(), invalidations: [revoking([['user', 'u']])] });
    await stage.poll.sink.tell(news);
    await stage.poll.sink.tell({ ...news, invalidations: [revoking([['user', 'v']])] });
    await stage.poll.sink.tell({ ...news, invalidations: [revoking([['user', 'v']])] });
    expect((await stage.entries()).map(({ selector }) => selector.kind === 'fit' && selector.conditions[0]?.value)).toEqual(['u', 'v']);
  });

  test('S3 of a form that has no room becomes the REFRESH of its rarest condition', async () => {
    const stage = await staged();
    const form = (n: number) =>
      revoking([
        ['user', `u${n}`],
        ['project', 'p'],
        ['role', 'r'],
      ]);
    for (let n = 0; n < 1_000; n += 1) await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [form(n)] }));
    await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [form(1_000)] }));
    const last = (await stage.entries()).at(-1);
    expect(last).toMatchObject({ effect: 'REFRESH', selector: { conditions: [{ dimension: 'user', value: 'u1000' }] } });
    expect(await stage.entries()).toHaveLength(1_001);
  });
});

describe('a REFRESH', () => {
  test('S6 merges with others of its selector: two entries in a settle window, however often it is told', async () => {
    const stage = await staged();
    const tells = Array.from({ length: 50 }, () =>
      stage.tell('bus', { atMs: stage.clock.nowMs(), invalidations: [refreshing(['user', 'u'])] }),
    );
    await stage.clock.advance(0);
    expect(tells.filter(({ said }) => said === 'done')).toHaveLength(1);
    await stage.clock.advance(1_999);
    expect(await stage.entries()).toHaveLength(1);
    await stage.clock.advance(1);
    expect(await stage.entries()).toHaveLength(2);
    expect(tells.every(({ said }) => said === 'done')).toBe(true);
  });

  test('S6 of another selector, and a wide one of the same, are others', async () => {
    const stage = await staged();
    const invalidations = [refreshing(['role', 'r']), { ...refreshing(['role', 'r']), isWide: true as const }, refreshing(['role', 's'])];
    await stage.bus.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations }));
    expect((await stage.entries()).map(({ spreadMs }) => spreadMs)).toEqual([undefined, 30_000, undefined]);
  });

  test('has facts fetched again that were learned before it', async () => {
    const stage = await staged();
    stage.central.knows('t', { token: { user: { id: 'u' } } });
    await stage.ask('t');
    await stage.bus.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [refreshing(['user', 'u'])] }));
    stage.central.refuses('t');
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
  });
});

describe('a journal that fails', () => {
  test('has the telling rejected, so that it is told again; what was written is not written twice', async () => {
    const clock = createFakeClock();
    const journal = failing(createMemoryJournal({ clock }));
    const stage = await staged({ clock, journal });
    journal.fail(true);
    const news = newsOf({ atMs: clock.nowMs(), invalidations: [revoking([['user', 'u']]), refreshing(['user', 'u'])] });
    await expect(stage.bus.sink.tell(news)).rejects.toMatchObject({ reason: 'JOURNAL_FAILED' });
    journal.fail(false);
    const again = stage.bus.sink.tell(news);
    await clock.advance(2_000);
    await again;
    expect((await stage.entries()).map(({ effect }) => effect)).toEqual(['REVOKE', 'REFRESH']);
  });

  test('has what nobody waits for tried again, and said once', async () => {
    const clock = createFakeClock();
    const journal = failing(createMemoryJournal({ clock }));
    const stage = await staged({ clock, journal });
    journal.fail(true);
    stage.bus.sink.gap('the binding was gone');
    await clock.advance(120_000);
    const tries = journal.tries();
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(20);
    expect(stage.telemetry.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(stage.degradations.by('central')).toContain('GAP');
    journal.fail(false);
    await clock.advance(60_000);
    expect(await stage.entries()).toMatchObject([{ effect: 'REFRESH', spreadMs: 30_000, selector: { kind: 'everything' } }]);
  });
});

describe('of a source it is said', () => {
  test('what it has proven, and when it brought news, by its own time', async () => {
    const stage = await staged();
    const before = stage.degradations.sources();
    expect(before.map(({ name, lastAliveAtMs }) => [name, lastAliveAtMs])).toEqual([
      ['bus', undefined],
      ['poll', undefined],
    ]);
    await stage.clock.advance(5_000);
    stage.bus.sink.proven(stage.clock.monotonicMs() - 1_000);
    await stage.bus.sink.tell(newsOf({ atMs: stage.clock.nowMs() - 3_000, invalidations: [] }));
    expect(stage.degradations.sources()[0]).toMatchObject({
      issuer: 'central',
      name: 'bus',
      lastAliveAtMs: stage.clock.nowMs() - 1_000,
      lastNewsAtMs: stage.clock.nowMs() - 3_000,
    });
  });

  test('how long its news took, of those that came after it had caught up', async () => {
    const stage = await staged();
    const hourAgo = newsOf({ atMs: stage.clock.nowMs() - 3_600_000, invalidations: [revoking([['user', 'u']])] });
    await stage.poll.sink.tell(hourAgo);
    expect(stage.telemetry.observed('sidegate_news_delay_seconds')).toEqual([]);
    stage.poll.sink.proven(stage.clock.monotonicMs());
    await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs() - 1_500, invalidations: [revoking([['user', 'v']])] }));
    await stage.poll.sink.tell(newsOf({ atMs: stage.clock.nowMs() + 500, invalidations: [] }));
    expect(stage.telemetry.observed('sidegate_news_delay_seconds', { source: 'central/poll' })).toEqual([1.5, 0]);
  });

  test('what it told that means nothing', async () => {
    const stage = await staged();
    stage.bus.sink.ignored('irrelevant');
    stage.bus.sink.ignored('irrelevant');
    stage.bus.sink.ignored('unreadable');
    const count = (why: string): number => stage.telemetry.count('sidegate_news_ignored_total', { source: 'central/bus', why });
    expect([count('irrelevant'), count('unreadable'), count('duplicate')]).toEqual([2, 1, 0]);
  });

  test('S1 how its clock stands to ours', async () => {
    const stage = await staged();
    stage.poll.sink.clockRead?.(60_000);
    expect(stage.offsets).toEqual([['central', 60_000]]);
  });
});

test('after the end a telling that waits is rejected: what it means is not written', async () => {
  const stage = await staged();
  await stage.bus.sink.tell(newsOf({ atMs: stage.clock.nowMs(), invalidations: [refreshing(['user', 'u'])] }));
  const waiting = stage.tell('bus', { atMs: stage.clock.nowMs(), invalidations: [refreshing(['user', 'u'])] });
  await stage.clock.advance(100);
  await stage.end();
  await stage.clock.advance(0);
  expect(waiting.said).toBeInstanceOf(Error);
  expect(await stage.entries()).toHaveLength(1);
});
