// From the log into the journal: in its order, from where a run before had come to, as far as that is still the same log (S14).

import { digestOfRecord, type OpenedRecord, openRecord, type Polled, type Presence, type RecordKey } from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Tagger } from '../../core/tag.ts';
import type { Clock, Journal, LogLink, LogRecord, Telemetry } from '../../ports.ts';
import type { Invalidations } from '../invalidations.ts';
import { keysOf } from '../key-notes.ts';
import { type Place, Places } from './places.ts';

/** What reading needs. */
export interface ReadingParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly invalidations: Pick<Invalidations, 'receive'>;
  readonly tagger: Pick<Tagger, 'keyIds'>;
  /** Every accepted key. */
  readonly keys: readonly RecordKey[];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** As in `PlacesParts`. */
  readonly leaseMs: number;
  /** How long an entry may matter: a log that holds less may have forgotten some that do. */
  readonly retentionMs: number;
  readonly listener: ReadingListener;
}

/** An entry of the log. */
export type ReadEntry = Entry & { readonly from: string };

/** Whoever is told of what was read. */
export interface ReadingListener {
  /** These are about to be appended, as far as they are not here yet. */
  before(entries: readonly ReadEntry[]): Promise<void>;
  /** These are in the log, and applied here. */
  read(entries: readonly ReadEntry[]): void;
  /** A sign of life, after everything that stands before it is applied; and where it stands. */
  presence(presence: Presence, position: number): void;
  /** Somebody has asked a source, after everything that stands before it is applied; and where it stands. */
  polled(polled: Polled, position: number): void;
  /**
   * What was read until now is not what stands before what is read from now on: unless that begins with the oldest, that is read again.
   * `trimmed`: it may have told what was never read here; `anew`: it was made again, or has lost its end.
   */
  notTheSame(how: 'trimmed' | 'anew', why: string): void;
  /** There is something that cannot be read here, and may be an invalidation. */
  hole(why: string): void;
}

/** Where logs begin: nothing of them was trimmed. */
const latestFirst = 1;
/** The oldest sign of life is not the oldest record, and clocks differ. */
const longestSlackMs = 60_000;
/** How long nothing comes from a log that has taken a sign of life of ours, before it is another one. */
const longestSilenceMs = 5_000;

/** One reader of the log, over many connections. */
export class Reading {
  readonly #parts: ReadingParts;
  readonly #places: Places;
  /** What the first record must be; undefined: any, or it has been seen. */
  #expected: Place | undefined;
  #saidHole = false;
  /** Where the log begins, as long as nothing has told when that was; undefined: nothing has come, or it is told. */
  #beginning: number | undefined;
  #looksForBeginning = false;
  /** That it was trimmed is said, and it has not been read since. */
  #saidTrimmed = false;
  /** Monotonic: since when this reading stands; undefined: it does not yet. */
  #standsSinceMs: number | undefined;

  constructor(parts: ReadingParts) {
    this.#parts = parts;
    this.#places = new Places(parts);
  }

  load(): Promise<void> {
    return this.#places.load();
  }

  /** Up to there everything is applied here; undefined: nothing has been read, or it is another log. */
  get position(): number | undefined {
    return this.#places.last?.position;
  }

  /**
   * Reads until `signal` aborts; rejects where the log cannot be read, or what it says not be kept. `confirmedMs`: when the log had a record
   * of ours for sure, since this connection stands (monotonic).
   */
  async run(link: LogLink, confirmedMs: () => number | undefined, signal: AbortSignal): Promise<void> {
    const noting = new AbortController();
    const kept = this.#places.keep(noting.signal);
    try {
      while (!signal.aborted) await this.#once(link, confirmedMs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      noting.abort();
      await kept;
    }
  }

  async #once(link: LogLink, confirmedMs: () => number | undefined, signal: AbortSignal): Promise<void> {
    const from = this.#places.last;
    this.#expected = from;
    this.#beginning = undefined;
    this.#standsSinceMs = undefined;
    this.#looksForBeginning = from === undefined && !this.#saidTrimmed;
    const again = new AbortController();
    const leave = (): void => again.abort();
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    const silence = this.#watchSilence(confirmedMs, again);
    try {
      await link.read(from?.position, (batch) => this.#take(batch, again), again.signal);
    } finally {
      signal.removeEventListener('abort', leave);
      leave();
      await silence;
    }
  }

