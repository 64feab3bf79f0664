// PKI and PKIZ tokens that keystoneclient signed, and what is believed of others.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { secretFile } from '../../src/config/secrets.ts';
import { SidecarError } from '../../src/core/errors.ts';
import { digestOf, hashIdsOf } from '../../src/core/raw.ts';
import { createPkiReader } from '../../src/formats/pki.ts';
import { readKeystoneToken } from '../../src/keystone/token-body.ts';
import type { Reading } from '../../src/ports.ts';
import { handleOf } from '../../src/service/tier/handles.ts';
import { tokenFormatConformance } from '../conformance/token-format.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { capturedTokens } from '../fakes/keystone-vectors.ts';
import { algorithms, cmsOf, createAuthority, type Digest, pkiOf, pkizOf } from '../fakes/pki.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { bodyOf, captureMs, createPkiStage, vectors, wordOf } from './pki-stage.ts';

const { unscoped, project } = vectors.tokens;
const captured = () => createPkiStage(vectors.certificates.signing, vectors.certificates.ca);
const sha256 = (text: string): string => createHash('sha256').update(text).digest('base64url');

function factsOf(reading: Reading) {
  return reading.kind === 'facts' ? reading : expect.unreachable(`inactive ${reading.reason}`);
}

tokenFormatConformance('the reader of PKI tokens', async () => {
  const authority = createAuthority();
  const signing = authority.issue();
  const { reader, signing: file, ca } = createPkiStage([signing], authority);
  return {
    format: reader,
    valid: pkiOf(cmsOf(bodyOf(), signing)),
    expected: { issuer: 'central', methods: ['password'], expiresAtMs: Date.UTC(2026, 10, 21, 19, 2, 5) },
    garbage: [
      '',
      'MII',
      'PKIZ_',
      'PKIZ_x',
      `MII${'A'.repeat(65_536)}`,
      pkiOf(cmsOf(bodyOf(), authority.issue())),
      pkizOf(cmsOf(bodyOf(), createAuthority())),
      pkiOf(cmsOf('{}', signing)),
    ],
    down: async () => {
      for (const one of [file, ca]) one.write(new SidecarError('UNAVAILABLE', 'gone', { reason: 'SECRET_UNREADABLE' }));
    },
    hang: async () => file.hang(),
    html: async () => ca.write('<html>no</html>'),
    close: async () => undefined,
  };
});

describe('a token that keystoneclient signed', () => {
  it.each([
    ['PKI', unscoped.PKI_sha256, unscoped.signed_text],
    ['PKIZ', unscoped.PKIZ_sha256, unscoped.signed_text],
    ['PKI of 20 kB', project.PKI_sha256, project.signed_text],
    ['PKIZ of 8 kB', project.PKIZ_sha256, project.signed_text],
  ])('as %s says what Keystone answered about it, by its signature', async (_kind, raw, text) => {
    const answered = factsOf(readKeystoneToken(Buffer.from(text), 'central', { catalog: true }));

    const { facts, ...reading } = factsOf(await captured().read(raw, true));

    const { keyId, token, ...others } = facts;
    expect({ ...others, token: { ...token, format: 'opaque' } }).toEqual(answered.facts);
    expect(token.format).toBe('pki');
    expect(reading).toEqual({ kind: 'facts', provenance: 'signature', catalog: answered.catalog });
    expect(keyId).toMatch(/^[0-9a-f]{64}$/);
  });

  it('as PKIZ of the admin says what Keystone answered about the Fernet token of the same login', async () => {
    const body = Buffer.from(JSON.stringify(capturedTokens['admin_project']?.body));
    const { token: answered } = factsOf(readKeystoneToken(body, 'central')).facts;

    const { token } = factsOf(await captured().read(vectors.tokens.admin_project.PKIZ_sha256)).facts;

    expect({ ...token, claimsJson: answered.claimsJson }).toEqual({ ...answered, format: 'pki' });
  });

  it('tells its catalog only where it is asked for', async () => {
    expect(await captured().read(project.PKI_sha256)).not.toHaveProperty('catalog');
    expect(factsOf(await captured().read(project.PKI_sha256, true)).catalog).toContain('"compute"');
  });

  it('with SHA-1 is wrongly signed', async () => {
    for (const raw of [unscoped.PKI_sha1, unscoped.PKIZ_sha1, project.PKI_sha1])
      expect(wordOf(await captured().read(raw))).toBe('BAD_SIGNATURE');
  });

  it('by a signer that is not configured is wrongly signed', async () => {
    // As far as these certificates go: its own may not have come yet.
    expect(wordOf(await captured().read(unscoped.PKI_by_an_unknown_signer))).toBe('BAD_SIGNATURE by old keys');
    // Its certificate alone does not make it one: it does not lead to the CA.
    const named = createPkiStage(vectors.certificates.other, vectors.certificates.ca);
    expect(wordOf(await named.read(unscoped.PKI_by_an_unknown_signer))).toBe('BAD_SIGNATURE by old keys');
  });

  it('is read from certificates in files as they are configured', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'sidegate-pki-'));
    const paths = { signing: join(dir, 'signing.pem'), ca: join(dir, 'ca.pem') };
    await writeFile(paths.signing, vectors.certificates.signing);
    await writeFile(paths.ca, vectors.certificates.ca);
    const reader = createPkiReader(
      { name: 'central', signingCert: secretFile(paths.signing), ca: secretFile(paths.ca), leewayMs: 0 },
      { clock: createFakeClock(captureMs), log: createFakeTelemetry().log },
    );

    expect(wordOf(await reader.read(project.PKIZ_sha256, new AbortController().signal))).toBe('facts');
    await rm(dir, { recursive: true });
  });
});

