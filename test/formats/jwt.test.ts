import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import { CompactEncrypt, exportSPKI, importJWK } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createJwtFormat, type JwtOptions } from '../../src/formats/jwt.ts';
import type { Reading, TokenFormat } from '../../src/ports.ts';
import { tokenFormatConformance } from '../conformance/token-format.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { type JwksServer, startJwksServer } from '../fakes/jwks-server.ts';
import { createSigner, type Signer } from '../fakes/signer.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';

const anySignal = new AbortController().signal;
const seconds = 1_800_000_000;

function optionsFor(server: JwksServer, over: Partial<JwtOptions> = {}): JwtOptions {
  return {
    name: 'corp',
    issuer: server.issuer,
    keys: { kind: 'discover' },
    algorithms: ['ES256'],
    keysTimeMs: 600_000,
    keysCooldownMs: 30_000,
    keysStaleWhileDownMs: 86_400_000,
    deadlineMs: 2_000,
    maxBodyBytes: 65_536,
    ...over,
  };
}

function formatOf(server: JwksServer, over: Partial<JwtOptions> = {}, telemetry: FakeTelemetry = createFakeTelemetry()): TokenFormat {
  return createJwtFormat(optionsFor(server, over), { clock: createFakeClock(), log: telemetry.log });
}

function claimsOf(server: JwksServer, over: object = {}): object {
  return { iss: server.issuer, sub: 'u1', aud: 'api', client_id: 'c1', jti: 'j1', iat: seconds, exp: seconds + 300, ...over };
}

const base64url = (data: string | Uint8Array): string => Buffer.from(data).toString('base64url');

tokenFormatConformance('the JWT format', async () => {
  const signer = await createSigner('ES256', 'k1');
  const stranger = await createSigner('ES256', 'k1');
  const server = await startJwksServer([signer.jwk]);
  return {
    format: formatOf(server),
    valid: await signer.sign(claimsOf(server)),
    expected: { issuer: 'corp', user: { id: 'u1' }, tokenId: 'j1', expiresAtMs: (seconds + 300) * 1000 },
    garbage: [
      '',
      'x',
      '..',
      'a.b.c',
      `${base64url('{}')}.${base64url('{}')}.`,
      `eyJ${'A'.repeat(65_536)}.e30.AA`,
      await stranger.sign(claimsOf(server), { alg: 'ES256', typ: 'JWT' }),
    ],
    down: () => server.down(),
    hang: async () => server.behave({ kind: 'hang' }),
    html: async (status) => server.behave({ kind: 'answer', status, body: '<html>no</html>' }),
    close: () => server.close(),
  };
});

