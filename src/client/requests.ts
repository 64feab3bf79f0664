// What callers ask for, and how it is said on the wire.

import { randomUUID } from 'node:crypto';
import type { Demand } from '../core/decision.ts';
import type { Cursor } from '../core/invalidation.ts';
import {
  type Demand as DemandMessage,
  Reach,
  type RefreshRequest,
  type RevokeRequest,
  type ValidateRequest,
} from '../gen/sidegate/v1/token_service.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { type SelectorFields, selectorFieldsToMessage } from '../wire/selector.ts';
import { dateFromMs, durationFromMs } from '../wire/time.ts';

/** How long a call may take (at most ten minutes), and what ends it earlier. */
export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What an answer must be, and hold. */
export interface ValidateOptions extends CallOptions {
  readonly demand?: Demand;
  readonly include?: {
    /** The verified claims, as JSON. */
    readonly claims?: boolean;
    readonly tags?: boolean;
    /** Facts also of an inactive token, and who revoked it. Needs an authorised caller. */
    readonly details?: boolean;
  };
  /** What must have been applied before the decision: a position of this sidecar's journal, or an invalidation made anywhere. */
  readonly atLeastAsFresh?: Cursor | { readonly entryId: string };
  /** Facts confirmed longer ago than this are fetched again first. */
  readonly maxStalenessMs?: number;
}

/** What goes with an invalidation. */
export interface RefreshOptions extends CallOptions {
  /** The same id again is the same invalidation. Absent: one is made. */
  readonly requestId?: string;
  /** Kept in the journal. */
  readonly reason?: string;
}

/** What goes with a revocation. */
export interface RevokeOptions extends RefreshOptions {
  /** Tokens issued at or before this second, in milliseconds since the epoch. Only with a selector that does not name one token. */
  readonly issuedBeforeMs?: number;
}

/** What to kill: a token that one holds, or, for authorised callers, all that fit. */
export type RevokeTarget = { readonly token: string } | { readonly selector: SelectorFields };

/** For the wire. */
export function validateRequest(token: string, options: ValidateOptions): ValidateRequest {
  const { include, atLeastAsFresh, maxStalenessMs } = options;
  return {
    credential: { $case: 'token', value: token },
    demand: options.demand && demandMessage(options.demand),
    include: include && { claims: include.claims ?? false, tags: include.tags ?? false, details: include.details ?? false },
    atLeastAsFresh: atLeastAsFresh && freshnessMessage(atLeastAsFresh),
    maxStaleness: maxStalenessMs === undefined ? undefined : durationFromMs(maxStalenessMs),
  };
}

function freshnessMessage(wanted: Cursor | { readonly entryId: string }): ValidateRequest['atLeastAsFresh'] {
  return 'entryId' in wanted ? { $case: 'entryId', value: wanted.entryId } : { $case: 'cursor', value: cursorToMessage(wanted) };
}

function demandMessage(demand: Demand): DemandMessage {
  return {
    scope: scopeMessage(demand.scope),
    anyOfIssuers: [...(demand.anyOfIssuers ?? [])],
    anyOfAudiences: [...(demand.anyOfAudiences ?? [])],
    anyOfRoles: [...(demand.anyOfRoles ?? [])],
    allOfScopes: [...(demand.allOfScopes ?? [])],
    certificateThumbprint: demand.certificateThumbprint ?? '',
  };
}

function scopeMessage(scope: Demand['scope']): DemandMessage['scope'] {
  if (scope === undefined) return undefined;
  if (scope.kind === 'system') return { $case: 'system', value: true };
  return scope.kind === 'project' ? { $case: 'projectId', value: scope.id } : { $case: 'domainId', value: scope.id };
}

/** For the wire, with a request id. Throws RangeError where `issuedBeforeMs` is no time: left out, it would mean another one. */
export function revokeRequest(target: RevokeTarget, options: RevokeOptions): RevokeRequest {
  const issuedBefore = dateFromMs(options.issuedBeforeMs);
  if (options.issuedBeforeMs !== undefined && issuedBefore === undefined) throw new RangeError('issuedBeforeMs is no time');
  return {
    target:
      'token' in target ? { $case: 'token', value: target.token } : { $case: 'selector', value: selectorFieldsToMessage(target.selector) },
    issuedBefore,
    requestId: options.requestId ?? randomUUID(),
    reason: options.reason ?? '',
    waitFor: Reach.SIDECAR,
  };
}

/** For the wire, with a request id. */
export function refreshRequest(selector: SelectorFields, options: RefreshOptions): RefreshRequest {
  return { selector: selectorFieldsToMessage(selector), requestId: options.requestId ?? randomUUID(), reason: options.reason ?? '' };
}
