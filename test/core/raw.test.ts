// Canonical spelling, digest and shape of what is presented (S2).

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonical, digestOf, shapeOf } from '../../src/core/raw.ts';

const fernet = Buffer.concat([Buffer.from([0x80, 0, 0, 0, 0, 0x65, 0x53, 0xf1, 0x00]), randomBytes(16), randomBytes(48), randomBytes(32)]);

describe('the canonical spelling', () => {
  it('is one for sixteen spellings of a Fernet token', () => {
    const bare = fernet.toString('base64url');
    const standard = fernet.toString('base64').replace(/=+$/, '');
    // The last character of 105 bytes carries no spare bits; one byte less leaves two characters that differ only in ignored bits.
    const spellings = [bare, standard].flatMap((text) =>
      ['', '=', '=='].flatMap((pad) => [`${text}${pad}`, ` ${text}${pad}`, `${text}${pad}\r\n`]),
    );
    expect(new Set(spellings.map(canonical))).toEqual(new Set([bare]));
  });

  it('ignores bits that base64 does not use', () => {
    const odd = Buffer.concat([fernet.subarray(0, 25), randomBytes(32), fernet.subarray(-32)]);
    const text = odd.toString('base64url');
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const spare = (odd.length * 8) % 6;
    const last = alphabet.indexOf(text.slice(-1));
    const twins = Array.from(
      { length: spare === 2 ? 16 : spare === 4 ? 4 : 1 },
      (_, n) => text.slice(0, -1) + alphabet[(last & ~(spare === 2 ? 15 : 3)) | n],
    );
    expect(twins.length).toBeGreaterThan(1);
    expect(new Set(twins.map(canonical))).toEqual(new Set([text]));
  });

  it('leaves all other strings but for the white space around them', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-fh-z0-9][A-Za-z0-9._~-]{0,80}$/), (text) => {
        expect(canonical(` ${text}\t`)).toBe(text);
      }),
    );
  });

  it('tells two different tokens apart', () => {
    const other = Buffer.from(fernet);
    other[30] = (other[30] ?? 0) ^ 1;
    expect(digestOf(canonical(other.toString('base64url')))).not.toBe(digestOf(canonical(fernet.toString('base64url'))));
  });
});

describe('the shape', () => {
  const jws = (payload: unknown): string => `eyJhbGciOiJFUzI1NiJ9.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.c2ln`;
  it.each([
    ['fernet', fernet.toString('base64url')],
    ['uuid', '0123456789abcdef0123456789abcdef'],
    ['pki', 'MIIKtgYJKoZIhvcNAQcCoIIKpzCCCqMCAQExCTAHBgUrDgMCGjCCCMgGCSqGSIb3'],
    ['pki', 'PKIZ_eJylVsuSozgQvOsr5t4x0eZhT3PYg'],
    ['jwt', jws({ iss: 'https://a' })],
    ['keystone-jws', jws({ openstack_methods: ['password'] })],
    ['opaque', 'ptr_abcdef'],
    ['opaque', 'a.b.c'],
    ['malformed', 'with space'],
    ['malformed', 'ümlaut'],
    ['malformed', 'nul\u0000byte'],
    ['malformed', 'eyJhbGciOiJFUzI1NiJ9.bm90IGpzb24.c2ln'],
    ['malformed', `eyJhbGciOiJFUzI1NiJ9.${Buffer.from('[1]').toString('base64url')}.c2ln`],
    ['malformed', '='],
  ])('%s: %s', (kind, raw) => {
    expect(shapeOf(raw).kind).toBe(kind);
  });

  it('never throws, whatever is presented', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (raw) => {
        expect(shapeOf(canonical(raw)).kind).toBeTypeOf('string');
      }),
    );
  });

  it('names the issuer that a JWT claims', () => {
    expect(shapeOf(jws({ iss: 'https://a' }))).toEqual({ kind: 'jwt', issuer: 'https://a' });
    expect(shapeOf(jws({ iss: 7 }))).toEqual({ kind: 'jwt', issuer: undefined });
  });
});

describe('S2 a Fernet token with characters outside of its alphabet', () => {
  it('is malformed, for lenient decoders skip them', () => {
    const text = fernet.toString('base64url');
    for (const odd of ['~', '.']) expect(shapeOf(`${text.slice(0, 40)}${odd}${text.slice(40)}`).kind).toBe('malformed');
    expect(shapeOf(text).kind).toBe('fernet');
  });
});
