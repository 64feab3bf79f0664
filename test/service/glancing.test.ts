// What keys at hand tell comes before the tier, the lease, the flight and the authority; and it never weakens what stands without it.

import { describe, expect, it } from 'vitest';
import type { Attribute } from '../../src/core/attributes.ts';
import type { Glance } from '../../src/ports.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FactsSaid, lifeRules } from '../fakes/issuer.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const hourMs = 3_600_000;
const bad: Glance = { kind: 'inactive', reason: 'BAD_SIGNATURE' };

/** A stage whose issuer `central` tells at a glance what `glances` has of a token, and counts how often it was asked to. */
async function keyed(options: StageOptions & { readonly issuer?: Parameters<typeof createFakeIssuer>[0] } = {}) {
  const glances = new Map<string, Glance | (() => Promise<Glance | undefined>)>();
  const seen: { raw: string; allowExpired: boolean }[] = [];
  const central = createFakeIssuer({
    ...options.issuer,
    glance: async (raw, { allowExpired = false } = {}) => {
      seen.push({ raw, allowExpired });
      const found = glances.get(raw);
      const glance = typeof found === 'function' ? await found() : found;
      const isOver = glance?.kind === 'part' && stage.clock.nowMs() >= (glance.expiresAtMs ?? Infinity);
      return isOver && !allowExpired ? { kind: 'inactive', reason: 'EXPIRED' } : glance;
    },
  });
  const stage = await createValidationStage({ ...options, issuers: [central] });
  const nowMs = Math.floor(stage.clock.nowMs() / 1000) * 1000;

  /** Central knows it, and its keys tell this much of it. */
  function token(raw: string, part: { readonly issuedAtMs?: number; readonly expiresAtMs?: number; readonly facts?: FactsSaid } = {}) {
    const { issuedAtMs = nowMs - 60_000, expiresAtMs = nowMs + hourMs, facts } = part;
    const attributes: Attribute[] = [
      { dimension: 'everything', value: 'everything' },
      { dimension: 'issuer', value: 'central' },
      { dimension: 'identity', value: `audit ${raw}` },
      { dimension: 'user', value: 'alice' },
      { dimension: 'project', value: 'shop' },
      { dimension: 'scope_kind', value: 'project' },
      { dimension: 'role', value: undefined },
      { dimension: 'user_domain', value: undefined },
    ];
    glances.set(raw, { kind: 'part', identity: `audit ${raw}`, issuedAtMs, expiresAtMs, attributes });
    const project = { id: 'shop', isDomain: false };
    central.knows(raw, {
      identity: `audit ${raw}`,
      unknown: ['group'],
      ...facts,
      token: {
        issuedAtMs,
        expiresAtMs,
        user: { id: 'alice' },
        scope: { kind: 'project', project },
        auditIds: [`audit ${raw}`],
        ...facts?.token,
      },
    });
    return raw;
  }

  return { stage, central, glances, seen, token, nowMs };
}

const revoking = (
  stage: ValidationStage,
  conditions: readonly { dimension: Attribute['dimension']; value: string }[],
  issuedBeforeMs?: number,
) =>
  stage.invalidations.append({
    effect: 'REVOKE',
    selector: { kind: 'fit', issuer: 'central', conditions },
    ...(issuedBeforeMs === undefined ? {} : { issuedBeforeMs }),
    lifeMs: hourMs,
    origin: { source: 'rpc' },
  });
const entriesOf = async (stage: ValidationStage) =>
  (await stage.journal.read(0 as never, 1000)).map(({ entry }) =>
    entry.selector.kind === 'fit' ? entry.selector.conditions[0] : undefined,
  );

