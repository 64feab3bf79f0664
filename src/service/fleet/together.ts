// Several things that run side by side, and end together.

/**
 * Runs all of `tasks` until one of `ends` aborts; resolves when each has ended. Where one of them fails the others are ended, and it
 * rejects with why.
 */
export async function together(tasks: readonly ((over: AbortSignal) => Promise<void>)[], ends: readonly AbortSignal[]): Promise<void> {
  const over = new AbortController();
  const end = (): void => over.abort();
  for (const one of ends) {
    one.addEventListener('abort', end, { once: true });
    if (one.aborted) end();
  }
  try {
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
  } finally {
    for (const one of ends) one.removeEventListener('abort', end);
  }
}
