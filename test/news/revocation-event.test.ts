// What a row of Keystone's revocation events means here, and that it never means less than it means to Keystone.

import { assert, constant, constantFrom, integer, json, option, property, record, subarray, tuple } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributesOf } from '../../src/core/attributes.ts';
import type { Facts, Scope } from '../../src/core/token.ts';
import { readRevocationEvent } from '../../src/news/revocation-event.ts';
import type { NewsInvalidation } from '../../src/ports.ts';

const atMs = Date.UTC(2026, 10, 21, 17, 58, 42);
const times = { issued_before: '2026-11-21T17:58:42.000000Z', revoked_at: '2026-11-21T17:58:42.000000Z' };
const listedAtMs = atMs + 5_000;
const read = (row: unknown) => readRevocationEvent(row, listedAtMs);
const kills = (...conditions: (readonly [string, string])[]): object => ({
  effect: 'REVOKE',
  conditions: conditions.map(([dimension, value]) => ({ dimension, value })),
  issuedBeforeMs: atMs,
});
const refreshes = (...conditions: (readonly [string, string])[]): object => ({
  effect: 'REFRESH',
  conditions: conditions.map(([dimension, value]) => ({ dimension, value })),
});
const wide = { effect: 'REFRESH', conditions: [], isWide: true };

describe('S8 a row of revocation events', () => {
  test.each([
    ['user_id', 'user'],
    ['domain_id', 'domain'],
    ['domain_scope_id', 'scope_domain'],
    ['role_id', 'role'],
    ['audit_id', 'identity'],
    ['OS-TRUST:trust_id', 'trust'],
    ['OS-OAUTH1:consumer_id', 'client'],
  ])('with %s alone revokes by %s, inclusive of the second of its cut-off', (field, dimension) => {
    expect(read({ [field]: 'x', ...times }).invalidations).toEqual([kills([dimension, 'x'])]);
  });

  test('with project_id alone also refreshes the domain of that id: that of a deleted domain is a project’s', () => {
    expect(read({ project_id: 'p', ...times }).invalidations).toEqual([kills(['project', 'p']), refreshes(['domain', 'p'])]);
  });

  test('with several fields revokes what fits all of them', () => {
    const { invalidations } = read({ user_id: 'u', project_id: 'p', role_id: 'r', ...times });
    expect(invalidations).toEqual([kills(['user', 'u'], ['project', 'p'], ['role', 'r'])]);
  });

  test('whose fields are all null revokes everything, and its refresh is spread', () => {
    expect(read({ user_id: null, project_id: null, ...times }).invalidations).toEqual([
      { effect: 'REVOKE', conditions: [], issuedBeforeMs: atMs, isWide: true },
    ]);
    expect(read(times).invalidations).toEqual(read({ user_id: null, ...times }).invalidations);
  });

  test.each([
    ['audit_chain_id alone', { audit_chain_id: 'c' }, [refreshes(['chain', 'c'])]],
    ['audit_chain_id and a project', { audit_chain_id: 'c', project_id: 'p' }, [refreshes(['chain', 'c'], ['project', 'p'])]],
    ['a user and expires_at', { user_id: 'u', expires_at: '2026-11-21T18:00:00Z' }, [refreshes(['user', 'u'])]],
    ['a domain’s token and its end', { domain_scope_id: 'd', expires_at: '2026-11-21T18:00:00Z' }, [refreshes(['scope_domain', 'd'])]],
    ['a user and an access token', { user_id: 'u', 'OS-OAUTH1:access_token_id': 'a' }, [refreshes(['user', 'u'])]],
    ['a user and a field of another version', { user_id: 'u', idp_id: 'i' }, [refreshes(['user', 'u'])]],
    ['a user that is no text', { user_id: 7, role_id: 'r' }, [refreshes(['role', 'r'])]],
    ['a user that is empty', { user_id: '', role_id: 'r' }, [refreshes(['role', 'r'])]],
    ['a user that is too long', { user_id: 'u'.repeat(1_025), role_id: 'r' }, [refreshes(['role', 'r'])]],
    ['expires_at alone', { expires_at: '2026-11-21T18:00:00Z' }, [wide]],
    ['an access token alone, which Keystone compares at no place', { 'OS-OAUTH1:access_token_id': 'a' }, [wide]],
    ['fields of another version alone', { idp_id: 'i' }, [wide]],
    ['the name of what every object has', { constructor: 'x', toString: 'y' }, [wide]],
  ])('with what is not understood (%s) refreshes the rest', (_what, fields, invalidations) => {
    expect(read({ ...fields, ...times }).invalidations).toEqual(invalidations);
  });

  test.each([
    ['none', {}],
    ['null', { issued_before: null }],
    ['nonsense', { issued_before: 'soon' }],
  ])('whose cut-off is %s refreshes', (_what, cutOff) => {
    expect(read({ user_id: 'u', revoked_at: times.revoked_at, ...cutOff }).invalidations).toEqual([refreshes(['user', 'u'])]);
  });

  test('with one condition more than a selector holds refreshes by four of them, with as many revokes', () => {
    const four = { user_id: 'u', project_id: 'p', domain_id: 'd', role_id: 'r' };
    const conditions = [['user', 'u'] as const, ['project', 'p'] as const, ['domain', 'd'] as const, ['role', 'r'] as const];
    expect(read({ ...four, ...times }).invalidations).toEqual([kills(...conditions)]);
    expect(read({ ...four, audit_id: 'a', ...times }).invalidations).toEqual([refreshes(...conditions)]);
  });

  test.each([[null], [undefined], ['text'], [7], [[{ user_id: 'u' }]], [true]])(
    'that is no row (%j) refreshes everything, spread',
    (row) => {
      expect(read(row)).toMatchObject({ event: 'OS-REVOKE everything', atMs: listedAtMs, about: [], invalidations: [wide] });
    },
  );

  test('tells when it was written, else its cut-off, else when it was listed', () => {
    expect(read({ user_id: 'u', ...times, revoked_at: '2026-11-21T17:58:43.000000Z' }).atMs).toBe(atMs + 1_000);
    expect(read({ user_id: 'u', issued_before: times.issued_before }).atMs).toBe(atMs);
    expect(read({ user_id: 'u' }).atMs).toBe(listedAtMs);
  });

  test('tells whom it is about, as the bus would, and its fields by name', () => {
    const named = read({ user_id: 'u', project_id: 'p', 'OS-TRUST:trust_id': 't', 'OS-OAUTH1:consumer_id': 'c', ...times });
    expect(named.about).toEqual(['u', 'p', 't', 'c']);
    expect(read({ audit_id: 'a', domain_id: 'd', role_id: 'r', ...times }).about).toEqual([]);
    expect(read({ user_id: 'secret', project_id: 'p', shoe_size: 'secret', ...times }).event).toBe('OS-REVOKE other project_id user_id');
    expect(read(times).event).toBe('OS-REVOKE everything');
  });

  test('has one name however it is spelt, and another where it says something else', () => {
    const one = { user_id: 'u', ...times };
    expect(read({ revoked_at: times.revoked_at, project_id: null, issued_before: times.issued_before, user_id: 'u' }).id).toBe(
      read(one).id,
    );
    const others = [
      { ...one, user_id: 'v' },
      { ...one, role_id: 'u' },
      { ...one, issued_before: '2026-11-21T17:58:41.000000Z' },
      { ...one, revoked_at: '2026-11-21T17:58:43.000000Z' },
      times,
      [one],
    ];
    expect(new Set([one, ...others].map((row) => read(row).id)).size).toBe(others.length + 1);
  });

  test('is read whatever it is: random JSON, and what is nested without end', () => {
    assert(
      property(json(), (text) => {
        const news = read(JSON.parse(text));
        expect(news.invalidations.length).toBeGreaterThan(0);
      }),
    );
    let deep: unknown = {};
    for (let n = 0; n < 100_000; n += 1) deep = { deep };
    expect(read(deep).invalidations).toEqual([wide]);
  });
});

