// A whole sidecar whose Keystone's keys are at hand: what is answered without a call, what status tells, and what kills a token.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { InactiveReason } from '../src/gen/sidegate/v1/token_service.ts';
import type { Clock } from '../src/ports.ts';
import { systemClock } from '../src/sidecar.ts';
import { keystoneIssuer } from './fakes/keystone-issuer.ts';
import { newFernetKey, newNodeKey } from './fakes/keystone-keys.ts';
import { startSidecar, type TestSidecar } from './fakes/sidecar.ts';
import { createKeyedKeystone, type KeyedKeystone, type KeyedOptions, spellingsOf } from './formats/keyed-keystone.ts';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function begin(
  options: KeyedOptions = {},
  clock: Clock = systemClock,
): Promise<{ readonly keystone: KeyedKeystone; readonly sidecar: TestSidecar }> {
  const keystone = await createKeyedKeystone({ ...options, nowMs: Date.now });
  ends.push(() => keystone.close());
  const folder = mkdtempSync(join(tmpdir(), 'sidegate-keyed-'));
  ends.push(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'password'), 'secret');
  const calls = { deadlineMs: 30_000, concurrency: 16, queue: 1024, attempts: 1 };
  const central = keystoneIssuer(keystone.authority.url, join(folder, 'password'), { keys: keystone.mounted, calls });
  const sidecar = await startSidecar({ issuers: [central], clock });
  ends.push(() => sidecar.stop());
  return { keystone, sidecar };
}

const verdict = async ({ sidecar }: { readonly sidecar: TestSidecar }, token: string): Promise<string> => {
  const { status, response } = await sidecar.validate({ token });
  if (status !== 'OK') return status;
  if (response?.active) return 'active';
  return Object.entries(InactiveReason).find(([, reason]) => reason === response?.reason)?.[0] ?? 'nothing';
};
const keySet = async (sidecar: TestSidecar, name: string) =>
  (await sidecar.getStatus()).response?.dependencies.find((one) => one.name === `issuer/central/keys/${name}`);
/** From then on what the keys do not open is not asked about: they have opened a token of Keystone's. */
const proven = (sidecar: TestSidecar, name: string): Promise<void> =>
  vi.waitFor(async () => expect(await keySet(sidecar, name)).toMatchObject({ reachable: true, problem: '' }), {
    timeout: 30_000,
    interval: 50,
  });

