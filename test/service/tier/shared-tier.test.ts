// What sidecars believe of each other's facts, and for how long (S1, S6, S9).

import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../../src/core/errors.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Journal } from '../../../src/ports.ts';
import type { Answer } from '../../../src/service/question.ts';
import type { FakeClock } from '../../fakes/clock.ts';
import { createFakeIssuer } from '../../fakes/issuer.ts';
import { atOnce, createRegion, inTime, type Region, type RegionOptions } from '../sidecars.ts';
import { settled, type ValidationStage, verdict } from '../validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function regionOf(options: RegionOptions = {}): Promise<Region> {
  const region = await createRegion(options);
  ends.push(() => region.close());
  return region;
}

const alice = { token: { user: { id: 'alice' } } };

/** A region whose authority knows `t` of alice, and whose first sidecar has asked. */
async function askedOnce(options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf(options);
  region.central.knows('t', alice);
  expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
  await settled();
  return region;
}

const factsIn = ({ store }: Region): readonly string[] => store.names().filter((name) => name.startsWith('facts '));

describe('facts in the shared tier', () => {
  it('are taken by the other sidecars, which ask nobody', async () => {
    const region = await askedOnce();
    const answers = [await region.second.ask('t'), await region.third.ask('t')];

    expect(answers.map(({ provenance }) => provenance)).toEqual(['SHARED', 'SHARED']);
    expect(answers.map(verdict)).toEqual(['active', 'active']);
    expect(answers.map(({ fingerprint }) => fingerprint)).toEqual(
      [region.first, region.first].map((one) => one.facts.fingerprintOf(answers[0]?.known?.digest ?? '')),
    );
    expect((await region.second.ask('t')).provenance).toBe('MEMORY');
    expect(region.central.reads).toEqual(['t']);
  });

  it('of an older sidecar say what that one called the kind of token, until they are fetched again', async () => {
    const region = await regionOf();
    region.central.knows('t', { token: { ...alice.token, format: 'opaque' } });
    await region.first.ask('t');
    await settled();
    region.central.knows('t', { token: { ...alice.token, format: 'fernet' } });

    expect((await region.second.ask('t')).known?.token().format).toBe('opaque');
    expect((await region.second.ask('t', { maxStalenessMs: 0 })).known?.token().format).toBe('fernet');
  });

  it('say all that the authority said', async () => {
    const region = await regionOf();
    const claimsJson = '{"sub":"alice","ü":"\\u00fc\u{1f600}"}';
    region.central.knows('t', {
      identity: 'audit-1',
      catalogAt: 3,
      notBeforeMs: 1,
      keyId: 'k',
      token: { ...alice.token, claimsJson, auditIds: ['audit-1'] },
    });
    const [asked, shared] = [await region.first.ask('t'), await region.second.ask('t')];

    expect(shared.provenance).toBe('SHARED');
    const plain = ({ known }: Answer) => ({
      token: known?.token(),
      claims: Buffer.from(known?.claims ?? []).toString('utf8'),
      catalogAt: known?.catalogAt,
      identity: known?.identity,
      standing: known?.standing,
      attributes: known?.attributes,
      digest: known?.digest,
      issuedAtMs: known?.issuedAtMs,
    });
    expect(plain(shared)).toEqual(plain(asked));
  });

  it.each([
    { skewMs: 0, maxAgeMs: 198_000 },
    { skewMs: 2000, maxAgeMs: 196_000 },
    { skewMs: -2000, maxAgeMs: 200_000 },
  ])('S1 end at confirmed_at + time, and those of another host $skewMs ms behind skew earlier', async ({ skewMs, maxAgeMs }) => {
    const region = await askedOnce({ skews: [0, skewMs] });
    await region.clock.advance(100_000);
    expect(await region.second.ask('t')).toMatchObject({ provenance: 'SHARED', maxAgeMs });
    await region.clock.advance(maxAgeMs - 1);
    expect(await region.second.ask('t')).toMatchObject({ provenance: 'MEMORY', maxAgeMs: 1 });
    await region.clock.advance(1);

    expect((await region.second.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S1 are not made younger by being copied: no sidecar writes what it has read', async () => {
    const region = await askedOnce();
    for (let n = 0; n < 3; n += 1) {
      await region.clock.advance(90_000);
      for (const stage of [region.second, region.third]) await stage.ask('t');
    }
    expect(region.store.calls.filter(({ operation, name }) => operation === 'set' && name.startsWith('facts '))).toHaveLength(1);
    await region.clock.advance(30_000);
    expect((await region.second.ask('t')).provenance).toBe('AUTHORITY');
    await settled();
    expect((await region.third.ask('t')).provenance).toBe('SHARED');

    expect(region.central.reads).toHaveLength(2);
  });

  it('S1 confirmed_at is when the authority was asked, wherever the facts are read', async () => {
    const region = await askedOnce();
    const confirmedAtMs = region.clock.nowMs();
    await region.clock.advance(50_000);

    expect((await region.second.ask('t')).known?.began.wallMs).toBe(confirmedAtMs);
  });

  it('S1 max_staleness counts from then, skew older', async () => {
    const region = await askedOnce();
    await region.clock.advance(10_000);
    expect((await region.second.ask('t', { maxStalenessMs: 12_000 })).provenance).toBe('SHARED');

    expect((await region.third.ask('t', { maxStalenessMs: 11_999 })).provenance).toBe('AUTHORITY');
  });

  it.each([
    { aheadMs: 2000, provenance: 'SHARED' },
    { aheadMs: 2001, provenance: 'AUTHORITY' },
  ])('S1 of a clock $aheadMs ms ahead of ours: $provenance', async ({ aheadMs, provenance }) => {
    const region = await askedOnce({ skews: [aheadMs, 0] });

    expect((await region.second.ask('t')).provenance).toBe(provenance);
  });

  it('S1 our own from the future are none: the wall clock was set back while the sidecar was away', async () => {
    const region = await askedOnce();
    const { journal } = region.first;
    const behind = await region.join({ journal }, -1);

    expect((await behind.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S1 what began before this journal was born is not taken: nobody here knows what was invalidated until then', async () => {
    const region = await askedOnce();
    await region.clock.advance(1000);
    const young = await region.join();

    expect((await young.ask('t')).provenance).toBe('AUTHORITY');
  });

  it.each([
    { afterMs: 1999, provenance: 'AUTHORITY' },
    { afterMs: 2000, provenance: 'SHARED' },
  ])('S1 nor what another host says it began $afterMs ms after: $provenance', async ({ afterMs, provenance }) => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const young = await region.join();
    await region.clock.advance(afterMs);
    await region.first.ask('t');
    await settled();

    expect((await young.ask('t')).provenance).toBe(provenance);
  });

  it('S1 a sidecar that has restarted with its journal takes its own, and nothing is added to their age', async () => {
    const region = await askedOnce();
    await region.first.close();
    await region.clock.advance(500);
    const again = await region.join({ journal: region.first.journal });

    expect(await again.ask('t')).toMatchObject({ provenance: 'SHARED', maxAgeMs: 299_500 });
  });

  it('S6 own facts below a REFRESH that was applied before the restart are stale after it', async () => {
    const region = await askedOnce();
    await region.first.refreshUser('alice');
    await region.first.close();
    const again = await region.join({ journal: region.first.journal });

    expect((await again.ask('t')).provenance).toBe('AUTHORITY');
  });
});

describe('a journal that was restored from an older copy', () => {
  /** Two journals that say that they are one: a copy, and what it was copied from. */
  const twins = (clock: FakeClock): readonly [Journal, Journal] => {
    const random = (sizeBytes: number): Uint8Array => Buffer.alloc(sizeBytes, 7);
    return [createMemoryJournal({ clock, random }), createMemoryJournal({ clock, random })];
  };

  async function restored(): Promise<{ readonly region: Region; readonly before: ValidationStage; readonly copy: Journal }> {
    const region = await regionOf();
    region.central.knows('t', alice);
    const [original, copy] = twins(region.clock);
    expect(copy.id).toBe(original.id);
    const before = await region.join({ journal: original });
    await region.clock.advance(10_000);
    return { region, before, copy };
  }

  it('S6 facts of a revision that it has not reached are another’s: a REFRESH by it is about them', async () => {
    const { region, before, copy } = await restored();
    await before.refreshUser('bob');
    await before.refreshUser('bob');
    await before.ask('t');
    await settled();
    await before.close();
    const after = await region.join({ journal: copy });
    await after.refreshUser('alice');

    expect((await after.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S6 nor are they believed when it has reached that revision by other entries', async () => {
    const { region, before, copy } = await restored();
    await before.refreshUser('bob');
    await before.ask('t');
    await settled();
    await before.close();
    const after = await region.join({ journal: copy });
    await after.refreshUser('alice');
    expect(after.invalidations.applied).toBe(1);

    expect((await after.ask('t')).provenance).toBe('AUTHORITY');
  });
});

describe('a clock that is doubtful', () => {
  it('S1 degraded CLOCK neither reads nor writes facts, catalogs or leases in the tier', async () => {
    const region = await regionOf();
    region.central.knows('t', { token: { ...alice.token, scope: { kind: 'system' } } });
    region.central.setClockOffset(60_000);
    await region.first.ask('unknown');
    expect(region.first.degradations.by('central')).toEqual(['CLOCK']);
    const from = region.store.calls.length;
    await region.first.ask('t', { more: { catalog: true } });
    await region.first.ask('t', { maxStalenessMs: 0 });
    await settled();
    const names = region.store.calls.slice(from).map(({ name }) => name.split(' ')[0]);

    expect(names.filter((name) => name === 'facts' || name === 'catalog' || name === 'lease')).toEqual([]);
  });

  it('S1 nor by a sidecar whose clock differs from its fleet’s', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.first.degradations.clockDiffers('central', 'fleet', true);
    expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
    await settled();
    expect(factsIn(region)).toEqual([]);
    region.second.degradations.clockDiffers('central', 'fleet', true);
    region.first.degradations.clockDiffers('central', 'fleet', false);
    region.central.knows('u', alice);
    await region.first.ask('u');
    await settled();
    expect([factsIn(region).length, (await region.second.ask('u')).provenance]).toEqual([1, 'AUTHORITY']);
  });

  it('S1 nor raw tokens or lists of names', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.central.setClockOffset(60_000);
    await region.first.ask('unknown');
    const from = region.store.calls.length;
    await region.first.ask('t');
    await settled();

    expect(region.store.calls.slice(from)).toEqual([]);
  });

  it('S1 the very reply that shows it is not written', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.central.setClockOffset(60_000);
    await region.first.ask('t');
    await settled();

    expect(factsIn(region)).toEqual([]);
  });

  it('S1 one whose clock is right again reads and writes', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.central.setClockOffset(60_000);
    await region.first.ask('unknown');
    region.central.setClockOffset(0);
    await region.first.ask('other');
    await region.first.ask('t');
    await settled();

    expect((await region.second.ask('t')).provenance).toBe('SHARED');
  });
});

describe('a call that waits for another’s flight', () => {
  it('S6 does not take from the second one what is too old for it, though not for the call that began that one', async () => {
    const region = await regionOf();
    const other = createFakeIssuer();
    other.knows('t', alice);
    let slow: (() => void) | undefined;
    region.central.script(async (raw, signal, options) => {
      if (!slow) {
        await new Promise<void>((resolve) => {
          slow = resolve;
        });
      }
      return other.issuer.format.read(raw, signal, options);
    });
    const early = region.second.ask('t');
    await settled();
    await region.second.refreshUser('alice');
    await region.clock.advance(4100);
    await region.first.ask('t');
    await settled();
    await region.clock.advance(2900);
    const arrivedMs = region.clock.monotonicMs();
    const lenient = region.second.ask('t');
    const strict = region.second.ask('t', { maxStalenessMs: 1000 });
    await settled();
    slow?.();
    await inTime(region.clock, Promise.all([early, lenient, strict]));

    expect((await lenient).provenance).toBe('SHARED');
    expect((await strict).known?.began.monotonicMs).toBeGreaterThanOrEqual(arrivedMs - 1000);
  });
});

describe('REFRESH and the tier', () => {
  it('S6 facts of this journal below it are stale', async () => {
    const region = await askedOnce();
    await region.first.refreshUser('alice');

    expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S6 and what has settled after it is not, also after a restart', async () => {
    const region = await askedOnce();
    await region.first.refreshUser('alice');
    await region.clock.advance(2000);
    expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
    await settled();
    await region.first.close();
    const again = await region.join({ journal: region.first.journal });

    expect((await again.ask('t')).provenance).toBe('SHARED');
  });

  it.each([
    { beganMs: 3999, provenance: 'AUTHORITY' },
    { beganMs: 4000, provenance: 'SHARED' },
  ])('S6 facts of another that began $beganMs ms after it was learned here: $provenance', async ({ beganMs, provenance }) => {
    const region = await regionOf();
    region.central.knows('t', alice);
    await region.second.refreshUser('alice');
    await region.clock.advance(beganMs);
    await region.first.ask('t');
    await settled();
    await region.clock.advance(10_000);

    expect((await region.second.ask('t')).provenance).toBe(provenance);
  });

  it('S6 one about somebody else leaves them fresh', async () => {
    const region = await askedOnce();
    await region.second.refreshUser('bob');

    expect((await region.second.ask('t')).provenance).toBe('SHARED');
  });

  it.each([
    { afterMs: 0, kept: 0 },
    { afterMs: 1999, kept: 0 },
    { afterMs: 2000, kept: 1 },
  ])('S6 facts fetched $afterMs ms after it: $kept enter the tier', async ({ afterMs, kept }) => {
    const region = await regionOf();
    region.central.knows('t', alice);
    await region.first.refreshUser('alice');
    await region.clock.advance(afterMs);
    await region.first.ask('t');
    await settled();

    expect(factsIn(region)).toHaveLength(kept);
  });

  it('S6 a fetch that began before it and lands after does not enter the tier, nor stay in memory as fresh', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const held = region.central.hold();
    const slow = region.first.ask('t');
    await settled();
    await region.first.refreshUser('alice');
    await region.clock.advance(60_000);
    held.all();
    expect((await slow).maxAgeMs).toBe(0);
    await settled();
    expect(factsIn(region)).toEqual([]);

    expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S6 a slow fill of a sidecar that knows nothing of it is not taken by the one that does', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const held = region.central.hold();
    const slow = region.first.ask('t');
    await settled();
    await region.second.refreshUser('alice');
    held.all();
    await slow;
    await settled();
    expect(factsIn(region)).toHaveLength(1);

    expect((await region.second.ask('t')).provenance).toBe('AUTHORITY');
    await region.clock.advance(30_000);
    expect((await region.second.ask('t')).provenance).toBe('AUTHORITY');
  });

  /** Asked of all at once, of an authority that takes 20 ms. */
  async function askedSlowly(region: Region): Promise<readonly string[]> {
    const held = region.central.hold();
    const answers = Promise.all(region.stages.map((stage) => stage.ask('t')));
    await settled();
    for (let n = 0; n < 10; n += 1) {
      await region.clock.advance(20);
      held.one();
      await settled();
    }
    held.all();
    return (await inTime(region.clock, answers, 1000)).map(verdict);
  }

  it('S6 three sidecars: three provisional validations, and a settled one for all once nobody’s clock can doubt it', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    await askedSlowly(region);
    expect(region.central.reads).toHaveLength(1);
    for (const stage of region.stages) await stage.refreshUser('alice');
    expect(await askedSlowly(region)).toEqual(['active', 'active', 'active']);
    for (const stage of region.stages) await stage.ask('t');
    expect(region.central.reads).toHaveLength(1 + 3);
    await region.clock.advance(4000);
    for (let n = 0; n < 10; n += 1) {
      await askedSlowly(region);
      await region.clock.advance(10_000);
    }

    expect(region.central.reads).toHaveLength(1 + 3 + 1);
  });

  it('S6 three sidecars in constant use: at most two validations on each', async () => {
    const region = await askedOnce();
    for (const stage of region.stages) await stage.ask('t');
    for (const stage of region.stages) await stage.refreshUser('alice');
    for (let n = 0; n < 100; n += 1) await atOnce(region, (stage) => stage.ask('t'), 100);

    expect(region.central.reads.length - 1).toBeLessThanOrEqual(6);
  });
});

