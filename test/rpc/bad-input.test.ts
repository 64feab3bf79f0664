// Bad input over real gRPC against a whole sidecar: a clear answer or error each, no crash, and no secret in any output.

import { createHmac, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportSPKI, importJWK } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secretFile } from '../../src/config/secrets.ts';
import { entryIdOf } from '../../src/core/entry-id.ts';
import { canonical } from '../../src/core/raw.ts';
import { type Forward, InactiveReason, Reach } from '../../src/gen/sidegate/v1/token_service.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { type CallOptions, type Outcome, startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import { createSigner, type Signer } from '../fakes/signer.ts';

/** What every token here has somewhere within, so that a leak of any part of it can be found. */
const secretMark = 'SECRETMARK';
const iss = 'https://corp.example';

interface World {
  readonly sidecar: TestSidecar;
  readonly signer: Signer;
  readonly other: Signer;
  readonly good: string;
  readonly opaque: string;
  readonly fernet: string;
  /** Every token and key that was shown to the sidecar. */
  readonly secrets: Set<string>;
}

let world: World;
const directory = mkdtempSync(join(tmpdir(), 'sidegate-bad-input-'));
const second = (): number => Math.floor(Date.now() / 1000);
const claims = (more: object = {}): object => ({
  iss,
  sub: 'alice',
  aud: 'api',
  jti: `${secretMark}-jti`,
  iat: second() - 10,
  exp: second() + 3600,
  ...more,
});

beforeAll(async () => {
  const signer = await createSigner('ES256', 'k1');
  const other = await createSigner('ES256', 'k1');
  const keyFile = join(directory, 'keys.json');
  writeFileSync(keyFile, JSON.stringify({ keys: [signer.jwk] }));
  const central = createFakeIssuer({ accepts: ['opaque', 'fernet', 'uuid', 'pki', 'keystone-jws'] });
  const bytes = Buffer.alloc(57 + 32, secretMark);
  bytes.fill(0, 1, 5);
  bytes[0] = 0x80;
  const fernet = bytes.toString('base64url');
  const opaque = `opaque-${secretMark}-token`;
  const issuedAtMs = (second() - 10) * 1000;
  const token = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000, user: { id: 'bob' }, roles: [{ id: 'r', name: 'member' }] };
  central.knows(canonical(fernet), { token });
  central.knows(opaque, { token });
  const sidecar = await startSidecar({
    fakes: [central],
    issuers: [
      {
        kind: 'jwt',
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'corp',
        issuer: iss,
        tls: { caFile: undefined, serverName: undefined },
        skewMs: 1000,
        maxTokenLifeMs: 86_400_000,
        keys: { kind: 'file', file: secretFile(keyFile) },
        algorithms: ['ES256'],
        types: ['at+jwt'],
        audiences: ['api'],
        calls: { deadlineMs: 5000 },
        expiredWithinMs: 0,
      },
    ],
    config: (config) => ({ ...config, limits: { ...config.limits, freshnessWaitMs: 50, unverifiedRevokes: 1000 } }),
  });
  const secrets = new Set([opaque, fernet, JSON.stringify(signer.privateJwk.d), String(signer.privateJwk.d)]);
  world = { sidecar, signer, other, good: await signer.sign(claims()), opaque, fernet, secrets };
  secrets.add(world.good);
});

afterAll(async () => {
  await world.sidecar.stop();
  rmSync(directory, { recursive: true, force: true });
});

const reasonOf = new Map<unknown, string>(Object.entries(InactiveReason).map(([name, number]) => [number, name]));

/** An answer as one word: `active`, the reason of an inactive one, `OK`, or the error’s status and reason. */
function shown(outcome: Outcome<unknown>): string {
  const { status, reason, response } = outcome;
  if (status !== 'OK') return reason === undefined ? status : `${status} ${reason}`;
  if (typeof response !== 'object' || response === null || !('active' in response)) return 'OK';
  if (response.active === true) return 'active';
  return 'reason' in response ? String(reasonOf.get(response.reason)) : 'inactive';
}

const part = (value: object | string): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const unsigned = (header: object): string => `${part(header)}.${part(claims())}.`;
const signedText = (header: string, payload: string): string => world.signer.signText(header, payload);
const header = '{"alg":"ES256","kid":"k1","typ":"at+jwt"}';

