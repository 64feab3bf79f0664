// `decide`: every reason, at its edges (S4, S12, S16).

import { describe, expect, it } from 'vitest';
import { type Demand, decide, type LifeRules, type Standing, standingOf } from '../../src/core/decision.ts';
import type { Facts, Token } from '../../src/core/token.ts';

const token: Token = {
  issuer: 'central',
  format: 'opaque',
  issuedAtMs: 10_000,
  expiresAtMs: 20_000,
  scope: { kind: 'project', project: { id: 'p1', isDomain: false } },
  roles: [{ id: 'r', name: 'member' }],
  methods: [],
  auditIds: [],
  audiences: ['api'],
  scopes: ['read', 'write'],
  isAdminProject: false,
};
const rules: LifeRules = { maxTokenLifeMs: 60_000, skewMs: 0, leewayMs: 0, endless: false, needsIssueTime: false, audiences: [] };
const factsOf = (part: Partial<Token>, rest: Partial<Facts> = {}): Facts => ({
  token: { ...token, ...part },
  hasAccessRules: false,
  unknown: [],
  ...rest,
});
const standing = (part: Partial<Token> = {}, rest: Partial<Facts> = {}, life: Partial<LifeRules> = {}): Standing =>
  standingOf(factsOf(part, rest), { ...rules, ...life }, 10_000);
const reason = (of: Standing, nowMs: number, demand?: Demand, revoked = false): string => {
  const decision = decide({ issuer: { name: token.issuer }, standing: of, token: () => token }, revoked, demand, nowMs);
  return decision.active ? 'active' : decision.reason;
};

describe('S12 the life of a token', () => {
  it('is over at its first instant of being expired', () => {
    expect(reason(standing(), 19_999)).toBe('active');
    expect(reason(standing(), 20_000)).toBe('EXPIRED');
  });
  it('begins at nbf, the issuer’s skew allowed for', () => {
    const late = standing({}, { notBeforeMs: 15_000 }, { skewMs: 1000 });
    expect(reason(late, 13_999)).toBe('NOT_YET_VALID');
    expect(reason(late, 14_000)).toBe('active');
  });
  it('does not begin before the issue: a token from the future would escape every cut-off', () => {
    expect(reason(standing({ issuedAtMs: 15_000 }), 14_999)).toBe('NOT_YET_VALID');
  });
  it('may be as long as allowed, not a second longer', () => {
    expect(reason(standing({ expiresAtMs: 70_000 }), 10_000)).toBe('active');
    expect(reason(standing({ expiresAtMs: 71_000 }), 10_000)).toBe('LIFETIME_TOO_LONG');
  });
  it('without an end is over at issue + the longest life', () => {
    const { expiresAtMs: _, ...endless } = token;
    const open = standingOf({ token: endless, hasAccessRules: false, unknown: [] }, rules, 0);
    expect(reason(open, 69_999)).toBe('active');
    expect(reason(open, 70_000)).toBe('EXPIRED');
  });
  it('without issue and end is none, unless the issuer’s tokens are endless', () => {
    const { expiresAtMs: _, issuedAtMs: __, ...timeless } = token;
    const facts: Facts = { token: timeless, hasAccessRules: false, unknown: [] };
    expect(reason(standingOf(facts, rules, 10_000), 10_000)).toBe('LIFETIME_TOO_LONG');
    expect(reason(standingOf(facts, { ...rules, endless: true }, 10_000), 1e15)).toBe('active');
  });
});

describe('S12 the issue time that an issuer’s tokens need', () => {
  it('makes a token without it none, however near its end', () => {
    const { issuedAtMs: _, ...ageless } = token;
    const facts: Facts = { token: ageless, hasAccessRules: false, unknown: [] };
    expect(reason(standingOf(facts, { ...rules, needsIssueTime: true }, 19_000), 19_500)).toBe('LIFETIME_TOO_LONG');
    expect(reason(standingOf(facts, rules, 19_000), 19_500)).toBe('active');
  });
});

