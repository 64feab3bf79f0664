// A sidecar that does what a test says: a real gRPC server that speaks the real protocol and knows no rule of its own.

import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import {
  type AcknowledgeRequest,
  AcknowledgeResponse,
  type FindTokenRequest,
  FindTokenResponse,
  GetStatusResponse,
  type RefreshRequest,
  RefreshResponse,
  type RevokeRequest,
  RevokeResponse,
  TokenServiceService,
  type ValidateRequest,
  ValidateResponse,
  type WatchRequest,
  type WatchResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { encodeStatusDetails, statusDetailsKey } from '../../src/wire/status-details.ts';

/** Fails a call, as a sidecar would. */
export class Refusal extends Error {
  readonly code: number;
  readonly reason: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: number, facts: { reason?: string; retryAfterMs?: number } = {}) {
    super('refused by script');
    this.code = code;
    this.reason = facts.reason;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** One Watch that a client has opened. */
export interface Subscription {
  readonly request: WatchRequest;
  readonly authorization: string | undefined;
  readonly atMs: number;
  send(message: WatchResponse): void;
  /** Ends it; with a refusal, or OK. */
  cut(refusal?: Refusal): void;
}

type Handler<Request, Response> = (request: Request, metadata: Metadata) => Response | Promise<Response>;

/** Listens on a free port of 127.0.0.1. */
export class ScriptedSidecar {
  /** What each call does; may be replaced at any time. Throws `Refusal` to fail. */
  readonly on: {
    validate: Handler<ValidateRequest, ValidateResponse>;
    revoke: Handler<RevokeRequest, RevokeResponse>;
    refresh: Handler<RefreshRequest, RefreshResponse>;
    acknowledge: Handler<AcknowledgeRequest, AcknowledgeResponse>;
    findToken: Handler<FindTokenRequest, FindTokenResponse>;
    getStatus: Handler<unknown, GetStatusResponse>;
  } = {
    validate: () => ValidateResponse.create(),
    revoke: () => RevokeResponse.create(),
    refresh: () => RefreshResponse.create(),
    acknowledge: () => AcknowledgeResponse.create(),
    findToken: () => FindTokenResponse.create(),
    getStatus: () => GetStatusResponse.create(),
  };
  readonly #server = new Server();
  readonly #waitingSubscriptions: Subscription[] = [];
  readonly #wake = new Set<() => void>();
  #port = 0;

  static async start(): Promise<ScriptedSidecar> {
    const sidecar = new ScriptedSidecar();
    sidecar.#server.addService(TokenServiceService, {
      validate: unary((request: ValidateRequest, metadata) => sidecar.on.validate(request, metadata)),
      revoke: unary((request: RevokeRequest, metadata) => sidecar.on.revoke(request, metadata)),
      refresh: unary((request: RefreshRequest, metadata) => sidecar.on.refresh(request, metadata)),
      acknowledge: unary((request: AcknowledgeRequest, metadata) => sidecar.on.acknowledge(request, metadata)),
      findToken: unary((request: FindTokenRequest, metadata) => sidecar.on.findToken(request, metadata)),
      getStatus: unary((request: unknown, metadata) => sidecar.on.getStatus(request, metadata)),
      watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => sidecar.#subscribed(call),
    });
    sidecar.#port = await new Promise<number>((resolve, reject) => {
      sidecar.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    return sidecar;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** The next Watch that was or will be opened. Rejects when none comes in time. */
  async subscription(timeoutMs = 10_000): Promise<Subscription> {
    const waiting = this.#waitingSubscriptions.shift();
    if (waiting !== undefined) return waiting;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wake.delete(wake);
        reject(new Error(`nobody subscribed within ${timeoutMs} ms`));
      }, timeoutMs);
      const wake = (): void => {
        const next = this.#waitingSubscriptions.shift();
        if (next === undefined) return;
        this.#wake.delete(wake);
        clearTimeout(timer);
        resolve(next);
      };
      this.#wake.add(wake);
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #subscribed(call: ServerWritableStream<WatchRequest, WatchResponse>): void {
    // A client that goes away is no failure of the script.
    call.on('error', () => undefined);
    this.#waitingSubscriptions.push({
      request: call.request,
      authorization: call.metadata.get('authorization')[0]?.toString(),
      atMs: performance.now(),
      send: (message) => call.write(message),
      cut: (refusal) => (refusal === undefined ? call.end() : call.emit('error', statusOf(refusal))),
    });
    for (const wake of [...this.#wake]) wake();
  }
}

function unary<Request, Response>(handle: Handler<Request, Response>) {
  return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
    (async () => handle(call.request, call.metadata))().then(
      (response) => callback(null, response),
      (error: unknown) => callback(statusOf(error)),
    );
  };
}

function statusOf(error: unknown): { code: number; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  if (!(error instanceof Refusal)) return { code: status.UNKNOWN, details: String(error), metadata };
  const { code, reason, retryAfterMs } = error;
  if (reason !== undefined || retryAfterMs !== undefined) {
    const details = {
      ...(reason === undefined ? {} : { reason }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
    metadata.set(statusDetailsKey, encodeStatusDetails({ code, message: error.message, ...details }));
  }
  return { code, details: error.message, metadata };
}