  /** A position beyond the end of a log is nothing that it tells. */
  async #watchSilence(confirmedMs: () => number | undefined, again: AbortController): Promise<void> {
    const { clock } = this.#parts;
    while (this.#expected !== undefined && !again.signal.aborted) {
      await clock.delay(longestSilenceMs / 10, again.signal).catch(() => undefined);
      // One that comes late to its log, as behind another sidecar, has not been told yet what there is.
      const sinceMs = Math.max(confirmedMs() ?? Infinity, this.#standsSinceMs ?? Infinity);
      const isSilent = clock.monotonicMs() - sinceMs > longestSilenceMs;
      if (this.#expected !== undefined && isSilent && !again.signal.aborted)
        this.#isAnother('anew', 'it ends before what was read of it', again);
    }
  }

  async #take(batch: readonly LogRecord[], again: AbortController): Promise<void> {
    if (again.signal.aborted) return;
    this.#standsSinceMs ??= this.#parts.clock.monotonicMs();
    const [first] = batch;
    if (first === undefined) return;
    if (this.#expected !== undefined) {
      const { position, digest } = this.#expected;
      if (first.position > position) return this.#isAnother('trimmed', 'what follows what was read of it may not be there any more', again);
      if (first.position === position && digestOfRecord(first.bytes) !== digest) {
        return this.#isAnother('anew', 'another record stands where it was read to', again);
      }
      this.#expected = undefined;
    }
    const opened = batch.map(({ bytes }) => openRecord(this.#parts.keys, bytes));
    if (this.#looksForBeginning) this.#lookForBeginning(first, opened);
    const upTo = opened.findIndex((record) => this.#isHole(record));
    // Behind a hole everything counts as ever, but the next start begins before it.
    if (upTo >= 0) this.#holes(batch[upTo - 1]);
    await this.#apply(opened, batch, again.signal);
    // The signs of life among them have not been looked at: they are read again.
    if (again.signal.aborted) return;
    const last = batch.at(-1);
    if (last === undefined) return;
    this.#places.reached({ position: last.position, digest: digestOfRecord(last.bytes) });
    this.#saidTrimmed = false;
  }

  /** Whoever reads a log for the first time has no place to miss in it; but its oldest sign of life tells how old it is. */
  #lookForBeginning(first: LogRecord, opened: readonly OpenedRecord[]): void {
    const { clock, retentionMs, listener } = this.#parts;
    this.#beginning ??= first.position;
    const oldest = opened.find((record) => record.kind === 'presence');
    if (oldest === undefined || this.#beginning === undefined) return;
    this.#looksForBeginning = false;
    const isYoung = clock.nowMs() - oldest.presence.atMs < retentionMs - Math.min(longestSlackMs, retentionMs / 10);
    if (this.#beginning > latestFirst && isYoung)
      listener.notTheSame('trimmed', 'what entries that still matter were told in is not there any more');
  }

  async #apply(opened: readonly OpenedRecord[], batch: readonly LogRecord[], signal: AbortSignal): Promise<void> {
    const { invalidations, telemetry, listener } = this.#parts;
    const entries: ReadEntry[] = [];
    for (const record of opened) {
      if (record.kind === 'entry' && !this.#isHole(record)) entries.push(record.entry);
      if (record.kind === 'unauthenticated') telemetry.counter('sidegate_fleet_ignored_total', { why: 'unauthenticated' }).add();
      if (record.kind === 'other') telemetry.counter('sidegate_fleet_ignored_total', { why: 'other_version' }).add();
    }
    if (entries.length > 0) {
      await listener.before(entries);
      // Who applies them may have ended already.
      await invalidations.receive(entries, signal);
      listener.read(entries);
    }
    // After all that stands before it, and a little that stands behind it: it never proves too much.
    for (const [at, record] of opened.entries()) {
      const position = batch[at]?.position ?? 0;
      if (record.kind === 'presence' && !signal.aborted) listener.presence(record.presence, position);
      if (record.kind === 'polled' && !signal.aborted) listener.polled(record.polled, position);
    }
  }

  /** It may be an invalidation, and nobody here can tell of what: its key is not here, or that of the fingerprint in it. */
  #isHole(record: OpenedRecord): boolean {
    if (record.kind === 'unknown-key') return true;
    if (record.kind !== 'entry' || record.entry.selector.kind !== 'fit') return false;
    const { selector, forgetAtMs } = record.entry;
    if (forgetAtMs < this.#parts.clock.nowMs()) return false;
    const isByName = selector.conditions.some(({ dimension }) => dimension === 'fingerprint');
    return isByName && keysOf(record.entry).every((id) => !this.#parts.tagger.keyIds.includes(id));
  }

  #holes(before: LogRecord | undefined): void {
    const { telemetry, listener } = this.#parts;
    telemetry.counter('sidegate_fleet_ignored_total', { why: 'unknown_key' }).add();
    this.#places.stop(before && { position: before.position, digest: digestOfRecord(before.bytes) });
    if (this.#saidHole) return;
    this.#saidHole = true;
    const why = 'it holds records under a deployment key that is not here: add the key, and restart';
    telemetry.log.error({ why }, 'the log of the fleet cannot be read whole');
    listener.hole(why);
  }

  /** From the oldest, at the next reading. */
  forget(): void {
    this.#places.forget();
  }

  #isAnother(how: 'trimmed' | 'anew', why: string, again: AbortController): void {
    this.#expected = undefined;
    this.#saidTrimmed = how === 'trimmed';
    this.#places.forget();
    this.#parts.listener.notTheSame(how, why);
    again.abort();
  }
}