describe('the audiences that an issuer’s configuration accepts', () => {
  const outside = standing({}, {}, { audiences: ['elsewhere', 'farther'] });
  const inside = standing({}, {}, { audiences: ['elsewhere', 'api'] });

  it.each<[string, Standing, Demand | undefined, string]>([
    ['a token outside of them, where nothing is demanded', outside, undefined, 'WRONG_AUDIENCE'],
    ['a token outside of them, where something else is demanded', outside, { anyOfRoles: ['member'] }, 'WRONG_AUDIENCE'],
    ['a token outside of them, where an empty list is demanded', outside, { anyOfAudiences: [] }, 'WRONG_AUDIENCE'],
    [
      'a token outside of them, where one that it has is demanded: the demand replaces them',
      outside,
      { anyOfAudiences: ['api'] },
      'active',
    ],
    ['a token outside of them, where one that it lacks is demanded', outside, { anyOfAudiences: ['elsewhere'] }, 'WRONG_AUDIENCE'],
    ['a token inside, where nothing is demanded', inside, undefined, 'active'],
    ['a token inside, where one that it lacks is demanded', inside, { anyOfAudiences: ['elsewhere'] }, 'WRONG_AUDIENCE'],
    ['a token without any', standing({ audiences: [] }, {}, { audiences: ['api'] }), undefined, 'WRONG_AUDIENCE'],
    ['a token without any, where none is configured', standing({ audiences: [] }), undefined, 'active'],
    ['any token, where none is configured', standing(), undefined, 'active'],
  ])('judge %s', (_what, of, demand, wanted) => {
    expect(reason(of, 15_000, demand)).toBe(wanted);
  });

  it('say nothing of a token that is dead or bound', () => {
    expect(reason(outside, 15_000, undefined, true)).toBe('REVOKED');
    expect(reason(standing({ certificateThumbprint: 'thumb' }, {}, { audiences: ['elsewhere'] }), 15_000)).toBe('WRONG_CERTIFICATE');
  });
});

describe('a demand', () => {
  it.each<[string, Demand, string]>([
    ['its project', { scope: { kind: 'project', id: 'p1' } }, 'active'],
    ['another project', { scope: { kind: 'project', id: 'p2' } }, 'WRONG_SCOPE'],
    ['a domain of the same id', { scope: { kind: 'domain', id: 'p1' } }, 'WRONG_SCOPE'],
    ['the system', { scope: { kind: 'system' } }, 'WRONG_SCOPE'],
    ['one of several roles', { anyOfRoles: ['admin', 'member'] }, 'active'],
    ['a role it lacks', { anyOfRoles: ['admin'] }, 'MISSING_ROLE'],
    ['a role by id', { anyOfRoles: ['r'] }, 'MISSING_ROLE'],
    ['its audience', { anyOfAudiences: ['x', 'api'] }, 'active'],
    ['another audience', { anyOfAudiences: ['x'] }, 'WRONG_AUDIENCE'],
    ['all scopes it has', { allOfScopes: ['read', 'write'] }, 'active'],
    ['one scope too many', { allOfScopes: ['read', 'admin'] }, 'MISSING_SCOPE'],
    ['its issuer', { anyOfIssuers: ['central'] }, 'active'],
    ['another issuer', { anyOfIssuers: ['corp'] }, 'WRONG_ISSUER'],
    ['nothing in empty lists', { anyOfRoles: [], allOfScopes: [], anyOfIssuers: [], anyOfAudiences: [] }, 'active'],
  ])('for %s', (_what, demand, wanted) => {
    expect(reason(standing(), 15_000, demand)).toBe(wanted);
  });
});

describe('S16 bound tokens', () => {
  it('need their certificate', () => {
    const bound = standing({ certificateThumbprint: 'thumb' });
    expect(reason(bound, 15_000)).toBe('WRONG_CERTIFICATE');
    expect(reason(bound, 15_000, { certificateThumbprint: 'other' })).toBe('WRONG_CERTIFICATE');
    expect(reason(bound, 15_000, { certificateThumbprint: 'thumb' })).toBe('active');
  });
  it('with access rules are inactive: no demand can name the request yet', () => {
    expect(reason(standing({}, { hasAccessRules: true }), 15_000)).toBe('ACCESS_DENIED');
  });
});

it('a revoked token is revoked whatever is demanded of it', () => {
  expect(reason(standing(), 15_000, { scope: { kind: 'project', id: 'p2' } }, true)).toBe('REVOKED');
});
it('the token is not decoded where no demand needs it', () => {
  const untouched = { issuer: { name: 'central' }, standing: standing(), token: (): Token => expect.fail('decoded') };
  const nothing = { anyOfAudiences: [], anyOfRoles: [], allOfScopes: [], access: 'enforced-by-caller' as const };
  expect(decide(untouched, false, undefined, 15_000)).toEqual({ active: true });
  expect(decide(untouched, false, { anyOfIssuers: ['central'], ...nothing }, 15_000)).toEqual({ active: true });
  expect(decide(untouched, false, { anyOfIssuers: ['other'] }, 15_000)).toEqual({ active: false, reason: 'WRONG_ISSUER' });
});

describe('S12 a token that does not tell its issue', () => {
  const { issuedAtMs: _, ...told } = token;
  const facts: Facts = { token: told, hasAccessRules: false, unknown: [] };

  it('is none where the token itself must say how long it lives, now and later', () => {
    const strict = standingOf(facts, { ...rules, needsIssueTime: true }, 10_000);
    expect([10_000, 19_000].map((nowMs) => reason(strict, nowMs))).toEqual(['LIFETIME_TOO_LONG', 'LIFETIME_TOO_LONG']);
  });
  it('is counted from when its authority was asked, where that can be asked again', () => {
    expect(reason(standingOf(facts, rules, 10_000), 15_000)).toBe('active');
  });
});
