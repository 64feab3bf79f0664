// A limit for what may never answer, by the injected clock.

import type { Clock } from '../ports.ts';

/** It did not come in time. */
export class Late extends Error {
  override readonly name = 'Late';
}

/**
 * What `work` gives. Throws `Late` after `ms`, and the reason of `signal` when that aborts first; then `work` is not waited for any
 * longer, and whatever comes of it is nobody's concern.
 */
export async function within<Value>(
  limit: { readonly clock: Clock; readonly ms: number },
  signal: AbortSignal,
  work: Promise<Value>,
): Promise<Value> {
  const timer = new AbortController();
  let leave = (): void => undefined;
  const over = new Promise<never>((_, reject) => {
    leave = (): void => reject(signal.reason);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    // Rejects where the work has ended first: there is nothing left to limit.
    limit.clock.delay(limit.ms, timer.signal).then(
      () => reject(new Late(`no answer within ${limit.ms} ms`)),
      () => undefined,
    );
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    timer.abort();
    signal.removeEventListener('abort', leave);
  }
}