describe('the JWT format', () => {
  let signer: Signer;
  let rsa: Signer;
  let server: JwksServer;
  beforeAll(async () => {
    signer = await createSigner('ES256', 'k1');
    rsa = await createSigner('RS256', 'rsa');
    server = await startJwksServer([signer.jwk, rsa.jwk]);
  });
  afterAll(() => server.close());
  const read = (raw: string, over: Partial<JwtOptions> = {}): Promise<Reading> => formatOf(server, over).read(raw, anySignal);

  it.each(['ES256', 'ES384', 'ES512', 'RS256', 'PS256', 'EdDSA', 'Ed25519'])('reads a token signed with %s', async (algorithm) => {
    const own = await createSigner(algorithm, 'own');
    const issuer = await startJwksServer([signer.jwk, own.jwk]);
    const format = formatOf(issuer, { algorithms: [algorithm] });

    const reading = await format.read(await own.sign(claimsOf(issuer)), anySignal);
    await issuer.close();

    expect(reading).toMatchObject({ kind: 'facts', provenance: 'signature', facts: { keyId: 'own', identity: 'j1', unknown: [] } });
  });

  it('says what the token says', async () => {
    const claims = claimsOf(server, { nbf: seconds + 1, scope: 'read write', sid: 's1', roles: ['admin'] });

    const reading = await read(await signer.sign(claims));

    expect(reading).toEqual({
      kind: 'facts',
      provenance: 'signature',
      // The issuer of this test has a real clock, we have a fake one.
      clockOffsetMs: expect.any(Number),
      facts: {
        token: {
          issuer: 'corp',
          format: 'jwt',
          issuedAtMs: seconds * 1000,
          expiresAtMs: (seconds + 300) * 1000,
          user: { id: 'u1' },
          scope: { kind: 'unscoped' },
          roles: [{ id: '', name: 'admin' }],
          methods: [],
          auditIds: [],
          tokenId: 'j1',
          sessionId: 's1',
          clientId: 'c1',
          audiences: ['api'],
          scopes: ['read', 'write'],
          isAdminProject: false,
          claimsJson: JSON.stringify(claims),
        },
        identity: 'j1',
        notBeforeMs: (seconds + 1) * 1000,
        keyId: 'k1',
        hasAccessRules: false,
        unknown: [],
      },
    });
  });

  it.each([
    ['has ended', { iat: 0, exp: 1 }],
    ['has not begun', { nbf: 250_000_000_000, exp: 250_000_000_001 }],
  ])('gives the facts of a token that %s: the time is judged at every call', async (_what, times) => {
    expect((await read(await signer.sign(claimsOf(server, times)))).kind).toBe('facts');
  });

  it('identifies a token without jti by its signing input, whatever its signature', async () => {
    const first = await signer.sign(claimsOf(server, { jti: undefined }));
    const second = await signer.sign(claimsOf(server, { jti: undefined }));
    const identity = createHash('sha256')
      .update(first.slice(0, first.lastIndexOf('.')))
      .digest('base64url');

    expect(second).not.toBe(first);
    expect(await read(first)).toMatchObject({ facts: { identity } });
    expect(await read(second)).toMatchObject({ facts: { identity } });
  });

  it('names the key by its thumbprint where it has no kid', async () => {
    const nameless = await createSigner('ES256');
    const issuer = await startJwksServer([signer.jwk, nameless.jwk]);

    const reading = await formatOf(issuer).read(await nameless.sign(claimsOf(issuer)), anySignal);
    await issuer.close();

    expect(reading).toMatchObject({ kind: 'facts', facts: { keyId: nameless.thumbprint } });
  });

  it('names the key by its kid even where the token does not', async () => {
    expect(await read(await signer.sign(claimsOf(server), { kid: undefined }))).toMatchObject({ kind: 'facts', facts: { keyId: 'k1' } });
  });

  it('reads the certificate that a token is bound to', async () => {
    const thumbprint = 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0';

    const reading = await read(await signer.sign(claimsOf(server, { cnf: { 'x5t#S256': thumbprint } })));

    expect(reading).toMatchObject({ kind: 'facts', facts: { token: { certificateThumbprint: thumbprint } } });
  });

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/At+Jwt'])('accepts typ %s by default', async (typ) => {
    expect((await read(await signer.sign(claimsOf(server), { typ }))).kind).toBe('facts');
  });

  it.each(['JWT', 'jwt', undefined])('accepts typ %s where JWT is configured', async (typ) => {
    expect((await read(await signer.sign(claimsOf(server), { typ }), { types: ['JWT'] })).kind).toBe('facts');
  });

  it.each(['exp', 'iat'])('needs %s of at+jwt; of other types `decide` judges it', async (claim) => {
    const without = claimsOf(server, { [claim]: undefined });

    expect(await read(await signer.sign(without))).toEqual({ kind: 'inactive', reason: 'MALFORMED' });
    expect(await read(await signer.sign(without, { typ: 'Application/AT+JWT' }))).toEqual({ kind: 'inactive', reason: 'MALFORMED' });
    expect((await read(await signer.sign(without, { typ: 'JWT' }), { types: ['at+jwt', 'JWT'] })).kind).toBe('facts');
  });

  it.each(['other', [], undefined])('gives the facts of a token for %j: the audience is judged at every call', async (aud) => {
    expect((await read(await signer.sign(claimsOf(server, { aud })))).kind).toBe('facts');
  });

  it('says WRONG_CERTIFICATE for a token bound to a DPoP key', async () => {
    const dpop = { cnf: { jkt: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs' } };

    expect(await read(await signer.sign(claimsOf(server, dpop)))).toEqual({ kind: 'inactive', reason: 'WRONG_CERTIFICATE' });
  });

  it('asks nobody about a token that its shape condemns', async () => {
    const asked = server.count();

    for (const make of Object.values(badByShape)) await read(await make({ signer, rsa, server }));

    expect(server.count()).toBe(asked);
  });

  it.each([
    ['no algorithm', { algorithms: [] }],
    ['none', { algorithms: ['none'] }],
    ['a shared secret', { algorithms: ['ES256', 'HS256'] }],
    ['an unknown algorithm', { algorithms: ['es256'] }],
    ['no type', { types: [] }],
    ['an empty type', { types: [''] }],
    ['security events as access tokens', { types: ['at+jwt', 'application/secevent+JWT'] }],
    ['logout tokens as access tokens', { types: ['logout+jwt'] }],
    ['proofs of possession as access tokens', { types: ['DPoP+JWT'] }],
    ['a type of which nothing is left', { types: ['application/'] }],
    ['keys from nowhere', { keys: { kind: 'url', url: 'jwks.json' } }],
    ['keys from a file by URL', { keys: { kind: 'url', url: 'file:///etc/passwd' } }],
    ['an issuer without an address to discover', { issuer: 'corp' }],
  ] as const)('refuses to be built with %s', (_what, over) => {
    expect(() => formatOf(server, over)).toThrow(SidecarError);
  });

  describe('of a bad token', () => {
    it.each(Object.keys(bad))('says what is wrong and repeats nothing of it: %s', async (name) => {
      const [reason, make] = bad[name] ?? ['MALFORMED', () => ''];
      const raw = await make({ signer, rsa, server });
      const telemetry = createFakeTelemetry();

      const reading = await formatOf(server, {}, telemetry).read(raw, anySignal);

      expect(reading).toMatchObject({ kind: 'inactive', reason });
      for (const part of raw.split('.').filter((one) => one.length > 10)) expect(telemetry.everything()).not.toContain(part);
    });

    it('counts at least thirty kinds', () => {
      expect(Object.keys(bad).length).toBeGreaterThanOrEqual(30);
    });
  });

  it('never takes a token with one character changed for another token', async () => {
    const valid = await signer.sign(claimsOf(server));
    const format = formatOf(server, { keysCooldownMs: 3_600_000 });
    const character = fc.oneof(
      fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'),
      fc.constantFrom('.', '=', '+', '/', ' ', '', '\u0000', 'é'),
    );

    await fc.assert(
      fc.asyncProperty(fc.nat(valid.length - 1), character, async (at, other) => {
        const changed = valid.slice(0, at) + other + valid.slice(at + 1);
        const reading = await format.read(changed, anySignal);
        // Not even as the same facts: a token has one spelling.
        expect(reading.kind).toBe(changed === valid ? 'facts' : 'inactive');
      }),
      { numRuns: 500 },
    );
  });

  it('answers any string, and throws at none', async () => {
    const format = formatOf(server, { keysCooldownMs: 3_600_000 });
    const json = fc.oneof(fc.json(), fc.string()).map(base64url);
    const tokenLike = fc.tuple(json, json, json).map((parts) => parts.join('.'));

    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), tokenLike), async (raw) => {
        expect((await format.read(raw, anySignal)).kind).toBe('inactive');
      }),
      { numRuns: 500 },
    );
  });
});

