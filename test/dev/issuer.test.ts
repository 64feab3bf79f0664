// The embedded issuer over real HTTP: its tokens verify with jose, introspection follows RFC 7662, keys rotate.

import { createRemoteJWKSet, decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { type DevIssuer, devAudience, devLimits, devPrefix, startIssuer } from '../../src/dev/issuer.ts';
import { devClient, maxBodyBytes } from '../../src/dev/issuer-endpoints.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface Rig {
  readonly issuer: DevIssuer;
  readonly clock: FakeClock;
  readonly stop: () => Promise<void>;
}

async function start(): Promise<Rig> {
  const clock = createFakeClock(Date.UTC(2030, 0, 1, 0, 0, 0, 250));
  const controller = new AbortController();
  const issuer = await startIssuer({ clock }, controller.signal);
  const stop = async (): Promise<void> => {
    controller.abort();
    await issuer.closed;
  };
  stops.push(stop);
  return { issuer, clock, stop };
}

function tokenOf({ issuer }: Rig, name: string): string {
  const found = issuer.tokens.find((token) => token.name === name);
  if (found === undefined) throw new Error(`no token of ${name}`);
  return found.token;
}

async function verify({ issuer, clock }: Rig, token: string): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(issuer.jwksUrl));
  const { payload } = await jwtVerify(token, keys, {
    issuer: issuer.url,
    audience: devAudience,
    typ: 'at+jwt',
    algorithms: ['ES256'],
    currentDate: new Date(clock.nowMs()),
  });
  return payload;
}

const basic = (id: string, secret: string): string => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;

function ask({ issuer }: Rig, body: string | URLSearchParams, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(issuer.introspectionUrl, {
    method: 'POST',
    body,
    headers: { authorization: basic(devClient.id, devClient.secret), ...headers },
  });
}

async function introspect(rig: Rig, token: string): Promise<unknown> {
  return (await ask(rig, new URLSearchParams({ token }))).json();
}

