// What the client answers: about a token, an invalidation, the state of a sidecar.

import type { InactiveReason } from '../core/decision.ts';
import type { Cursor } from '../core/invalidation.ts';
import type { Token } from '../core/token.ts';
import {
  InactiveReason as InactiveReasonMessage,
  Provenance as ProvenanceMessage,
  type RefreshResponse,
  type RevokeResponse,
  type ValidateResponse,
} from '../gen/sidegate/v1/token_service.ts';
import { cursorFromMessage } from '../wire/cursor.ts';
import { entryFromMessage, type ReadInvalidation } from '../wire/invalidation.ts';
import { msFromDate, msFromDuration } from '../wire/time.ts';
import { tokenFromMessage } from '../wire/token.ts';
import { NoAnswerError } from './no-answer-error.ts';

/** An invalidation as Watch and answers tell it. */
export type Invalidation = ReadInvalidation;

/** Where facts were found; `unknown`: a place newer than this client. */
export type Provenance = 'memory' | 'authority' | 'signature' | 'unknown';

/** What every answer says. */
interface AnswerBase {
  /** Public name of the token: log it, match it with events. Cannot be presented in its place. */
  readonly fingerprint: string;
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
  readonly reachedAtMs?: number;
}

/**
 * Reads an answer, cautiously: active only if it says so, gives no reason against it, and has facts and a position.
 * Throws NoAnswerError INTERNAL / ANSWER_MALFORMED for an active answer without them; SidecarError where a part cannot be read.
 */
export function answerFromMessage(message: ValidateResponse): Answer {
  const asOf = cursorFromMessage(message.asOf);
  const token = message.token && tokenFromMessage(message.token);
  const confirmedAtMs = msFromDate(message.confirmedAt, 'confirmed_at');
  const base: AnswerBase = {
    fingerprint: message.fingerprint,
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
  return { active: true, ...base, token, asOf, maxAgeMs: msFromDuration(message.maxAge, 'max_age') ?? 0 };
}

/** Reads what Revoke and Refresh say. Throws NoAnswerError INTERNAL / ANSWER_MALFORMED without a position. */
export function invalidatedFromMessage(message: RevokeResponse | RefreshResponse): Invalidated {
  const asOf = cursorFromMessage(message.asOf);
  if (asOf === undefined) throw malformed('an invalidation has a position');
  const reachedAtMs = 'reachedAt' in message ? msFromDate(message.reachedAt, 'reached_at') : undefined;
  return { asOf, entryId: message.entryId, ...(reachedAtMs === undefined ? {} : { reachedAtMs }) };
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
  [InactiveReasonMessage.WRONG_CERTIFICATE, 'WRONG_CERTIFICATE'],
  [InactiveReasonMessage.WRONG_AUDIENCE, 'WRONG_AUDIENCE'],
  [InactiveReasonMessage.WRONG_SCOPE, 'WRONG_SCOPE'],
  [InactiveReasonMessage.MISSING_ROLE, 'MISSING_ROLE'],
  [InactiveReasonMessage.MISSING_SCOPE, 'MISSING_SCOPE'],
  [InactiveReasonMessage.ACCESS_DENIED, 'ACCESS_DENIED'],
]);

const provenances: ReadonlyMap<number, Provenance> = new Map<number, Provenance>([
  [ProvenanceMessage.MEMORY, 'memory'],
  [ProvenanceMessage.AUTHORITY, 'authority'],
  [ProvenanceMessage.SIGNATURE, 'signature'],
]);
