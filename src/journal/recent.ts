// The newest entries of a journal in memory: most that are looked for were written a moment ago, and most ids that are looked up are of none.

import { appendedAtMsOf } from '../core/entry-id.ts';
import { History } from '../core/history.ts';
import type { PlacedEntry, Revision } from '../core/invalidation.ts';

/** Entries kept: what is read again at once by who applies, and by who finds them in the log of a fleet. About 1 kB each. */
const mostEntries = 1_024;
/** Ids kept, some 4 MB: half a minute of a thousand a second. */
const mostIds = 32_768;

/** What was written last. Told in the order of revisions, when it is durable. */
export class Recent {
  readonly #entries: History<PlacedEntry>;
  /** The first place of each id, oldest first. */
  readonly #places = new Map<string, Revision>();
  /** Goes along with them: an iterator that begins anew steps over what was deleted before it, thousands each time. */
  readonly #oldest = this.#places.keys();
  /** Every id of ours in the journal whose second is this or a later one is among the places. */
  #sinceMs: number;

  /** `newestId`: the greatest in the journal, in which nothing is above `head`; undefined: it is empty. */
  constructor(head: number, newestId: string | undefined) {
    this.#entries = new History(mostEntries, head);
    this.#sinceMs = newestId === undefined ? 0 : after(newestId);
  }

  add(placed: PlacedEntry): void {
    this.#entries.push(placed);
    const { id } = placed.entry;
    // What is older would push out what is asked about, and nobody here knows whether it was written before.
    if (!this.#isSince(id) || this.#places.has(id)) return;
    this.#places.set(id, placed.revision);
    if (this.#places.size <= mostIds) return;
    const { value: oldest } = this.#oldest.next();
    if (oldest === undefined) return;
    this.#places.delete(oldest);
    this.#sinceMs = Math.max(this.#sinceMs, after(oldest));
  }

  /** Entries have been forgotten: those that are kept here may be among them. */
  forget(head: number): void {
    this.#entries.clear(head);
  }

  /** As `Journal.read`; undefined: it does not reach back that far. */
  read(from: Revision, limit: number): PlacedEntry[] | undefined {
    return this.#entries.after(from, limit);
  }

  /** Undefined: it may have been forgotten, or was never there; nobody here can tell. */
  at(at: Revision): PlacedEntry | undefined {
    const [placed] = this.#entries.after(at - 1, 1) ?? [];
    return placed?.revision === at ? placed : undefined;
  }

  /** Where it was written first, live or forgotten; `nowhere`: it is not in the journal; undefined: nobody here can tell. */
  placeOf(entryId: string): Revision | 'nowhere' | undefined {
    return this.#isSince(entryId) ? (this.#places.get(entryId) ?? 'nowhere') : undefined;
  }

  #isSince(entryId: string): boolean {
    const appendedAtMs = appendedAtMsOf(entryId);
    return appendedAtMs !== undefined && appendedAtMs >= this.#sinceMs;
  }
}

/** The second after the one that an id begins with; of another's id nobody knows which one that is. */
function after(entryId: string): number {
  const appendedAtMs = appendedAtMsOf(entryId);
  return appendedAtMs === undefined ? Number.POSITIVE_INFINITY : appendedAtMs + 1_000;
}
