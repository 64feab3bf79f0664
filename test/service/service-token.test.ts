// Service tokens: what they make of a token that has ended, and what spoils them (S16).

import { afterEach, describe, expect, it } from 'vitest';
import type { More, Question } from '../../src/service/question.ts';
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts';
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

const hourMs = 3_600_000;
const service = { token: { user: { id: 'nova' }, roles: [{ id: 's', name: 'service' }] } };
const beside = (serviceToken: string, more: Partial<More> = {}): Partial<Question> => ({ more: { ...more, serviceToken } });

interface Scene {
  readonly region: Region;
  readonly central: FakeIssuer;
  readonly stage: ValidationStage;
  readonly endsAtMs: number;
}

/** `t` of alice has ended a minute ago, and may come back for two hours; `service` is good. */
async function scene({ endedMs = 60_000, ...options }: RegionOptions & { readonly endedMs?: number } = {}): Promise<Scene> {
  const central = options.central ?? createFakeIssuer({ expiredWithinMs: 2 * hourMs });
  const region = await regionOf({ ...options, central });
  const endsAtMs = region.clock.nowMs() - endedMs;
  central.knows('t', { token: { user: { id: 'alice' }, expiresAtMs: endsAtMs } });
  central.saysEnded('t');
  central.knows('service', service);
  return { region, central, stage: region.first, endsAtMs };
}

describe('an expired token', () => {
  it('S16 is active with a good service token, on facts that were fetched beyond its end', async () => {
    const { stage, central } = await scene();
    const answer = await stage.ask('t', beside('service'));

    expect(verdict(answer)).toBe('active');
    expect(answer.service?.token().user?.id).toBe('nova');
    expect(answer.known?.token().user?.id).toBe('alice');
    expect(central.questions).toEqual([
      { raw: 'service', options: { catalog: false, allowExpired: false } },
      { raw: 't', options: { catalog: false, allowExpired: true } },
    ]);
  });

  it('S16 may not be repeated: max_age is 0', async () => {
    const { stage } = await scene();

    expect((await stage.ask('t', beside('service'))).maxAgeMs).toBe(0);
  });

  it('S16 comes out of memory the second time', async () => {
    const { stage, central } = await scene();
    await stage.ask('t', beside('service'));
    expect(await stage.ask('t', beside('service'))).toMatchObject({ decision: { active: true }, provenance: 'MEMORY' });

    expect(central.reads).toHaveLength(2);
  });

  it('S16 comes out of the tier on another sidecar', async () => {
    const { stage, central, region } = await scene();
    await stage.ask('t', beside('service'));
    await settled();

    expect(await region.second.ask('t', beside('service'))).toMatchObject({ decision: { active: true }, provenance: 'SHARED' });
    expect(central.reads).toHaveLength(2);
  });

  it('S16 stays EXPIRED without one, although its facts are there', async () => {
    const { stage, region } = await scene();
    await stage.ask('t', beside('service'));
    await settled();

    expect(verdict(await stage.ask('t'))).toBe('EXPIRED');
    expect(verdict(await region.second.ask('t'))).toBe('EXPIRED');
    expect(verdict(await stage.ask('t', beside('service')))).toBe('active');
  });

  it('S16 is not good on facts that were fetched before its end: they are fetched again', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 2 * hourMs });
    const region = await regionOf({ central });
    central.knows('service', service);
    central.knows('t', { token: { expiresAtMs: region.clock.nowMs() + 10_000 } });
    await region.first.ask('t');
    await settled();
    // By more than the skew: what began sooner may have begun before the end by the other's clock.
    await region.clock.advance(13_000);
    central.saysEnded('t');

    expect(verdict(await region.first.ask('t', beside('service')))).toBe('active');
    expect(verdict(await region.second.ask('t', beside('service')))).toBe('active');
    expect(central.questions.filter(({ raw }) => raw === 't').map(({ options }) => options.allowExpired)).toEqual([false, true]);
  });

  it('S16 nor where they cannot be fetched again: no answer', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 2 * hourMs });
    const region = await regionOf({ central, staleWhileDownMs: hourMs });
    central.knows('service', service);
    central.knows('t', { token: { expiresAtMs: region.clock.nowMs() + 10_000 } });
    await region.first.ask('t');
    await region.first.ask('service');
    await region.clock.advance(10_000);
    central.isDown();

    await expect(region.first.ask('t', beside('service', { staleIfUnavailableMs: hourMs }))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each([
    { endedMs: 2 * hourMs - 1, said: 'active' },
    { endedMs: 2 * hourMs, said: 'EXPIRED' },
  ])('S16 $endedMs ms after its end, of two hours: $said', async ({ endedMs, said }) => {
    const { stage } = await scene({ endedMs });

    expect(verdict(await stage.ask('t', beside('service')))).toBe(said);
  });

  it('S16 runs out of the window while its facts are in memory', async () => {
    const { stage, region } = await scene({ endedMs: 2 * hourMs - 1000 });
    expect(verdict(await stage.ask('t', beside('service')))).toBe('active');
    await region.clock.advance(1000);

    expect(verdict(await stage.ask('t', beside('service')))).toBe('EXPIRED');
  });

  it('S16 is EXPIRED where the issuer has no window', async () => {
    const { stage } = await scene({ central: createFakeIssuer() });

    expect(verdict(await stage.ask('t', beside('service')))).toBe('EXPIRED');
  });

  it('S16 that is refused beyond its end is REFUSED, and asked without it is refused apart', async () => {
    const { stage, central } = await scene();
    central.refuses('t');
    expect(verdict(await stage.ask('t', beside('service')))).toBe('REFUSED');
    central.knows('t');
    expect(verdict(await stage.ask('t', beside('service')))).toBe('REFUSED');

    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    expect(central.questions.filter(({ raw }) => raw === 't').map(({ options }) => options.allowExpired)).toEqual([true, false]);
  });

  it('S16 that is revoked is REVOKED', async () => {
    const { stage } = await scene();
    await stage.ask('t', beside('service'));
    await stage.revokeToken('t');

    expect(verdict(await stage.ask('t', beside('service')))).toBe('REVOKED');
  });

  it('S16 has its demand judged', async () => {
    const { stage } = await scene();

    expect(verdict(await stage.ask('t', { ...beside('service'), demand: { scope: { kind: 'system' } } }))).toBe('WRONG_SCOPE');
  });

  it('S16 allow_expired of the Keystone face does the same without a service token', async () => {
    const { stage } = await scene();
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');

    expect(verdict(await stage.ask('t', { more: { allowExpired: true } }))).toBe('active');
    expect(verdict(await stage.ask('t'))).toBe('EXPIRED');
  });

  it('S16 a wall clock of another sidecar that is ahead does not make facts from before its end good', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 2 * hourMs });
    const region = await regionOf({ central, skews: [2000, 0] });
    central.knows('service', service);
    central.knows('t', { token: { expiresAtMs: region.clock.nowMs() + 1000 } });
    await region.first.ask('t', { more: { allowExpired: true } });
    await settled();
    central.refuses('t');
    await region.clock.advance(1500);

    expect(verdict(await region.second.ask('t', beside('service')))).toBe('REFUSED');
  });
});

