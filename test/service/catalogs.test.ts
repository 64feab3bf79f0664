// Service catalogs: records of their own beside the facts, asked for once for a user on a project (S1).

import { afterEach, describe, expect, it } from 'vitest';
import type { Answer } from '../../src/service/question.ts';
import { createFakeIssuer, type FactsSaid } from '../fakes/issuer.ts';
import { createRegion, type Region, type RegionOptions } from './sidecars.ts';
import type { ValidationStage } from './validation-stage.ts';
import { settled, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function regionOf(options: RegionOptions = {}): Promise<Region> {
  const region = await createRegion(options);
  ends.push(() => region.close());
  return region;
}

const onProject = (user: string, project: string, more: FactsSaid['token'] = {}): FactsSaid => ({
  token: { user: { id: user }, scope: { kind: 'project', project: { id: project, isDomain: false } }, ...more },
});
const json = '[{"type":"compute","endpoints":[{"region_id":"one","url":"http://ü"}]}]';
const withCatalog = (stage: ValidationStage, raw: string, more = {}): Promise<Answer> =>
  stage.ask(raw, { more: { catalog: true, ...more } });
const text = ({ catalog }: Answer): string | undefined => catalog && Buffer.from(catalog).toString('utf8');

async function withTokens(options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf(options);
  region.central.hasCatalog(json);
  region.central.knows('t', onProject('alice', 'p'));
  region.central.knows('u', onProject('alice', 'p'));
  return region;
}

const asked = ({ central }: Region): readonly string[] =>
  central.questions.map(({ raw, options }) => `${raw}${options.catalog ? ' catalog' : ''}`);

describe('a catalog', () => {
  it('comes byte for byte as the authority sent it, and only where it is wanted', async () => {
    const region = await withTokens();
    expect(text(await withCatalog(region.first, 't'))).toBe(json);

    expect((await region.first.ask('t')).catalog).toBeUndefined();
  });

  it('is asked for once for two tokens of one user on one project', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await region.first.ask('u');
    expect(text(await withCatalog(region.first, 'u'))).toBe(json);

    expect(asked(region)).toEqual(['t catalog', 'u']);
    expect(region.first.catalogs.size).toBe(1);
  });

  it('a token that is not known yet finds the one of another in the tier, as soon as its facts are there', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await region.second.ask('u');
    await settled();
    expect(text(await withCatalog(region.second, 'u'))).toBe(json);
    expect(text(await withCatalog(region.third, 'u'))).toBe(json);

    expect(asked(region)).toEqual(['t catalog', 'u']);
  });

  it.each([
    ['another user', onProject('bob', 'p')],
    ['another project', onProject('alice', 'q')],
    ['a domain of the same id', { token: { user: { id: 'alice' }, scope: { kind: 'domain', domain: { id: 'p' } } } }],
    ['the system', { token: { user: { id: 'alice' }, scope: { kind: 'system' } } }],
    ['a trustee', onProject('alice', 'p', { trust: { id: 'x', trustorUserId: 'alice', trusteeUserId: 'carol', impersonation: true } })],
  ] as const)('is not that of %s', async (_who, said) => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    region.central.hasCatalog('[]');
    region.central.knows('other', said);
    await region.first.ask('other');

    expect(text(await withCatalog(region.first, 'other'))).toBe('[]');
    expect(text(await withCatalog(region.first, 't'))).toBe(json);
  });

  it('of another issuer’s user of the same id is another', async () => {
    const [one, two] = [createFakeIssuer({ name: 'one', prefix: 'one_' }), createFakeIssuer({ name: 'two', prefix: 'two_' })];
    const region = await regionOf();
    const stage = await region.join({ issuers: [one, two] });
    one.knows('one_t', onProject('alice', 'p'));
    two.knows('two_t', onProject('alice', 'p'));
    one.hasCatalog('[1]');
    two.hasCatalog('[2]');
    await withCatalog(stage, 'one_t');
    await stage.ask('two_t');

    expect(text(await withCatalog(stage, 'two_t'))).toBe('[2]');
  });

  it.each([
    { afterMs: 199_999, expected: ['t catalog'] },
    { afterMs: 200_000, expected: ['t catalog', 't catalog'] },
  ])('S1 has a time of its own: after $afterMs of 200,000 ms $expected', async ({ afterMs, expected }) => {
    const region = await withTokens({ catalogs: { timeMs: 200_000 } });
    await withCatalog(region.first, 't');
    await region.clock.advance(afterMs);
    await withCatalog(region.first, 't');

    expect(asked(region)).toEqual(expected);
  });

  it('S1 outlives the facts it came with', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await region.clock.advance(300_000);
    await region.first.ask('t');
    await withCatalog(region.first, 't');

    expect(asked(region)).toEqual(['t catalog', 't']);
  });

  it('S1 of another sidecar is skew older, and not made younger by being copied', async () => {
    const region = await withTokens({ catalogs: { timeMs: 100_000 } });
    await withCatalog(region.first, 't');
    await settled();
    await region.clock.advance(90_000);
    await withCatalog(region.second, 't');
    expect(asked(region)).toHaveLength(1);
    await region.clock.advance(7_999);
    await withCatalog(region.second, 't');
    expect(asked(region)).toHaveLength(1);
    await region.clock.advance(1);
    await withCatalog(region.second, 't');

    expect(asked(region)).toHaveLength(2);
  });

  it('a REFRESH of the token has it fetched again, here and out of the tier', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await withCatalog(region.second, 't');
    await settled();
    region.central.hasCatalog('[]');
    await region.first.refreshUser('alice');
    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
    await region.second.refreshUser('alice');

    expect(text(await withCatalog(region.second, 't'))).toBe('[]');
  });

  it('S6 fetched while a REFRESH settles it serves only until that is over', async () => {
    const region = await withTokens();
    await region.first.refreshUser('alice');
    expect(text(await withCatalog(region.first, 't'))).toBe(json);
    region.central.hasCatalog('[]');
    await region.clock.advance(2000);
    await region.first.ask('t');

    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
  });

  it('S6 fetched while a REFRESH settles it does not enter the tier', async () => {
    const region = await withTokens();
    await region.first.refreshUser('alice');
    await withCatalog(region.first, 't');
    await settled();

    expect(region.store.names().filter((name) => name.startsWith('catalog '))).toEqual([]);
  });

  it('S6 a slow one that began before a REFRESH is not kept as if it had come after', async () => {
    const region = await withTokens();
    const held = region.central.hold();
    const slow = withCatalog(region.first, 't');
    await settled();
    await region.first.refreshUser('alice');
    held.all();
    await slow;
    region.central.hasCatalog('[]');
    await region.clock.advance(2000);
    await region.first.ask('t');

    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
  });

  it('with the authority down there is none, and without it there is an answer', async () => {
    const region = await withTokens();
    await region.first.ask('t');
    region.central.isDown();
    await expect(withCatalog(region.first, 't')).rejects.toMatchObject({ code: 'UNAVAILABLE' });

    expect(verdict(await region.first.ask('t'))).toBe('active');
  });

  it('of a token that is dead nobody asks', async () => {
    const region = await withTokens();
    await region.first.ask('t');
    await region.first.revokeToken('t');
    region.central.isDown();
    const answer = await withCatalog(region.first, 't');

    expect(verdict(answer)).toBe('REVOKED');
    expect(answer.catalog).toBeUndefined();
  });

  it('of a token that does not meet the demand neither', async () => {
    const region = await withTokens();
    await region.first.ask('t');
    region.central.isDown();

    expect(verdict(await region.first.ask('t', { demand: { scope: { kind: 'system' } }, more: { catalog: true } }))).toBe('WRONG_SCOPE');
  });

  it('an unscoped token has an empty one, and nobody is asked twice', async () => {
    const region = await withTokens();
    region.central.knows('plain', { token: { user: { id: 'alice' } } });
    expect(text(await withCatalog(region.first, 'plain'))).toBe('');
    expect(text(await withCatalog(region.first, 'plain'))).toBe('');

    expect(asked(region)).toHaveLength(1);
  });

  it('an issuer without catalogs is not asked for any', async () => {
    const central = createFakeIssuer({ hasCatalogs: false });
    central.knows('t', onProject('alice', 'p'));
    const region = await regionOf({ central });
    expect(text(await withCatalog(region.first, 't'))).toBe('');
    expect(text(await withCatalog(region.first, 't'))).toBe('');

    expect(asked(region)).toEqual(['t']);
  });

  it('where they are not kept every question that wants one asks, and the tier has none', async () => {
    const region = await withTokens({ catalogs: { enabled: false } });
    expect(text(await withCatalog(region.first, 't'))).toBe(json);
    expect(text(await withCatalog(region.first, 't'))).toBe(json);
    await settled();

    expect(asked(region)).toHaveLength(2);
    expect(region.first.catalogs.size).toBe(0);
    expect(region.store.names().filter((name) => name.startsWith('catalog '))).toEqual([]);
  });

  it('many calls at once that want it are one question', async () => {
    const region = await withTokens();
    const held = region.central.hold();
    const calls = Array.from({ length: 100 }, () => withCatalog(region.first, 't'));
    await settled();
    held.all();

    expect(new Set((await Promise.all(calls)).map(text))).toEqual(new Set([json]));
    expect(asked(region)).toHaveLength(1);
  });

  it('a refused question for one says nothing about the token of others', async () => {
    const region = await withTokens();

    expect(verdict(await withCatalog(region.first, 'nobody'))).toBe('REFUSED');
    expect(verdict(await withCatalog(region.first, 't'))).toBe('active');
  });
});

