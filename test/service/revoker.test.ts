// Revoke and Refresh: what is appended, for how long, and what is turned away (S4, S12, S14).

import { afterEach, describe, expect, it } from 'vitest';
import type { PlacedEntry } from '../../src/core/invalidation.ts';
import { revision } from '../../src/core/invalidation.ts';
import { digestOf } from '../../src/core/raw.ts';
import type { Selector } from '../../src/core/selector.ts';
import { createFakeIssuer, lifeRules } from '../fakes/issuer.ts';
import { always, askedBy, createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function createStage(options: StageOptions = {}): Promise<ValidationStage> {
  const stage = await createValidationStage(options);
  ends.push(() => stage.close());
  return stage;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const nowMs = Date.UTC(2026, 10, 21, 10);

const entriesOf = (stage: ValidationStage): Promise<PlacedEntry[]> => stage.journal.read(revision(0), 1000);
/** The dimension of each entry's first condition, in the order of the journal. */
const dimensionsOf = async (stage: ValidationStage): Promise<(string | undefined)[]> =>
  (await entriesOf(stage)).map(({ entry }) => (entry.selector.kind === 'fit' ? entry.selector.conditions[0]?.dimension : 'everything'));
const user = (value: string, issuer?: string): Selector => ({
  kind: 'fit',
  ...(issuer === undefined ? {} : { issuer }),
  conditions: [{ dimension: 'user', value }],
});

/** JWTs of one issuer: raw is `payload/signature`, and only the signature `good` is one. */
function createSigner(life: { leewayMs?: number; expiresAtMs?: number; issuedAtMs?: number; expiredWithinMs?: number } = {}) {
  const issuer = createFakeIssuer({
    name: 'corp',
    prefix: 'jwt_',
    provenance: 'signature',
    expiredWithinMs: life.expiredWithinMs ?? 0,
    life: lifeRules({ maxTokenLifeMs: dayMs, leewayMs: life.leewayMs ?? 0 }),
  });
  const token = { issuedAtMs: life.issuedAtMs ?? nowMs - hourMs, expiresAtMs: life.expiresAtMs ?? nowMs + hourMs };
  issuer.knows('jwt_a', { identity: 'jti-1', token });
  // An ECDSA signature has a second spelling that verifies too.
  issuer.knows('jwt_a-respelt', { identity: 'jti-1', token });
  issuer.knows('jwt_b', { identity: 'jti-2', token });
  return issuer;
}

describe('by possession', () => {
  it('S4 the fingerprint comes first and needs no authority; a Validate that starts after the answer sees it', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1' });
    await stage.ask('t');
    stage.central.isDown();

    const done = await stage.revokeToken('t');

    expect(await dimensionsOf(stage)).toEqual(['fingerprint', 'identity']);
    expect(done.entryId).toBe((await entriesOf(stage))[0]?.entry.id);
    expect(done.asOf.revision).toBe(2);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
  });

  it('S4 it kills whenever the token was issued: the entries have no cut-off', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1', token: { issuedAtMs: nowMs } });
    await stage.ask('t');
    await stage.revokeToken('t');

    for (const { entry } of await entriesOf(stage)) expect(entry.issuedBeforeMs).toBeUndefined();
  });

  it('S4 of what nothing but the shape is known, the identity is added as soon as the authority tells it', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1' });
    const held = stage.central.hold();

    await stage.revokeToken('t');
    expect(await dimensionsOf(stage)).toEqual(['fingerprint']);
    held.all();
    await settled();

    expect(await dimensionsOf(stage)).toEqual(['fingerprint', 'identity']);
  });

  it('who leaves between the two entries does not leave the token half dead', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1' });
    await stage.ask('t');
    const leaves = new AbortController();
    const call = stage.revoker.revokeToken('t', askedBy(), 'tcp', leaves.signal);
    leaves.abort();

    await expect(call).rejects.toThrow();
    await settled();
    expect(await dimensionsOf(stage)).toEqual(['fingerprint', 'identity']);
  });

  it('S4 where the identity cannot be learned, the fingerprint has killed it all the same', async () => {
    const stage = await createStage();
    stage.central.isDown();
    await stage.revokeToken('t');
    await settled();
    stage.central.answers();
    stage.central.knows('t');

    expect(await dimensionsOf(stage)).toEqual(['fingerprint']);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
  });

  it('S4 the same token with other bytes as its signature dies too, and another token does not', async () => {
    const stage = await createStage({ issuers: [createSigner()] });

    await stage.revokeToken('jwt_a');

    expect(verdict(await stage.ask('jwt_a'))).toBe('REVOKED');
    expect(verdict(await stage.ask('jwt_a-respelt'))).toBe('REVOKED');
    expect(verdict(await stage.ask('jwt_b'))).toBe('active');
  });

  it.each(['no format', 'jwt_badly-signed', 'x'.repeat(70_000)])(
    'S4 a string of no format, wrongly signed or too long is done without an entry (RFC 7009 §2.2)',
    async (raw) => {
      const stage = await createStage({ issuers: [createSigner()] });

      expect(await stage.revokeToken(raw)).toMatchObject({ entryId: '', asOf: { revision: 0 } });
      expect(await entriesOf(stage)).toEqual([]);
    },
  );

  it.each([
    { ms: -1, entries: 2 },
    { ms: 0, entries: 0 },
  ])('S4 a token that has ended is done without an entry: $ms ms from when it can come back no more', async ({ ms, entries }) => {
    const stage = await createStage({ issuers: [createSigner({ leewayMs: 1000, expiredWithinMs: 60_000, expiresAtMs: nowMs })] });
    // Its end, what the issuer's clock may be off, how long it may still come back, and the skew between our hosts.
    await stage.clock.advance(1000 + 60_000 + 2000 + ms);
    await stage.revokeToken('jwt_a');

    expect(await entriesOf(stage)).toHaveLength(entries);
  });

  it('S4 while the keys cannot be had, a signed token is killed by its fingerprint', async () => {
    const issuer = createSigner();
    issuer.isDown();
    const stage = await createStage({ issuers: [issuer] });
    await stage.revokeToken('jwt_a');
    issuer.answers();

    expect(verdict(await stage.ask('jwt_a'))).toBe('REVOKED');
  });

  it.each(['', '  '])('an empty token (%j) is INVALID_ARGUMENT', async (raw) => {
    const stage = await createStage();

    await expect(stage.revokeToken(raw)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'TOKEN_MISSING' });
  });

  it.each([
    { count: 9, refused: 0 },
    { count: 10, refused: 0 },
    { count: 11, refused: 1 },
  ])('S4 of unknown tokens ten a second may be revoked: of $count $refused are turned away', async ({ count, refused }) => {
    const stage = await createStage();
    stage.central.isDown();
    const outcomes: string[] = [];
    for (let n = 0; n < count; n += 1)
      outcomes.push(
        await stage.revokeToken(`t${n}`).then(
          () => 'done',
          (error) => error.reason,
        ),
      );

    expect(outcomes.filter((one) => one === 'TOO_MANY_UNVERIFIED')).toHaveLength(refused);
    expect(await entriesOf(stage)).toHaveLength(count - refused);
  });

  it('S4 the budget is each listener’s own, says when to come again, and is filled again by then', async () => {
    const stage = await createStage({ unverified: { perSecond: 1, alive: 100 } });
    stage.central.isDown();
    await stage.revokeToken('a');

    await expect(stage.revokeToken('b')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryAfterMs: 1000 });
    await stage.revokeToken('b', {}, 'socket');
    await stage.clock.advance(1000);
    await stage.revokeToken('c');
    expect(await entriesOf(stage)).toHaveLength(3);
  });

  it.each([
    { count: 2, refused: 0 },
    { count: 3, refused: 0 },
    { count: 4, refused: 1 },
  ])('S4 three of them may be alive at once: of $count $refused are turned away', async ({ count, refused }) => {
    const stage = await createStage({ unverified: { perSecond: 1000, alive: 3 } });
    stage.central.isDown();
    const calls = Array.from({ length: count }, (_, n) => stage.revokeToken(`t${n}`));
    const outcomes = await Promise.allSettled(calls);

    expect(outcomes.filter((one) => one.status === 'rejected')).toHaveLength(refused);
  });

  it('S4 known tokens cost no budget', async () => {
    const stage = await createStage({ unverified: { perSecond: 0, alive: 0 } });
    stage.central.knows('t');
    await stage.ask('t');

    expect((await stage.revokeToken('t')).entryId).not.toBe('');
  });
});

