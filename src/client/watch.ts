// Watch, resumed by itself: what has happened, from a cursor on, across reconnects.

import type { Cursor } from '../core/invalidation.ts';
import { ResetReason as ResetReasonMessage, type WatchRequest, type WatchResponse } from '../gen/sidegate/v1/token_service.ts';
import { cursorFromMessage, cursorToMessage } from '../wire/cursor.ts';
import { entryFromMessage } from '../wire/invalidation.ts';
import { durationFromMs, msFromDate, msFromDuration } from '../wire/time.ts';
import type { Invalidation } from './answer.ts';
import type { MessageStream } from './channel.ts';
import { pause } from './deadline.ts';
import { type NoAnswerCode, NoAnswerError, toNoAnswerError } from './no-answer-error.ts';
import { type SourceStatus, sourceFromMessage } from './status.ts';

/** Only what may concern a value of each list that is set and not empty. */
export interface WatchFilter {
  readonly issuers?: readonly string[];
  readonly userIds?: readonly string[];
  readonly projectIds?: readonly string[];
}

/** What to watch. */
export interface WatchOptions {
  /** Exclusive. Absent: from now. */
  readonly after?: Cursor;
  /**
   * With every invalidation that still matters first, then `snapshotEnd`. Needs an authorised caller; means nothing beside `after`. Where the
   * stream is cut before its end, or reset later, it comes again as a whole.
   */
  readonly snapshot?: boolean;
  readonly filter?: WatchFilter;
  /** The wished time between checkpoints; `opened` says what was granted. */
  readonly checkpointIntervalMs?: number;
  /** Selectors and origins too. Needs an authorised caller. */
  readonly details?: boolean;
  /** Ends the iteration, by return. */
  readonly signal?: AbortSignal;
}

/** Why the stream could not go on without a gap. `UNKNOWN`: a reason newer than this client. */
export type ResetReason = 'COMPACTED' | 'OTHER_JOURNAL' | 'SLOW_CONSUMER' | 'AHEAD' | 'KEYS_CHANGED' | 'UNKNOWN';

/** What a watcher gets. Times in milliseconds since the epoch, by the sidecar's clock. */
export type WatchEvent =
  | {
      readonly kind: 'opened';
      /** Oldest position that can be resumed from. */
      readonly earliest?: Cursor;
      readonly latest: Cursor;
      readonly checkpointIntervalMs: number;
      readonly proofLifetimeMs: number;
      readonly sidecar: string;
      readonly subscription: string;
    }
  | ({ readonly kind: 'invalidation' } & Invalidation)
  | {
      readonly kind: 'checkpoint';
      /** Nothing at or below it is missing. */
      readonly cursor: Cursor;
      /** Absent, like `provenThroughMs`, where the sidecar did not say: then it proves nothing. */
      readonly serverTimeMs?: number;
      readonly provenThroughMs?: number;
      readonly degraded: boolean;
      readonly degradedIssuers: readonly string[];
      readonly sources: readonly SourceStatus[];
    }
  /** Something is missing: forget everything; the stream goes on after `cursor`. */
  | { readonly kind: 'reset'; readonly reason: ResetReason; readonly cursor: Cursor; readonly earliest?: Cursor }
  /** Of a snapshot: it is complete, and stands for everything up to here. What came before it, a checkpoint too, proves nothing. */
  | { readonly kind: 'snapshotEnd'; readonly cursor: Cursor }
  /** The stream is gone; it is tried again by itself. */
  | { readonly kind: 'disconnected'; readonly error: NoAnswerError; readonly retryInMs: number };

/** What watching needs. */
export interface WatchParts {
  /** Subscribes; throws NoAnswerError. */
  open(request: WatchRequest): Promise<MessageStream>;
  /** In [0, 1). */
  random(): number;
  /** How long the first message may take. */
  readonly openTimeoutMs: number;
}

