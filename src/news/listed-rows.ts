// The rows of Keystone's list: each is told once, however often it is listed.

import { setImmediate } from 'node:timers/promises';
import type { NewsSink } from '../ports.ts';
import { readRevocationEvent } from './revocation-event.ts';

/** A list, and when it was made: rows that do not tell are from then. */
export interface RowList {
  readonly rows: readonly unknown[];
  readonly listedAtMs: number;
}

/** More than Keystone lists within 8 MiB. Beyond it those that were told first are forgotten: told again they are the same entries. */
const mostRows = 65_536;
/** Told at once, of one list. */
const atOnce = 64;
/** Read without letting anybody else have a turn. */
const rowsInOneGo = 256;

/** Tells rows, and remembers which have been told: their ids, about in the order of their times. */
export class ListedRows {
  readonly #told = new Map<string, number>();
  readonly #most: number;

  constructor(most: number = mostRows) {
    this.#most = most;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#told.size;
  }

  /**
   * Tells those that have not been told. Resolves when all are told, or when `signal` aborts. Rejects with the first failure, when
   * everything that could be told is told; those that could not are told with the next list that has them.
   */
  async tell({ rows, listedAtMs }: RowList, sink: Pick<NewsSink, 'tell'>, signal: AbortSignal): Promise<void> {
    const failures: unknown[] = [];
    let next = 0;
    let rest: Promise<unknown> | undefined;
    const tellOn = async (): Promise<void> => {
      // So many failures at once are no row's own: nothing can be taken now.
      while (next < rows.length && !signal.aborted && failures.length < atOnce) {
        const row = rows[next];
        next += 1;
        // All of them rest: one that did alone would leave its turn to the others here.
        if (next % rowsInOneGo === 0) rest = setImmediate();
        await rest;
        const news = readRevocationEvent(row, listedAtMs);
        if (this.#told.has(news.id)) continue;
        try {
          await sink.tell(news);
          this.#remember(news.id, news.atMs);
        } catch (error) {
          // The others are told all the same.
          failures.push(error);
        }
      }
    };
    await orAborted(Promise.all(Array.from({ length: Math.min(atOnce, rows.length) }, tellOn)), signal);
    if (failures.length > 0) throw failures[0];
  }

  /** Forgets what no list reaches back to any more. Cost: the rows that are forgotten, and one. */
  forgetBefore(atMs: number): void {
    for (const [id, writtenAtMs] of this.#told) {
      if (writtenAtMs >= atMs) return;
      this.#told.delete(id);
    }
  }

  #remember(id: string, atMs: number): void {
    this.#told.set(id, atMs);
    for (const oldest of this.#told.keys()) {
      if (this.#told.size <= this.#most) return;
      this.#told.delete(oldest);
    }
  }
}

/** Until `work` is done, or `signal` aborts: who ends waits for no telling, which may wait for a journal that hangs. */
async function orAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const done = new AbortController();
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true, signal: done.signal });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    done.abort();
  }
}
