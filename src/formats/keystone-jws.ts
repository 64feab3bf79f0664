// Keystone's JWS: signed by one of its nodes, without a word of which; everything but roles, names and domains can be read in it.

import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { parseStrictJson } from '../core/strict-json.ts';
import { plainTokenType } from '../core/token-types.ts';
import type { KeyedTokens } from './key-reader.ts';
import { claimedScope, type KeystoneClaims, wholeSecondsMs } from './keystone-claims.ts';

/** A public key, for the one algorithm that its kind allows. */
export interface JwsKey {
  /** SHA-256 of its SubjectPublicKeyInfo, base64url: what `Facts.keyId` and invalidations call it. */
  readonly id: string;
  readonly algorithm: JwsAlgorithm;
  readonly key: KeyObject;
}

/** All that Keystone signs with (`[jwt_tokens] jws_algorithm`). */
export type JwsAlgorithm = keyof typeof algorithms;

/** A token as it is spelt. `claims` is what it says, which nobody has verified; undefined: nothing that could be Keystone's. */
export interface KeystoneJws {
  readonly algorithm: JwsAlgorithm;
  readonly signed: Buffer;
  readonly signature: Buffer;
  readonly claims: KeystoneClaims | undefined;
}

/** RFC 7518 §3.4, RFC 8037 §3.1: what verifies, and how many bytes a signature has. */
const algorithms = {
  ES256: { curve: 'prime256v1', digest: 'sha256', signatureBytes: 64 },
  ES384: { curve: 'secp384r1', digest: 'sha384', signatureBytes: 96 },
  ES512: { curve: 'secp521r1', digest: 'sha512', signatureBytes: 132 },
  EdDSA: { curve: undefined, digest: undefined, signatureBytes: 64 },
} as const;

const verifyBeside = promisify(verify);

/** The key in a file (SubjectPublicKeyInfo, PEM), or in words what is wrong with it. */
export function readJwsKey(pem: string): JwsKey | string {
  if (pem.includes('PRIVATE KEY-----')) return 'it holds a private key, which belongs to one Keystone alone';
  if (!pem.includes('-----BEGIN PUBLIC KEY-----') || !pem.includes('-----END PUBLIC KEY-----'))
    return 'it is no public key in PEM, or not whole';
  try {
    const key = createPublicKey(pem);
    const algorithm = algorithmOf(key);
    if (!algorithm) return 'it is a key of a kind that Keystone does not sign with';
    return { id: hash('sha256', key.export({ type: 'spki', format: 'der' }), 'base64url'), algorithm, key };
  } catch (_unreadable) {
    // What a parser complains of quotes the file.
    return 'it is no public key in PEM, or not whole';
  }
}

/** The algorithm goes by the key: a token that names another one is not verified with it. */
function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): JwsAlgorithm | undefined {
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (asymmetricKeyType !== 'ec') return undefined;
  return names.find((name) => algorithms[name].curve === asymmetricKeyDetails?.namedCurve);
}

const names = Object.keys(algorithms) as JwsAlgorithm[];

/**
 * What a token shows without any key. MALFORMED: no JWS of one reading, with `crit` or `b64`, or of another kind (`typ`).
 * BAD_SIGNATURE: unsigned, or by an algorithm that Keystone has not (`none`, `HS256`).
 */
export function readKeystoneJws(raw: string): KeystoneJws | 'MALFORMED' | 'BAD_SIGNATURE' {
  const [first, second, third, ...more] = raw.split('.', 4);
  if (first === undefined || second === undefined || third === undefined || more.length > 0) return 'MALFORMED';
  const header = objectIn(first);
  const payload = objectIn(second);
  if (!header || !payload || 'crit' in header || 'b64' in header) return 'MALFORMED';
  const { alg, typ } = header as { alg?: unknown; typ?: unknown };
  // RFC 7519 §5.1: a token that does not say what it is, is a JWT.
  if (typeof alg !== 'string' || (typ !== undefined && (typeof typ !== 'string' || plainTokenType(typ) !== 'jwt'))) return 'MALFORMED';
  const algorithm = names.find((name) => name === alg);
  // As lenient as Keystone's own decoder: another spelling of the signature is the same token, by its audit id.
  const signature = Buffer.from(third, 'base64url');
  if (!algorithm || signature.length !== algorithms[algorithm].signatureBytes) return 'BAD_SIGNATURE';
  return { algorithm, signed: Buffer.from(`${first}.${second}`), signature, claims: claimsIn(payload) };
}