describe('REVOKE and the tier', () => {
  it('a token that was revoked here, by possession, is REVOKED at once when its facts are found in the tier', async () => {
    const region = await askedOnce();
    await region.second.revokeToken('t');
    await settled();
    const reads = region.central.reads.length;
    const answer = await region.second.ask('t');

    expect(verdict(answer)).toBe('REVOKED');
    expect(region.central.reads).toHaveLength(reads);
    expect((await region.first.ask('t')).decision.active).toBe(true);
  });

  it('one that was revoked by its user is, too', async () => {
    const region = await askedOnce();
    await region.second.invalidations.append({
      effect: 'REVOKE',
      selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: 'alice' }] },
      issuedBeforeMs: region.clock.nowMs(),
      lifeMs: 3_600_000,
      origin: { source: 'rpc' },
    });

    expect(await region.second.ask('t')).toMatchObject({ decision: { reason: 'REVOKED' }, provenance: 'SHARED', maxAgeMs: 0 });
    expect(region.central.reads).toHaveLength(1);
  });

  it('nothing that other sidecars write revives it', async () => {
    const region = await askedOnce();
    await region.second.revokeToken('t');
    for (let n = 0; n < 5; n += 1) {
      await region.clock.advance(100_000);
      await region.first.ask('t');
      await settled();
      expect(verdict(await region.second.ask('t'))).toBe('REVOKED');
    }
  });

  it('nor a restart of the sidecar that knows', async () => {
    const region = await askedOnce();
    await region.second.revokeToken('t');
    await settled();
    await region.second.close();
    const again = await region.join({ journal: region.second.journal });

    expect(verdict(await again.ask('t'))).toBe('REVOKED');
  });
});

