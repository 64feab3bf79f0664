// What an entry does to the tokens that fit it: one whenever it was issued, or many; by a REFRESH that is precise, broad or spread (S4, S7).

import { byRarity, type Dimension, dimensions } from './attributes.ts';
import { appendedAtMsOf, entryIdOf } from './entry-id.ts';
import type { Entry } from './invalidation.ts';
import type { TagSet } from './tag.ts';

/** Dimensions that name one token: their REVOKE kills it whenever it was issued (S4). */
const namesOneToken: ReadonlySet<Dimension> = new Set(['fingerprint', 'identity', 'signed_content']);

/**
 * Dimensions of which one value may stand for very many tokens, or catalogs: a REFRESH by nothing else is precise as far as there is room to
 * ask, and spread where there is not (S7).
 */
const broadDimensions: ReadonlySet<Dimension> = new Set([
  'role',
  'group',
  'project',
  'project_domain',
  'user_domain',
  'scope_domain',
  'domain',
  'catalog',
]);

/** What the index needs to know of the configuration, in milliseconds. */
export interface SpreadTimes {
  /** S6. */
  readonly settleMs: number;
  /** S7: what a broad REFRESH is spread over where there is no room, and one that nobody here understands. */
  readonly wideWindowMs: number;
}

/** One of its dimensions names a single token. */
export function namesOneTokenSet(set: TagSet): boolean {
  return set.dimensions.some((dimension) => namesOneToken.has(dimension));
}

/** Facts learned before it are to be fetched again. */
export function refreshes({ effect, alsoRefreshes }: Entry): boolean {
  return effect === 'REFRESH' || alsoRefreshes;
}

/** Over how long it is spread; undefined: it is not. What another version wrote and nobody here understands concerns all, and is (S3). */
export function spreadOf({ spreadMs, inPart, effect, selector }: Entry, { wideWindowMs }: SpreadTimes): number | undefined {
  if (spreadMs !== undefined) return spreadMs;
  return inPart && effect === 'REFRESH' && selector.kind === 'everything' ? wideWindowMs : undefined;
}

/** Broad ones are 1, by their places in `dimensions`. */
export const broadNumbers: Uint8Array = Uint8Array.from(dimensions, (dimension) => (broadDimensions.has(dimension) ? 1 : 0));

/** Every one of its dimensions is such. */
export function isBroadSet({ dimensions: form }: TagSet): boolean {
  return form.every((dimension) => broadDimensions.has(dimension));
}

/**
 * What an entry becomes that has been made already, and for whose form there is no room: one by the condition alone that concerns the fewest
 * tokens. It may concern too many, never too few. A REVOKE that refreshes too only refreshes then: whoever told of it refuses what has died.
 * One that does not is known to nobody else, so it still kills.
 */
export function widened(entry: Entry): Entry {
  const { selector, issuedBeforeMs, ...rest } = entry;
  const [rarest] = selector.kind === 'fit' ? selector.conditions.toSorted((one, other) => byRarity(one.dimension, other.dimension)) : [];
  if (selector.kind === 'everything' || rarest === undefined) return entry;
  const wide = { ...rest, selector: { ...selector, conditions: [rarest] } };
  if (refreshes(entry)) return { ...wide, effect: 'REFRESH', alsoRefreshes: false };
  return issuedBeforeMs === undefined ? wide : { ...wide, issuedBeforeMs };
}

/** They mean the same tokens, and do the same to them. */
export function saysTheSame(one: Entry, other: Entry): boolean {
  return saidBy(one) === saidBy(other);
}

/** The same wherever two entries of one id are found to say different things. Of no journal: the one that made it has it under the other id. */
export function underAnotherId(entry: Entry): Entry & { readonly from: string } {
  return { ...entry, from: '', id: entryIdOf({ caller: entry.id, requestId: saidBy(entry) }, appendedAtMsOf(entry.id) ?? 0) };
}

function saidBy({ effect, selector, issuedBeforeMs, spreadMs }: Entry): string {
  const conditions = selector.kind === 'fit' ? selector.conditions.map(({ dimension, value }) => [dimension, value]) : null;
  return JSON.stringify([effect, selector.issuer ?? null, conditions, issuedBeforeMs ?? null, spreadMs ?? null]);
}
