// How the journal writes its records: keys that sort as they are read, and entries as JSON that another version can still understand.

import { type Dimension, dimensions } from '../core/attributes.ts';
import { SidecarError } from '../core/errors.ts';
import type { Entry, Origin, Revision } from '../core/invalidation.ts';
import type { Condition, Selector } from '../core/selector.ts';

/** The version that this code writes into each record. */
const recordVersion = 1;

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

/** An entry as it is written, with the key that makes its append idempotent. Throws INTERNAL where its times are no times. */
export function encodeRecord(entry: Entry, onceKey: string | undefined): string {
  requireTimes(entry);
  // JSON has no Infinity.
  const forgetAtMs = entry.forgetAtMs === Number.POSITIVE_INFINITY ? 'never' : entry.forgetAtMs;
  return JSON.stringify({ v: recordVersion, ...entry, forgetAtMs, once: onceKey });
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

/**
 * The entry that a record of this or another version means to this one. Total. Where an effect, a condition or a time is not
 * understood it is a REFRESH of the conditions that are, with none of them of everything of its issuer, else of everything: it may
 * concern too much, never too little. A record of another version that is understood also refreshes: there may be more to it.
 * Follows: S3.
 */
export function understand(record: unknown): Entry {
  const fields = objectIn(record);
  const { selector, whole } = selectorIn(fields['selector']);
  const effect = fields['effect'];
  const issuedBeforeMs = fields['issuedBeforeMs'];
  const spreadMs = fields['spreadMs'];
  const common = {
    id: textIn(fields['id']) ?? '',
    selector,
    learnedAtMs: numberIn(fields['learnedAtMs']) ?? 0,
    forgetAtMs: numberIn(fields['forgetAtMs']) ?? Number.POSITIVE_INFINITY,
    keyId: textIn(fields['keyId']) ?? '',
    origin: originIn(fields['origin']),
  };
  const timed = (issuedBeforeMs === undefined || numberIn(issuedBeforeMs) !== undefined) && (spreadMs === undefined || isSpread(spreadMs));
  const understood = whole && timed;
  if (!understood || (effect !== 'REVOKE' && effect !== 'REFRESH'))
    return { ...common, effect: 'REFRESH', alsoRefreshes: false, inPart: true };
  return {
    ...common,
    effect,
    ...(typeof issuedBeforeMs === 'number' ? { issuedBeforeMs } : {}),
    ...(isSpread(spreadMs) ? { spreadMs } : {}),
    alsoRefreshes: fields['alsoRefreshes'] === true || fields['v'] !== recordVersion,
    ...(fields['v'] === recordVersion ? {} : { inPart: true as const }),
  };
}

/** Throws INTERNAL / ENTRY_UNWRITABLE where an entry's times cannot be kept or ordered. */
export function requireTimes({ learnedAtMs, forgetAtMs, issuedBeforeMs, spreadMs }: Entry): void {
  const forgettable = forgetAtMs > Number.NEGATIVE_INFINITY;
  const spreads = spreadMs === undefined || isSpread(spreadMs);
  if (forgettable && spreads && Number.isFinite(learnedAtMs) && (issuedBeforeMs === undefined || Number.isFinite(issuedBeforeMs))) return;
  throw new SidecarError('INTERNAL', 'an entry without proper times cannot be kept', { reason: 'ENTRY_UNWRITABLE' });
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

function selectorIn(value: unknown): { readonly selector: Selector; readonly whole: boolean } {
  const fields = objectIn(value);
  const issuer = textIn(fields['issuer']);
  const tellsIssuer = fields['issuer'] === undefined || issuer !== undefined;
  const of = issuer === undefined ? {} : { issuer };
  if (fields['kind'] === 'everything') return { selector: { kind: 'everything', ...of }, whole: tellsIssuer };
  const written = fields['kind'] === 'fit' && Array.isArray(fields['conditions']) ? fields['conditions'] : [];
  const conditions = written.map(conditionIn).filter((condition) => condition !== undefined);
  if (conditions.length === 0) return { selector: { kind: 'everything', ...of }, whole: false };
  return { selector: { kind: 'fit', ...of, conditions }, whole: tellsIssuer && conditions.length === written.length };
}

function conditionIn(value: unknown): Condition | undefined {
  const fields = objectIn(value);
  const dimension = dimensions.find((known): known is Dimension => known === fields['dimension']);
  const text = textIn(fields['value']);
  return dimension === undefined || text === undefined ? undefined : { dimension, value: text };
}

function originIn(value: unknown): Origin {
  const fields = objectIn(value);
  const origin: Record<string, string> = {};
  for (const name of ['event', 'requestId', 'actor', 'reason']) {
    const text = textIn(fields[name]);
    if (text !== undefined) origin[name] = text;
  }
  return { source: textIn(fields['source']) ?? '', ...origin };
}

function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isSpread(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
