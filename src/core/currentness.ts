// How something that was fetched stands to the REFRESHes that fit its token (S6, S7).

import type { Covering } from './invalidation-index.ts';

/** When a fetch began: the revision that was applied then, and the moment, in monotonic milliseconds. */
export interface Fetched {
  readonly revision: number;
  readonly monotonicMs: number;
}

/** By which clock, and how long an authority may still answer from before what it has announced; 0: it cannot have (a signature). */
export interface Judging {
  readonly nowMs: number;
  readonly settleMs: number;
}

/**
 * `current`: it may be believed. `stale`: a precise REFRESH has come since, or the window in which it was provisional is over: it has to be
 * fetched again first, and there is no answer without. `yielding`: a broad one, whose slot has not come: the same as far as there is room
 * to ask, and beyond that it may be believed until its slot. `due`: its slot has come: it is fetched first, and serves where that cannot
 * be. `overdue`: the same of a broad one: it serves only where there is no room.
 */
export type Currentness = 'current' | 'yielding' | 'due' | 'overdue' | 'stale';

/** Judges it. A REFRESH settles: what was fetched too soon after it serves until that is over. */
export function currentnessOf(fetched: Fetched, covering: Covering, judging: Judging): Currentness {
  if (isOvertakenBy(covering.refreshRevision, covering.refreshAppliedMs, fetched, judging)) return 'stale';
  const yields = isOvertakenBy(covering.broadRevision, covering.broadAppliedMs, fetched, judging);
  let isDue = false;
  let blocks = yields;
  for (const slot of covering.slots) {
    if (fetched.monotonicMs >= slot.satisfiedFromMs || judging.nowMs < slot.dueMs) continue;
    isDue = true;
    blocks ||= slot.blocks;
  }
  if (isDue) return blocks ? 'overdue' : 'due';
  return yields ? 'yielding' : 'current';
}

/** The REFRESH has come since; or it was provisional for it, and the window is over. */
function isOvertakenBy(refreshRevision: number, appliedMs: number, { revision, monotonicMs }: Fetched, judging: Judging): boolean {
  const settledFromMs = appliedMs + judging.settleMs;
  return revision < refreshRevision || (monotonicMs < settledFromMs && judging.nowMs >= settledFromMs);
}

/** By a precise or a broad REFRESH; those that are spread do not count. */
export function isOvertaken(fetched: Fetched, covering: Covering, judging: Judging): boolean {
  return (
    isOvertakenBy(covering.refreshRevision, covering.refreshAppliedMs, fetched, judging) ||
    isOvertakenBy(covering.broadRevision, covering.broadAppliedMs, fetched, judging)
  );
}

/** Until when it stays as it is, as far as what has been applied tells; monotonic. `Infinity`: nothing is known that ends it. */
export function currentUntilMs(fetched: Fetched, covering: Covering, settleMs: number): number {
  const { refreshRevision, refreshAppliedMs, broadRevision, broadAppliedMs } = covering;
  let untilMs = Math.min(
    provisionalUntilMs(fetched, refreshRevision, refreshAppliedMs + settleMs),
    provisionalUntilMs(fetched, broadRevision, broadAppliedMs + settleMs),
  );
  for (const { dueMs, satisfiedFromMs } of covering.slots) {
    if (fetched.monotonicMs < satisfiedFromMs) untilMs = Math.min(untilMs, dueMs);
  }
  return untilMs;
}

/** The end of the window of a REFRESH that it was fetched in; `Infinity`: it was not. */
function provisionalUntilMs({ revision, monotonicMs }: Fetched, refreshRevision: number, settledFromMs: number): number {
  return revision >= refreshRevision && monotonicMs < settledFromMs ? settledFromMs : Infinity;
}

/** Nothing that has been applied will have it fetched again: only that is for others to keep. */
export function isSettled(fetched: Fetched, covering: Covering, settleMs: number): boolean {
  const { revision, monotonicMs } = fetched;
  return (
    revision >= newestRefreshOf(covering) &&
    monotonicMs >= Math.max(covering.refreshAppliedMs, covering.broadAppliedMs) + settleMs &&
    covering.slots.every(({ satisfiedFromMs }) => monotonicMs >= satisfiedFromMs)
  );
}

/** What was refused, or was under way, before this revision was applied is old news; 0: none. Those that are spread do not count. */
export function newestRefreshOf({ refreshRevision, broadRevision }: Covering): number {
  return Math.max(refreshRevision, broadRevision);
}
