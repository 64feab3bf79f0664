// What facts and catalogs at hand are good for, and how they serve where they should have been fetched first and could not be (S7, S13).

import type { Currentness } from '../core/currentness.ts';
import type { Yielding } from './authorities.ts';

/**
 * What facts are good for, for one question. `good`: an answer. `stale`: nothing, before they have been fetched again. `doubtful`: news of
 * their issuer may have been missed, so they are confirmed first, as far as that can be. The others are as `Currentness`.
 */
export type Use = 'good' | 'doubtful' | Exclude<Currentness, 'current'>;

/** Why something was not fetched: too many wait, which says nothing of the authority; or it cannot be asked. */
export type Need = 'no room' | 'no answer';

/** How something serves then: as it is, marked as what a REFRESH has overtaken, or not at all. */
export type Serving = 'plain' | 'marked' | 'not';

const servings: Readonly<Record<Use, Readonly<Record<Need, Serving>>>> = {
  good: { 'no room': 'plain', 'no answer': 'plain' },
  // Its issuer is degraded, which marks it.
  doubtful: { 'no room': 'plain', 'no answer': 'plain' },
  due: { 'no room': 'marked', 'no answer': 'marked' },
  // A broad REFRESH is as good as a precise one, but for the room: while the authority is away there is no answer.
  yielding: { 'no room': 'plain', 'no answer': 'not' },
  overdue: { 'no room': 'marked', 'no answer': 'not' },
  stale: { 'no room': 'not', 'no answer': 'not' },
};

/** Nobody is let in by an old catalog, so it is never missed for want of an authority. */
const catalogServings: Readonly<Record<Exclude<Currentness, 'stale'>, Readonly<Record<Need, Serving>>>> = {
  current: { 'no room': 'plain', 'no answer': 'plain' },
  yielding: { 'no room': 'plain', 'no answer': 'marked' },
  due: { 'no room': 'marked', 'no answer': 'marked' },
  overdue: { 'no room': 'marked', 'no answer': 'marked' },
};

/** How facts serve. */
export function servingOf(use: Use, need: Need): Serving {
  return servings[use][need];
}

/** How a catalog does. */
export function catalogServingOf(currentness: Exclude<Currentness, 'stale'>, need: Need): Serving {
  return catalogServings[currentness][need];
}

/** To whom the question gives way that would have such facts fetched first; where it cannot be asked there is something to answer from. */
export function yieldingOf(use: Exclude<Use, 'good' | 'stale'>): Yielding {
  return use === 'yielding' || use === 'overdue' ? 'others' : 'others and doubt';
}
