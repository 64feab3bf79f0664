// How a call becomes an async function, and an error a status. Of the sidecar only this room knows the gRPC library.

import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { type ErrorCode, SidecarError } from '../core/errors.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { Caller, Peer } from '../service/callers.ts';
import { encodeStatusDetails, statusDetailsKey } from '../wire/status-details.ts';
import { peerOf } from './peer.ts';

/** The closed list of codes, as gRPC says them. */
const statusOf: { readonly [code in ErrorCode]: status } = {
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  PERMISSION_DENIED: status.PERMISSION_DENIED,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  UNAVAILABLE: status.UNAVAILABLE,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  CANCELLED: status.CANCELLED,
  INTERNAL: status.INTERNAL,
};

/** A call as handlers see it. */
export interface Call extends Caller {
  /** Aborts when the caller leaves or its deadline passes; made when first asked for, since a hit needs none. */
  signal(): AbortSignal;
  /** Milliseconds from now; where the caller has not said, ours. */
  deadlineMs(): number;
}

/** What the adapter needs. */
export interface GrpcParts {
  readonly listener: Caller['listener'];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Calls under way at once; one more is RESOURCE_EXHAUSTED. Watch is not counted: it has a limit of its own. */
  readonly callsInFlight: number;
}

/** By status: counts a call that ended, from when it began. */
type Finisher = (code: string) => (startedMs: number) => void;

/** For a call that says no deadline. */
const defaultDeadlineMs = 5000;

/** Makes handlers of one listener. */
export class GrpcAdapter {
  readonly #parts: GrpcParts;
  #inFlight = 0;

  constructor(parts: GrpcParts) {
    this.#parts = parts;
  }

