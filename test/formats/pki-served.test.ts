// PKI tokens of 20 kB through a sidecar: Validate, its Keystone face, what kills them, and what a changed certificate does.

import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { secretFile } from '../../src/config/secrets.ts';
import { createPkiReader } from '../../src/formats/pki.ts';
import { InactiveReason, Provenance } from '../../src/gen/sidegate/v1/token_service.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeIssuer, type FakeIssuer, lifeRules } from '../fakes/issuer.ts';
import { keystoneIssuer } from '../fakes/keystone-issuer.ts';
import { cmsOf, createAuthority, pkiOf, pkizOf } from '../fakes/pki.ts';
import { startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import { vectors } from './pki-stage.ts';

const dayMs = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), 'sidegate-pki-'));
const files = { signing: join(folder, 'signing.pem'), ca: join(folder, 'ca.pem') };
const around = { notBeforeMs: Date.now() - dayMs, notAfterMs: Date.now() + dayMs };
const authority = createAuthority({ key: 'rsa', ...around });
const signing = authority.issue({ key: 'rsa', ...around });
const next = authority.issue({ key: 'P-256', ...around });

let central: FakeIssuer;
let sidecar: TestSidecar;

beforeAll(async () => {
  writeFileSync(files.signing, signing.pem + next.pem);
  writeFileSync(files.ca, authority.pem);
  central = createFakeIssuer({
    accepts: ['pki', 'fernet', 'uuid'],
    life: lifeRules(),
    expiredWithinMs: 0,
    calls: { deadlineMs: 5000, concurrency: 1, queue: 1 },
  });
  // Nobody answers: what is told of PKI tokens is told by their signature.
  central.isDown();
  const asked = central.issuer.format;
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined };
  const pki = createPkiReader(
    { name: 'central', signingCert: secretFile(files.signing), ca: secretFile(files.ca), leewayMs: 0 },
    { clock: systemClock, log: silent },
  );
  const isPki = (raw: string): boolean => raw.startsWith('MII') || raw.startsWith('PKIZ_');
  const format = {
    ...pki,
    tellsAll: isPki,
    read: (...[raw, signal, options]: Parameters<typeof pki.read>) => (isPki(raw) ? pki : asked).read(raw, signal, options),
  };
  sidecar = await startSidecar({
    fakes: [{ ...central, issuer: { ...central.issuer, format } }],
    config: (config) => ({
      ...config,
      issuers: [keystoneIssuer('http://127.0.0.1:9', '/nowhere')],
      listen: { ...config.listen, keystone: { address: { host: '127.0.0.1', port: 0 }, allowExpired: true } },
    }),
  });
});
afterAll(async () => {
  await sidecar.stop();
  rmSync(folder, { recursive: true });
});

/** As Keystone writes a time. */
const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, '.000000Z');

/** The captured body of 15 kB in Python's spelling, of a token of its own that lives now. */
function bodyNow(): string {
  const text = vectors.tokens.project.signed_text;
  const { issued_at: issuedAt, expires_at: expiresAt, audit_ids: auditIds } = JSON.parse(text).token;
  return text
    .replace(issuedAt, time(Date.now() - 5000))
    .replace(expiresAt, time(Date.now() + 3_600_000))
    .replace(auditIds[0], randomUUID());
}

/** The same with other members; `undefined` leaves one out. */
function bodyWith(members: object): string {
  return JSON.stringify({ token: { ...JSON.parse(bodyNow()).token, ...members } });
}

/** A token from so long from now until so long from now. */
const lives = (fromMs: number, toMs: number): string =>
  pkiOf(cmsOf(bodyWith({ issued_at: time(Date.now() + fromMs), expires_at: time(Date.now() + toMs) }), signing));

const nameOf = new Map<number, string>(Object.entries(InactiveReason).map(([name, value]) => [value, name]));