describe('refusals and the tier', () => {
  it('S9 nothing negative ever enters it', async () => {
    const region = await regionOf();
    for (const stage of region.stages) {
      expect(verdict(await stage.ask('t'))).toBe('REFUSED');
      expect(verdict(await stage.ask('t', { more: { allowExpired: true } }))).toBe('REFUSED');
    }
    await settled();

    expect(region.store.names()).toEqual([]);
    expect(region.store.count('set')).toBe(0);
  });

  it('S9 with and without allow_expired are apart', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.central.saysEnded('t');
    expect(verdict(await region.first.ask('t'))).toBe('REFUSED');
    expect(verdict(await region.first.ask('t', { more: { allowExpired: true } }))).toBe('active');
    const other = await regionOf();
    expect(verdict(await other.first.ask('t', { more: { allowExpired: true } }))).toBe('REFUSED');
    other.central.knows('t', alice);

    expect(verdict(await other.first.ask('t'))).toBe('active');
  });

  it('S9 each is remembered for its 5 s', async () => {
    const region = await regionOf();
    for (const allowExpired of [false, true, false, true]) await region.first.ask('t', { more: { allowExpired } });

    expect(region.central.questions.map(({ options }) => options.allowExpired)).toEqual([false, true]);
  });

  it('a token that the authority has refused here is not revived by what the tier still says of it', async () => {
    const region = await askedOnce();
    region.central.refuses('t');
    await region.clock.advance(10_000);
    expect(verdict(await region.first.ask('t', { maxStalenessMs: 1000 }))).toBe('REFUSED');
    expect(verdict(await region.first.ask('t'))).toBe('REFUSED');
    await region.clock.advance(5000);

    expect(verdict(await region.first.ask('t'))).toBe('REFUSED');
  });

  it('nor on a sidecar whose own copy was of the tier', async () => {
    const region = await askedOnce();
    await region.second.ask('t');
    region.central.refuses('t');
    await region.clock.advance(10_000);
    expect(verdict(await region.second.ask('t', { maxStalenessMs: 1000 }))).toBe('REFUSED');
    await region.clock.advance(5000);

    expect(verdict(await region.second.ask('t'))).toBe('REFUSED');
  });

  it('nor by a slow fetch of another sidecar that began before the refusal and lands after it', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const other = createFakeIssuer();
    other.knows('t', alice);
    // What the first one is told was true when it asked.
    let slow: (() => void) | undefined;
    region.central.script(async (raw, signal, options) => {
      if (slow) return { kind: 'inactive', reason: 'REFUSED' };
      await new Promise<void>((resolve) => {
        slow = resolve;
      });
      return other.issuer.format.read(raw, signal, options);
    });
    const first = region.first.ask('t');
    await settled();
    await region.clock.advance(10);
    expect(verdict(await inTime(region.clock, region.second.ask('t', { maxStalenessMs: 5 }), 2000))).toBe('REFUSED');
    slow?.();
    await first;
    await settled();
    await region.clock.advance(5000);

    expect(verdict(await region.second.ask('t'))).toBe('REFUSED');
  });

  it('nor in a mass refusal, when no refusal is remembered', async () => {
    const region = await regionOf();
    for (let n = 0; n < 30; n += 1) region.central.knows(`t${n}`, alice);
    for (let n = 0; n < 30; n += 1) await region.first.ask(`t${n}`);
    await region.clock.advance(10_000);
    for (let n = 0; n < 30; n += 1) region.central.refuses(`t${n}`);
    const verdicts: string[] = [];
    for (let n = 0; n < 30; n += 1) {
      await region.first.ask(`t${n}`, { maxStalenessMs: 1000 });
      verdicts.push(verdict(await region.first.ask(`t${n}`)));
    }

    expect(new Set(verdicts)).toEqual(new Set(['REFUSED']));
  });

  it('a token that is refused and then good again is good', async () => {
    const region = await askedOnce();
    region.central.refuses('t');
    await region.clock.advance(10_000);
    await region.first.ask('t', { maxStalenessMs: 1000 });
    region.central.knows('t', alice);
    await region.clock.advance(5000);

    expect(verdict(await region.first.ask('t'))).toBe('active');
  });
});

