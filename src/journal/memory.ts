// The journal of a sidecar that forgets everything when it ends: for `sidegate dev` and for tests.

import { randomBytes } from 'node:crypto';
import { requireTimes } from '../core/entry-record.ts';
import { type Entry, type PlacedEntry, type Revision, revision } from '../core/invalidation.ts';
import type { Clock, Journal, Outbox } from '../ports.ts';
import { alreadyUsed, closed, forgetsForWatchers, type Once } from './contract.ts';
import { type JournalIdentity, newIdentity } from './identity.ts';

/** What the journal needs. */
export interface MemoryJournalOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  /** That of another journal, which is forgotten; absent: a new one. */
  readonly identity?: Pick<JournalIdentity, 'id' | 'bornAtMs'>;
  /** Default: node:crypto. */
  readonly random?: (sizeBytes: number) => Uint8Array;
}

interface Kept extends PlacedEntry {
  readonly once: Once | undefined;
}

/** A new, empty journal, with the contract of the one on disk but for the disk. `sizeBytes` is 0. */
export function createMemoryJournal(options: MemoryJournalOptions): Journal {
  return new MemoryJournal(options);
}

class MemoryJournal implements Journal {
  readonly id: string;
  readonly bornAtMs: number;
  readonly corruption: string | undefined = undefined;
  readonly outbox: Outbox = {
    put: async (id, record) => {
      this.#requireOpen();
      // A copy, as the disk keeps one.
      this.#letters.set(id, Buffer.from(record));
    },
    remove: async (id) => {
      this.#requireOpen();
      this.#letters.delete(id);
    },
    list: async () => {
      this.#requireOpen();
      const letters = [...this.#letters].map(([id, record]) => ({ id, record }));
      return letters.sort((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
    },
  };
  // In the order of their revisions.
  #live: Kept[] = [];
  readonly #once = new Map<string, Kept>();
  /** The first of each id. */
  readonly #byId = new Map<string, Kept>();
  readonly #notes = new Map<string, string>();
  readonly #letters = new Map<string, Uint8Array>();
  #head = 0;
  #earliest = 0;
  #closed = false;

  constructor(options: MemoryJournalOptions) {
    const identity = options.identity ?? newIdentity(options.clock.nowMs(), options.random ?? randomBytes);
    this.id = identity.id;
    this.bornAtMs = identity.bornAtMs;
  }

  failure(): string | undefined {
    return undefined;
  }

  head(): Revision {
    return revision(this.#head);
  }

  earliest(): Revision {
    return revision(this.#earliest);
  }

  count(): number {
    return this.#live.length;
  }

  async sizeBytes(): Promise<number> {
    return 0;
  }

  async append(entry: Entry, once?: Once): Promise<PlacedEntry> {
    this.#requireOpen();
    requireTimes(entry);
    const first = once && this.#once.get(once.key);
    if (first !== undefined) {
      if (first.once?.digest !== once?.digest) throw alreadyUsed();
      return { revision: first.revision, entry: first.entry };
    }
    this.#head += 1;
    const kept: Kept = { revision: revision(this.#head), entry, once };
    this.#live.push(kept);
    if (!this.#byId.has(entry.id)) this.#byId.set(entry.id, kept);
    if (once !== undefined) this.#once.set(once.key, kept);
    return { revision: kept.revision, entry };
  }

  async read(after: Revision, limit: number): Promise<PlacedEntry[]> {
    this.#requireOpen();
    const from = this.#indexAbove(after);
    return this.#live.slice(from, from + limit).map((kept) => ({ revision: kept.revision, entry: kept.entry }));
  }

  async find(entryId: string): Promise<PlacedEntry | undefined> {
    this.#requireOpen();
    const kept = this.#byId.get(entryId);
    return kept && { revision: kept.revision, entry: kept.entry };
  }

  async at(at: Revision): Promise<PlacedEntry | undefined> {
    const [placed] = await this.read(revision(at - 1), 1);
    return placed?.revision === at ? placed : undefined;
  }

  async compact({ nowMs, floorMs }: { readonly nowMs: number; readonly floorMs: number }): Promise<number> {
    this.#requireOpen();
    for (const { revision: at, entry } of this.#live.slice(this.#indexAbove(this.#earliest))) {
      if (entry.learnedAtMs >= floorMs) break;
      this.#earliest = at;
    }
    const ended = this.#live.filter(({ entry }) => entry.forgetAtMs < nowMs);
    for (const { revision: at, entry, once } of ended) {
      if (once !== undefined) this.#once.delete(once.key);
      if (forgetsForWatchers(entry)) this.#earliest = Math.max(this.#earliest, at);
    }
    this.#live = this.#live.filter(({ entry }) => entry.forgetAtMs >= nowMs);
    this.#byId.clear();
    for (const kept of this.#live) if (!this.#byId.has(kept.entry.id)) this.#byId.set(kept.entry.id, kept);
    return ended.length;
  }

  async skipTo(head: Revision): Promise<void> {
    this.#requireOpen();
    this.#head = Math.max(this.#head, head);
  }

  async note(name: string, value: string): Promise<void> {
    this.#requireOpen();
    this.#notes.set(name, value);
  }

  async noted(name: string): Promise<string | undefined> {
    this.#requireOpen();
    return this.#notes.get(name);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** Where the entries above `after` begin. */
  #indexAbove(after: number): number {
    let low = 0;
    let high = this.#live.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#live[middle]?.revision ?? 0) <= after) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #requireOpen(): void {
    if (this.#closed) throw closed();
  }
}