/** `active`, or why not. */
async function verdict(token: string): Promise<string> {
  const { response, status, message } = await sidecar.validate({ token });
  expect({ status, message }).toEqual({ status: 'OK', message: '' });
  return response?.active === true ? 'active' : String(nameOf.get(response?.reason ?? -1));
}

/** What the Keystone face says. Not by fetch: it takes no answer whose headers have more than 16 KiB, and the token is one. */
function askFace(raw: string): Promise<{ readonly status: number | undefined; readonly echo: unknown; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const url = `http://${sidecar.keystone}/v3/auth/tokens`;
    const asked = request(url, { headers: { 'x-subject-token': raw }, agent: false, maxHeaderSize: 65_536 }, async (reply) => {
      const chunks: Buffer[] = await reply.toArray();
      resolve({ status: reply.statusCode, echo: reply.headers['x-subject-token'], body: Buffer.concat(chunks).toString() });
    });
    asked.once('error', reject);
    asked.end();
  });
}

const byTokenId = (tokenId: string) => ({ target: { $case: 'selector' as const, value: { issuer: 'central', tokenId } } });
const hashOf = (algorithm: string, raw: string): string => createHash(algorithm).update(raw).digest('hex');

describe('a PKI token of 20 kB', () => {
  it.each([
    ['PKI', (body: string) => pkiOf(cmsOf(body, signing))],
    ['PKIZ', (body: string) => pkizOf(cmsOf(body, signing))],
    ['PKI with an elliptic key', (body: string) => pkiOf(cmsOf(body, next))],
  ])('as %s is active by its signature, though its authority is down', async (kind, make) => {
    const body = bodyNow();
    const token = make(body);
    if (kind !== 'PKIZ') expect(token.length).toBeGreaterThan(18_000);

    const { response } = await sidecar.validate({ token, include: { claims: true, catalog: true } });

    expect(response).toMatchObject({
      active: true,
      provenance: Provenance.SIGNATURE,
      token: { format: 'pki', user: { name: 'alice' } },
    });
    expect(response?.maxAge?.seconds).toBeGreaterThan(200);
    const { catalog, ...claims } = JSON.parse(body).token;
    expect(JSON.parse(response?.token?.claimsJson ?? '')).toEqual(claims);
    expect(response?.token?.catalog).toHaveLength(catalog.length);
    expect((await sidecar.validate({ token })).response?.provenance).toBe(Provenance.MEMORY);
  });

  it('is answered by the Keystone face with the very body that was signed', async () => {
    const body = bodyNow();
    const token = pkiOf(cmsOf(body, signing));

    const said = await askFace(token);
    // As hashes: a failure is not to print 35 kB.
    expect([said.status, hashOf('sha256', String(said.echo)), hashOf('sha256', said.body)]).toEqual([
      200,
      hashOf('sha256', token),
      hashOf('sha256', body),
    ]);
    expect(await askFace(pkiOf(cmsOf(body, createAuthority())))).toMatchObject({ status: 404 });
  });

  it.each<[string, () => string, string]>([
    ['that has ended', () => lives(-2 * 3_600_000, -3_600_000), 'EXPIRED'],
    ['that was issued tomorrow', () => lives(dayMs, 2 * dayMs), 'NOT_YET_VALID'],
    ['that lives for a year', () => lives(-5000, 365 * dayMs), 'LIFETIME_TOO_LONG'],
    ['by an unknown signer', () => pkiOf(cmsOf(bodyNow(), createAuthority())), 'BAD_SIGNATURE'],
    [
      'signed by another under the same name',
      () => pkizOf(cmsOf(bodyNow(), createAuthority({ key: 'rsa' }), { namedAs: signing.namedAs })),
      'BAD_SIGNATURE',
    ],
    ['whose body is another', () => pkizOf(cmsOf(bodyNow(), signing, { signed: Buffer.from(bodyNow()) })), 'BAD_SIGNATURE'],
    ['that is cut short', () => pkiOf(cmsOf(bodyNow(), signing)).slice(0, -8), 'MALFORMED'],
    ['that is too long', () => `MII${'A'.repeat(70_000)}`, 'MALFORMED'],
  ])('%s is not', async (_what, make, expected) => {
    expect(await verdict(make())).toBe(expected);
  });

  it.each(['sha256', 'md5'])('S2 dies by Keystone’s own id of it, hashed with %s', async (algorithm) => {
    const [one, other] = [pkiOf(cmsOf(bodyNow(), signing)), pkizOf(cmsOf(bodyNow(), signing))];
    for (const token of [one, other]) expect(await verdict(token)).toBe('active');
    expect((await sidecar.revoke(byTokenId(hashOf(algorithm, one)))).status).toBe('OK');
    expect([await verdict(one), await verdict(other)]).toEqual(['REVOKED', 'active']);
    expect((await sidecar.revoke(byTokenId(hashOf(algorithm, other)))).status).toBe('OK');
    expect(await verdict(other)).toBe('REVOKED');
  });

  it('S4 revoked by possession is dead in every spelling, also where it has no audit id', async () => {
    for (const members of [{}, { audit_ids: undefined }]) {
      const body = bodyWith(members);
      const cms = cmsOf(body, next);
      // An elliptic signature is another each time.
      const spellings = [pkiOf(cms), pkizOf(cms), pkizOf(cms, 1), pkizOf(cms, 9), pkiOf(cmsOf(body, next))];
      expect(new Set(spellings).size).toBe(5);
      for (const token of spellings) expect(await verdict(token)).toBe('active');
      const [first = ''] = spellings;
      const { response } = await sidecar.revoke({ target: { $case: 'token', value: first } });
      expect(response?.entryId).not.toBe('');
      for (const token of spellings) expect(await verdict(token)).toBe('REVOKED');
    }
  });

  it('S4 revoked while the certificate of its signer has not come yet stays dead when it has', async () => {
    writeFileSync(files.signing, signing.pem);
    const [revoked, other] = [pkiOf(cmsOf(bodyNow(), next)), pkiOf(cmsOf(bodyNow(), next))];
    await vi.waitFor(async () => expect(await verdict(other)).toBe('BAD_SIGNATURE'), { timeout: 60_000, interval: 100 });
    const { response } = await sidecar.revoke({ target: { $case: 'token', value: revoked } });
    expect(response?.entryId).not.toBe('');
    writeFileSync(files.signing, signing.pem + next.pem);
    await vi.waitFor(async () => expect(await verdict(other)).toBe('active'), { timeout: 60_000, interval: 100 });
    expect(await verdict(revoked)).toBe('REVOKED');
  });

  it('leaves nothing of itself in any line, metric or answer', async () => {
    const token = pkiOf(cmsOf(bodyNow(), signing));
    await verdict(token);
    await sidecar.revoke({ target: { $case: 'token', value: token } });
    expect(await sidecar.everything()).not.toContain(token.slice(-200));
    expect(await sidecar.everything()).not.toContain(token.slice(0, 200));
  });

  it('S8 whose certificate leaves its file is dead within a second or two, though it is in memory', async () => {
    const stays = pkiOf(cmsOf(bodyNow(), next));
    const leaves = pkiOf(cmsOf(bodyNow(), signing));
    for (const token of [stays, leaves]) expect(await verdict(token)).toBe('active');
    writeFileSync(files.signing, next.pem);

    await vi.waitFor(async () => expect(await verdict(leaves)).toBe('BAD_SIGNATURE'), { timeout: 60_000, interval: 100 });
    expect(await verdict(stays)).toBe('active');
    const { response } = await sidecar.getStatus();
    expect(response?.dependencies.find(({ name }) => name === 'issuer/central')).toMatchObject({
      reachable: true,
      keySetDigest: expect.stringMatching(/^[0-9a-f]{6}$/),
    });
    writeFileSync(files.signing, signing.pem + next.pem);
    await vi.waitFor(async () => expect(await verdict(leaves)).toBe('active'), { timeout: 60_000, interval: 100 });
  });
});
