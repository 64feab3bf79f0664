// What the inside of a Keystone token says, whichever format carries it, in the words of invalidations.

import type { Attribute } from '../core/attributes.ts';
import type { Glance } from '../ports.ts';

/** Where a token holds; of a project or domain its id alone. */
export type ClaimedScope = { readonly kind: 'unscoped' | 'system' } | { readonly kind: 'project' | 'domain'; readonly id: string };

/**
 * What Keystone writes into a token: who, where, since when and until when. Roles, names and domains of users and projects are not in
 * it, and methods are not read: their numbers mean what the deployment's configuration says.
 */
export interface KeystoneClaims {
  /** Under a trust: the trustee. */
  readonly userId: string;
  readonly scope: ClaimedScope;
  /** Its own, then its chain's root if that is another token. */
  readonly auditIds: readonly [string, ...string[]];
  /** Whole seconds, in milliseconds since the epoch; as is `expiresAtMs`. */
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly trustId?: string | undefined;
  /** Of a federated token: its groups are all that it has. */
  readonly federation?: { readonly identityProviderId: string; readonly groupIds: readonly string[] } | undefined;
  /** Of OAuth1. */
  readonly accessTokenId?: string | undefined;
  readonly applicationCredentialId?: string | undefined;
}

/** Where a token holds that names these. A project's token may name its domain beside it. */
export function claimedScope(said: {
  readonly projectId: string | undefined;
  readonly domainId: string | undefined;
  readonly isSystem: boolean;
}): ClaimedScope {
  if (said.projectId !== undefined) return { kind: 'project', id: said.projectId };
  if (said.domainId !== undefined) return { kind: 'domain', id: said.domainId };
  return { kind: said.isSystem ? 'system' : 'unscoped' };
}

/** Seconds as tokens have them, in milliseconds; undefined of what is no time. Keystone cuts fractions off wherever it tells an end. */
export function wholeSecondsMs(value: unknown): number | undefined {
  const ms = typeof value === 'number' ? Math.floor(value) * 1000 : Number.NaN;
  return Number.isSafeInteger(ms) && ms >= 0 ? ms : undefined;
}

/** Of a token that its key opens. */
export type Part = Extract<Glance, { kind: 'part' }>;

/** Claims as a glance tells them. `keyId`: the key that signed it, where that has a name. Follows: S2. */
export function partOf(claims: KeystoneClaims, issuer: string, keyId?: string): Part {
  const [identity] = claims.auditIds;
  const { issuedAtMs, expiresAtMs } = claims;
  return { kind: 'part', attributes: attributesIn(claims, issuer, keyId), identity, issuedAtMs, expiresAtMs };
}

function attributesIn(claims: KeystoneClaims, issuer: string, keyId: string | undefined): Attribute[] {
  const { scope, trustId, federation, accessTokenId, applicationCredentialId } = claims;
  const told: (readonly [Attribute['dimension'], string | undefined])[] = [
    ['everything', 'everything'],
    ['issuer', issuer],
    ['identity', claims.auditIds[0]],
    ['chain', claims.auditIds.at(-1)],
    ['user', claims.userId],
    ['scope_kind', scope.kind],
  ];
  if (scope.kind === 'project') told.push(['project', scope.id]);
  if (scope.kind === 'domain') told.push(['scope_domain', scope.id], ['domain', scope.id]);
  if (federation) told.push(['idp', federation.identityProviderId]);
  for (const group of federation?.groupIds ?? []) told.push(['group', group]);
  const single = { trust: trustId, access_token: accessTokenId, application_credential: applicationCredentialId, signing_key: keyId };
  for (const [dimension, value] of Object.entries(single)) told.push([dimension as keyof typeof single, value]);
  const attributes = told.flatMap(([dimension, value]) => (value === undefined ? [] : [{ dimension, value }]));
  return [...attributes, ...unknownIn(claims).map((dimension) => ({ dimension, value: undefined }))];
}

/** What the token has, and does not tell. */
function unknownIn({ scope, trustId, federation, accessTokenId }: KeystoneClaims): Attribute['dimension'][] {
  const unknown: Attribute['dimension'][] = ['user_domain', 'domain'];
  // Whoever gave the trust is a user of the token too.
  if (trustId !== undefined) unknown.push('user');
  if (scope.kind === 'project') unknown.push('project_domain');
  if (scope.kind !== 'unscoped') unknown.push('role');
  if (!federation) unknown.push('group');
  // The consumer that OAuth1 gave the access token to.
  if (accessTokenId !== undefined) unknown.push('client');
  return unknown;
}
