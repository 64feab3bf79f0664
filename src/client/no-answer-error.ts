// There is no answer: what the client throws, and how a gRPC status becomes it.

import { type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, SidecarError } from '../core/errors.ts';
import { decodeStatusDetails, statusDetailsKey } from '../wire/status-details.ts';
import { connectionFailure } from './connection-words.ts';

/** The closed list; `UNKNOWN` stands for every status that is not in it. */
export type NoAnswerCode = ErrorCode | 'UNIMPLEMENTED' | 'UNKNOWN';

/**
 * There is no answer. It says nothing about the token, so a service refuses the request with 503, never with 401, and never lets it in.
 */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
  readonly code: NoAnswerCode;
  /** Machine reason in upper snake case, for example `KEYSTONE_UNREACHABLE`; where the sidecar gave none, the code. */
  readonly reason: string;
  /** When asking again is worth it, in milliseconds from now; undefined where nobody said. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: NoAnswerCode,
    message: string,
    facts: { readonly reason?: string | undefined; readonly retryAfterMs?: number | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.reason = facts.reason ?? code;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/**
 * Any error as a NoAnswerError: a gRPC status with its details, what the wire room could not read, an abort.
 * The message of a gRPC error is the sidecar's, or the library's about the connection; neither holds a token.
 */
export function toNoAnswerError(error: unknown): NoAnswerError {
  if (error instanceof NoAnswerError) return error;
  if (isServiceError(error)) {
    const bytes = error.metadata?.get(statusDetailsKey)[0];
    const details = bytes instanceof Uint8Array ? decodeStatusDetails(bytes) : {};
    const failure = error.code === status.UNAVAILABLE && !bytes ? connectionFailure(error.details) : undefined;
    if (failure) return new NoAnswerError('UNAVAILABLE', failure.message, { reason: failure.reason, cause: error });
    return new NoAnswerError(codeOf(error.code), error.details || error.message, details);
  }
  if (error instanceof SidecarError) {
    return new NoAnswerError('INTERNAL', `the answer cannot be read: ${error.message}`, { reason: 'ANSWER_MALFORMED', cause: error });
  }
  return new NoAnswerError('INTERNAL', 'the call failed', { cause: error });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}

const codes: ReadonlyMap<number, NoAnswerCode> = new Map<number, NoAnswerCode>([
  [status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
  [status.PERMISSION_DENIED, 'PERMISSION_DENIED'],
  [status.FAILED_PRECONDITION, 'FAILED_PRECONDITION'],
  [status.ALREADY_EXISTS, 'ALREADY_EXISTS'],
  [status.RESOURCE_EXHAUSTED, 'RESOURCE_EXHAUSTED'],
  [status.UNAVAILABLE, 'UNAVAILABLE'],
  [status.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED'],
  [status.CANCELLED, 'CANCELLED'],
  [status.INTERNAL, 'INTERNAL'],
  [status.UNIMPLEMENTED, 'UNIMPLEMENTED'],
]);

function codeOf(code: number): NoAnswerCode {
  return codes.get(code) ?? 'UNKNOWN';
}
