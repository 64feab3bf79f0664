// What both journals say and decide alike.

import { SidecarError } from '../core/errors.ts';
import type { Entry } from '../core/invalidation.ts';

/** What makes an append idempotent: the same key with the same digest is the first one again (S14). */
export interface Once {
  readonly key: string;
  readonly digest: string;
}

/**
 * A watcher that resumes below this entry after it has been forgotten would miss something, so `earliest` moves to it.
 * Not so a mere REVOKE: at its end the tokens that it kills have ended too, in every cache (S12).
 */
export function forgetsForWatchers(entry: Entry): boolean {
  return entry.effect === 'REFRESH' || entry.alsoRefreshes;
}

/** The key has been used for another body. */
export function alreadyUsed(): SidecarError {
  return new SidecarError('ALREADY_EXISTS', 'this request id has been used for another request', { reason: 'REQUEST_ID_USED' });
}

/** A write or its sync has failed, now or before. */
export function failed(cause?: unknown): SidecarError {
  const message = 'the journal could not be written: nothing is acknowledged until the sidecar has been restarted';
  return new SidecarError('UNAVAILABLE', message, { reason: 'JOURNAL_FAILED', cause });
}

/** What is there cannot be read. */
export function unreadable(cause: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', 'the journal could not be read', { reason: 'JOURNAL_UNREADABLE', cause });
}

/** It has been closed. */
export function closed(): SidecarError {
  return new SidecarError('UNAVAILABLE', 'the journal is closed', { reason: 'JOURNAL_CLOSED' });
}
