// What is asked of Validate, and what it answers.

import type { Decision, Demand } from '../core/decision.ts';
import type { Cursor, Revision } from '../core/invalidation.ts';
import type { Revoked } from '../core/invalidation-index.ts';
import type { DegradedReason } from './degradation.ts';
import type { Known } from './known.ts';

/** One question about one token. */
export interface Question {
  /** As presented; surrounding white space is ignored. */
  readonly raw: string;
  /** `digestOf(canonical(raw))`, from those who have it without `raw`: then a hit never reads `raw`, which may be made on demand. */
  readonly digest?: string | undefined;
  readonly demand?: Demand | undefined;
  /** What must have been applied before the decision. */
  readonly atLeastAsFresh?: { readonly cursor: Cursor } | { readonly entryId: string } | undefined;
  /** Facts confirmed longer ago are fetched again first. */
  readonly maxStalenessMs?: number | undefined;
  /** What most questions do not ask. */
  readonly more?: More | undefined;
}

/** The rest of a question. */
export interface More {
  /** In place of `raw`, which is then empty: the digest in 64 hex digits. */
  readonly handle?: string;
  /** Makes an expired token acceptable within its issuer's window, where it is good and has a configured role (S16). */
  readonly serviceToken?: string;
  /** The same without a service token: for a face whose caller has judged that itself, as Keystone's `?allow_expired`. */
  readonly allowExpired?: boolean;
  /** Only of this issuer: that of the service token. Set by the validator. */
  readonly expiredOf?: string;
  /** The service catalog too. */
  readonly catalog?: boolean;
  /** While the authority cannot be reached, facts so far past their time will do; the configuration bounds it. */
  readonly staleIfUnavailableMs?: number;
}

/** Where facts were found. */
export type Provenance = 'MEMORY' | 'SHARED' | 'AUTHORITY' | 'SIGNATURE';

/** An answer. `known` is there wherever facts are, also of an inactive token: who may see them is not decided here. */
export interface Answer {
  readonly decision: Decision;
  /** Public name of the token; empty where no issuer takes it. */
  readonly fingerprint: string;
  readonly known: Known | undefined;
  readonly provenance: Provenance | undefined;
  readonly revoked: Revoked | undefined;
  /** Everything up to here was applied. */
  readonly asOf: Revision;
  /** How long a near cache may repeat this, in milliseconds; 0: not at all. */
  readonly maxAgeMs: number;
  readonly degradedBy: readonly DegradedReason[];
  /** Facts of the service token, where one was presented and is good. */
  readonly service?: Known | undefined;
  /** The service catalog as JSON text in UTF-8, byte for byte as Keystone sent it, where it was asked for; empty where there is none. */
  readonly catalog?: Uint8Array | undefined;
}
