// Which issuer is asked: by prefix, then by shape, never by trial.

import { describe, expect, it } from 'vitest';
import { type Claimant, dispatch } from '../../src/core/dispatch.ts';
import { shapeOf } from '../../src/core/raw.ts';

const keystone: Claimant = { name: 'keystone', accepts: ['fernet', 'uuid'] };
const corp: Claimant = { name: 'corp', accepts: ['jwt'], jwtIssuer: 'https://corp' };
const lab: Claimant = { name: 'lab', accepts: ['jwt'], jwtIssuer: 'https://lab' };
const partner: Claimant = { name: 'partner', accepts: ['opaque'], prefix: 'ptr_' };
const inner: Claimant = { name: 'inner', accepts: ['opaque'], prefix: 'ptr_in_' };
const rest: Claimant = { name: 'rest', accepts: ['opaque'] };
const jwt = (iss: string): string => `eyJhbGciOiJFUzI1NiJ9.${Buffer.from(JSON.stringify({ iss })).toString('base64url')}.c2ln`;
const to = (issuers: Claimant[], raw: string): string => {
  const found = dispatch(issuers, raw, shapeOf(raw));
  return found.kind === 'issuer' ? found.issuer.name : found.reason;
};

describe('a token goes', () => {
  const all = [keystone, corp, lab, partner, inner, rest];
  it('by the issuer that a JWT names', () => expect([to(all, jwt('https://corp')), to(all, jwt('https://lab'))]).toEqual(['corp', 'lab']));
  it('nowhere as a JWT of an issuer that is not configured, even where somebody takes opaque ones', () =>
    expect(to(all, jwt('https://evil'))).toBe('WRONG_ISSUER'));
  it('to whoever takes opaque ones where nobody takes JWTs', () => expect(to([rest], jwt('https://any'))).toBe('rest'));
  it('by the longest prefix', () => expect([to(all, 'ptr_1'), to(all, 'ptr_in_1')]).toEqual(['partner', 'inner']));
  it('by its own shape before "opaque"', () => expect(to(all, '0123456789abcdef0123456789abcdef')).toBe('keystone'));
  it('to "opaque" where no shape fits', () => expect(to(all, 'xyz')).toBe('rest'));
  it('nowhere where nobody takes it', () => expect(to([keystone, partner], 'xyz')).toBe('MALFORMED'));
  it('nowhere where it is malformed', () => expect(to(all, 'a b')).toBe('MALFORMED'));
});