interface Materials {
  readonly signer: Signer;
  readonly rsa: Signer;
  readonly server: JwksServer;
}
type Make = (materials: Materials) => string | Promise<string>;

const headerText = '{"alg":"ES256","kid":"k1","typ":"at+jwt"}';
const payloadText = (server: JwksServer, more = ''): string =>
  `{"iss":"${server.issuer}","sub":"u1","iat":${seconds},"exp":${seconds + 300}${more}}`;
const signed =
  (claims: object, header: object = {}): Make =>
  ({ signer, server }) =>
    signer.sign(claimsOf(server, claims), header);
const written =
  (header: string | Uint8Array, payload: (server: JwksServer) => string | Uint8Array): Make =>
  ({ signer, server }) =>
    signer.signText(header, payload(server));
const spelt =
  (respell: (token: string) => string): Make =>
  async ({ signer, server }) =>
    respell(await signer.sign(claimsOf(server)));
const part = (token: string, index: number, change: (text: string) => string): string =>
  token
    .split('.')
    .map((text, at) => (at === index ? change(text) : text))
    .join('.');
const hs256With =
  (secretOf: (materials: Materials) => string | Promise<string>): Make =>
  async (materials) => {
    const input = `${base64url('{"alg":"HS256","kid":"rsa","typ":"at+jwt"}')}.${base64url(payloadText(materials.server))}`;
    return `${input}.${createHmac('sha256', await secretOf(materials))
      .update(input)
      .digest('base64url')}`;
  };
