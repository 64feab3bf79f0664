// Waiting no longer than was said: for what has no deadline of its own.

import { NoAnswerError } from './no-answer-error.ts';

/** Longest wait that can be asked for, in milliseconds: ten minutes. A longer one is cut to it, so that every wait ends. */
export const longestTimeoutMs = 600_000;

/** What is left of `timeoutMs` as a usable wait: at least 1 ms, at most `longestTimeoutMs`; what is no number is the longest. */
export function boundedTimeoutMs(timeoutMs: number): number {
  return Number.isNaN(timeoutMs) ? longestTimeoutMs : Math.min(longestTimeoutMs, Math.max(1, timeoutMs));
}

/**
 * As `promise`, but leaves after `timeoutMs` or when `signal` aborts; what it waited for goes on without it.
 * Throws NoAnswerError DEADLINE_EXCEEDED or CANCELLED.
 */
export async function within<Value>(promise: Promise<Value>, timeoutMs: number, signal?: AbortSignal): Promise<Value> {
  if (signal?.aborted) throw cancelled();
  let leave: () => void = () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const left = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswerError('DEADLINE_EXCEEDED', 'no answer in time')), boundedTimeoutMs(timeoutMs));
    leave = () => reject(cancelled());
    signal?.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([promise, left]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', leave);
  }
}

/** Resolves after `ms`, or at once when `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}

/** The caller went away. */
export function cancelled(): NoAnswerError {
  return new NoAnswerError('CANCELLED', 'the call was cancelled');
}
