// A JWK Set (RFC 7517 §5) as its issuer wrote it, made into the keys that can verify for us.

import { createHash } from 'node:crypto';
import { type CryptoKey, calculateJwkThumbprint, importJWK, type JWK } from 'jose';

/** One key for one algorithm. */
export interface VerificationKey {
  /** Its `kid`, or its thumbprint where it has none: what Facts.keyId and invalidations call it. */
  readonly keyId: string;
  /** Its `kid`. */
  readonly kid: string | undefined;
  /** RFC 7638, SHA-256, base64url: the same for the same key material whatever it is called. */
  readonly thumbprint: string;
  readonly algorithm: string;
  readonly key: CryptoKey;
}

/** The usable keys of a set. */
export interface JwkSet {
  readonly keys: readonly VerificationKey[];
  /** Hex, six characters of SHA-256 over the sorted thumbprints: to compare sidecars. */
  readonly digest: string;
  /** Distinct key material. */
  readonly keyCount: number;
  /** Keys that were passed over: not for signatures, not for our algorithms, or unreadable. */
  readonly ignoredCount: number;
  /** Keys that came with their private part, which somebody should be told. It was not looked at. */
  readonly privateCount: number;
}

/** What a token says of its key. */
export interface KeyDemand {
  readonly algorithm: string;
  readonly kid: string | undefined;
}

/** What an algorithm's key is like. Asymmetric only: a shared secret would let everybody who can verify also sign. */
const keyShapes: Readonly<Record<string, { readonly kty: string; readonly crv?: string }>> = {
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
};

/** All that can be configured (RFC 7518 §3.1, RFC 8037, RFC 9864). */
export const knownAlgorithms: readonly string[] = Object.keys(keyShapes);

/** The members that a public key has; all others, the private ones first of all, are left behind. */
const publicMembers = ['kty', 'crv', 'x', 'y', 'n', 'e'] as const;

/** More than this is not a key set but an attempt to keep us busy. */
const maxKeys = 100;

/** A token without a `kid` is tried with no more keys than this. */
const maxTries = 16;

/** RFC 7518 §3.3. */
const minRsaBits = 2048;

/**
 * The keys of `document` that can verify one of `algorithms`; undefined where it is no JWK Set at all, or has more than 100 keys.
 * One bad key does not spoil the others. A key without `alg` serves for every algorithm that its kind fits.
 */
export async function readJwkSet(document: unknown, algorithms: readonly string[]): Promise<JwkSet | undefined> {
  const members = isObject(document) ? document['keys'] : undefined;
  if (!Array.isArray(members) || members.length > maxKeys) return undefined;
  const found = new Map<string, VerificationKey>();
  let ignoredCount = 0;
  let privateCount = 0;
  for (const member of members as readonly unknown[]) {
    if (isObject(member) && member['kty'] !== 'oct' && 'd' in member) privateCount += 1;
    const keys = isObject(member) ? await verificationKeys(member, algorithms) : [];
    if (keys.length === 0) ignoredCount += 1;
    for (const key of keys) found.set(nameOf(key), key);
  }
  const keys = [...found.values()];
  const thumbprints = [...new Set(keys.map((key) => key.thumbprint))].sort();
  const digest = createHash('sha256').update(thumbprints.join('\n')).digest('hex').slice(0, 6);
  return { keys, digest, keyCount: thumbprints.length, ignoredCount, privateCount };
}

/** What makes a key of a set the one it is: the same name with other material, or the other way round, is another. */
export function nameOf(key: VerificationKey): string {
  return JSON.stringify([key.keyId, key.thumbprint, key.algorithm]);
}

/** The keys that a token may mean: by `kid` where there is one, else every key of that algorithm; at most 16. */
export function candidates(set: JwkSet, demand: KeyDemand): readonly VerificationKey[] {
  const fits = (key: VerificationKey): boolean =>
    key.algorithm === demand.algorithm && (demand.kid === undefined || key.kid === demand.kid);
  return set.keys.filter(fits).slice(0, maxTries);
}

async function verificationKeys(member: Readonly<Record<string, unknown>>, algorithms: readonly string[]): Promise<VerificationKey[]> {
  const { kid, use, alg, key_ops: operations } = member as { kid?: unknown; use?: unknown; alg?: unknown; key_ops?: unknown };
  if (use !== undefined && use !== 'sig') return [];
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return [];
  if (kid !== undefined && (typeof kid !== 'string' || kid === '')) return [];
  const jwk = publicPart(member);
  const keys: VerificationKey[] = [];
  for (const algorithm of algorithms) {
    const shape = keyShapes[algorithm];
    if (shape === undefined || shape.kty !== jwk.kty || shape.crv !== jwk.crv || (alg !== undefined && alg !== algorithm)) continue;
    try {
      const key = await importJWK(jwk, algorithm);
      if (key instanceof Uint8Array || bitsOf(key) < minRsaBits) continue;
      const thumbprint = await calculateJwkThumbprint(jwk, 'sha256');
      keys.push({ keyId: kid ?? thumbprint, kid, thumbprint, algorithm, key });
    } catch (_unreadable) {
      // Not a key, whatever it is: counted by the caller. Its message may quote the key.
    }
  }
  return keys;
}

function publicPart(member: Readonly<Record<string, unknown>>): JWK {
  return Object.fromEntries(publicMembers.filter((name) => typeof member[name] === 'string').map((name) => [name, member[name]]));
}

/** The size of an RSA key; other kinds have theirs by their curve. */
function bitsOf(key: CryptoKey): number {
  const { modulusLength } = key.algorithm as { modulusLength?: number };
  return modulusLength ?? minRsaBits;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
