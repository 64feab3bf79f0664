// Fernet (github.com/fernet/spec): an envelope that only who has its key can make or open.

import { createDecipheriv, createHmac, hash, timingSafeEqual } from 'node:crypto';

/** One key of a repository. */
export interface FernetKey {
  /** A hash of it: tells it from others, and opens nothing. */
  readonly id: string;
  readonly signing: Uint8Array;
  readonly encryption: Uint8Array;
}

/** An envelope as it is spelt, before any key has said anything about it. */
export interface FernetEnvelope {
  /** When it says it was made: whole seconds, in milliseconds since the epoch. */
  readonly madeAtMs: number;
  readonly bytes: Buffer;
}

/** What a key has opened. */
export interface OpenedFernet {
  readonly key: FernetKey;
  readonly payload: Buffer;
}

const version = 0x80;
const timeAt = 1;
const ivAt = 9;
const ciphertextAt = 25;
const macBytes = 32;
const blockBytes = 16;

/** The key that `text` is: 32 bytes in base64 of either alphabet, white space around it; undefined of anything else. */
export function readFernetKey(text: string): FernetKey | undefined {
  const spelt = text.trim();
  if (!/^[A-Za-z0-9_\-+/]{43}=?$/.test(spelt)) return undefined;
  const bytes = Buffer.from(spelt, 'base64');
  const id = hash('sha256', Buffer.concat([Buffer.from('sidegate fernet key\0'), bytes]), 'base64url');
  return { id, signing: bytes.subarray(0, 16), encryption: bytes.subarray(16) };
}

/** Undefined: not of this shape. */
export function readFernet(raw: string): FernetEnvelope | undefined {
  const bytes = Buffer.from(raw, 'base64url');
  const ciphertextBytes = bytes.length - ciphertextAt - macBytes;
  if (bytes[0] !== version || ciphertextBytes < blockBytes || ciphertextBytes % blockBytes !== 0) return undefined;
  const madeAtMs = Number(bytes.readBigUInt64BE(timeAt)) * 1000;
  return Number.isSafeInteger(madeAtMs) ? { bytes, madeAtMs } : undefined;
}

/**
 * Opens it with the first of `keys` that it was made with; undefined where that is none of them. Its life is judged by what is in it,
 * as Keystone does: the envelope's own rule has no part in it.
 * Cost: an HMAC over it for each key that is tried, and one decryption.
 */
export function openFernet({ bytes }: FernetEnvelope, keys: readonly FernetKey[]): OpenedFernet | undefined {
  const signed = bytes.subarray(0, bytes.length - macBytes);
  const mac = bytes.subarray(bytes.length - macBytes);
  const key = keys.find(({ signing }) => timingSafeEqual(createHmac('sha256', signing).update(signed).digest(), mac));
  if (!key) return undefined;
  const decipher = createDecipheriv('aes-128-cbc', key.encryption, bytes.subarray(ivAt, ciphertextAt));
  try {
    return { key, payload: Buffer.concat([decipher.update(signed.subarray(ciphertextAt)), decipher.final()]) };
  } catch (_padding) {
    // Rightly signed and yet not padded: who has the key has written something that is no token.
    return { key, payload: Buffer.alloc(0) };
  }
}
