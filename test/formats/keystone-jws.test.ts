// Keystone's JWS: what is none, what it says, and which key of which kind has signed it.

import { createPrivateKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KeystoneJws, keyOf, readJwsKey, readKeystoneJws } from '../../src/formats/keystone-jws.ts';
import { jwsClaims, newNodeKey, signJws } from '../fakes/keystone-keys.ts';
import { keyVectors } from '../fakes/keystone-vectors.ts';

const times = { issuedAtMs: 1_700_000_000_000, expiresAtMs: 1_700_003_600_000 };
const publicKey = (pem: string) => {
  const key = readJwsKey(pem);
  return typeof key === 'string' ? expect.unreachable(key) : key;
};
const jwsOf = (raw: string): KeystoneJws => {
  const jws = readKeystoneJws(raw);
  return typeof jws === 'string' ? expect.unreachable(jws) : jws;
};
const captured = publicKey(keyVectors.captured.jwsPublic);

describe('a Keystone JWS', () => {
  it.each(keyVectors.jws.map((vector) => [vector.name, vector] as const))(
    'of Keystone’s own code is read and verified: %s',
    async (_, vector) => {
      const { userId, auditIds, projectId, domainId, system, trustId, groupIds, idpId } = vector.claims;
      const jws = jwsOf(vector.token);

      expect(jws.claims).toEqual({
        userId,
        auditIds,
        issuedAtMs: keyVectors.issuedAtMs,
        expiresAtMs: keyVectors.expiresAtMs,
        scope: projectId
          ? { kind: 'project', id: projectId }
          : domainId
            ? { kind: 'domain', id: domainId }
            : { kind: system ? 'system' : 'unscoped' },
        trustId,
        ...(idpId && groupIds && { federation: { identityProviderId: idpId, groupIds } }),
        accessTokenId: vector.claims.accessTokenId,
        applicationCredentialId: vector.claims.applicationCredentialId,
      });
      expect(await keyOf(jws, [publicKey(newNodeKey().pem), captured])).toBe(captured);
      expect(await keyOf(jws, [publicKey(newNodeKey().pem)])).toBeUndefined();
    },
  );

  it.each(['ES256', 'ES384', 'ES512', 'EdDSA'] as const)('is verified by a key for %s, and by no other of that kind', async (algorithm) => {
    const key = newNodeKey(algorithm);
    const jws = jwsOf(signJws(key, jwsClaims(times)));
    const own = publicKey(key.pem);

    expect(own.algorithm).toBe(algorithm);
    expect(await keyOf(jws, [publicKey(newNodeKey(algorithm).pem), own])).toBe(own);
    expect(await keyOf(jws, [publicKey(newNodeKey(algorithm).pem)])).toBeUndefined();
  });

  it('is never verified with an algorithm that is not its key’s', async () => {
    const [p256, p384] = [newNodeKey('ES256'), newNodeKey('ES384')];
    const disguised = signJws({ ...p384, algorithm: 'ES384' }, jwsClaims(times), { alg: 'ES384' });

    expect(await keyOf(jwsOf(disguised), [publicKey(p256.pem)])).toBeUndefined();
    // Signed by the key itself, as ES256 does it, and called EdDSA: an algorithm goes by its key, not by what a token says.
    const renamed = signJws(p256, jwsClaims(times), { alg: 'EdDSA' });
    expect(await keyOf(jwsOf(renamed), [publicKey(p256.pem)])).toBeUndefined();
    expect(await keyOf(jwsOf(disguised), [publicKey(p384.pem)])).toBeDefined();
  });

  it.each(['none', 'None', 'HS256', 'HS512', 'RS256', 'PS256', 'ES256K', 'Ed25519', ''])('that names the algorithm "%s" is none', (alg) => {
    expect(readKeystoneJws(signJws(newNodeKey(), jwsClaims(times), { alg }))).toBe('BAD_SIGNATURE');
  });

  it('signed with its public key as a secret (HS256) is none', async () => {
    const { createHmac } = await import('node:crypto');
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(jwsClaims(times))}`;
    const mac = createHmac('sha256', keyVectors.captured.jwsPublic).update(signed).digest('base64url');

    expect(readKeystoneJws(`${signed}.${mac}`)).toBe('BAD_SIGNATURE');
  });

  it('without a signature, or with one of another length, is none', () => {
    const [header, payload, signature = ''] = signJws(newNodeKey(), jwsClaims(times)).split('.');
    for (const other of ['', signature.slice(0, -4), `${signature}AAAA`]) {
      expect(readKeystoneJws(`${header}.${payload}.${other}`)).toBe('BAD_SIGNATURE');
    }
  });

  it.each([
    ['of two parts', 'a.b'],
    ['of four', `${signJws(newNodeKey(), jwsClaims(times))}.x`],
    ['whose header is no JSON', 'e30x.e30.AA'],
    ['whose header has two readings', `${Buffer.from('{"alg":"ES256","alg":"none"}').toString('base64url')}.e30.AA`],
    ['that is an access token of OAuth', signJws(newNodeKey(), jwsClaims(times), { typ: 'at+jwt' })],
    ['with something critical', signJws(newNodeKey(), jwsClaims(times), { crit: ['x'], x: 1 })],
    ['whose payload is not encoded', signJws(newNodeKey(), jwsClaims(times), { b64: false })],
    ['without an algorithm', signJws(newNodeKey(), jwsClaims(times), { alg: 1 })],
  ])('%s is malformed', (_, raw) => {
    expect(readKeystoneJws(raw)).toBe('MALFORMED');
  });

  it('is one without a type, and with a kid that means nothing', async () => {
    const key = newNodeKey();
    for (const header of [{ typ: undefined }, { typ: 'jwt' }, { kid: 'x' }]) {
      expect(await keyOf(jwsOf(signJws(key, jwsClaims(times), header)), [publicKey(key.pem)])).toBeDefined();
    }
  });

  it.each([
    ['sub', 7],
    ['sub', ''],
    ['sub', undefined],
    ['iat', 'now'],
    ['iat', undefined],
    ['exp', null],
    ['exp', -5],
    ['openstack_audit_ids', []],
    ['openstack_audit_ids', [7]],
    ['openstack_audit_ids', 'one'],
    ['openstack_project_id', { id: 'x' }],
    ['openstack_group_ids', [{}]],
    ['openstack_group_ids', 'admins'],
  ])('whose claim %s is %j says nothing that can be read', (name, value) => {
    expect(jwsOf(signJws(newNodeKey(), { ...jwsClaims(times), [name]: value })).claims).toBeUndefined();
  });

  it('is not verified once anything of it has changed', async () => {
    const key = newNodeKey();
    const raw = signJws(key, jwsClaims(times));
    const own = publicKey(key.pem);
    let tried = 0;
    for (let at = 0; at < raw.length; at += 1) {
      if (raw[at] === '.') continue;
      const tampered = `${raw.slice(0, at)}${raw[at] === 'A' ? 'B' : 'A'}${raw.slice(at + 1)}`;
      const jws = readKeystoneJws(tampered);
      if (typeof jws === 'string') continue;
      // The last character has bits that nobody reads.
      if (jws.signature.equals(jwsOf(raw).signature) && jws.signed.equals(jwsOf(raw).signed)) continue;
      tried += 1;
      expect(await keyOf(jws, [own]), `character ${at}`).toBeUndefined();
    }
    expect(tried).toBeGreaterThan(100);
  });

  it('is the same token in each spelling of its signature, as for Keystone', async () => {
    const key = newNodeKey();
    const raw = signJws(key, jwsClaims(times));
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // 64 bytes are 85 characters and one with four spare bits.
    const last = alphabet.indexOf(raw.at(-1) ?? '') & ~15;
    const spellings = Array.from({ length: 16 }, (_, bits) => raw.slice(0, -1) + alphabet[last + bits]);

    expect(new Set(spellings).size).toBe(16);
    for (const one of spellings) expect(await keyOf(jwsOf(one), [publicKey(key.pem)])).toBeDefined();
  });

  it('random strings of its shape are never verified, and never throw', async () => {
    const part = fc.oneof(
      fc.string(),
      fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
    );
    const header = fc.record({ alg: fc.constantFrom('ES256', 'ES512', 'EdDSA', 'none'), typ: fc.constantFrom('JWT', 'x') });
    const headerPart = fc.oneof(
      part,
      header.map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
    );
    const signature = fc.oneof(
      part,
      fc.uint8Array({ minLength: 64, maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
    );
    await fc.assert(
      fc.asyncProperty(headerPart, part, signature, async (...parts) => {
        const jws = readKeystoneJws(parts.join('.'));
        if (typeof jws !== 'string') expect(await keyOf(jws, [captured])).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});

describe('a file of the public repository', () => {
  const { pem } = newNodeKey();
  const privatePem = createPrivateKey(keyVectors.captured.jwsPrivate).export({ type: 'pkcs8', format: 'pem' }).toString();

  it.each([
    ['half of a key', pem.slice(0, 90)],
    ['a key whose end is missing', pem.replace('-----END PUBLIC KEY-----\n', '')],
    ['a key with a hole', pem.replace(/\n.{20}/, '\n')],
    ['a private key', privatePem],
    ['a private key beside the public one', pem + privatePem],
    ['a key of RSA', newNodeKey('RS256').pem],
    ['noise', randomBytes(200).toString('latin1')],
    ['nothing', ''],
  ])('with %s holds none, and what is said of it has nothing of it', (_, text) => {
    const said = readJwsKey(text);
    expect(said).toBeTypeOf('string');
    for (const line of text.split('\n').filter((one) => one.length > 10 && !one.startsWith('-----'))) expect(said).not.toContain(line);
  });

  it('has a name that is a hash of the key, whatever is around it', () => {
    expect(publicKey(pem).id).toMatch(/^[\w-]{43}$/);
    expect(publicKey(`# node one\n${pem}\n`).id).toBe(publicKey(pem).id);
    expect(publicKey(newNodeKey().pem).id).not.toBe(publicKey(pem).id);
  });
});
