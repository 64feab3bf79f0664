// stale_if_unavailable: facts past their time, while nobody can be asked and the question says that they will do.

import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { digestOf } from '../../src/core/raw.ts';
import type { Question } from '../../src/service/question.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
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

const alice = { token: { user: { id: 'alice' } } };
const stale = (staleIfUnavailableMs: number, more: Partial<Question> = {}): Partial<Question> => ({
  ...more,
  more: { ...more.more, staleIfUnavailableMs },
});

/** A region that allows 60 s, whose first sidecar has asked about `t` before the authority went away. */
async function goneAway(options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf({ staleWhileDownMs: 60_000, ...options });
  region.central.knows('t', alice);
  await region.first.ask('t');
  await settled();
  region.central.isDown();
  return region;
}

describe('stale_if_unavailable', () => {
  it('S13 is an answer, degraded STALE_FACTS, that may not be repeated', async () => {
    const region = await goneAway();
    await region.clock.advance(310_000);

    expect(await region.first.ask('t', stale(30_000))).toMatchObject({
      decision: { active: true },
      degradedBy: ['STALE_FACTS'],
      maxAgeMs: 0,
      provenance: 'MEMORY',
    });
  });

  it('changes nothing for facts that are in their time', async () => {
    const region = await goneAway();
    await region.clock.advance(299_999);

    expect(await region.first.ask('t', stale(30_000))).toMatchObject({ degradedBy: [], maxAgeMs: 1 });
  });

  it.each([
    { asked: 30_000, pastMs: 29_999, outcome: 'active' },
    { asked: 30_000, pastMs: 30_000, outcome: 'UPSTREAM_DOWN' },
    { asked: 90_000, pastMs: 59_999, outcome: 'active' },
    { asked: 90_000, pastMs: 60_000, outcome: 'UPSTREAM_DOWN' },
    { asked: 0, pastMs: 0, outcome: 'UPSTREAM_DOWN' },
  ])(
    'takes facts $pastMs ms past their time where $asked are asked for and 60,000 are configured: $outcome',
    async ({ asked, pastMs, outcome }) => {
      const region = await goneAway();
      await region.clock.advance(300_000 + pastMs);

      expect(await region.first.ask('t', stale(asked)).then(verdict, (error: SidecarError) => error.reason)).toBe(outcome);
    },
  );

  it('is nothing where the configuration allows nothing', async () => {
    const region = await goneAway({ staleWhileDownMs: 0 });
    await region.clock.advance(300_000);

    await expect(region.first.ask('t', stale(30_000))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('is for questions that ask for it', async () => {
    const region = await goneAway();
    await region.clock.advance(300_000);

    await expect(region.first.ask('t')).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it.each([
    { code: 'UNAVAILABLE', serves: true },
    { code: 'DEADLINE_EXCEEDED', serves: true },
    { code: 'INTERNAL', serves: false },
    { code: 'RESOURCE_EXHAUSTED', serves: false },
  ] as const)('serves where the authority is away, not where something else is wrong: $code', async ({ code, serves }) => {
    const region = await goneAway();
    region.central.isDown(new SidecarError(code, 'planned', { reason: 'PLANNED' }));
    await region.clock.advance(300_000);

    expect(
      await region.first.ask('t', stale(30_000)).then(
        () => true,
        () => false,
      ),
    ).toBe(serves);
  });

  it('is not for an error that nobody planned', async () => {
    const region = await goneAway();
    region.central.isDown(new TypeError('planned'));
    await region.clock.advance(300_000);

    await expect(region.first.ask('t', stale(30_000))).rejects.toThrow('planned');
  });

  it('a refusal is an answer: nothing stale is served over it', async () => {
    const region = await goneAway();
    region.central.answers();
    region.central.refuses('t');
    await region.clock.advance(300_000);
    expect(verdict(await region.first.ask('t', stale(30_000)))).toBe('REFUSED');
    region.central.isDown();
    await region.clock.advance(5000);

    expect(await region.first.ask('t', stale(30_000)).then(verdict, (error: SidecarError) => error.reason)).toBe('UPSTREAM_DOWN');
  });

  it('S7 not past a REFRESH that matches, and past another', async () => {
    const region = await goneAway();
    await region.clock.advance(300_000);
    await region.first.refreshUser('bob');
    expect(verdict(await region.first.ask('t', stale(30_000)))).toBe('active');
    await region.first.refreshUser('alice');

    await expect(region.first.ask('t', stale(30_000))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('S6 nor facts that were provisional', async () => {
    const region = await regionOf({ staleWhileDownMs: 60_000 });
    region.central.knows('t', alice);
    await region.first.refreshUser('alice');
    await region.first.ask('t');
    region.central.isDown();
    await region.clock.advance(2000);

    await expect(region.first.ask('t', stale(30_000))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('not for a revoked token: it is REVOKED, asked for so or not', async () => {
    const region = await goneAway();
    await region.first.revokeToken('t');
    await region.clock.advance(300_000);
    expect(verdict(await region.first.ask('t'))).toBe('REVOKED');

    expect(await region.first.ask('t', stale(30_000))).toMatchObject({ decision: { reason: 'REVOKED' }, maxAgeMs: 0 });
  });

  it('not past the token’s end', async () => {
    const region = await regionOf({ staleWhileDownMs: 60_000 });
    region.central.knows('t', { token: { ...alice.token, expiresAtMs: region.clock.nowMs() + 310_000 } });
    await region.first.ask('t');
    region.central.isDown();
    await region.clock.advance(309_999);
    expect(verdict(await region.first.ask('t', stale(30_000)))).toBe('active');
    await region.clock.advance(1);

    expect(verdict(await region.first.ask('t', stale(30_000)))).toBe('EXPIRED');
  });

  it('max_staleness wins', async () => {
    const region = await goneAway();
    await region.clock.advance(310_000);
    expect(verdict(await region.first.ask('t', stale(30_000, { maxStalenessMs: 310_000 })))).toBe('active');

    await expect(region.first.ask('t', stale(30_000, { maxStalenessMs: 309_999 }))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('the demand is judged as ever', async () => {
    const region = await goneAway();
    await region.clock.advance(310_000);

    expect(verdict(await region.first.ask('t', stale(30_000, { demand: { scope: { kind: 'system' } } })))).toBe('WRONG_SCOPE');
  });

  it('S16 an expired token is not made good by it: its facts are from before its end', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 86_400_000 });
    const region = await regionOf({ central, staleWhileDownMs: 60_000 });
    central.knows('t', { token: { ...alice.token, expiresAtMs: region.clock.nowMs() + 200_000 } });
    await region.first.ask('t');
    central.isDown();
    await region.clock.advance(310_000);

    await expect(region.first.ask('t', stale(30_000, { more: { allowExpired: true } }))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('facts in the tier serve too, on a sidecar that has none', async () => {
    const region = await goneAway();
    await region.clock.advance(310_000);

    expect(await region.second.ask('t', stale(30_000))).toMatchObject({
      decision: { active: true },
      degradedBy: ['STALE_FACTS'],
      maxAgeMs: 0,
    });
  });

  it('those in the tier are skew older, and not served beyond the bound either', async () => {
    const region = await goneAway();
    await region.clock.advance(300_000 - 2000 + 29_999);
    expect(verdict(await region.second.ask('t', stale(30_000)))).toBe('active');
    await region.clock.advance(1);

    await expect(region.third.ask('t', stale(30_000))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('the newer ones of the tier serve where those in memory are too old', async () => {
    const region = await goneAway();
    region.central.answers();
    await region.second.ask('t');
    await region.clock.advance(300_000);
    await region.second.ask('t');
    await settled();
    region.central.isDown();
    await region.clock.advance(310_000);

    expect(await region.first.ask('t', stale(30_000))).toMatchObject({ decision: { active: true }, degradedBy: ['STALE_FACTS'] });
  });

  it('facts of the tier that a REFRESH here concerns do not', async () => {
    const region = await goneAway();
    await region.second.refreshUser('alice');
    await region.clock.advance(310_000);

    await expect(region.second.ask('t', stale(30_000))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('a token that was revoked here is REVOKED, though its facts are only in the tier', async () => {
    const region = await goneAway();
    await region.second.revokeToken('t');
    await region.clock.advance(310_000);

    expect(verdict(await region.second.ask('t', stale(30_000)))).toBe('REVOKED');
  });

  it('a full queue is no answer either: stale facts serve', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1, queue: 0 } });
    const region = await goneAway({ central });
    central.answers();
    const held = central.hold();
    await region.clock.advance(310_000);
    const other = region.first.ask('u');
    await settled();

    expect((await region.first.ask('t', stale(30_000))).degradedBy).toEqual(['STALE_FACTS']);
    held.all();
    await other;
  });

  it('a catalog that is wanted has to be there, in its own time', async () => {
    const region = await regionOf({ staleWhileDownMs: 60_000, catalogs: { timeMs: 305_000 } });
    region.central.hasCatalog('[]');
    region.central.knows('t', { token: { ...alice.token, scope: { kind: 'system' } } });
    await region.first.ask('t', { more: { catalog: true } });
    await settled();
    region.central.isDown();
    await region.clock.advance(304_000);
    const answer = await region.first.ask('t', stale(30_000, { more: { catalog: true } }));
    expect(answer).toMatchObject({ decision: { active: true }, degradedBy: ['STALE_FACTS'] });
    expect(Buffer.from(answer.catalog ?? []).toString('utf8')).toBe('[]');
    await region.clock.advance(1000);

    await expect(region.first.ask('t', stale(30_000, { more: { catalog: true } }))).rejects.toMatchObject({ reason: 'UPSTREAM_DOWN' });
  });

  it('what was served stale is not kept as fresh: the authority is asked with every call, and the first good answer ends it', async () => {
    const region = await goneAway();
    await region.clock.advance(310_000);
    await region.first.ask('t', stale(30_000));
    await region.second.ask('t', stale(30_000));
    region.central.answers();

    expect(await region.second.ask('t', stale(30_000))).toMatchObject({ degradedBy: [], provenance: 'AUTHORITY', maxAgeMs: 300_000 });
    expect(region.second.facts.find(digestOf('t'))?.freshUntilMs).toBe(region.clock.monotonicMs() + 300_000);
  });
});
