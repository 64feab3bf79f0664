// Tokens on the wire: what a client reads is what the sidecar knew.
import { describe, expect, it } from 'vitest';
import type { Scope, Token } from '../../src/core/token.ts';
import { Token as TokenMessage } from '../../src/gen/sidegate/v1/token_service.ts';
import { tokenFromMessage, tokenToMessage } from '../../src/wire/token.ts';

const bare: Token = {
  issuer: 'central',
  format: 'opaque',
  scope: { kind: 'unscoped' },
  roles: [],
  methods: [],
  auditIds: [],
  audiences: [],
  scopes: [],
  isAdminProject: false,
};
const domain = { id: 'd1', name: 'Default' };
const full: Token = {
  ...bare,
  issuedAtMs: 1_700_000_000_000,
  expiresAtMs: 1_700_003_600_000,
  user: {
    id: 'u1',
    name: 'alice',
    domain,
    passwordExpiresAtMs: 1_800_000_000_000,
    federation: { identityProviderId: 'idp', protocolId: 'mapped', groupIds: ['g1', 'g2'] },
  },
  scope: { kind: 'project', project: { id: 'p1', name: 'web', domain, isDomain: true } },
  roles: [
    { id: 'r1', name: 'member' },
    { id: '', name: 'reader' },
  ],
  methods: ['password', 'totp'],
  auditIds: ['a1', 'a0'],
  tokenId: 'jti',
  sessionId: 'sid',
  clientId: 'client',
  audiences: ['nova'],
  scopes: ['read'],
  trust: { id: 't1', trustorUserId: 'u1', trusteeUserId: 'u2', impersonation: true },
  applicationCredential: { id: 'ac', name: 'ci', restricted: true },
  accessTokenId: 'at',
  certificateThumbprint: 'x5t',
  isAdminProject: true,
  claimsJson: '{"sub":"u1"}',
};
const scopes: Scope[] = [
  { kind: 'domain', domain: { id: 'd' } },
  { kind: 'system' },
  { kind: 'project', project: { id: 'p', isDomain: false } },
];
const there = (token: Token, claims = true) =>
  tokenFromMessage(TokenMessage.decode(TokenMessage.encode(tokenToMessage(token, { claims })).finish()));

describe('a token on the wire', () => {
  it('comes back with every fact', () => {
    expect(there(full)).toEqual(full);
  });

  it('comes back without what it did not have', () => {
    expect(there(bare)).toEqual(bare);
  });

  it.each(scopes)('keeps its scope: $kind', (scope) => {
    expect(there({ ...bare, scope }).scope).toEqual(scope);
  });

  it('carries its claims only when they are included', () => {
    expect(there(full, false)).not.toHaveProperty('claimsJson');
  });

  it('with an end that is no time is not read: without it the token would have no end', () => {
    const message = { ...tokenToMessage(bare, { claims: false }), expiresAt: new Date(Number.NaN) };
    expect(() => tokenFromMessage(message)).toThrow(expect.objectContaining({ reason: 'TIME_OUT_OF_RANGE' }));
  });

  it('of a part of the system has no system scope', () => {
    const message = tokenToMessage(bare, { claims: false });
    expect(tokenFromMessage({ ...message, scope: { $case: 'system', value: { all: false } } }).scope).toEqual({ kind: 'unscoped' });
  });
});