async function withPublicKey(algorithm: string): Promise<string> {
  const key = await importJWK(world.signer.jwk, 'ES256');
  const pem = key instanceof Uint8Array ? '' : await exportSPKI(key);
  const input = `${part({ alg: algorithm, kid: 'k1', typ: 'at+jwt' })}.${part(claims())}`;
  return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`;
}

/** Tokens: what they are, and what Validate says. */
const tokens: readonly (readonly [string, (it: World) => string | Promise<string>, string])[] = [
  ['a good JWT', (it) => it.good, 'active'],
  ['a good opaque token', (it) => it.opaque, 'active'],
  ['an empty token', () => '', 'INVALID_ARGUMENT TOKEN_MISSING'],
  ['a blank token', () => ' \t\r\n ', 'INVALID_ARGUMENT TOKEN_MISSING'],
  ['64 KiB of letters: at the limit, and unknown', () => secretMark.padEnd(65_536, 'x'), 'REFUSED'],
  ['one letter more than token_size', () => secretMark.padEnd(65_537, 'x'), 'MALFORMED'],
  ['half a megabyte', () => secretMark.padEnd(524_288, 'x'), 'MALFORMED'],
  ['control characters', () => `${secretMark}\u0000\u0001\u0007`, 'MALFORMED'],
  ['a line break within', () => `${secretMark}\ninjected: line`, 'MALFORMED'],
  ['letters beyond ASCII', () => `${secretMark}-tökén`, 'MALFORMED'],
  ['emoji', () => `${secretMark}🔑`, 'MALFORMED'],
  ['the scheme left on', (it) => `Bearer ${it.good}`, 'MALFORMED'],
  ['two tokens', (it) => `${it.good} ${it.good}`, 'MALFORMED'],
  ['white space around a good one', (it) => `\n ${it.good}\t`, 'active'],
  ['path tricks', () => `../../v3/auth/tokens/${secretMark}`, 'REFUSED'],
  ['a query within', () => `${secretMark}?token=1&x=2`, 'MALFORMED'],
  ['an opaque token nobody knows', () => `${secretMark}-unknown`, 'REFUSED'],
  ['a UUID nobody knows', () => '0123456789abcdef0123456789abcdef', 'REFUSED'],
  ['another case of an opaque token', (it) => it.opaque.toLowerCase(), 'REFUSED'],
  ['alg none', () => unsigned({ alg: 'none', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  ['alg None', () => unsigned({ alg: 'None', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  ['alg NONE', () => unsigned({ alg: 'NONE', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  ['alg nOnE', () => unsigned({ alg: 'nOnE', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  ['an empty alg', () => unsigned({ alg: '', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  ['no alg', () => unsigned({ typ: 'at+jwt' }), 'MALFORMED'],
  ['alg that is no string', () => unsigned({ alg: ['ES256'], typ: 'at+jwt' }), 'MALFORMED'],
  ['ES256 without a signature', () => unsigned({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' }), 'BAD_SIGNATURE'],
  [
    'alg none with the signature of a good one',
    (it) => `${part({ alg: 'none', typ: 'at+jwt' })}.${it.good.split('.').slice(1).join('.')}`,
    'BAD_SIGNATURE',
  ],
  ['HS256 with the public key', () => withPublicKey('HS256'), 'BAD_SIGNATURE'],
  ['HS384 with the public key', () => withPublicKey('HS384'), 'BAD_SIGNATURE'],
  ['RS256, which is not pinned', () => `${unsigned({ alg: 'RS256', kid: 'k1', typ: 'at+jwt' })}AAAA`, 'BAD_SIGNATURE'],
  ['typ JWT', (it) => it.signer.sign(claims(), { typ: 'JWT' }), 'MALFORMED'],
  ['no typ', (it) => it.signer.sign(claims(), { typ: undefined }), 'MALFORMED'],
  ['typ of a logout token', (it) => it.signer.sign(claims(), { typ: 'logout+jwt' }), 'MALFORMED'],
  ['typ of a DPoP proof', (it) => it.signer.sign(claims(), { typ: 'dpop+jwt' }), 'MALFORMED'],
  ['the key of somebody else under our kid', (it) => it.other.sign(claims()), 'BAD_SIGNATURE'],
  ['an unknown kid', (it) => it.signer.sign(claims(), { kid: `${secretMark}-kid` }), 'BAD_SIGNATURE'],
  ['a kid that is a path', (it) => it.signer.sign(claims(), { kid: '../../etc/passwd' }), 'BAD_SIGNATURE'],
  ['a key of its own in the header', (it) => it.other.sign(claims(), { kid: undefined, jwk: it.other.jwk }), 'BAD_SIGNATURE'],
  ['a key set of its own in the header', (it) => it.other.sign(claims(), { jku: 'http://127.0.0.1:9/keys' }), 'BAD_SIGNATURE'],
  [
    'something critical',
    () => signedText('{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["exp"],"exp":1}', JSON.stringify(claims())),
    'MALFORMED',
  ],
  ['an issuer nobody configured', (it) => it.signer.sign(claims({ iss: 'https://evil.example' })), 'WRONG_ISSUER'],
  ['no issuer', (it) => it.signer.sign(claims({ iss: undefined })), 'WRONG_ISSUER'],
  ['our issuer with a slash more', (it) => it.signer.sign(claims({ iss: `${iss}/` })), 'WRONG_ISSUER'],
  ['our issuer in a list', (it) => it.signer.sign(claims({ iss: [iss] })), 'WRONG_ISSUER'],
  ['another audience', (it) => it.signer.sign(claims({ aud: 'other' })), 'WRONG_AUDIENCE'],
  ['no audience', (it) => it.signer.sign(claims({ aud: undefined })), 'WRONG_AUDIENCE'],
  ['expired', (it) => it.signer.sign(claims({ iat: second() - 100, exp: second() - 10 })), 'EXPIRED'],
  ['not yet valid', (it) => it.signer.sign(claims({ nbf: second() + 60 })), 'NOT_YET_VALID'],
  ['issued in the future', (it) => it.signer.sign(claims({ iat: second() + 60 })), 'NOT_YET_VALID'],
  ['a life longer than allowed', (it) => it.signer.sign(claims({ exp: second() + 90_000 })), 'LIFETIME_TOO_LONG'],
  ['no end', (it) => it.signer.sign(claims({ exp: undefined })), 'MALFORMED'],
  ['an end that is text', (it) => it.signer.sign(claims({ exp: '4102444800' })), 'MALFORMED'],
  ['an end beyond all numbers', () => signedText(header, `{"iss":"${iss}","exp":1e999}`), 'MALFORMED'],
  ['a negative beginning', (it) => it.signer.sign(claims({ nbf: -1 })), 'MALFORMED'],
  ['an end twice', () => signedText(header, `{"iss":"${iss}","aud":"api","exp":1,"exp":${second() + 60}}`), 'MALFORMED'],
  ['alg twice', () => signedText('{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}', JSON.stringify(claims())), 'MALFORMED'],
  [
    'a name twice, once with an escape',
    () => signedText(header, `{"iss":"${iss}","aud":"api","exp":1,"\\u0065xp":${second() + 60}}`),
    'MALFORMED',
  ],
  ['claims that are a list', () => signedText(header, '[]'), 'MALFORMED'],
  ['claims that are null', () => signedText(header, 'null'), 'MALFORMED'],
  ['claims with a byte order mark', () => signedText(header, `\ufeff${JSON.stringify(claims())}`), 'MALFORMED'],
  [
    'claims that are no UTF-8',
    () => world.signer.signText(header, Buffer.concat([Buffer.from(`{"iss":"${iss}","sub":"`), Buffer.from([0xff, 0x22, 0x7d])])),
    'MALFORMED',
  ],
  ['claims a thousand deep', () => signedText(header, `{"iss":"${iss}","x":${'['.repeat(1000)}${']'.repeat(1000)}}`), 'MALFORMED'],
  [
    '__proto__ as a claim',
    () => signedText(header, `{"iss":"${iss}","aud":"api","iat":${second()},"exp":${second() + 60},"__proto__":{"roles":["admin"]}}`),
    'active',
  ],
  ['two parts', (it) => it.good.split('.').slice(0, 2).join('.'), 'REFUSED'],
  ['four parts', (it) => `${it.good}.AAAA`, 'REFUSED'],
  ['a padded part', (it) => `${it.good.slice(0, -1)}=`, 'MALFORMED'],
  ['the last letter changed', (it) => `${it.good.slice(0, -2)}${it.good.at(-2) === 'A' ? 'Q' : 'A'}${it.good.at(-1)}`, 'BAD_SIGNATURE'],
  ['bits left over in the signature', (it) => `${it.good.slice(0, -1)}${leftOver(it.good)}`, 'MALFORMED'],
  ['an encrypted token', () => `${part({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA`, 'REFUSED'],
  ['a Fernet token', (it) => it.fernet, 'active'],
  ['the same, padded', (it) => `${it.fernet}==`, 'active'],
  ['the same in the other alphabet', (it) => Buffer.from(it.fernet, 'base64url').toString('base64'), 'active'],
  ['the same with bits left over', (it) => `${it.fernet.slice(0, -1)}${leftOver(it.fernet)}`, 'active'],
  ['a Fernet token cut short', (it) => it.fernet.slice(0, -8), 'REFUSED'],
  ['a Fernet token of another version', (it) => `g${it.fernet.slice(1, 5)}B${it.fernet.slice(6)}`, 'REFUSED'],
  ['a PKI token nobody knows', () => `MII${secretMark}`, 'REFUSED'],
];

