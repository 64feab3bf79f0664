// Which issuer a token is for: by prefix, then by shape, never by trial.

import type { Shape, ShapeKind } from './raw.ts';

/** What an issuer says of its tokens. */
export interface Claimant {
  readonly name: string;
  /** Shapes that are its. `jwt` stands with `jwtIssuer`. */
  readonly accepts: readonly ShapeKind[];
  /** Every token of its begins so. */
  readonly prefix?: string | undefined;
  /** The `iss` of its JWTs. */
  readonly jwtIssuer?: string | undefined;
}

/** Whose token it is, or why it is nobody's. */
export type Dispatched<Issuer> =
  | { readonly kind: 'issuer'; readonly issuer: Issuer }
  | { readonly kind: 'nobody'; readonly reason: 'MALFORMED' | 'WRONG_ISSUER' };

/**
 * The issuer to ask about `canonicalRaw`. A prefix wins over a shape, the longest over shorter ones; a JWT goes by its `iss`; a shape
 * of its own wins over `opaque`, which takes what is left. A JWT of an issuer that is not configured is WRONG_ISSUER, unless no
 * issuer accepts JWTs at all: then it is opaque like any other string. Configurations with two claims to one token are refused.
 */
export function dispatch<Issuer extends Claimant>(issuers: readonly Issuer[], canonicalRaw: string, shape: Shape): Dispatched<Issuer> {
  if (shape.kind === 'malformed') return { kind: 'nobody', reason: 'MALFORMED' };
  let prefixed: Issuer | undefined;
  for (const issuer of issuers) {
    if (!issuer.prefix || !canonicalRaw.startsWith(issuer.prefix)) continue;
    if (issuer.prefix.length > (prefixed?.prefix?.length ?? 0)) prefixed = issuer;
  }
  if (prefixed) return { kind: 'issuer', issuer: prefixed };
  const open = issuers.filter((issuer) => !issuer.prefix);
  if (shape.kind === 'jwt' && issuers.some((issuer) => issuer.accepts.includes('jwt'))) {
    const named = open.find((issuer) => issuer.accepts.includes('jwt') && issuer.jwtIssuer === shape.issuer);
    return named ? { kind: 'issuer', issuer: named } : { kind: 'nobody', reason: 'WRONG_ISSUER' };
  }
  const issuer = open.find((one) => one.accepts.includes(shape.kind)) ?? open.find((one) => one.accepts.includes('opaque'));
  return issuer ? { kind: 'issuer', issuer } : { kind: 'nobody', reason: 'MALFORMED' };
}
