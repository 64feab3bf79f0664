// What a `typ` is compared as, and which never passes for an access token.

import { expect, it } from 'vitest';
import { foreignTokenTypes, isAccessTokenType, plainTokenType } from '../../src/core/token-types.ts';

it.each([
  ['at+jwt', 'at+jwt'],
  ['Application/AT+JWT', 'at+jwt'],
  ['JWT', 'jwt'],
  ['application/', ''],
  // RFC 7515 §4.1.9: with another slash nothing was left out.
  ['application/a/b', 'application/a/b'],
  ['text/jwt', 'text/jwt'],
])('%s is compared as %j', (written, plain) => {
  expect(plainTokenType(written)).toBe(plain);
});

it.each(foreignTokenTypes.flatMap((type) => [type, type.toUpperCase(), `application/${type}`, `Application/${type.toUpperCase()}`]))(
  '%s is no type of an access token',
  (written) => {
    expect(isAccessTokenType(written)).toBe(false);
  },
);

it('the foreign ones are security events, logout tokens and DPoP proofs', () => {
  expect(foreignTokenTypes).toEqual(['secevent+jwt', 'logout+jwt', 'dpop+jwt']);
});

it.each(['', 'application/'])('%j is none either: nothing is left of it', (written) => {
  expect(isAccessTokenType(written)).toBe(false);
});

it.each(['at+jwt', 'JWT', 'application/at+jwt', 'my-access'])('%s may be one', (written) => {
  expect(isAccessTokenType(written)).toBe(true);
});
