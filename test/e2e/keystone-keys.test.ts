// A real Keystone whose keys are at hand: what is read with them, what then needs no question, and what happens when they change.
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { DependencyStatus } from '../../src/client/index.ts';
import { fernetToken, newFernetKey } from '../fakes/keystone-keys.ts';
import { endedToken } from './lab/ended-token.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';
import { forged, type LabSidecar, spellingsOf, startSidecar, verdict } from './sidecar.ts';

const kinds = [
  'unscoped',
  'project',
  'domain',
  'system',
  'trust',
  'trust_impersonating',
  'application_credential',
  'application_credential_access_rules',
  'oauth1',
  'federated',
  'federated_unscoped',
] as const satisfies readonly TokenKind[];

/** Patient: a Keystone of a busy machine, and directories that are looked at each second. */
const patient = { timeout: 60_000, interval: 100 };

const keySetOf = async (sidecar: LabSidecar, name: string): Promise<DependencyStatus | undefined> =>
  (await sidecar.client.status()).dependencies.find((one) => one.name === `issuer/central/keys/${name}`);
/** Resolves when the keys have opened a token of Keystone's: from then on what they do not open is not asked about. */
const proven = (sidecar: LabSidecar, name: string): Promise<void> =>
  vi.waitFor(async () => {
    const health = await keySetOf(sidecar, name);
    expect(health).toMatchObject({ reachable: true });
    expect(health?.problem).toBeUndefined();
  }, patient);

/** One of those that no key opens is asked about each 30 s: the turn is taken, however long the machine took until here. */
const takeSample = async (sidecar: LabSidecar, good: string): Promise<void> => {
  expect(['BAD_SIGNATURE', 'REFUSED']).toContain(await verdict(sidecar.client, forged(good, 1_000)));
};

