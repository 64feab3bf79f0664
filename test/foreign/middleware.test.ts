// Debian's unmodified auth_token, side by side: asking a scripted Keystone itself, and asking the face of a sidecar that asks that Keystone.

import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/types.ts';
import { type Clock, systemClock } from '../../src/sidecar.ts';
import { createHttpAuthority } from '../fakes/http-authority.ts';
import { keystoneIssuer } from '../fakes/keystone-issuer.ts';
import { startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import captured from '../vectors/middleware-headers.json' with { type: 'json' };
import {
  type Kind,
  kinds,
  type MiddlewareKeystone,
  serviceToken,
  special,
  startMiddlewareKeystone,
  tokenOf,
} from './middleware-keystone.ts';
import { type Middleware, type MiddlewareReply, type RequestLine, startMiddleware } from './middleware-process.ts';

const run = promisify(execFile);
const python = '/usr/bin/python3';
const skipped = process.env['SIDEGATE_SKIP_FOREIGN'];
const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' };

type Headers = Readonly<Record<string, string>>;

interface Service {
  call(headers: Headers, how?: RequestLine): Promise<MiddlewareReply>;
}

let middleware: Middleware | undefined;
let secrets = '';
const ends: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

let services = 0;

/** A service whose auth_token asks at `endpoint`. */
async function service(endpoint: string, token: string, options: Headers): Promise<Service> {
  services += 1;
  const name = `service-${services}`;
  const conf = {
    auth_type: 'admin_token',
    endpoint,
    token,
    token_cache_time: '-1',
    www_authenticate_uri: 'http://keystone.example/v3',
    service_token_roles_required: 'true',
    http_request_max_retries: '0',
    ...options,
  };
  const program = middleware;
  if (!program) throw new Error('the middleware has not been started');
  await program.make(name, conf);
  return { call: (headers, how) => program.call(name, headers, how) };
}

interface Rig {
  readonly keystone: MiddlewareKeystone;
  readonly sidecar: TestSidecar;
  /** Where the face listens. */
  readonly endpoint: string;
  /** Two services with these options of auth_token. */
  services(options?: Headers): Promise<{ readonly direct: Service; readonly faced: Service }>;
}

interface RigOptions {
  readonly clock?: Clock;
  readonly allowExpired?: boolean;
  readonly config?: (config: Config) => Config;
}

/** A Keystone, and a sidecar before it. */
async function createRig({ clock, allowExpired = true, config = (same) => same }: RigOptions = {}): Promise<Rig> {
  const keystone = await startMiddlewareKeystone();
  ends.push(() => keystone.close());
  const sidecar = await startSidecar({
    issuers: [keystoneIssuer(keystone.url, join(secrets, 'password'), { expiredWithinMs: 172_800_000 })],
    ...(clock && { clock }),
    config: (base) =>
      config({
        ...base,
        listen: { ...base.listen, keystone: { address: { host: '127.0.0.1', port: 0 }, allowExpired }, introspection: undefined },
      }),
  });
  ends.push(() => sidecar.stop());
  const endpoint = `http://${sidecar.keystone}/v3`;
  return {
    keystone,
    sidecar,
    endpoint,
    services: async (options = {}) => ({
      direct: await service(`${keystone.url}/v3`, serviceToken, options),
      faced: await service(endpoint, 'unused', options),
    }),
  };
}

/** What both services answer to the same request. */
async function both({ direct, faced }: { readonly direct: Service; readonly faced: Service }, ...request: Parameters<Service['call']>) {
  return { direct: await direct.call(...request), faced: await faced.call(...request) };
}

const unauthorized = { status: 401, www_authenticate: 'Keystone uri="http://keystone.example/v3"', reached: null };

describe.skipIf(skipped)(`auth_token through the Keystone face${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  beforeAll(async () => {
    await run(python, ['-c', 'import keystonemiddleware.auth_token'], { env }).catch((cause: unknown) => {
      throw new Error('needs python3-keystonemiddleware of Debian; install it, or say why not in SIDEGATE_SKIP_FOREIGN', { cause });
    });
    secrets = mkdtempSync(join(tmpdir(), 'sidegate-secrets-'));
    writeFileSync(join(secrets, 'password'), 'correct-horse', { mode: 0o600 });
    middleware = startMiddleware();
  });

  afterAll(async () => {
    await middleware?.close();
    rmSync(secrets, { recursive: true, force: true });
  });

  describe('what the application sees is the same as with Keystone itself', () => {
    it.each(kinds)('of a token of the kind %s', async (kind) => {
      const { services } = await createRig();

      const { direct, faced } = await both(await services(), { 'X-Auth-Token': tokenOf(kind) });

      expect(direct.status).toBe(200);
      expect(direct.reached?.headers['X_IDENTITY_STATUS']).toBe('Confirmed');
      expect(faced).toEqual(direct);
    });

    it.each(Object.entries(captured.headers))('and as captured with a real one, of the kind %s', async (kind, expected) => {
      const { services } = await createRig();
      const { faced } = await services({ service_type: 'compute' });

      const { reached } = await faced.call({ 'X-Auth-Token': vectors.tokens[kind as keyof typeof vectors.tokens].token });

      const { X_AUTH_TOKEN: _token, X_SERVICE_CATALOG: catalog = null, ...headers } = reached?.headers ?? {};
      const sha256 = catalog === null ? null : hash('sha256', catalog);
      expect({ ...headers, 'sha256 of X_SERVICE_CATALOG': sha256 }).toEqual(expected);
    });

    it.each(kinds)('and the body is the same to the byte, of the kind %s', async (kind) => {
      const { keystone, endpoint } = await createRig();
      const bytesAt = async (url: string, token: string): Promise<string> => {
        const headers = { 'x-auth-token': token, 'x-subject-token': tokenOf(kind) };
        return (await fetch(url, { headers })).text();
      };

      for (const query of ['', '?nocatalog']) {
        const path = `/auth/tokens${query}`;
        expect(await bytesAt(`${endpoint}${path}`, 'unused')).toBe(await bytesAt(`${keystone.url}/v3${path}`, serviceToken));
      }
    });

    it.each([
      ['an expired token', special.expired],
      ['a revoked token', special.revoked],
      ['garbage', special.garbage],
      ['garbage that looks like Fernet', special.garbageLikeFernet],
      ['one character changed', special.oneCharacterChanged],
      ['access rules where no service type is configured', special.accessRules],
      ['a blank token', ''],
      ['a token of spaces', '  '],
      ['a token with a space in its middle', 'a b'],
    ])('for %s: 401', async (_, token) => {
      const { services } = await createRig();

      const { direct, faced } = await both(await services(), { 'X-Auth-Token': token });

      expect(direct).toMatchObject(unauthorized);
      expect(faced).toEqual(direct);
    });

    it.each(['GET', 'HEAD'])('for no token, to %s: 401, and nobody is asked', async (method) => {
      const { services, keystone } = await createRig();

      const { direct, faced } = await both(await services(), {}, { method });

      expect(direct).toMatchObject(unauthorized);
      expect(faced).toEqual(direct);
      expect(keystone.asked()).toEqual([]);
    });

    it.each([
      ['a space', ' '],
      ['a carriage return', '\r'],
      ['both', ' \r'],
    ])('for tokens with %s at their ends, of users and of services', async (_, end) => {
      const { services } = await createRig();
      const pair = await services();
      const headers = { 'X-Auth-Token': `${tokenOf('project')}${end}`, 'X-Service-Token': `${tokenOf('service_user')}${end}` };

      const { direct, faced } = await both(pair, headers);

      expect([direct.status, direct.reached?.headers['X_SERVICE_IDENTITY_STATUS']]).toEqual([200, 'Confirmed']);
      expect(faced).toEqual(direct);
    });

    it('where Keystone says that it is not the admin project', async () => {
      const { services, keystone } = await createRig();
      keystone.says(tokenOf('admin_project'), { is_admin_project: false });

      const { direct, faced } = await both(await services(), { 'X-Auth-Token': tokenOf('admin_project') });

      expect(direct.reached?.headers['X_IS_ADMIN_PROJECT']).toBe('False');
      expect(faced).toEqual(direct);
    });

    it('without the catalog where the service wants none, and Keystone is not asked for one', async () => {
      const { services, keystone } = await createRig();

      const { direct, faced } = await both(await services({ include_service_catalog: 'false' }), { 'X-Auth-Token': tokenOf('project') });

      expect(direct.reached?.headers).not.toHaveProperty('X_SERVICE_CATALOG');
      expect(direct.reached?.token_info?.['token']).not.toHaveProperty('catalog');
      expect(faced).toEqual(direct);
      expect(keystone.asked().filter(({ path }) => !path.includes('nocatalog'))).toEqual([]);
    });

    it('with the catalog for the service that wants it, after one that did not', async () => {
      const { services } = await createRig();
      await (await services({ include_service_catalog: 'false' })).faced.call({ 'X-Auth-Token': tokenOf('project') });

      const { direct, faced } = await both(await services(), { 'X-Auth-Token': tokenOf('project') });

      expect(direct.reached?.headers['X_SERVICE_CATALOG']).toContain('publicURL');
      expect(faced).toEqual(direct);
    });

    it('for identity headers that a client made up, which go, and others, which stay', async () => {
      const { services } = await createRig();
      const forged = {
        'X-Auth-Token': tokenOf('unscoped'),
        'X-Roles': 'admin',
        'X-User-Id': 'evil',
        'X-Project-Id': 'evil',
        'X-Identity-Status': 'Confirmed',
        'X-Is-Admin-Project': 'True',
        'X-Service-Roles': 'admin',
        'X-Service-Identity-Status': 'Confirmed',
        'X-Service-Catalog': '[]',
        'X-Foo': 'bar',
      };

      const { direct, faced } = await both(await services(), forged);

      expect(faced).toEqual(direct);
      expect(faced.reached?.headers).toMatchObject({ X_FOO: 'bar', X_ROLES: '', X_PROJECT_ID: null });
      expect(JSON.stringify(faced.reached?.headers)).not.toContain('evil');
      expect(faced.reached?.headers).not.toHaveProperty('X_SERVICE_ROLES');
    });
  });

  describe('users and services together', () => {
    const users = { good: tokenOf('project'), bad: special.revoked, absent: undefined };
    const servicesOf = { good: tokenOf('service_user'), bad: special.garbageLikeFernet, absent: undefined };
    const cases = Object.keys(users).flatMap((user) =>
      Object.keys(servicesOf).flatMap((other) => ['false', 'true'].map((delay) => [user, other, delay] as const)),
    );

    it.each(cases)('a user’s token that is %s, a service’s that is %s, delay_auth_decision %s', async (user, other, delay) => {
      const { services } = await createRig();
      const userToken = users[user as keyof typeof users];
      const otherToken = servicesOf[other as keyof typeof servicesOf];
      const headers = {
        ...(userToken !== undefined && { 'X-Auth-Token': userToken }),
        ...(otherToken !== undefined && { 'X-Service-Token': otherToken }),
      };

      const { direct, faced } = await both(await services({ delay_auth_decision: delay }), headers);

      expect(direct.status).toBe(delay === 'true' || (user === 'good' && other !== 'bad') ? 200 : 401);
      expect(faced).toEqual(direct);
    });

    it.each([
      ['service', 'true', 200],
      ['service', 'false', 200],
      ['nobody-has-this', 'true', 401],
      ['nobody-has-this', 'false', 200],
    ])('a service token where the role %s is wanted (required: %s)', async (role, required, status) => {
      const { services } = await createRig();
      const pair = await services({ service_token_roles: role, service_token_roles_required: required });

      const { direct, faced } = await both(pair, { 'X-Auth-Token': tokenOf('project'), 'X-Service-Token': tokenOf('service_user') });

      expect(direct.status).toBe(status);
      expect(faced).toEqual(direct);
    });

    it.each([
      ['with the role', tokenOf('service_user'), 'service', 200],
      ['with another role, which does not count', tokenOf('service_user'), 'nobody-has-this', 401],
      ['of a user', tokenOf('project'), 'service', 401],
      ['that has ended itself', special.expired, 'member', 401],
      ['that is garbage', special.garbageLikeFernet, 'service', 401],
    ])('a user’s token that has ended, with a service token %s', async (_, token, role, status) => {
      const { services } = await createRig();

      const { direct, faced } = await both(await services({ service_token_roles: role }), {
        'X-Auth-Token': special.expired,
        'X-Service-Token': token,
      });

      expect(direct.status).toBe(status);
      expect(faced).toEqual(direct);
    });

    it('a token that has ended is asked for as such only where a service token allows it, and is no good on its own afterwards', async () => {
      const { services, keystone } = await createRig();
      const { faced } = await services();
      const allowing = () => keystone.asked(special.expired).map(({ path }) => path.includes('allow_expired=1'));

      expect((await faced.call({ 'X-Auth-Token': special.expired })).status).toBe(401);
      expect(allowing()).not.toContain(true);
      expect((await faced.call({ 'X-Auth-Token': special.expired, 'X-Service-Token': tokenOf('service_user') })).status).toBe(200);
      expect(allowing()).toContain(true);
      expect((await faced.call({ 'X-Auth-Token': special.expired })).status).toBe(401);
    });

    it('a token that has ended is never good where the face is told so', async () => {
      const { services } = await createRig({ allowExpired: false });
      const { faced } = await services();

      const reply = await faced.call({ 'X-Auth-Token': special.expired, 'X-Service-Token': tokenOf('service_user') });

      expect(reply).toMatchObject(unauthorized);
    });
  });

  describe('access rules', () => {
    it.each([
      ['a request that a rule allows', { service_type: 'compute' }, 'GET', '/v2.1/servers', {}, 200],
      ['another path', { service_type: 'compute' }, 'GET', '/v2.1/flavors', {}, 401],
      ['another method', { service_type: 'compute' }, 'POST', '/v2.1/servers', {}, 401],
      ['another service', { service_type: 'image' }, 'GET', '/v2.1/servers', {}, 401],
      ['a service that the catalog does not have', { service_type: 'unheard-of' }, 'GET', '/v2.1/servers', {}, 401],
      ['any request with a service token', { service_type: 'compute' }, 'POST', '/x', { 'X-Service-Token': tokenOf('service_user') }, 200],
    ] as const)('are judged by the middleware: %s', async (_, options, method, path, more, status) => {
      const { services } = await createRig();

      const { direct, faced } = await both(await services(options), { 'X-Auth-Token': special.accessRules, ...more }, { method, path });

      expect(direct.status).toBe(status);
      expect(faced).toEqual(direct);
    });

    it('do not exist for a client that does not enforce them', async () => {
      const { endpoint } = await createRig();
      const ask = (headers: Headers) =>
        fetch(`${endpoint}/auth/tokens`, { headers: { 'x-subject-token': special.accessRules, ...headers } });

      expect((await ask({})).status).toBe(404);
      expect((await ask({ 'openstack-identity-access-rules': '1' })).status).toBe(200);
    });
  });

  describe('what is asked', () => {
    it('one GET of us a request and nothing else; Keystone once', async () => {
      const { keystone, endpoint } = await createRig();
      const between = await createHttpAuthority();
      ends.push(() => between.close());
      between.script(async ({ path, headers }) => {
        const { host: _host, connection: _connection, ...rest } = headers;
        const reply = await fetch(new URL(path, endpoint), { headers: rest });
        return { status: reply.status, headers: { 'content-type': 'application/json' }, body: await reply.text() };
      });
      const faced = await service(`${between.url}/v3`, 'unused', {});

      const replies = [1, 2].map(() => faced.call({ 'X-Auth-Token': tokenOf('project') }));

      expect((await Promise.all(replies)).map(({ status }) => status)).toEqual([200, 200]);
      expect(between.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['GET /v3/auth/tokens', 'GET /v3/auth/tokens']);
      expect(keystone.asked(tokenOf('project'))).toHaveLength(1);
    });

    it('Keystone again when our time for facts is over, and not before', async () => {
      let laterMs = 0;
      const clock: Clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + laterMs };
      const config = (base: Config): Config => ({
        ...base,
        caching: { ...base.caching, token: { ...base.caching.token, timeMs: 300_000, jitter: 0, refreshAhead: 1 } },
      });
      const { services, keystone } = await createRig({ clock, config });
      const { faced } = await services();
      const askedAfter = async (ms: number): Promise<number> => {
        laterMs = ms;
        expect((await faced.call({ 'X-Auth-Token': tokenOf('unscoped') })).status).toBe(200);
        return keystone.asked(tokenOf('unscoped')).length;
      };

      expect([await askedAfter(0), await askedAfter(299_000), await askedAfter(301_000)]).toEqual([1, 1, 2]);
    });
  });

  describe('revoked', () => {
    it('through the sidecar: 401 at once, although Keystone has not heard of it', async () => {
      const { services, sidecar } = await createRig();
      const pair = await services();
      const headers = { 'X-Auth-Token': tokenOf('project') };
      expect((await pair.faced.call(headers)).status).toBe(200);

      expect((await sidecar.revoke({ target: { $case: 'token', value: tokenOf('project') } })).status).toBe('OK');

      const { direct, faced } = await both(pair, headers);
      expect([direct.status, faced.status]).toEqual([200, 401]);
      expect(faced).toMatchObject(unauthorized);
    });

    it('also with a service token that would allow an expired one', async () => {
      const { services, sidecar } = await createRig();
      const { faced } = await services();
      const headers = { 'X-Auth-Token': special.expired, 'X-Service-Token': tokenOf('service_user') };
      expect((await faced.call(headers)).status).toBe(200);

      await sidecar.revoke({ target: { $case: 'token', value: special.expired } });

      expect((await faced.call(headers)).status).toBe(401);
    });
  });

  describe('when Keystone does not answer', () => {
    it.each([
      ['is down', (keystone: MiddlewareKeystone) => keystone.stop()],
      ['hangs', (keystone: MiddlewareKeystone) => keystone.script(() => ({ kind: 'hang' }))],
      ['fails', (keystone: MiddlewareKeystone) => keystone.script(() => ({ status: 500, body: 'no' }))],
      ['takes nobody’s credential', (keystone: MiddlewareKeystone) => keystone.refusesEverybody()],
    ] as const)('since it %s: 503, nothing is kept of it, and what we know is answered', async (_, trouble) => {
      const { services, keystone } = await createRig();
      const { faced } = await services();
      const ask = (kind: Kind) => faced.call({ 'X-Auth-Token': tokenOf(kind) });
      expect((await ask('domain')).status).toBe(200);

      await trouble(keystone);
      const replies = [await ask('project'), await ask('domain')];

      expect(replies).toMatchObject([{ status: 503, reached: null }, { status: 200 }]);
      expect(replies[0]?.body).toContain('The Keystone service is temporarily unavailable.');
    });

    it.each(['false', 'true'])('the service is told the same as by Keystone’s absence, delay_auth_decision %s', async (delay) => {
      const { services, keystone } = await createRig();
      const pair = await services({ delay_auth_decision: delay });
      await keystone.stop();

      const { direct, faced } = await both(pair, { 'X-Auth-Token': tokenOf('project') });

      expect(direct.status).toBe(delay === 'true' ? 200 : 503);
      expect(faced).toEqual(direct);
    });

    it('it is asked again as soon as it does', async () => {
      const { services, keystone } = await createRig();
      const { faced } = await services();
      await faced.call({ 'X-Auth-Token': tokenOf('unscoped') });
      await keystone.stop();
      expect((await faced.call({ 'X-Auth-Token': tokenOf('project') })).status).toBe(503);

      await keystone.resume();

      expect((await faced.call({ 'X-Auth-Token': tokenOf('project') })).status).toBe(200);
    });

    it('and neither does the sidecar: 503', async () => {
      const { services, sidecar } = await createRig();
      const { faced } = await services();
      await faced.call({ 'X-Auth-Token': tokenOf('project') });

      sidecar.drain();
      await sidecar.stopped;

      expect((await faced.call({ 'X-Auth-Token': tokenOf('project') })).status).toBe(503);
    });
  });

  describe('where we say more than Keystone', () => {
    it('a trust whose trustor lost the role, which is 403 there: 401 to the user instead of 503', async () => {
      const { services, keystone } = await createRig();
      const pair = await services();
      // It shows our credential to be good for tokens of others: without that, a 403 is about us.
      await pair.faced.call({ 'X-Auth-Token': tokenOf('project') });
      const message = 'You are not authorized to perform the requested action.';
      keystone.answers(tokenOf('trust'), { status: 403, body: { error: { code: 403, message, title: 'Forbidden' } } });

      const { direct, faced } = await both(pair, { 'X-Auth-Token': tokenOf('trust') });

      expect([direct.status, faced.status]).toEqual([503, 401]);
    });

    it('a 404 that is not Keystone’s own, from a proxy: 503 instead of 401 for everybody', async () => {
      const { services, keystone } = await createRig();
      keystone.answers(tokenOf('project'), { status: 404, headers: { 'content-type': 'text/html' }, body: '<h1>Not Found</h1>' });

      const { direct, faced } = await both(await services(), { 'X-Auth-Token': tokenOf('project') });

      expect([direct.status, faced.status]).toEqual([401, 503]);
    });
  });

  it('no token is in any line, metric or error of the sidecar', async () => {
    const { services, sidecar } = await createRig();
    const { faced } = await services();
    const shown = [...kinds.map(tokenOf), ...Object.values(special).filter((token) => token !== special.garbage)];

    for (const token of shown) await faced.call({ 'X-Auth-Token': token });

    const said = await sidecar.everything();
    expect(shown.filter((token) => said.includes(token))).toEqual([]);
  });
});
