// The Keystone face beside Keystone itself: both asked over HTTP, and Debian's unmodified auth_token over both.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Middleware, startMiddleware } from '../foreign/middleware-process.ts';
import { endedToken } from './lab/ended-token.ts';
import { byPassword, keystoneCall, keystoneLogin } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';
import { forged, type LabSidecar, spellingsOf, startSidecar } from './sidecar.ts';

const kinds = [
  'unscoped',
  'project',
  'domain',
  'system',
  'trust',
  'trust_impersonating',
  'application_credential',
  'application_credential_access_rules',
  'oauth1',
  'federated',
  'federated_unscoped',
  'admin',
  'nova',
  'dave',
] as const satisfies readonly TokenKind[];
type Kind = (typeof kinds)[number];

/** What came back, in full. */
interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const noMiddleware = process.env['SIDEGATE_SKIP_FOREIGN'];
const factsTimeMs = 300_000;
const notFound = (message: string) => JSON.stringify({ error: { code: 404, message, title: 'Not Found' } });

describeWithKeystone('the Keystone face beside Keystone itself', () => {
  let lab: Lab;
  let admin: string;
  let sidecar: LabSidecar;
  let tokens: Readonly<Record<Kind, string>>;
  /** Alice's, past its end. */
  let ended: string;

  beforeAll(async () => {
    lab = await startKeystone();
    admin = await lab.token('admin');
    const ending = endedToken(lab);
    tokens = Object.fromEntries(await Promise.all(kinds.map(async (kind) => [kind, await lab.token(kind)] as const))) as typeof tokens;
    sidecar = await startSidecar(lab, { faces: true });
    ended = (await ending).token;
  }, 240_000);
  afterAll(async () => {
    await sidecar?.close();
    await lab?.close();
  });
  afterEach(() => lab?.proxy.behave());

  interface Asking {
    readonly query?: string;
    readonly method?: 'GET' | 'HEAD';
    /** Absent: no access rules are enforced. */
    readonly rules?: string;
  }

  const get = async (url: string, token: string | undefined, { query = '', method = 'GET', rules }: Asking): Promise<Reply> => {
    const headers = {
      'x-auth-token': admin,
      ...(token !== undefined && { 'x-subject-token': token }),
      ...(rules !== undefined && { 'openstack-identity-access-rules': rules }),
    };
    const response = await fetch(`${url}/auth/tokens${query}`, { method, headers });
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
  };
  const face = (token: string | undefined, asking: Asking = {}) => get(sidecar.keystoneUrl, token, asking);
  const keystone = (token: string | undefined, asking: Asking = {}) => get(lab.url, token, asking);
  const statuses = async (token: string, asking: Asking = {}) => [
    (await keystone(token, asking)).status,
    (await face(token, asking)).status,
  ];

  /** What a client may look at. */
  const relevant = ({ status, headers, body }: Reply) => ({
    status,
    body,
    ...Object.fromEntries(['content-type', 'content-length', 'vary', 'x-subject-token'].map((name) => [name, headers[name]])),
  });

  describe('says of a good token what Keystone says, to the byte', () => {
    // Also the order of the catalog, although Keystone promises none: the catalog that one token was answered with is that of every
    // other token of its user and scope.
    test.each(kinds)('of kind %s, with its catalog and without, from Keystone and from memory', async (kind) => {
      const rules = '1.0';
      const theirs = await Promise.all(['?nocatalog', ''].map((query) => keystone(tokens[kind], { query, rules })));
      const asked = () => lab.proxy.count('GET', '/v3/auth/tokens');
      const [bare, whole] = theirs.map(relevant);
      for (const { from, most } of [
        { from: 'Keystone', most: 2 },
        { from: 'memory', most: 0 },
      ]) {
        lab.proxy.forget();
        const ours = [await face(tokens[kind], { query: '?nocatalog', rules }), await face(tokens[kind], { query: '', rules })];
        expect(ours.map(relevant), from).toEqual([bare, whole]);
        expect(ours.map(({ status }) => status)).toEqual([200, 200]);
        for (const { headers } of ours) expect(headers['x-openstack-request-id']).toMatch(/^req-[0-9a-f-]{36}$/);
        expect(asked()).toBeLessThanOrEqual(most);
      }
    });

    test('however it is spelt: with padding, in the other alphabet, with white space around it', async () => {
      const spellings = [...spellingsOf(tokens.project).slice(-4), ` ${tokens.project}`, `${tokens.project} `];
      const [ours, theirs] = await Promise.all([face, keystone].map((ask) => Promise.all(spellings.map((token) => ask(token)))));
      expect(theirs?.map(({ status }) => status)).toEqual(spellings.map(() => 200));
      expect(ours?.map(relevant)).toEqual(theirs?.map(relevant));
    });

    test('to HEAD: the same headers, and no body', async () => {
      const method = 'HEAD';
      const [ours, theirs] = [await face(tokens.project, { method }), await keystone(tokens.project, { method })];
      expect([ours.status, ours.body]).toEqual([200, '']);
      expect(relevant(ours)).toEqual(relevant(theirs));
    });
  });

  describe('says 404 where Keystone does', () => {
    const wordsOf = ({ body }: Reply) => JSON.parse(body).error;

    test('in its words for no token, and in words that tell nothing for one that nobody issued', async () => {
      const [ours, theirs] = [await face(undefined), await keystone(undefined)];
      expect([ours.status, theirs.status]).toEqual([404, 404]);
      expect(wordsOf(ours)).toEqual(wordsOf(theirs));
      for (const token of ['garbage', forged(tokens.project, 1)]) {
        const [mine, its] = [await face(token), await keystone(token)];
        expect([mine.status, its.status, mine.body]).toEqual([404, 404, notFound('Failed to validate token')]);
        expect(wordsOf(mine)).toMatchObject({ code: wordsOf(its).code, title: wordsOf(its).title });
        expect(mine.headers['content-type']).toBe(its.headers['content-type']);
      }
    });

    test('of a token with access rules to who does not enforce them, in its words; and 200 to who does', async () => {
      const token = tokens.application_credential_access_rules;
      const [ours, theirs] = [await face(token), await keystone(token)];
      expect([ours.status, wordsOf(ours)]).toEqual([theirs.status, wordsOf(theirs)]);
      expect(await statuses(token, { rules: '0' })).toEqual([404, 404]);
      expect(await statuses(token, { rules: '1.0' })).toEqual([200, 200]);
    });

    test('of a token that has ended, unless an ended one is asked for: then it says what Keystone says', async () => {
      const token = ended;
      expect(await statuses(token)).toEqual([404, 404]);
      for (const query of ['?allow_expired=1&nocatalog', '?allow_expired=1']) {
        const [ours, theirs] = [await face(token, { query }), await keystone(token, { query })];
        expect(theirs.status).toBe(200);
        expect(relevant(ours)).toEqual(relevant(theirs));
      }
      const words = ['true', 'T', 'yes', '0', '01', '', '0&allow_expired=1'];
      const said = await Promise.all(words.map((word) => statuses(token, { query: `?allow_expired=${word}` })));
      expect(said).toEqual([...words.slice(0, 3).map(() => [200, 200]), ...words.slice(3).map(() => [404, 404])]);
      expect(await statuses(token)).toEqual([404, 404]);
    });

    test('of a token that was revoked there: when the time of its facts is over, not before', async () => {
      const token = await lab.token('project');
      expect(await statuses(token)).toEqual([200, 200]);
      await lab.revoke(token);
      expect(await statuses(token)).toEqual([404, 200]);
      sidecar.elapse(factsTimeMs);
      expect(await statuses(token)).toEqual([404, 404]);
    });
  });

  describe('says 404 where Keystone does not', () => {
    test('of a token that was revoked through the sidecar, at once', async () => {
      const token = await lab.token('project');
      expect(await statuses(token)).toEqual([200, 200]);
      await sidecar.client.revoke({ token });
      expect(await statuses(token)).toEqual([200, 404]);
      expect(await statuses(token, { query: '?allow_expired=1' })).toEqual([200, 404]);
    });

    test('of a trust whose giver has lost the role: that is 403 there, which auth_token takes for trouble', async () => {
      const { acme } = lab.seed.domains;
      const { web } = lab.seed.projects;
      const { bob } = lab.seed.users;
      const fields = { name: 'giver', domain_id: acme, password: 'giver-pw' };
      const { user } = (await keystoneCall(lab.url, 'POST', '/users', admin, { user: fields })) as {
        readonly user: { readonly id: string };
      };
      const grant = `/projects/${web}/users/${user.id}/roles/${lab.seed.roles.member}`;
      await keystoneCall(lab.url, 'PUT', grant, admin);
      const giver = await keystoneLogin(lab.url, byPassword(user.id, fields.password), { project: { id: web } });
      const roles = [{ id: lab.seed.roles.member }];
      const wanted = { trustor_user_id: user.id, trustee_user_id: bob.id, project_id: web, impersonation: false, roles };
      const { trust } = (await keystoneCall(lab.url, 'POST', '/OS-TRUST/trusts', giver, { trust: wanted })) as {
        readonly trust: { readonly id: string };
      };
      const token = await keystoneLogin(lab.url, byPassword(bob.id, bob.password), { 'OS-TRUST:trust': { id: trust.id } });
      expect(await statuses(token)).toEqual([200, 200]);

      await keystoneCall(lab.url, 'DELETE', grant, admin);
      sidecar.elapse(factsTimeMs);
      expect(await statuses(token)).toEqual([403, 404]);
    });
  });

  describe('while Keystone does not answer', () => {
    test.each([
      ['cuts connections', { kind: 'cut' }],
      ['fails', { kind: 'answer', status: 500, contentType: 'application/json', body: '{}' }],
      ['is a proxy that knows no such page', { kind: 'answer', status: 404, contentType: 'text/html', body: '<h1>Not Found</h1>' }],
      ['hangs', { kind: 'hang' }],
    ] as const)('since it %s: 200 for what is known, 503 with Retry-After for the rest, and 200 for it afterwards', async (_, fault) => {
      const [known, unknown] = [await lab.token('project'), await lab.token('project')];
      const before = await face(known);
      lab.proxy.misbehave(() => fault);
      const [still, none] = await Promise.all([face(known), face(unknown)]);
      lab.proxy.behave();
      expect(relevant(still)).toEqual(relevant(before));
      expect([none.status, JSON.parse(none.body).error.code]).toEqual([503, 503]);
      expect(none.headers['retry-after']).toMatch(/^[1-9]\d*$/);
      expect((await face(unknown)).status).toBe(200);
    });
  });

  describe.skipIf(noMiddleware)(`under auth_token${noMiddleware ? ` (skipped: ${noMiddleware})` : ''}`, () => {
    const services = {
      direct: () => ({ endpoint: lab.url, token: admin }),
      faced: () => ({ endpoint: sidecar.keystoneUrl, token: 'unused' }),
    };
    let middleware: Middleware;

    beforeAll(async () => {
      middleware = startMiddleware();
      const common = { auth_type: 'admin_token', token_cache_time: '-1', www_authenticate_uri: 'http://keystone.example/v3' };
      const roles = { service_token_roles: 'service', service_token_roles_required: 'true' };
      for (const [name, where] of Object.entries(services)) await middleware.make(name, { ...common, ...roles, ...where() });
    });
    afterAll(() => middleware?.close());

    /** What the service that asks Keystone answers, and what the one that asks the face does. */
    const both = (headers: Readonly<Record<string, string>>) =>
      Promise.all([middleware.call('direct', headers), middleware.call('faced', headers)] as const);

    test.each(['project', 'trust_impersonating', 'federated_unscoped'] as const)('a service is told the same, of kind %s', async (kind) => {
      const [direct, faced] = await both({ 'X-Auth-Token': tokens[kind] });
      expect(direct.reached?.headers['X_IDENTITY_STATUS']).toBe('Confirmed');
      expect(faced).toEqual(direct);
    });

    test('a service is told the same of a user’s token that has ended, beside the token of a service', async () => {
      const [direct, faced] = await both({ 'X-Auth-Token': ended, 'X-Service-Token': tokens.nova });
      expect(direct.reached?.headers).toMatchObject({ X_IDENTITY_STATUS: 'Confirmed', X_SERVICE_IDENTITY_STATUS: 'Confirmed' });
      expect(faced).toEqual(direct);
    });

    test.each([
      ['nobody issued', () => ({ 'X-Auth-Token': forged(tokens.project, 2) })],
      ['has ended', () => ({ 'X-Auth-Token': ended })],
      ['has ended, beside one of a user', () => ({ 'X-Auth-Token': ended, 'X-Service-Token': tokens.project })],
      ['has access rules that nobody enforces', () => ({ 'X-Auth-Token': tokens.application_credential_access_rules })],
    ])('a service lets nobody in with a token that %s', async (_, headers) => {
      const [direct, faced] = await both(headers());
      expect([direct.status, direct.reached]).toEqual([401, null]);
      expect(faced).toEqual(direct);
    });
  });
});