describe('records that are not what is wanted', () => {
  it('S9 one of another issuer is none', async () => {
    const region = await askedOnce();
    const other = createFakeIssuer({ name: 'other' });
    other.knows('t', alice);
    const stage = await region.join({ issuers: [other] });
    await region.clock.advance(10_000);
    await region.first.ask('t', { maxStalenessMs: 1 });
    await settled();

    expect(await stage.ask('t')).toMatchObject({ provenance: 'AUTHORITY', known: { issuer: { name: 'other' } } });
  });

  it('one that cannot be read is none, and is written anew', async () => {
    const region = await askedOnce();
    for (const name of factsIn(region)) region.store.corrupt(name);
    expect((await region.second.ask('t')).provenance).toBe('AUTHORITY');
    await settled();

    expect((await region.third.ask('t')).provenance).toBe('SHARED');
  });

  it.each(['not JSON', 'null', '{}', '{"version":2,"record":{}}', '[1]'])('one that another version wrote is none: %s', async (text) => {
    const region = await askedOnce();
    const [name = ''] = factsIn(region);
    await region.store.open().set(name, Buffer.from(text), 60_000);
    const answer = await region.second.ask('t');

    expect(answer.provenance).toBe('AUTHORITY');
  });

  it('a tier that is down changes no answer', async () => {
    const region = await askedOnce();
    region.store.isDown();
    expect((await region.first.ask('t')).provenance).toBe('MEMORY');

    expect(await region.second.ask('t')).toMatchObject({ decision: { active: true }, provenance: 'AUTHORITY', degradedBy: [] });
  });

  it('a tier that has forgotten everything costs one question', async () => {
    const region = await askedOnce();
    region.store.forgetAll();
    await region.second.ask('t');
    await settled();

    expect((await region.third.ask('t')).provenance).toBe('SHARED');
    expect(region.central.reads).toHaveLength(2);
  });

  it('who keeps no facts asks each time, and writes nothing', async () => {
    const region = await regionOf({ limits: { enabled: false } });
    region.central.knows('t', alice);
    await region.first.ask('t');
    await region.first.ask('t');
    await settled();

    expect(region.central.reads).toHaveLength(2);
    expect(region.store.names()).toEqual([]);
  });

  it('facts that nobody needs to be asked for (signatures) stay out of it', async () => {
    const central = createFakeIssuer({ provenance: 'signature' });
    central.knows('t', alice);
    const region = await regionOf({ central });
    for (const stage of region.stages) await stage.ask('t');
    await settled();

    expect(central.reads).toHaveLength(3);
    expect(factsIn(region)).toEqual([]);
  });
});

