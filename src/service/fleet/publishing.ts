// From the journal into the log: every entry that was first appended here, once the log has it for sure.

import { saysTheSame } from '../../core/entry-rules.ts';
import { type Entry, type PlacedEntry, type Revision, revision } from '../../core/invalidation.ts';
import type { Clock, Journal } from '../../ports.ts';
import type { Invalidations } from '../invalidations.ts';
import { Wakeup } from '../wakeup.ts';
import type { LogWriter } from './appending.ts';
import { endingWith } from './together.ts';

/** What publishing needs. */
export interface PublishingParts {
  readonly journal: Journal;
  readonly invalidations: Pick<Invalidations, 'after' | 'applied' | 'changed' | 'oldestInMemory'>;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/** An entry on its way. */
interface Open {
  readonly entry: Entry;
  /** Ends its wait. */
  readonly over: AbortController;
  /** Another sidecar has told the same. */
  isBrought: boolean;
}

const note = 'fleet-published';
const readBatch = 256;
/** On their way at once. */
const mostOpen = 1024;
/** How often it is noted how far it has come: what is told twice after a crash is harmless. */
const noteEveryMs = 1_000;
/** News come to many sidecars at once: each waits so long at the most whether another one tells them (S10). */
const longestNewsWaitMs = 1_000;

/** What this sidecar has to tell its fleet. */
export class Publishing {
  readonly #parts: PublishingParts;
  readonly #progress = new Wakeup();
  /** In the order of their revisions. */
  readonly #open = new Map<Revision, Open>();
  /** Read from the journal up to here. */
  #read: Revision = revision(0);
  #noted: Revision = revision(0);
  /** Up to here none waits for another to tell it. */
  #hurriedTo: Revision = revision(0);

  constructor(parts: PublishingParts) {
    this.#parts = parts;
  }

  /** Where a run before has come to. */
  async load(): Promise<void> {
    this.#noted = revision(Number((await this.#parts.journal.noted(note)) ?? 0));
    this.#read = this.#noted;
  }

