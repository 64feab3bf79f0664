// An ECDSA signature has a second spelling that verifies too: whoever revokes one kills both, also while nobody can verify either.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { InactiveReason, RevokeRequest, TokenServiceClient, type ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { createSidecar } from '../../src/sidecar.ts';
import { validateRequestOf } from '../fakes/requests.ts';
import { createSigner } from '../fakes/signer.ts';
import { answered, stageConfig } from './watch-stage.ts';

/** The order of P-256. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** (r, s) as (r, n − s). */
function twinOf(token: string): string {
  const [header, payload, signature] = token.split('.');
  const bytes = Buffer.from(signature ?? '', 'base64url');
  const other = (order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0');
  return `${header}.${payload}.${Buffer.concat([bytes.subarray(0, 32), Buffer.from(other, 'hex')]).toString('base64url')}`;
}

it.each([
  ['at once, its keys at hand', true, {}],
  ['before its keys can be had', false, {}],
  ['before its keys can be had, with an id of its own', false, { jti: 'one' }],
])('S4 a token that is revoked %s has no twin that lives', async (_when, keysFirst, more) => {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-twin-'));
  const keys = join(dir, 'keys.json');
  const signer = await createSigner('ES256', 'k1');
  const bystander = await createSigner('ES256', 'k1');
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: 'https://issuer.test', sub: 'u', iat: now - 60, exp: now + 1800, ...more };
  const token = await signer.sign(claims);
  const show = (): void => writeFileSync(keys, JSON.stringify({ keys: [signer.jwk] }));
  if (keysFirst) show();
  const usual = stageConfig(dir);
  const config = {
    ...usual,
    caching: { ...usual.caching, keys: { ...usual.caching.keys, cooldownMs: 50 } },
    issuers: [
      {
        kind: 'jwt' as const,
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'main',
        issuer: 'https://issuer.test',
        keys: { kind: 'file' as const, file: { path: keys, read: async () => readFileSync(keys, 'utf8') } },
        algorithms: ['ES256' as const],
        types: ['at+jwt'],
        audiences: [],
        tls: { caFile: undefined, serverName: undefined },
        skewMs: 0,
        maxTokenLifeMs: 3_600_000,
        calls: { deadlineMs: 1000 },
        expiredWithinMs: 0,
      },
    ],
  };
  const end = new AbortController();
  const running = await createSidecar({ config, destination: { write: () => undefined } }).start(end.signal);
  const client = new TokenServiceClient(running.socket ?? '', credentials.createInsecure());
  const ask = (raw: string): Promise<ValidateResponse> => answered((done) => client.validate(validateRequestOf({ token: raw }), done));
  try {
    await answered((done) => client.revoke(RevokeRequest.fromPartial({ target: { $case: 'token', value: token } }), done));
    show();
    // Until the keys are read: another token of theirs is then good.
    const other = await signer.sign({ ...claims, sub: 'other', jti: 'other' });
    await expect
      .poll(
        () =>
          ask(other).then(
            (answer) => answer.active,
            () => false,
          ),
        { timeout: 15_000 },
      )
      .toBe(true);

    expect((await ask(twinOf(token))).reason).toBe(InactiveReason.REVOKED);
    expect((await ask(token)).reason).toBe(InactiveReason.REVOKED);
    // And the twin is one: it verifies, where a stranger's signature does not.
    expect((await ask(await bystander.sign(claims))).reason).toBe(InactiveReason.BAD_SIGNATURE);
    expect((await ask(twinOf(other))).active).toBe(true);
  } finally {
    client.close();
    end.abort();
    await running.stopped;
    rmSync(dir, { recursive: true, force: true });
  }
});
