// Good or not: the answer about a token, and what a caller may demand of it.

/** Why a token is not good. As InactiveReason of the API. */
export type InactiveReason =
  | 'EXPIRED'
  | 'NOT_YET_VALID'
  | 'REVOKED'
  | 'REFUSED'
  | 'MALFORMED'
  | 'BAD_SIGNATURE'
  | 'WRONG_ISSUER'
  | 'LIFETIME_TOO_LONG'
  | 'WRONG_CERTIFICATE'
  | 'WRONG_AUDIENCE'
  | 'WRONG_SCOPE'
  | 'MISSING_ROLE'
  | 'MISSING_SCOPE'
  | 'ACCESS_DENIED';

/** An answer. */
export type Decision = { readonly active: true } | { readonly active: false; readonly reason: InactiveReason };

/** What a caller requires; every part that is set must hold. */
export interface Demand {
  readonly scope?:
    | { readonly kind: 'project'; readonly id: string }
    | { readonly kind: 'domain'; readonly id: string }
    | { readonly kind: 'system' };
  /** Names of the configuration. */
  readonly anyOfIssuers?: readonly string[];
  readonly anyOfAudiences?: readonly string[];
  /** Role names. */
  readonly anyOfRoles?: readonly string[];
  readonly allOfScopes?: readonly string[];
  /** SHA-256 of the client certificate (DER), base64url. */
  readonly certificateThumbprint?: string;
}
