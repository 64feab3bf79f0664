// A limit for work that nobody waits for: by the injected clock, and by the end of the process.

import { SidecarError } from '../../core/errors.ts';
import type { Clock } from '../../ports.ts';
import { orAborted } from '../wakeup.ts';

/**
 * What `work` gives within `ms`. Its signal aborts then, and when `stop` does; it is not waited for any longer.
 * Throws DEADLINE_EXCEEDED / UPSTREAM_TIMEOUT, and the reason of `stop`.
 */
export async function within<Value>(
  clock: Clock,
  ms: number,
  stop: AbortSignal,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const over = new AbortController();
  const leave = (): void => over.abort(stop.reason);
  const timer = new AbortController();
  stop.addEventListener('abort', leave, { once: true });
  if (stop.aborted) leave();
  const late = (): void => over.abort(new SidecarError('DEADLINE_EXCEEDED', 'no answer in time', { reason: 'UPSTREAM_TIMEOUT' }));
  // Rejects where the work has ended first: there is nothing left to limit.
  clock.delay(ms, timer.signal).then(late, () => undefined);
  try {
    over.signal.throwIfAborted();
    return await orAborted(work(over.signal), over.signal);
  } finally {
    timer.abort();
    stop.removeEventListener('abort', leave);
  }
}