describeWithKeystone('a sidecar with the Fernet keys of a real Keystone', () => {
  let lab: Lab;
  let sidecar: LabSidecar;
  const others: LabSidecar[] = [];

  beforeAll(async () => {
    lab = await startKeystone();
    sidecar = await startSidecar(lab, { keys: `{ fernet: ${lab.fernetKeys} }` });
    await proven(sidecar, 'fernet');
  }, 240_000);
  afterEach(async () => {
    for (const other of others.splice(0)) await other.close();
  });
  afterAll(async () => {
    await sidecar?.close();
    await lab?.close();
  });

  const questions = () => lab.proxy.count('GET', '/v3/auth/tokens') + lab.logins();
  const run = promisify(execFile);
  /** As the operator's cron job does it, and as whom Keystone runs here. */
  const rotate = async () => {
    const [user, group] = await Promise.all(['-un', '-gn'].map(async (which) => (await run('id', [which])).stdout.trim()));
    const whose = ['--keystone-user', user ?? '', '--keystone-group', group ?? ''];
    await run('/usr/bin/keystone-manage', ['--config-file', join(dirname(lab.fernetKeys), 'keystone.conf'), 'fernet_rotate', ...whose]);
  };

  test('has held them against its own token before anybody brought one', async () => {
    expect(lab.logins()).toBe(1);
    expect(await keySetOf(sidecar, 'fernet')).toMatchObject({ keySetDigest: expect.stringMatching(/^[0-9a-f]{6}$/) });
  });

  test('S9 answers garbage, wrong keys and what has ended without a question', async () => {
    const good = await lab.token('project');
    expect(await verdict(sidecar.client, good)).toBe('active');
    const issuedAtMs = Number(Buffer.from(good, 'base64url').readBigUInt64BE(1)) * 1000;
    const { token: ended } = await endedToken(lab);
    await takeSample(sidecar, good);
    lab.proxy.forget();
    const made = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };

    for (let n = 0; n < 20; n += 1) expect(await verdict(sidecar.client, forged(good, n))).toBe('BAD_SIGNATURE');
    for (let n = 0; n < 20; n += 1) expect(await verdict(sidecar.client, fernetToken(newFernetKey(), made))).toBe('BAD_SIGNATURE');
    for (let n = 0; n < 20; n += 1)
      expect(await verdict(sidecar.client, `gAAAAAC${Buffer.alloc(90, n + 1).toString('base64url')}`)).not.toBe('active');
    expect(await verdict(sidecar.client, ended)).toBe('EXPIRED');
    expect(questions()).toBe(0);
    // S16: for a service, Keystone is asked about it as about one that has ended.
    expect(await verdict(sidecar.client, ended, { serviceToken: await lab.token('nova') })).toBe('active');
    expect(lab.proxy.count('GET', '/v3/auth/tokens')).toBe(2);
  });

  test('S2 knows a token of every kind by what may be invalidated of it, without a question', async () => {
    const tokens = await Promise.all(kinds.map(async (kind) => [kind, await lab.token(kind), await lab.token(kind)] as const));
    const facts = await Promise.all(tokens.flatMap(([, ...both]) => both).map(factsOf));
    expect(new Set(facts.map(({ format }) => format))).toEqual(new Set(['fernet']));
    // Their facts are known to the one sidecar; the other has never heard of them, and kills them by what their payloads say.
    const other = await startSidecar(lab, { keys: `{ fernet: ${lab.fernetKeys} }` });
    others.push(other);
    await proven(other, 'fernet');
    lab.proxy.forget();
    for (const { auditIds } of facts.filter((_, at) => at % 2 === 0))
      await other.client.revoke({ selector: { auditId: auditIds[0] ?? '' } });

    const verdicts = (at: 1 | 2) => Promise.all(tokens.map(async (one) => [one[0], await verdict(other.client, one[at])]));
    const allRevoked = kinds.map((kind) => [kind, 'REVOKED']);
    expect(await verdicts(1)).toEqual(allRevoked);
    const users = new Set(facts.map(({ trust, user }) => trust?.trusteeUserId ?? user?.id ?? ''));
    for (const userId of users) await other.client.revoke({ selector: { userId } });
    expect(await verdicts(2)).toEqual(allRevoked);
    expect([questions(), users.size]).toEqual([0, 4]);
  });

  test('S4 revokes what nobody has asked about, by its identity, while Keystone says nothing; in each spelling', async () => {
    const token = await lab.token('unscoped');
    const spellings = spellingsOf(token);
    expect(spellings.length).toBeGreaterThanOrEqual(16);
    await lab.pause();
    try {
      const { entryId } = await sidecar.client.revoke({ token: spellings[3] ?? '' });
      expect(entryId).not.toBe('');
      for (const one of spellings) expect(await verdict(sidecar.client, one)).toBe('REVOKED');
    } finally {
      await lab.resume();
    }
    const { upstreamOutboxCount } = await sidecar.client.status();
    expect(upstreamOutboxCount).toBe(0);
  });

  test('follows keystone-manage fernet_rotate', async () => {
    const before = await keySetOf(sidecar, 'fernet');
    const [old, user] = [await lab.token('dave'), lab.seed.users.dave.id];
    await rotate();
    const young = await lab.token('dave');
    expect(await factsOf(young)).toMatchObject({ user: { id: user } });
    await vi.waitFor(async () => expect((await keySetOf(sidecar, 'fernet'))?.keySetDigest).not.toBe(before?.keySetDigest), patient);
    expect((await keySetOf(sidecar, 'fernet'))?.problem).toBeUndefined();
    await takeSample(sidecar, old);
    lab.proxy.forget();

    for (const token of [old, young]) {
      expect(await verdict(sidecar.client, forged(token, 1))).toBe('BAD_SIGNATURE');
      const { entryId } = await sidecar.client.revoke({ token });
      expect(entryId).not.toBe('');
      expect(await verdict(sidecar.client, token)).toBe('REVOKED');
    }
    expect(questions()).toBe(0);
  });

  test('with a copy of the keys that has fallen behind asks about everything, and kills nothing', async () => {
    const copy = await mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-copied-keys-'));
    await cp(lab.fernetKeys, copy, { recursive: true });
    const behind = await startSidecar(lab, { keys: `{ fernet: ${copy} }` });
    others.push(behind);
    await proven(behind, 'fernet');
    // Once, and the staged key of the copy is the one that makes tokens: still in step.
    await rotate();
    await lab.nextSecond();
    const once = await lab.token('project');
    expect(await verdict(behind.client, once)).toBe('active');
    await rotate();
    await lab.nextSecond();
    const tokens = await Promise.all(['project', 'domain', 'system', 'trust', 'dave'].map((kind) => lab.token(kind as TokenKind)));

    for (const token of tokens) expect(await verdict(behind.client, token)).toBe('active');
    expect(await keySetOf(behind, 'fernet')).toMatchObject({ reachable: false, problem: expect.stringContaining('out of step') });
    expect(behind.logged()).toContain('out of step');
    lab.proxy.forget();
    expect(await verdict(behind.client, forged(once, 1))).toBe('REFUSED');
    expect(lab.proxy.count('GET', '/v3/auth/tokens')).toBe(1);

    await cp(lab.fernetKeys, copy, { recursive: true });
    await lab.nextSecond();
    const after = await lab.token('project');
    expect(await verdict(behind.client, after)).toBe('active');
    await proven(behind, 'fernet');
    await takeSample(behind, after);
    lab.proxy.forget();
    expect(await verdict(behind.client, forged(after, 2))).toBe('BAD_SIGNATURE');
    expect(questions()).toBe(0);
    await rm(copy, { recursive: true });
  });

  const factsOf = async (token: string) => {
    const answer = await sidecar.client.validate(token, {
      demand: { access: { service: 'compute', method: 'GET', path: '/v2.1/servers' } },
    });
    return answer.active ? answer.token : expect.unreachable(`it is ${answer.reason}`);
  };
});

