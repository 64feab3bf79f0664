import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { VerificationKey } from '../../src/formats/jwk-set.ts';
import { createJwtFormat } from '../../src/formats/jwt.ts';
import { createKeySet, type KeySet, type KeySetOptions } from '../../src/formats/keys.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { type JwksBehaviour, type JwksServer, startJwksServer } from '../fakes/jwks-server.ts';
import { createSigner, type Signer } from '../fakes/signer.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';
import { tlsPair } from '../fakes/tls-pair.ts';
import tlsOfName from '../vectors/upstream-tls.json' with { type: 'json' };

const anySignal = new AbortController().signal;

let one: Signer;
let two: Signer;
let nameless: Signer;
let server: JwksServer;
let clock: FakeClock;
let telemetry: FakeTelemetry;
let stopping: AbortController;
let running: Promise<void>[];

beforeAll(async () => {
  one = await createSigner('ES256', 'k1');
  two = await createSigner('ES256', 'k2');
  nameless = await createSigner('ES256');
});
beforeEach(async () => {
  server = await startJwksServer([one.jwk]);
  clock = createFakeClock();
  telemetry = createFakeTelemetry();
  stopping = new AbortController();
  running = [];
});
afterEach(async () => {
  stopping.abort();
  await Promise.all(running);
  await server.close();
});

function optionsFor(over: Partial<KeySetOptions> = {}): KeySetOptions {
  return {
    name: 'corp',
    issuer: server.issuer,
    keys: { kind: 'discover' },
    algorithms: ['ES256'],
    keysTimeMs: 600_000,
    keysCooldownMs: 30_000,
    keysStaleWhileDownMs: 3_600_000,
    deadlineMs: 5_000,
    maxBodyBytes: 65_536,
    ...over,
  };
}
const keySet = (over: Partial<KeySetOptions> = {}): KeySet => createKeySet(optionsFor(over), { clock, log: telemetry.log });

/** The key for a token of `signer`, as the format would ask for it. */
function find(
  keys: KeySet,
  signer: Signer,
  kid: string | undefined = signer.kid,
  signal = new AbortController().signal,
): Promise<VerificationKey | undefined> {
  const verifies = async (key: VerificationKey): Promise<boolean> => key.thumbprint === signer.thumbprint;
  return keys.find({ algorithm: signer.algorithm, kid }, verifies, signal).then((found) => found.key);
}
async function failureOf(work: Promise<unknown>): Promise<SidecarError> {
  const outcome = await work.then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(SidecarError);
  return outcome as SidecarError;
}
function run(keys: Pick<KeySet, 'run'>, invalidate: (keyId: string) => Promise<void> = async () => undefined): void {
  running.push(keys.run(stopping.signal, invalidate));
}
/** Fails for a while: the issuer is down and the set knows it. */
async function goDown(keys: KeySet): Promise<void> {
  await server.down();
  await clock.advance(600_001);
  await find(keys, one);
  expect(keys.health().reachable).toBe(false);
}

