// An entry as it is written, in a journal and in the log of a fleet: JSON that another version can still understand.

import { type Dimension, dimensions } from './attributes.ts';
import { SidecarError } from './errors.ts';
import type { Entry, Origin } from './invalidation.ts';
import type { Condition, Selector } from './selector.ts';

/** In a selector: each may be of an unknown value too, so each one more doubles what an entry costs. No version says more. */
const mostConditions = 4;

/** The version that this code writes into each record. */
const recordVersion = 1;

/**
 * What stands in a record, ready for JSON. What is understood in part stays as it was written, but for its id, where it came from and its times
 * here: a version that knows more reads what it really says. Throws INTERNAL / ENTRY_UNWRITABLE where its times are no times.
 */
export function writtenEntry({ inPart, ...entry }: Entry): Readonly<Record<string, unknown>> {
  requireTimes(entry);
  const { id, from, learnedAtMs } = entry;
  // JSON has no Infinity.
  const forgetAtMs = entry.forgetAtMs === Number.POSITIVE_INFINITY ? 'never' : entry.forgetAtMs;
  if (inPart) return { ...inPart, ...(id === '' ? {} : { id }), ...(from === undefined ? {} : { from }), learnedAtMs, forgetAtMs };
  return { v: recordVersion, ...entry, forgetAtMs };
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
    ...(typeof fields['from'] === 'string' ? { from: fields['from'] } : {}),
    origin: originIn(fields['origin']),
  };
  const timed = (issuedBeforeMs === undefined || numberIn(issuedBeforeMs) !== undefined) && (spreadMs === undefined || isSpread(spreadMs));
  const understood = whole && timed;
  if (!understood || (effect !== 'REVOKE' && effect !== 'REFRESH'))
    return { ...common, effect: 'REFRESH', alsoRefreshes: false, inPart: fields };
  return {
    ...common,
    effect,
    ...(typeof issuedBeforeMs === 'number' ? { issuedBeforeMs } : {}),
    ...(isSpread(spreadMs) ? { spreadMs } : {}),
    alsoRefreshes: fields['alsoRefreshes'] === true || fields['v'] !== recordVersion,
    ...(fields['v'] === recordVersion ? {} : { inPart: fields }),
  };
}

/** Throws INTERNAL / ENTRY_UNWRITABLE where an entry's times cannot be kept or ordered. */
export function requireTimes({ learnedAtMs, forgetAtMs, issuedBeforeMs, spreadMs }: Entry): void {
  const forgettable = forgetAtMs > Number.NEGATIVE_INFINITY;
  const spreads = spreadMs === undefined || isSpread(spreadMs);
  if (forgettable && spreads && Number.isFinite(learnedAtMs) && (issuedBeforeMs === undefined || Number.isFinite(issuedBeforeMs))) return;
  throw new SidecarError('INTERNAL', 'an entry without proper times cannot be kept', { reason: 'ENTRY_UNWRITABLE' });
}

function selectorIn(value: unknown): { readonly selector: Selector; readonly whole: boolean } {
  const fields = objectIn(value);
  const issuer = textIn(fields['issuer']);
  const tellsIssuer = fields['issuer'] === undefined || issuer !== undefined;
  const of = issuer === undefined ? {} : { issuer };
  if (fields['kind'] === 'everything') return { selector: { kind: 'everything', ...of }, whole: tellsIssuer };
  const written = fields['kind'] === 'fit' && Array.isArray(fields['conditions']) ? fields['conditions'] : [];
  const conditions = written
    .map(conditionIn)
    .filter((condition) => condition !== undefined)
    .slice(0, mostConditions);
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

/** The members of an object; none, of anything else. */
export function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** A string, or undefined. */
export function textIn(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isSpread(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** A finite number, or undefined. */
export function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
