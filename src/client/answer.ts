// What the client answers: about a token, an invalidation, the state of a sidecar.

import type { CatalogService } from '../core/catalog.ts';
import type { InactiveReason } from '../core/decision.ts';
import type { Cursor } from '../core/invalidation.ts';
import type { Token as Facts } from '../core/token.ts';
import {
  type CatalogService as CatalogServiceMessage,
  Forwarding as ForwardingMessage,
  InactiveReason as InactiveReasonMessage,
  Provenance as ProvenanceMessage,
  type RefreshResponse,
  type RevokeResponse,
  type Token as TokenMessage,
  type ValidateResponse,
} from '../gen/sidegate/v1/token_service.ts';
import { cursorFromMessage } from '../wire/cursor.ts';
import { entryFromMessage, type ReadInvalidation } from '../wire/invalidation.ts';
import { msFromDate, msFromDuration } from '../wire/time.ts';
import { tokenFromMessage } from '../wire/token.ts';
import { NoAnswerError } from './no-answer-error.ts';
import { type Reach, reachFromMessage } from './reach.ts';

/** An invalidation as Watch and answers tell it. */
export type Invalidation = ReadInvalidation;

/** Where facts were found; `unknown`: a place newer than this client. */
export type Provenance = 'memory' | 'shared' | 'authority' | 'signature' | 'unknown';

/** What a token says. */
export interface Token extends Facts {
  /** The service catalog. Only when included, and only where the token has one. */
  readonly catalog?: readonly CatalogService[];
}

/** What every answer says. */
interface AnswerBase {
  /** Public name of the token: log it, match it with events. Cannot be presented in its place. */
  readonly fingerprint: string;
  /** Facts of the service token, where one was presented and is good. */
  readonly service?: Token;
  readonly provenance: Provenance;
  /** When the authority last confirmed the facts, in milliseconds since the epoch. */
  readonly confirmedAtMs?: number;
  /** The sidecar may have missed news; its policy let it answer all the same. */
  readonly degraded: boolean;
  /** Why, for example `SOURCE_BEHIND(bus)`. */
  readonly degradedBy: readonly string[];
  /** What a near cache compares with the tags of invalidations. Only when included. */
  readonly tags?: readonly bigint[];
}

/** The token is good, for what was demanded. */
export interface ActiveAnswer extends AnswerBase {
  readonly active: true;
  readonly token: Token;
  /** Decided with everything up to here applied. */
  readonly asOf: Cursor;
  /** How long a near cache may repeat it; 0: not at all. */
  readonly maxAgeMs: number;
  /** Stands for the token, and is as secret. Only when included, and only where there are handles. */
  readonly handle?: string;
}

/** The token is not good. */
export interface InactiveAnswer extends AnswerBase {
  readonly active: false;
  /** `UNKNOWN`: a reason newer than this client. */
  readonly reason: InactiveReason | 'UNKNOWN';
  readonly asOf?: Cursor;
  /** What killed it, when the reason is REVOKED. */
  readonly revokedBy?: Invalidation;
  /** Only with details. */
  readonly token?: Token;
}

/** Good or not, and why. That there is no answer is a `NoAnswerError`, thrown. */
export type Answer = ActiveAnswer | InactiveAnswer;

/** A revocation or refresh has been made: durable in the sidecar's journal, and applied there. */
export interface Invalidated {
  /** A Validate on this sidecar at least as fresh as this sees it. */
  readonly asOf: Cursor;
  /** The same on every sidecar. Empty where the token was none that anybody could accept: nothing was written. */
  readonly entryId: string;
  /** How far it has gone; `unknown`: not said, or a reach newer than this client. */
  readonly reach: Reach | 'unknown';
  /** When that was known, in milliseconds since the epoch by the sidecar's clock. */
  readonly reachedAtMs?: number;
}

/**
 * How telling the authority went. `pending`: it is told again as long as the token lives. `rejected`: it will never do it.
 * `unknown`: a word newer than this client.
 */
export type Forwarding = 'accepted' | 'pending' | 'rejected' | 'unknown';

/** A revocation. */
export interface Revoked extends Invalidated {
  /** Absent: it was not to be told, or there was nothing to tell. The token is dead here in any case. */
  readonly forwarding?: Forwarding;
  /**
   * Where `fleet` was waited for and not reached: names of sidecars that are not known to apply it, and may still accept the token. Empty:
   * it was reached or not waited for, or nobody knows who is there.
   */
  readonly laggingSidecars: readonly string[];
}

/**
 * Reads an answer, cautiously: active only if it says so, gives no reason against it, and has facts and a position.
 * Throws NoAnswerError INTERNAL / ANSWER_MALFORMED for an active answer without them; SidecarError where a part cannot be read.
 */
