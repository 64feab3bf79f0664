// Access rules: a token that has some is good only for a request that one of them allows (S16).

import { afterEach, describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access-rules.ts';
import type { FactsSaid } from '../fakes/issuer.ts';
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

const list: Access = { service: 'compute', method: 'GET', path: '/v2.1/servers' };
const rule = { id: 'r', ...list };
const ruled = (accessRules: readonly (typeof rule)[]): FactsSaid => ({
  hasAccessRules: true,
  token: { user: { id: 'alice' }, applicationCredential: { id: 'a', restricted: true, accessRules } },
});

async function regionWith(said: FactsSaid, options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf(options);
  region.central.knows('t', said);
  return region;
}

describe('a token with access rules', () => {
  it.each([
    ['no demand', undefined, 'ACCESS_DENIED'],
    ['a demand that names no request', {}, 'ACCESS_DENIED'],
    ['a request that a rule allows', { access: list }, 'active'],
    ['another service', { access: { ...list, service: 'image' } }, 'ACCESS_DENIED'],
    ['another method', { access: { ...list, method: 'POST' } }, 'ACCESS_DENIED'],
    ['another path', { access: { ...list, path: '/v2.1/servers/x' } }, 'ACCESS_DENIED'],
    ['a caller that judges by itself', { access: 'enforced-by-caller' as const }, 'active'],
  ])('S16 with %s', async (_what, demand, said) => {
    const region = await regionWith(ruled([rule]));
    await region.first.ask('t');
    await settled();

    for (const stage of region.stages) expect(verdict(await stage.ask('t', { demand }))).toBe(said);
    expect(region.central.reads).toEqual(['t']);
  });

  it('S16 with an empty list of them allows nothing', async () => {
    const region = await regionWith(ruled([]));

    expect(verdict(await region.first.ask('t', { demand: { access: list } }))).toBe('ACCESS_DENIED');
  });

  it('S16 of facts that say that there are some, and not which, allows nothing', async () => {
    const region = await regionWith({ hasAccessRules: true });

    expect(verdict(await region.first.ask('t', { demand: { access: list } }))).toBe('ACCESS_DENIED');
  });

  it('S16 one of several rules is enough', async () => {
    const region = await regionWith(
      ruled([
        { ...rule, method: 'POST' },
        { ...rule, path: '/v2.1/**' },
      ]),
    );

    expect(verdict(await region.first.ask('t', { demand: { access: list } }))).toBe('active');
  });

  it('S16 an answer may be repeated to the same request, and only where the demand named it', async () => {
    const region = await regionWith(ruled([rule]));
    await region.first.ask('t');

    expect((await region.first.ask('t', { demand: { access: list } })).maxAgeMs).toBe(300_000);
    expect((await region.first.ask('t', { demand: { access: 'enforced-by-caller' } })).maxAgeMs).toBe(0);
    expect((await region.first.ask('t')).maxAgeMs).toBe(0);
  });

  it('S16 REVOKED and EXPIRED come before ACCESS_DENIED: no identity before what it may not do', async () => {
    const region = await regionWith(ruled([rule]));
    await region.first.ask('t');
    await region.first.revokeToken('t');

    expect(verdict(await region.first.ask('t'))).toBe('REVOKED');
  });

  it('S16 the other parts of a demand hold as well', async () => {
    const region = await regionWith(ruled([rule]));

    expect(verdict(await region.first.ask('t', { demand: { access: list, scope: { kind: 'system' } } }))).toBe('WRONG_SCOPE');
  });

  it('S16 a catalog is not fetched for what is denied', async () => {
    const region = await regionWith(ruled([rule]));
    await region.first.ask('t');
    region.central.isDown();

    expect(verdict(await region.first.ask('t', { more: { catalog: true } }))).toBe('ACCESS_DENIED');
  });

  it('S16 is confirmed ahead by hits that are allowed', async () => {
    const region = await regionWith(ruled([rule]), { limits: { refreshAhead: 0.5 } });
    await region.first.ask('t');
    await region.clock.advance(150_000);
    await region.first.ask('t', { demand: { access: list } });
    await settled();

    expect(region.central.reads).toEqual(['t', 't']);
  });
});

describe('a token without access rules', () => {
  it('S16 is good for every request', async () => {
    const region = await regionWith({ token: { user: { id: 'alice' }, applicationCredential: { id: 'a', restricted: true } } });

    expect(await region.first.ask('t', { demand: { access: { ...list, method: 'DELETE' } } })).toMatchObject({
      decision: { active: true },
      maxAgeMs: 300_000,
    });
    expect(verdict(await region.first.ask('t'))).toBe('active');
  });
});
