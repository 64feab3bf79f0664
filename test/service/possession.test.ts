// Revoke by possession against those who would get round it, or use it against others.

import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createFakeIssuer, factsOf, lifeRules } from '../fakes/issuer.ts';
import { createValidationStage, settled, type ValidationStage, verdict } from './validation-stage.ts';

const hourMs = 3_600_000;
const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const jws = (payload: object, signature = randomBytes(64)): string =>
  `${b64({ alg: 'ES256' })}.${b64(payload)}.${signature.toString('base64url')}`;
const entriesOf = (stage: ValidationStage) => stage.journal.read(0 as Parameters<typeof stage.journal.read>[0], 1000);

describe('S4 a token that is revoked stays dead', () => {
  it('also where it was judged by keys that may be old', async () => {
    const corp = createFakeIssuer({ name: 'corp', accepts: ['jwt'], jwtIssuer: 'https://corp', provenance: 'signature' });
    const stage = await createValidationStage({ issuers: [corp] });
    const token = jws({ iss: 'https://corp' });
    corp.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE', byOldKeys: true }));

    expect((await stage.revokeToken(token)).entryId).not.toBe('');
    await settled();
    const { clock } = stage;
    const facts = factsOf('corp', { token: { issuedAtMs: clock.nowMs(), expiresAtMs: clock.nowMs() + hourMs } });
    corp.script(() => ({ kind: 'facts', facts, provenance: 'signature' }));
    expect(verdict(await stage.ask(token))).toBe('REVOKED');
    await stage.close();
  });

  it('but where its signature is wrong by keys that were fetched for it nothing is written', async () => {
    const corp = createFakeIssuer({ name: 'corp', accepts: ['jwt'], jwtIssuer: 'https://corp', provenance: 'signature' });
    const stage = await createValidationStage({ issuers: [corp] });
    corp.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE' }));

    expect((await stage.revokeToken(jws({ iss: 'https://corp' }))).entryId).toBe('');
    await stage.close();
  });

  it('also where its authority has moved the end that is known here', async () => {
    const stage = await createValidationStage();
    const { clock, central } = stage;
    const begin = clock.nowMs();
    central.knows('t', { token: { issuedAtMs: begin, expiresAtMs: begin + 600_000 } });
    await stage.ask('t');
    central.knows('t', { token: { issuedAtMs: begin, expiresAtMs: begin + 10 * hourMs } });
    await clock.advance(660_000 + 5000);

    expect((await stage.revokeToken('t')).entryId).not.toBe('');
    await settled();
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.close();
  });

  it('also where our clock was ahead when it was revoked, and called it ended', async () => {
    const stage = await createValidationStage();
    const { clock, central } = stage;
    central.knows('t', { token: { issuedAtMs: clock.nowMs(), expiresAtMs: clock.nowMs() + hourMs } });
    await stage.ask('t');
    clock.stepWall(24 * hourMs);

    expect((await stage.revokeToken('t')).entryId).not.toBe('');
    clock.stepWall(-24 * hourMs);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.close();
  });

  it('also where there was more white space around it than a token may be long', async () => {
    const stage = await createValidationStage();
    stage.central.knows('t');
    const padded = `t${' '.repeat(70_000)}`;

    expect((await stage.revokeToken(padded)).entryId).not.toBe('');
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.close();
  });

  it('to the longest life where its authority may move its end', async () => {
    const sliding = createFakeIssuer({ name: 'central', movesEnds: true, life: lifeRules({ maxTokenLifeMs: 24 * hourMs }) });
    const stage = await createValidationStage({ issuers: [sliding] });
    const nowMs = stage.clock.nowMs();
    sliding.knows('t', { token: { issuedAtMs: nowMs, expiresAtMs: nowMs + 600_000 } });
    await stage.ask('t');
    await stage.revokeToken('t');

    expect((await entriesOf(stage))[0]?.entry.forgetAtMs).toBeGreaterThanOrEqual(nowMs + 24 * hourMs);
    await stage.close();
  });

  it('S12 for its whole life, where that turns out to be longer than its issuer allows', async () => {
    const central = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: hourMs }) });
    const stage = await createValidationStage({ issuers: [central] });
    const endsAtMs = stage.clock.nowMs() + 3 * hourMs;
    central.script((raw) => ({ kind: 'facts', provenance: 'authority', facts: withoutIssue(raw, endsAtMs) }));
    await stage.revokeToken('t');
    await settled();

    expect(verdict(await stage.ask('t'))).toBe('LIFETIME_TOO_LONG');
    await stage.clock.advance(2.5 * hourMs);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
    await stage.close();
  });

  it('S14 a fingerprint that an older key made, named by a selector, keeps that older key', async () => {
    const [older, newer] = [
      { id: 'older', secret: Buffer.alloc(32, 1) },
      { id: 'newer', secret: Buffer.alloc(32, 2) },
    ];
    const stage = await createValidationStage({ keys: [newer, older] });
    const asked = { actor: 'socket', caller: 'socket', requestId: '', reason: '' };
    const selector = { kind: 'fit' as const, conditions: [{ dimension: 'fingerprint' as const, value: 'f'.repeat(32) }] };
    await stage.revoker.revokeSelector(selector, undefined, asked, new AbortController().signal);
    await stage.close();

    await expect(createValidationStage({ keys: [newer], before: stage })).rejects.toMatchObject({ reason: 'DEPLOYMENT_KEY_MISSING' });
  });
});

