// What comes late, and what comes of it: slow answers, late failures, forgotten REFRESHes, and answers that are made of two.

import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createFakeIssuer, type FactsSaid, type FakeIssuer, factsOf } from '../fakes/issuer.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { createRegion, inTime, type Region, type RegionOptions } from './sidecars.ts';
import { createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function regionOf(options: RegionOptions = {}): Promise<Region> {
  const region = await createRegion({ skews: [0, 0], ...options });
  ends.push(() => region.close());
  return region;
}

async function stageOf(options: StageOptions = {}): Promise<ValidationStage & { readonly issuer: FakeIssuer }> {
  const stage = await createValidationStage(options);
  ends.push(() => stage.close());
  return { ...stage, issuer: options.issuers?.[0] ?? stage.central };
}

const onProject: FactsSaid = { token: { user: { id: 'alice' }, scope: { kind: 'project', project: { id: 'p', isDomain: false } } } };
const catalogToo = { more: { catalog: true } };

/** Good, slowly, for who wants the catalog; refused for everybody else. Answers how to let the slow ones go. */
function slowWithCatalog(central: Pick<ValidationStage, 'central'>['central']): () => void {
  let release: () => void = () => undefined;
  central.script(async (_raw, _signal, { catalog }) => {
    if (!catalog) return { kind: 'inactive', reason: 'REFUSED' };
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return { kind: 'facts', facts: factsOf('central', onProject), provenance: 'authority', catalog: '[]' };
  });
  return () => release();
}

describe('S6 one flight at a time, however many ask', () => {
  it('and however many REFRESHes come while it is under way', async () => {
    const stage = await stageOf();
    stage.central.knows('t', onProject);
    const held = stage.central.hold();
    const first = stage.ask('t');
    await stage.clock.advance(100);
    const calls = Array.from({ length: 50 }, () => stage.ask('t'));
    for (let n = 0; n < 3; n += 1) {
      await stage.clock.advance(100);
      await stage.refreshUser('alice');
      held.one();
      await settled();
    }
    held.all();
    for (const answer of [await first, ...(await Promise.all(calls))]) expect([verdict(answer), answer.maxAgeMs]).toEqual(['active', 0]);
    expect(stage.central.reads).toHaveLength(2);
  });
});

describe('S9 a refused token stays refused', () => {
  it('when the slow answer to an earlier question comes after the refusal', async () => {
    const stage = await stageOf();
    const release = slowWithCatalog(stage.central);
    const slow = stage.ask('t', catalogToo);
    await settled();
    await stage.clock.advance(1000);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    release();
    await slow;
    await stage.clock.advance(100);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
  });

  it('and that slow answer does not go to the shared tier either', async () => {
    const region = await regionOf();
    const release = slowWithCatalog(region.central);
    const slow = region.first.ask('t', catalogToo);
    await settled();
    await region.clock.advance(3000);
    expect(verdict(await inTime(region.clock, region.first.ask('t'), 0))).toBe('REFUSED');
    release();
    await slow;
    await settled();
    expect(region.store.names().filter((name) => name.startsWith('facts '))).toEqual([]);
  });

  it('when a flight that had found facts in the tier, too old for its question, fails after the refusal', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject);
    await region.first.ask('t');
    await settled();
    await region.clock.advance(10_000);
    let fail: (error: Error) => void = () => undefined;
    region.central.script(async (_raw, _signal, { catalog }) => {
      if (catalog) return { kind: 'inactive', reason: 'REFUSED' };
      await new Promise<void>((_resolve, reject) => {
        fail = reject;
      });
      throw new Error('never');
    });
    const slow = region.second.ask('t', { maxStalenessMs: 1000 }).catch(() => undefined);
    await settled();
    await region.clock.advance(2500);
    expect(verdict(await inTime(region.clock, region.second.ask('t', catalogToo), 1000))).toBe('REFUSED');
    fail(new SidecarError('UNAVAILABLE', 'down', { reason: 'DOWN', retryAfterMs: 1 }));
    await slow;
    await settled();
    expect(verdict(await inTime(region.clock, region.second.ask('t'), 1000))).toBe('REFUSED');
  });
});

it('S4 a Revoke that the authority has accepted leaves no new facts of that token in the shared tier', async () => {
  const central = createFakeIssuer({
    revoke: async (raw: string) => {
      central.refuses(raw);
      return 'accepted' as const;
    },
  });
  const region = await regionOf({ central });
  central.knows('t', onProject);
  const done = await inTime(region.clock, region.first.revokeToken('t', {}, 'tcp', 'always'), 500);
  await settled();
  expect(done.forwarding).toBe('accepted');
  expect(verdict(await inTime(region.clock, region.second.ask('t'), 500))).toBe('REFUSED');
});

