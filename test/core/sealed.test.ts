// Sealing opens with its own key and place only.

import { describe, expect, it } from 'vitest';
import { deriveKey, openWith, sealBytes, sealWith } from '../../src/core/sealed.ts';

const secret = Buffer.alloc(32, 7);
const key = deriveKey(secret, 'a purpose');
const plain = Buffer.from('what nobody may read');

describe('sealing', () => {
  it.each([0, 1, 20, 65_536])('opens what it sealed: %i bytes', (length) => {
    const bytes = Buffer.alloc(length, 0x61);
    const sealed = sealWith(key, bytes, 'here');
    expect([openWith(key, sealed, 'here'), sealed.length]).toEqual([bytes, length + sealBytes]);
  });

  it('never seals the same thing to the same bytes, nor with a part of it in clear', () => {
    const sealed = Buffer.from(sealWith(key, plain, 'here'));
    expect(Buffer.from(sealWith(key, plain, 'here')).equals(sealed)).toBe(false);
    expect(sealed.includes(plain.subarray(0, 6))).toBe(false);
  });

  it('opens with no other key, of another secret or another purpose, and in no other place', () => {
    const sealed = sealWith(key, plain, 'here');
    expect(openWith(deriveKey(Buffer.alloc(32, 8), 'a purpose'), sealed, 'here')).toBeUndefined();
    expect(openWith(deriveKey(secret, 'another purpose'), sealed, 'here')).toBeUndefined();
    expect(openWith(key, sealed, 'there')).toBeUndefined();
  });

  it('opens nothing that has lost or changed a byte, whichever', () => {
    const sealed = sealWith(key, plain, 'here');
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Uint8Array.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(openWith(key, changed, 'here')).toBeUndefined();
      expect(openWith(key, sealed.subarray(0, at), 'here')).toBeUndefined();
    }
    expect(openWith(key, new Uint8Array(), 'here')).toBeUndefined();
  });

  it('says that a key of another length is a mistake', () => {
    expect(() => sealWith(Buffer.alloc(16), plain, '')).toThrow(RangeError);
    expect(() => openWith(Buffer.alloc(16), sealWith(key, plain, ''), '')).toThrow(RangeError);
  });

  it('derives as another implementation of RFC 5869 does', () => {
    // openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:0707… (32 bytes) -kdfopt info:'sidegate a purpose' HKDF
    expect(key.toString('hex')).toBe('167b392177f149643b229a9cbdb92b29f9078cd1c0a6c361d970f908bfa56e38');
  });
});