/** A last letter with other bits left over: the same bytes in another spelling. */
function leftOver(base64url: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return alphabet[alphabet.indexOf(base64url.at(-1) ?? '') ^ 1] ?? '';
}

type Selecting = Parameters<TestSidecar['refresh']>[0]['selector'];

const selectors: readonly (readonly [string, Selecting, string])[] = [
  ['none', undefined, 'INVALID_ARGUMENT SELECTOR_EMPTY'],
  ['an empty one', {}, 'INVALID_ARGUMENT SELECTOR_EMPTY'],
  ['an issuer alone', { issuer: 'corp' }, 'INVALID_ARGUMENT SELECTOR_EMPTY'],
  ['everything and more', { everything: true, userId: 'u' }, 'INVALID_ARGUMENT SELECTOR_EVERYTHING_WITH_MORE'],
  ['an unknown issuer', { issuer: 'nobody', userId: 'u' }, 'INVALID_ARGUMENT ISSUER_UNKNOWN'],
  ['no issuer where there are two', { userId: 'u' }, 'INVALID_ARGUMENT ISSUER_MISSING'],
  ['a value at the limit', { issuer: 'corp', userId: 'u'.repeat(1024) }, 'OK'],
  ['a value one above the limit', { issuer: 'corp', userId: 'u'.repeat(1025) }, 'INVALID_ARGUMENT SELECTOR_VALUE'],
  ['an issuer that is too long', { issuer: 'i'.repeat(1025), userId: 'u' }, 'INVALID_ARGUMENT SELECTOR_VALUE'],
  ['a kind of scope that does not exist', { issuer: 'corp', scopeKind: 'galaxy' }, 'INVALID_ARGUMENT SELECTOR_VALUE'],
  ['two names of one thing', { issuer: 'corp', tokenId: 'a', auditId: 'b' }, 'INVALID_ARGUMENT SELECTOR_FORM'],
  ['four conditions', { issuer: 'corp', userId: 'u', projectId: 'p', roleId: 'r', trustId: 't' }, 'OK'],
  [
    'five conditions',
    { issuer: 'corp', userId: 'u', projectId: 'p', roleId: 'r', trustId: 't', groupId: 'g' },
    'INVALID_ARGUMENT SELECTOR_FORM',
  ],
];