describe('S2 the names of a PKI token', () => {
  it.each([unscoped, project])(
    'are Keystone’s own hash ids of it, as keystoneclient makes them',
    ({ PKI_sha1, PKI_hash_md5, PKI_hash_sha256 }) => {
      expect(hashIdsOf(PKI_sha1)).toEqual([PKI_hash_sha256, PKI_hash_md5]);
    },
  );

  it('its handle is Keystone’s id where that is hashed with SHA-256', () => {
    expect(handleOf(digestOf(project.PKI_sha1))).toBe(project.PKI_hash_sha256);
  });

  it('no other string has hash ids', () => {
    for (const raw of ['', 'gAAAAABk', 'f'.repeat(32), 'eyJ.e30.x', 'MI', 'pkiz_x']) expect(hashIdsOf(raw)).toEqual([]);
  });

  it('its identity is its audit id, however it is spelt', async () => {
    const own = JSON.parse(unscoped.signed_text).token.audit_ids[0];
    for (const raw of [unscoped.PKI_sha256, unscoped.PKIZ_sha256]) expect(factsOf(await captured().read(raw)).facts.identity).toBe(own);
  });

  it('one from before audit ids is named by what was signed, however it is packed and signed', async () => {
    const authority = createAuthority();
    const signing = authority.issue({ key: 'P-256' });
    const stage = createPkiStage([signing], authority);
    const body = bodyOf({ audit_ids: undefined });
    const cms = cmsOf(body, signing);
    const spellings = [pkiOf(cms), pkizOf(cms), pkizOf(cms, 9), pkiOf(cmsOf(body, signing))];

    const readings = await Promise.all(spellings.map((raw) => stage.read(raw)));

    expect(new Set(spellings).size).toBe(4);
    expect(readings.map((reading) => factsOf(reading).facts.identity)).toEqual(spellings.map(() => sha256(body)));
    expect(factsOf(readings[0] as Reading).facts.token.auditIds).toEqual([]);
  });
});

describe('what was signed', () => {
  const authority = createAuthority();
  const signing = authority.issue();
  const stage = createPkiStage([signing], authority);
  const readBody = (body: string | Uint8Array): Promise<Reading> => stage.read(pkiOf(cmsOf(body, signing)));

  it.each<[string, string | Uint8Array]>([
    ['a v2 token', JSON.stringify({ access: { token: { id: 'x', expires: '2026-11-21T19:02:05Z' }, user: {} } })],
    ['nothing', ''],
    ['text', 'hello '.repeat(50)],
    ['an empty object', JSON.stringify({ padding: 'x'.repeat(200) })],
    ['a body without an end', bodyOf({ expires_at: undefined })],
    ['a body with two users', bodyOf().replace('"user":', '"user":{"id":"root"},"user":')],
    ['a body that is not UTF-8', Buffer.concat([Buffer.from(bodyOf()), Buffer.from([0xff])])],
    ['a body with no audit id in its list', bodyOf({ audit_ids: [] })],
  ])('where it is %s, is malformed', async (_what, body) => {
    expect(wordOf(await readBody(body))).toBe('MALFORMED');
  });

  it('bound to a Kerberos principal is inactive: nobody can show us one', async () => {
    expect(wordOf(await readBody(bodyOf({ bind: { kerberos: 'alice@ACME' } })))).toBe('WRONG_CERTIFICATE');
  });

  it('with fractions of seconds in its times, as old Keystones wrote them, is read', async () => {
    const { token } = factsOf(
      await readBody(bodyOf({ issued_at: '2026-11-21T18:02:05.941473Z', expires_at: '2026-11-21T19:02:05.941473Z' })),
    ).facts;
    expect([token.issuedAtMs, token.expiresAtMs]).toEqual([Date.UTC(2026, 10, 21, 18, 2, 5), Date.UTC(2026, 10, 21, 19, 2, 5)]);
  });

  it('and has ended is told with its end: who judges times is not the format', async () => {
    await expect(readBody(bodyOf({ expires_at: '2026-11-21T18:02:06Z' }))).resolves.toMatchObject({
      kind: 'facts',
      facts: { token: { expiresAtMs: Date.UTC(2026, 10, 21, 18, 2, 6) } },
    });
  });

  it('of 200 kB is read whole', async () => {
    const catalog = JSON.stringify([{ type: 'compute', id: randomBytes(100_000).toString('hex') }]);
    const body = bodyOf({ catalog: JSON.parse(catalog) });
    expect(factsOf(await stage.read(pkizOf(cmsOf(body, signing)), true)).catalog).toBe(catalog);
  });
});

