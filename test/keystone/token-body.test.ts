// Keystone's token bodies read into facts: the captured kinds, and what is not a token.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attributesOf } from '../../src/core/attributes.ts';
import { spliceCatalog } from '../../src/core/catalog-splice.ts';
import { SidecarError } from '../../src/core/errors.ts';
import type { Facts } from '../../src/core/token.ts';
import { keystoneTimeMs, readKeystoneToken } from '../../src/keystone/token-body.ts';
import type { Reading, ReadOptions } from '../../src/ports.ts';
import whole from '../vectors/keystone-bodies.json' with { type: 'json' };
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };

type Kind = keyof typeof vectors.tokens;
const kinds = Object.keys(vectors.tokens) as Kind[];
const alice = { id: '03f0bcd4e3024d96bb8462f2af8950ce', name: 'alice', domain: { id: '834fc2b68d9942e8a85818a144a67ee1', name: 'acme' } };
const bobId = '589284022457478b97e5f63eb81d6fc1';
const acme = alice.domain;
const web = { id: '1e245548ae2442f1bd4eb5870d68064a', name: 'web', domain: acme, isDomain: false };
const reader = { id: 'd771574db3a344b6b4fac99aaf4fe9f7', name: 'reader' };
const member = { id: '356e4cb964b942eb85a6d77c80eb63dc', name: 'member' };

/** `body`: the text of one, or what JSON is to be made of. */
function read(body: unknown, options?: ReadOptions): Reading {
  return readKeystoneToken(Buffer.from(typeof body === 'string' ? body : (JSON.stringify(body) ?? '')), 'central', options);
}

function factsOf(body: unknown): Facts {
  const reading = read(body);
  return reading.kind === 'facts' ? reading.facts : expect.unreachable(`inactive ${reading.reason}`);
}

const captured = (kind: Kind): Facts => factsOf(vectors.tokens[kind].body);

/** A captured project token with other fields. */
const changed = (fields: object): unknown => ({ token: { ...vectors.tokens.project.body.token, ...fields } });

const has = (facts: Facts, dimension: string): (string | undefined)[] =>
  attributesOf(facts, 'digest')
    .filter((attribute) => attribute.dimension === dimension)
    .map((attribute) => attribute.value);

describe('a captured token', () => {
  it('is one of fourteen kinds', () => {
    expect(kinds).toHaveLength(14);
  });

  it.each(kinds)('%s has its user, times, identity and claims', (kind) => {
    const facts = captured(kind);
    const { token } = vectors.tokens[kind].body;
    expect(facts.token).toMatchObject({
      issuer: 'central',
      format: 'opaque',
      issuedAtMs: Date.parse(token.issued_at),
      expiresAtMs: Date.parse(token.expires_at),
      user: { id: token.user.id, name: token.user.name, domain: token.user.domain },
      methods: token.methods,
      auditIds: token.audit_ids,
      isAdminProject: true,
      audiences: [],
      scopes: [],
    });
    expect(facts.identity).toBe(token.audit_ids[0]);
    expect(JSON.parse(facts.token.claimsJson ?? '')).toEqual(token);
    expect(facts.hasAccessRules).toBe(kind === 'application_credential_access_rules');
  });

  it('unscoped has neither scope nor roles', () => {
    expect(captured('unscoped').token).toMatchObject({ scope: { kind: 'unscoped' }, roles: [] });
  });

  it('of a project has its project and roles', () => {
    expect(captured('project').token).toMatchObject({ scope: { kind: 'project', project: web }, user: alice });
    expect(captured('project').token.roles).toEqual([reader, member, { id: '98fcbbfbfb714452ac087423b9417089', name: 'auditor' }]);
  });

  it('of a project through a group has the roles that the group gives', () => {
    expect(captured('project_via_group').token.roles).toEqual([reader, member]);
  });

  it('of a domain has the domain', () => {
    expect(captured('domain').token).toMatchObject({ scope: { kind: 'domain', domain: acme }, roles: [reader] });
  });

  it('of the system has the system scope', () => {
    expect(captured('system').token).toMatchObject({ scope: { kind: 'system' }, roles: [reader] });
  });

  it('rescoped has its own audit id and that of its root', () => {
    const facts = captured('rescoped_from_unscoped');
    expect(facts.identity).toBe('fHOkFImDTyGzlKa7Yv36kg');
    expect(has(facts, 'chain')).toEqual(['TvfpJlh9SmaxWWKpnOY_yg']);
    expect(facts.token.methods).toEqual(['token', 'password']);
  });

  it('of a trust is the trustee’s, and belongs to both users', () => {
    const facts = captured('trust');
    expect(facts.token).toMatchObject({
      user: { id: bobId },
      trust: { id: '159a25f2bf584e1b9e091dbc98457bbb', trustorUserId: alice.id, trusteeUserId: bobId, impersonation: false },
      scope: { kind: 'project', project: { ...web, isDomain: false } },
    });
    // The whole role comes with a trust: only id and name are kept.
    expect(facts.token.roles).toEqual([reader, member]);
    expect(has(facts, 'user').sort()).toEqual([alice.id, bobId].sort());
    expect(facts.unknown).toEqual(['group']);
  });

  it('of an impersonating trust is the trustor’s, and the domain of its trustee is unknown (S2)', () => {
    const facts = captured('trust_impersonating');
    expect(facts.token).toMatchObject({ user: alice, trust: { impersonation: true, trustorUserId: alice.id, trusteeUserId: bobId } });
    expect(has(facts, 'user').sort()).toEqual([alice.id, bobId].sort());
    expect(has(facts, 'user_domain')).toEqual([undefined]);
    expect(facts.unknown).toEqual(['user_domain', 'group']);
  });

  it('of an application credential has it', () => {
    expect(captured('application_credential').token.applicationCredential).toEqual({
      id: 'b03391c6ad6e405fa2b73dee05377cb9',
      name: 'ac-plain',
      restricted: true,
    });
  });

  it.each(['federated_unscoped', 'federated_project'] as const)(
    '%s has its groups, provider and protocol, and knows its groups',
    (kind) => {
      const facts = captured(kind);
      expect(facts.token.user?.federation).toEqual({
        identityProviderId: 'corp',
        protocolId: 'mapped',
        groupIds: ['3157830830f24ae7bf26c2a4fd5e97dd'],
      });
      expect(facts.unknown).toEqual([]);
    },
  );

  it('of anybody else does not tell the groups of its user (S2)', () => {
    expect(captured('project').unknown).toEqual(['group']);
  });
});

