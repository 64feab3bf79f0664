// A JWT issuer as it is configured, through a sidecar: what the format and `decide` share between them.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secretFile } from '../../src/config/secrets.ts';
import type { IssuerConfig } from '../../src/config/types.ts';
import { InactiveReason } from '../../src/gen/sidegate/v1/token_service.ts';
import { type JwksServer, startJwksServer } from '../fakes/jwks-server.ts';
import type { Question } from '../fakes/requests.ts';
import { startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import { createSigner, type Signer } from '../fakes/signer.ts';
import tls from '../vectors/upstream-tls.json' with { type: 'json' };

const nowSecond = Math.floor(Date.now() / 1000);
const folder = mkdtempSync(join(tmpdir(), 'sidegate-served-'));
const caFile = join(folder, 'ca.pem');

let signer: Signer;
let keys: JwksServer;
let sidecar: TestSidecar;

beforeAll(async () => {
  signer = await createSigner('ES256', 'k1');
  // Its certificate is for another name: only `tls.server_name` makes it one that may be believed.
  keys = await startJwksServer([signer.jwk], { tls });
  writeFileSync(caFile, tls.cert);
  const open: IssuerConfig = {
    kind: 'jwt',
    revocation: undefined,
    serviceRoles: [],
    revokeUpstream: false,
    name: 'open',
    issuer: 'https://open.example',
    tls: { caFile: secretFile(caFile), serverName: 'keystone.example' },
    skewMs: 1000,
    maxTokenLifeMs: 3_600_000,
    keys: { kind: 'url', url: keys.jwksUrl },
    algorithms: ['ES256'],
    types: ['at+jwt', 'JWT'],
    audiences: [],
    calls: { deadlineMs: 5000 },
    expiredWithinMs: 0,
  };
  const choosy: IssuerConfig = { ...open, name: 'choosy', issuer: 'https://choosy.example', audiences: ['api', 'api-old'] };
  sidecar = await startSidecar({ issuers: [open, choosy] });
});
afterAll(async () => {
  await sidecar.stop();
  await keys.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Of the issuer `choosy`, where `claims` say nothing else. */
const tokenOf = (claims: object, header: object = {}): Promise<string> =>
  signer.sign({ iss: 'https://choosy.example', iat: nowSecond - 5, exp: nowSecond + 600, ...claims }, header);

const nameOf = new Map<number, string>(Object.entries(InactiveReason).map(([name, value]) => [value, name]));

/** `active`, or why not. */
async function verdict(token: string, demand?: Question['demand']): Promise<string> {
  const { response, status, message } = await sidecar.validate({ token, ...(demand === undefined ? {} : { demand }) });
  expect({ status, message }).toEqual({ status: 'OK', message: '' });
  return response?.active === true ? 'active' : String(nameOf.get(response?.reason ?? -1));
}

describe('the audiences of a JWT issuer', () => {
  it.each<[string, object, Question['demand'], string]>([
    ['one of them, nothing demanded', { aud: ['x', 'api-old'] }, undefined, 'active'],
    ['none of them, nothing demanded', { aud: 'billing' }, undefined, 'WRONG_AUDIENCE'],
    ['nobody, nothing demanded', {}, undefined, 'WRONG_AUDIENCE'],
    ['none of them, but for what is demanded', { aud: 'billing' }, { anyOfAudiences: ['billing'] }, 'active'],
    ['one of them, but not for what is demanded', { aud: 'api' }, { anyOfAudiences: ['billing'] }, 'WRONG_AUDIENCE'],
    ['anybody, where none is configured', { iss: 'https://open.example', aud: 'billing' }, undefined, 'active'],
  ])('judge a token for %s', async (_what, claims, demand, wanted) => {
    expect(await verdict(await tokenOf(claims), demand)).toBe(wanted);
  });

  it('are judged at every call: the same token, demanded of otherwise, is answered otherwise from memory', async () => {
    const token = await tokenOf({ aud: 'billing' });

    expect(await verdict(token, { anyOfAudiences: ['billing'] })).toBe('active');
    expect(await verdict(token)).toBe('WRONG_AUDIENCE');
    expect(await verdict(token, { anyOfAudiences: ['billing'] })).toBe('active');
  });
});

describe('a JWT that does not tell its issue', () => {
  it.each([
    ['at+jwt', 'MALFORMED'],
    ['JWT', 'LIFETIME_TOO_LONG'],
  ])('of typ %s is %s', async (typ, wanted) => {
    expect(await verdict(await tokenOf({ aud: 'api', iat: undefined }, { typ }))).toBe(wanted);
    expect(await verdict(await tokenOf({ aud: 'api' }, { typ }))).toBe('active');
  });
});

describe('while the key server hangs', () => {
  it('a token whose key is at hand is answered, however many wait for keys that nobody has', async () => {
    await verdict(await tokenOf({ aud: 'api' }));
    const stranger = await createSigner('ES256', 'nobody-has-it');
    const claims = { iss: 'https://choosy.example', iat: nowSecond - 5, exp: nowSecond + 600, aud: 'api' };
    const unknown = await Promise.all(Array.from({ length: 200 }, (_, n) => stranger.sign({ ...claims, jti: `j${n}` })));
    keys.behave({ kind: 'hang' });
    const waiting = unknown.map((token) => sidecar.validate({ token }, { deadlineMs: 3000 }));
    await keys.reached(keys.count() + 1).catch(() => undefined);

    expect(await verdict(await tokenOf({ aud: 'api', jti: 'good' }))).toBe('active');
    keys.behave({ kind: 'good' });
    for (const outcome of await Promise.all(waiting)) expect(outcome.response?.active ?? false).toBe(false);
  });
});
