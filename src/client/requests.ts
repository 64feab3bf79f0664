// What callers ask for, and how it is said on the wire.

import { randomUUID } from 'node:crypto';
import type { Access } from '../core/access-rules.ts';
import type { Demand as AnyDemand } from '../core/decision.ts';
import type { Cursor } from '../core/invalidation.ts';
import {
  type Demand as DemandMessage,
  type FindTokenRequest,
  Forward,
  type Include as IncludeMessage,
  type RefreshRequest,
  type RevokeRequest,
  type ValidateRequest,
} from '../gen/sidegate/v1/token_service.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { type SelectorFields, selectorFieldsToMessage } from '../wire/selector.ts';
import { dateFromMs, durationFromMs } from '../wire/time.ts';
import { type Reach, reachMessage } from './reach.ts';

/** How long a call may take (at most ten minutes), and what ends it earlier. */
export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A token, or the handle of one, where the sidecar's configuration accepts handles. */
export type Credential = string | { readonly handle: string };

/** What a caller requires. Every field that is set must hold. */
export interface Demand extends Omit<AnyDemand, 'access' | 'expiredWithinMs'> {
  /** The request at hand: a token with access rules is inactive unless one of them allows it. */
  readonly access?: Access;
}

/** Optional parts of an answer; all are off by default. */
export interface Include {
  /** The service catalog; what has none is answered without. */
  readonly catalog?: boolean;
  /** Only its endpoints in these regions; absent or empty: in all. Only with `catalog`, as `catalogServices`. */
  readonly catalogRegions?: readonly string[];
  /** Only its services of these types; absent or empty: of all. */
  readonly catalogServices?: readonly string[];
  /** The verified claims, as JSON. */
  readonly claims?: boolean;
  /** The handle of the token, where there are handles. As secret as the token. */
  readonly handle?: boolean;
  readonly tags?: boolean;
  /** Facts also of an inactive token, and who revoked it. Needs an authorised caller. */
  readonly details?: boolean;
}

/** What an answer must be, and hold. */
export interface ValidateOptions extends CallOptions {
  readonly demand?: Demand;
  /** Our own token, where we act for a user in a long operation: with a role that the sidecar is told of, an expired token still serves. */
  readonly serviceToken?: string;
  readonly include?: Include;
  /** What must have been applied before the decision: a position of this sidecar's journal, or an invalidation made anywhere. */
  readonly atLeastAsFresh?: Cursor | { readonly entryId: string };
  /** Facts confirmed longer ago than this are fetched again first. */
  readonly maxStalenessMs?: number;
  /** Where the authority cannot be reached, facts so far past their time will do, as far as the configuration goes along; it is `degraded`. */
  readonly staleIfUnavailableMs?: number;
}

/** Whose token is looked for. */
export interface FindTarget {
  /** May be left out where the sidecar has one issuer. */
  readonly issuer?: string;
  readonly userId: string;
  /** Absent: an unscoped token. */
  readonly projectId?: string;
}

/** What an answer about a found token holds. */
export interface FindOptions extends CallOptions {
  readonly include?: Include;
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
  /** Whether its authority is told too; absent: as configured. With a selector only `false`: the authority is told by the token itself. */
  readonly forward?: boolean;
  /**
   * How far it must have gone before the answer, as far as the call's time allows: `reach` says how far it has. Absent: `sidecar`. Beyond
   * that a sidecar that is in no fleet revokes nothing: FAILED_PRECONDITION / NO_FLEET.
   */
  readonly waitFor?: Reach;
}

/** What to kill: a token that one holds, itself or by its handle, or, for authorised callers, all that fit. */
export type RevokeTarget = { readonly token: string } | { readonly handle: string } | { readonly selector: SelectorFields };

/** For the wire. */
export function validateRequest(credential: Credential, options: ValidateOptions): ValidateRequest {
  const { include, atLeastAsFresh, maxStalenessMs, staleIfUnavailableMs } = options;
  return {
    credential: typeof credential === 'string' ? { $case: 'token', value: credential } : { $case: 'handle', value: credential.handle },
    demand: options.demand && demandMessage(options.demand),
    serviceToken: options.serviceToken ?? '',
    include: include && includeMessage(include),
    atLeastAsFresh: atLeastAsFresh && freshnessMessage(atLeastAsFresh),
    maxStaleness: maxStalenessMs === undefined ? undefined : durationFromMs(maxStalenessMs),
    staleIfUnavailable: staleIfUnavailableMs === undefined ? undefined : durationFromMs(staleIfUnavailableMs),
  };
}

/** For the wire. */
export function findTokenRequest({ issuer, userId, projectId }: FindTarget, { include }: FindOptions): FindTokenRequest {
  return { issuer: issuer ?? '', userId, projectId: projectId ?? '', include: include && includeMessage(include) };
}

function includeMessage(include: Include): IncludeMessage {
  return {
    catalog: include.catalog ?? false,
    catalogRegions: [...(include.catalogRegions ?? [])],
    catalogServices: [...(include.catalogServices ?? [])],
    claims: include.claims ?? false,
    handle: include.handle ?? false,
    tags: include.tags ?? false,
    details: include.details ?? false,
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
    access: demand.access && { service: demand.access.service, method: demand.access.method, path: demand.access.path },
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
    target: targetMessage(target),
    issuedBefore,
    requestId: options.requestId ?? randomUUID(),
    reason: options.reason ?? '',
    waitFor: reachMessage(options.waitFor ?? 'sidecar'),
    forward: options.forward === undefined ? Forward.UNSPECIFIED : options.forward ? Forward.ALWAYS : Forward.NEVER,
  };
}

function targetMessage(target: RevokeTarget): RevokeRequest['target'] {
  if ('token' in target) return { $case: 'token', value: target.token };
  if ('handle' in target) return { $case: 'handle', value: target.handle };
  return { $case: 'selector', value: selectorFieldsToMessage(target.selector) };
}

/** For the wire, with a request id. */
export function refreshRequest(selector: SelectorFields, options: RefreshOptions): RefreshRequest {
  return { selector: selectorFieldsToMessage(selector), requestId: options.requestId ?? randomUUID(), reason: options.reason ?? '' };
}
