// What an upstream's last questions showed of its health, and one log line each time that changes.

import { SidecarError } from '../core/errors.ts';
import type { Clock, DependencyHealth, Logger } from '../ports.ts';

/** The health of one upstream. */
export interface Reachability {
  /** The authority gave an answer, good or bad for the token. */
  answered(): void;
  /** A question ended without an answer. Callers that left say nothing about the authority. */
  failed(cause: unknown): void;
  health(): DependencyHealth;
}

/** The health of an upstream that has not been asked yet: not known to be reachable. */
export function createReachability(issuer: string, deps: { readonly clock: Clock; readonly log: Logger }): Reachability {
  let lastAnswerAtMs: number | undefined;
  let problem: SidecarError | undefined;
  return {
    answered() {
      lastAnswerAtMs = deps.clock.nowMs();
      if (problem !== undefined) deps.log.info({ issuer }, 'the authority answers again');
      problem = undefined;
    },
    failed(cause) {
      if (!(cause instanceof SidecarError) || cause.code !== 'UNAVAILABLE') return;
      // A line for each reason, not for each call: an outage under load would drown everything else.
      if (problem?.reason !== cause.reason) deps.log.warn({ issuer, reason: cause.reason }, cause.message);
      problem = cause;
    },
    health() {
      if (problem === undefined && lastAnswerAtMs === undefined) return { reachable: false, problem: 'not asked yet' };
      return {
        reachable: problem === undefined,
        ...(problem !== undefined && { problem: problem.message }),
        ...(lastAnswerAtMs !== undefined && { lastAnswerAtMs }),
      };
    },
  };
}