  /** Whether everything of ours up to there is in the log, but for news that wait for another to tell them. */
  hasTold(wanted: Revision): boolean {
    if (this.#read < wanted) return false;
    for (const [at, { entry }] of this.#open) if (at <= wanted && !isNews(entry)) return false;
    return true;
  }

  /** Resolves when that is so; rejects with the signal's reason. */
  async told(wanted: Revision, signal: AbortSignal): Promise<void> {
    while (!this.hasTold(wanted)) await this.#progress.wait(this.#progress.version, signal);
  }

  /**
   * Resolves when everything up to there is in the log, news too: none of them waits any longer for another to tell it. Rejects with the
   * signal's reason.
   */
  async toldAll(wanted: Revision, signal: AbortSignal): Promise<void> {
    this.#hurriedTo = revision(Math.max(this.#hurriedTo, wanted));
    for (const [at, { over }] of this.#open) if (at <= wanted) over.abort();
    while (this.#through < wanted) await this.#progress.wait(this.#progress.version, signal);
  }

  /** The log has these already. */
  brought(entries: readonly Entry[]): void {
    const byId = new Map(entries.map((entry) => [entry.id, entry]));
    for (const open of this.#open.values()) {
      const brought = byId.get(open.entry.id);
      if (brought === undefined || !saysTheSame(brought, open.entry)) continue;
      open.isBrought = true;
      open.over.abort();
    }
  }

  /** Entries that wait, about; and when the oldest was learned, by the wall clock. */
  waiting(): { readonly count: number; readonly oldestAtMs: number | undefined } {
    const { invalidations } = this.#parts;
    const [onItsWay] = this.#open.values();
    const oldest = onItsWay ?? invalidations.oldestInMemory(this.#read);
    return { count: this.#open.size + Math.max(0, invalidations.applied - this.#read), oldestAtMs: oldest?.entry.learnedAtMs };
  }

  /** Tells the log what is there and what comes, until `signal` aborts; rejects where the log does not take it. */
  async run(log: LogWriter, signal: AbortSignal): Promise<void> {
    this.#read = this.#through;
    this.#open.clear();
    await endingWith([signal], async (over) => {
      const noting = this.#keepNoting(over.signal);
      try {
        while (!over.signal.aborted) await this.#once(log, over);
      } catch (error) {
        if (!over.signal.aborted) throw error;
      } finally {
        over.abort();
        for (const open of this.#open.values()) open.over.abort();
        await noting;
      }
      if (!signal.aborted) throw over.signal.reason;
    });
  }

  /** What is in the journal now, up to a limit; and waits for more, or for room. */
  async #once(log: LogWriter, over: AbortController): Promise<void> {
    const { invalidations } = this.#parts;
    const seen = invalidations.changed.version;
    const { applied } = invalidations;
    const batch = await invalidations.after(this.#read, readBatch);
    for (const placed of batch) if (isToBeTold(placed.entry)) this.#begin(placed, log, over);
    const last = batch.at(-1)?.revision ?? this.#read;
    // Above the last of them there may be holes.
    this.#read = batch.length < readBatch ? revision(Math.max(last, applied)) : last;
    this.#progress.wake();
    if (this.#open.size >= mostOpen) await this.#room(over.signal);
    else if (batch.length < readBatch) await invalidations.changed.wait(seen, over.signal);
  }

  /**
   * Everything that lives in the journal and is `wanted`, whoever made it, once more; of another version as that has written it, but nothing that
   * is damaged here. Rejects where the log does not take it, and with the signal's reason.
   */
  async tellAgain(log: LogWriter, wanted: (entry: Entry) => boolean, signal: AbortSignal): Promise<number> {
    const { journal } = this.#parts;
    let count = 0;
    for (let at = revision(0); ; ) {
      signal.throwIfAborted();
      const batch = await journal.read(at, readBatch);
      const again = batch.filter(({ entry }) => !isOfThisSidecar(entry) && entry.id !== '' && wanted(entry));
      await Promise.all(again.map(({ entry }) => log.append({ kind: 'entry', entry: this.#signed(entry) })));
      count += again.length;
      const last = batch.at(-1);
      if (last === undefined) return count;
      at = last.revision;
    }
  }

  /** Up to here nothing waits. */
  get #through(): Revision {
    const [first] = this.#open.keys();
    return first === undefined ? this.#read : revision(first - 1);
  }

  #begin({ revision: at, entry }: PlacedEntry, log: LogWriter, over: AbortController): void {
    const open: Open = { entry, over: new AbortController(), isBrought: false };
    if (at <= this.#hurriedTo) open.over.abort();
    this.#open.set(at, open);
    this.#tell(open, log, over.signal).then(
      () => {
        // Unless another run has it now.
        if (this.#open.get(at) === open) this.#open.delete(at);
        this.#progress.wake();
      },
      (error: unknown) => over.abort(error),
    );
  }

  async #tell(open: Open, log: LogWriter, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    const { entry } = open;
    if (isNews(entry)) {
      await clock.delay(random() * longestNewsWaitMs, open.over.signal).catch(() => undefined);
      if (open.isBrought) return;
    }
    signal.throwIfAborted();
    await log.append({ kind: 'entry', entry: this.#signed(entry) });
  }

  #signed(entry: Entry): Entry & { readonly from: string } {
    return { ...entry, from: entry.from ?? this.#parts.journal.id };
  }

  async #room(signal: AbortSignal): Promise<void> {
    while (this.#open.size >= mostOpen) await this.#progress.wait(this.#progress.version, signal);
  }

  async #keepNoting(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    while (!signal.aborted) {
      await clock.delay(noteEveryMs, signal).catch(() => undefined);
      await this.#note();
    }
  }

  async #note(): Promise<void> {
    const through = this.#through;
    if (through === this.#noted) return;
    // Where nothing can be written, the journal says so itself.
    await this.#parts.journal.note(note, String(through)).then(
      () => {
        this.#noted = through;
      },
      () => undefined,
    );
  }
}

/** What a sidecar notes of itself alone: that its own journal, or its own way to the log, was not whole. */
function isOfThisSidecar({ origin }: Entry): boolean {
  return origin.source === 'journal' || origin.source === 'fleet';
}

function isToBeTold(entry: Entry): boolean {
  return entry.from === undefined && !isOfThisSidecar(entry);
}

/** Others may hear it too. */
function isNews({ origin }: Entry): boolean {
  return origin.source !== 'rpc';
}
