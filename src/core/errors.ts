// The one way to say "no answer": a closed list of codes, a machine reason, and when to ask again.

/** The closed list. Each maps to one gRPC status, in `rpc/grpc.ts`. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'FAILED_PRECONDITION'
  | 'ALREADY_EXISTS'
  | 'RESOURCE_EXHAUSTED'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'INTERNAL';

/** What goes with an error beside its code and message. */
export interface ErrorFacts {
  /** Machine reason, as in google.rpc.ErrorInfo: upper snake case, for example `KEYSTONE_UNREACHABLE`. */
  readonly reason: string;
  /** When asking again is worth it, in milliseconds from now. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/**
 * There is no answer. It says nothing about the token: an inactive token is a `Decision`, never an error.
 * The message is for people and never holds a raw token, a key, or what an upstream sent.
 */
export class SidecarError extends Error {
  override readonly name = 'SidecarError';
  readonly code: ErrorCode;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.reason = facts.reason;
    this.retryAfterMs = facts.retryAfterMs;
  }
}
