// Sealing: what is stored where others may look or write is encrypted, and bound to its place (AES-256-GCM, NIST SP 800-38D).

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

const cipher = 'aes-256-gcm';
/** 96 bits, the size that GCM is made for (SP 800-38D §8.2). Random: some billions under one key before two may be alike (§8.3). */
const nonceBytes = 12;
const tagBytes = 16;

/** What sealing adds to the length of `plain`. */
export const sealBytes: number = nonceBytes + tagBytes;

/**
 * A key of 32 bytes for one purpose: keys of different purposes tell nothing of each other, nor of `secret`.
 * Follows: HKDF with SHA-256 (RFC 5869), no salt, `sidegate ` and the purpose as its info. `secret` is uniformly random, 32 bytes or more.
 */
export function deriveKey(secret: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, new Uint8Array(), `sidegate ${purpose}`, 32));
}

/**
 * `plain`, readable with `key` (32 bytes) and this `associated` only: nonce, ciphertext and tag. `associated` is not in the result; it
 * binds the result to its place, so that what is stored in one place opens in no other.
 */
export function sealWith(key: Uint8Array, plain: Uint8Array, associated: string): Uint8Array {
  const nonce = randomBytes(nonceBytes);
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes }).setAAD(Buffer.from(associated, 'utf8'));
  return Buffer.concat([nonce, sealing.update(plain), sealing.final(), sealing.getAuthTag()]);
}

/** What was sealed; undefined where it was not sealed with this key and `associated`, or is not whole. Never throws. */
export function openWith(key: Uint8Array, sealed: Uint8Array, associated: string): Uint8Array | undefined {
  if (sealed.length < sealBytes) return undefined;
  const opening = createDecipheriv(cipher, key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAAD(Buffer.from(associated, 'utf8'));
  opening.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  try {
    return Buffer.concat([opening.update(sealed.subarray(nonceBytes, sealed.length - tagBytes)), opening.final()]);
  } catch (error) {
    // The tag does not fit: it is the only thing that can fail here, and its Error has no code in every version of node.
    if (error instanceof Error) return undefined;
    throw error;
  }
}