/** A varint field of number `number` with value 1. */
const field = (number: number): Buffer => Buffer.from([...varint(number << 3), 1]);
const message = (number: number, body: Buffer): Buffer => Buffer.concat([Buffer.from([...varint((number << 3) | 2), body.length]), body]);
function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Everything else: what is sent, and what comes back. */
const requests: readonly (readonly [string, (it: World) => Promise<Outcome<unknown>>, string])[] = [
  [
    'a cursor without a journal',
    (it) => ask(it, { $case: 'cursor', value: { journal: '', revision: 1n } }),
    'INVALID_ARGUMENT CURSOR_MALFORMED',
  ],
  [
    'a cursor with a broken journal',
    (it) => ask(it, { $case: 'cursor', value: { journal: 'a b\n', revision: 1n } }),
    'INVALID_ARGUMENT CURSOR_MALFORMED',
  ],
  [
    'a cursor with a journal too long',
    (it) => ask(it, { $case: 'cursor', value: { journal: 'j'.repeat(65), revision: 1n } }),
    'INVALID_ARGUMENT CURSOR_MALFORMED',
  ],
  [
    'a huge revision',
    (it) => ask(it, { $case: 'cursor', value: { journal: 'J', revision: 2n ** 64n - 1n } }),
    'INVALID_ARGUMENT CURSOR_MALFORMED',
  ],
  [
    'the greatest revision that is one',
    (it) => ask(it, { $case: 'cursor', value: { journal: 'J', revision: BigInt(Number.MAX_SAFE_INTEGER) } }),
    'FAILED_PRECONDITION OTHER_JOURNAL',
  ],
  [
    'a foreign cursor',
    (it) => ask(it, { $case: 'cursor', value: { journal: 'other', revision: 0n } }),
    'FAILED_PRECONDITION OTHER_JOURNAL',
  ],
  ['a cursor ahead', aheadOf, 'FAILED_PRECONDITION NOT_FRESH_ENOUGH'],
  ['an empty entry id', (it) => ask(it, { $case: 'entryId', value: '' }), 'INVALID_ARGUMENT ENTRY_ID_MALFORMED'],
  ['an entry id that is none', (it) => ask(it, { $case: 'entryId', value: `${secretMark}'; DROP` }), 'INVALID_ARGUMENT ENTRY_ID_MALFORMED'],
  [
    'an entry id that nobody knows',
    (it) => ask(it, { $case: 'entryId', value: entryIdOf({ caller: 'x', requestId: 'y' }, Date.now()) }),
    'FAILED_PRECONDITION NOT_FRESH_ENOUGH',
  ],
  [
    'a negative max_staleness',
    (it) => it.sidecar.validate({ token: it.good, maxStaleness: { seconds: -1n } }),
    'INVALID_ARGUMENT DURATION_OUT_OF_RANGE',
  ],
  [
    'negative nanoseconds',
    (it) => it.sidecar.validate({ token: it.good, maxStaleness: { nanos: -1 } }),
    'INVALID_ARGUMENT DURATION_OUT_OF_RANGE',
  ],
  [
    'too many nanoseconds',
    (it) => it.sidecar.validate({ token: it.good, maxStaleness: { nanos: 1_000_000_000 } }),
    'INVALID_ARGUMENT DURATION_OUT_OF_RANGE',
  ],
  [
    'a duration longer than time',
    (it) => it.sidecar.validate({ token: it.good, maxStaleness: { seconds: 2n ** 62n } }),
    'INVALID_ARGUMENT DURATION_OUT_OF_RANGE',
  ],
  ['max_staleness of nothing', (it) => it.sidecar.validate({ token: it.good, maxStaleness: {} }), 'active'],
  [
    'a demand for an empty project',
    (it) => it.sidecar.validate({ token: it.good, demand: { scope: { $case: 'projectId', value: '' } } }),
    'INVALID_ARGUMENT DEMAND_EMPTY_SCOPE',
  ],
  [
    'a demand for no system',
    (it) => it.sidecar.validate({ token: it.good, demand: { scope: { $case: 'system', value: false } } }),
    'INVALID_ARGUMENT DEMAND_EMPTY_SCOPE',
  ],
  ['a demand for an empty issuer', (it) => it.sidecar.validate({ token: it.good, demand: { anyOfIssuers: [''] } }), 'WRONG_ISSUER'],
  ['a demand for an empty audience', (it) => it.sidecar.validate({ token: it.good, demand: { anyOfAudiences: [''] } }), 'WRONG_AUDIENCE'],
  ['a demand for an empty role', (it) => it.sidecar.validate({ token: it.good, demand: { anyOfRoles: [''] } }), 'MISSING_ROLE'],
  ['a demand for an empty scope', (it) => it.sidecar.validate({ token: it.good, demand: { allOfScopes: [''] } }), 'MISSING_SCOPE'],
  ['a demand that names nothing', (it) => it.sidecar.validate({ token: it.good, demand: {} }), 'active'],
  ['an unknown field', (it) => raw(it, 'Validate', Buffer.concat([token(it.good), field(200)])), 'INVALID_ARGUMENT UNKNOWN_FIELD'],
  ['a field of a later version', (it) => raw(it, 'Validate', Buffer.concat([token(it.good), field(10)])), 'INVALID_ARGUMENT UNKNOWN_FIELD'],
  ['an empty handle', (it) => raw(it, 'Validate', message(2, Buffer.alloc(0))), 'INVALID_ARGUMENT HANDLE_MALFORMED'],
  [
    'a handle that is no digest, where handles are off',
    (it) => raw(it, 'Validate', message(2, Buffer.from('h'))),
    'INVALID_ARGUMENT HANDLES_OFF',
  ],
  ['a handle where handles are off', (it) => raw(it, 'Validate', message(2, Buffer.from('ab'.repeat(32)))), 'INVALID_ARGUMENT HANDLES_OFF'],
  [
    'a revocation by handle where handles are off',
    (it) => it.sidecar.revoke({ target: { $case: 'handle', value: 'ab'.repeat(32) } }),
    'INVALID_ARGUMENT HANDLES_OFF',
  ],
  ['access without a path', (it) => accessing(it, { service: 'compute', method: 'GET' }), 'INVALID_ARGUMENT DEMAND_ACCESS_INCOMPLETE'],
  ['access without a method', (it) => accessing(it, { service: 'compute', path: '/' }), 'INVALID_ARGUMENT DEMAND_ACCESS_INCOMPLETE'],
  ['access without a service', (it) => accessing(it, { method: 'GET', path: '/' }), 'INVALID_ARGUMENT DEMAND_ACCESS_INCOMPLETE'],
  [
    'access to a path of 8,193 characters',
    (it) => accessing(it, { service: 'compute', method: 'GET', path: '/'.padEnd(8193, 'x') }),
    'INVALID_ARGUMENT DEMAND_ACCESS_TOO_LONG',
  ],
  ['access of nothing', (it) => accessing(it, {}), 'INVALID_ARGUMENT DEMAND_ACCESS_INCOMPLETE'],
  ['access for a token without rules', (it) => accessing(it, { service: 'compute', method: 'GET', path: '/' }), 'active'],
  [
    'regions of a catalog that is not wanted',
    (it) => it.sidecar.validate({ token: it.good, include: { catalogRegions: ['one'] } }),
    'INVALID_ARGUMENT CATALOG_NOT_WANTED',
  ],
  ['the catalog of a token that has none', (it) => it.sidecar.validate({ token: it.good, include: { catalog: true } }), 'active'],
  ['a service token of letters', (it) => it.sidecar.validate({ token: it.good, serviceToken: secretMark }), 'BAD_SERVICE_TOKEN'],
  [
    'a negative stale_if_unavailable',
    (it) => it.sidecar.validate({ token: it.good, staleIfUnavailable: { seconds: -1n } }),
    'INVALID_ARGUMENT DURATION_OUT_OF_RANGE',
  ],
  ['finding a token of nobody', (it) => raw(it, 'FindToken', message(1, Buffer.from('corp'))), 'INVALID_ARGUMENT USER_MISSING'],
  ['finding a token of no issuer', (it) => raw(it, 'FindToken', message(2, Buffer.from('u'))), 'INVALID_ARGUMENT ISSUER_MISSING'],
  ['an unknown field in FindToken', (it) => raw(it, 'FindToken', field(9)), 'INVALID_ARGUMENT UNKNOWN_FIELD'],
  ['telling the authority of a selector', (it) => forwarded(it, 2), 'INVALID_ARGUMENT FORWARD_WITH_SELECTOR'],
  ['a forward that does not exist', (it) => forwarded(it, 77), 'INVALID_ARGUMENT FORWARD_WITH_SELECTOR'],
  [
    'an unknown field in the demand',
    (it) => raw(it, 'Validate', Buffer.concat([token(it.good), message(3, field(88))])),
    'INVALID_ARGUMENT UNKNOWN_FIELD',
  ],
  [
    'an unknown field in a selector',
    (it) => raw(it, 'Refresh', message(1, Buffer.concat([message(6, Buffer.from('u')), field(99)]))),
    'INVALID_ARGUMENT UNKNOWN_FIELD',
  ],
  ['an unknown field in GetStatus', (it) => raw(it, 'GetStatus', field(1)), 'INVALID_ARGUMENT UNKNOWN_FIELD'],
  ['a token as a number', (it) => raw(it, 'Validate', Buffer.from([0x08, 1])), 'INVALID_ARGUMENT UNKNOWN_FIELD'],
  ['bytes that are no message', (it) => raw(it, 'Validate', Buffer.from('ffffffff', 'hex')), 'INVALID_ARGUMENT MESSAGE_MALFORMED'],
  ['a message cut short', (it) => raw(it, 'Validate', token(it.good).subarray(0, 40)), 'INVALID_ARGUMENT MESSAGE_MALFORMED'],
  ['a length beyond everything', (it) => raw(it, 'Validate', Buffer.from('0affffffff0f41', 'hex')), 'INVALID_ARGUMENT MESSAGE_MALFORMED'],
  ['a Revoke that is no message', (it) => raw(it, 'Revoke', Buffer.from('0aff', 'hex')), 'INVALID_ARGUMENT MESSAGE_MALFORMED'],
  ['no bytes at all', (it) => raw(it, 'Validate', Buffer.alloc(0)), 'INVALID_ARGUMENT TOKEN_MISSING'],
  ['a token that is no UTF-8', (it) => raw(it, 'Validate', message(1, Buffer.from([0xff, 0xfe, 0x41]))), 'MALFORMED'],
  [
    'a token with a latin1 no-break space',
    (it) => raw(it, 'Validate', message(1, Buffer.from(`${secretMark}\u00a0`, 'latin1'))),
    'MALFORMED',
  ],
  ['a request above request_size', (it) => raw(it, 'Validate', Buffer.alloc(1024 ** 2 + 1)), 'RESOURCE_EXHAUSTED'],
  ['a method that there is not', (it) => raw(it, 'Forget', Buffer.alloc(0)), 'UNIMPLEMENTED'],
  ['a service that there is not', (it) => raw(it, '/sidegate.v9.TokenService/Validate', Buffer.alloc(0)), 'UNIMPLEMENTED'],
  ['a Revoke of nothing', (it) => it.sidecar.revoke({}), 'INVALID_ARGUMENT TARGET_MISSING'],
  ['a Revoke of an empty token', (it) => revoke(it, ''), 'INVALID_ARGUMENT TOKEN_MISSING'],
  ['a Revoke of what is no token', (it) => revoke(it, `${secretMark} is none`), 'OK'],
  ['a Revoke of a token that is wrongly signed', async (it) => revoke(it, await it.other.sign(claims())), 'OK'],
  ['a Revoke of a token that is too long', (it) => revoke(it, secretMark.padEnd(70_000, 'x')), 'OK'],
  [
    'a Revoke further than it can go',
    (it) => it.sidecar.revoke({ target: { $case: 'selector', value: { issuer: 'corp', userId: 'u' } }, waitFor: Reach.FLEET }),
    'FAILED_PRECONDITION NO_FLEET',
  ],
  [
    'a Revoke to an unknown reach',
    (it) => it.sidecar.revoke({ target: { $case: 'token', value: it.good }, waitFor: 77 as Reach }),
    'INVALID_ARGUMENT REACH_UNKNOWN',
  ],
  [
    'a Revoke of one token with a cut-off',
    (it) => it.sidecar.revoke({ target: { $case: 'token', value: it.good }, issuedBefore: new Date() }),
    'INVALID_ARGUMENT ISSUED_BEFORE_WITH_ONE_TOKEN',
  ],
  [
    'a cut-off in the future',
    (it) =>
      it.sidecar.revoke({
        target: { $case: 'selector', value: { issuer: 'corp', userId: 'u' } },
        issuedBefore: new Date(Date.now() + 60_000),
      }),
    'INVALID_ARGUMENT ISSUED_BEFORE_IN_FUTURE',
  ],
  [
    'a cut-off before 1970',
    (it) => it.sidecar.revoke({ target: { $case: 'selector', value: { issuer: 'corp', userId: 'u' } }, issuedBefore: new Date(-1000) }),
    'INVALID_ARGUMENT TIME_OUT_OF_RANGE',
  ],
  [
    'a request id at its limit',
    (it) => it.sidecar.refresh({ selector: { issuer: 'corp', userId: 'u' }, requestId: 'r'.repeat(1024) }),
    'OK',
  ],
  [
    'a request id that is too long',
    (it) => it.sidecar.refresh({ selector: { issuer: 'corp', userId: 'u' }, requestId: 'r'.repeat(1025) }),
    'INVALID_ARGUMENT TEXT_TOO_LONG',
  ],
  [
    'a reason that is too long',
    (it) => it.sidecar.refresh({ selector: { issuer: 'corp', userId: 'u' }, reason: 'r'.repeat(1025) }),
    'INVALID_ARGUMENT TEXT_TOO_LONG',
  ],
  [
    'a reason that is a token, from nobody',
    (it) => it.sidecar.refresh({ selector: { issuer: 'corp', userId: 'u' }, reason: it.good }, { over: 'tcp' }),
    'UNAUTHENTICATED CALLER_UNKNOWN',
  ],
  ['a bearer token that is none', (it) => withBearer(it, `${secretMark}-nobody`), 'UNAUTHENTICATED CALLER_TOKEN_INACTIVE'],
  ['a bearer token without the role', (it) => withBearer(it, it.opaque), 'PERMISSION_DENIED CALLER_NOT_ALLOWED'],
  [
    'a bearer token that is wrongly signed',
    async (it) => withBearer(it, await it.other.sign(claims())),
    'UNAUTHENTICATED CALLER_TOKEN_INACTIVE',
  ],
];