describe('a token body', () => {
  it('without a fraction in its times is read', () => {
    expect(factsOf(changed({ issued_at: '2026-11-21T18:02:05Z' })).token.issuedAtMs).toBe(Date.UTC(2026, 10, 21, 18, 2, 5));
  });

  it('may say that its project is not the admin project', () => {
    expect(factsOf(changed({ is_admin_project: false })).token.isAdminProject).toBe(false);
  });

  it('may be of a project that is a domain', () => {
    expect(factsOf(changed({ is_domain: true })).token.scope).toMatchObject({ project: { isDomain: true } });
  });

  it('keeps its catalog out of the claims', () => {
    expect(factsOf(changed({ catalog: [{ type: 'compute' }] })).token.claimsJson).not.toContain('compute');
  });

  it('keeps keys that nobody knows in the claims', () => {
    expect(JSON.parse(factsOf(changed({ novelty: { a: 1 } })).token.claimsJson ?? '')).toHaveProperty('novelty', { a: 1 });
  });

  const rule = { id: 'r1', service: 'compute', method: 'GET', path: '/v2.1/servers' };
  const withRules = (rules: unknown): Facts =>
    factsOf(changed({ application_credential: { id: 'ac', name: 'ac', restricted: false, access_rules: rules } }));

  it('with access rules has them', () => {
    const facts = withRules([rule, { ...rule, id: 'r2', method: 'POST', novelty: 1 }]);
    expect(facts.hasAccessRules).toBe(true);
    expect(facts.token.applicationCredential?.accessRules).toEqual([rule, { ...rule, id: 'r2', method: 'POST' }]);
  });

  it.each([[undefined], [null]])('with an access rule whose id is %s has the rule', (id) => {
    expect(withRules([{ ...rule, id }]).token.applicationCredential?.accessRules).toEqual([{ ...rule, id: '' }]);
  });

  it.each<[string, unknown]>([
    ['none', []],
    ['null', null],
    ['rules in words', 'all'],
    ['an object of rules', { r1: rule }],
    ['a rule without a path', [rule, { ...rule, path: undefined }]],
    ['a rule without a service', [{ ...rule, service: undefined }]],
    ['a rule for any method', [{ ...rule, method: null }]],
    ['a rule for no path', [{ ...rule, path: '' }]],
    ['a rule with an id in numbers', [{ ...rule, id: 5 }, rule]],
    ['a rule that is null', [rule, null]],
  ])('with access rules of which it has %s allows nothing', (_what, rules) => {
    const facts = withRules(rules);
    expect(facts.hasAccessRules).toBe(true);
    expect(facts.token.applicationCredential?.accessRules).toEqual([]);
  });

  it('of a credential without access rules has none, and needs none', () => {
    const facts = factsOf(changed({ application_credential: { id: 'ac', name: 'ac', restricted: false } }));
    expect(facts.hasAccessRules).toBe(false);
    expect(facts.token.applicationCredential).not.toHaveProperty('accessRules');
  });

  it('of OAuth1 has its access token and consumer', () => {
    const { token } = factsOf(changed({ 'OS-OAUTH1': { access_token_id: 'at', consumer_id: 'co' } }));
    expect(token).toMatchObject({ accessTokenId: 'at', clientId: 'co' });
  });

  it('of OAuth2 is bound to its certificate, padding or not', () => {
    const { token } = factsOf(changed({ oauth2_credential: { 'x5t#S256': 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0=' } }));
    expect(token.certificateThumbprint).toBe('A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0');
  });

  it('bound to a Kerberos principal is inactive: nobody can show us one', () => {
    expect(read(changed({ bind: { kerberos: 'alice@ACME' } }))).toEqual({
      kind: 'inactive',
      reason: 'WRONG_CERTIFICATE',
    });
  });

  it.each([null, {}])('with bind %j is not bound', (bind) => {
    expect(read(changed({ bind })).kind).toBe('facts');
  });

  it.each([
    ['2027-01-31T00:00:00.000000', Date.UTC(2027, 0, 31)],
    ['2027-01-31T00:00:00.000000Z', Date.UTC(2027, 0, 31)],
    ['never', undefined],
    [null, undefined],
  ])('whose password expires at %s tells it where it can', (text, expected) => {
    const user = { ...alice, password_expires_at: text };
    expect(factsOf(changed({ user })).token.user?.passwordExpiresAtMs).toBe(expected);
  });
});

describe('Keystone’s own bytes', () => {
  const bodies = Object.entries(whole.bodies);
  const scoped = bodies.filter(([kind]) => !kind.includes('unscoped'));

  it.each(bodies)('of %s are its claims, but for the catalog', (_kind, { withCatalog, withoutCatalog }) => {
    expect(`{"token": ${factsOf(withCatalog).token.claimsJson}}`).toBe(withoutCatalog);
    expect(`{"token": ${factsOf(withoutCatalog).token.claimsJson}}`).toBe(withoutCatalog);
  });

  it.each(bodies)('of %s say the same facts with the catalog as without it', (_kind, { withCatalog, withoutCatalog }) => {
    const { catalogAt: _, ...facts } = factsOf(withCatalog);
    expect(facts).toEqual(factsOf(withoutCatalog));
  });

  it.each(scoped)('of %s can be told whole again', (_kind, { withCatalog }) => {
    const reading = read(withCatalog, { catalog: true });
    const { facts, catalog } = reading.kind === 'facts' ? reading : expect.unreachable(reading.reason);
    const again = spliceCatalog(Buffer.from(facts.token.claimsJson ?? ''), facts.catalogAt ?? Number.NaN, Buffer.from(catalog ?? ''));
    expect(`{"token": ${Buffer.from(again).toString()}}`).toBe(withCatalog);
  });

  it.each(scoped)('of %s tell the catalog only where it is asked for', (_kind, { withCatalog, withoutCatalog }) => {
    expect(read(withCatalog)).not.toHaveProperty('catalog');
    expect(read(withCatalog, { catalog: false })).not.toHaveProperty('catalog');
    expect(read(withoutCatalog, { catalog: true })).toHaveProperty('catalog', '');
    expect(factsOf(withoutCatalog)).not.toHaveProperty('catalogAt');
  });

  it('keep what no reader keeps: spaces, order, escapes, digits', () => {
    const odd = JSON.stringify(changed({})).replace('{"methods"', '{ "b\\u00e9" : 1.50 , "a":"\\/\\u0041", "methods"');
    expect(odd).toContain('\\u00e9" : 1.50 ,');
    expect(factsOf(odd).token.claimsJson).toBe(odd.slice('{"token":'.length, -1));
  });

  it('of a federated user of three groups have the three', () => {
    const { token, withCatalog } = whole.bodies.federated;
    expect(token).toHaveLength(354);
    expect(whole.bodies.federated_unscoped.token).toHaveLength(311);
    const facts = factsOf(withCatalog);
    expect(facts.token.user?.federation?.groupIds).toHaveLength(3);
    expect(has(facts, 'group')).toHaveLength(3);
    // Full roles, as Keystone keeps them: id and name are what counts.
    expect(facts.token.roles.map(({ name }) => name).sort()).toEqual(['member', 'reader']);
    expect(Object.keys(facts.token.roles[0] ?? {}).sort()).toEqual(['id', 'name']);
  });

  it('of OAuth1 have the consumer and its access', () => {
    const facts = factsOf(whole.bodies.oauth1.withCatalog);
    const { 'OS-OAUTH1': oauth } = JSON.parse(whole.bodies.oauth1.withCatalog).token;
    expect(facts.token).toMatchObject({ methods: ['oauth1'], clientId: oauth.consumer_id, accessTokenId: oauth.access_token_id });
    expect(has(facts, 'access_token')).toEqual([oauth.access_token_id]);
  });

  it('of access rules have the rules', () => {
    const facts = factsOf(whole.bodies.application_credential_access_rules.withCatalog);
    expect(facts.hasAccessRules).toBe(true);
    expect(facts.token.applicationCredential?.accessRules).toEqual([
      { id: expect.stringMatching(/^[0-9a-f]{32}$/), service: 'compute', method: 'GET', path: '/v2.1/servers' },
    ]);
  });
});

describe('what is not a token', () => {
  const without = (key: string): unknown => changed({ [key]: undefined });
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', []],
    ['a string', '"token"'],
    ['text', 'token'],
    ['two catalogs', JSON.stringify(changed({ catalog: [] })).replace('"methods":', '"catalog":[1],"methods":')],
    ['an empty object', {}],
    ['a token that is null', { token: null }],
    ['a list of tokens', { token: [] }],
    ['an error', { error: { code: 404 } }],
    ...['methods', 'user', 'audit_ids', 'expires_at', 'issued_at'].map((key): [string, unknown] => [
      `a token without ${key}`,
      without(key),
    ]),
    ['a token without an audit id', changed({ audit_ids: [] })],
    ['a token with an empty audit id', changed({ audit_ids: [''] })],
    ['a user without an id', changed({ user: { name: 'x', domain: acme } })],
    ['a user without a domain', changed({ user: { id: 'x', name: 'x' } })],
    ['an end in seconds', changed({ expires_at: 1_800_000_000 })],
    ['an end with another zone', changed({ expires_at: '2026-11-21T18:02:05+01:00' })],
    ['an end on 30 February', changed({ expires_at: '2026-02-30T00:00:00Z' })],
    ['an end that is null', changed({ expires_at: null })],
    ['a project and a domain', changed({ domain: acme })],
    ['a project and the system', changed({ system: { all: true } })],
    ['a part of the system', changed({ project: undefined, system: { all: false } })],
    ['a project that is null', changed({ project: null })],
    ['a role without a name', changed({ roles: [{ id: 'x' }] })],
    ['roles that are none', changed({ roles: 'admin' })],
    ['a trust without a trustee', changed({ 'OS-TRUST:trust': { id: 't', impersonation: true, trustor_user: { id: 'a' } } })],
    [
      'impersonation in words',
      changed({ 'OS-TRUST:trust': { id: 't', impersonation: 'no', trustor_user: { id: 'a' }, trustee_user: { id: 'b' } } }),
    ],
    ['an OAuth2 credential without a thumbprint', changed({ oauth2_credential: {} })],
    ['an admin project in words', changed({ is_admin_project: 'False' })],
  ])('%s is no answer', (_what, body) => {
    expect(() => read(body)).toThrow(expect.objectContaining({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' }));
  });

  it('is told without its values', () => {
    expect(() => read(changed({ expires_at: 'secret-value', roles: ['secret-value'] }))).toThrow(/expires_at, roles\.0$/);
  });

  it('never makes anything but facts, inactive or BAD_ANSWER', () => {
    const keys = Object.keys(vectors.tokens.federated_project.body.token);
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
        const body = { token: { ...vectors.tokens.federated_project.body.token, [key]: value } };
        try {
          expect(['facts', 'inactive']).toContain(read(body).kind);
        } catch (cause) {
          // The only way to say "no answer"; anything else is a fault of ours.
          expect(cause).toBeInstanceOf(SidecarError);
          expect(cause).toMatchObject({ reason: 'BAD_ANSWER' });
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a time of Keystone', () => {
  it.each([
    ['2026-11-21T18:02:05.000000Z', Date.UTC(2026, 10, 21, 18, 2, 5)],
    ['2026-11-21T18:02:05Z', Date.UTC(2026, 10, 21, 18, 2, 5)],
    ['2026-11-21T18:02:05.999999Z', Date.UTC(2026, 10, 21, 18, 2, 5)],
    ['2028-02-29T23:59:59.000000Z', Date.UTC(2028, 1, 29, 23, 59, 59)],
    ['2026-02-29T00:00:00Z', undefined],
    ['2026-13-01T00:00:00Z', undefined],
    ['2026-11-21T24:00:00Z', undefined],
    ['2026-11-21 18:02:05Z', undefined],
    ['2026-11-21T18:02:05', Date.UTC(2026, 10, 21, 18, 2, 5)],
    ['2026-11-21T18:02:05.123456', Date.UTC(2026, 10, 21, 18, 2, 5)],
    ['2026-11-21T18:02:05+00:00', undefined],
    ['2026-11-21T18:02:05.Z', undefined],
    [' 2026-11-21T18:02:05Z', undefined],
    ['', undefined],
  ])('"%s" is %s', (text, expected) => {
    expect(keystoneTimeMs(text)).toBe(expected);
  });
});
