// JWTs of one issuer (RFC 7519, RFC 9068): shape, signature and kind are judged here, times and demands by `decide`.

import { createHash } from 'node:crypto';
import { compactVerify, errors } from 'jose';
import { factsFromClaims } from '../core/claims.ts';
import type { InactiveReason } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Token } from '../core/token.ts';
import { isAccessTokenType, plainTokenType } from '../core/token-types.ts';
import type { Clock, Logger, TokenFormat } from '../ports.ts';
import { knownAlgorithms, type VerificationKey } from './jwk-set.ts';
import { createKeySet, type KeySetOptions } from './keys.ts';

/**
 * How an issuer's JWTs are read; `keys*`, `deadlineMs`, `maxBodyBytes`, `caFile` and `serverName` as in KeySetOptions.
 * `issuer` is compared with `iss` to the letter; `algorithms` are pinned: asymmetric, at least one.
 */
export interface JwtOptions extends KeySetOptions {
  /**
   * The `typ` that are accepted, in any case, with or without `application/` (RFC 7515 §4.1.9). Absent: `at+jwt` only (RFC 9068).
   * `JWT` said aloud also lets in tokens without a `typ`; ID, refresh and logout tokens stay outside as far as they show what they are.
   */
  readonly types?: readonly string[] | undefined;
}

/** What the payload of another kind of token calls itself with Keycloak. */
const foreignKinds: ReadonlySet<unknown> = new Set(['ID', 'Refresh', 'Offline', 'Logout']);

/**
 * The JWT format.
 *
 * Answers, first that fits: MALFORMED (no JWS of one reading; header with `crit` or `b64`; claims that cannot be read),
 * BAD_SIGNATURE (algorithm not pinned, `none` included, or no signature), MALFORMED (another `typ`, or another kind of token; `at+jwt`
 * without `exp` or `iat`), WRONG_ISSUER; all this without any key. Then BAD_SIGNATURE, WRONG_CERTIFICATE (bound to what nobody can
 * show: DPoP), else facts. An ended token with a right signature gives facts: `decide` says EXPIRED.
 * Throws as TokenFormat says, where the keys cannot be had. At construction: INVALID_ARGUMENT.
 * Cost: one verification; with a key set that is at hand nothing is fetched.
 */
export function createJwtFormat(options: JwtOptions, deps: { readonly clock: Clock; readonly log: Logger }): TokenFormat {
  const algorithms = pinnedAlgorithms(options.algorithms);
  const types = acceptedTypes(options.types ?? ['at+jwt']);
  const keys = createKeySet(options, deps);
  const context = { issuer: options.name, format: 'jwt', complete: true } as const;

  return {
    name: 'jwt',

    async read(raw, signal) {
      const jws = readJws(raw);
      if (jws === undefined) return inactive('MALFORMED');
      const { algorithm, kid, claims } = jws;
      if (!algorithms.has(algorithm) || !jws.isSigned) return inactive('BAD_SIGNATURE');
      // RFC 7519 §5.1: a token that does not say what it is, is a JWT.
      const type = jws.type ?? 'jwt';
      if (!types.has(type) || isOfAnotherKind(claims)) return inactive('MALFORMED');
      const said = factsFromClaims(claims, context);
      if (said.kind === 'inactive' && said.reason === 'MALFORMED') return inactive('MALFORMED');
      // RFC 9068 §2.2. What other tokens may do without is judged with their life (S12).
      if (type === 'at+jwt' && said.kind === 'facts' && !tellsItsLife(said.facts.token)) return inactive('MALFORMED');
      if (claims['iss'] !== options.issuer) return inactive('WRONG_ISSUER');

      const { key, isNew } = await keys.find({ algorithm, kid }, (candidate) => verifies(raw, candidate), signal);
      if (key === undefined) return isNew ? inactive('BAD_SIGNATURE') : { ...inactive('BAD_SIGNATURE'), byOldKeys: true };
      if (said.kind === 'inactive') return inactive(said.reason);
      const { facts } = said;
      const clockOffsetMs = keys.clockOffsetMs();
      return {
        kind: 'facts',
        ...(clockOffsetMs === undefined ? {} : { clockOffsetMs }),
        // Not the signature: an ECDSA signature has a second spelling that verifies too.
        facts: { ...facts, identity: facts.identity ?? sha256(jws.signingInput), keyId: key.keyId },
        provenance: 'signature',
      };
    },

    health: () => keys.health(),
    run: (signal, invalidate) => keys.run(signal, invalidate),
  };
}