it('S15 a deadline that passes while a lease is waited for is UNAVAILABLE', async () => {
  const central = createFakeIssuer({ calls: { deadlineMs: 60, concurrency: 16, queue: 1024 } });
  const open = createFakeSharedStore({ nowMs: () => 0 }).open();
  const add = async (): Promise<'exists'> => {
    await new Promise((resolve) => setTimeout(resolve, 70));
    return 'exists';
  };
  const stage = await stageOf({ issuers: [central], shared: { ...open, add } });
  await expect(stage.ask('t')).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'UPSTREAM_TIMEOUT' });
});

it('S12 a shared catalog of before a REFRESH does not come back when the REFRESH is compacted', async () => {
  const region = await regionOf();
  region.central.knows('t', onProject);
  region.central.hasCatalog('["old"]');
  await region.first.ask('t', catalogToo);
  await settled();
  await region.clock.advance(10_000);
  await region.first.refreshUser('alice');
  region.central.hasCatalog('["new"]');
  for (let minute = 0; minute < 7; minute += 1) await region.clock.advance(60_000);
  const again = await region.join({ journal: region.first.journal });
  await again.ask('t');
  await settled();
  const { catalog } = await again.ask('t', catalogToo);
  expect(Buffer.from(catalog ?? []).toString()).toBe('["new"]');
});

it('S12 what was fetched while a REFRESH settled does not come back when that is forgotten', async () => {
  const times = { settleMs: 60_000, limits: { timeMs: 100_000 }, catalogs: { enabled: false } };
  const stage = await stageOf({ ...times, issuers: [createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1024, queue: 1024 } })] });
  const users = Array.from({ length: 100 }, (_, n) => `user${n}`);
  const askAll = (): Promise<string[]> => Promise.all(users.map(async (user) => (await stage.ask(user)).provenance ?? 'NONE'));
  await Promise.all(users.map((user) => stage.refreshUser(user)));
  await stage.clock.advance(59_000);
  for (const id of users) stage.issuer.knows(id, { token: { user: { id } } });
  await askAll();
  // Whatever part of the index is swept, and however far that is looked into again.
  await stage.clock.advance(62_000);
  for (let n = 0; n < 20; n += 1) await stage.refreshUser('another');
  expect(new Set(await askAll())).toEqual(new Set(['AUTHORITY']));
});

it('W15 max_age ends with the facts of the service token', async () => {
  const stage = await stageOf();
  stage.central.knows('s', { token: { user: { id: 'svc' }, roles: [{ id: 'r', name: 'service' }] } });
  await stage.ask('s');
  await stage.clock.advance(296_000);
  stage.central.knows('t');
  const held = stage.central.hold();
  const asked = stage.ask('t', { more: { serviceToken: 's' } });
  await settled();
  await stage.clock.advance(3_900);
  held.all();
  expect((await asked).maxAgeMs).toBeLessThanOrEqual(100);
});

it('W15 max_age of an answer with a catalog ends with the catalog', async () => {
  const stage = await stageOf();
  stage.central.knows('t', onProject);
  stage.central.hasCatalog('["old"]');
  await stage.ask('t', catalogToo);
  for (let minute = 0; minute < 9; minute += 1) await stage.clock.advance(60_000);
  await stage.ask('t');
  await stage.clock.advance(50_000);
  const answer = await stage.ask('t', catalogToo);
  expect(answer.provenance).toBe('MEMORY');
  expect(answer.maxAgeMs).toBeLessThanOrEqual(10_000);
});

it('S9 a mass refusal, which may be the authority’s fault, does not empty the shared tier', async () => {
  const region = await regionOf();
  const raws = Array.from({ length: 60 }, (_, n) => `t${n}`);
  for (const raw of raws) region.central.knows(raw, onProject);
  for (const raw of raws) await region.first.ask(raw);
  await settled();
  await region.clock.advance(10_000);
  for (const raw of raws) region.central.refuses(raw);
  for (const raw of raws) await region.first.ask(raw, { maxStalenessMs: 1000 });
  await settled();

  expect(region.store.names().filter((name) => name.startsWith('facts ')).length).toBeGreaterThanOrEqual(40);
});

it('a call whose own flight fails is answered from the facts that another flight has brought meanwhile', async () => {
  const stage = await stageOf();
  let fail: () => void = () => undefined;
  stage.central.script(async (_raw, _signal, { catalog }) => {
    if (catalog) return { kind: 'facts', facts: factsOf('central', onProject), provenance: 'authority', catalog: '[]' };
    await new Promise<void>((resolve) => {
      fail = resolve;
    });
    throw new SidecarError('UNAVAILABLE', 'nobody answers', { reason: 'KEYSTONE_UNAVAILABLE' });
  });
  const unlucky = stage.ask('t');
  await settled();
  expect(verdict(await stage.ask('t', catalogToo))).toBe('active');
  fail();

  expect(verdict(await unlucky)).toBe('active');
});
