// The upstream before a real Keystone: every kind of token to the byte, catalogs, tokens that have ended, revocations, long ones.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spliceCatalog } from '../../src/core/catalog-splice.ts';
import type { Facts } from '../../src/core/token.ts';
import type { Reading, ReadOptions } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createKeystone, type Keystone } from '../../src/upstreams/keystone.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { endedToken } from './lab/ended-token.ts';
import { byPassword, keystoneLogin, keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';
import { forged } from './sidecar.ts';

const scoped = [
  'project',
  'domain',
  'system',
  'trust',
  'trust_impersonating',
  'application_credential',
  'application_credential_access_rules',
  'oauth1',
  'federated',
] as const satisfies readonly TokenKind[];
const kinds = [...scoped, 'unscoped', 'federated_unscoped'] as const satisfies readonly TokenKind[];
type Kind = (typeof kinds)[number];

describeWithKeystone('the upstream before a real Keystone', () => {
  let lab: Lab;
  let admin: string;
  let upstream: Keystone;
  /** One of each kind, good until the last test. */
  let tokens: Readonly<Record<Kind, string>>;

  beforeAll(async () => {
    lab = await startKeystone();
    admin = await lab.token('admin');
    upstream = upstreamAs(lab.seed.users.validator, lab.seed.projects.service);
    tokens = Object.fromEntries(await Promise.all(kinds.map(async (kind) => [kind, await lab.token(kind)] as const))) as typeof tokens;
  }, 240_000);
  afterAll(async () => {
    await upstream?.close();
    await lab?.close();
  });

  const upstreamAs = ({ id, password }: { readonly id: string; readonly password: string }, projectId: string) =>
    createKeystone(
      {
        name: 'central',
        url: lab.proxy.url,
        login: { kind: 'password', user: { id }, project: { id: projectId }, password: async () => password },
        deadlineMs: 60_000,
        attempts: 1,
        maxBodyBytes: 1_048_576,
      },
      { clock: systemClock, log: createFakeTelemetry().log },
    );
  const never = new AbortController().signal;
  const ask = (token: string, options?: ReadOptions): Promise<Reading> => upstream.ask(token, never, options);
  const factsFrom = (reading: Reading) => (reading.kind === 'facts' ? reading : expect.unreachable(`inactive ${reading.reason}`));
  const revoke = (token: string) => upstream.revoke(token, never);
  /** Keystone's own bytes, asked past everything of ours. */
  const bytesOf = async (token: string, query: string, asker = admin): Promise<string> => {
    const headers = { 'x-auth-token': asker, 'x-subject-token': token, 'openstack-identity-access-rules': '1.0' };
    const response = await fetch(`${lab.url}/auth/tokens${query}`, { headers });
    expect(response.status).toBe(200);
    return await response.text();
  };
  const whole = (facts: Facts, catalog: string, catalogAt = facts.catalogAt ?? -1): string => {
    const claims = Buffer.from(facts.token.claimsJson ?? '');
    return `{"token": ${Buffer.from(spliceCatalog(claims, catalogAt, Buffer.from(catalog))).toString()}}`;
  };

  test.each(kinds)('a token of kind %s is Keystone’s own body, byte for byte, without its catalog and with it', async (kind) => {
    const token = tokens[kind];
    const [bare, full, bareBody, fullBody] = await Promise.all([
      ask(token).then(factsFrom),
      ask(token, { catalog: true }).then(factsFrom),
      bytesOf(token, '?nocatalog'),
      bytesOf(token, ''),
    ]);
    expect(bare).not.toHaveProperty('catalog');
    expect(`{"token": ${bare.facts.token.claimsJson}}`).toBe(bareBody);
    expect(full.facts.token).toEqual(bare.facts.token);
    const { facts, catalog = 'none' } = full;
    const isScoped = scoped.some((it) => it === kind);
    expect([catalog !== '', facts.catalogAt !== undefined, fullBody.includes('"catalog": [')]).toEqual([isScoped, isScoped, isScoped]);
    // Also the catalog of one fetch in the facts of another that had none.
    const again = isScoped ? [whole(facts, catalog), whole(bare.facts, catalog)] : [bareBody, bareBody];
    expect(again).toEqual([fullBody, fullBody]);
  });

  test('two tokens of one user and scope have one catalog, those of another scope another', async () => {
    const [one, two, other] = await Promise.all(
      [tokens.project, await lab.token('project'), await lab.token('dave')].map(
        async (token) => factsFrom(await ask(token, { catalog: true })).catalog,
      ),
    );
    expect(two).toBe(one);
    expect(other).not.toBe(one);
  });

  test('OAuth1, federation and access rules say what they are', async () => {
    const { seed } = lab;
    const { token: oauth } = factsFrom(await ask(tokens.oauth1)).facts;
    expect(oauth).toMatchObject({ clientId: seed.oauth1.consumer.id, accessTokenId: seed.oauth1.access.id, methods: ['oauth1'] });
    const rules = factsFrom(await ask(tokens.application_credential_access_rules)).facts;
    expect(rules.hasAccessRules).toBe(true);
    expect(rules.token.applicationCredential?.accessRules).toMatchObject([{ service: 'compute', method: 'GET', path: '/v2.1/servers' }]);
    expect(tokens.federated_unscoped).toHaveLength(311);
    for (const token of [tokens.federated_unscoped, tokens.federated]) {
      const { user } = factsFrom(await ask(token)).facts.token;
      expect(user?.id).toMatch(/^[0-9a-f]{64}$/);
      expect(user?.federation).toMatchObject({ identityProviderId: 'corp', protocolId: 'mapped' });
      expect([...(user?.federation?.groupIds ?? [])].sort()).toEqual([...seed.groups.guests].sort());
    }
  });

  test('a token that has ended is refused, and told where that is demanded', async () => {
    const { token, endsAtMs } = await endedToken(lab);
    expect(await ask(token)).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
    const { facts, catalog = '' } = factsFrom(await ask(token, { allowExpired: true, catalog: true }));
    expect(facts.token.expiresAtMs).toBe(endsAtMs);
    expect(whole(facts, catalog)).toBe(await bytesOf(token, '?allow_expired=1'));
    // It cannot revoke itself any more, and need not.
    expect(await revoke(token)).toBe('accepted');
    expect(await ask(forged(token, 1), { allowExpired: true })).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
  });

  test('a token as long as a PKI one goes there whole, and is refused in Keystone’s own words', async () => {
    for (const length of [4_000, 20_000]) {
      const token = `MII${'x'.repeat(length - 3)}`;
      expect(await ask(token)).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
      expect(await revoke(token)).toBe('accepted');
    }
  });

  test('before a proxy whose headers end at 16 kB a token of 20 kB has no answer, and the message says why', async () => {
    lab.proxy.misbehave(({ headers }) =>
      String(headers['x-subject-token']).length > 16_384
        ? { kind: 'answer', status: 431, contentType: 'text/html', body: '<h1>Request Header Fields Too Large</h1>' }
        : undefined,
    );
    const error = await ask('x'.repeat(20_000)).catch((cause: unknown) => cause);
    lab.proxy.behave();
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER', message: expect.stringMatching(/headers.*20000 bytes/) });
  });

  test('a user without the role may ask about its own tokens alone: that proves nothing about its roles', async () => {
    const { dave } = lab.seed.users;
    const asDave = upstreamAs(dave, lab.seed.projects.db);
    const scope = { project: { id: lab.seed.projects.db } };
    const own = await keystoneLogin(lab.url, byPassword(dave.id, dave.password), scope);
    expect(factsFrom(await asDave.ask(own, never)).facts.token.user?.id).toBe(dave.id);
    await expect(asDave.ask(tokens.project, never)).rejects.toMatchObject({ reason: 'OUR_CREDENTIAL_FORBIDDEN' });
    await asDave.close();
  });

  describe('told of a revocation', () => {
    const itself = kinds.filter((kind) => kind !== 'trust_impersonating' && kind !== 'application_credential_access_rules');

    test.each(itself)('of a token of kind %s: it is dead there, and telling it again is accepted', async (kind) => {
      expect(await revoke(tokens[kind])).toBe('accepted');
      expect(await ask(tokens[kind])).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
      expect(await revoke(tokens[kind])).toBe('accepted');
    });

    test('of an impersonating trust’s token: rejected, and it lives until an administrator revokes it', async () => {
      const token = tokens.trust_impersonating;
      expect([await revoke(token), (await ask(token)).kind]).toEqual(['rejected', 'facts']);
      await lab.revoke(token);
      expect([await revoke(token), (await ask(token)).kind]).toEqual(['accepted', 'inactive']);
    });

    test('of a token with access rules: rejected, although Keystone answers 404, and not even an administrator may', async () => {
      const token = tokens.application_credential_access_rules;
      expect([await revoke(token), (await ask(token)).kind]).toEqual(['rejected', 'facts']);
      await expect(lab.revoke(token)).rejects.toThrow('404');
      expect((await ask(token)).kind).toBe('facts');
    });

    test('of a token that nobody issued: accepted, and nobody has logged in for it', async () => {
      lab.proxy.forget();
      expect(await revoke(forged(tokens.project, 7))).toBe('accepted');
      expect(lab.logins()).toBe(0);
    });

    test('by a service user it is forbidden: that is why the token itself is used', async () => {
      const token = await lab.token('dave');
      const headers = { 'x-subject-token': token };
      const reply = await keystoneRequest(lab.url, 'DELETE', '/auth/tokens', { token: await lab.token('nova'), headers });
      expect([reply.status, (await ask(token)).kind]).toEqual([403, 'facts']);
    });
  });
});