/** A base64url text of 4n+2 or 4n+3 characters has bits left over: set one. */
const withTrailingBit = (text: string): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.slice(-1)) + 1];
};

/** What no key is needed for. */
const badByShape: Readonly<Record<string, Make>> = {
  empty: () => '',
  'two parts': spelt((token) => token.split('.').slice(0, 2).join('.')),
  'four parts': spelt((token) => `${token}.AA`),
  'only dots': () => '...',
  '64 kB of one letter': () => 'A'.repeat(65_536),
  '64 kB of dots': () => '.'.repeat(65_536),
  binary: () => '\u0000\u0001\uffff.\u0000.\u0000',
  'an encrypted token': async ({ rsa, server }) =>
    new CompactEncrypt(Buffer.from(payloadText(server)))
      .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', typ: 'at+jwt' })
      .encrypt(await importJWK({ ...rsa.jwk, alg: 'RSA-OAEP-256' }, 'RSA-OAEP-256')),
  'no signature': spelt((token) => part(token, 2, () => '')),
  'alg none': ({ server }) => `${base64url('{"alg":"none","typ":"at+jwt"}')}.${base64url(payloadText(server))}.`,
  'alg none of typ JWT': ({ server }) => `${base64url('{"alg":"none","typ":"JWT"}')}.${base64url(payloadText(server))}.`,
  'alg nOnE with a signature': spelt((token) => part(token, 0, () => base64url('{"alg":"nOnE","typ":"at+jwt"}'))),
  'HS256 with the public key as PEM': hs256With(async ({ rsa }) =>
    exportSPKI((await importJWK(rsa.jwk, 'RS256', { extractable: true })) as never),
  ),
  'HS256 with the public key as JWK': hs256With(({ rsa }) => JSON.stringify(rsa.jwk)),
  'an algorithm that is not pinned': ({ rsa, server }) => rsa.sign(claimsOf(server)),
  'alg missing': written('{"kid":"k1","typ":"at+jwt"}', payloadText),
  'alg a number': written('{"alg":256,"typ":"at+jwt"}', payloadText),
  'kid a number': written('{"alg":"ES256","kid":1,"typ":"at+jwt"}', payloadText),
  'typ missing': signed({}, { typ: undefined }),
  'typ JWT': signed({}, { typ: 'JWT' }),
  'typ of a security event': signed({}, { typ: 'secevent+jwt' }),
  'typ of a logout token': signed({}, { typ: 'logout+jwt' }),
  'typ a list': written('{"alg":"ES256","kid":"k1","typ":["at+jwt"]}', payloadText),
  'typ with a foreign prefix': signed({}, { typ: 'x/at+jwt' }),
  'crit not understood': written('{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["exp"],"exp":1}', payloadText),
  'crit empty': written('{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":[]}', payloadText),
  'b64 false': written('{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["b64"],"b64":false}', payloadText),
  'b64 true': written('{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":true}', payloadText),
  'header twice alg': written('{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}', payloadText),
  'header a list': written('["ES256"]', payloadText),
  'header not JSON': written('alg: ES256', payloadText),
  'payload twice sub': written(headerText, (server) => payloadText(server, ',"sub":"admin"')),
  'payload twice sub, spelt with an escape': written(headerText, (server) => payloadText(server, ',"\\u0073ub":"admin"')),
  'payload twice a nested member': written(headerText, (server) => payloadText(server, ',"cnf":{"jkt":"a","jkt":"b"}')),
  'payload a list': written(headerText, () => '[]'),
  'payload null': written(headerText, () => 'null'),
  'payload empty': written(headerText, () => ''),
  'payload half': written(headerText, (server) => payloadText(server).slice(0, -1)),
  'payload not UTF-8': written(headerText, (server) =>
    Buffer.concat([Buffer.from(payloadText(server, ',"a":"')), Buffer.from([0xff, 0x22, 0x7d])]),
  ),
  'payload with a byte order mark': written(headerText, (server) => `\ufeff${payloadText(server)}`),
  'payload deep': written(headerText, (server) => payloadText(server, `,"a":${'['.repeat(40)}${']'.repeat(40)}`)),
  'payload an abyss': written(headerText, (server) => payloadText(server, `,"a":${'['.repeat(20_000)}${']'.repeat(20_000)}`)),
  padding: spelt((token) => `${token}=`),
  'white space inside': spelt((token) => part(token, 1, (text) => `${text.slice(0, 4)} ${text.slice(4)}`)),
  'a line break behind': spelt((token) => `${token}\n`),
  'the alphabet of base64': spelt((token) => part(token, 2, () => '+'.repeat(86))),
  'bits left over': spelt((token) => part(token, 2, withTrailingBit)),
  'exp missing': signed({ exp: undefined }),
  'iat missing': signed({ iat: undefined }),
  'exp a string': signed({ exp: `${seconds}` }),
  'exp negative': signed({ exp: -1 }),
  'exp absurd': signed({ exp: 1e300 }),
  'exp in milliseconds': signed({ exp: seconds * 1000 }),
  'nbf an object': signed({ nbf: {} }),
  'iat true': signed({ iat: true }),
  'sub a number': signed({ sub: 7 }),
  'aud an object': signed({ aud: { api: true } }),
  'cnf a string': signed({ cnf: 'x' }),
  'iss another': signed({ iss: 'https://evil.example.com' }),
  'iss with a slash behind': ({ signer, server }) => signer.sign(claimsOf(server, { iss: `${server.issuer}/` })),
  'iss missing': signed({ iss: undefined }),
  'iss a list': ({ signer, server }) => signer.sign(claimsOf(server, { iss: [server.issuer] })),
  'a logout token by its events': signed({ events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }),
  'an ID token by its at_hash': signed({ at_hash: 'x' }),
  'an ID token by what Keycloak calls it': signed({ typ: 'ID' }),
};

