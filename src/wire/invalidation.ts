// Entries of the journal on the wire, and as clients read them.

import type { Cursor, Effect, Origin, PlacedEntry } from '../core/invalidation.ts';
import {
  Effect as EffectMessage,
  type Invalidation as InvalidationMessage,
  type Origin as OriginMessage,
} from '../gen/sidegate/v1/token_service.ts';
import { cursorFromMessage, cursorToMessage } from './cursor.ts';
import { type SelectorFields, selectorFieldsFromMessage, selectorToMessage } from './selector.ts';
import { dateFromMs, durationFromMs, msFromDate, msFromDuration } from './time.ts';

/** An invalidation as a client reads it. */
export interface ReadInvalidation {
  readonly cursor: Cursor;
  /** `UNKNOWN`: an effect newer than this client. It drops what it concerns (W14). */
  readonly effect: Effect | 'UNKNOWN';
  /** It concerns answers that have every one of these; none: all. */
  readonly tags: readonly bigint[];
  readonly issuedBeforeMs?: number;
  readonly learnedAtMs?: number;
  /** Absent: never forgotten. */
  readonly forgetAtMs?: number;
  /** A REFRESH that takes effect token by token, within this time or twice that. What it concerns is dropped like any other's. */
  readonly spreadMs?: number;
  readonly entryId: string;
  /** Only with details. */
  readonly selector?: SelectorFields;
  /** Only with details. */
  readonly origin?: Origin;
}

/** For the wire. `tags`: one set that it needs. `details`: selector and origin too, for callers that may see them (W13). */
export function invalidationToMessage(
  placed: PlacedEntry,
  journalId: string,
  tags: readonly bigint[],
  details: boolean,
): InvalidationMessage {
  const { entry } = placed;
  return {
    cursor: cursorToMessage({ journal: journalId, revision: placed.revision }),
    effect: entry.effect === 'REVOKE' ? EffectMessage.REVOKE : EffectMessage.REFRESH,
    tags: [...tags],
    issuedBefore: dateFromMs(entry.issuedBeforeMs),
    learnedAt: dateFromMs(entry.learnedAtMs),
    forgetAt: dateFromMs(entry.forgetAtMs),
    selector: details ? selectorToMessage(entry.selector) : undefined,
    origin: details ? originToMessage(entry.origin) : undefined,
    entryId: entry.id,
    spread: entry.spreadMs === undefined ? undefined : durationFromMs(entry.spreadMs),
  };
}

/**
 * From the wire; `undefined` without a cursor, for then it has no place.
 * Throws INVALID_ARGUMENT where a cursor or a time is malformed.
 */
export function entryFromMessage(message: InvalidationMessage): ReadInvalidation | undefined {
  const cursor = cursorFromMessage(message.cursor);
  if (cursor === undefined) return undefined;
  const issuedBeforeMs = msFromDate(message.issuedBefore, 'issued_before');
  const learnedAtMs = msFromDate(message.learnedAt, 'learned_at');
  const forgetAtMs = msFromDate(message.forgetAt, 'forget_at');
  const spreadMs = msFromDuration(message.spread, 'spread');
  return {
    cursor,
    effect: effectFromMessage(message.effect),
    tags: message.tags,
    ...(issuedBeforeMs === undefined ? {} : { issuedBeforeMs }),
    ...(learnedAtMs === undefined ? {} : { learnedAtMs }),
    ...(forgetAtMs === undefined ? {} : { forgetAtMs }),
    ...(spreadMs === undefined ? {} : { spreadMs }),
    entryId: message.entryId,
    ...(message.selector === undefined ? {} : { selector: selectorFieldsFromMessage(message.selector) }),
    ...(message.origin === undefined ? {} : { origin: originFromMessage(message.origin) }),
  };
}

function effectFromMessage(effect: EffectMessage): Effect | 'UNKNOWN' {
  if (effect === EffectMessage.REVOKE) return 'REVOKE';
  return effect === EffectMessage.REFRESH ? 'REFRESH' : 'UNKNOWN';
}

function originToMessage(origin: Origin): OriginMessage {
  return {
    source: origin.source,
    event: origin.event ?? '',
    requestId: origin.requestId ?? '',
    actor: origin.actor ?? '',
    reason: origin.reason ?? '',
  };
}

function originFromMessage(message: OriginMessage): Origin {
  return {
    source: message.source,
    ...(message.event === '' ? {} : { event: message.event }),
    ...(message.requestId === '' ? {} : { requestId: message.requestId }),
    ...(message.actor === '' ? {} : { actor: message.actor }),
    ...(message.reason === '' ? {} : { reason: message.reason }),
  };
}