describe('S4 S8 held against Keystone’s own matching', () => {
  // keystone.models.revoke_model: `build_token_values`, then the filter of the SQL back end, then `matches`.
  interface Subject {
    readonly userId: string;
    readonly userDomainId: string;
    readonly trust: { readonly trustorId: string; readonly impersonation: boolean } | null;
    readonly scope: 'unscoped' | 'project' | 'domain';
    readonly placeId: string;
    readonly roleIds: readonly string[];
    readonly consumerId: string | null;
    readonly auditIds: readonly string[];
    readonly issuedAtMs: number;
  }
  const ids = ['a', 'b'] as const;
  const id = constantFrom(...ids);
  const seconds = integer({ min: 0, max: 2 }).map((n) => atMs + n * 1_000);
  const iso = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;

  const subjects = record({
    userId: id,
    userDomainId: id,
    trust: option(record({ trustorId: id, impersonation: constantFrom(true, false) })),
    scope: constantFrom('unscoped' as const, 'project' as const, 'domain' as const),
    placeId: id,
    roleIds: subarray([...ids]),
    consumerId: option(id),
    auditIds: constantFrom(['own'], ['own', 'a'], ['own', 'b'], ['a'], ['b']),
    issuedAtMs: seconds,
  });
  const fields = {
    user_id: id,
    project_id: id,
    domain_id: id,
    domain_scope_id: id,
    role_id: id,
    audit_id: constantFrom('a', 'b', 'own'),
    audit_chain_id: id,
    'OS-TRUST:trust_id': constant('t'),
    'OS-OAUTH1:consumer_id': id,
    'OS-OAUTH1:access_token_id': id,
    expires_at: constant('2026-11-21T18:00:00Z'),
  };
  const whole = record({ ...fields, issued_before: seconds.map(iso), revoked_at: constant(times.revoked_at) });
  // Most rows have a field or two.
  const rows = tuple(subarray(Object.keys(fields), { maxLength: 3 }), whole).map(
    ([some, all]): Row => Object.fromEntries(Object.entries(all).filter(([name]) => some.includes(name) || name in times)),
  );
  type Row = Readonly<Partial<Record<string, string>>>;

  /** As Keystone decides. `null` in a row fits everything; the end of these tokens is never the row's. */
  function keystoneRevokes(row: Row, it: Subject): boolean {
    const among = (field: string, ...own: readonly (string | null | undefined)[]): boolean =>
      row[field] === undefined || own.includes(row[field]);
    return (
      Date.parse(row['issued_before'] ?? '') >= it.issuedAtMs &&
      among('user_id', it.userId, it.trust?.trustorId, it.trust ? it.userId : undefined) &&
      among('project_id', it.scope === 'project' ? it.placeId : undefined) &&
      among('audit_id', it.auditIds[0]) &&
      among('OS-TRUST:trust_id', it.trust ? 't' : undefined) &&
      among('domain_id', it.userDomainId, it.scope === 'domain' ? it.placeId : undefined) &&
      among('domain_scope_id', it.scope === 'domain' ? it.placeId : undefined) &&
      among('expires_at', undefined) &&
      among('OS-OAUTH1:consumer_id', it.consumerId) &&
      among('audit_chain_id', it.auditIds[1]) &&
      among('role_id', ...(it.scope === 'unscoped' ? [] : it.roleIds))
    );
  }

  function factsOf(it: Subject): Facts {
    const hidesDomain = it.trust?.impersonation === true;
    const scope: Scope =
      it.scope === 'project'
        ? { kind: 'project', project: { id: it.placeId, isDomain: false, domain: { id: 'elsewhere' } } }
        : it.scope === 'domain'
          ? { kind: 'domain', domain: { id: it.placeId } }
          : { kind: 'unscoped' };
    return {
      token: {
        issuer: 'central',
        format: 'opaque',
        issuedAtMs: it.issuedAtMs,
        // With impersonation a token tells the trustor, and nothing of the trustee but its id.
        user: hidesDomain
          ? { id: it.trust?.trustorId ?? '', domain: { id: 'hidden' } }
          : { id: it.userId, domain: { id: it.userDomainId } },
        scope,
        roles: it.scope === 'unscoped' ? [] : it.roleIds.map((roleId) => ({ id: roleId, name: roleId })),
        methods: [],
        auditIds: it.auditIds,
        audiences: [],
        scopes: [],
        ...(it.consumerId === null ? {} : { clientId: it.consumerId }),
        ...(it.trust && {
          trust: { id: 't', trustorUserId: it.trust.trustorId, trusteeUserId: it.userId, impersonation: it.trust.impersonation },
        }),
        isAdminProject: true,
      },
      identity: it.auditIds[0] ?? '',
      hasAccessRules: false,
      unknown: hidesDomain ? ['user_domain'] : [],
    };
  }

  /** S2, S4 in one line: `certain` where every condition is told and fits. */
  function match(invalidation: NewsInvalidation, facts: Facts): 'no' | 'certain' | 'perhaps' {
    const attributes = attributesOf(facts, facts.identity ?? '');
    const told = invalidation.conditions.map(({ dimension, value }) =>
      attributes.some((one) => one.dimension === dimension && one.value === value)
        ? 'certain'
        : attributes.some((one) => one.dimension === dimension && one.value === undefined)
          ? 'perhaps'
          : 'no',
    );
    return told.includes('no') ? 'no' : told.includes('perhaps') ? 'perhaps' : 'certain';
  }

  function verdict(row: Row, it: Subject): 'killed' | 'asked' | 'spared' {
    const facts = factsOf(it);
    const { invalidations } = read(row);
    const namesOne = (one: NewsInvalidation): boolean => one.conditions.some(({ dimension }) => dimension === 'identity');
    const kills = invalidations.some(
      (one) =>
        one.effect === 'REVOKE' && match(one, facts) === 'certain' && (namesOne(one) || it.issuedAtMs <= (one.issuedBeforeMs ?? Infinity)),
    );
    // A REVOKE by news is a REFRESH too.
    return kills ? 'killed' : invalidations.some((one) => match(one, facts) !== 'no') ? 'asked' : 'spared';
  }

  test('what Keystone revokes is killed here or asked about again, and what is killed here Keystone revokes', () => {
    assert(
      property(rows, subjects, (row, subject) => {
        const ours = verdict(row, subject);
        if (keystoneRevokes(row, subject)) expect(ours).not.toBe('spared');
        // One that is named is dead whenever it was issued: its own revocation cannot be older than it.
        else if (row['audit_id'] === undefined) expect(ours).not.toBe('killed');
      }),
      { numRuns: 5_000 },
    );
  });

  test('the three verdicts all occur', () => {
    const seen = new Set<string>();
    assert(
      property(rows, subjects, (row, subject) => void seen.add(`${verdict(row, subject)} ${keystoneRevokes(row, subject)}`)),
      { numRuns: 5_000 },
    );
    expect([...seen]).toEqual(expect.arrayContaining(['killed true', 'asked true', 'asked false', 'spared false']));
  });
});
