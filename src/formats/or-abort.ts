// Waiting for keys that may never come.

import { SidecarError } from '../core/errors.ts';

/** Leaves `work` to itself when `signal` aborts. Rejects with the signal's own SidecarError, else with DEADLINE_EXCEEDED. */
export function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Left to itself, it fails for nobody.
  work.catch(() => undefined);
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      const { reason } = signal;
      const late = (): SidecarError =>
        new SidecarError('DEADLINE_EXCEEDED', 'The keys of the issuer did not come in time', { reason: 'KEYS_LATE', cause: reason });
      reject(reason instanceof SidecarError ? reason : late());
    };
    if (signal.aborted) return leave();
    signal.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