const firstBackoffMs = 100;
const longestBackoffMs = 10_000;
/** A sidecar that asks for more patience than this is asked again all the same. */
const longestRetryAfterMs = 300_000;
/** A stream that says nothing for ten intervals is dead, whatever TCP believes; short intervals get five seconds. */
const silentIntervals = 10;
const shortestSilenceMs = 5000;

/** Asking again will not help: the question itself is refused. */
const permanent: ReadonlySet<NoAnswerCode> = new Set<NoAnswerCode>([
  'INVALID_ARGUMENT',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'UNIMPLEMENTED',
]);

/**
 * What happens, until `options.signal` aborts. When the stream is cut it is opened again after the last cursor, with growing pauses
 * (never earlier than the sidecar asked for); nothing inside retained history is missed, and something may come twice.
 * Throws NoAnswerError where the subscription itself is refused: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED.
 * Buffers what one message holds.
 */
export async function* watch(parts: WatchParts, options: WatchOptions): AsyncGenerator<WatchEvent, void, void> {
  const signal = options.signal ?? new AbortController().signal;
  const wantsAll = options.snapshot === true && options.after === undefined;
  let after = options.after;
  let failures = 0;
  while (!signal.aborted) {
    let error = new NoAnswerError('UNAVAILABLE', 'the sidecar ended the stream');
    try {
      for await (const event of connection(parts, requestFor(options, after), signal)) {
        if (event.kind === 'checkpoint') failures = 0;
        after = positionAfter(event, after, wantsAll);
        yield event;
        if (event.kind === 'reset' && wantsAll) break;
      }
    } catch (cause) {
      error = toNoAnswerError(cause);
      if (!signal.aborted && permanent.has(error.code)) throw error;
    }
    if (signal.aborted) return;
    const retryInMs = retryDelayMs(failures, error.retryAfterMs, parts.random());
    failures += 1;
    yield { kind: 'disconnected', error, retryInMs };
    await pause(retryInMs, signal);
  }
}

/** Where a stream that is cut after `event` goes on; undefined: as at the beginning. */
function positionAfter(event: WatchEvent, after: Cursor | undefined, wantsAll: boolean): Cursor | undefined {
  if (event.kind === 'disconnected') return after;
  if (wantsAll && event.kind === 'reset') return undefined;
  // Nothing that is in the middle of a snapshot is a position.
  if (wantsAll && after === undefined && event.kind !== 'snapshotEnd') return undefined;
  // From now means from `latest`: a stream that is cut before its first event goes on from there.
  return event.kind === 'opened' ? (after ?? event.latest) : event.cursor;
}

function retryDelayMs(failures: number, retryAfterMs: number | undefined, random: number): number {
  const backoffMs = Math.min(longestBackoffMs, firstBackoffMs * 2 ** Math.min(failures, 10)) * (0.5 + random / 2);
  // Above what was asked for and not around it: all watchers of a restarted sidecar got the same number.
  const askedMs = Math.min(longestRetryAfterMs, retryAfterMs ?? 0) * (1 + random / 5);
  return Math.max(backoffMs, askedMs);
}

function requestFor(options: WatchOptions, after: Cursor | undefined): WatchRequest {
  const { filter, checkpointIntervalMs } = options;
  return {
    start: startFor(options, after),
    filter: filter && {
      issuers: [...(filter.issuers ?? [])],
      userIds: [...(filter.userIds ?? [])],
      projectIds: [...(filter.projectIds ?? [])],
    },
    checkpointInterval: checkpointIntervalMs === undefined ? undefined : durationFromMs(checkpointIntervalMs),
    includeDetails: options.details ?? false,
  };
}

function startFor({ snapshot }: WatchOptions, after: Cursor | undefined): WatchRequest['start'] {
  if (after) return { $case: 'after', value: cursorToMessage(after) };
  return snapshot ? { $case: 'snapshot', value: true } : undefined;
}

