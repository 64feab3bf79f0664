// S15: one fetch for many sidecars, whatever becomes of the one that fetches.

import { afterEach, describe, expect, it } from 'vitest';
import type { SidecarError } from '../../../src/core/errors.ts';
import type { SharedCache } from '../../../src/ports.ts';
import { Leases, type Wait } from '../../../src/service/tier/leases.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeIssuer } from '../../fakes/issuer.ts';
import { createFakeSharedStore } from '../../fakes/shared-cache.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';
import { atOnce, createRegion, inTime, type Region, type RegionOptions } from '../sidecars.ts';
import { always, settled, verdict } from '../validation-stage.ts';

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
const twenty: readonly number[] = Array.from({ length: 20 }, () => 0);

describe('leases among sidecars', () => {
  it('S15 twenty sidecars asked for one new token at once ask the authority once', async () => {
    const region = await regionOf({ skews: twenty });
    region.central.knows('t', alice);
    const held = region.central.hold();
    const calls = region.stages.map((stage) => stage.ask('t').then(verdict));
    await settled();
    await region.clock.advance(100);
    held.all();
    const verdicts = await inTime(region.clock, Promise.all(calls));

    expect(new Set(verdicts)).toEqual(new Set(['active']));
    expect(region.central.reads).toEqual(['t']);
  });

  it('S15 also of an authority that has been quick so far, and is not this time', async () => {
    const region = await regionOf({ skews: twenty });
    for (const raw of ['t', 'u']) region.central.knows(raw, alice);
    for (const stage of region.stages) await stage.ask('u', { maxStalenessMs: 0 });
    const before = region.central.reads.length;
    const held = region.central.hold();
    const calls = region.stages.map((stage) => stage.ask('t').then(verdict));
    await settled();
    await region.clock.advance(25);
    held.all();
    await inTime(region.clock, Promise.all(calls));

    expect(region.central.reads.slice(before)).toEqual(['t']);
  });

  it('S15 the holder’s read hangs: exactly one more question after the wait, and all the others have its answer', async () => {
    const region = await regionOf({ skews: twenty });
    const other = createFakeIssuer();
    other.knows('t', alice);
    region.central.script((raw, signal, options) =>
      region.central.reads.length === 1 ? new Promise(() => undefined) : other.issuer.format.read(raw, signal, options),
    );
    const answered: string[] = [];
    const calls = region.stages.map((stage) =>
      stage.ask('t').then(
        (answer) => answered.push(verdict(answer)),
        (error: SidecarError) => answered.push(error.reason),
      ),
    );
    await settled();
    await region.clock.advance(999);
    expect(region.central.reads).toHaveLength(1);
    await region.clock.advance(500);

    expect(region.central.reads).toHaveLength(2);
    expect(answered).toEqual(twenty.slice(1).map(() => 'active'));
    expect(calls).toHaveLength(20);
  });

  it('S15 who waits in vain for two leases asks for itself, after at most half of the time for one call', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 1200, concurrency: 16, queue: 16 } });
    const region = await regionOf({ skews: twenty, central });
    const held = central.hold();
    const calls = region.stages.map((stage) => stage.ask('t').then(verdict));
    await settled();
    await region.clock.advance(299);
    expect(central.reads).toHaveLength(1);
    await region.clock.advance(1);
    expect(central.reads).toHaveLength(2);
    await region.clock.advance(299);
    expect(central.reads).toHaveLength(2);
    await region.clock.advance(1);
    expect(central.reads).toHaveLength(20);
    held.all();

    expect(new Set(await Promise.all(calls))).toEqual(new Set(['REFUSED']));
  });

  it('S15 a tier that is down is a lease that is won: nobody waits', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    region.store.isDown();
    const answers = await Promise.all(region.stages.map((stage) => stage.ask('t')));

    expect(answers.map(verdict)).toEqual(['active', 'active', 'active']);
    expect(region.central.reads).toHaveLength(3);
  });

  it('S15 a tier that goes down while a lease is waited for ends the wait', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const held = region.central.hold();
    const first = region.first.ask('t');
    await settled();
    const second = region.second.ask('t');
    await settled();
    region.store.isDown();
    await region.clock.advance(20);

    expect(region.central.reads).toHaveLength(2);
    held.all();
    await inTime(region.clock, Promise.all([first, second]));
  });

  it('S15 a holder that is told nothing gives its lease back at once: the next one asks without waiting', async () => {
    const region = await regionOf();
    region.central.isDown();
    const held = region.central.hold();
    const first = region.first.ask('t').catch((error: SidecarError) => error.reason);
    await settled();
    const second = region.second.ask('t').then(verdict);
    await settled();
    held.one();
    await settled();
    region.central.answers();
    region.central.knows('t', alice);
    await region.clock.advance(20);
    held.all();

    expect(await first).toBe('UPSTREAM_DOWN');
    expect(region.central.reads).toHaveLength(2);
    expect(await second).toBe('active');
  });

  it('S15 a refusal gives the lease back too, and is nobody else’s', async () => {
    const region = await regionOf();
    const held = region.central.hold();
    const first = region.first.ask('t').then(verdict);
    await settled();
    const second = region.second.ask('t').then(verdict);
    await settled();
    held.all();
    await region.clock.advance(20);

    expect([await first, await second]).toEqual(['REFUSED', 'REFUSED']);
    expect(region.central.reads).toHaveLength(2);
    expect(region.store.names()).toEqual([]);
  });

  it('S15 a lease is given back after what was fetched can be seen', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    await region.first.ask('t');
    await settled();
    const order = region.store.calls.map(({ operation, name }) => `${operation} ${name.split(' ')[0]}`);

    expect(order.indexOf('add lease')).toBeGreaterThan(order.indexOf('get facts'));
    expect(order.indexOf('remove lease')).toBeGreaterThan(order.indexOf('set facts'));
    expect(order.filter((one) => one.endsWith(' lease'))).toEqual(['add lease', 'get lease', 'remove lease']);
  });

  it('S6 S15 a REFRESH while the lease is waited for: what was fetched before it is not taken', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const held = region.central.hold();
    const first = region.first.ask('t');
    await settled();
    const early = region.second.ask('t');
    await settled();
    await region.second.refreshUser('alice');
    const late = region.second.ask('t');
    await settled();
    held.one();
    await region.clock.advance(100);
    held.all();
    await inTime(region.clock, Promise.all([first, early]));

    const answer = await inTime(region.clock, late);
    expect(verdict(answer)).toBe('active');
    expect(answer.provenance).toBe('AUTHORITY');
    expect(region.central.reads).toHaveLength(2);
  });

  it('S15 nor before the tier has said that it is there', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const tier = region.store.open();
    const slow: (() => void)[] = [];
    const set: SharedCache['set'] = async (name, value, lifeMs) => {
      await new Promise<void>((resolve) => slow.push(resolve));
      return tier.set(name, value, lifeMs);
    };
    const stage = await region.join({ shared: { ...tier, set } });
    const leases = (): readonly string[] => region.store.names().filter((name) => name.startsWith('lease '));
    expect(verdict(await stage.ask('t'))).toBe('active');
    await settled();
    expect(leases()).toHaveLength(1);
    for (const go of slow.splice(0)) go();
    await settled();

    expect(leases()).toEqual([]);
    expect((await region.first.ask('t')).provenance).toBe('SHARED');
  });

  it('S15 leases are a token’s own: two tokens do not wait for each other', async () => {
    const region = await regionOf();
    for (const raw of ['t', 'u']) region.central.knows(raw, alice);
    const held = region.central.hold();
    const calls = [region.first.ask('t'), region.second.ask('u')];
    await settled();
    expect(region.central.reads).toEqual(['t', 'u']);
    held.all();
    await Promise.all(calls);
  });

  it('S15 a caller that leaves ends no lease: the fetch goes on for the other sidecars', async () => {
    const region = await regionOf();
    region.central.knows('t', alice);
    const held = region.central.hold();
    const leaves = new AbortController();
    const leaver = region.first.ask('t', {}, leaves.signal);
    await settled();
    const second = region.second.ask('t');
    leaves.abort();
    await expect(leaver).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    held.all();
    const answer = await inTime(region.clock, second);

    expect(answer.provenance).toBe('SHARED');
    expect(region.central.reads).toEqual(['t']);
  });

  it('a token too large for the tier is still answered on every sidecar, without the whole wait', async () => {
    const region = await regionOf();
    region.central.knows('t', { token: { user: { id: 'alice' }, claimsJson: JSON.stringify({ x: 'y'.repeat(2 ** 21) }) } });
    const answers = await atOnce(region, (stage) => stage.ask('t'), 200);

    expect(answers.map(verdict)).toEqual(['active', 'active', 'active']);
  });
});