describe('S4 who has less than a token kills nothing', () => {
  it('a token without its signature, or with another one, is not enough', async () => {
    const stage = await createValidationStage();
    const token = jws({ openstack_methods: [] });
    const [header, payload] = token.split('.');
    stage.central.knows(token);
    const stolen = [`${header}.${payload}.x`, `${header}.${payload}.${randomBytes(64).toString('base64url')}`, `${header}.${payload}.AAAA`];

    for (const one of stolen) await stage.revokeToken(one);
    await settled();
    expect(verdict(await stage.ask(token))).toBe('active');
    await stage.close();
  });

  it('a revocation costs no other token that has no id of its own', async () => {
    const stage = await createValidationStage();
    stage.central.knows('innocent', { unknown: ['identity'] });
    await stage.ask('innocent');
    for (let n = 0; n < 5; n += 1) await stage.revokeToken(jws({ openstack_methods: [n] }));
    await settled();
    const before = stage.central.reads.length;

    expect(await stage.ask('innocent')).toMatchObject({ provenance: 'MEMORY', decision: { active: true } });
    expect(stage.central.reads.length).toBe(before);
    await stage.close();
  });

  it('one token, revoked again and again, is not written again', async () => {
    const stage = await createValidationStage();
    stage.central.knows('t', { identity: 'audit-1' });
    await stage.ask('t');
    const first = await stage.revokeToken('t');
    for (let n = 0; n < 50; n += 1) expect((await stage.revokeToken('t')).entryId).toBe(first.entryId);

    expect(stage.journal.count()).toBe(2);
    await stage.close();
  });

  it('what the authority knows does not count as made up', async () => {
    const stage = await createValidationStage({ unverified: { perSecond: 1000, alive: 2 } });
    for (let n = 0; n < 10; n += 1) {
      stage.central.knows(`t${n}`);
      await stage.revokeToken(`t${n}`);
      await settled();
    }
    expect(verdict(await stage.ask('t9'))).toBe('REVOKED');
    await stage.close();
  });
});

/** Facts of a token that tells its end, but not its issue. */
function withoutIssue(raw: string, expiresAtMs: number) {
  const { token, ...facts } = factsOf('central', { identity: raw });
  const { issuedAtMs: _, ...told } = token;
  return { ...facts, token: { ...told, expiresAtMs } };
}
