// Keystone's keys and tokens as they were captured, or made by Keystone's own code: the notes in the files say how.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Keys with tokens of theirs. */
export interface KeyVectors {
  readonly fernetKey: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly spec: { readonly secret: string; readonly token: string; readonly now: number; readonly src: string };
  readonly captured: { readonly fernet: Readonly<Record<string, string>>; readonly jwsPublic: string; readonly jwsPrivate: string };
  readonly fernet: readonly (Vector & { readonly version: number; readonly payload: string })[];
  readonly jws: readonly Vector[];
}

/** One token and what is in it. */
export interface Vector {
  readonly name: string;
  readonly token: string;
  readonly claims: VectorClaims;
}

/** In the words of Keystone's own code. */
export interface VectorClaims {
  readonly userId: string;
  readonly auditIds: readonly [string, ...string[]];
  readonly projectId?: string;
  readonly domainId?: string;
  readonly system?: true;
  readonly trustId?: string;
  readonly groupIds?: readonly string[];
  readonly idpId?: string;
  readonly accessTokenId?: string;
  readonly applicationCredentialId?: string;
}

const read = (name: string): unknown => JSON.parse(readFileSync(join(import.meta.dirname, '..', 'vectors', name), 'utf8'));

/** Keys, and tokens made with them. */
export const keyVectors = read('keystone-keys.json') as KeyVectors;

/** Captured tokens with Keystone's own bodies of them. */
export const capturedTokens = (
  read('keystone-tokens.json') as {
    readonly tokens: Readonly<Record<string, { readonly token: string; readonly body: { readonly token: Record<string, unknown> } }>>;
  }
).tokens;
