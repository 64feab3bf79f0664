// What a subscriber of Watch wants to hear of: too much may pass, never too little (W11).

import type { PlacedEntry } from '../core/invalidation.ts';
import type { Selector } from '../core/selector.ts';

/** What passes: an invalidation that may concern a value of each list that is set. */
export interface WatchFilter {
  readonly issuers?: readonly string[];
  readonly userIds?: readonly string[];
  readonly projectIds?: readonly string[];
}

/** Whether an invalidation may concern a token inside the filter. */
export function passes(placed: PlacedEntry, filter: WatchFilter | undefined): boolean {
  if (!filter) return true;
  const { selector } = placed.entry;
  const mayConcern = (wanted: readonly string[] | undefined, said: string | undefined): boolean =>
    wanted === undefined || wanted.length === 0 || said === undefined || wanted.includes(said);
  return (
    mayConcern(filter.issuers, selector.issuer) &&
    mayConcern(filter.userIds, valueIn(selector, 'user')) &&
    mayConcern(filter.projectIds, valueIn(selector, 'project'))
  );
}

function valueIn(selector: Selector, dimension: 'user' | 'project'): string | undefined {
  if (selector.kind === 'everything') return undefined;
  return selector.conditions.find((condition) => condition.dimension === dimension)?.value;
}