const reasonsByShape: Readonly<Record<string, string>> = {
  'no signature': 'BAD_SIGNATURE',
  'alg none': 'BAD_SIGNATURE',
  'alg none of typ JWT': 'BAD_SIGNATURE',
  'alg nOnE with a signature': 'BAD_SIGNATURE',
  'HS256 with the public key as PEM': 'BAD_SIGNATURE',
  'HS256 with the public key as JWK': 'BAD_SIGNATURE',
  'an algorithm that is not pinned': 'BAD_SIGNATURE',
  'iss another': 'WRONG_ISSUER',
  'iss with a slash behind': 'WRONG_ISSUER',
  'iss missing': 'WRONG_ISSUER',
  'iss a list': 'WRONG_ISSUER',
};

/** What a key has to tell. */
const badBySignature: Readonly<Record<string, Make>> = {
  'the key of another issuer under the same kid': async ({ server }) => (await createSigner('ES256', 'k1')).sign(claimsOf(server)),
  'a key that nobody knows': async ({ server }) => (await createSigner('ES256', 'k2')).sign(claimsOf(server)),
  'a key that nobody knows, without kid': async ({ server }) => (await createSigner('ES256')).sign(claimsOf(server)),
  'a key of its own in the header': async ({ server }) => {
    const own = await createSigner('ES256', 'k1');
    return own.sign(claimsOf(server), { jwk: own.jwk });
  },
  'a set of its own in the header': ({ server }) =>
    createSigner('ES256', 'k9').then((own) => own.sign(claimsOf(server), { jku: 'https://evil.example.com/jwks' })),
  'the kid of a key for another algorithm': signed({}, { kid: 'rsa' }),
  'a kid like a path': signed({}, { kid: '../../dev/null' }),
  'kid __proto__': signed({}, { kid: '__proto__' }),
  'the payload of another token': async ({ signer, server }) => {
    const [good, other] = [await signer.sign(claimsOf(server)), await signer.sign(claimsOf(server, { sub: 'admin' }))];
    return part(good, 1, () => other.split('.')[1] ?? '');
  },
  'a signature of zeros': spelt((token) => part(token, 2, () => 'A'.repeat(86))),
  'a signature cut short': spelt((token) => part(token, 2, (text) => text.slice(0, 44))),
  'a signature that is too long': spelt((token) =>
    part(token, 2, (text) => base64url(Buffer.concat([Buffer.from(text, 'base64url'), Buffer.alloc(2)]))),
  ),
};

const bad: Readonly<Record<string, readonly [string, Make]>> = Object.fromEntries([
  ...Object.entries(badByShape).map(([name, make]) => [name, [reasonsByShape[name] ?? 'MALFORMED', make]] as const),
  ...Object.entries(badBySignature).map(([name, make]) => [name, ['BAD_SIGNATURE', make]] as const),
]);