describe('S8 a REFRESH of the catalogs of an issuer', () => {
  const refresh = async (stage: ValidationStage, issuer = 'central'): Promise<void> => {
    const selector = { kind: 'fit' as const, issuer, conditions: [{ dimension: 'catalog' as const, value: 'catalog' }] };
    await stage.invalidations.append({ effect: 'REFRESH', selector, lifeMs: 602_000, origin: { source: 'central/bus' } });
  };

  it('has them fetched again, and leaves facts as they are', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await refresh(region.first);
    region.central.hasCatalog('[]');
    const bare = await region.first.ask('t');
    expect([bare.provenance, bare.degradedBy, bare.maxAgeMs]).toEqual(['MEMORY', [], 300_000]);
    expect(asked(region)).toHaveLength(1);
    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
    expect(asked(region)).toHaveLength(2);
  });

  it('S6 settles like any other: what was fetched too soon serves until that is over, and is not shared', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await settled();
    await refresh(region.first);
    const provisional = await withCatalog(region.first, 't');
    expect(provisional.maxAgeMs).toBe(2000);
    await settled();
    region.central.hasCatalog('[]');
    await region.clock.advance(1999);
    expect(text(await withCatalog(region.first, 't'))).toBe(json);
    await region.clock.advance(1);
    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
    await region.clock.advance(100_000);
    expect(text(await withCatalog(region.first, 't'))).toBe('[]');
    expect(asked(region)).toHaveLength(3);
  });

  it('W15 what was under way when it came may not be repeated: the next one fetches', async () => {
    const region = await withTokens();
    await region.first.ask('t');
    const held = region.central.hold();
    const underWay = withCatalog(region.first, 't');
    await settled();
    await refresh(region.first);
    held.all();
    const answer = await underWay;
    expect([text(answer), answer.asOf, answer.maxAgeMs]).toEqual([json, 1, 0]);
    expect((await region.first.ask('t')).maxAgeMs).toBe(300_000);
  });

  it('S6 who joins a fetch that began before it waits for one more', async () => {
    const region = await withTokens();
    const held = region.central.hold();
    const before = withCatalog(region.first, 't');
    await settled();
    await refresh(region.first);
    const after = withCatalog(region.first, 't');
    held.one();
    expect(text(await before)).toBe(json);
    region.central.hasCatalog('[]');
    held.all();
    expect(text(await after)).toBe('[]');
  });

  it('what another sidecar stored before it is not used', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await settled();
    await region.clock.advance(5000);
    await region.second.ask('t');
    await refresh(region.second);
    region.central.hasCatalog('[]');
    const call = withCatalog(region.second, 't');
    await settled();
    await region.clock.advance(500);
    expect(text(await call)).toBe('[]');
    await settled();
    // Nor is what may be from before it stored.
    expect(text(await withCatalog(region.third, 't'))).toBe(json);
  });

  it('of another issuer is another', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await refresh(region.first, 'corp');
    await withCatalog(region.first, 't');
    expect(asked(region)).toHaveLength(1);
  });

  it('keeps nobody out while the authority is away: the old one serves, marked, until its time', async () => {
    const region = await withTokens();
    await withCatalog(region.first, 't');
    await refresh(region.first);
    region.central.isDown();
    for (const afterMs of [0, 29_000, 29_000]) {
      await region.clock.advance(afterMs);
      const answer = await withCatalog(region.first, 't');
      expect([verdict(answer), text(answer), answer.degradedBy, answer.maxAgeMs]).toEqual(['active', json, ['STALE_FACTS'], 0]);
      expect((await region.first.ask('t')).degradedBy).toEqual([]);
    }
  });

  it('S7 takes no more than half of the queue: beyond it the old one serves, until the slot of that catalog', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1, queue: 2 } });
    const region = await withTokens({ central });
    for (const raw of ['one', 'two']) central.knows(raw, onProject(raw, 'p'));
    await withCatalog(region.first, 't');
    const held = central.hold();
    const others = ['one', 'two'].map((raw) => region.first.ask(raw));
    await settled();
    await refresh(region.first);
    const answer = await withCatalog(region.first, 't');
    expect([text(answer), answer.degradedBy]).toEqual([json, []]);
    expect(answer.maxAgeMs).toBeGreaterThan(0);
    expect(answer.maxAgeMs).toBeLessThan(30_000);
    await region.clock.advance(answer.maxAgeMs + 1);
    expect((await withCatalog(region.first, 't')).degradedBy).toEqual(['STALE_FACTS']);
    held.all();
    await Promise.all(others);
    expect((await withCatalog(region.first, 't')).degradedBy).toEqual([]);
  });
});