describe('under rotation of the deployment key', () => {
  const [old, young] = [
    { id: 'old', secret: Buffer.alloc(32, 1) },
    { id: 'young', secret: Buffer.alloc(32, 2) },
  ] as const;

  it('what was stored under a key that is still accepted is found, and what kills it under the newest does', async () => {
    const region = await regionOf({ keys: [old] });
    region.central.knows('t', alice);
    const ahead = await region.join({ keys: [young, old] });
    const prepared = await region.join({ keys: [old, young] });
    await region.clock.advance(10_000);
    await region.first.ask('t');
    await settled();
    expect((await ahead.ask('t')).provenance).toBe('SHARED');
    expect((await prepared.ask('t')).provenance).toBe('SHARED');
    await ahead.revokeToken('t');
    expect(verdict(await ahead.ask('t'))).toBe('REVOKED');
    await prepared.revokeToken('t');

    expect(verdict(await prepared.ask('t'))).toBe('REVOKED');
    expect(region.central.reads).toEqual(['t']);
  });

  it('the newer of two records is taken, whichever key it lies under', async () => {
    const region = await regionOf({ keys: [young, old] });
    region.central.knows('t', alice);
    const behind = await region.join({ keys: [old] });
    await region.clock.advance(10_000);
    await region.first.ask('t');
    await region.clock.advance(250_000);
    await behind.ask('t', { maxStalenessMs: 1 });
    await settled();
    await region.clock.advance(100_000);

    expect((await region.second.ask('t')).provenance).toBe('SHARED');
  });
});

