// Whether a server is asked: after failures in a row it is left alone for a while, then one request finds out.

/** When a server is given up, and for how long. */
export interface BreakerLimits {
  /** So many failures in a row, at least 1. */
  readonly failures: number;
  readonly retryAfterMs: number;
}

/** The state of one server; times are of one monotonic clock, in milliseconds. */
export interface Breaker {
  /** Whether a request may go to the server now. Of an open one that may be tried again, one caller alone is told so: the probe. */
  admits(nowMs: number): boolean;
  /** The server gave a good answer in time. Answers whether that ended an outage. */
  succeeded(): boolean;
  /** The server failed. Answers whether that began an outage. */
  failed(nowMs: number): boolean;
  /** The probe ended and showed nothing either way: the next request is one. */
  undecided(nowMs: number): void;
  isOpen(): boolean;
}

/** A breaker that is closed. */
export function createBreaker(limits: BreakerLimits): Breaker {
  let failures = 0;
  /** Undefined: closed. */
  let openUntilMs: number | undefined;
  let probing = false;
  return {
    admits(nowMs) {
      if (openUntilMs === undefined) return true;
      if (probing || nowMs < openUntilMs) return false;
      probing = true;
      return true;
    },
    succeeded() {
      const wasOpen = openUntilMs !== undefined;
      failures = 0;
      openUntilMs = undefined;
      probing = false;
      return wasOpen;
    },
    failed(nowMs) {
      failures += 1;
      probing = false;
      const wasOpen = openUntilMs !== undefined;
      if (wasOpen || failures >= limits.failures) openUntilMs = nowMs + limits.retryAfterMs;
      return !wasOpen && openUntilMs !== undefined;
    },
    undecided(nowMs) {
      if (!probing) return;
      probing = false;
      openUntilMs = nowMs;
    },
    isOpen: () => openUntilMs !== undefined,
  };
}