export function answerFromMessage(message: ValidateResponse): Answer {
  const asOf = cursorFromMessage(message.asOf);
  const token = message.token && withCatalog(message.token);
  const confirmedAtMs = msFromDate(message.confirmedAt, 'confirmed_at');
  const base: AnswerBase = {
    fingerprint: message.fingerprint,
    ...(message.service === undefined ? {} : { service: withCatalog(message.service) }),
    provenance: provenances.get(message.provenance) ?? 'unknown',
    ...(confirmedAtMs === undefined ? {} : { confirmedAtMs }),
    degraded: message.degraded,
    degradedBy: message.degradedBy,
    ...(message.tags.length === 0 ? {} : { tags: message.tags }),
  };
  // A reason beside `active` is a sidecar that contradicts itself: the refusal counts.
  if (!message.active || message.reason !== InactiveReasonMessage.UNSPECIFIED) {
    const revokedBy = message.revokedBy && entryFromMessage(message.revokedBy);
    return {
      active: false,
      reason: reasons.get(message.reason) ?? 'UNKNOWN',
      ...base,
      ...(asOf === undefined ? {} : { asOf }),
      ...(revokedBy === undefined ? {} : { revokedBy }),
      ...(token === undefined ? {} : { token }),
    };
  }
  if (token === undefined || asOf === undefined) throw malformed('an active answer has facts and a position');
  return {
    active: true,
    ...base,
    token,
    asOf,
    maxAgeMs: msFromDuration(message.maxAge, 'max_age') ?? 0,
    ...(message.handle === '' ? {} : { handle: message.handle }),
  };
}

function withCatalog(message: TokenMessage): Token {
  const token = tokenFromMessage(message);
  return message.catalog.length === 0 ? token : { ...token, catalog: message.catalog.map(serviceFromMessage) };
}

function serviceFromMessage({ id, type, name, endpoints }: CatalogServiceMessage): CatalogService {
  return {
    id,
    type,
    name,
    endpoints: endpoints.map((one) => ({ id: one.id, interface: one.interface, regionId: one.regionId, url: one.url })),
  };
}

/** Reads what Revoke says; throws as `invalidatedFromMessage`. */
export function revokedFromMessage(message: RevokeResponse): Revoked {
  const revoked = { ...invalidatedFromMessage(message), laggingSidecars: message.laggingSidecars };
  if (message.forwarding === ForwardingMessage.UNSPECIFIED) return revoked;
  return { ...revoked, forwarding: forwardings.get(message.forwarding) ?? 'unknown' };
}

/** Reads what Revoke and Refresh say in common. Throws NoAnswerError INTERNAL / ANSWER_MALFORMED without a position. */
export function invalidatedFromMessage(message: RevokeResponse | RefreshResponse): Invalidated {
  const asOf = cursorFromMessage(message.asOf);
  if (asOf === undefined) throw malformed('an invalidation has a position');
  const reachedAtMs = 'reachedAt' in message ? msFromDate(message.reachedAt, 'reached_at') : undefined;
  const reach = reachFromMessage(message.reach);
  return { asOf, entryId: message.entryId, reach, ...(reachedAtMs === undefined ? {} : { reachedAtMs }) };
}

function malformed(message: string): NoAnswerError {
  return new NoAnswerError('INTERNAL', message, { reason: 'ANSWER_MALFORMED' });
}

const reasons: ReadonlyMap<number, InactiveReason> = new Map<number, InactiveReason>([
  [InactiveReasonMessage.EXPIRED, 'EXPIRED'],
  [InactiveReasonMessage.NOT_YET_VALID, 'NOT_YET_VALID'],
  [InactiveReasonMessage.REVOKED, 'REVOKED'],
  [InactiveReasonMessage.REFUSED, 'REFUSED'],
  [InactiveReasonMessage.MALFORMED, 'MALFORMED'],
  [InactiveReasonMessage.BAD_SIGNATURE, 'BAD_SIGNATURE'],
  [InactiveReasonMessage.WRONG_ISSUER, 'WRONG_ISSUER'],
  [InactiveReasonMessage.LIFETIME_TOO_LONG, 'LIFETIME_TOO_LONG'],
  [InactiveReasonMessage.UNKNOWN_HANDLE, 'UNKNOWN_HANDLE'],
  [InactiveReasonMessage.WRONG_CERTIFICATE, 'WRONG_CERTIFICATE'],
  [InactiveReasonMessage.BAD_SERVICE_TOKEN, 'BAD_SERVICE_TOKEN'],
  [InactiveReasonMessage.WRONG_AUDIENCE, 'WRONG_AUDIENCE'],
  [InactiveReasonMessage.WRONG_SCOPE, 'WRONG_SCOPE'],
  [InactiveReasonMessage.MISSING_ROLE, 'MISSING_ROLE'],
  [InactiveReasonMessage.MISSING_SCOPE, 'MISSING_SCOPE'],
  [InactiveReasonMessage.ACCESS_DENIED, 'ACCESS_DENIED'],
]);

const provenances: ReadonlyMap<number, Provenance> = new Map<number, Provenance>([
  [ProvenanceMessage.MEMORY, 'memory'],
  [ProvenanceMessage.SHARED, 'shared'],
  [ProvenanceMessage.AUTHORITY, 'authority'],
  [ProvenanceMessage.SIGNATURE, 'signature'],
]);

const forwardings: ReadonlyMap<number, Forwarding> = new Map<number, Forwarding>([
  [ForwardingMessage.ACCEPTED, 'accepted'],
  [ForwardingMessage.PENDING, 'pending'],
  [ForwardingMessage.REJECTED, 'rejected'],
]);