describe('a service token', () => {
  it('S16 beside a token that is good is told, and changes nothing', async () => {
    const { stage, central } = await scene();
    central.knows('good', { token: { user: { id: 'alice' } } });
    const answer = await stage.ask('good', beside('service'));

    expect(answer).toMatchObject({ decision: { active: true }, maxAgeMs: 300_000 });
    expect(answer.service?.token().user?.id).toBe('nova');
  });

  it.each([
    ['unknown', 'nobody'],
    ['no token at all', 'no spaces within'],
    ['expired', 'old'],
    ['without the role', 'plain'],
    ['with another role', 'other'],
    ['not valid yet', 'early'],
    ['with access rules', 'ruled'],
    ['bound to a certificate', 'bound'],
  ])('S16 that is %s is BAD_SERVICE_TOKEN, also beside a token that is good, and the token is not asked about', async (_how, raw) => {
    const { stage, central, region } = await scene();
    const roles = service.token.roles;
    central.knows('good', { token: { user: { id: 'alice' } } });
    central.knows('old', { token: { roles, expiresAtMs: region.clock.nowMs() - 1000 } });
    central.knows('plain', { token: { roles: [] } });
    central.knows('other', { token: { roles: [{ id: 'service', name: 'admin' }] } });
    central.knows('early', { notBeforeMs: region.clock.nowMs() + 1000, token: { roles } });
    central.knows('ruled', { hasAccessRules: true, token: { roles } });
    central.knows('bound', { token: { roles, certificateThumbprint: 'x' } });
    for (const token of ['t', 'good']) {
      expect(await stage.ask(token, beside(raw))).toMatchObject({
        decision: { reason: 'BAD_SERVICE_TOKEN' },
        known: undefined,
        maxAgeMs: 0,
      });
    }

    expect(central.reads).not.toContain('t');
  });

  it('S16 that has ended is not made good by itself', async () => {
    const { stage, central, region } = await scene();
    central.knows('old', { token: { ...service.token, expiresAtMs: region.clock.nowMs() - 1000 } });

    expect(verdict(await stage.ask('old', beside('old')))).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 that is revoked is BAD_SERVICE_TOKEN', async () => {
    const { stage } = await scene();
    await stage.ask('t', beside('service'));
    await stage.revokeToken('service');

    expect(verdict(await stage.ask('t', beside('service')))).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 that is revoked while the token is fetched is BAD_SERVICE_TOKEN', async () => {
    const { stage, central } = await scene();
    await stage.ask('service');
    const held = central.hold();
    const answer = stage.ask('t', beside('service'));
    await settled();
    await stage.revokeToken('service');
    held.all();

    expect(verdict(await answer)).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 that ends while the token is fetched is BAD_SERVICE_TOKEN', async () => {
    const { stage, central, region } = await scene();
    central.knows('short', { token: { ...service.token, expiresAtMs: region.clock.nowMs() + 1000 } });
    await stage.ask('short');
    const held = central.hold();
    const answer = stage.ask('t', beside('short'));
    await settled();
    await region.clock.advance(1000);
    held.all();

    expect(verdict(await answer)).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 whose authority is away is no answer', async () => {
    const { stage, central } = await scene();
    central.isDown();

    await expect(stage.ask('t', beside('service'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('S16 of another issuer makes no expired token good', async () => {
    const one = createFakeIssuer({ name: 'one', prefix: '1_', expiredWithinMs: 2 * hourMs });
    const two = createFakeIssuer({ name: 'two', prefix: '2_', expiredWithinMs: 2 * hourMs });
    const region = await regionOf();
    const stage = await region.join({ issuers: [one, two] });
    one.knows('1_t', { token: { expiresAtMs: region.clock.nowMs() - 1000 } });
    one.knows('1_good');
    two.knows('2_service', service);
    one.knows('1_service', service);
    expect(verdict(await stage.ask('1_t', beside('2_service')))).toBe('EXPIRED');
    expect(verdict(await stage.ask('1_t', beside('1_service')))).toBe('active');
    expect(verdict(await stage.ask('1_t', beside('2_service')))).toBe('EXPIRED');

    expect(await stage.ask('1_good', beside('2_service'))).toMatchObject({
      decision: { active: true },
      service: { issuer: { name: 'two' } },
    });
  });

  it.each([
    { roles: ['glance', 'nova'], said: 'active' },
    { roles: [], said: 'BAD_SERVICE_TOKEN' },
  ])('S16 needs one of the roles $roles that its issuer’s configuration names: $said', async ({ roles, said }) => {
    const { stage, central } = await scene({ central: createFakeIssuer({ expiredWithinMs: hourMs, serviceRoles: roles }) });
    central.knows('service', { token: { roles: [{ id: 'x', name: 'nova' }] } });

    expect(verdict(await stage.ask('t', beside('service')))).toBe(said);
  });

  it('S16 ends the permission to repeat the answer where it ends', async () => {
    const { stage, central, region } = await scene();
    central.knows('good', { token: { user: { id: 'alice' } } });
    await stage.ask('good');
    central.knows('short', { token: { ...service.token, expiresAtMs: region.clock.nowMs() + 7000 } });
    expect((await stage.ask('good', beside('short'))).maxAgeMs).toBe(7000);
    await region.clock.advance(100_000);
    await stage.ask('service');

    expect((await stage.ask('good', beside('service'))).maxAgeMs).toBe(200_000);
  });

  it('S16 of a degraded issuer makes the answer degraded', async () => {
    const one = createFakeIssuer({ name: 'one', prefix: '1_' });
    const two = createFakeIssuer({ name: 'two', prefix: '2_' });
    const region = await regionOf();
    const stage = await region.join({ issuers: [one, two] });
    one.knows('1_t');
    two.knows('2_service', service);
    two.setClockOffset(60_000);

    expect(await stage.ask('1_t', beside('2_service'))).toMatchObject({ decision: { active: true }, degradedBy: ['CLOCK'], maxAgeMs: 0 });
  });

  it('S16 is not older than max_staleness allows either', async () => {
    const { stage, central, region } = await scene();
    central.knows('good', { token: { user: { id: 'alice' } } });
    for (const raw of ['service', 'good']) await stage.ask(raw);
    await region.clock.advance(10_000);
    await stage.ask('good', { ...beside('service'), maxStalenessMs: 5000 });

    expect(central.reads).toEqual(['service', 'good', 'service', 'good']);
  });

  it('S16 is judged after what has to be applied first: a REVOKE of it that the question names', async () => {
    const { stage, central } = await scene();
    central.knows('good', { token: { user: { id: 'alice' } } });
    for (const raw of ['service', 'good']) await stage.ask(raw);
    const coming = stage.ask('good', {
      ...beside('service'),
      atLeastAsFresh: { cursor: { journal: stage.journal.id, revision: 1 as never } },
    });
    await stage.revokeToken('service');

    expect(verdict(await coming)).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 brings the catalog of the token', async () => {
    const { stage, central, endsAtMs } = await scene();
    central.hasCatalog('[]');
    central.knows('t', { token: { scope: { kind: 'system' }, expiresAtMs: endsAtMs } });
    const answer = await stage.ask('t', beside('service', { catalog: true }));

    expect(Buffer.from(answer.catalog ?? 'none').toString('utf8')).toBe('[]');
    expect(central.questions.at(-1)?.options).toEqual({ catalog: true, allowExpired: true });
  });
});
