// Which deployment keys the journal's entries need, and when the newest one changed (S14).

import { SidecarError } from '../core/errors.ts';
import { type Entry, type PlacedEntry, type Revision, revision } from '../core/invalidation.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock, Journal } from '../ports.ts';

/** Between the ids of keys, of which any may have made an entry's fingerprint. */
const separator = '\n';
const newestNote = 'newest-key';
const changedNote = 'keys-changed';

/** As an entry tells them. */
export function joinKeyIds(ids: readonly string[]): string {
  return ids.join(separator);
}

/** Which keys may have made the fingerprint in an entry. */
export function keysOf({ keyId }: Pick<Entry, 'keyId'>): readonly string[] {
  return keyId.split(separator);
}

/** Compares the keys that are there with those that the journal has been written under. */
export class KeyNotes {
  readonly #parts: { readonly journal: Journal; readonly tagger: Tagger; readonly clock: Clock };

  constructor(parts: { readonly journal: Journal; readonly tagger: Tagger; readonly clock: Clock }) {
    this.#parts = parts;
  }

  /**
   * Without the key that made it, a fingerprint would never match again, and its token would come back to life.
   * Throws FAILED_PRECONDITION / DEPLOYMENT_KEY_MISSING, which names the key.
   */
  checkFor({ entry }: PlacedEntry): void {
    const { tagger, clock } = this.#parts;
    const gone = keysOf(entry).filter((id) => !tagger.keyIds.includes(id));
    if (entry.selector.kind !== 'fit' || gone.length === 0) return;
    // Ended while the sidecar was away, and not yet compacted: it kills nothing any more.
    if (entry.forgetAtMs < clock.nowMs()) return;
    if (!entry.selector.conditions.some((condition) => condition.dimension === 'fingerprint')) return;
    const message = `live revocations were made under the deployment key "${gone.join('", "')}", which is gone: put it back`;
    throw new SidecarError('FAILED_PRECONDITION', message, { reason: 'DEPLOYMENT_KEY_MISSING' });
  }

  /** Notes the newest key. Cursors below the answer were given while another one was the newest: their holders' tags mean nothing now. */
  async noteNewest(): Promise<Revision> {
    const { journal, tagger } = this.#parts;
    const before = await journal.noted(newestNote);
    if (before !== undefined && before !== tagger.newestKeyId) await journal.note(changedNote, String(journal.head() + 1));
    if (before !== tagger.newestKeyId) await journal.note(newestNote, tagger.newestKeyId);
    return revision(Number((await journal.noted(changedNote)) ?? 0));
  }
}
