// What ends with something else: a task with the signals that end it, and several that run side by side.

/**
 * Runs `task` with what ends it: when one of `ends` aborts, with its reason, or when somebody aborts it before. When the task is over it is
 * aborted too, for whatever of it may still wait; nothing is left on `ends`. (`AbortSignal.any` leaves something on each, on node 20.)
 */
export async function endingWith<Value>(
  ends: readonly AbortSignal[],
  task: (over: AbortController) => Promise<Value> | Value,
): Promise<Value> {
  const over = new AbortController();
  const listeners = ends.map((one) => {
    const end = (): void => over.abort(one.reason);
    one.addEventListener('abort', end, { once: true });
    if (one.aborted) end();
    return () => one.removeEventListener('abort', end);
  });
  try {
    return await task(over);
  } finally {
    for (const leave of listeners) leave();
    over.abort();
  }
}

/**
 * Runs all of `tasks` until one of `ends` aborts; resolves when each has ended. Where one of them fails the others are ended, and it
 * rejects with why.
 */
export function together(tasks: readonly ((over: AbortSignal) => Promise<void>)[], ends: readonly AbortSignal[]): Promise<void> {
  return endingWith(ends, async (over) => {
    const outcomes = await Promise.allSettled(
      tasks.map(async (task) => {
        try {
          await task(over.signal);
        } finally {
          // Each runs until it is told: one that ends takes the others along.
          over.abort();
        }
      }),
    );
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  });
}
