// Tokens that tell all of themselves beside tokens that an authority is asked about, of one issuer: what a signature proves is judged,
// shared and revoked as what it is, whatever the issuer's other tokens are.

import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { Selector } from '../../src/core/selector.ts';
import type { Answer } from '../../src/service/question.ts';
import { createFakeIssuer, type FactsSaid, type FakeIssuer, type FakeIssuerOptions } from '../fakes/issuer.ts';
import { createRegion, type Region } from './sidecars.ts';
import { always, askedBy, createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const signed = 'PKIZ_eJy-told-by-its-signature';
const other = 'PKIZ_eJy-another-one';
const asked = 'gAAAAABk-asked-about';
const onProject: FactsSaid = { token: { user: { id: 'alice' }, scope: { kind: 'project', project: { id: 'p', isDomain: false } } } };
const hashOf = (algorithm: 'sha256' | 'md5', raw: string): string => createHash(algorithm).update(raw).digest('hex');

function keystone(options: FakeIssuerOptions = {}): FakeIssuer {
  const central = createFakeIssuer({ tellsAll: (raw) => raw.startsWith('PKIZ_'), ...options });
  for (const raw of [signed, other, asked]) central.knows(raw, onProject);
  return central;
}

async function stageOf(central: FakeIssuer, options: StageOptions = {}): Promise<ValidationStage> {
  const stage = await createValidationStage({ issuers: [central], ...options });
  ends.push(() => stage.close());
  return stage;
}

async function regionOf(central: FakeIssuer, options: { readonly handles?: boolean } = {}): Promise<Region> {
  const region = await createRegion({ central, ...options });
  ends.push(() => region.close());
  return region;
}

const by = (dimension: 'group' | 'identity' | 'user', value: string): Selector => ({
  kind: 'fit',
  issuer: 'central',
  conditions: [{ dimension, value }],
});
const revoke = (stage: ValidationStage, selector: Selector): Promise<unknown> =>
  stage.revoker.revokeSelector(selector, undefined, askedBy(), always);
const entriesOf = (stage: ValidationStage) => stage.journal.read(0 as Parameters<typeof stage.journal.read>[0], 1000);
const withCatalog = (stage: ValidationStage, raw: string): Promise<Answer> => stage.ask(raw, { more: { catalog: true } });
const text = ({ catalog }: Answer): string | undefined => catalog && Buffer.from(catalog).toString('utf8');

describe('S2, S4 what is only maybe killed', () => {
  it('is dead where it was told by its signature, and asked about again where an authority told it', async () => {
    const central = keystone();
    for (const raw of [signed, asked]) central.knows(raw, { ...onProject, unknown: ['group'] });
    const stage = await stageOf(central);
    for (const raw of [signed, asked]) await stage.ask(raw);

    await revoke(stage, by('group', 'g'));

    expect(verdict(await stage.ask(signed))).toBe('REVOKED');
    expect(verdict(await stage.ask(asked))).toBe('active');
    expect(central.reads).toEqual([signed, asked, asked]);
  });

  it('without an issue time is dead by any REVOKE that fits, and asked about again', async () => {
    const central = keystone();
    const timeless: FactsSaid = { token: { ...onProject.token, issuedAtMs: undefined as never } };
    for (const raw of [signed, asked]) central.knows(raw, timeless);
    const stage = await stageOf(central);
    for (const raw of [signed, asked]) await stage.ask(raw);

    await revoke(stage, by('user', 'alice'));

    expect(verdict(await stage.ask(signed))).toBe('REVOKED');
    expect(verdict(await stage.ask(asked))).toBe('active');
  });

  it('a REFRESH has the signature verified again, and nothing is provisional afterwards', async () => {
    const central = keystone();
    const stage = await stageOf(central);
    await stage.ask(signed);
    await stage.refreshUser('alice');

    expect((await stage.ask(signed)).maxAgeMs).toBe(300_000);
    await stage.clock.advance(3000);
    expect(await stage.ask(signed)).toMatchObject({ decision: { active: true }, provenance: 'MEMORY' });
    expect(central.reads).toEqual([signed, signed]);
  });
});

describe('S4 a token id of Keystone', () => {
  it.each(['sha256', 'md5'] as const)('hashed with %s kills the PKI token it is of, and no other', async (algorithm) => {
    const central = keystone();
    const stage = await stageOf(central);
    for (const raw of [signed, other]) await stage.ask(raw);

    await revoke(stage, by('identity', hashOf(algorithm, signed)));

    expect([verdict(await stage.ask(signed)), verdict(await stage.ask(other))]).toEqual(['REVOKED', 'active']);
  });

  it.each(['sha256', 'md5'] as const)(
    'hashed with %s kills one that has never been seen here, and one that only Keystone could tell of',
    async (algorithm) => {
      // No certificates are configured: Keystone is asked about these too.
      const central = keystone({ tellsAll: () => false });
      const stage = await stageOf(central);
      await revoke(stage, by('identity', hashOf(algorithm, signed)));
      expect(verdict(await stage.ask(signed))).toBe('REVOKED');
      expect(central.reads).toEqual([]);

      await stage.ask(other);
      await revoke(stage, by('identity', hashOf(algorithm, other)));
      expect(verdict(await stage.ask(other))).toBe('REVOKED');
    },
  );

  it('beside its audit id, which kills it too', async () => {
    const central = keystone();
    central.knows(signed, { ...onProject, identity: 'audit-1' });
    const stage = await stageOf(central);
    await stage.ask(signed);
    await revoke(stage, by('identity', 'audit-1'));

    expect(verdict(await stage.ask(signed))).toBe('REVOKED');
  });

  it('is told by the tags of the answer, for near caches', async () => {
    const stage = await stageOf(keystone());
    const { known } = await stage.ask(signed);
    const tags = [...(known?.attributes.tags ?? [])];
    for (const algorithm of ['sha256', 'md5'] as const) {
      expect(tags).toContain(stage.tagger.tag('identity', 'central', hashOf(algorithm, signed)).low);
    }
  });
});

describe('S4 revoked by possession', () => {
  it('is dead by its fingerprint and its identity, without an authority and without the budget for unverified ones', async () => {
    const central = keystone();
    for (const raw of [signed, other]) central.knows(raw, { ...onProject, identity: `identity of ${raw}` });
    central.isDown();
    const stage = await stageOf(central, { unverified: { perSecond: 1, alive: 1 } });
    for (const raw of [signed, other]) expect((await stage.revokeToken(raw)).entryId).not.toBe('');

    const named = (await entriesOf(stage)).map(({ entry }) => entry.selector.kind === 'fit' && entry.selector.conditions[0]);
    expect(named.map((one) => (one ? one.dimension : undefined))).toEqual(['fingerprint', 'identity', 'fingerprint', 'identity']);
    expect(named[1]).toEqual({ dimension: 'identity', value: `identity of ${signed}` });
    expect(verdict(await stage.ask(signed))).toBe('REVOKED');
  });

  it('wrongly signed is done without an entry, and by keys that may be old is dead by its shape', async () => {
    const central = keystone();
    const stage = await stageOf(central);
    central.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE' }));
    expect((await stage.revokeToken(signed)).entryId).toBe('');
    central.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE', byOldKeys: true }));
    expect((await stage.revokeToken(signed)).entryId).not.toBe('');
    expect(verdict(await stage.ask(signed))).toBe('REVOKED');
  });

  it('another of its issuer goes by its shape, as nobody is asked about it for that', async () => {
    const central = keystone();
    const stage = await stageOf(central, { unverified: { perSecond: 1, alive: 1 } });
    expect((await stage.revokeToken(asked)).entryId).not.toBe('');
    await expect(stage.revokeToken('gAAAAABk-one-more')).rejects.toMatchObject({ reason: 'TOO_MANY_UNVERIFIED' });
  });

  it('by facts past their time still is what its signature proves', async () => {
    const central = keystone();
    central.knows(signed, { ...onProject, identity: 'audit-1' });
    const stage = await stageOf(central);
    await stage.ask(signed);
    await stage.clock.advance(301_000);
    await stage.revokeToken(signed);

    expect(await entriesOf(stage)).toHaveLength(2);
  });
});

describe('S16 one that has ended', () => {
  it('is good within its window for a service token, by its signature, and dead beyond it', async () => {
    const central = keystone({ expiredWithinMs: 3_600_000 });
    const stage = await stageOf(central);
    const nowMs = stage.clock.nowMs();
    central.knows(signed, { token: { ...onProject.token, issuedAtMs: nowMs - 7_200_000, expiresAtMs: nowMs - 1000 } });
    central.knows(other, { token: { user: { id: 'nova' }, roles: [{ id: 'r', name: 'service' }] } });
    central.isDown();
    expect(verdict(await stage.ask(signed))).toBe('EXPIRED');
    const withService = async (): Promise<string> => verdict(await stage.ask(signed, { more: { serviceToken: other } }));

    expect(await withService()).toBe('active');
    await revoke(stage, by('identity', hashOf('md5', signed)));
    expect(await withService()).toBe('REVOKED');
    await stage.clock.advance(3_600_000);
    expect(await withService()).toBe('EXPIRED');
  });
});

describe('no authority’s queue', () => {
  it('holds it up: while everybody waits for the authority it is answered', async () => {
    const central = keystone({ calls: { deadlineMs: 5000, concurrency: 1, queue: 1 } });
    const stage = await stageOf(central);
    const gate = central.hold();
    const waiting = [stage.ask(asked), stage.ask('gAAAAABk-second')];
    await settled();
    await expect(stage.ask('gAAAAABk-third')).rejects.toMatchObject({ reason: 'UPSTREAM_BUSY' });

    expect(await stage.ask(signed)).toMatchObject({ decision: { active: true }, provenance: 'SIGNATURE' });
    gate.all();
    await Promise.all(waiting);
  });

  it('nor is it counted as a question to the authority', async () => {
    const stage = await stageOf(keystone());
    await stage.ask(signed);
    expect(stage.telemetry.count('sidegate_upstream_calls_total')).toBe(0);
    await stage.ask(asked);
    expect(stage.telemetry.count('sidegate_upstream_calls_total')).toBe(1);
  });

  it('and it is answered while the authority is away, and not confirmed ahead of its time', async () => {
    const central = keystone();
    central.isDown();
    const stage = await stageOf(central, { limits: { refreshAhead: 0.1 } });
    expect(verdict(await stage.ask(signed))).toBe('active');
    await stage.clock.advance(299_000);
    expect(verdict(await stage.ask(signed))).toBe('active');
    await settled();
    expect(central.reads).toEqual([signed]);
    await stage.clock.advance(2000);
    expect(verdict(await stage.ask(signed))).toBe('active');
    expect(central.reads).toEqual([signed, signed]);
  });
});

describe('the shared tier', () => {
  it('has none of it: no lease, no record, no catalog; each sidecar verifies', async () => {
    const central = keystone();
    central.hasCatalog('[{"type":"compute"}]');
    const region = await regionOf(central, { handles: false });
    for (const stage of region.stages) expect(await withCatalog(stage, signed)).toMatchObject({ provenance: 'SIGNATURE' });
    await settled();

    expect(region.store.names().filter((name) => !name.startsWith('find '))).toEqual([]);
    expect(region.store.count('add')).toBe(0);
    expect(region.store.calls.filter(({ name }) => !name.startsWith('find '))).toEqual([]);
    expect(central.reads).toEqual([signed, signed, signed]);
  });

  it('is not touched by garbage of its look', async () => {
    const central = keystone();
    const region = await regionOf(central);
    central.script(() => ({ kind: 'inactive', reason: 'MALFORMED' }));
    const before = region.store.count();
    expect(verdict(await region.first.ask('PKIZ_garbage'))).toBe('MALFORMED');
    await settled();
    expect(region.store.count()).toBe(before);
  });

  it('has what a handle of it stands for; whoever opens that verifies it', async () => {
    const central = keystone();
    const region = await regionOf(central);
    await region.first.ask(signed);
    await settled();
    const answer = await region.second.ask('', { more: { handle: hashOf('sha256', signed) } });

    expect(answer).toMatchObject({ decision: { active: true }, provenance: 'SIGNATURE' });
    expect(central.reads).toEqual([signed, signed]);
  });

  it('tells of a PKI token that the authority told of to whom has the token, with its ids; by its public name only with handles', async () => {
    for (const handles of [true, false]) {
      const central = keystone({ tellsAll: () => false });
      const region = await regionOf(central, { handles });
      await region.first.ask(signed);
      await settled();
      const ids = ['sha256', 'md5'] as const;
      const written = region.store.names().map((name) => Buffer.from(region.store.peek(name) ?? []).toString('latin1'));
      // As secret as the token: with handles off nobody is to find one in there.
      for (const id of ids) expect(written.some((record) => record.includes(hashOf(id, signed)))).toBe(handles);

      const found = await region.second.find('alice', 'p');
      expect(found?.decision.active).toBe(handles ? true : undefined);
      await revoke(region.second, by('identity', hashOf('md5', signed)));
      expect(await region.second.find('alice', 'p')).toBeUndefined();
      expect(verdict(await region.second.ask(signed))).toBe('REVOKED');
      // Another sidecar shares no journal: it takes the record, with the ids that its own revocations are held against.
      await revoke(region.third, by('identity', hashOf('sha256', other)));
      expect(await region.third.ask(signed)).toMatchObject({ decision: { active: true }, provenance: 'SHARED' });
      await revoke(region.third, by('identity', hashOf('sha256', signed)));
      expect(verdict(await region.third.ask(signed))).toBe('REVOKED');
      expect(central.reads).toEqual([signed]);
    }
  });
});

describe('the catalog that a token carries', () => {
  it('is its own: neither given to another of its user and project, nor taken from one', async () => {
    const central = keystone();
    const stage = await stageOf(central);
    central.hasCatalog('["of the token"]');
    expect(text(await withCatalog(stage, signed))).toBe('["of the token"]');
    central.hasCatalog('["of today"]');
    expect(text(await withCatalog(stage, asked))).toBe('["of today"]');
    central.hasCatalog('["of the other token"]');
    expect(text(await withCatalog(stage, other))).toBe('["of the other token"]');

    expect([text(await withCatalog(stage, signed)), text(await withCatalog(stage, asked))]).toEqual(['["of the token"]', '["of today"]']);
    expect(central.reads).toEqual([signed, asked, other]);
  });

  it('is read again where the facts are here without it', async () => {
    const central = keystone();
    central.hasCatalog('["of the token"]');
    const stage = await stageOf(central);
    await stage.ask(signed);
    expect(text(await withCatalog(stage, signed))).toBe('["of the token"]');
    expect(central.questions.map(({ options }) => options.catalog)).toEqual([false, true]);
  });
});
