// The digest from the bytes is the digest of the canonical spelling, or there is none.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonical, digestOf } from '../../src/core/raw.ts';
import { canonicalDigest } from '../../src/rpc/canonical-bytes.ts';

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const fernet = (ciphertextBytes: number): string =>
  Buffer.concat([Buffer.from([0x80, 0, 0, 0, 0]), Buffer.alloc(4 + 16 + 32 + ciphertextBytes, 0xa7)]).toString('base64url');

describe('canonicalDigest', () => {
  it('agrees with the validator’s own way, whatever the ASCII', () => {
    const letter = fc.integer({ min: 0, max: 127 }).map((code) => String.fromCharCode(code));
    const tokenLetter = fc.constantFrom(...'AQgwEIc048-_+/=.~ \t');
    const text = fc.oneof(
      fc.string({ unit: letter, maxLength: 80 }),
      fc.string({ unit: tokenLetter, maxLength: 80 }).map((rest) => `gAAAA${rest}`),
      // Of the length of a Fernet token, where spelling matters: any last letter, padding, the other alphabet.
      fc
        .tuple(fc.constantFrom(16, 32, 48), fc.string({ unit: tokenLetter, minLength: 1, maxLength: 3 }), fc.constantFrom('', '=', '=='))
        .map(([size, end, padding]) => `${fernet(size).slice(0, -end.length)}${end}${padding}`),
    );
    fc.assert(
      fc.property(text, (raw) => {
        expect([undefined, digestOf(canonical(raw))]).toContain(canonicalDigest(ascii(raw)));
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    { name: 'a signed token', raw: 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln' },
    { name: 'a UUID', raw: '0123456789abcdef0123456789abcdef' },
    { name: 'a Fernet token whose last letter holds four bits', raw: fernet(16) },
    { name: 'a Fernet token whose last letter holds six bits', raw: fernet(32) },
    { name: 'a Fernet token whose last letter holds two bits', raw: fernet(48) },
    { name: 'the longest that is taken', raw: 'x'.repeat(16_384) },
  ])('$name as its issuer spells it has one', ({ raw }) => {
    expect(canonicalDigest(ascii(raw))).toBe(digestOf(canonical(raw)));
  });

  it.each([
    { name: 'nothing', raw: '' },
    { name: 'white space before it', raw: '\ttoken' },
    { name: 'white space behind it', raw: 'token\r\n' },
    { name: 'a Fernet token with padding', raw: `${fernet(32)}=` },
    { name: 'a Fernet token with a letter of the other alphabet', raw: fernet(32).replace('p', '+') },
    { name: 'one more than the longest', raw: 'x'.repeat(16_385) },
  ])('$name: the validator itself must look', ({ raw }) => {
    expect(canonicalDigest(ascii(raw))).toBeUndefined();
  });
});
