import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClaimsReading, factsFromClaims } from '../../src/core/claims.ts';
import type { Facts } from '../../src/core/token.ts';

const thumbprint = 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0';
const complete = { issuer: 'corp', format: 'jwt', complete: true };
const partial = { issuer: 'partner', format: 'opaque', complete: false };

function read(claims: object, context = complete): ClaimsReading {
  return factsFromClaims(claims as Record<string, unknown>, context);
}

function factsOf(claims: object, context = complete): Facts {
  const reading = read(claims, context);
  if (reading.kind !== 'facts') throw new Error(`no facts: ${reading.claim}`);
  return reading.facts;
}

describe('facts from claims', () => {
  it('says all that a full token says', () => {
    const claims = {
      iss: 'https://login.example.com',
      sub: 'u1',
      preferred_username: 'alice',
      name: 'Alice A.',
      exp: 1_800_000_300,
      nbf: 1_800_000_000,
      iat: 1_799_999_999,
      jti: 'j1',
      sid: 's1',
      client_id: 'c1',
      azp: 'c2',
      aud: ['https://api.example.com', 'https://other.example.com'],
      scope: 'read write',
      roles: ['admin', 'reader'],
      realm_access: { roles: ['reader', 'auditor'] },
      amr: ['pwd', 'otp'],
      cnf: { 'x5t#S256': thumbprint },
    };

    expect(factsOf(claims)).toEqual({
      token: {
        issuer: 'corp',
        format: 'jwt',
        issuedAtMs: 1_799_999_999_000,
        expiresAtMs: 1_800_000_300_000,
        user: { id: 'u1', name: 'alice' },
        scope: { kind: 'unscoped' },
        roles: ['admin', 'reader', 'auditor'].map((name) => ({ id: '', name })),
        methods: ['pwd', 'otp'],
        auditIds: [],
        tokenId: 'j1',
        sessionId: 's1',
        clientId: 'c1',
        audiences: ['https://api.example.com', 'https://other.example.com'],
        scopes: ['read', 'write'],
        certificateThumbprint: thumbprint,
        isAdminProject: false,
        claimsJson: JSON.stringify(claims),
      },
      identity: 'j1',
      notBeforeMs: 1_800_000_000_000,
      hasAccessRules: false,
      unknown: [],
    });
  });

  it('leaves absent what a complete token does not say', () => {
    expect(factsOf({})).toEqual({
      token: {
        issuer: 'corp',
        format: 'jwt',
        scope: { kind: 'unscoped' },
        roles: [],
        methods: [],
        auditIds: [],
        audiences: [],
        scopes: [],
        isAdminProject: false,
        claimsJson: '{}',
      },
      hasAccessRules: false,
      unknown: [],
    });
  });

  it('takes what an incomplete answer does not say as unknown', () => {
    expect(factsOf({}, partial).unknown).toEqual(['user', 'client', 'session', 'role', 'group']);
    expect(factsOf({ sub: 'u', client_id: 'c', sid: 's', roles: ['r'] }, partial).unknown).toEqual(['group']);
  });

  it.each(['sub', 'jti', 'sid', 'client_id', 'azp', 'aud', 'scope', 'exp', 'nbf', 'iat', 'cnf', 'roles', 'amr'])(
    'takes a null %s as absent',
    (name) => {
      expect(factsOf({ [name]: null })).toEqual({ ...factsOf({}), token: { ...factsOf({}).token, claimsJson: `{"${name}":null}` } });
    },
  );

  it('takes an empty id as absent, so that a token always has an identity', () => {
    const facts = factsOf({ jti: '', sub: '', sid: '', client_id: '' });

    expect(facts).not.toHaveProperty('identity');
    expect(facts.token).not.toHaveProperty('tokenId');
    expect(facts.token).not.toHaveProperty('user');
  });

  it.each([
    ['sub', 7],
    ['jti', { a: 1 }],
    ['jti', 'a\u0000b'],
    ['sid', ['s']],
    ['client_id', false],
    ['azp', 'a\nb'],
    ['aud', 7],
    ['aud', ['a', 7]],
    ['aud', { a: 1 }],
    ['scope', 7],
    ['scp', ['a', null]],
    ['exp', '1800000000'],
    ['exp', -1],
    ['exp', 253_402_300_800],
    ['exp', Number.NaN],
    ['exp', Number.POSITIVE_INFINITY],
    ['exp', true],
    ['iat', -0.5],
    ['iat', 1e300],
    ['nbf', [1]],
    ['nbf', '0'],
    ['cnf', 'x'],
    ['cnf', []],
    ['cnf', {}],
    ['cnf', { 'x5t#S256': 7 }],
    ['cnf', { 'x5t#S256': 'short' }],
    ['cnf', { 'x5t#S256': `${thumbprint}=` }],
    ['cnf', { 'x5t#S256': `${thumbprint.slice(0, -1)}1` }],
  ])('finds %s: %j malformed, and names the claim', (claim, value) => {
    expect(read({ [claim]: value })).toEqual({ kind: 'inactive', reason: 'MALFORMED', claim });
  });

  it.each([
    ['a DPoP key', { jkt: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs' }],
    ['a DPoP key beside a certificate', { 'x5t#S256': thumbprint, jkt: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs' }],
    ['a key by value', { jwk: { kty: 'EC' } }],
    ['a key by name', { kid: 'k' }],
  ])('never lets a token pass that is bound to %s', (_what, cnf) => {
    expect(read({ cnf })).toEqual({ kind: 'inactive', reason: 'WRONG_CERTIFICATE', claim: 'cnf' });
  });

  it('makes fractions whole towards distrust', () => {
    const facts = factsOf({ exp: 1_800_000_300.9, nbf: 1_800_000_000.1, iat: 1_799_999_999.9 });

    expect(facts.token.expiresAtMs).toBe(1_800_000_300_000);
    expect(facts.notBeforeMs).toBe(1_800_000_001_000);
    expect(facts.token.issuedAtMs).toBe(1_799_999_999_000);
  });

  it('reads the first and the last second that the wire can tell', () => {
    expect(factsOf({ iat: 0, exp: 253_402_300_799 }).token).toMatchObject({ issuedAtMs: 0, expiresAtMs: 253_402_300_799_000 });
  });

  it.each([
    [{ scope: ' a  b a ' }, ['a', 'b']],
    [{ scp: ['a', 'b'] }, ['a', 'b']],
    [{ scp: 'a b' }, ['a', 'b']],
    [{ scope: 'a', scp: ['b', 'a'] }, ['a', 'b']],
    [{ scope: '' }, []],
  ])('reads the scopes of %j', (claims, scopes) => {
    expect(factsOf(claims).token.scopes).toEqual(scopes);
  });

  it('takes one audience as a list of one, spaces and all', () => {
    expect(factsOf({ aud: 'my api' }).token.audiences).toEqual(['my api']);
  });

  it.each([{ roles: 'admin' }, { roles: ['a', { value: 'b' }] }, { realm_access: { roles: 7 } }, { realm_access: 'x' }])(
    'knows that there are roles that it cannot read in %j',
    (claims) => {
      expect(factsOf(claims).unknown).toEqual(['role']);
    },
  );

  it('takes the party that it was issued to where no client is named', () => {
    expect(factsOf({ azp: 'c2' }).token.clientId).toBe('c2');
  });

  it('reads or refuses any object, and throws at none', () => {
    const claim = fc.constantFrom(
      'sub',
      'jti',
      'sid',
      'client_id',
      'azp',
      'aud',
      'scope',
      'scp',
      'exp',
      'nbf',
      'iat',
      'cnf',
      'roles',
      'realm_access',
      'amr',
    );
    fc.assert(
      fc.property(fc.dictionary(claim, fc.jsonValue()), fc.boolean(), (claims, isComplete) => {
        expect(['facts', 'inactive']).toContain(read(claims, { ...complete, complete: isComplete }).kind);
      }),
    );
  });
});