describe('a sidecar with Keystone’s keys at hand', () => {
  it('tells each key set in status and metrics by its digest, and no key', async () => {
    const { keystone, sidecar } = await begin();
    await proven(sidecar, 'fernet');
    const { keySetDigest } = (await keySet(sidecar, 'fernet')) ?? {};

    expect(keySetDigest).toMatch(/^[0-9a-f]{6}$/);
    const jws = await keySet(sidecar, 'jws');
    expect(jws).toMatchObject({ reachable: true, problem: 'no token of this Keystone has been read with these keys yet' });
    await vi.waitFor(
      async () => {
        const metrics = await sidecar.metrics();
        expect(metrics).toContain('sidegate_issuer_keys{issuer="central",set="fernet"} 2');
        expect(metrics).toContain('sidegate_issuer_keys{issuer="central",set="jws"} 1');
        expect(metrics).toContain(`sidegate_issuer_key_set_info{issuer="central",set="fernet",digest="${keySetDigest}"} 1`);
        expect(metrics).toContain('sidegate_issuer_key_set_sound{issuer="central",set="fernet"} 1');
      },
      { timeout: 30_000, interval: 50 },
    );
    // Another set, and the old digest is gone from the scrape.
    keystone.rotate();
    await vi.waitFor(
      async () => {
        const metrics = await sidecar.metrics();
        expect(metrics).toContain('sidegate_issuer_keys{issuer="central",set="fernet"} 3');
        expect(metrics).not.toContain(`digest="${keySetDigest}"} 1`);
      },
      { timeout: 30_000, interval: 50 },
    );
    expect(await sidecar.everything()).not.toContain(keystone.primary());
  });

  it('answers garbage, wrong keys and what has ended without a call; a good token by one', async () => {
    const subject = await begin();
    const { keystone, sidecar } = subject;
    await proven(sidecar, 'fernet');
    const nowMs = Date.now();
    const strangers = Array.from({ length: 20 }, () => keystone.issue({ issuedAtMs: nowMs - 60_000, key: newFernetKey(), stranger: true }));
    const ended = keystone.issue({ issuedAtMs: nowMs - 7_200_000, expiresAtMs: nowMs - 3_600_000 });
    const before = keystone.authority.requests.length;

    for (const raw of strangers) expect(await verdict(subject, raw)).toBe('BAD_SIGNATURE');
    expect(await verdict(subject, ended)).toBe('EXPIRED');
    expect(keystone.authority.requests).toHaveLength(before);
    expect(await verdict(subject, keystone.issue())).toBe('active');
    expect(keystone.authority.requests).toHaveLength(before + 1);
  });

  it.each([
    ['with keys', ['fernet'] as const],
    ['without', [] as const],
  ])('S2 takes all spellings of a Fernet token for one, for Validate and for Revoke: %s', async (_, keys) => {
    const subject = await begin({ keys });
    const { keystone, sidecar } = subject;
    const spellings = spellingsOf(keystone.issue({ unscoped: true }));
    expect(spellings).toHaveLength(64);

    for (const raw of spellings) expect(await verdict(subject, raw)).toBe('active');
    expect(keystone.asked).toHaveLength(1);
    const revoked = await sidecar.revoke({ target: { $case: 'token', value: spellings[37] ?? '' } });
    expect(revoked.response?.entryId).not.toBe('');
    for (const raw of spellings) expect(await verdict(subject, raw)).toBe('REVOKED');
    for (const raw of spellings) {
      expect((await sidecar.revoke({ target: { $case: 'token', value: raw } })).response?.entryId).toBe(revoked.response?.entryId);
    }
    expect(keystone.asked).toHaveLength(1);
  });

  it('S4 revokes a token that nobody has asked about, while Keystone is away, under each of its names', async () => {
    const subject = await begin();
    const { keystone, sidecar } = subject;
    await proven(sidecar, 'fernet');
    await keystone.authority.stop();
    const tokens = Array.from({ length: 30 }, () => keystone.issue());

    for (const value of tokens) expect((await sidecar.revoke({ target: { $case: 'token', value } })).response?.entryId).not.toBe('');
    for (const raw of tokens) expect(await verdict(subject, raw)).toBe('REVOKED');
    expect(await verdict(subject, keystone.issue())).toBe('UNAVAILABLE');
    const status = await sidecar.getStatus();
    expect([status.response?.entryCount, status.response?.upstreamOutboxCount]).toEqual([60n, 0n]);
  });

  it('S4 revokes a token under an older key that is missing here, although it calls it wrongly signed', async () => {
    let laterMs = 0;
    const monotonicMs = (): number => systemClock.monotonicMs() + laterMs;
    const subject = await begin({}, { ...systemClock, monotonicMs });
    const { keystone, sidecar } = subject;
    await proven(sidecar, 'fernet');
    const raw = keystone.issue({ issuedAtMs: Date.now() - 60_000, key: newFernetKey() });
    expect(await verdict(subject, raw)).toBe('BAD_SIGNATURE');
    await sidecar.revoke({ target: { $case: 'token', value: raw } });
    // Now and then one of these is asked about, lest keys are missing.
    laterMs = 31_000;
    expect(await verdict(subject, raw)).toBe('REVOKED');
  });

  it('S8 has the tokens of a public key that leaves looked at again', async () => {
    const subject = await begin({ provider: 'jws' });
    const { keystone, sidecar } = subject;
    // Learned with the key at hand, or before it was: both have been signed with a key that may be the one.
    const raw = keystone.issue();
    expect(await verdict(subject, raw)).toBe('active');
    expect(await verdict(subject, raw)).toBe('active');
    const before = keystone.asked.length;
    await vi.waitFor(async () => expect((await keySet(sidecar, 'jws'))?.keySetDigest).not.toBe(''), { timeout: 30_000, interval: 50 });
    keystone.folders.jws.put('another.pem', newNodeKey().pem);
    keystone.folders.jws.take('public.pem');
    keystone.answer(() => ({ status: 404, body: { error: { code: 404, message: 'Could not find token', title: 'Not Found' } } }));

    await vi.waitFor(async () => expect(await verdict(subject, raw)).not.toBe('active'), { timeout: 30_000, interval: 50 });
    expect(keystone.asked.length).toBeGreaterThan(before);
    expect((await sidecar.getStatus()).response?.entryCount).toBe(1n);
  });

  it('asks about everything, and says so, where its copy of the keys has fallen behind', async () => {
    const subject = await begin();
    const { keystone, sidecar } = subject;
    await proven(sidecar, 'fernet');
    keystone.rotate({ mounted: false });
    keystone.rotate({ mounted: false });
    // Younger than the token that the keys have opened: of the next second, by a clock that is as far ahead as it may be.
    const issuedAtMs = Math.floor(Date.now() / 1000) * 1000 + 1_000;
    for (let n = 0; n < 20; n += 1) expect(await verdict(subject, keystone.issue({ issuedAtMs }))).toBe('active');

    expect(await keySet(sidecar, 'fernet')).toMatchObject({ reachable: false, problem: expect.stringContaining('out of step') });
    expect(await sidecar.metrics()).toContain('sidegate_issuer_key_set_sound{issuer="central",set="fernet"} 0');
    expect(await verdict(subject, keystone.issue({ stranger: true }))).toBe('REFUSED');
  });
});
