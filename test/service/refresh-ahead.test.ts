// Refresh-ahead: facts in use are confirmed beside a hit, before their time is over.

import { afterEach, describe, expect, it } from 'vitest';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { createRegion, type Region, type RegionOptions } from './sidecars.ts';
import type { StageOptions, ValidationStage } from './validation-stage.ts';
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

const alice = { token: { user: { id: 'alice' } } };
const ahead: StageOptions = { limits: { refreshAhead: 0.8 } };
const ask = async (stage: ValidationStage, raw = 't') => {
  const answer = await stage.ask(raw);
  await settled();
  return answer;
};

/** A region whose authority knows `t`, and whose first sidecar has asked. */
async function askedOnce(options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf({ ...ahead, ...options });
  region.central.knows('t', alice);
  await ask(region.first);
  return region;
}

describe('refresh-ahead', () => {
  it.each([
    { afterMs: 239_999, reads: 1 },
    { afterMs: 240_000, reads: 2 },
  ])('a hit $afterMs ms after the fetch, of 300 s and 0.8: $reads questions', async ({ afterMs, reads }) => {
    const region = await askedOnce();
    await region.clock.advance(afterMs);
    const answer = await ask(region.first);

    expect(answer).toMatchObject({ provenance: 'MEMORY', maxAgeMs: 300_000 - afterMs });
    expect(region.central.reads).toHaveLength(reads);
  });

  it('has the next hit live as long as newly fetched facts do', async () => {
    const region = await askedOnce();
    await region.clock.advance(240_000);
    await ask(region.first);

    expect(await ask(region.first)).toMatchObject({ provenance: 'MEMORY', maxAgeMs: 300_000 });
    expect(region.central.reads).toHaveLength(2);
  });

  it('is asked for by a hit, never by a timer: a token that nobody asks about is not fetched', async () => {
    const region = await askedOnce();
    await region.clock.advance(300_000);

    expect(region.central.reads).toHaveLength(1);
  });

  it('is one question however many hits there are', async () => {
    const region = await askedOnce();
    const held = region.central.hold();
    await region.clock.advance(240_000);
    for (let n = 0; n < 100; n += 1) expect((await ask(region.first)).provenance).toBe('MEMORY');
    expect(region.central.reads).toHaveLength(2);
    held.all();
    await settled();

    expect(region.first.telemetry.count('sidegate_refreshed_ahead_total', { issuer: 'central' })).toBe(1);
  });

  it('is not for a queue in which others wait already', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1, queue: 10 } });
    const region = await askedOnce({ central });
    const held = central.hold();
    await region.clock.advance(240_000);
    const others = [region.first.ask('u'), region.first.ask('v')];
    await settled();
    expect(region.first.facts.queued('central')).toBe(1);
    await ask(region.first);
    held.all();
    await Promise.all(others);
    expect(central.reads).toEqual(['t', 'u', 'v']);
    await ask(region.first);

    expect(central.reads).toEqual(['t', 'u', 'v', 't']);
  });

  it('that fails leaves the hits as they are until the facts’ time, and is tried again a few times at most', async () => {
    const region = await askedOnce();
    region.central.isDown();
    await region.clock.advance(240_000);
    for (let n = 0; n < 59; n += 1) {
      expect(await ask(region.first)).toMatchObject({ provenance: 'MEMORY', decision: { active: true }, degradedBy: [] });
      await region.clock.advance(1000);
    }
    expect(region.central.reads).toHaveLength(5);
    region.central.answers();
    await region.clock.advance(900);
    expect(await ask(region.first)).toMatchObject({ provenance: 'MEMORY', maxAgeMs: 100 });
    await region.clock.advance(100);

    expect((await region.first.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('that fails once succeeds with a later hit', async () => {
    const region = await askedOnce();
    region.central.isDown();
    await region.clock.advance(240_000);
    await ask(region.first);
    region.central.answers();
    await region.clock.advance(15_000);
    await ask(region.first);

    expect((await ask(region.first)).maxAgeMs).toBe(300_000);
  });

  it('that is refused kills the token with the next hit, for good', async () => {
    const region = await askedOnce();
    region.central.refuses('t');
    await region.clock.advance(240_000);
    expect(verdict(await ask(region.first))).toBe('active');
    expect(verdict(await ask(region.first))).toBe('REFUSED');
    await region.clock.advance(5000);

    expect(verdict(await ask(region.first))).toBe('REFUSED');
  });

  it('never makes the facts of a token vanish that has ended meanwhile: it stays EXPIRED, and nobody is asked', async () => {
    const region = await regionOf(ahead);
    region.central.knows('t', { token: { ...alice.token, expiresAtMs: region.clock.nowMs() + 250_000 } });
    await ask(region.first);
    await region.clock.advance(250_000);
    region.central.saysEnded('t');
    expect(verdict(await ask(region.first))).toBe('EXPIRED');

    expect(verdict(await ask(region.first))).toBe('EXPIRED');
    expect(region.central.reads).toHaveLength(1);
  });

  it('S16 is not for one that has ended and is good all the same: the authority would refuse it as it is', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 3_600_000 });
    const region = await regionOf({ ...ahead, central });
    central.knows('t', { token: { ...alice.token, expiresAtMs: region.clock.nowMs() - 1000 } });
    central.saysEnded('t');
    const beyondItsEnd = { more: { allowExpired: true } };
    await region.first.ask('t', beyondItsEnd);
    await region.clock.advance(240_000);
    await region.first.ask('t', beyondItsEnd);
    await settled();

    expect(await region.first.ask('t', beyondItsEnd)).toMatchObject({ decision: { active: true }, provenance: 'MEMORY' });
    expect(central.reads).toHaveLength(1);
  });

  it('is not for a dead token', async () => {
    const region = await askedOnce();
    await region.first.revokeToken('t');
    await settled();
    const reads = region.central.reads.length;
    await region.clock.advance(240_000);

    expect(verdict(await ask(region.first))).toBe('REVOKED');
    expect(region.central.reads).toHaveLength(reads);
  });

  it('takes the newer facts of another sidecar instead of asking', async () => {
    const region = await askedOnce();
    await region.clock.advance(100_000);
    await region.second.ask('t', { maxStalenessMs: 1000 });
    await settled();
    expect(region.central.reads).toHaveLength(2);
    await region.clock.advance(140_000);
    await ask(region.first);
    expect(await ask(region.first)).toMatchObject({ provenance: 'MEMORY', maxAgeMs: 158_000 });

    expect(region.central.reads).toHaveLength(2);
  });

  it('of many sidecars is one question for all, where the authority takes its time', async () => {
    const region = await askedOnce();
    for (const stage of region.stages) await ask(stage);
    const held = region.central.hold();
    await region.clock.advance(240_000);
    for (const stage of region.stages) await ask(stage);
    await region.clock.advance(25);
    held.all();
    await settled();
    await region.clock.advance(100);

    expect(region.central.reads).toHaveLength(2);
    for (const stage of region.stages) expect((await ask(stage)).maxAgeMs).toBeGreaterThan(297_000);
  });

  it('is switched off by 1', async () => {
    const region = await askedOnce({ limits: { refreshAhead: 1 } });
    await region.clock.advance(299_999);
    await ask(region.first);

    expect(region.central.reads).toHaveLength(1);
  });

  it('of what was signed there is none: nobody can be asked', async () => {
    const central = createFakeIssuer({ provenance: 'signature' });
    const region = await regionOf({ ...ahead, central });
    central.knows('t', alice);
    await ask(region.first);
    await region.clock.advance(299_000);
    await ask(region.first);

    expect(central.reads).toHaveLength(1);
  });

  it('a call that needs newer facts does not live from one that a REFRESH has overtaken', async () => {
    const region = await askedOnce();
    const held = region.central.hold();
    await region.clock.advance(240_000);
    await ask(region.first);
    await region.first.refreshUser('alice');
    const late = region.first.ask('t');
    await settled();
    held.all();

    expect((await late).provenance).toBe('AUTHORITY');
    expect(region.central.reads).toHaveLength(3);
  });

  it('works for tokens whose hits come with the digest alone, and by the raw text that is made then', async () => {
    const region = await askedOnce();
    await region.clock.advance(240_000);
    const { known } = await region.first.ask('t', { maxStalenessMs: 290_000 });
    await settled();

    expect(known?.digest).toBeDefined();
    expect(region.central.reads).toEqual(['t', 't']);
  });
});
