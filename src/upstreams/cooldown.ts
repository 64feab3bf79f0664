// How long not to try what has just failed: our own credential towards an authority.

import { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';

/** Remembers the last failure while it is too early to try again. */
export interface Cooldown {
  /** The last failure with the time that is left, while it is too early; undefined: try. */
  error(): SidecarError | undefined;
  /**
   * It failed. `refused` failures wait 1 s, then twice as long each, up to 30 s; the others, which say nothing about the
   * credential, 1 s, or as long as they ask for.
   */
  failed(error: SidecarError, kind: 'refused' | 'other'): void;
  /** It works. */
  over(): void;
}

const firstMs = 1_000;
const mostMs = 30_000;

/** A cooldown that is over. */
export function createCooldown(clock: Clock): Cooldown {
  let refusals = 0;
  let last: { readonly error: SidecarError; readonly endsMs: number } | undefined;
  return {
    error() {
      const leftMs = last === undefined ? 0 : last.endsMs - clock.monotonicMs();
      if (last === undefined || leftMs <= 0) return undefined;
      const { code, message, reason } = last.error;
      return new SidecarError(code, message, { reason, retryAfterMs: leftMs, cause: last.error });
    },
    failed(error, kind) {
      const waitMs = kind === 'refused' ? Math.min(firstMs * 2 ** refusals, mostMs) : Math.max(firstMs, error.retryAfterMs ?? 0);
      if (kind === 'refused') refusals += 1;
      last = { error, endsMs: clock.monotonicMs() + waitMs };
    },
    over() {
      refusals = 0;
      last = undefined;
    },
  };
}