type Fresh = NonNullable<Parameters<TestSidecar['validate']>[0]['atLeastAsFresh']>;
const ask = (it: World, atLeastAsFresh: Fresh): Promise<Outcome<unknown>> => it.sidecar.validate({ token: it.good, atLeastAsFresh });
const token = (text: string): Buffer => Buffer.concat([Buffer.from([0x0a, ...varint(text.length)]), Buffer.from(text)]);
const revoke = (it: World, value: string): Promise<Outcome<unknown>> => it.sidecar.revoke({ target: { $case: 'token', value } });
const accessing = (it: World, access: object): Promise<Outcome<unknown>> => it.sidecar.validate({ token: it.good, demand: { access } });
const forwarded = (it: World, forward: number): Promise<Outcome<unknown>> =>
  it.sidecar.revoke({ target: { $case: 'selector', value: { issuer: 'corp', userId: 'u' } }, forward: forward as Forward });
const withBearer = (it: World, bearer: string): Promise<Outcome<unknown>> => {
  it.secrets.add(bearer);
  const options: CallOptions = { over: 'tcp', bearer };
  return it.sidecar.refresh({ selector: { issuer: 'corp', userId: 'u' } }, options);
};

async function aheadOf(it: World): Promise<Outcome<unknown>> {
  const { response } = await it.sidecar.validate({ token: it.good });
  const { journal = '', revision = 0n } = response?.asOf ?? {};
  return ask(it, { $case: 'cursor', value: { journal, revision: revision + 1000n } });
}

