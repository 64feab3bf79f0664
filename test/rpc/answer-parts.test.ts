// The rarer parts of an answer: catalog, handle, service token; each only where it is wanted and may be told.

import { describe, expect, it } from 'vitest';
import { revision } from '../../src/core/invalidation.ts';
import { digestOf } from '../../src/core/raw.ts';
import { createTagger } from '../../src/core/tag.ts';
import { InactiveReason, ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { type AnswerContext, AnswerWriter } from '../../src/rpc/answer.ts';
import type { ReadQuestion } from '../../src/rpc/validate-request.ts';
import { type Known, knownOf, namesOf } from '../../src/service/known.ts';
import type { Answer } from '../../src/service/question.ts';
import { handleOf } from '../../src/service/tier/handles.ts';
import { tokenCodec } from '../../src/wire/token-codec.ts';
import { createFakeIssuer, factsOf } from '../fakes/issuer.ts';

const tagger = createTagger([{ id: 'k', secret: Buffer.alloc(32, 3) }]);
const { issuer } = createFakeIssuer();

function knownAs(raw: string, user: string, hasDigest = true): Known {
  const names = namesOf(digestOf(raw), raw, tagger);
  const facts = factsOf('central', { token: { user: { id: user }, claimsJson: `{"sub":"${user}"}` } });
  const began = { wallMs: 1_000_000, monotonicMs: 0, revision: 0 };
  const parts = { issuer, names: hasDigest ? names : { ...names, digest: undefined }, facts, provenance: 'authority' as const, began };
  return knownOf({ ...parts, timeMs: 1000, refreshAhead: 1 }, tagger, tokenCodec);
}

const user = knownAs('t', 'alice');
const service = knownAs('s', 'nova');
const good: Answer = {
  decision: { active: true },
  fingerprint: user.fingerprint,
  known: user,
  provenance: 'MEMORY',
  revoked: undefined,
  asOf: revision(3),
  maxAgeMs: 5000,
  degradedBy: [],
};
const bad: Answer = { ...good, decision: { active: false, reason: 'EXPIRED' }, maxAgeMs: 0 };
const none = { wantsClaims: false, wantsTags: false, wantsDetails: false, wantsHandle: false, catalogFilter: undefined };

function written(answer: Answer, asked: Partial<ReadQuestion> = {}, context: Partial<AnswerContext> = { handles: true }): ValidateResponse {
  const question: ReadQuestion = { raw: 't', ...none, ...asked };
  const bytes = new AnswerWriter().write(answer, question, {
    asOf: { journal: 'J', revision: revision(3) },
    catalogTag: () => 77n,
    ...context,
  });
  return ValidateResponse.decode(bytes);
}

const tags = (known: Known): readonly bigint[] => written({ ...good, known }, { wantsTags: true }).tags;

describe('the catalog of an answer', () => {
  const json = JSON.stringify([
    { id: '1', type: 'compute', name: 'nova', endpoints: [one('north'), one('south')] },
    { id: '2', type: 'image', name: 'glance', endpoints: [one('north')] },
    { id: '3', type: 'dns', name: 'designate', endpoints: [] },
  ]);
  const catalog = Buffer.from(json);
  const all = { regions: [], services: [] };

  function one(region: string): object {
    return { id: `e-${region}`, interface: 'public', region_id: region, region, url: `http://${region}/ü` };
  }

  it('is whole where nothing narrows it', () => {
    const { token } = written({ ...good, catalog }, { catalogFilter: all });

    expect(token?.catalog.map((entry) => [entry.id, entry.type, entry.name, entry.endpoints.length])).toEqual([
      ['1', 'compute', 'nova', 2],
      ['2', 'image', 'glance', 1],
      ['3', 'dns', 'designate', 0],
    ]);
    expect(token?.catalog[0]?.endpoints[1]).toMatchObject({ id: 'e-south', interface: 'public', regionId: 'south', url: 'http://south/ü' });
  });

  it.each([
    { filter: { regions: ['south'], services: [] }, left: ['compute'] },
    { filter: { regions: ['north'], services: ['image'] }, left: ['image'] },
    { filter: { regions: [], services: ['dns', 'image'] }, left: ['image', 'dns'] },
    { filter: { regions: ['west'], services: [] }, left: [] },
  ])('is narrowed to $filter: $left', ({ filter, left }) => {
    expect(written({ ...good, catalog }, { catalogFilter: filter }).token?.catalog.map(({ type }) => type)).toEqual(left);
  });

  it('W15 has a tag of its own: with it an answer is dropped when the catalogs change, and without it is not', () => {
    const own = tags(user);
    expect(own).not.toContain(77n);
    expect(written({ ...good, catalog }, { catalogFilter: all, wantsTags: true }).tags).toEqual([...own, 77n]);
    expect(written({ ...good, catalog }, { catalogFilter: all }).tags).toEqual([]);
    expect(written({ ...good, catalog }, { wantsTags: true }).tags).toEqual(own);
  });

  it('is not sent where it was not asked for, nor with a dead token', () => {
    expect(written({ ...good, catalog }).token?.catalog).toEqual([]);
    expect(written({ ...bad, catalog }, { catalogFilter: all }).token).toBeUndefined();
  });

  it.each(['', 'null', '{}', 'not JSON', '[null,1,[],{"endpoints":3}]'])(
    'that says nothing is no reason to say nothing of the token: %s',
    (text) => {
      expect(written({ ...good, catalog: Buffer.from(text) }, { catalogFilter: all })).toMatchObject({
        active: true,
        token: { user: { id: 'alice' } },
      });
    },
  );
});

describe('the handle of an answer', () => {
  it('is told where it is wanted', () => {
    expect(written(good, { wantsHandle: true }).handle).toBe(handleOf(digestOf('t')));
    expect(written(good).handle).toBe('');
  });

  it('is not told where handles are off, where only public names are known, or where the token is dead', () => {
    expect(written(good, { wantsHandle: true }, { handles: false }).handle).toBe('');
    expect(written(good, { wantsHandle: true }, {}).handle).toBe('');
    expect(written({ ...good, known: knownAs('t', 'alice', false) }, { wantsHandle: true }).handle).toBe('');
    expect(written(bad, { wantsHandle: true }).handle).toBe('');
  });
});

describe('the service token of an answer', () => {
  it('S16 has its facts told, without its claims, and the token has its own', () => {
    const answer = written({ ...good, service }, { wantsClaims: true });

    expect(answer.service).toMatchObject({ user: { id: 'nova' }, claimsJson: '' });
    expect(answer.token).toMatchObject({ user: { id: 'alice' }, claimsJson: '{"sub":"alice"}' });
    expect(written(good).service).toBeUndefined();
  });

  it('S16 lends its tags: whatever kills either of them ends the answer', () => {
    const union = written({ ...good, service }, { wantsTags: true }).tags;

    expect(new Set(union)).toEqual(new Set([...tags(user), ...tags(service)]));
    expect(union).toHaveLength(new Set(union).size);
    expect(tags(user)).not.toEqual(tags(service));
    expect(written({ ...good, service }).tags).toEqual([]);
  });

  it('S16 says no more than why, where it is bad', () => {
    const answer: Answer = { ...bad, decision: { active: false, reason: 'BAD_SERVICE_TOKEN' }, known: undefined, provenance: undefined };

    expect(written(answer, { wantsTags: true, wantsDetails: true, wantsHandle: true })).toMatchObject({
      active: false,
      reason: InactiveReason.BAD_SERVICE_TOKEN,
      token: undefined,
      service: undefined,
      tags: [],
      handle: '',
    });
  });
});

describe('an answer from facts past their time', () => {
  it('is degraded by STALE_FACTS, and has no max_age', () => {
    expect(written({ ...good, maxAgeMs: 0, degradedBy: ['STALE_FACTS'] })).toMatchObject({
      active: true,
      degraded: true,
      degradedBy: ['STALE_FACTS'],
      maxAge: undefined,
    });
  });
});

describe('a handle that nobody knows', () => {
  it('is no identity: 1 to 31', () => {
    const answer: Answer = { ...bad, decision: { active: false, reason: 'UNKNOWN_HANDLE' }, known: undefined, provenance: undefined };

    expect(written(answer).reason).toBe(InactiveReason.UNKNOWN_HANDLE);
    expect(written(answer).reason).toBeLessThan(32);
  });
});
