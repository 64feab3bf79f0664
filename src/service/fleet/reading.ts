// From the log into the journal: in its order, from where a run before had come to, as far as that is still the same log (S14).

import {
  type Count,
  digestOfRecord,
  type OpenedRecord,
  openRecord,
  type Polled,
  type Presence,
  type RecordKey,
} from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Clock, Journal, LogLink, LogRecord } from '../../ports.ts';
import type { Invalidations } from '../invalidations.ts';
import type { Confirmed } from './beats.ts';
import { Counts } from './counts.ts';
import { Holes, type HolesParts } from './holes.ts';
import { type Place, Places } from './places.ts';
import { endingWith } from './together.ts';

/** What reading needs. */
export interface ReadingParts extends HolesParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly invalidations: Pick<Invalidations, 'receive'>;
  /** Every accepted key. */
  readonly keys: readonly RecordKey[];
  readonly clock: Clock;
  /** As in `PlacesParts`. */
  readonly leaseMs: number;
  /** Whether this process has appended it, over the connection that stands. */
  readonly isOfNow: (count: Count) => boolean;
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
  /** What follows is in order again, but before it something has gone that the log had, and that was never read here. */
  missed(why: string): void;
  /** There is something that cannot be read here, and may be an invalidation. */
  hole(): void;
}

/** Where logs begin: nothing of them was trimmed. */
const latestFirst = 1;
/** The oldest sign of life is not the oldest record, and clocks differ. */
const longestSlackMs = 60_000;
/** How long nothing comes from a log that has taken a sign of life of ours, before it is another one. */
const longestSilenceMs = 5_000;
const silencePerAppend = 5;

/** One reader of the log, over many connections. */
export class Reading {
  readonly #parts: ReadingParts;
  readonly #places: Places;
  /** What the first record must be; undefined: any, or it has been seen. */
  #expected: Place | undefined;
  readonly #holes: Holes;
  /** Where the log begins, as long as nothing has told when that was; undefined: nothing has come, or it is told. */
  #beginning: number | undefined;
  #looksForBeginning = false;
  readonly #counts = new Counts();
  /** From the oldest on, and not at what is told now yet: whoever was there has noticed what is missing in that. */
  #isReplaying = false;
  /** That it was trimmed is said, and it has not been read since. */
  #saidTrimmed = false;
  /** Monotonic: since when this reading stands; undefined: it does not yet. */
  #standsSinceMs: number | undefined;

  constructor(parts: ReadingParts) {
    this.#parts = parts;
    this.#places = new Places(parts);
    this.#holes = new Holes(parts);
  }

  load(): Promise<void> {
    return this.#places.load();
  }

  /** Something in the log cannot be read here, and may be an invalidation that still matters. */
  get hasHole(): boolean {
    return this.#holes.isOpen;
  }

  /** Up to there everything is applied here; undefined: nothing has been read, or it is another log. */
  get position(): number | undefined {
    return this.#places.last?.position;
  }

  /**
   * Reads until `signal` aborts; rejects where the log cannot be read, or what it says not be kept. `confirmed`: the first record
   * of ours that the log had for sure, since this connection stands.
   */
  async run(link: LogLink, confirmed: () => Confirmed | undefined, signal: AbortSignal): Promise<void> {
    const noting = new AbortController();
    const kept = this.#places.keep(noting.signal);
    try {
      while (!signal.aborted) await this.#once(link, confirmed, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      noting.abort();
      await kept;
    }
  }

  async #once(link: LogLink, confirmed: () => Confirmed | undefined, signal: AbortSignal): Promise<void> {
    const from = this.#places.last;
    this.#expected = from;
    this.#beginning = undefined;
    this.#looksForBeginning = from === undefined && !this.#saidTrimmed;
    this.#standsSinceMs = undefined;
    if (from === undefined) this.#isReplaying = true;
    await endingWith([signal], async (again) => {
      const silence = this.#watchSilence(confirmed, again);
      try {
        await link.read(from?.position, (batch) => this.#take(batch, again), again.signal);
      } finally {
        again.abort();
        await silence;
      }
    });
  }

