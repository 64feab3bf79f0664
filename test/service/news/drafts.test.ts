// From what news say to what is appended.

import { describe, expect, test } from 'vitest';
import { draftOf, requestOf } from '../../../src/service/news/drafts.ts';
import { newsOf, refreshing, revoking } from '../../fakes/news-source.ts';

const nowMs = Date.UTC(2026, 10, 21, 10, 0, 0);
const atMs = nowMs - 1_234;
const place = { issuer: 'central', source: 'bus' };
const times = { revokeLifeMs: 1_000_000, refreshLifeMs: 600_000, wideWindowMs: 30_000 };
const news = newsOf({ event: 'identity.user.deleted', atMs, requestId: 'req-1' });
const draft = (one: Parameters<typeof draftOf>[0]) => draftOf(one, news, place, times, nowMs);

describe('S4 a REVOKE by news', () => {
  test('cuts off by the source’s time, in whole seconds, and refreshes too', () => {
    expect(draft(revoking([['user', 'u']], nowMs - 5_000))).toEqual({
      effect: 'REVOKE',
      alsoRefreshes: true,
      selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: 'u' }] },
      issuedBeforeMs: nowMs - 5_000,
      lifeMs: 1_000_000,
      atMs,
      origin: { source: 'central/bus', event: 'identity.user.deleted', requestId: 'req-1' },
    });
  });

  test('without a cut-off has the second of the news, never that of its receipt', () => {
    expect(draft(revoking([['user', 'u']])).issuedBeforeMs).toBe(nowMs - 2_000);
  });

  test('that names one token has none: it kills whenever that was issued', () => {
    expect(draft(revoking([['identity', 'a']], nowMs))).not.toHaveProperty('issuedBeforeMs');
  });

  test('S12 of an issuer whose clock is ahead is not brought forward, and is kept as much longer', () => {
    const ahead = draft(revoking([['user', 'u']], nowMs + 60_000));
    expect([ahead.issuedBeforeMs, ahead.lifeMs]).toEqual([nowMs + 60_000, 1_060_000]);
  });

  test('of everything that is wide is at once a REVOKE, and its REFRESH is spread', () => {
    expect(draft({ effect: 'REVOKE', conditions: [], issuedBeforeMs: nowMs, isWide: true })).toMatchObject({
      effect: 'REVOKE',
      alsoRefreshes: true,
      spreadMs: 30_000,
      selector: { kind: 'everything', issuer: 'central' },
    });
  });
});

describe('S6 a REFRESH by news', () => {
  test('lives as long as anything that it makes stale is kept', () => {
    expect(draft(refreshing(['role', 'r']))).toEqual({
      effect: 'REFRESH',
      selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'role', value: 'r' }] },
      lifeMs: 600_000,
      atMs,
      origin: { source: 'central/bus', event: 'identity.user.deleted', requestId: 'req-1' },
    });
  });

  test('S7 that is wide is spread over the window, and outlives two of them', () => {
    expect(draft({ ...refreshing(['role', 'r']), isWide: true })).toMatchObject({ spreadMs: 30_000, lifeMs: 600_000 + 60_000 });
  });
});

test('S14 the same news is one request, whichever source tells it; each of its invalidations another', () => {
  const one = draft(revoking([['user', 'u']]));
  const names = [requestOf(news, 0, place, one), requestOf(news, 0, { ...place, source: 'poll' }, one), requestOf(news, 1, place, one)];
  expect(names[0]).toEqual({ caller: 'news/central', requestId: `${news.id} 0`, body: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect([names[1], names[2]?.requestId]).toEqual([names[0], `${news.id} 1`]);
});
