// What one write of the journal holds: pure plans, from what waits and what has ended.

import type { SidecarError } from '../core/errors.ts';
import { type Entry, type PlacedEntry, revision } from '../core/invalidation.ts';
import { alreadyUsed, forgetsForWatchers, type Once } from './contract.ts';
import { type Proof, withEntry, withoutEntry } from './proof.ts';
import { decodeRecord, encodeOnce, keys, lastPlaceIn } from './records.ts';

/** One change of the database. */
export type Operation =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly key: string };

/** An append that waits for the disk; `text` is the entry as it will stand there. */
export interface WaitingEntry {
  readonly kind: 'entry';
  readonly entry: Entry;
  readonly text: string;
  readonly once: Once | undefined;
  readonly resolve: (placed: PlacedEntry) => void;
  readonly reject: (error: SidecarError) => void;
}

/** A value under a key of its own that waits for the disk; undefined: its removal. */
export interface WaitingValue {
  readonly kind: 'value';
  readonly key: string;
  readonly value: string | undefined;
  readonly resolve: () => void;
  readonly reject: (error: SidecarError) => void;
}

export type Waiting = WaitingEntry | WaitingValue;

/** What was appended first under a once key. */
export interface First {
  readonly digest: string;
  readonly placed: PlacedEntry;
}

/** Changes, and what lives after them. */
export interface Plan {
  readonly operations: readonly Operation[];
  readonly proof: Proof;
}

/**
 * The changes for all that waits, and what of it is placed by them. `firsts`: what was appended before under the once keys of `batch`. `settlements` tell each of the
 * waiting how it went, in their order; they are for after the write.
 */
export function planWrite(
  batch: readonly Waiting[],
  firsts: ReadonlyMap<string, First>,
  before: Proof,
): Plan & { readonly placed: readonly PlacedEntry[]; readonly settlements: readonly (() => void)[] } {
  const known = new Map(firsts);
  const operations: Operation[] = [];
  const all: PlacedEntry[] = [];
  const settlements: (() => void)[] = [];
  let proof = before;
  for (const waiting of batch) {
    if (waiting.kind === 'value') {
      operations.push(waiting.value === undefined ? del(waiting.key) : put(waiting.key, waiting.value));
      settlements.push(waiting.resolve);
      continue;
    }
    const { entry, once, text } = waiting;
    const first = once === undefined ? undefined : known.get(once.key);
    if (first !== undefined) {
      const same = first.digest === once?.digest;
      settlements.push(() => (same ? waiting.resolve(first.placed) : waiting.reject(alreadyUsed())));
      continue;
    }
    const placed = { revision: revision(proof.head + 1), entry };
    all.push(placed);
    proof = withEntry(proof, placed.revision);
    operations.push(put(keys.entry(placed.revision), text));
    operations.push(put(keys.end(entry.forgetAtMs, placed.revision), ''));
    operations.push(put(keys.id(entry.id, placed.revision), ''));
    if (once !== undefined) {
      operations.push(put(keys.once(once.key), encodeOnce({ revision: placed.revision, digest: once.digest })));
      // A second one in this very batch is answered with this one.
      known.set(once.key, { digest: once.digest, placed });
    }
    settlements.push(() => waiting.resolve(placed));
  }
  return { operations, proof, placed: all, settlements };
}

/** The changes that forget the entries of the keys `ends`; `texts`: their records, absent where they are missing already. */
export function planForgetting(ends: readonly string[], texts: readonly (string | undefined)[], before: Proof): Plan {
  const operations: Operation[] = [];
  let proof = before;
  for (const [index, end] of ends.entries()) {
    operations.push(del(end));
    const text = texts[index];
    if (text === undefined) continue;
    const at = revision(lastPlaceIn(end));
    const { entry, onceKey } = decodeRecord(text);
    operations.push(del(keys.entry(at)), del(keys.id(entry.id, at)));
    if (onceKey !== undefined) operations.push(del(keys.once(onceKey)));
    proof = withoutEntry(proof, at);
    if (forgetsForWatchers(entry)) proof = { ...proof, earliest: Math.max(proof.earliest, at) };
  }
  return { operations, proof };
}

/** A value under a key. */
export function put(key: string, value: string): Operation {
  return { type: 'put', key, value };
}

function del(key: string): Operation {
  return { type: 'del', key };
}
