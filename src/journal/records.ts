// How the journal writes its records: under keys that sort as they are read.

import { numberIn, objectIn, textIn, understand, writtenEntry } from '../core/entry-record.ts';
import type { Entry, Revision } from '../core/invalidation.ts';

// Greater than any safe integer, of the same width.
const never = '9999999999999999';

/** Where everything stands. Places and times are of one width, so that keys sort as numbers do. */
export const keys = {
  /** `e/<revision>`: an entry. */
  entry: (at: number): string => `e/${place(at)}`,
  /** `x/<end>/<revision>`: what to forget, soonest first. */
  end: (forgetAtMs: number, at: Revision): string => `x/${endPlace(forgetAtMs)}/${place(at)}`,
  /** Above every `end` that is before `nowMs`, below every other. */
  endsBefore: (nowMs: number): string => `x/${endPlace(nowMs)}`,
  /** `i/<entry id>/<revision>`: where an entry is. */
  id: (entryId: string, at: Revision): string => `i/${escaped(entryId)}/${place(at)}`,
  /** Every place of an entry id. */
  idRange: (entryId: string): { readonly gte: string; readonly lt: string } => {
    // Escaped, no id can hold the `/` that ends it: one id is never the beginning of another's key.
    const start = `i/${escaped(entryId)}`;
    return { gte: `${start}/`, lt: `${start}0` };
  },
  /** Every place of every id that begins with a hex digit, as all of ours do. */
  idsOfOurs: { gte: 'i/0', lt: 'i/g' },
  /** `r/<once key>`: what was appended under it. */
  once: (key: string): string => `r/${key}`,
  /** `n/<name>`: a note. */
  note: (name: string): string => `n/${name}`,
  /** `o/<id>`: what is still to be told to somebody. */
  letter: (id: string): string => `o/${id}`,
  /** All of that. */
  letters: { gte: 'o/', lt: 'o0' },
  /** All entries. */
  entries: { gte: 'e/', lt: 'e0' },
  /** Who this journal is. */
  journal: 'm/journal',
  /** Which entries live in it. */
  proof: 'm/proof',
} as const;

/** The revision, or the moment, that a key ends with. */
export function lastPlaceIn(key: string): number {
  return Number(key.slice(-never.length));
}

/** The id that a key of its place tells; of one that needs an escape something else, which is no id of ours either. */
export function idIn(key: string): string {
  return key.slice('i/'.length, -never.length - 1);
}

/** An entry as it is written, with the key that makes its append idempotent. Throws INTERNAL where its times are no times. */
export function encodeRecord(entry: Entry, onceKey: string | undefined): string {
  return JSON.stringify({ ...writtenEntry(entry), once: onceKey });
}

/** What a record says. Total: whatever stands there gives an entry, as `understand` tells. */
export function decodeRecord(text: string): { readonly entry: Entry; readonly onceKey: string | undefined } {
  const fields = objectIn(parsed(text));
  return { entry: understand(fields), onceKey: textIn(fields['once']) };
}

/** What has been appended under a once key: where, and the digest that a retry must show. */
export interface OnceRecord {
  readonly revision: number;
  readonly digest: string;
}

/** For the journal. */
export function encodeOnce(once: OnceRecord): string {
  return JSON.stringify({ revision: once.revision, digest: once.digest });
}

/** From the journal; undefined where it is damaged: then a retry is a second entry, which is harmless. */
export function decodeOnce(text: string): OnceRecord | undefined {
  const fields = objectIn(parsed(text));
  const revision = numberIn(fields['revision']);
  const digest = textIn(fields['digest']);
  return revision === undefined || digest === undefined ? undefined : { revision, digest };
}

/** What is kept in the outbox, as text: everything in the journal is. */
export function encodeLetter(record: Uint8Array): string {
  return Buffer.from(record).toString('base64');
}

/** From the journal: its key and its text. */
export function decodeLetter([key, text]: readonly [string, string]): { readonly id: string; readonly record: Uint8Array } {
  return { id: key.slice(keys.letter('').length), record: Buffer.from(text, 'base64') };
}

function escaped(entryId: string): string {
  return entryId.replaceAll('%', '%25').replaceAll('/', '%2F');
}

function place(n: number): string {
  return String(n).padStart(never.length, '0');
}

// Rounded up on both sides of the comparison: nothing is forgotten before its end.
function endPlace(ms: number): string {
  return ms > Number.MAX_SAFE_INTEGER ? never : place(Math.max(0, Math.ceil(ms)));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // A damaged record still says that something was invalidated; what, it does not: `understand` makes it everything.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