describe('S9 a token that its keys call dead', () => {
  it.each(['BAD_SIGNATURE', 'EXPIRED', 'MALFORMED', 'NOT_YET_VALID'] as const)(
    'is %s at once: no tier, no lease, no flight, no authority',
    async (reason) => {
      const clock = createFakeClock();
      const store = createFakeSharedStore(clock);
      const { stage, central, glances } = await keyed({ clock, shared: store.open() });
      glances.set('dead', { kind: 'inactive', reason });
      central.isDown();

      const answer = await stage.ask('dead');
      expect(answer).toMatchObject({ decision: { active: false, reason }, known: undefined, provenance: undefined, maxAgeMs: 0 });
      expect(answer.fingerprint).toMatch(/^[0-9a-f]{32}$/);
      expect([central.reads, store.calls]).toEqual([[], []]);
      expect(stage.facts.flightsTo('central')).toBe(0);
      await stage.close();
    },
  );

  it('is not remembered as refused: a key may come', async () => {
    const { stage, glances, token } = await keyed();
    glances.set('t', { ...bad, byOldKeys: true });
    expect(verdict(await stage.ask('t'))).toBe('BAD_SIGNATURE');
    token('t');

    expect(verdict(await stage.ask('t'))).toBe('active');
    expect(stage.facts.entries('unknown')).toBe(0);
    await stage.close();
  });

  it('is asked about where its keys tell nothing of it', async () => {
    const { stage, central, glances, token } = await keyed();
    token('t');
    glances.delete('t');

    expect(verdict(await stage.ask('t'))).toBe('active');
    expect(verdict(await stage.ask('unknown'))).toBe('REFUSED');
    expect(central.reads).toEqual(['t', 'unknown']);
    await stage.close();
  });

  it('is not looked at where its facts are in memory, nor where it was refused a moment ago, nor where its name is revoked', async () => {
    const { stage, seen, token } = await keyed();
    token('t');
    await stage.ask('t');
    await stage.ask('t');
    await stage.ask('unknown');
    await stage.ask('unknown');
    await stage.revokeToken('gone');
    const before = seen.length;
    await stage.ask('gone');

    expect(seen.slice(0, 2).map(({ raw }) => raw)).toEqual(['t', 'unknown']);
    expect(seen).toHaveLength(before);
    await stage.close();
  });

  it('of another issuer than was demanded is WRONG_ISSUER before anybody looks at it', async () => {
    const { stage, seen, token } = await keyed();
    token('t');
    expect(verdict(await stage.ask('t', { demand: { anyOfIssuers: ['other'] } }))).toBe('WRONG_ISSUER');
    expect(seen).toEqual([]);
    await stage.close();
  });
});

