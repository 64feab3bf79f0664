// Work that takes much memory: only so much of it at once, the rest in a queue.

/**
 * Runs `work` when it is its turn, first come first served. Where `signal` has aborted by then it is not begun, and it rejects with the
 * signal's reason. The queue is as long as there are callers: whoever lets calls in bounds it.
 */
export type InTurn = <T>(work: () => Promise<T>, signal?: AbortSignal) => Promise<T>;

/** At most `most` under way at once. */
export function inTurns(most: number): InTurn {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work, signal) => {
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      // The place goes from hand to hand: who comes between would otherwise find it free too.
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