describe('Leases', () => {
  const setUp = () => {
    const clock = createFakeClock();
    const store = createFakeSharedStore(clock);
    const leases = (): Leases => new Leases({ shared: store.open(), clock, telemetry: createFakeTelemetry() });
    const wait: Wait<string> = { name: 'x', waitMs: 1000, look: async () => undefined };
    return { clock, store, leases, wait };
  };

  it('a lease that has run out and is another’s by now is not given back by its former holder', async () => {
    const { clock, store, leases, wait } = setUp();
    const slow = await leases().take(wait, always);
    await clock.advance(2001);
    await leases().take(wait, always);
    expect(store.names()).toEqual(['lease 1 x']);
    if (slow.kind === 'fetch') await slow.done();

    expect(store.names()).toEqual(['lease 1 x']);
  });

  it('is looked for again after 10, 20, 40 … ms', async () => {
    const { clock, leases, wait } = setUp();
    await leases().take(wait, always);
    const looks: number[] = [];
    const from = clock.monotonicMs();
    const waiting = leases().take(
      {
        ...wait,
        look: async () => {
          looks.push(clock.monotonicMs() - from);
          return looks.length === 5 ? 'there' : undefined;
        },
      },
      always,
    );
    await clock.advance(1000);

    expect(await waiting).toEqual({ kind: 'found', found: 'there' });
    expect(looks).toEqual([10, 30, 70, 150, 310]);
  });

  it('what has come between the last look and the lease is found, and the lease is given back', async () => {
    const { store, leases, wait } = setUp();
    const turn = await leases().take({ ...wait, look: async () => 'there' }, always);
    await settled();

    expect(turn).toEqual({ kind: 'found', found: 'there' });
    expect(store.names()).toEqual([]);
  });

  it('who is told to stop stops waiting', async () => {
    const { clock, leases, wait } = setUp();
    await leases().take(wait, always);
    const leaves = new AbortController();
    const waiting = leases().take(wait, leaves.signal);
    waiting.catch(() => undefined);
    await clock.advance(50);
    leaves.abort(new Error('left'));

    await expect(waiting).rejects.toThrow('left');
    expect(clock.waiting()).toBe(0);
  });

  it('the holder’s name is in the lease', async () => {
    const { store, leases, wait } = setUp();
    await leases().take(wait, always);
    await leases().take({ ...wait, name: 'y' }, always);
    const [one, other] = ['lease 1 x', 'lease 1 y'].map((name) => Buffer.from(store.peek(name) ?? '').toString('utf8'));

    expect(one).toMatch(/^[0-9a-f-]{36}$/);
    expect(other).not.toBe(one);
  });
});
