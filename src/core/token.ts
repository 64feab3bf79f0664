// What a token says: the verified facts, in the words of Keystone and OAuth.

import type { Dimension } from './attributes.ts';

/** A domain of Keystone. */
export interface Domain {
  readonly id: string;
  readonly name?: string;
}

/** A person or a service account. With an impersonating trust: the trustor. */
export interface User {
  /** Its id; for OAuth, `sub`. */
  readonly id: string;
  readonly name?: string;
  readonly domain?: Domain;
  readonly passwordExpiresAtMs?: number;
  /** How it came from another identity provider. */
  readonly federation?: Federation;
}

/** How a federated user came. */
export interface Federation {
  readonly identityProviderId: string;
  readonly protocolId?: string;
  readonly groupIds: readonly string[];
}

/** A project of Keystone; for other issuers, the tenant. */
export interface Project {
  readonly id: string;
  readonly name?: string;
  readonly domain?: Domain;
  readonly isDomain: boolean;
}

/** A role; `id` is empty where the issuer has only names. */
export interface Role {
  readonly id: string;
  readonly name: string;
}

/** Where a token holds. */
export type Scope =
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project'; readonly project: Project }
  | { readonly kind: 'domain'; readonly domain: Domain }
  | { readonly kind: 'system' };

/** A user's delegation to another. */
export interface Trust {
  readonly id: string;
  readonly trustorUserId: string;
  readonly trusteeUserId: string;
  readonly impersonation: boolean;
}

/** A credential of an application, made by a user. */
export interface ApplicationCredential {
  readonly id: string;
  readonly name?: string;
  readonly restricted: boolean;
  /** The only requests it allows; absent or empty: see `Facts.hasAccessRules`. */
  readonly accessRules?: readonly AccessRule[];
}

/** One kind of request that an application credential allows. */
export interface AccessRule {
  readonly id: string;
  /** Service type of the catalog. */
  readonly service: string;
  /** HTTP method, upper case. */
  readonly method: string;
  /** `*` and `{name}` stand for one segment, `**` for any. */
  readonly path: string;
}

/** The verified facts that callers see. What does not apply is absent or empty. */
export interface Token {
  /** Name of the issuer in the configuration. */
  readonly issuer: string;
  /** `jwt`; of a Keystone `fernet`, `keystone-jws`, `uuid`, `pki`; else `opaque`. More may come. */
  readonly format: string;
  /** Whole seconds, in milliseconds since the epoch. */
  readonly issuedAtMs?: number;
  /** Its first instant of being expired; whole seconds, in milliseconds since the epoch. */
  readonly expiresAtMs?: number;
  readonly user?: User;
  readonly scope: Scope;
  readonly roles: readonly Role[];
  /** Keystone's methods, or `amr`. */
  readonly methods: readonly string[];
  /** Its own audit id, then its chain's root if that is another token. */
  readonly auditIds: readonly string[];
  /** `jti`. */
  readonly tokenId?: string;
  /** `sid`. */
  readonly sessionId?: string;
  /** The OAuth client, or OAuth1 consumer, it was issued to. */
  readonly clientId?: string;
  readonly audiences: readonly string[];
  readonly scopes: readonly string[];
  readonly trust?: Trust;
  readonly applicationCredential?: ApplicationCredential;
  readonly accessTokenId?: string;
  /** SHA-256 of the DER of the certificate it is bound to, base64url. */
  readonly certificateThumbprint?: string;
  readonly isAdminProject: boolean;
  /** The verified claims, as JSON. */
  readonly claimsJson?: string;
}

/** A token's facts with what only the sidecar needs of them. */
export interface Facts {
  readonly token: Token;
  /** S2: audit id, else `jti`, else SHA-256 of the signing input. Absent: a hash of the digest stands in. */
  readonly identity?: string;
  /** First instant of being valid, in milliseconds since the epoch (`nbf`). */
  readonly notBeforeMs?: number;
  /** The key that signed it. */
  readonly keyId?: string;
  /** It carries access rules, perhaps none: inactive unless a demand names a request that one of them allows (S16). */
  readonly hasAccessRules: boolean;
  /** Where in the claims (UTF-8 bytes) the service catalog stood that was cut out of them; absent: nothing was. */
  readonly catalogAt?: number;
  /** Dimensions that these facts do not tell (S2): they count as a match for REFRESH. A claim that a complete token lacks is not one. */
  readonly unknown: readonly Dimension[];
}