describe('how it is signed', () => {
  const ecAuthority = createAuthority({ key: 'P-384' });
  const rsaAuthority = createAuthority({ key: 'rsa' });

  it.each(
    (['rsa', 'P-256', 'P-384', 'P-521'] as const).flatMap((key) =>
      (['sha256', 'sha384', 'sha512', 'sha1'] as const).map((digest): [string, Digest, string] => [
        key,
        digest,
        digest === 'sha1' ? 'BAD_SIGNATURE' : 'facts',
      ]),
    ),
  )('with a key %s and %s: %s', async (key, digest, expected) => {
    for (const authority of [ecAuthority, rsaAuthority]) {
      const signing = authority.issue({ key: key as 'rsa' });
      expect(wordOf(await createPkiStage([signing], authority).read(pkiOf(cmsOf(bodyOf(), signing, { digest }))))).toBe(expected);
    }
  });

  it('with a digest whose parameters are NULL is the same (RFC 5754)', async () => {
    const signing = rsaAuthority.issue({ key: 'rsa' });
    const raw = pkiOf(cmsOf(bodyOf(), signing, { digestAlgorithm: algorithms.sha256WithNull }));
    expect(wordOf(await createPkiStage([signing], rsaAuthority).read(raw))).toBe('facts');
  });

  const rsa = rsaAuthority.issue({ key: 'rsa' });
  const ec = rsaAuthority.issue({ key: 'P-256' });
  it.each([
    [
      'an elliptic algorithm of another digest',
      pkiOf(cmsOf(bodyOf(), ec, { digest: 'sha384', signatureAlgorithm: algorithms.ecdsaWithSha256 })),
    ],
    ['an elliptic algorithm of SHA-1', pkiOf(cmsOf(bodyOf(), ec, { signatureAlgorithm: algorithms.ecdsaWithSha1 }))],
    ['RSA with an elliptic key', pkiOf(cmsOf(bodyOf(), ec, { signatureAlgorithm: algorithms.rsa }))],
    ['an elliptic algorithm with an RSA key', pkiOf(cmsOf(bodyOf(), rsa, { signatureAlgorithm: algorithms.ecdsaWithSha256 }))],
    ['RSA by the name of algorithm and digest', pkiOf(cmsOf(bodyOf(), rsa, { signatureAlgorithm: algorithms.sha256WithRsa }))],
    ['a digest that it does not have', pkiOf(cmsOf(bodyOf(), rsa, { digest: 'sha512', digestAlgorithm: algorithms.sha256 }))],
    ['another body', pkiOf(cmsOf(bodyOf(), rsa, { signed: Buffer.from(bodyOf({ methods: ['token'] })) }))],
    ['no signature', pkiOf(cmsOf(bodyOf(), rsa, { signature: Buffer.alloc(0) }))],
    ['no signature of its kind', pkiOf(cmsOf(bodyOf(), ec, { signature: Buffer.alloc(64, 1) }))],
    ['the name of another signer', pkiOf(cmsOf(bodyOf(), ec, { namedAs: rsa.namedAs }))],
  ])('with %s is wrongly signed', async (_what, raw) => {
    expect(wordOf(await createPkiStage([rsa, ec], rsaAuthority).read(raw))).toBe('BAD_SIGNATURE');
  });

  it('with the name of nobody is wrongly signed, as far as these certificates go', async () => {
    const raw = pkiOf(cmsOf(bodyOf(), rsa, { namedAs: rsaAuthority.issue().namedAs }));
    expect(wordOf(await createPkiStage([rsa, ec], rsaAuthority).read(raw))).toBe('BAD_SIGNATURE by old keys');
  });
});