/** Bytes to a method; an answer of Validate is read, so that it can be judged. */
async function raw(it: World, method: string, bytes: Buffer): Promise<Outcome<unknown>> {
  const outcome = await it.sidecar.call(method, bytes);
  if (method !== 'Validate' || outcome.status !== 'OK') return outcome;
  const { ValidateResponse } = await import('../../src/gen/sidegate/v1/token_service.ts');
  return { ...outcome, response: ValidateResponse.decode(outcome.response ?? Buffer.alloc(0)) };
}

async function stillWorks(): Promise<void> {
  expect(shown(await world.sidecar.validate({ token: world.good }))).toBe('active');
}

/** Bytes that are no gRPC at all, to the TCP listener; resolves when it has answered or closed. */
function rawBytes(bytes: Buffer): Promise<void> {
  const [host = '', port = ''] = (world.sidecar.tcp ?? '').split(':');
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: Number(port) }, () => socket.end(bytes));
    socket.on('data', () => undefined);
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    socket.setTimeout(2000, () => socket.destroy());
  });
}

describe('bad input', () => {
  it('there are at least 60 kinds of it', () => {
    expect(tokens.length + selectors.length + requests.length).toBeGreaterThanOrEqual(60);
    const names = [...tokens, ...selectors, ...requests].map(([name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(tokens)('a token that is %s', async (_name, make, expected) => {
    const text = await make(world);
    if (text.length > 20) world.secrets.add(text.trim());

    expect(shown(await world.sidecar.validate({ token: text }))).toBe(expected);
    await stillWorks();
  });

  it.each(selectors)('a selector: %s', async (_name, selector, expected) => {
    expect(shown(await world.sidecar.refresh(selector === undefined ? {} : { selector }))).toBe(expected);
    const nothing = selector === undefined ? {} : { target: { $case: 'selector' as const, value: selector } };
    const revoked = shown(await world.sidecar.revoke({ ...nothing, issuedBefore: new Date(1000) }));
    expect(revoked).toBe(selector === undefined ? 'INVALID_ARGUMENT TARGET_MISSING' : expected);
    await stillWorks();
  });

  it.each(requests)('%s', async (_name, send, expected) => {
    expect(shown(await send(world))).toBe(expected);
    await stillWorks();
  });

  it('an unknown field is named', async () => {
    const outcome = await raw(world, 'Validate', Buffer.concat([token(world.good), message(3, field(88))]));

    expect(outcome.message).toBe('unknown field 88 in "demand"');
  });

  it.each([
    ['HTTP/1.1', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['nothing of HTTP', '\u0000\u0001\u0002 nothing'],
    ['half a preface', 'PRI * HTTP/2.0\r\n'],
    ['a preface and rubbish', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish that is no frame at all'],
  ])('a connection that speaks %s', async (_name, text) => {
    await rawBytes(Buffer.from(text, 'latin1'));

    await stillWorks();
  });

  it('a signature of the wrong kind of key, of the right length', async () => {
    const input = `${part(header)}.${part(claims())}`;
    const bad = `${input}.${Buffer.alloc(64, 1).toString('base64url')}`;
    const longer = `${input}.${sign('sha256', Buffer.from(input), await privateKeyOf(world.other)).toString('base64url')}`;

    expect(shown(await world.sidecar.validate({ token: bad }))).toBe('BAD_SIGNATURE');
    expect(shown(await world.sidecar.validate({ token: longer }))).toBe('BAD_SIGNATURE');
  });

  it('after all that no output holds any token or key: responses, errors, lines, audit lines, metrics', async () => {
    await world.sidecar.revoke({ target: { $case: 'token', value: world.opaque }, reason: 'lost' });
    const everything = await world.sidecar.everything();
    const signatures = [...world.secrets].flatMap((secret) => secret.split('.').slice(2)).filter((one) => one.length > 20);
    const found = [...world.secrets, ...signatures].filter((secret) => secret.length > 0 && everything.includes(secret));

    expect(world.secrets.size).toBeGreaterThan(50);
    expect(found.map((secret) => secret.slice(0, 40))).toEqual([]);
    // The one part of a token that answers tell is its id, to who holds the token.
    expect(everything.replaceAll(`${secretMark}-jti`, '')).not.toContain(secretMark);
    // A fence that has seen nothing holds nothing.
    expect(everything).toContain('"audit":true');
    expect(everything).toContain('sidegate_validate_total');
    expect(everything.length).toBeGreaterThan(20_000);
  });
});

async function privateKeyOf({ privateJwk }: Signer) {
  const { createPrivateKey } = await import('node:crypto');
  return createPrivateKey({ key: privateJwk as Record<string, string>, format: 'jwk' });
}