  /** A position beyond the end of a log is nothing that it tells. */
  async #watchSilence(confirmed: () => Confirmed | undefined, again: AbortController): Promise<void> {
    const { clock } = this.#parts;
    while (this.#expected !== undefined && !again.signal.aborted) {
      await clock.delay(longestSilenceMs / 10, again.signal).catch(() => undefined);
      const first = confirmed();
      // One that comes late to its log, as behind another sidecar, has not been told yet what there is; one that is slow to append is slow to read.
      const sinceMs = Math.max(first?.atMs ?? Infinity, this.#standsSinceMs ?? Infinity);
      const isSilent = clock.monotonicMs() - sinceMs > Math.max(longestSilenceMs, silencePerAppend * (first?.tookMs ?? 0));
      if (this.#expected !== undefined && isSilent && !again.signal.aborted)
        this.#isAnother('anew', 'it ends before what was read of it', again);
    }
  }

  async #take(batch: readonly LogRecord[], again: AbortController): Promise<void> {
    if (again.signal.aborted) return;
    const { keys, listener } = this.#parts;
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
    const opened = batch.map(({ bytes }) => openRecord(keys, bytes));
    if (this.#looksForBeginning) this.#lookForBeginning(first, opened);
    this.#lookForHole(opened, batch);
    // Before the signs of life behind it prove anything.
    if (this.#hasMissed(opened)) listener.missed('records that it had are gone, and were never read here');
    await this.#apply(opened, batch, again.signal);
    // The signs of life among them have not been looked at: they are read again.
    if (again.signal.aborted) return;
    const last = batch.at(-1);
    if (last === undefined) return;
    this.#places.reached({ position: last.position, digest: digestOfRecord(last.bytes) });
    this.#saidTrimmed = false;
  }

  #hasMissed(opened: readonly OpenedRecord[]): boolean {
    let hasMissed = false;
    for (const { count } of opened) {
      if (count === undefined) continue;
      const isMissing = this.#counts.saw(count);
      if (isMissing && !this.#isReplaying) {
        hasMissed = true;
        // Those of others are gone with it: once is enough.
        this.#counts.goOn();
      }
      if (this.#parts.isOfNow(count)) this.#isReplaying = false;
    }
    return hasMissed;
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
      if (record.kind === 'entry' && this.#holes.isOne(record))
        telemetry.counter('sidegate_fleet_ignored_total', { why: 'unknown_key' }).add();
      else if (record.kind === 'entry') entries.push(record.entry);
      if (record.kind === 'unauthenticated') telemetry.counter('sidegate_fleet_ignored_total', { why: 'unauthenticated' }).add();
      if (record.kind === 'unknown-key') telemetry.counter('sidegate_fleet_ignored_total', { why: 'unknown_key' }).add();
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

  /** Behind a hole everything counts as ever, but the next start begins before it, for as long as what is in it may matter. */
  #lookForHole(opened: readonly OpenedRecord[], batch: readonly LogRecord[]): void {
    if (!this.#holes.isOpen) this.#places.goOn();
    const at = opened.findIndex((record) => this.#holes.isOne(record));
    const hole = opened[at];
    if (hole === undefined) return;
    const before = batch[at - 1];
    this.#places.stop(before && { position: before.position, digest: digestOfRecord(before.bytes) });
    this.#holes.found(hole, batch[at]?.position);
    this.#parts.listener.hole();
  }

  /** From the oldest, at the next reading. */
  forget(): void {
    this.#places.forget();
    this.#counts.forget();
    this.#holes.forget();
  }

  #isAnother(how: 'trimmed' | 'anew', why: string, again: AbortController): void {
    this.#expected = undefined;
    this.forget();
    this.#saidTrimmed = how === 'trimmed';
    this.#parts.listener.notTheSame(how, why);
    again.abort();
  }
}