describe('by selector', () => {
  const revoke = (stage: ValidationStage, selector: Selector, issuedBeforeMs?: number, asked = askedBy()) =>
    stage.revoker.revokeSelector(selector, issuedBeforeMs, asked, always);

  it.each([
    { skewMs: 0, ms: 0, cutOff: 0 },
    { skewMs: 0, ms: 999, cutOff: 0 },
    { skewMs: 5000, ms: 400, cutOff: 5000 },
    { skewMs: 5600, ms: 400, cutOff: 6000 },
  ])('S4 the default cut-off is now ($ms) plus the issuer’s skew ($skewMs) in whole seconds: $cutOff', async ({ skewMs, ms, cutOff }) => {
    const issuer = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: dayMs, skewMs }) });
    const stage = await createStage({ issuers: [issuer] });
    await stage.clock.advance(ms);
    await revoke(stage, user('alice'));

    expect((await entriesOf(stage))[0]?.entry.issuedBeforeMs).toBe(nowMs + cutOff);
  });

  it.each([
    { ms: 4000, outcome: 'done' },
    { ms: 5000, outcome: 'done' },
    { ms: 6000, outcome: 'ISSUED_BEFORE_IN_FUTURE' },
  ])('S4 a cut-off $ms ms from now, of 5 s allowed: $outcome', async ({ ms, outcome }) => {
    const issuer = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: dayMs, skewMs: 5000 }) });
    const stage = await createStage({ issuers: [issuer] });

    expect(
      await revoke(stage, user('alice'), nowMs + ms).then(
        () => 'done',
        (error) => error.reason,
      ),
    ).toBe(outcome);
  });

  it.each([
    { issuedAtMs: nowMs - 1000, expected: 'REVOKED' },
    { issuedAtMs: nowMs, expected: 'REVOKED' },
    { issuedAtMs: nowMs + 1000, expected: 'active' },
  ])('S4 a cut-off is inclusive, in whole seconds: issued at $issuedAtMs it is $expected', async ({ issuedAtMs, expected }) => {
    const stage = await createStage();
    stage.central.knows('t', { token: { user: { id: 'alice' }, issuedAtMs } });
    await stage.clock.advance(1000);
    await stage.ask('t');
    await revoke(stage, user('alice'), nowMs + 999);

    expect(verdict(await stage.ask('t'))).toBe(expected);
  });

  it.each(['fingerprint', 'identity'] as const)(
    'S4 issued_before with a selector of one token (%s) is INVALID_ARGUMENT',
    async (dimension) => {
      const stage = await createStage();
      const selector: Selector = { kind: 'fit', conditions: [{ dimension, value: 'x' }] };

      await expect(revoke(stage, selector, nowMs)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        reason: 'ISSUED_BEFORE_WITH_ONE_TOKEN',
      });
      await revoke(stage, selector);
      expect((await entriesOf(stage))[0]?.entry.issuedBeforeMs).toBeUndefined();
    },
  );

  it('the only issuer need not be named, and is added', async () => {
    const stage = await createStage();
    await revoke(stage, user('alice'));

    expect((await entriesOf(stage))[0]?.entry.selector).toEqual(user('alice', 'central'));
  });

  it('of several the issuer must be named, and be one of them; everything and fingerprints need none', async () => {
    const stage = await createStage({ issuers: [createFakeIssuer(), createSigner()] });

    await expect(revoke(stage, user('alice'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'ISSUER_MISSING' });
    await expect(revoke(stage, user('alice', 'nobody'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'ISSUER_UNKNOWN' });
    await revoke(stage, user('alice', 'corp'));
    await revoke(stage, { kind: 'everything' });
    await revoke(stage, { kind: 'fit', conditions: [{ dimension: 'fingerprint', value: 'f' }] });
    expect(await entriesOf(stage)).toHaveLength(3);
  });

  it('a REFRESH kills nothing and has what fits fetched again', async () => {
    const stage = await createStage();
    stage.central.knows('t', { token: { user: { id: 'alice' } } });
    await stage.ask('t');
    const done = await stage.revoker.refresh(user('alice'), askedBy(), always);

    expect(done.entryId).not.toBe('');
    expect(await stage.ask('t')).toMatchObject({ decision: { active: true }, provenance: 'AUTHORITY' });
  });

  it('S14 the entry names who asked, why, and under which id', async () => {
    const stage = await createStage();
    await revoke(stage, user('alice'), undefined, { actor: 'bob@corp', caller: 'corp bob', requestId: 'r1', reason: 'left' });

    expect((await entriesOf(stage))[0]?.entry.origin).toEqual({ source: 'rpc', actor: 'bob@corp', requestId: 'r1', reason: 'left' });
  });
});