/** One connection: its events until it ends or fails. */
async function* connection(parts: WatchParts, request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchEvent, void, void> {
  const stream = await parts.open(request);
  // A stream that we cancel fails once more after we have stopped reading; without a listener that would end the process.
  stream.on('error', () => undefined);
  const cancel = (): void => stream.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  let patienceMs = parts.openTimeoutMs;
  try {
    const messages = stream[Symbol.asyncIterator]();
    for (;;) {
      const next = await orSilent(messages.next(), patienceMs);
      if (next.done) return;
      for (const event of eventsOf(next.value)) {
        if (event.kind === 'opened') patienceMs = Math.max(shortestSilenceMs, silentIntervals * event.checkpointIntervalMs);
        yield event;
      }
    }
  } finally {
    signal.removeEventListener('abort', cancel);
    stream.cancel();
  }
}

/** The clock runs only while we wait: a consumer may take its time with an event. */
async function orSilent<Value>(next: Promise<Value>, patienceMs: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    const error = new NoAnswerError('UNAVAILABLE', `the stream was silent for ${patienceMs} ms`, { reason: 'STREAM_SILENT' });
    timer = setTimeout(() => reject(error), patienceMs);
  });
  try {
    return await Promise.race([next, silence]);
  } finally {
    clearTimeout(timer);
    // Where the silence won, the cancelled stream rejects this too; it has been reported.
    next.catch(() => undefined);
  }
}

function eventsOf({ message }: WatchResponse): WatchEvent[] {
  switch (message?.$case) {
    case 'opened': {
      const { value } = message;
      return [
        {
          kind: 'opened',
          ...earliestOf(value.earliest && cursorFromMessage(value.earliest)),
          latest: required(cursorFromMessage(value.latest)),
          checkpointIntervalMs: msFromDuration(value.checkpointInterval, 'checkpoint_interval') ?? 0,
          proofLifetimeMs: msFromDuration(value.proofLifetime, 'proof_lifetime') ?? 0,
          sidecar: value.sidecar,
          subscription: value.subscription,
        },
      ];
    }
    case 'batch':
      return message.value.invalidations.map((invalidation) => ({ kind: 'invalidation', ...required(entryFromMessage(invalidation)) }));
    case 'checkpoint': {
      const { value } = message;
      const serverTimeMs = msFromDate(value.serverTime, 'server_time');
      const provenThroughMs = msFromDate(value.provenThrough, 'proven_through');
      return [
        {
          kind: 'checkpoint',
          cursor: required(cursorFromMessage(value.cursor)),
          ...(serverTimeMs === undefined ? {} : { serverTimeMs }),
          ...(provenThroughMs === undefined ? {} : { provenThroughMs }),
          degraded: value.degraded,
          degradedIssuers: value.degradedIssuers,
          sources: value.sources.map(sourceFromMessage),
        },
      ];
    }
    case 'reset': {
      const { value } = message;
      const cursor = required(cursorFromMessage(value.cursor));
      return [
        {
          kind: 'reset',
          reason: resetReasons.get(value.reason) ?? 'UNKNOWN',
          cursor,
          ...earliestOf(value.earliest && cursorFromMessage(value.earliest)),
        },
      ];
    }
    case 'snapshotEnd':
      return [{ kind: 'snapshotEnd', cursor: required(cursorFromMessage(message.value.cursor)) }];
    default:
      // W14: a case newer than this client.
      return [];
  }
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) {
    throw new NoAnswerError('INTERNAL', 'a message of the stream has no position', { reason: 'ANSWER_MALFORMED' });
  }
  return value;
}

function earliestOf(earliest: Cursor | undefined): { readonly earliest?: Cursor } {
  return earliest === undefined ? {} : { earliest };
}

const resetReasons: ReadonlyMap<number, ResetReason> = new Map<number, ResetReason>([
  [ResetReasonMessage.COMPACTED, 'COMPACTED'],
  [ResetReasonMessage.OTHER_JOURNAL, 'OTHER_JOURNAL'],
  [ResetReasonMessage.SLOW_CONSUMER, 'SLOW_CONSUMER'],
  [ResetReasonMessage.AHEAD, 'AHEAD'],
  [ResetReasonMessage.KEYS_CHANGED, 'KEYS_CHANGED'],
]);
