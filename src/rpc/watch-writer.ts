// Writes WatchResponses: the events of an entry once for all watchers, everything else as it comes.

import type { PlacedEntry } from '../core/invalidation.ts';
import type { Tagger } from '../core/tag.ts';
import { ResetReason, WatchBatch, WatchResponse } from '../gen/sidegate/v1/token_service.ts';
import type { Journal } from '../ports.ts';
import type { WatchMessage } from '../service/watch.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { invalidationToMessage } from '../wire/invalidation.ts';
import { dateFromMs, durationFromMs } from '../wire/time.ts';
import { sourceToMessage } from './source-message.ts';

/** WatchResponse.batch: field 2, length-delimited. */
const batchField = 0x12;
/** Clients take 4 MiB where nothing else is said. */
const longestBatchBytes = 1_048_576;

/** What the messages say of the sidecar. */
export interface WatchWriterParts {
  readonly journal: Pick<Journal, 'id'>;
  readonly tagger: Tagger;
  /** Of this sidecar. */
  readonly name: string;
}

/** Writes what watchers get. */
export class WatchWriter {
  readonly #parts: WatchWriterParts;
  /** The events of an entry in bytes, made once for all watchers. */
  readonly #events = new WeakMap<PlacedEntry, Uint8Array>();

  constructor(parts: WatchWriterParts) {
    this.#parts = parts;
  }

  /** As few messages as their size allows; a revision is never split. */
  *batches(entries: readonly PlacedEntry[], details: boolean): Generator<Uint8Array> {
    let parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const placed of entries) {
      const part = details ? this.#encoded(placed, true) : this.#shared(placed);
      if (sizeBytes > 0 && sizeBytes + part.length > longestBatchBytes) {
        yield batchOf(parts);
        parts = [];
        sizeBytes = 0;
      }
      parts.push(part);
      sizeBytes += part.length;
    }
    if (parts.length > 0) yield batchOf(parts);
  }

  #shared(placed: PlacedEntry): Uint8Array {
    const known = this.#events.get(placed);
    if (known) return known;
    const made = this.#encoded(placed, false);
    this.#events.set(placed, made);
    return made;
  }

  /** One Invalidation for each set of tags that the entry can fit, all with its cursor (S2, W2). */
  #encoded(placed: PlacedEntry, details: boolean): Uint8Array {
    const { journal } = this.#parts;
    const invalidations = this.tagSets(placed).map((tags) => invalidationToMessage(placed, journal.id, tags, details));
    return WatchBatch.encode({ invalidations }).finish();
  }

  /** The sets of tags that the entry can fit; the first is the selector itself. */
  tagSets({ entry }: PlacedEntry): bigint[][] {
    // No tags mean everything (W14).
    if (entry.selector.kind === 'everything' && entry.selector.issuer === undefined) return [[]];
    return this.#parts.tagger.tagSets(entry.selector).map((set) => set.tags.map((tag) => (BigInt(tag.high) << 32n) | BigInt(tag.low)));
  }

  /** Everything but entries. */
  control(message: Exclude<WatchMessage, { kind: 'batch' }>): Uint8Array {
    return WatchResponse.encode({ message: controlOf(message, this.#parts.name) }).finish();
  }
}

/** The parts are WatchBatch messages already, and messages may be concatenated. */
function batchOf(parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of(batchField), varint(body.length), body]);
}

function controlOf(message: Exclude<WatchMessage, { kind: 'batch' }>, sidecar: string): NonNullable<WatchResponse['message']> {
  if (message.kind === 'opened') {
    return {
      $case: 'opened',
      value: {
        earliest: cursorToMessage(message.earliest),
        latest: cursorToMessage(message.latest),
        checkpointInterval: durationFromMs(message.checkpointIntervalMs),
        sidecar,
        subscription: message.subscription,
        proofLifetime: durationFromMs(message.proofLifetimeMs),
      },
    };
  }
  if (message.kind === 'reset') {
    const { reason, cursor, earliest } = message;
    return { $case: 'reset', value: { reason: ResetReason[reason], cursor: cursorToMessage(cursor), earliest: cursorToMessage(earliest) } };
  }
  if (message.kind === 'snapshot end') return { $case: 'snapshotEnd', value: { cursor: cursorToMessage(message.cursor) } };
  return {
    $case: 'checkpoint',
    value: {
      cursor: cursorToMessage(message.cursor),
      serverTime: dateFromMs(message.serverTimeMs),
      provenThrough: dateFromMs(message.provenThroughMs),
      degraded: false,
      degradedIssuers: [...message.degradedIssuers],
      sources: message.sources.map(sourceToMessage),
    },
  };
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 0x80)) {
    bytes.push(rest >= 0x80 ? (rest % 0x80) | 0x80 : rest);
    if (rest < 0x80) return Uint8Array.from(bytes);
  }
}