describe('where keys are', () => {
  it('is told by the OpenID metadata', async () => {
    expect((await find(keySet(), one))?.keyId).toBe('k1');
    expect([server.count('/.well-known/openid-configuration'), server.count('/jwks')]).toEqual([1, 1]);
  });

  it('is told by the OAuth metadata where there are no OpenID ones', async () => {
    const tenant = await startJwksServer([one.jwk], { path: '/realms/a' });
    tenant.setMetadata('openid-configuration', undefined);
    tenant.setMetadata('oauth-authorization-server', { issuer: tenant.issuer, jwks_uri: tenant.jwksUrl });

    const found = await find(keySet({ issuer: tenant.issuer }), one);
    await tenant.close();

    expect(found?.keyId).toBe('k1');
    expect(tenant.count('/.well-known/oauth-authorization-server/realms/a')).toBe(1);
  });

  it('is told for an issuer with a slash behind', async () => {
    const tenant = await startJwksServer([one.jwk], { path: '/a/' });

    const found = await find(keySet({ issuer: tenant.issuer }), one);
    await tenant.close();

    expect(found?.keyId).toBe('k1');
  });

  it.each([
    ['of another issuer', (own: JwksServer) => ({ issuer: `${own.issuer}/other`, jwks_uri: own.jwksUrl })],
    ['of no issuer', (own: JwksServer) => ({ jwks_uri: own.jwksUrl })],
    ['without jwks_uri', (own: JwksServer) => ({ issuer: own.issuer })],
    ['with a relative jwks_uri', (own: JwksServer) => ({ issuer: own.issuer, jwks_uri: '/jwks' })],
    ['with a file as jwks_uri', (own: JwksServer) => ({ issuer: own.issuer, jwks_uri: 'file:///etc/passwd' })],
    ['that are a list', () => []],
  ])('is not believed of metadata %s', async (_what, metadata) => {
    server.setMetadata('openid-configuration', metadata(server));

    expect((await failureOf(find(keySet(), one))).code).toBe('UNAVAILABLE');
    expect(server.count('/jwks')).toBe(0);
  });

  it('can be a URL', async () => {
    expect((await find(keySet({ keys: { kind: 'url', url: server.jwksUrl } }), one))?.keyId).toBe('k1');
    expect(server.count()).toBe(1);
  });

  it('is never where a redirect leads', async () => {
    const evil = await startJwksServer([two.jwk]);
    server.behave({ kind: 'answer', status: 302, body: '', headers: { location: evil.jwksUrl } });

    const error = await failureOf(find(keySet({ keys: { kind: 'url', url: server.jwksUrl } }), two));
    await evil.close();

    expect(error.code).toBe('UNAVAILABLE');
    expect(evil.count()).toBe(0);
  });

  it('is behind TLS that the CA file vouches for, and behind no other', async () => {
    const secure = await startJwksServer([one.jwk], { tls: tlsPair });
    const folder = await mkdtemp(join(tmpdir(), 'sidegate-keys-'));
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, tlsPair.cert);

    const found = await find(keySet({ issuer: secure.issuer, caFile }), one);
    const error = await failureOf(find(keySet({ issuer: secure.issuer }), one));
    const withoutFile = await failureOf(find(keySet({ issuer: secure.issuer, caFile: join(folder, 'none.pem') }), one));
    secure.setMetadata('openid-configuration', { issuer: secure.issuer, jwks_uri: server.jwksUrl });
    const downgraded = await failureOf(find(keySet({ issuer: secure.issuer, caFile }), one));
    await secure.close();
    await rm(folder, { recursive: true });

    expect(found?.keyId).toBe('k1');
    expect([error.code, withoutFile.code, downgraded.code]).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
  });

  describe('under a certificate for another name', () => {
    let secure: JwksServer;
    let folder: string;
    let caFile: string;
    beforeEach(async () => {
      secure = await startJwksServer([one.jwk], { tls: tlsOfName });
      folder = await mkdtemp(join(tmpdir(), 'sidegate-keys-'));
      caFile = join(folder, 'ca.pem');
      await writeFile(caFile, `${tlsOfName.cert}${tlsPair.cert}`);
    });
    afterEach(async () => {
      await secure.close();
      await rm(folder, { recursive: true });
    });

    it.each(['discover', 'url'] as const)('is believed where that name is configured (%s), and nowhere else', async (kind) => {
      const where = { issuer: secure.issuer, keys: { kind, url: secure.jwksUrl }, caFile };

      expect((await find(keySet({ ...where, serverName: 'keystone.example' }), one))?.keyId).toBe('k1');
      const unnamed = await failureOf(find(keySet(where), one));
      const misnamed = await failureOf(find(keySet({ ...where, serverName: 'other.example' }), one));
      for (const { message } of [unnamed, misnamed]) expect(message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    });

    it('is not believed because of the name alone', async () => {
      const where = { issuer: secure.issuer, serverName: 'keystone.example' };

      expect((await failureOf(find(keySet(where), one))).message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT');
    });

    it('lends its name to no other host: a key set elsewhere goes by its own', async () => {
      const elsewhere = await startJwksServer([two.jwk], { tls: tlsPair });
      secure.setMetadata('openid-configuration', { issuer: secure.issuer, jwks_uri: elsewhere.jwksUrl });

      const found = await find(keySet({ issuer: secure.issuer, caFile, serverName: 'keystone.example' }), two);
      await elsewhere.close();

      expect(found?.keyId).toBe('k2');
    });
  });
});

describe('an issuer that gives no key set', () => {
  const secret = 'what-the-proxy-said';
  const json = (body: unknown): JwksBehaviour => ({ kind: 'answer', status: 200, body: JSON.stringify(body) });
  it.each<[string, JwksBehaviour]>([
    ['is slow', { kind: 'hang' }],
    ['stops in the middle', { kind: 'stall' }],
    ['cuts', { kind: 'cut' }],
    ['never ends', { kind: 'huge' }],
    ['has an error', { kind: 'answer', status: 500, body: secret }],
    ['forbids', { kind: 'answer', status: 403, body: `{"keys":[],"x":"${secret}"}` }],
    ['sends HTML', { kind: 'answer', status: 200, body: `<html>${secret}</html>` }],
    ['sends an empty body', { kind: 'answer', status: 200, body: '' }],
    ['sends no set', json({ secret })],
    ['sends a list', json([secret])],
    ['sends keys that are no list', json({ keys: { secret } })],
    ['sends keys twice', { kind: 'answer', status: 200, body: `{"keys":[],"keys":["${secret}"]}` }],
    ['sends 101 keys', json({ keys: Array.from({ length: 101 }, () => secret) })],
  ])('has given no answer when it %s, and its words stay where they are', async (_what, behaviour) => {
    server.behave(behaviour);
    const keys = keySet({ keys: { kind: 'url', url: server.jwksUrl }, deadlineMs: 100 });

    const error = await failureOf(find(keys, one));

    expect(error.code).toBe('UNAVAILABLE');
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(
      `${error.message} ${error.stack} ${String(error.cause)} ${telemetry.everything()} ${JSON.stringify(keys.health())}`,
    ).not.toContain(secret);
    expect(keys.health()).toMatchObject({ reachable: false, problem: expect.any(String) });
  });

  it('takes a body of the greatest size, and none of a byte more', async () => {
    const sizeBytes = Buffer.byteLength(JSON.stringify({ keys: [one.jwk] }));
    const location = { kind: 'url', url: server.jwksUrl } as const;

    expect((await find(keySet({ keys: location, maxBodyBytes: sizeBytes + 1 }), one))?.keyId).toBe('k1');
    expect((await find(keySet({ keys: location, maxBodyBytes: sizeBytes }), one))?.keyId).toBe('k1');
    expect((await failureOf(find(keySet({ keys: location, maxBodyBytes: sizeBytes - 1 }), one))).code).toBe('UNAVAILABLE');
  });

  it('is asked again after a second, then less and less often', async () => {
    await server.close();
    server = await startJwksServer([one.jwk]);
    server.behave({ kind: 'cut' });
    const keys = keySet({ keys: { kind: 'url', url: server.jwksUrl } });
    const asked: number[] = [];
    for (let second = 0; second < 8; second += 1) {
      for (let call = 0; call < 3; call += 1) await failureOf(find(keys, one));
      asked.push(server.count());
      await clock.advance(1_000);
    }

    expect(asked).toEqual([1, 2, 2, 3, 3, 3, 3, 4]);
  });

  it('is used as soon as it is back', async () => {
    await server.down();
    const keys = keySet();
    const error = await failureOf(find(keys, one));
    await server.up();

    await clock.advance(error.retryAfterMs ?? 0);

    expect((await find(keys, one))?.keyId).toBe('k1');
    expect(keys.health()).toMatchObject({ reachable: true, keyCount: 1 });
  });
});

describe('the keys of a set', () => {
  it('are not spoilt by bad ones beside them', async () => {
    const rsa1024 = { kty: 'RSA', alg: 'RS256', n: Buffer.alloc(128, 0xff).toString('base64url'), e: 'AQAB', kid: 'weak' };
    server.setKeys([
      null,
      7,
      'key',
      {},
      [],
      { kty: 'oct', k: 'c2VjcmV0', kid: 'k1', alg: 'ES256' },
      { ...two.jwk, use: 'enc' },
      { ...two.jwk, alg: 'ES384' },
      { ...two.jwk, key_ops: ['sign'] },
      { ...two.jwk, key_ops: 'verify' },
      { ...two.jwk, kid: 7 },
      { ...two.jwk, x: 'AA' },
      { ...two.jwk, x: undefined },
      { ...two.jwk, crv: 'P-384' },
      { ...two.jwk, crv: '__proto__' },
      { kty: 'constructor' },
      rsa1024,
      one.jwk,
    ]);
    const keys = keySet({ algorithms: ['ES256', 'RS256'] });

    expect((await find(keys, one))?.keyId).toBe('k1');
    expect(await find(keys, two)).toBeUndefined();
    expect(await find(keys, two, '7')).toBeUndefined();
    expect(keys.health()).toMatchObject({ reachable: true, keyCount: 1 });
  });

  it('serve without alg for every pinned algorithm of their kind, and for no other', async () => {
    const rsa = await generateKeyPair('RS256', { extractable: true });
    server.setKeys([{ ...(await exportJWK(rsa.publicKey)), kid: 'r' }]);
    const keys = keySet({ algorithms: ['RS256', 'PS256'] });
    const any = (algorithm: string): Promise<VerificationKey | undefined> =>
      keys.find({ algorithm, kid: 'r' }, async () => true, anySignal).then((found) => found.key);

    expect([(await any('RS256'))?.algorithm, (await any('PS256'))?.algorithm, await any('RS512')]).toEqual(['RS256', 'PS256', undefined]);
    expect(keys.health().keyCount).toBe(1);
  });

  it('are used without their private part, which is told and not repeated', async () => {
    server.setKeys([one.privateJwk]);

    const found = await find(keySet(), one);

    expect(found?.key).toMatchObject({ type: 'public' });
    expect(telemetry.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
    expect(telemetry.everything()).not.toContain(one.privateJwk.d);
  });

  it('may be none: then nothing is signed by them', async () => {
    server.setKeys([]);
    const keys = keySet();

    expect(await find(keys, one)).toBeUndefined();
    expect(keys.health()).toMatchObject({ reachable: true, keyCount: 0, problem: expect.any(String) });
  });

  it('have a digest that does not depend on their order', async () => {
    server.setKeys([one.jwk, two.jwk]);
    const some = keySet();
    await find(some, one);
    server.setKeys([two.jwk, one.jwk]);
    const others = keySet();
    await find(others, one);

    expect(some.health().keySetDigest).toMatch(/^[0-9a-f]{6}$/);
    expect(others.health().keySetDigest).toBe(some.health().keySetDigest);
  });
});

describe('an unknown kid', () => {
  it('has the set fetched once more, and the new key is found in the same call', async () => {
    const keys = keySet();
    await find(keys, one);
    server.setKeys([one.jwk, two.jwk]);

    expect((await find(keys, two))?.keyId).toBe('k2');
    expect(server.count('/jwks')).toBe(2);
  });

  it('costs one fetch, however many ask at once', async () => {
    const keys = keySet();
    await find(keys, one);
    server.setKeys([two.jwk]);

    const found = await Promise.all(Array.from({ length: 50 }, () => find(keys, two)));

    expect(found.every((key) => key?.keyId === 'k2')).toBe(true);
    expect(server.count('/jwks')).toBe(2);
  });

  it('costs no second fetch within the cooldown, and one after it', async () => {
    const keys = keySet();
    await find(keys, one);
    const counts: number[] = [];
    for (const waitMs of [0, 0, 29_999, 1]) {
      await clock.advance(waitMs);
      expect(await find(keys, two, `random-${waitMs}`)).toBeUndefined();
      counts.push(server.count('/jwks'));
    }

    expect(counts).toEqual([2, 2, 2, 3]);
  });

  it('costs nothing more where the set was fetched for this very call', async () => {
    expect(await find(keySet(), two)).toBeUndefined();
    expect(server.count('/jwks')).toBe(1);
  });

  it('is no evidence while the issuer cannot be asked; known keys serve on', async () => {
    const keys = keySet();
    await find(keys, one);
    await server.down();

    expect((await failureOf(find(keys, two))).code).toBe('UNAVAILABLE');
    expect((await failureOf(find(keys, two))).code).toBe('UNAVAILABLE');
    expect((await find(keys, one))?.keyId).toBe('k1');
  });

  it('is asked for without kid too, where none of the keys fits', async () => {
    const keys = keySet();
    await find(keys, one);
    server.setKeys([one.jwk, nameless.jwk]);

    expect((await find(keys, nameless))?.keyId).toBe(nameless.thumbprint);
  });

  it('is not looked for among keys of another name', async () => {
    server.setKeys([one.jwk, nameless.jwk]);

    expect(await find(keySet(), nameless, 'k1')).toBeUndefined();
    expect(await find(keySet(), nameless, 'k3')).toBeUndefined();
  });
});

describe('a token without kid', () => {
  it('is tried with every key of its algorithm, at most sixteen', async () => {
    const many = await Promise.all(Array.from({ length: 18 }, (_, at) => createSigner('ES256', `m${at}`)));
    server.setKeys(many.map((signer) => signer.jwk));
    const tried: string[] = [];
    const keys = keySet();

    const found = await keys.find({ algorithm: 'ES256', kid: undefined }, async (key) => tried.push(key.keyId) < 0, anySignal);

    expect(found.key).toBeUndefined();
    expect(tried).toEqual(many.slice(0, 16).map((signer) => signer.kid));
  });
});

describe('a set whose issuer is down', () => {
  it.each([
    [-1, 'serves'],
    [0, 'serves'],
    [1, 'has no answer'],
  ])('%i ms from the bound it %s', async (offsetMs, what) => {
    const keys = keySet();
    await find(keys, one);
    await goDown(keys);
    await clock.advance(3_599_999 + offsetMs);

    const outcome = await find(keys, one).then(
      () => 'serves',
      () => 'has no answer',
    );

    expect(outcome).toBe(what);
  });

  it('serves at once, while the next attempt hangs', async () => {
    const keys = keySet();
    await find(keys, one);
    await goDown(keys);
    await server.up();
    server.behave({ kind: 'hang' });
    await clock.advance(30_000);
    const before = server.count();

    const leaving = new AbortController();
    const found = find(keys, one, 'k1', leaving.signal);
    await server.reached(before + 1);
    leaving.abort();

    expect((await found)?.keyId).toBe('k1');
  });

  it('is warned about once, and its return is told', async () => {
    const keys = keySet();
    await find(keys, one);
    await goDown(keys);
    await clock.advance(30_000);
    await find(keys, one);
    await server.up();
    await clock.advance(60_000);
    await find(keys, one);
    await vi.waitFor(() => expect(keys.health().reachable).toBe(true));

    expect(telemetry.lines.map((line) => line.level)).toEqual(['info', 'warn', 'info']);
  });

  it('is fetched anew before it is used, after a long sleep', async () => {
    const keys = keySet();
    await find(keys, one);
    server.setKeys([two.jwk]);
    await clock.advance(600_001);

    expect(await find(keys, one)).toBeUndefined();
    expect((await find(keys, two))?.keyId).toBe('k2');
  });
});

describe('a caller that leaves', () => {
  it('gets its own error, and the fetch goes on for the others', async () => {
    server.behave({ kind: 'hang' });
    const keys = keySet({ deadlineMs: 300 });
    const leaving = new AbortController();
    const mine = new SidecarError('CANCELLED', 'gone', { reason: 'GONE' });
    const first = failureOf(find(keys, one, 'k1', leaving.signal));
    const second = failureOf(find(keys, one));

    leaving.abort(mine);

    expect(await first).toBe(mine);
    expect((await second).code).toBe('UNAVAILABLE');
    expect(server.count()).toBe(1);
  });

  it('with any other reason gets DEADLINE_EXCEEDED', async () => {
    server.behave({ kind: 'hang' });

    expect((await failureOf(find(keySet({ deadlineMs: 300 }), one, 'k1', AbortSignal.timeout(10)))).code).toBe('DEADLINE_EXCEEDED');
    expect((await failureOf(find(keySet({ deadlineMs: 300 }), one, 'k1', AbortSignal.abort()))).code).toBe('DEADLINE_EXCEEDED');
  });
});

describe('the run of a key set', () => {
  /** What has been told to have left. */
  function witness(): { readonly told: string[]; readonly invalidate: (keyId: string) => Promise<void> } {
    const told: string[] = [];
    return { told, invalidate: async (keyId) => void told.push(keyId) };
  }
  async function refreshed(keys: KeySet, total: number): Promise<void> {
    await clock.advance(600_000);
    await server.reached(total, '/jwks');
    await vi.waitFor(() => expect(keys.health().lastAnswerAtMs).toBeGreaterThan(clock.nowMs() - 600_000));
  }

  it('fetches at once, and again before each end of the time', async () => {
    const keys = keySet();
    run(keys);
    await server.reached(1, '/jwks');
    await vi.waitFor(() => expect(keys.health().keyCount).toBe(1));

    await clock.advance(539_000);
    const sooner = server.count('/jwks');
    await refreshed(keys, 2);

    expect(sooner).toBe(1);
  });

  it('tells of a key that has left, by its kid, and of no other', async () => {
    server.setKeys([one.jwk, two.jwk]);
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    run(keys, invalidate);
    server.setKeys([two.jwk, nameless.jwk]);

    await refreshed(keys, 2);

    await vi.waitFor(() => expect(told).toEqual(['k1']));
  });

  it('tells of a key without kid by its thumbprint', async () => {
    server.setKeys([one.jwk, nameless.jwk]);
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    run(keys, invalidate);
    server.setKeys([one.jwk]);

    await refreshed(keys, 2);

    await vi.waitFor(() => expect(told).toEqual([nameless.thumbprint]));
  });

  it.each([
    ['has other material under its kid', () => [{ ...two.jwk, kid: 'k1' }]],
    ['has another kid', () => [{ ...one.jwk, kid: 'k2' }]],
    ['is no longer for signatures', () => [{ ...one.jwk, use: 'enc' }]],
    ['stands in an empty set', () => []],
  ])('takes a key as gone that %s', async (_what, next) => {
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    run(keys, invalidate);
    server.setKeys(next());

    await refreshed(keys, 2);

    await vi.waitFor(() => expect(told).toEqual(['k1']));
  });

  it('tells at once of what a fetch for an unknown kid has found', async () => {
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    run(keys, invalidate);
    server.setKeys([two.jwk]);

    await find(keys, two);

    await vi.waitFor(() => expect(told).toEqual(['k1']));
  });

  it('tells nothing where nothing has left, and nothing when the issuer fails', async () => {
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    run(keys, invalidate);
    server.setKeys([two.jwk, one.jwk]);
    await refreshed(keys, 2);
    server.behave({ kind: 'answer', status: 200, body: '<html></html>' });
    await clock.advance(600_000);
    await vi.waitFor(() => expect(keys.health().reachable).toBe(false));

    expect(told).toEqual([]);
  });

  it('tells again what could not be written, until it is', async () => {
    const keys = keySet();
    const attempts: string[] = [];
    await find(keys, one);
    run(keys, async (keyId) => {
      attempts.push(keyId);
      if (attempts.length < 3) throw new SidecarError('UNAVAILABLE', 'disk full', { reason: 'JOURNAL_FAILED' });
    });
    server.setKeys([two.jwk]);
    await find(keys, two);

    for (let second = 0; second < 5; second += 1) await clock.advance(1_000);

    expect(attempts).toEqual(['k1', 'k1', 'k1']);
    expect(telemetry.lines.filter((line) => line.level === 'error')).toHaveLength(2);
  });

  it('tells what left before it began', async () => {
    const keys = keySet();
    const { told, invalidate } = witness();
    await find(keys, one);
    server.setKeys([two.jwk]);
    await find(keys, two);

    run(keys, invalidate);

    await vi.waitFor(() => expect(told).toEqual(['k1']));
  });

  it('names the key as the facts do, and the token fails when it is verified again', async () => {
    const format = createJwtFormat(optionsFor(), { clock, log: telemetry.log });
    const token = await one.sign({ iss: server.issuer, iat: 1_800_000_000, exp: 1_900_000_000 });
    const { told, invalidate } = witness();
    const before = await format.read(token, anySignal);
    run({ run: (signal, tell) => format.run?.(signal, tell) ?? Promise.resolve() }, invalidate);
    server.setKeys([two.jwk]);
    await format.read(await two.sign({ iss: server.issuer, iat: 1_800_000_000, exp: 1_900_000_000 }), anySignal);

    await vi.waitFor(() => expect(told).toHaveLength(1));

    expect(before).toMatchObject({ facts: { keyId: told[0] } });
    expect(await format.read(token, anySignal)).toMatchObject({ kind: 'inactive', reason: 'BAD_SIGNATURE' });
  });

  it('ends when it is told to, in the middle of a fetch', async () => {
    server.behave({ kind: 'hang' });
    const keys = keySet();
    run(keys);
    await server.reached(1);

    stopping.abort();
    await Promise.all(running);

    expect(telemetry.lines).toEqual([]);
  });
});

describe('keys from a file', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sidegate-keys-'));
    path = join(folder, 'jwks.json');
  });
  afterEach(() => rm(folder, { recursive: true }));
  const fromFile = (): KeySet => keySet({ keys: { kind: 'file', path } });
  const write = (keys: readonly unknown[]): Promise<void> => writeFile(path, JSON.stringify({ keys }));

  it('are read', async () => {
    await write([one.jwk]);

    expect((await find(fromFile(), one))?.keyId).toBe('k1');
  });

  it('are read again when the file changes, and those that left are told', async () => {
    await write([one.jwk]);
    const keys = fromFile();
    await find(keys, one);
    const told: string[] = [];
    run(keys, async (keyId) => void told.push(keyId));
    await write([two.jwk, nameless.jwk]);

    await clock.advance(2_000);

    await vi.waitFor(() => expect(told).toEqual(['k1']));
    expect((await find(keys, two))?.keyId).toBe('k2');
  });

  it('are read again when another file takes its place', async () => {
    await write([one.jwk]);
    const keys = fromFile();
    await find(keys, one);
    await writeFile(`${path}.new`, JSON.stringify({ keys: [two.jwk] }));
    await rename(`${path}.new`, path);
    await clock.advance(2_000);

    expect((await find(keys, two))?.keyId).toBe('k2');
  });

  it.each([
    ['half written', () => writeFile(path, `{"keys":[${JSON.stringify(two.jwk)}`)],
    ['no key set', () => writeFile(path, '{"a":1}')],
    ['too large', () => writeFile(path, `{"keys":[]}${' '.repeat(65_536)}`)],
    ['gone', () => rm(path)],
  ])('stay as they were while the file is %s, which is warned about once', async (_what, spoil) => {
    await write([one.jwk]);
    const keys = fromFile();
    await find(keys, one);
    const told: string[] = [];
    run(keys, async (keyId) => void told.push(keyId));
    await spoil();
    await clock.advance(2_000);
    await vi.waitFor(() => expect(keys.health().reachable).toBe(false));
    await clock.advance(5_000);

    expect((await find(keys, one))?.keyId).toBe('k1');
    expect(told).toEqual([]);
    expect(telemetry.lines.filter((line) => line.level === 'warn')).toHaveLength(1);

    await write([two.jwk]);
    await clock.advance(2_000);
    await vi.waitFor(() => expect(told).toEqual(['k1']));
  });

  it('are not available where there is no file yet', async () => {
    const keys = fromFile();
    const error = await failureOf(find(keys, one));
    await write([one.jwk]);
    await clock.advance(1_000);

    expect(error).toMatchObject({ code: 'UNAVAILABLE', retryAfterMs: 1_000 });
    expect((await find(keys, one))?.keyId).toBe('k1');
  });

  it('do not age while the file is there', async () => {
    await write([one.jwk]);
    const keys = fromFile();
    await find(keys, one);
    run(keys);
    for (let hour = 0; hour < 3; hour += 1) {
      await clock.advance(2_000_000);
      await vi.waitFor(async () => expect((await find(keys, one))?.keyId).toBe('k1'));
    }

    expect(keys.health()).toMatchObject({ reachable: true, keyCount: 1 });
  });
});

describe('S1 the issuer’s clock', () => {
  it('is compared with ours at every fetch', async () => {
    const set = keySet();
    expect(set.clockOffsetMs()).toBeUndefined();
    await set.find({ algorithm: 'ES256', kid: 'k1' }, async () => true, anySignal);
    const apartMs = Date.now() - clock.nowMs();
    expect(Math.abs((set.clockOffsetMs() ?? Number.NaN) - apartMs)).toBeLessThan(5_000);
  });
});

describe('what no key of the set has signed', () => {
  it('is judged by a new set where one may be fetched, and else by the old one, which is told', async () => {
    const keys = keySet({ keysCooldownMs: 30_000 });
    await find(keys, one);
    const stranger = (kid: string) => keys.find({ algorithm: 'ES256', kid }, async () => false, anySignal);

    expect(await stranger('unknown')).toEqual({ key: undefined, isNew: true });
    expect(await stranger('unknown')).toEqual({ key: undefined, isNew: false });
    expect(await stranger('k1')).toEqual({ key: undefined, isNew: false });
  });
});