function inactive(reason: InactiveReason): { readonly kind: 'inactive'; readonly reason: InactiveReason } {
  return { kind: 'inactive', reason };
}

interface Jws {
  readonly algorithm: string;
  readonly kid: string | undefined;
  /** In lower case, without `application/`. */
  readonly type: string | undefined;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly signingInput: string;
  /** There is a signature; nothing is said about it. */
  readonly isSigned: boolean;
}

/** Undefined: no JWS in compact form (RFC 7515 §7.1) of which there is only one reading and of which we understand all. */
function readJws(raw: string): Jws | undefined {
  const [first, second, third, ...more] = raw.split('.', 4);
  if (first === undefined || second === undefined || third === undefined || more.length > 0) return undefined;
  const header = readObject(first);
  const claims = readObject(second);
  if (header === undefined || claims === undefined || bytesOf(third) === undefined) return undefined;
  const { alg, kid, typ } = header as { alg?: unknown; kid?: unknown; typ?: unknown };
  // RFC 7515 §4.1.11: what is critical and not understood must be refused. We understand none; RFC 7797 needs `crit` too.
  if ('crit' in header || 'b64' in header) return undefined;
  if (typeof alg !== 'string' || !isNameOrAbsent(kid) || !isNameOrAbsent(typ)) return undefined;
  const type = typ === undefined ? undefined : plainTokenType(typ);
  return { algorithm: alg, kid, type, claims, signingInput: `${first}.${second}`, isSigned: third !== '' };
}

function isNameOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value !== '');
}

function readObject(part: string): Readonly<Record<string, unknown>> | undefined {
  const bytes = bytesOf(part);
  const value = bytes === undefined ? undefined : parseStrictJson(bytes);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : undefined;
}

/** Base64url in its one spelling: no padding, no other alphabet, no bits left over. Otherwise one token would have many digests. */
function bytesOf(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}

/** With `JWT` accepted, the other tokens of an issuer have the same header: then their claims must tell. */
function isOfAnotherKind(claims: Readonly<Record<string, unknown>>): boolean {
  return 'events' in claims || 'at_hash' in claims || 'c_hash' in claims || foreignKinds.has(claims['typ']);
}

function tellsItsLife({ issuedAtMs, expiresAtMs }: Token): boolean {
  return issuedAtMs !== undefined && expiresAtMs !== undefined;
}

async function verifies(raw: string, { key, algorithm }: VerificationKey): Promise<boolean> {
  try {
    await compactVerify(raw, key, { algorithms: [algorithm] });
    return true;
  } catch (error) {
    if (error instanceof errors.JOSEError) return false;
    // Not about the token: no evidence. Its message is not ours, so it stays here.
    throw new SidecarError('UNAVAILABLE', 'A signature could not be checked', { reason: 'SIGNATURE_NOT_CHECKED' });
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

function pinnedAlgorithms(algorithms: readonly string[]): ReadonlySet<string> {
  const unknown = algorithms.find((algorithm) => !knownAlgorithms.includes(algorithm));
  if (unknown !== undefined) throw invalid(`algorithms: ${unknown} is not one of ${knownAlgorithms.join(', ')}`);
  if (algorithms.length === 0) throw invalid('algorithms: at least one must be pinned');
  return new Set(algorithms);
}

function acceptedTypes(types: readonly string[]): ReadonlySet<string> {
  const foreign = types.find((type) => !isAccessTokenType(type));
  if (foreign !== undefined) throw invalid(`types: "${foreign}" is not a kind of access token`);
  if (types.length === 0) throw invalid('types: at least one must be accepted');
  return new Set(types.map(plainTokenType));
}

function invalid(message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason: 'BAD_JWT_OPTIONS' });
}
