// The secret string as presented: its one canonical spelling, its digest, and what its shape tells without a key.

import { hash } from 'node:crypto';

/** What a string looks like. A shape is no evidence of anything but where to ask. */
export type Shape =
  | { readonly kind: 'malformed' }
  | { readonly kind: 'jwt'; readonly issuer: string | undefined }
  | { readonly kind: 'keystone-jws' }
  | { readonly kind: 'fernet' }
  | { readonly kind: 'uuid' }
  | { readonly kind: 'pki' }
  | { readonly kind: 'opaque' };

export type ShapeKind = Exclude<Shape['kind'], 'malformed'>;

/** RFC 6750 §2.1, b64token: all that an Authorization header can carry. Keystone's PKI tokens stay inside it. */
const b64token = /^[A-Za-z0-9\-._~+/]+=*$/;
const lenientBase64 = /^[A-Za-z0-9\-_+/]+=*$/;

/** Version byte, timestamp, IV and HMAC of a Fernet token; its ciphertext is whole AES blocks, at least one. */
const fernetOverheadBytes = 1 + 8 + 16 + 32;

function fernetBytes(text: string): Buffer | undefined {
  // 0x80 and the seven zero bytes of a timestamp of this age encode as "gAAAA"; cheap enough to spare all others the decoding.
  if (!text.startsWith('gAAAA') || !lenientBase64.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  const ciphertext = bytes.length - fernetOverheadBytes;
  return bytes[0] === 0x80 && ciphertext >= 16 && ciphertext % 16 === 0 ? bytes : undefined;
}

/**
 * The one spelling under which a token is looked up (S2): without surrounding whitespace; what looks like Fernet is decoded
 * leniently and encoded again, so that its up to 16 spellings (padding, alphabet, trailing bits) are one token. Needs no key.
 */
export function canonical(raw: string): string {
  const text = raw.trim();
  const bytes = fernetBytes(text);
  return bytes ? bytes.toString('base64url') : text;
}

/** SHA-256 of the canonical raw, as 32 latin1 characters: inside, the cache key. As secret as the token. Never leaves the process. */
export function digestOf(canonicalRaw: string): string {
  return hash('sha256', canonicalRaw, 'binary');
}

/**
 * SHA-256 of what was signed and of the first half of the signature, base64url, of a string that looks like a JWS; undefined of every
 * other. It names the token whatever the spelling of its signature: of an elliptic one the second half can be written in two ways, and
 * base64url may carry spare bits. It needs no key and believes nothing that the token says; and only who has had the whole token can
 * make it: a token in a log without its signature is not enough.
 */
export function signedContentOf(canonicalRaw: string): string | undefined {
  const [header, payload, signature, ...more] = canonicalRaw.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) return undefined;
  const bytes = Buffer.from(signature, 'base64url');
  // Shorter than any signature: what would be left to guess is too little.
  if (bytes.length < 64) return undefined;
  return hash('sha256', `${header}.${payload}.${bytes.toString('hex', 0, bytes.length >>> 1)}`, 'base64url');
}

/**
 * Keystone's own short ids of what looks like a PKI token, hashes of the token as it is: SHA-256, which is its handle too, and MD5, which
 * Keystone had by default. None of every other string. As secret as the token: Keystone took them in its place.
 * Follows: `cms_hash_token` of keystoneclient's common/cms.py.
 */
export function hashIdsOf(canonicalRaw: string): readonly string[] {
  return looksLikePki(canonicalRaw) ? [hash('sha256', canonicalRaw, 'hex'), hash('md5', canonicalRaw, 'hex')] : [];
}

/** `MII`: a DER SEQUENCE of 256 to 65,535 bytes, in base64. As keystoneclient tells them. */
function looksLikePki(text: string): boolean {
  return text.startsWith('MII') || text.startsWith('PKIZ_');
}

/** What `canonicalRaw` looks like. Never throws; cost: one pass, and one JSON parse of the payload where there are two dots. */
export function shapeOf(canonicalRaw: string): Shape {
  if (!b64token.test(canonicalRaw)) return { kind: 'malformed' };
  if (/^[0-9a-f]{32}$/.test(canonicalRaw)) return { kind: 'uuid' };
  if (fernetBytes(canonicalRaw)) return { kind: 'fernet' };
  // Lenient decoders skip what is outside of their alphabet: with it, this would be another spelling of a Fernet token (S2).
  if (fernetBytes(canonicalRaw.replaceAll(/[.~]/g, ''))) return { kind: 'malformed' };
  if (looksLikePki(canonicalRaw)) return { kind: 'pki' };
  // "ey" and "ew": a JSON object that begins with a name, or with white space before it.
  const parts = canonicalRaw.split('.');
  if (parts.length === 3 && /^e[wy]/.test(canonicalRaw)) return jwsShape(parts[1] ?? '');
  return { kind: 'opaque' };
}

function jwsShape(payload: string): Shape {
  const claims = jsonObject(payload);
  if (!claims) return { kind: 'malformed' };
  if ('openstack_methods' in claims && !('iss' in claims)) return { kind: 'keystone-jws' };
  const issuer = claims['iss'];
  return { kind: 'jwt', issuer: typeof issuer === 'string' ? issuer : undefined };
}

function jsonObject(base64url: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64url, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    // Not JSON: a shape, not an error. SyntaxError is all that can be thrown here.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