describe('S12 how long an entry is kept', () => {
  const livesMs = async (stage: ValidationStage): Promise<number[]> =>
    (await entriesOf(stage)).map(({ entry }) => entry.forgetAtMs - stage.clock.nowMs());

  it('a token’s own: to its end, what it may come back for, and skew', async () => {
    const stage = await createStage({ issuers: [createSigner({ leewayMs: 1000, expiredWithinMs: 60_000 })] });
    await stage.revokeToken('jwt_a');

    const expected = hourMs + 1000 + 60_000 + 2000;
    expect(await livesMs(stage)).toEqual([expected, expected]);
  });

  it('S12 a token that begins later than now ends later too: its revocation outlives it', async () => {
    const stage = await createStage({ issuers: [createSigner({ issuedAtMs: nowMs + 2 * dayMs, expiresAtMs: nowMs + 3 * dayMs })] });
    await stage.revokeToken('jwt_a');

    expect(await livesMs(stage)).toEqual([3 * dayMs + 2000, 3 * dayMs + 2000]);
  });

  it('a token that says itself that it lives too long is inactive in any case, and kept for the longest life', async () => {
    const stage = await createStage({ issuers: [createSigner({ expiresAtMs: nowMs + 9999 * dayMs })] });
    await stage.revokeToken('jwt_a');

    expect(await livesMs(stage)).toEqual([dayMs + 2000, dayMs + 2000]);
  });

  it('what nothing but the shape is known of, and a selector: the longest life of the issuer’s tokens', async () => {
    const issuer = createFakeIssuer({ expiredWithinMs: 60_000, life: lifeRules({ maxTokenLifeMs: dayMs, skewMs: 7000, leewayMs: 5000 }) });
    issuer.isDown();
    const stage = await createStage({ issuers: [issuer] });
    await stage.revokeToken('t');
    await stage.revoker.revokeSelector(user('alice'), undefined, askedBy(), always);

    // The issuer's clock may be ahead when it issues, and behind when it ends.
    const expected = dayMs + 60_000 + 7000 + 5000 + 2000;
    expect(await livesMs(stage)).toEqual([expected, expected]);
  });

  it('S12 no token that a selector has killed outlives its entry, up to the last millisecond', async () => {
    const skewMs = 30_000;
    const leewayMs = 20_000;
    const issuer = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: 60_000, skewMs, leewayMs }) });
    // The issuer is as far ahead as it may be, and the token lives as long as it may.
    const issuedAtMs = nowMs + skewMs;
    issuer.knows('t', { token: { user: { id: 'alice' }, issuedAtMs, expiresAtMs: issuedAtMs + 60_000 } });
    const stage = await createStage({ issuers: [issuer] });
    await stage.revoker.revokeSelector(user('alice'), undefined, askedBy(), always);
    await stage.clock.advance(60_000 + skewMs + leewayMs - 1);
    await stage.journal.compact({ nowMs: stage.clock.nowMs(), floorMs: 0 });

    expect(await entriesOf(stage)).toHaveLength(1);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.clock.advance(1);
    expect(verdict(await stage.ask('t'))).toBe('EXPIRED');
  });

  it('a REFRESH: as long as facts and catalogs serve, what settles, and skew', async () => {
    const stage = await createStage();
    await stage.revoker.refresh(user('alice'), askedBy(), always);

    expect(await livesMs(stage)).toEqual([604_000]);
  });

  it('where tokens are endless a REVOKE is never forgotten', async () => {
    const issuer = createFakeIssuer({ life: lifeRules({ endless: true }) });
    const stage = await createStage({ issuers: [issuer] });
    await stage.revoker.revokeSelector(user('alice'), undefined, askedBy(), always);

    expect(await livesMs(stage)).toEqual([Infinity]);
  });
});