describe('S2 a token that an invalidation names for certain', () => {
  it.each([
    ['its user', [{ dimension: 'user', value: 'alice' }]],
    ['its project', [{ dimension: 'project', value: 'shop' }]],
    [
      'its user on its project',
      [
        { dimension: 'user', value: 'alice' },
        { dimension: 'project', value: 'shop' },
      ],
    ],
    ['its identity', [{ dimension: 'identity', value: 'audit t' }]],
    ['its kind of scope', [{ dimension: 'scope_kind', value: 'project' }]],
  ] as const)('is REVOKED without a fetch: by %s', async (_, conditions) => {
    const { stage, central, token, nowMs } = await keyed();
    token('t');
    const { entryId } = await revoking(stage, [...conditions], nowMs);

    const answer = await stage.ask('t');
    expect(verdict(answer)).toBe('REVOKED');
    expect((await stage.journal.at(answer.revoked?.revision as never))?.entry.id).toBe(entryId);
    expect(central.reads).toEqual([]);
    await stage.close();
  });

  it('is REVOKED also while nobody can be asked; one that is not named has no answer', async () => {
    const { stage, central, token, nowMs } = await keyed();
    token('t', { issuedAtMs: nowMs });
    token('younger', { issuedAtMs: nowMs + 1_000 });
    central.isDown();
    await revoking(stage, [{ dimension: 'user', value: 'alice' }], nowMs);

    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await expect(stage.ask('younger')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await stage.close();
  });

  it('S4 is judged by whole seconds, inclusive, as its facts will be', async () => {
    const { stage, token, nowMs } = await keyed();
    token('same', { issuedAtMs: nowMs });
    token('next', { issuedAtMs: nowMs + 1_000 });
    await revoking(stage, [{ dimension: 'user', value: 'alice' }], nowMs);

    expect(verdict(await stage.ask('same'))).toBe('REVOKED');
    await stage.clock.advance(1_000);
    expect(verdict(await stage.ask('next'))).toBe('active');
    await stage.close();
  });

  it.each([
    ['a role', [{ dimension: 'role', value: 'r' }]],
    [
      'a user with a role',
      [
        { dimension: 'user', value: 'alice' },
        { dimension: 'role', value: 'r' },
      ],
    ],
    ['a domain', [{ dimension: 'user_domain', value: 'd' }]],
    ['a group', [{ dimension: 'group', value: 'g' }]],
  ] as const)('is not killed by what is not told: %s only has it asked about', async (_, conditions) => {
    const { stage, central, token, nowMs } = await keyed();
    token('t');
    await revoking(stage, [...conditions], nowMs);

    expect(verdict(await stage.ask('t'))).toBe('active');
    expect(central.reads).toEqual(['t']);
    await stage.close();
  });

  it('is not killed by another of that kind', async () => {
    const { stage, token, nowMs } = await keyed();
    token('t');
    for (const dimension of ['user', 'project', 'identity', 'trust', 'application_credential'] as const) {
      await revoking(stage, [{ dimension, value: 'another' }], dimension === 'identity' ? undefined : nowMs);
    }
    expect(verdict(await stage.ask('t'))).toBe('active');
    await stage.close();
  });

  it('is REVOKED by what comes while it is fetched, also where the fetch fails', async () => {
    const { stage, central, token, nowMs } = await keyed();
    token('t');
    const held = central.hold();
    const asking = stage.ask('t');
    await settled();
    await revoking(stage, [{ dimension: 'user', value: 'alice' }], nowMs);
    central.isDown();
    held.all();

    expect(verdict(await asking)).toBe('REVOKED');
    await stage.close();
  });

  it('is asked about, whatever its keys say of it, where its authority has told of it meanwhile', async () => {
    const { stage, central, glances, token } = await keyed();
    token('t');
    glances.delete('t');
    const held = central.hold();
    const first = stage.ask('t');
    await settled();
    let looked = (): void => undefined;
    glances.set('t', () => new Promise((resolve) => (looked = () => resolve(bad))));
    await stage.clock.advance(1);
    const second = stage.ask('t', { maxStalenessMs: 0 });
    await stage.clock.advance(1);
    held.all();
    expect(verdict(await first)).toBe('active');
    looked();
    expect(verdict(await second)).toBe('active');
    await stage.close();
  });

  it('answers all of a burst by one question, whenever their glances end', async () => {
    const { stage, central, glances, token } = await keyed();
    token('t');
    const part = glances.get('t') as Glance;
    const ends: (() => void)[] = [];
    glances.set('t', () => new Promise((resolve) => ends.push(() => resolve(part))));
    const asking = Array.from({ length: 20 }, () => stage.ask('t'));
    await settled();
    for (const end of ends) {
      end();
      await settled();
    }

    expect((await Promise.all(asking)).map(verdict)).toEqual(Array(20).fill('active'));
    expect(central.reads).toEqual(['t']);
    await stage.close();
  });
});

describe('S12, S16 a token whose keys tell its life', () => {
  it('S12 lives too long: that is said without a question', async () => {
    const { stage, central, token, nowMs } = await keyed({ issuer: { life: lifeRules({ maxTokenLifeMs: hourMs }) } });
    token('t', { issuedAtMs: nowMs, expiresAtMs: nowMs + hourMs + 1_000 });
    token('just', { issuedAtMs: nowMs, expiresAtMs: nowMs + hourMs });

    expect([verdict(await stage.ask('t')), verdict(await stage.ask('just'))]).toEqual(['LIFETIME_TOO_LONG', 'active']);
    expect(central.reads).toEqual(['just']);
    await stage.close();
  });

  it('S16 has ended: with a service token it is asked about within the window, and not beyond', async () => {
    const { stage, central, token, nowMs } = await keyed({ issuer: { expiredWithinMs: hourMs } });
    token('t', { issuedAtMs: nowMs - 2 * hourMs, expiresAtMs: nowMs - hourMs + 5_000 });
    token('service', { expiresAtMs: nowMs + 10 * hourMs, facts: { token: { roles: [{ id: 's', name: 'service' }] } } });
    const ask = () => stage.ask('t', { more: { serviceToken: 'service' } });
    central.saysEnded('t');

    expect(verdict(await ask())).toBe('active');
    expect(central.questions.filter(({ raw }) => raw === 't')).toEqual([{ raw: 't', options: { catalog: false, allowExpired: true } }]);
    await stage.close();

    const later = await keyed({ issuer: { expiredWithinMs: hourMs } });
    later.token('t', { issuedAtMs: nowMs - 2 * hourMs, expiresAtMs: nowMs - hourMs });
    expect(verdict(await later.stage.ask('t', { more: { allowExpired: true } }))).toBe('EXPIRED');
    expect(later.central.reads).toEqual([]);
    await later.stage.close();
  });
});

describe('S4 a token in somebody’s hand whose keys are at hand', () => {
  it('is revoked by its identity at once, with nobody to ask, and costs nothing of what strangers may spend', async () => {
    const { stage, central, token } = await keyed({ unverified: { perSecond: 1, alive: 1 } });
    central.isDown();
    for (let n = 0; n < 20; n += 1) expect((await stage.revokeToken(token(`t${n}`))).entryId).not.toBe('');

    expect((await entriesOf(stage)).slice(0, 2)).toEqual([
      { dimension: 'fingerprint', value: expect.stringMatching(/^[0-9a-f]{32}$/) },
      { dimension: 'identity', value: 'audit t0' },
    ]);
    expect(stage.journal.count()).toBe(40);
    expect(verdict(await stage.ask('t7'))).toBe('REVOKED');
    expect([central.reads, stage.forwarding.pendingCount]).toEqual([[], 0]);
    await stage.close();
  });

  it('is dead in every other spelling too: its identity is the same', async () => {
    const { stage, glances, token } = await keyed();
    token('t');
    token('t-spelt-otherwise', { facts: { identity: 'audit t' } });
    const part = glances.get('t-spelt-otherwise') as Extract<Glance, { kind: 'part' }>;
    const attributes = part.attributes.map((one) => (one.dimension === 'identity' ? { ...one, value: 'audit t' } : one));
    glances.set('t-spelt-otherwise', { ...part, identity: 'audit t', attributes });
    const first = await stage.revokeToken('t');

    expect(verdict(await stage.ask('t-spelt-otherwise'))).toBe('REVOKED');
    expect((await stage.revokeToken('t-spelt-otherwise')).entryId).toBe((await stage.journal.read(0 as never, 10))[1]?.entry.id);
    expect([stage.journal.count(), first.entryId === '']).toEqual([2, false]);
    await stage.close();
  });

  it('S12 keeps its entries to its own end, its window and the skews, no longer', async () => {
    const { stage, token, nowMs } = await keyed({
      issuer: { expiredWithinMs: hourMs, life: lifeRules({ leewayMs: 3_000, skewMs: 5_000 }) },
    });
    token('t', { issuedAtMs: nowMs, expiresAtMs: nowMs + hourMs });
    await stage.revokeToken('t');

    const entries = await stage.journal.read(0 as never, 10);
    expect(entries.map(({ entry }) => entry.forgetAtMs)).toEqual(Array(2).fill(nowMs + 2 * hourMs + 3_000 + 2_000));
    await stage.close();
  });

  it('that is none is done without an entry', async () => {
    const { stage, glances } = await keyed();
    glances.set('none', { kind: 'inactive', reason: 'MALFORMED' });

    expect((await stage.revokeToken('none')).entryId).toBe('');
    expect(stage.journal.count()).toBe(0);
    await stage.close();
  });

  it.each<[string, Glance | undefined]>([
    ['wrongly signed', bad],
    ['so by keys that may be old', { ...bad, byOldKeys: true } as Glance],
    ['not yet valid', { kind: 'inactive', reason: 'NOT_YET_VALID', byOldKeys: true } as Glance],
    ['of which the keys tell nothing', undefined],
  ])('that is called so %s is killed by its shape, as ever: it may be a token all the same', async (_, glance) => {
    const { stage, central, glances, token } = await keyed({ unverified: { perSecond: 1, alive: 10 } });
    token('t');
    if (glance) glances.set('t', glance);
    else glances.delete('t');
    expect((await stage.revokeToken('t')).entryId).not.toBe('');
    await expect(stage.revokeToken('another')).rejects.toMatchObject({ reason: 'TOO_MANY_UNVERIFIED' });
    await settled();

    // What else names it has been learned from the authority.
    expect(central.reads).toEqual(['t']);
    expect(await entriesOf(stage)).toContainEqual({ dimension: 'identity', value: 'audit t' });
    await stage.close();
  });

  it('that has ended is done without an entry only when nobody could bring it back', async () => {
    const { stage, token, nowMs } = await keyed({ issuer: { expiredWithinMs: hourMs } });
    token('long-ago', { issuedAtMs: nowMs - 3 * hourMs, expiresAtMs: nowMs - hourMs - 2_000 });
    token('a-while-ago', { issuedAtMs: nowMs - 3 * hourMs, expiresAtMs: nowMs - hourMs + 1_000 });

    expect((await stage.revokeToken('long-ago')).entryId).toBe('');
    expect((await stage.revokeToken('a-while-ago')).entryId).not.toBe('');
    await stage.close();
  });

  it('that has ended by a clock that is ahead for a while is revoked all the same', async () => {
    const { stage, token } = await keyed();
    token('t');
    stage.clock.stepWall(24 * hourMs);
    expect((await stage.revokeToken('t')).entryId).not.toBe('');
    stage.clock.stepWall(-24 * hourMs);

    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.close();
  });

  it('that its authority has told facts of is killed whatever its keys say of it now', async () => {
    const { stage, clock, glances, token } = await keyed().then((it) => ({ ...it, clock: it.stage.clock }));
    token('t');
    await stage.ask('t');
    await clock.advance(301_000);
    glances.set('t', bad);

    expect((await stage.revokeToken('t')).entryId).not.toBe('');
    await stage.close();
  });
});