describe('the embedded issuer', () => {
  it('has three tokens to play with: alice and bob are signed, robot is opaque', async () => {
    const { issuer } = await start();

    expect(issuer.tokens.map(({ name, kind }) => [name, kind])).toEqual([
      ['alice', 'jwt'],
      ['bob', 'jwt'],
      ['robot', 'opaque'],
    ]);
    expect(issuer.tokens.at(2)?.token).toMatch(new RegExp(`^${devPrefix}[A-Za-z0-9_-]{32}$`));
    expect(issuer.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });

  it('discovery names this issuer, its key set and its introspection', async () => {
    const { issuer, clock } = await start();

    for (const path of ['openid-configuration', 'oauth-authorization-server']) {
      const response = await fetch(`${issuer.url}/.well-known/${path}`);
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(response.headers.get('date')).toBe(new Date(clock.nowMs()).toUTCString());
      expect(await response.json()).toMatchObject({
        issuer: issuer.url,
        jwks_uri: issuer.jwksUrl,
        introspection_endpoint: issuer.introspectionUrl,
      });
    }
  });

  it('the key set holds public ES256 keys only', async () => {
    const { issuer } = await start();

    const { keys } = (await (await fetch(issuer.jwksUrl)).json()) as { keys: Record<string, unknown>[] };

    expect(keys).toHaveLength(1);
    expect(Object.keys(keys[0] ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
    expect(keys[0]).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' });
  });

  it("alice's token verifies and says who she is, for an hour from whole seconds", async () => {
    const rig = await start();

    const payload = await verify(rig, tokenOf(rig, 'alice'));

    const issuedAt = Date.UTC(2030, 0, 1) / 1_000;
    expect(payload).toEqual({
      iss: rig.issuer.url,
      sub: 'alice',
      preferred_username: 'alice',
      aud: devAudience,
      iat: issuedAt,
      exp: issuedAt + 3_600,
      jti: rig.issuer.tokens[0]?.tokenId,
      sid: rig.issuer.tokens[0]?.sessionId,
      client_id: 'dev-console',
      scope: 'read',
      roles: ['member'],
    });
    expect((await verify(rig, tokenOf(rig, 'bob')))['roles']).toEqual(['admin']);
  });

  it('a token ends at its hour', async () => {
    const rig = await start();
    const token = tokenOf(rig, 'alice');
    const robot = tokenOf(rig, 'robot');
    // It began at a quarter of a second.
    rig.clock.stepWall(3_600_000 - 250 - 1);
    await verify(rig, token);
    expect(await introspect(rig, robot)).toMatchObject({ active: true });

    rig.clock.stepWall(1);

    await expect(verify(rig, token)).rejects.toMatchObject({ code: 'ERR_JWT_EXPIRED' });
    expect(await introspect(rig, robot)).toEqual({ active: false });
  });

  it('mints what it is asked for, each token with an id of its own', async () => {
    const rig = await start();
    const options = {
      name: 'carol',
      kind: 'jwt',
      roles: ['a', 'b'],
      scopes: ['x', 'y'],
      audience: devAudience,
      clientId: 'c',
      sessionId: 's',
      livesMs: 60_000,
    } as const;

    const [one, two] = [await rig.issuer.mint(options), await rig.issuer.mint(options)];

    const payload = await verify(rig, one.token);
    expect(payload).toMatchObject({ sub: 'carol', roles: ['a', 'b'], scope: 'x y', client_id: 'c', sid: 's' });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(60);
    expect(one.expiresAtMs).toBe((payload.exp ?? 0) * 1_000);
    expect(one.tokenId).not.toBe(two.tokenId);
  });

  it('introspection tells what robot is, and knows signed tokens too', async () => {
    const rig = await start();

    expect(await introspect(rig, tokenOf(rig, 'robot'))).toMatchObject({
      active: true,
      token_type: 'Bearer',
      sub: 'robot',
      username: 'robot',
      client_id: 'robot',
      iss: rig.issuer.url,
      aud: devAudience,
      roles: ['member'],
    });
    expect(await introspect(rig, tokenOf(rig, 'bob'))).toMatchObject({ active: true, sub: 'bob' });
  });

  it('a revoked token and a strange one are inactive, and nothing more is said', async () => {
    const rig = await start();
    const robot = tokenOf(rig, 'robot');

    expect(rig.issuer.revokeUpstream(robot)).toBe(true);
    expect(rig.issuer.revokeUpstream('dev_strange')).toBe(false);

    expect(await introspect(rig, robot)).toEqual({ active: false });
    expect(await introspect(rig, 'dev_strange')).toEqual({ active: false });
    expect(await introspect(rig, tokenOf(rig, 'alice'))).toMatchObject({ active: true });
  });

  it.each([
    ['no credentials', ''],
    ['a wrong secret', basic('dev', 'dev-secreT')],
    ['a wrong client', basic('de', 'dev-secret')],
    ['a secret that only begins well', basic('dev', 'dev-secret:x')],
    ['no secret', basic('dev', '')],
    ['another scheme', 'Bearer dev-secret'],
    ['no base64', 'Basic ???'],
  ])('introspection with %s is 401 and asks for Basic', async (_case, authorization) => {
    const rig = await start();

    const response = await ask(rig, new URLSearchParams({ token: tokenOf(rig, 'robot') }), { authorization });

    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toMatch(/^Basic /);
    expect(await response.json()).toEqual({ error: 'invalid_client' });
  });

  it('credentials may be form-encoded, as RFC 6749 has it', async () => {
    const rig = await start();

    const response = await ask(rig, new URLSearchParams({ token: 'x' }), { authorization: basic('d%65v', 'dev%2Dsecret') });

    expect(response.status).toBe(200);
  });

  it.each([
    ['no token', '', 'application/x-www-form-urlencoded'],
    ['an empty token', 'token=', 'application/x-www-form-urlencoded'],
    ['JSON', '{"token":"x"}', 'application/json'],
    ['no form', 'token=x', 'text/plain'],
  ])('introspection of %s is 400', async (_case, body, type) => {
    const response = await ask(await start(), body, { 'content-type': type });

    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: 'invalid_request' });
  });

  it.each([
    [maxBodyBytes - 1, 200],
    [maxBodyBytes, 200],
    [maxBodyBytes + 1, 413],
  ])('a body of %i bytes is answered %i', async (bytes, status) => {
    const body = `token=${'x'.repeat(bytes - 'token='.length)}`;

    expect((await ask(await start(), body, { 'content-type': 'application/x-www-form-urlencoded' })).status).toBe(status);
  });

  it.each([
    ['GET', '/introspect', 405],
    ['POST', '/jwks', 405],
    ['GET', '/', 404],
    ['GET', '/toString', 404],
    ['POST', '/token', 404],
  ])('%s %s is %i', async (method, path, status) => {
    const { issuer } = await start();

    expect((await fetch(issuer.url + path, { method })).status).toBe(status);
  });

  it('a rotated key leaves the set at once: its tokens no longer verify, new ones do', async () => {
    const rig = await start();
    const keyId = await rig.issuer.rotate();
    const { token } = await rig.issuer.mint({ name: 'alice', kind: 'jwt' });

    expect(decodeProtectedHeader(token)).toEqual({ alg: 'ES256', typ: 'at+jwt', kid: keyId });
    expect(await verify(rig, token)).toMatchObject({ sub: 'alice' });
    await expect(verify(rig, tokenOf(rig, 'alice'))).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
  });

  it('a key that is kept still verifies, until four newer ones are there', async () => {
    const rig = await start();
    for (let at = 1; at < devLimits.keys; at++) await rig.issuer.rotate({ keepOld: true });
    expect(await verify(rig, tokenOf(rig, 'alice'))).toMatchObject({ sub: 'alice' });

    await rig.issuer.rotate({ keepOld: true });

    await expect(verify(rig, tokenOf(rig, 'alice'))).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
  });

  it('beyond its limit it forgets the oldest token', async () => {
    const rig = await start();
    const [first] = rig.issuer.tokens;
    const opaque = { name: 'robot', kind: 'opaque' } as const;
    for (let at = rig.issuer.tokens.length; at < devLimits.tokens; at++) await rig.issuer.mint(opaque);
    expect(await introspect(rig, first?.token ?? '')).toMatchObject({ active: true });

    await rig.issuer.mint(opaque);

    expect(await introspect(rig, first?.token ?? '')).toEqual({ active: false });
    expect(await introspect(rig, tokenOf(rig, 'bob'))).toMatchObject({ active: true });
  });

  it('its signal ends it, keep-alive connections too', async () => {
    const { issuer, stop } = await start();
    await (await fetch(issuer.jwksUrl)).json();

    await stop();

    await expect(fetch(issuer.jwksUrl)).rejects.toThrow();
  });

  it('a taken port is said, and an aborted signal starts nothing', async () => {
    const { issuer, clock } = await start();
    const port = Number(new URL(issuer.url).port);

    await expect(startIssuer({ clock, port }, new AbortController().signal)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await expect(startIssuer({ clock }, AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
  });
});