describe('S14 a retry', () => {
  it('under the same request id is the first entry, also by possession', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1' });
    await stage.ask('t');
    const asked = { requestId: 'r1' };
    const first = await stage.revokeToken('t', asked);
    await stage.clock.advance(5000);
    const again = await stage.revokeToken('t', asked);

    expect(again.entryId).toBe(first.entryId);
    expect(await entriesOf(stage)).toHaveLength(2);
  });

  it('of a selector with the same default cut-off is the first entry, seconds later', async () => {
    const stage = await createStage();
    const asked = askedBy({ requestId: 'r1' });
    const first = await stage.revoker.revokeSelector(user('alice'), undefined, asked, always);
    await stage.clock.advance(5000);
    const again = await stage.revoker.revokeSelector(user('alice'), undefined, asked, always);

    expect(again.entryId).toBe(first.entryId);
  });

  it('with another body is ALREADY_EXISTS: another token, selector, cut-off or effect', async () => {
    const stage = await createStage();
    const asked = askedBy({ requestId: 'r1' });
    await stage.revoker.revokeSelector(user('alice'), nowMs, asked, always);
    const others = [
      () => stage.revokeToken('t', { requestId: 'r1' }),
      () => stage.revoker.revokeSelector(user('bob'), nowMs, asked, always),
      () => stage.revoker.revokeSelector(user('alice'), nowMs - 1000, asked, always),
      () => stage.revoker.refresh(user('alice'), asked, always),
    ];

    for (const other of others) await expect(other()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await entriesOf(stage)).toHaveLength(1);
  });

  it('by another caller is another entry', async () => {
    const stage = await createStage();
    const first = await stage.revoker.refresh(user('alice'), askedBy({ requestId: 'r1' }), always);
    const other = await stage.revoker.refresh(user('bob'), askedBy({ requestId: 'r1', actor: 'loopback' }), always);

    expect(other.entryId).not.toBe(first.entryId);
  });

  it('without a request id is a second entry', async () => {
    const stage = await createStage();
    const first = await stage.revoker.refresh(user('alice'), askedBy(), always);
    const second = await stage.revoker.refresh(user('alice'), askedBy(), always);

    expect(second.entryId).not.toBe(first.entryId);
  });

  it('no request id collides with the entry by identity that follows another one', async () => {
    const stage = await createStage();
    stage.central.knows('t', { identity: 'audit-1' });
    await stage.ask('t');
    await stage.revokeToken('t', { requestId: 'r1' });

    const done = await stage.revoker.refresh(user('alice'), askedBy({ requestId: 'r1 identity' }), always);
    expect(done.entryId).not.toBe('');
  });
});

describe('what is revoked', () => {
  it('stays in memory as dead, and is found by its digest', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    await stage.ask('t');
    await stage.revokeToken(' t ');

    expect(stage.facts.find(digestOf('t'))).toBeDefined();
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
  });
});