describe('the memory of catalogs', () => {
  it('is bounded, one too large is not kept, and no facts are pushed out by any', async () => {
    const region = await withTokens({ catalogs: { memoryBytes: 10_000 } });
    for (let n = 0; n < 50; n += 1) {
      region.central.knows(`t${n}`, onProject('alice', `p${n}`));
      region.central.hasCatalog(JSON.stringify([{ type: 'x'.repeat(n === 25 ? 20_000 : 1000) }]));
      await withCatalog(region.first, `t${n}`);
    }

    expect(region.first.catalogs.bytes).toBeLessThanOrEqual(10_000);
    expect(region.first.catalogs.size).toBeGreaterThan(3);
    expect(region.first.facts.entries('memory')).toBe(50);
  });

  it('an older one that comes later does not replace a newer one', async () => {
    const region = await withTokens();
    await region.first.ask('t');
    await region.first.ask('u');
    const held = region.central.hold();
    const slow = withCatalog(region.first, 't');
    await settled();
    await region.clock.advance(10);
    const quick = withCatalog(region.first, 'u');
    await settled();
    region.central.hasCatalog('[]');
    held.all();
    await Promise.all([slow, quick]);
    const { known } = await region.first.ask('t');

    expect(known && region.first.catalogs.find(known)).toEqual(Buffer.from('[]'));
  });
});
