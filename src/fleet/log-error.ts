// That there is no log, in words for people.

import { SidecarError } from '../core/errors.ts';

/** There is no log. The message says with whom and why. */
export function noLog(message: string, cause?: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason: 'LOG_UNREACHABLE', ...(cause === undefined ? {} : { cause }) });
}