  /** `handle` may answer at once; then nothing is awaited and no promise made. */
  unary<Request, Response>(
    method: string,
    handle: (request: Request, call: Call) => Response | Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    const finish = this.#finisher(method);
    // Nothing in here is captured by a closure: what a hit allocates is counted (bench/hit).
    return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => {
      const startedMs = this.#parts.clock.monotonicMs();
      if (this.#inFlight >= this.#parts.callsInFlight) {
        this.#rejected('limit');
        const full = new SidecarError('RESOURCE_EXHAUSTED', 'too many calls are under way', {
          reason: 'TOO_MANY_CALLS',
          retryAfterMs: 100,
        });
        callback(this.#report(full, finish, startedMs));
        return;
      }
      let answer: Response | Promise<Response>;
      try {
        answer = handle(call.request, new ServedCall(call, this.#parts.listener));
      } catch (error) {
        callback(this.#report(error, finish, startedMs));
        return;
      }
      if (answer instanceof Promise) {
        this.#answerLater(answer, callback, { finish, startedMs, method });
        return;
      }
      finish('OK')(startedMs);
      callback(null, answer);
    };
  }

  #answerLater<Response>(
    answer: Promise<Response>,
    callback: sendUnaryData<Response>,
    { finish, startedMs, method }: { readonly finish: Finisher; readonly startedMs: number; readonly method: string },
  ): void {
    this.#inFlight += 1;
    answer
      .then(
        (value) => {
          finish('OK')(startedMs);
          callback(null, value);
        },
        (error: unknown) => callback(this.#report(error, finish, startedMs)),
      )
      .catch((error: unknown) => this.#parts.telemetry.log.error({ error, method }, 'an answer could not be handed over'))
      .finally(() => {
        this.#inFlight -= 1;
      });
  }

  /** Pulls `handle`'s messages as fast as the reader takes them; nothing is buffered but the one that is being written (W10). */
  serverStream<Request, Response>(
    method: string,
    handle: (request: Request, call: Call) => AsyncIterable<Response>,
  ): handleServerStreamingCall<Request, Response> {
    const finish = this.#finisher(method);
    return (call: ServerWritableStream<Request, Response>) => {
      const startedMs = this.#parts.clock.monotonicMs();
      const { listener } = this.#parts;
      void pump(call, handle(call.request, new ServedCall(call, listener, streamSignal(call)))).then(
        () => {
          finish('OK')(startedMs);
          call.end();
        },
        // The library's way to end a stream with a status.
        (error: unknown) => call.emit('error', this.#report(error, finish, startedMs)),
      );
    };
  }

  #report(error: unknown, finish: Finisher, startedMs: number): ReturnType<typeof failureOf> {
    const failure = failureOf(error);
    if (failure.code === status.INTERNAL) this.#parts.telemetry.log.error({ error }, 'a call failed in a way nobody planned');
    if (failure.code === status.INVALID_ARGUMENT) this.#rejected('malformed');
    if (failure.code === status.PERMISSION_DENIED || failure.code === status.UNAUTHENTICATED) this.#rejected('unauthorised');
    finish(status[failure.code])(startedMs);
    return failure;
  }

  #rejected(why: 'limit' | 'malformed' | 'unauthorised'): void {
    this.#parts.telemetry.counter('sidegate_calls_rejected_total', { why }).add();
  }

  /** Instruments by status, bound when first needed. */
  #finisher(method: string): Finisher {
    const { telemetry, clock } = this.#parts;
    const bound = new Map<string, (startedMs: number) => void>();
    return (code) => {
      const known = bound.get(code);
      if (known) return known;
      const histogram = telemetry.histogram('rpc_server_call_duration_seconds', { rpc_method: method, rpc_status_code: code });
      const made = (startedMs: number): void => histogram.observe((clock.monotonicMs() - startedMs) / 1000);
      bound.set(code, made);
      return made;
    };
  }
}

/** A method of ours: its own reader and writer in place of the generated ones. */
export function methodWith<Request, Response>(
  path: string,
  read: (bytes: Buffer) => Request,
  write: (response: Response) => Buffer,
  responseStream = false,
): MethodDefinition<Request, Response> {
  return {
    path,
    requestStream: false,
    responseStream,
    requestSerialize: () => {
      throw new TypeError('a server serializes no requests');
    },
    requestDeserialize: read,
    responseSerialize: write,
    responseDeserialize: () => {
      throw new TypeError('a server deserializes no responses');
    },
  };
}

type GrpcCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

class ServedCall implements Call {
  readonly listener: Caller['listener'];
  readonly peer: Peer | undefined;
  readonly #call: GrpcCall;
  #signal: AbortSignal | undefined;

  constructor(call: GrpcCall, listener: Caller['listener'], signal?: AbortSignal) {
    this.#call = call;
    this.listener = listener;
    this.peer = listener === 'remote' ? peerOfCall(call) : undefined;
    this.#signal = signal;
  }

  get bearer(): string | undefined {
    return bearerOf(this.#call.metadata);
  }

  /** A field and no method, since it is handed on without its call. */
  readonly signal = (): AbortSignal => {
    this.#signal ??= unarySignal(this.#call);
    return this.#signal;
  };

  deadlineMs(): number {
    const atMs = Number(this.#call.getDeadline());
    return Number.isFinite(atMs) ? Math.max(0, atMs - Date.now()) : defaultDeadlineMs;
  }
}

/** Whose connection is gone already is nobody: the library throws where it has lost its socket. */
function peerOfCall(call: GrpcCall): Peer | undefined {
  try {
    return peerOf(call.getAuthContext().sslPeerCertificate);
  } catch (error) {
    void error;
    return undefined;
  }
}

/** RFC 6750 §2.1. Anything else in the header is not an identity. */
function bearerOf(metadata: Metadata): string | undefined {
  const [header] = metadata.get('authorization');
  const match = typeof header === 'string' ? /^Bearer +(\S+)$/i.exec(header) : null;
  return match?.[1];
}

/** grpc-js cancels a call when its deadline passes; one without a deadline gets ours. */
function unarySignal(call: GrpcCall): AbortSignal {
  const left = new AbortController();
  call.on('cancelled', () => left.abort());
  if (call.cancelled) left.abort();
  // Not AbortSignal.any with AbortSignal.timeout: node 20 may collect the timeout, which then never fires.
  if (!Number.isFinite(Number(call.getDeadline()))) setTimeout(() => left.abort(), defaultDeadlineMs).unref();
  return left.signal;
}

function streamSignal(call: ServerWritableStream<unknown, unknown>): AbortSignal {
  const left = new AbortController();
  for (const end of ['cancelled', 'close', 'error']) call.on(end, () => left.abort());
  return left.signal;
}

async function pump<Response>(call: ServerWritableStream<unknown, Response>, messages: AsyncIterable<Response>): Promise<void> {
  for await (const message of messages) {
    if (call.cancelled || call.destroyed) return;
    await taken(call, message);
  }
}

/** Resolves when the transport has taken the message, as flow control lets it, or the call is over. */
function taken<Response>(call: ServerWritableStream<unknown, Response>, message: Response): Promise<void> {
  return new Promise((resolve) => {
    const ends = ['close', 'cancelled', 'error'];
    const go = (): void => {
      for (const end of ends) call.off(end, go);
      resolve();
    };
    for (const end of ends) call.on(end, go);
    call.write(message, go);
  });
}

function failureOf(error: unknown): { code: status; details: string; metadata: Metadata } {
  const known = error instanceof SidecarError ? error : unplanned(error);
  const code = statusOf[known.code];
  const metadata = new Metadata();
  const { message, reason, retryAfterMs } = known;
  metadata.set(statusDetailsKey, encodeStatusDetails({ code, message, reason, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }));
  return { code, details: message, metadata };
}

/** A wait that the caller's own signal has ended is no fault of ours. */
function unplanned(error: unknown): SidecarError {
  const isOver = error instanceof DOMException && (error.name === 'AbortError' || error.name === 'TimeoutError');
  if (isOver) return new SidecarError('DEADLINE_EXCEEDED', 'no answer before the deadline', { reason: 'DEADLINE', cause: error });
  return new SidecarError('INTERNAL', 'something went wrong here', { reason: 'INTERNAL', cause: error });
}
