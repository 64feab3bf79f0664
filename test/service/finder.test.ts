// FindToken: the newest active token of a user on a project that the tiers know, and never a dead one.

import { afterEach, describe, expect, it } from 'vitest';
import { encodeRecord } from '../../src/service/tier/records.ts';
import { createFakeIssuer, type FactsSaid } from '../fakes/issuer.ts';
import { createRegion, type Region, type RegionOptions } from './sidecars.ts';
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

const nineMs = Date.UTC(2026, 10, 21, 9, 0, 0);

/** A token of alice, unless told otherwise, on a project, issued so many seconds after nine. */
const onProject = (project: string, issued = 0, user = 'alice'): FactsSaid => ({
  token: { user: { id: user }, scope: { kind: 'project', project: { id: project, isDomain: false } }, issuedAtMs: nineMs + issued * 1000 },
});

const listOf = ({ store }: Region): string => store.names().find((name) => name.startsWith('find ')) ?? '';

describe('finding a token', () => {
  it('finds the one of the user on the project, with its facts and its public name', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    const asked = await region.first.ask('t');
    const found = await region.first.find('alice', 'p');

    expect(found).toMatchObject({ decision: { active: true }, provenance: 'MEMORY', fingerprint: asked.fingerprint, known: asked.known });
    expect(found?.maxAgeMs).toBe(300_000);
    expect(region.central.reads).toEqual(['t']);
  });

  it('finds it on every sidecar, and asks no authority', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    const found = await region.second.find('alice', 'p');

    expect(found).toMatchObject({ decision: { active: true }, provenance: 'SHARED', maxAgeMs: 298_000 });
    expect(found?.known?.digest).toBe((await region.first.ask('t')).known?.digest);
    expect(region.central.reads).toEqual(['t']);
  });

  it('tells no digest from the tier where handles are off', async () => {
    const region = await regionOf({ handles: false });
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();

    expect((await region.second.find('alice', 'p'))?.known?.digest).toBeUndefined();
    expect(region.store.names().map((name) => Buffer.from(region.store.peek(name) ?? []).includes('digest'))).not.toContain(true);
  });

  it.each([
    ['in the order of their issue', ['a', 'b', 'c']],
    ['in another', ['c', 'a', 'b']],
  ])('finds the one issued last, learned %s', async (_order, raws) => {
    const region = await regionOf();
    for (const [n, raw] of ['a', 'b', 'c'].entries()) region.central.knows(raw, onProject('p', n));
    for (const raw of raws) await region.first.ask(raw);
    await settled();
    const { fingerprint } = await region.first.ask('c');

    expect((await region.first.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
    expect((await region.second.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
  });

  it('finds one without a scope where no project is named, and no other then', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    region.central.knows('plain', { token: { user: { id: 'alice' } } });
    region.central.knows('system', { token: { user: { id: 'alice' }, scope: { kind: 'system' } } });
    await region.first.ask('t');
    await region.first.ask('system');
    expect(await region.first.find('alice')).toBeUndefined();
    const { fingerprint } = await region.first.ask('plain');

    expect((await region.first.find('alice'))?.fingerprint).toBe(fingerprint);
  });

  it.each([
    ['another project', 'alice', 'q'],
    ['another user', 'bob', 'p'],
    ['what only looks alike', 'alice","p', ''],
  ])('finds nothing of %s', async (_who, user, project) => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();

    for (const stage of region.stages) expect(await stage.find(user, project)).toBeUndefined();
  });

  it('does not find a revoked one, on the sidecar that knows, but the next newest', async () => {
    const region = await regionOf();
    for (const [n, raw] of ['a', 'b'].entries()) region.central.knows(raw, onProject('p', n));
    for (const raw of ['a', 'b']) await region.first.ask(raw);
    await settled();
    await region.second.revokeToken('b');
    const { fingerprint } = await region.first.ask('a');

    expect((await region.second.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
  });

  it('does not find an expired one', async () => {
    const region = await regionOf();
    const said = onProject('p', 5);
    region.central.knows('short', { token: { ...said.token, expiresAtMs: region.clock.nowMs() + 10_000 } });
    await region.first.ask('short');
    await settled();
    await region.clock.advance(10_000);

    for (const stage of region.stages) expect(await stage.find('alice', 'p')).toBeUndefined();
  });

  it('does not find one whose facts a REFRESH has made stale', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    for (const stage of region.stages) await stage.refreshUser('alice');

    for (const stage of region.stages) expect(await stage.find('alice', 'p')).toBeUndefined();
  });

  it('does not find one that the authority has refused here since', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    region.central.refuses('t');
    await region.clock.advance(10_000);
    expect(verdict(await region.first.ask('t', { maxStalenessMs: 1000 }))).toBe('REFUSED');

    expect(await region.first.find('alice', 'p')).toBeUndefined();
  });

  it('does not find one past its time, and finds it again when another sidecar has confirmed it', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    await region.second.ask('t');
    await region.clock.advance(300_000);
    for (const stage of region.stages) expect(await stage.find('alice', 'p')).toBeUndefined();
    await region.first.ask('t');
    await settled();

    expect(await region.third.find('alice', 'p')).toBeDefined();
    expect(await region.second.find('alice', 'p')).toBeDefined();
  });

  it('does not believe the list: the name of another user’s token in it is not found', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    region.central.knows('root', onProject('p', 9, 'root'));
    await region.first.ask('t');
    await settled();
    const name = listOf(region);
    const { fingerprint } = await region.first.ask('root');
    await settled();
    await region.store
      .open()
      .set(name, encodeRecord({ names: [fingerprint, 'nothing', ''].map((one) => ({ fingerprint: one, issuedAtMs: 9 })) }), 60_000);

    expect(await region.second.find('alice', 'p')).toBeUndefined();
  });

  it.each(['not JSON', 'null', '{"version":1,"record":{"a":1}}', '{"version":1,"record":"abc"}', '{"version":1,"record":[1,null]}'])(
    'a list that is none is an empty one: %s',
    async (text) => {
      const region = await regionOf();
      region.central.knows('t', onProject('p'));
      await region.first.ask('t');
      await settled();
      await region.store.open().set(listOf(region), Buffer.from(text), 60_000);

      expect(await region.second.find('alice', 'p')).toBeUndefined();
      expect(await region.first.find('alice', 'p')).toBeDefined();
    },
  );

  it('of two that write the list at once one may be lost, and is found where it was asked for', async () => {
    const region = await regionOf();
    for (const [n, raw] of ['a', 'b'].entries()) region.central.knows(raw, onProject('p', n));
    const [a, b] = await Promise.all([region.first.ask('a'), region.second.ask('b')]);
    await settled();
    const third = await region.third.find('alice', 'p');

    expect([a.fingerprint, b.fingerprint]).toContain(third?.fingerprint);
    expect([a.fingerprint, b.fingerprint]).toContain((await region.first.find('alice', 'p'))?.fingerprint);
    expect((await region.second.find('alice', 'p'))?.fingerprint).toBe(b.fingerprint);
  });

  it('keeps eight names, and the newest tokens’ are among them', async () => {
    const region = await regionOf();
    for (let n = 0; n < 9; n += 1) {
      region.central.knows(`t${n}`, onProject('p', n));
      await region.first.ask(`t${n}`);
      await settled();
    }
    const { record }: { readonly record: { readonly names: readonly { readonly fingerprint: string }[] } } = JSON.parse(
      Buffer.from(region.store.peek(listOf(region)) ?? []).toString('utf8'),
    );
    const { fingerprint } = await region.first.ask('t8');

    expect(record.names).toHaveLength(8);
    expect(record.names.map((one) => one.fingerprint)).toContain(fingerprint);
    expect((await region.third.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
  });

  it('keeps the newest by their issue, also where older ones are learned later', async () => {
    const region = await regionOf();
    for (let n = 8; n >= 0; n -= 1) {
      region.central.knows(`t${n}`, onProject('p', n));
      await region.first.ask(`t${n}`);
      await settled();
    }
    const { fingerprint } = await region.first.ask('t8');

    expect((await region.first.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
    expect((await region.third.find('alice', 'p'))?.fingerprint).toBe(fingerprint);
  });

  it('a name that the tier has forgotten comes back when its token is confirmed', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    region.store.forgetAll();
    await region.clock.advance(300_000);
    await region.first.ask('t');
    await settled();

    expect(await region.second.find('alice', 'p')).toBeDefined();
  });

  it('with the tier down it finds what this sidecar knows', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    await settled();
    region.store.isDown();

    expect(await region.first.find('alice', 'p')).toBeDefined();
    expect(await region.second.find('alice', 'p')).toBeUndefined();
  });

  it('never says, nor stores, the raw token', async () => {
    const raw = 'a-raw-token-that-nobody-else-has';
    const region = await regionOf();
    region.central.knows(raw, onProject('p'));
    await region.first.ask(raw);
    await settled();
    const found = [await region.first.find('alice', 'p'), await region.second.find('alice', 'p')];
    const stored = region.store.names().map((name) => `${name} ${Buffer.from(region.store.peek(name) ?? []).toString('latin1')}`);

    expect(
      JSON.stringify(found.map((one) => ({ ...one, known: { ...one?.known, issuer: '' }, token: one?.known?.token() }))),
    ).not.toContain(raw);
    expect(stored.join(' ')).not.toContain(raw);
  });

  it('a token with access rules is not found: it is good for nothing that a caller has not named', async () => {
    const region = await regionOf();
    region.central.knows('t', { ...onProject('p'), hasAccessRules: true });
    await region.first.ask('t');

    expect(await region.first.find('alice', 'p')).toBeUndefined();
  });

  it.each([
    { user: '', issuer: 'central', reason: 'USER_MISSING' },
    { user: 'alice', issuer: 'nobody', reason: 'ISSUER_UNKNOWN' },
  ])('what cannot be meant is INVALID_ARGUMENT: $reason', async ({ user, issuer, reason }) => {
    const region = await regionOf();

    await expect(region.first.find(user, 'p', issuer)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason });
  });

  it('the issuer may be left out where there is one, and must not where there are two', async () => {
    const region = await regionOf();
    region.central.knows('t', onProject('p'));
    await region.first.ask('t');
    expect(await region.first.find('alice', 'p', '')).toBeDefined();
    const stage = await region.join({
      issuers: [createFakeIssuer({ name: 'one', prefix: '1' }), createFakeIssuer({ name: 'two', prefix: '2' })],
    });

    await expect(stage.find('alice', 'p', '')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'ISSUER_MISSING' });
  });

  it('a token that was revoked under the newest deployment key is not found by a name of an older one', async () => {
    const [old, young] = [
      { id: 'old', secret: Buffer.alloc(32, 1) },
      { id: 'young', secret: Buffer.alloc(32, 2) },
    ] as const;
    const region = await regionOf({ keys: [old] });
    region.central.knows('t', onProject('p'));
    const ahead = await region.join({ keys: [young, old] });
    await region.clock.advance(10_000);
    await region.first.ask('t');
    await settled();
    expect(await ahead.find('alice', 'p')).toBeDefined();
    region.central.isDown();
    region.store.isDown();
    await ahead.revokeToken('t');
    region.store.isUp();

    expect(await ahead.find('alice', 'p')).toBeUndefined();
  });
});
