// The client's way to the sidecar: one connection, the caller's token on every call, a deadline on every wait.

import { performance } from 'node:perf_hooks';
import { type CallOptions, type ClientUnaryCall, connectivityState, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { TokenServiceClient, type WatchRequest, type WatchResponse } from '../gen/sidegate/v1/token_service.ts';
import { boundedTimeoutMs, cancelled, within } from './deadline.ts';
import { addressThatListens } from './default-address.ts';
import { NoAnswerError, toNoAnswerError } from './no-answer-error.ts';
import { ClientTls, type TlsInUse, type TlsOptions } from './tls.ts';

/** Who calls: a bearer token, or what gives one for each call. */
export type CallerToken = string | (() => string | Promise<string>);

/** How long a call may take, and what ends it earlier. */
export interface Limits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** One open Watch, as far as we need it. */
export interface MessageStream extends AsyncIterable<WatchResponse> {
  cancel(): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

type Callback<Response> = (error: ServiceError | null, response: Response) => void;
type Invoke<Response> = (
  stub: TokenServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: Callback<Response>,
) => ClientUnaryCall;

/** Connects at the first call, and again by itself whenever the connection is lost. */
export class Channel {
  #address: string | undefined;
  readonly #callerToken: CallerToken | undefined;
  readonly #tls: ClientTls | undefined;
  #stub: TokenServiceClient | undefined;
  #stubTls: TlsInUse | undefined;
  #closed = false;

  /** `tls` needs an address. Throws as `ClientTls`. */
  constructor(address: string | undefined, callerToken: CallerToken | undefined, tls?: TlsOptions) {
    this.#address = address ?? (process.env['SIDEGATE_ADDRESS'] || undefined);
    this.#callerToken = callerToken;
    this.#tls = tls && new ClientTls(tls, this.#address, () => performance.now());
  }

  /** One question, one answer. Throws NoAnswerError. */
  async unary<Response>(invoke: Invoke<Response>, limits: Limits): Promise<Response> {
    const { signal } = limits;
    if (signal?.aborted) throw cancelled();
    const timeoutMs = boundedTimeoutMs(limits.timeoutMs);
    const deadline = Date.now() + timeoutMs;
    const metadata = await this.#metadata({ timeoutMs, signal });
    const address = this.#address ?? (await this.#find({ timeoutMs, signal }));
    const tls = await this.#tls?.current(timeoutMs, signal);
    // Look again: a signal that aborted while we waited tells nobody who listens only now.
    if (signal?.aborted) throw cancelled();
    const stub = this.#connected(address, tls);
    return new Promise((resolve, reject) => {
      const cancel = (): void => call.cancel();
      const call = invoke(stub, metadata, { deadline }, (error, response) => {
        signal?.removeEventListener('abort', cancel);
        if (error) reject(toNoAnswerError(error));
        else resolve(response);
      });
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Connects. Resolves when it is settled whether that can be done; where it cannot, the next call says why. Throws NoAnswerError. */
  async connected(limits: Limits): Promise<void> {
    const { signal } = limits;
    const timeoutMs = boundedTimeoutMs(limits.timeoutMs);
    const deadline = Date.now() + timeoutMs;
    const address = this.#address ?? (await this.#find({ timeoutMs, signal }));
    const channel = this.#connected(address, await this.#tls?.current(timeoutMs, signal)).getChannel();
    const settled = new Promise<void>((resolve) => {
      const look = (): void => {
        const state = channel.getConnectivityState(true);
        const isUnderWay = state === connectivityState.IDLE || state === connectivityState.CONNECTING;
        if (isUnderWay) channel.watchConnectivityState(state, deadline, (error) => (error ? resolve() : look()));
        else resolve();
      };
      look();
    });
    await within(settled, timeoutMs, signal);
  }

  /** Subscribes. `subscribing` is called right before the request leaves. Throws NoAnswerError. */
  async watch(request: WatchRequest, subscribing: () => void, limits: Limits): Promise<MessageStream> {
    const metadata = await this.#metadata(limits);
    const address = this.#address ?? (await this.#find(limits));
    const tls = await this.#tls?.current(boundedTimeoutMs(limits.timeoutMs), limits.signal);
    subscribing();
    return this.#connected(address, tls).watch(request, metadata);
  }

  close(): void {
    this.#closed = true;
    this.#stub?.close();
  }

  /** Once: whom the first call found is asked from then on. */
  async #find({ timeoutMs, signal }: Limits): Promise<string> {
    const found = await within(addressThatListens(), timeoutMs, signal);
    this.#address ??= found;
    return this.#address;
  }

  #connected(address: string, tls: TlsInUse | undefined): TokenServiceClient {
    if (this.#closed) throw new NoAnswerError('CANCELLED', 'the client is closed', { reason: 'CLIENT_CLOSED' });
    if (this.#stub && this.#stubTls === tls) return this.#stub;
    // Calls that run end on the connection that they have.
    this.#stub?.close();
    this.#stubTls = tls;
    this.#stub = new TokenServiceClient(address, tls?.credentials ?? credentials.createInsecure(), {
      ...tls?.options,
      'grpc.initial_reconnect_backoff_ms': 100,
      // The sidecar is on this machine: it is there again a moment after its restart.
      'grpc.max_reconnect_backoff_ms': 2000,
      // A token must not travel through a proxy that the environment happens to name.
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
    });
    return this.#stub;
  }

  async #metadata(limits: Limits): Promise<Metadata> {
    const metadata = new Metadata();
    const given = this.#callerToken;
    if (given === undefined) return metadata;
    const token = typeof given === 'string' ? given : await this.#callersToken(given, limits);
    try {
      metadata.set('authorization', `Bearer ${token}`);
    } catch (error) {
      // Without its cause: the library's message quotes the value.
      void error;
      throw new NoAnswerError('UNAUTHENTICATED', 'the caller token has characters that no header may have', { reason: 'CALLER_TOKEN' });
    }
    return metadata;
  }

  async #callersToken(give: () => string | Promise<string>, limits: Limits): Promise<string> {
    try {
      return await within((async () => give())(), limits.timeoutMs, limits.signal);
    } catch (error) {
      if (error instanceof NoAnswerError) throw error;
      throw new NoAnswerError('UNAUTHENTICATED', 'the caller token could not be had', { reason: 'CALLER_TOKEN', cause: error });
    }
  }
}
