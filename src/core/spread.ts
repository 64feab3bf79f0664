// How a REFRESH that is spread takes effect, token by token: windows, and the slot of a token in them (S7).

import { SelectorTable } from './selector-table.ts';
import type { Tag } from './tag.ts';

/** What a token is due for by one of those windows. Times are monotonic milliseconds. */
export interface Slot {
  /** Inclusive: from now on its facts have to be fetched before they are believed. */
  readonly dueMs: number;
  /** Inclusive: unless their fetch began then or later. */
  readonly satisfiedFromMs: number;
  /** There is no answer while the authority cannot be asked: it is the slot of a REFRESH that would be precise if there were room (S7). */
  readonly blocks: boolean;
}

/** A REFRESH that is spread, as it was applied here. */
export interface SpreadRefresh {
  /** Monotonic. */
  readonly appliedMs: number;
  readonly spreadMs: number;
  readonly revision: number;
  /** Wall clock. */
  readonly forgetAtMs: number;
}

/**
 * A token's place in every window, from 0 inclusive to 1 exclusive: the first 32 bits of its fingerprint, so that it is the same on every
 * sidecar of a deployment. What has no fingerprint comes first.
 */
export function placeOf(fingerprint: string | undefined): number {
  return fingerprint ? Number.parseInt(fingerprint.slice(0, 8), 16) / 2 ** 32 : 0;
}

/** Only those that some other one does not make needless. */
export function withoutNeedless(slots: readonly Slot[]): readonly Slot[] {
  if (slots.length < 2) return slots;
  const covers = (other: Slot, one: Slot): boolean =>
    other.dueMs <= one.dueMs && other.satisfiedFromMs >= one.satisfiedFromMs && (other.blocks || !one.blocks);
  // Of equals the first stays.
  return slots.filter((one, at) => !slots.some((other, n) => n !== at && covers(other, one) && (!covers(one, other) || n < at)));
}

type WindowTable = ReturnType<typeof newTable>;

function newTable() {
  return new SelectorTable(['startMs', 'newsMs', 'lengthMs', 'trailingMs', 'doneMs', 'revision'], {
    startMs: -Infinity,
    newsMs: -Infinity,
    trailingMs: -Infinity,
    doneMs: -Infinity,
  });
}

/**
 * The windows of selectors: of each the running one and a trailing one, in which everything is merged that comes while it runs. When it
 * ends, the trailing one begins there. So no slot is postponed by what comes later, and everything is done within two windows.
 *
 * Nothing happens at the end of a window: the slots of both are known when the REFRESH is, whenever they are asked for. Only what comes
 * later has to look which windows have ended since; so a history gives the same, however often it was asked and whenever it is read.
 */
export class SpreadWindows {
  readonly #settleMs: number;
  readonly #blocks: boolean;
  /** Made when it is needed: most sidecars hear of nothing that is spread. */
  #table: WindowTable | undefined;

  constructor({ settleMs, blocks }: { readonly settleMs: number; readonly blocks: boolean }) {
    this.#settleMs = settleMs;
    this.#blocks = blocks;
  }

  get size(): number {
    return this.#table?.size ?? 0;
  }

  /** In the order of their revisions; one that is told twice counts once. */
  add(key: Tag, { appliedMs, spreadMs, revision, forgetAtMs }: SpreadRefresh): void {
    this.#table ??= newTable();
    const table = this.#table;
    const at = table.upsert(key.low, key.high);
    if (revision <= table.get(at, 'revision')) return;
    table.set(at, 'revision', revision);
    table.set(at, 'forgetAtMs', Math.max(table.get(at, 'forgetAtMs'), forgetAtMs));
    // A window is not over before what was fetched at its beginning has settled.
    const lengthMs = Math.max(spreadMs, this.#settleMs);
    let startMs = table.get(at, 'startMs');
    // Where the configured window has become smaller, the smaller one holds: earlier is never wrong.
    const runningMs = startMs === -Infinity ? lengthMs : Math.min(lengthMs, table.get(at, 'lengthMs'));
    while (startMs !== -Infinity && appliedMs >= startMs + runningMs) {
      const trailingMs = table.get(at, 'trailingMs');
      // Whose slot has come stays due, however much later it is asked.
      table.set(at, 'doneMs', Math.max(table.get(at, 'doneMs'), table.get(at, 'newsMs')));
      table.set(at, 'newsMs', trailingMs);
      table.set(at, 'trailingMs', -Infinity);
      startMs = trailingMs === -Infinity ? -Infinity : startMs + runningMs;
    }
    if (startMs === -Infinity) {
      startMs = appliedMs;
      table.set(at, 'newsMs', appliedMs);
      table.set(at, 'lengthMs', lengthMs);
    } else {
      table.set(at, 'trailingMs', Math.max(table.get(at, 'trailingMs'), appliedMs));
      table.set(at, 'lengthMs', runningMs);
    }
    table.set(at, 'startMs', startMs);
  }

  /** Adds the slots of a token at `place` to `slots`: at most three. */
  addSlots(low: number, high: number, place: number, slots: Slot[]): void {
    const table = this.#table;
    const at = table?.find(low, high) ?? -1;
    if (!table || at < 0) return;
    const settleMs = this.#settleMs;
    const slot = (dueMs: number, newsMs: number): void => {
      if (newsMs > -Infinity) slots.push({ dueMs, satisfiedFromMs: newsMs + settleMs, blocks: this.#blocks });
    };
    const lengthMs = table.get(at, 'lengthMs');
    const firstMs = table.get(at, 'startMs') + settleMs + place * (lengthMs - settleMs);
    slot(-Infinity, table.get(at, 'doneMs'));
    slot(firstMs, table.get(at, 'newsMs'));
    slot(firstMs + lengthMs, table.get(at, 'trailingMs'));
  }

  sweep(nowMs: number): void {
    this.#table?.sweep(nowMs);
  }
}
