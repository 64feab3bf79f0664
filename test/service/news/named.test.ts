// Whoever is named is named once, whichever sidecar was told of him, and in whatever order it is heard.

import { describe, expect, it } from 'vitest';
import { entryIdOf } from '../../../src/core/entry-id.ts';
import type { Entry } from '../../../src/core/invalidation.ts';
import type { News } from '../../../src/ports.ts';
import { draftOf, requestOf } from '../../../src/service/news/drafts.ts';
import { Named } from '../../../src/service/news/named.ts';
import { newsOf, revoking } from '../../fakes/news-source.ts';

const place = { issuer: 'central', source: 'poll' };
const atMs = Date.UTC(2026, 10, 21, 10, 0, 0);
const of = (user: string): News =>
  newsOf({ event: 'OS-REVOKE user_id', atMs, about: [user], invalidations: [revoking([['user', user]], atMs)] });

/** As another sidecar appends it. */
function entryOf(news: News, source = 'poll'): Entry {
  const [one] = news.invalidations;
  if (one === undefined) throw new Error('it means nothing');
  const draft = draftOf(one, news, { ...place, source }, { revokeLifeMs: 1, refreshLifeMs: 1, wideWindowMs: 1 }, atMs);
  const { caller, requestId } = requestOf(news, 0, place, draft);
  const { effect, selector, origin } = draft;
  return {
    id: entryIdOf({ caller, requestId }, atMs),
    effect,
    selector,
    alsoRefreshes: true,
    learnedAtMs: 0,
    forgetAtMs: 0,
    keyId: '',
    origin,
  };
}

function stageOf() {
  const told: News[] = [];
  return { told, named: new Named({ ...place, told: (news) => told.push(news) }) };
}

describe('who is named', () => {
  it.each(['here first', 'elsewhere first'])('here and elsewhere is named once, %s', (order) => {
    const { told, named } = stageOf();
    const news = of('alice');
    const steps = [() => named.told(news), () => named.heard(entryOf(news))];
    for (const step of order === 'here first' ? steps : steps.toReversed()) step();
    named.told(news);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({
      event: 'OS-REVOKE user_id',
      atMs,
      invalidations: [{ effect: 'REVOKE', conditions: [{ dimension: 'user', value: 'alice' }] }],
    });
  });

  it('is named by what was asked for, and by nothing else', () => {
    const { told, named } = stageOf();
    const entry = entryOf(of('alice'));
    named.heard(entryOf(of('bob'), 'bus'));
    named.heard({ ...entry, origin: { source: 'elsewhere/poll' } });
    named.heard({ ...entry, effect: 'REFRESH' });
    named.heard({ ...entry, selector: { kind: 'everything', issuer: 'central' } });
    named.heard({ ...entry, id: 'no id of ours' });
    expect(told).toEqual([]);
    named.heard(entry);
    expect(told).toHaveLength(1);
  });

  it('is remembered among ten thousand, and not among more', () => {
    const { told, named } = stageOf();
    const first = of('alice');
    named.told(first);
    for (let n = 0; n < 9_999; n += 1) named.told(of(`user ${n}`));
    named.told(first);
    expect(told).toHaveLength(10_000);
    named.told(of('one more'));
    named.told(first);
    expect(told).toHaveLength(10_002);
  });
});