describeWithKeystone('a sidecar with the public keys of a real Keystone', () => {
  let lab: Lab;
  let sidecar: LabSidecar;

  beforeAll(async () => {
    lab = await startKeystone({ provider: 'jws' });
    sidecar = await startSidecar(lab, { keys: `{ jws: ${lab.jwsKeys} }` });
    await proven(sidecar, 'jws');
  }, 240_000);
  afterAll(async () => {
    await sidecar?.close();
    await lab?.close();
  });
  const questions = () => lab.proxy.count('GET', '/v3/auth/tokens') + lab.logins();

  test.each(kinds)('reads a JWS of kind %s, and kills it by what it says, without a question', async (kind) => {
    const token = await lab.token(kind);
    const access = { service: 'compute', method: 'GET', path: '/v2.1/servers' };
    const answer = await sidecar.client.validate(token, { demand: { access } });
    expect(answer.active && answer.token.format).toBe('keystone-jws');
    const fresh = await lab.token(kind);
    lab.proxy.forget();
    const { entryId } = await sidecar.client.revoke({ token: fresh });

    expect(entryId).not.toBe('');
    expect(await verdict(sidecar.client, fresh)).toBe('REVOKED');
    // Its identity, not only its name: a signature has other spellings, which Keystone takes too.
    const [header, payload, signature = ''] = fresh.split('.');
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const spelt = `${signature.slice(0, -1)}${alphabet[alphabet.indexOf(signature.at(-1) ?? '') ^ 1]}`;
    expect(await verdict(sidecar.client, `${header}.${payload}.${spelt}`)).toBe('REVOKED');
    expect(questions()).toBe(0);
  });

  test('S9 answers what is unsigned, of another algorithm or kind, and what has ended without a question', async () => {
    const [header = '', payload, signature] = (await lab.token('project')).split('.');
    const { token: ended } = await endedToken(lab);
    const as = (more: object) =>
      Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(header, 'base64url').toString()), ...more })).toString('base64url');
    lab.proxy.forget();

    expect(await verdict(sidecar.client, `${as({ alg: 'none' })}.${payload}.`)).toBe('BAD_SIGNATURE');
    expect(await verdict(sidecar.client, `${as({ alg: 'HS256' })}.${payload}.${signature}`)).toBe('BAD_SIGNATURE');
    expect(await verdict(sidecar.client, `${as({ typ: 'at+jwt' })}.${payload}.${signature}`)).toBe('MALFORMED');
    expect(await verdict(sidecar.client, ended)).toBe('EXPIRED');
    expect(questions()).toBe(0);
  });

  test('asks about wrongly signed ones a few at most, as another node might have signed them', async () => {
    const [header, payload, signature = ''] = (await lab.token('project')).split('.');
    lab.proxy.forget();
    for (let n = 0; n < 60; n += 1) {
      const bytes = Buffer.from(signature, 'base64url');
      bytes.writeUInt8(bytes.readUInt8(n) ^ 1, n);
      expect(['BAD_SIGNATURE', 'REFUSED']).toContain(await verdict(sidecar.client, `${header}.${payload}.${bytes.toString('base64url')}`));
    }
    expect(questions()).toBeLessThan(60);
  });
});
