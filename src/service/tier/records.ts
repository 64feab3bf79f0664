// What the shared tier holds: facts and catalogs with the moment that they were fetched, and what that moment means on this sidecar.

import type { Covering } from '../../core/invalidation-index.ts';
import type { Facts } from '../../core/token.ts';
import type { FetchBegin, TokenNames } from '../known.ts';

/** Changes with the meaning of any field: sidecars of two versions do not read each other's records. */
const recordVersion = 2;

/** When a fetch began, for whoever reads it elsewhere. */
export interface WrittenBegin {
  readonly wallMs: number;
  readonly journal: string;
  readonly revision: number;
}

/** What names a token, as far as it is written down. `hashIds` absent: it has some, and they are not. */
export type WrittenNames = Omit<TokenNames, 'hashIds'> & { readonly hashIds?: readonly string[] };

/** One token's facts. What is as secret as it among `names` only where handles are configured: else only its public names are there. */
export interface FactsRecord {
  readonly issuer: string;
  readonly began: WrittenBegin;
  readonly names: WrittenNames;
  readonly facts: Facts;
}

/** One service catalog, as JSON text. */
export interface CatalogRecord {
  readonly began: WrittenBegin;
  readonly catalog: string;
}

/** Tokens of one user on one project, by their public names. */
export interface NamesRecord {
  readonly names: readonly { readonly fingerprint: string; readonly issuedAtMs: number }[];
}

type Written = FactsRecord | CatalogRecord | NamesRecord;

/** As bytes. */
export function encodeRecord(record: Written): Uint8Array {
  return Buffer.from(JSON.stringify({ version: recordVersion, record }), 'utf8');
}

/**
 * What was encoded, by this version; undefined of anything else. The tier vouches for the bytes, as only sidecars of this deployment
 * write; `has` is what tells one kind of record from the others.
 */
export function decodeRecord<Kind extends Written>(bytes: Uint8Array, has: keyof Kind): Kind | undefined {
  const { version, record } = objectIn(bytes);
  return version === recordVersion && typeof record === 'object' && record !== null && has in record ? (record as Kind) : undefined;
}

function objectIn(bytes: Uint8Array): { readonly version?: unknown; readonly record?: unknown } {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
    return typeof value === 'object' && value !== null ? value : {};
  } catch (error) {
    // Another version may write what it likes.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** This sidecar, as the age of records is judged by. */
export interface Here {
  readonly journal: string;
  readonly journalBornAtMs: number;
  readonly applied: number;
  readonly nowMs: number;
  readonly monotonicMs: number;
  readonly settleMs: number;
  readonly skewMs: number;
}

/**
 * When the fetch began by the clocks here; undefined where it was in the future, or before this journal was born: what had been
 * invalidated until then is not known here. Another host's counts `skew` older (S1).
 */
export function beganHere(written: WrittenBegin, here: Here): FetchBegin | undefined {
  const isOwn = isOwnJournal(written, here);
  const ageMs = here.nowMs - written.wallMs + (isOwn ? 0 : here.skewMs);
  if (ageMs < 0) return undefined;
  if (!isOwn && written.wallMs < here.journalBornAtMs + here.skewMs) return undefined;
  return { wallMs: written.wallMs, monotonicMs: here.monotonicMs - ageMs, revision: written.revision };
}

/**
 * The same as a position of this journal, once what covers the record is known; undefined where it is stale for a matching precise REFRESH
 * (S6): of this journal, below its revision; of another, begun before it was learned, allowing for settling and skew. For a broad one its
 * position is then before that, as it would be in memory; for one that is spread its moment alone counts (S7).
 */
export function afterRefreshes(began: FetchBegin, written: WrittenBegin, covering: Covering, here: Here): FetchBegin | undefined {
  const isOwn = isOwnJournal(written, here);
  // `skew` is in its age already. Of this journal too: nothing that was still settling is stored, and one that was restored from a copy
  // reaches a revision twice; the moment tells which of the two it was.
  const isAfter = (refreshRevision: number, appliedMs: number): boolean =>
    refreshRevision === 0 || ((!isOwn || began.revision >= refreshRevision) && began.monotonicMs >= appliedMs + here.settleMs);
  if (!isAfter(covering.refreshRevision, covering.refreshAppliedMs)) return undefined;
  return { ...began, revision: isAfter(covering.broadRevision, covering.broadAppliedMs) ? here.applied : covering.refreshRevision };
}

/** A position that this journal has not reached is of another one with its name: restored from a copy. */
function isOwnJournal({ journal, revision }: WrittenBegin, here: Here): boolean {
  return journal === here.journal && revision <= here.applied;
}