/** The first of `keys` that it is signed with. Cost: one verification for each that it might be, beside the loop. */
export async function keyOf({ algorithm, signed, signature }: KeystoneJws, keys: readonly JwsKey[]): Promise<JwsKey | undefined> {
  const { digest } = algorithms[algorithm];
  for (const candidate of keys) {
    if (candidate.algorithm !== algorithm) continue;
    if (await verifyBeside(digest, signed, { key: candidate.key, dsaEncoding: 'ieee-p1363' }, signature)) return candidate;
  }
  return undefined;
}

/**
 * Every file holds the public key of one node of Keystone. What a node has signed is no older for that than what another has: no token
 * that is open says that the keys are all there. 16 keys are tried.
 */
export const jwsTokens: KeyedTokens<JwsKey> = {
  name: 'jws',
  shape: 'keystone-jws',
  files: {
    // What begins with a dot is an editor's, or how Kubernetes swaps a volume.
    holdsKey: (fileName) => !fileName.startsWith('.'),
    compare: (fileName, other) => (fileName < other ? -1 : 1),
    read: readJwsKey,
    maxKeys: 16,
  },
  oneAtATime: false,
  namesKey: true,
  unseal(raw) {
    const jws = readKeystoneJws(raw);
    if (typeof jws === 'string') return jws;
    const { claims } = jws;
    return {
      issuedAtMs: claims?.issuedAtMs,
      expiresAtMs: claims?.expiresAtMs,
      async open(keys) {
        const key = await keyOf(jws, keys);
        return key && { key, claims };
      },
    };
  },
};

function objectIn(part: string): Readonly<Record<string, unknown>> | undefined {
  const value = parseStrictJson(Buffer.from(part, 'base64url'));
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : undefined;
}

/** Follows: keystone/token/providers/jws/core.py. All that it says must be of its kind. */
function claimsIn(payload: Readonly<Record<string, unknown>>): KeystoneClaims | undefined {
  const texts = ['sub', ...textClaims].map((name) => [name, payload[name]] as const);
  if (texts.some(([, value]) => value !== undefined && (typeof value !== 'string' || value === ''))) return undefined;
  const { sub, ...said } = Object.fromEntries(texts) as Readonly<Record<string, string | undefined>>;
  const issuedAtMs = wholeSecondsMs(payload['iat']);
  const expiresAtMs = wholeSecondsMs(payload['exp']);
  const [own, ...root] = listOf(payload['openstack_audit_ids'], (item) => item) ?? [];
  const groups = payload['openstack_group_ids'];
  const groupIds = groups === undefined ? undefined : listOf(groups, (item) => (item as { id?: unknown } | null)?.id ?? item);
  if (sub === undefined || issuedAtMs === undefined || expiresAtMs === undefined || own === undefined) return undefined;
  if (groups !== undefined && groupIds === undefined) return undefined;
  const identityProviderId = said['openstack_idp_id'];
  return {
    userId: sub,
    scope: claimedScope({
      projectId: said['openstack_project_id'],
      domainId: said['openstack_domain_id'],
      isSystem: said['openstack_system'] !== undefined,
    }),
    auditIds: [own, ...root],
    issuedAtMs,
    expiresAtMs,
    trustId: said['openstack_trust_id'],
    ...(identityProviderId !== undefined && groupIds && { federation: { identityProviderId, groupIds } }),
    accessTokenId: said['openstack_access_token_id'],
    applicationCredentialId: said['openstack_app_cred_id'],
  };
}

const textClaims = [
  'openstack_project_id',
  'openstack_domain_id',
  'openstack_system',
  'openstack_trust_id',
  'openstack_idp_id',
  'openstack_access_token_id',
  'openstack_app_cred_id',
] as const;

/** All of them or none. Keystone writes a group as `{"id": …}`. */
function listOf(value: unknown, textIn: (item: unknown) => unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const texts = value.map(textIn);
  return texts.every((text): text is string => typeof text === 'string' && text !== '') ? texts : undefined;
}