describe('the model', () => {
  type Step =
    | { readonly kind: 'says'; readonly token: number; readonly good: boolean }
    | { readonly kind: 'ask' | 'revoke' | 'confirm'; readonly stage: number; readonly token: number }
    | { readonly kind: 'refresh' | 'restart' | 'hold'; readonly stage: number }
    | { readonly kind: 'tick'; readonly ms: number }
    | { readonly kind: 'forget' | 'down' | 'up' | 'release' };

  const [stages, tokens] = [3, 2];
  const stage = fc.nat(stages - 1);
  const token = fc.nat(tokens - 1);
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('says' as const), token, good: fc.boolean() }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('ask' as const), stage, token }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('revoke' as const, 'confirm' as const), stage, token }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('refresh' as const), stage }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('restart' as const, 'hold' as const), stage }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('tick' as const), ms: fc.oneof(fc.nat(3000), fc.nat(200_000)) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('forget' as const, 'down' as const, 'up' as const, 'release' as const) }) },
  );

  /** Plays `steps` in a region, and tells of every answer that the model does not allow. */
  async function played(steps: readonly Step[], skews: readonly number[], remembersRefusals: boolean) {
    const region = await createRegion({ skews, limits: { refreshAhead: 0.8 } });
    const { clock, central } = region;
    const live = [...region.stages];
    const good: boolean[] = Array.from({ length: tokens }, () => true);
    /** When the authority has decided so about each token. */
    const accepted: number[][] = good.map(() => []);
    const refused: number[][] = good.map(() => []);
    /** What each stage has been told, by stage and token. */
    const revokedHere = new Set<string>();
    const refusedHere = new Map<string, number>();
    const refreshedHere = live.map(() => -Infinity);
    const wrong: unknown[] = [];
    let answers = 0;
    let held: { readonly until: Promise<void>; readonly release: () => void; readonly sinceMs: number } | undefined;
    const source = createFakeIssuer();
    for (const n of good.keys()) source.knows(`t${n}`, alice);
    // Decided at once, and told when nobody holds it any more: what comes late was true once.
    central.script(async (raw, signal, options) => {
      const n = Number(raw.slice(1));
      (good[n] ? accepted : refused)[n]?.push(clock.monotonicMs());
      const reading = good[n]
        ? await source.issuer.format.read(raw, signal, options)
        : { kind: 'inactive' as const, reason: 'REFUSED' as const };
      await held?.until;
      return reading;
    });
    const noteRefusal = (name: string, n: number, arrivedMs: number): void => {
      const sinceMs = Math.min(...(refused[n] ?? []).filter((ms) => ms >= arrivedMs - 5000));
      refusedHere.set(name, Math.max(sinceMs, refusedHere.get(name) ?? -Infinity));
    };
    const ask = async (at: number, n: number, maxStalenessMs?: number): Promise<void> => {
      const arrivedMs = clock.monotonicMs();
      const name = `${at} ${n}`;
      const wasRevoked = revokedHere.has(name);
      const sinceMs = Math.max(arrivedMs - 300_000, refreshedHere[at] ?? 0, remembersRefusals ? (refusedHere.get(name) ?? 0) : 0);
      const asked = live[at]?.ask(`t${n}`, { maxStalenessMs }).then(
        (answer) => {
          const isSound = !wasRevoked && accepted[n]?.some((ms) => ms >= sinceMs);
          answers += 1;
          if (verdict(answer) === 'REFUSED') noteRefusal(name, n, arrivedMs);
          if (answer.decision.active && !isSound)
            wrong.push({ stage: at, token: n, arrivedMs, wasRevoked, sinceMs, accepted: accepted[n] });
        },
        (error: unknown) => {
          if (!(error instanceof SidecarError)) wrong.push(error);
        },
      );
      await settled();
      await clock.advance(held ? 0 : 1500);
      if (!held) await asked;
    };
    const release = async (): Promise<void> => {
      held?.release();
      held = undefined;
      await settled();
    };
    for (const one of steps) {
      if (one.kind === 'says') good[one.token] = one.good;
      if (one.kind === 'ask') await ask(one.stage, one.token);
      if (one.kind === 'confirm') await ask(one.stage, one.token, 1000);
      if (one.kind === 'tick') {
        // A flight ends by its deadline of 5 s, which is told by the machine's clock.
        if (held && clock.monotonicMs() + one.ms > held.sinceMs + 4500) await release();
        await clock.advance(one.ms);
      }
      if (one.kind === 'forget') region.store.forgetAll();
      if (one.kind === 'down') region.store.isDown();
      if (one.kind === 'up') region.store.isUp();
      if (one.kind === 'release') await release();
      if (one.kind === 'hold' && !held) {
        let open = (): void => undefined;
        const until = new Promise<void>((resolve) => {
          open = resolve;
        });
        held = { until, release: open, sinceMs: clock.monotonicMs() };
      }
      if (one.kind === 'revoke') {
        await live[one.stage]?.revokeToken(`t${one.token}`);
        revokedHere.add(`${one.stage} ${one.token}`);
      }
      if (one.kind === 'refresh') {
        await live[one.stage]?.refreshUser('alice');
        refreshedHere[one.stage] = clock.monotonicMs();
      }
      if (one.kind === 'restart') {
        await live[one.stage]?.close();
        const { journal } = live[one.stage] ?? region.first;
        live[one.stage] = await region.join({ journal }, skews[one.stage]);
        for (const n of good.keys()) refusedHere.delete(`${one.stage} ${n}`);
      }
    }
    await release();
    await clock.advance(5000);
    await region.close();
    return { wrong, answers };
  }

  it.each([
    { refusals: false, more: '' },
    { refusals: true, more: ', and since it was last refused here' },
  ])(
    'S1 S4 S6 active here means: not revoked here, and accepted by the authority within time, after every REFRESH applied here$more',
    async ({ refusals }) => {
      let answers = 0;
      const skews = fc.tuple(...Array.from({ length: stages }, () => fc.integer({ min: -1000, max: 1000 })));
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), skews, async (steps, hosts) => {
          const outcome = await played(steps, hosts, refusals);
          answers += outcome.answers;
          expect(outcome.wrong).toEqual([]);
        }),
        { numRuns: 40, endOnFailure: true },
      );
      expect(answers).toBeGreaterThan(150);
    },
    60_000,
  );
});
