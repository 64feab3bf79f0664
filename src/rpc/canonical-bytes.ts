// The digest of a token from the bytes of its request, where they are its canonical spelling: without a string being made of it.

import { hash } from 'node:crypto';

/** What is longer goes through the validator's own limit before anything is computed from it. */
const longestBytes = 16_384;
const space = 0x20;
const fernetHead = Buffer.from('gAAAA');
/** Six bits by base64url letter; 64 where it is none. */
const sextets = sextetsOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');

/**
 * `digestOf(canonical(text))` (core/raw) of a token of which `ascii` are the bytes; undefined where the bytes are not certainly the canonical spelling: then
 * only those two can tell. Cost: the hash, and one look at each byte of what begins like a Fernet token.
 */
export function canonicalDigest(ascii: Buffer): string | undefined {
  const { length } = ascii;
  if (length === 0 || length > longestBytes) return undefined;
  // In ASCII all white space, and more that is no letter of a token, is at or below the space.
  if ((ascii[0] ?? 0) <= space || (ascii[length - 1] ?? 0) <= space) return undefined;
  if (beginsLikeFernet(ascii) && !isBase64url(ascii)) return undefined;
  return hash('sha256', ascii, 'binary');
}

function beginsLikeFernet(bytes: Buffer): boolean {
  for (let at = 0; at < fernetHead.length; at += 1) if (bytes[at] !== fernetHead[at]) return false;
  return true;
}

/** Without padding, in the one alphabet, and no bit set behind the last whole byte: what encoding would give again (S2). */
function isBase64url(bytes: Buffer): boolean {
  let last = 0;
  for (const byte of bytes) {
    last = sextets[byte] ?? 64;
    if (last === 64) return false;
  }
  const left = bytes.length % 4;
  return left === 0 || (left === 2 && (last & 0b1111) === 0) || (left === 3 && (last & 0b11) === 0);
}

function sextetsOf(alphabet: string): Uint8Array {
  const table = new Uint8Array(256).fill(64);
  for (let value = 0; value < alphabet.length; value += 1) table[alphabet.charCodeAt(value)] = value;
  return table;
}
