// The client: the API's calls, in types of our own.

import { performance } from 'node:perf_hooks';
import type { Cursor } from '../core/invalidation.ts';
import type { AcknowledgeResponse, FindTokenResponse, RefreshResponse, RevokeResponse } from '../gen/sidegate/v1/token_service.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import type { SelectorFields } from '../wire/selector.ts';
import { type Answer, answerFromMessage, type Invalidated, invalidatedFromMessage, type Revoked, revokedFromMessage } from './answer.ts';
import { type CallerToken, Channel, type Limits } from './channel.ts';
import { boundedTimeoutMs, pause } from './deadline.ts';
import { type NearCache, type NearCacheOptions, nearCache } from './near-cache.ts';
import { NoAnswerError, toNoAnswerError } from './no-answer-error.ts';
import {
  type CallOptions,
  type Credential,
  type FindOptions,
  type FindTarget,
  findTokenRequest,
  type RefreshOptions,
  type RevokeOptions,
  type RevokeTarget,
  refreshRequest,
  revokeRequest,
  type ValidateOptions,
  validateRequest,
} from './requests.ts';
import { type Status, statusFromMessage } from './status.ts';
import type { TlsOptions } from './tls.ts';
import { type WatchEvent, type WatchOptions, watch } from './watch.ts';

/** How to reach the sidecar. */
export interface ConnectOptions {
  /** Default: SIDEGATE_ADDRESS, else the socket /run/sidegate/sidegate.sock where somebody listens on it, else 127.0.0.1:8471. */
  readonly address?: string;
  /** For a sidecar on another host, whose `address` is host:port then: mutual TLS. */
  readonly tls?: TlsOptions;
  /** Sent as bearer token with every call; a function is asked for each. */
  readonly callerToken?: CallerToken;
  /** How long a call may take that does not say; default 5,000. */
  readonly timeoutMs?: number;
}

/** A sidecar, as its callers see it. Every call throws NoAnswerError where there is no answer. */
export interface Client {
  /** Is this token (or the one of this handle) good, now, for what is demanded? */
  validate(credential: Credential, options?: ValidateOptions): Promise<Answer>;
  /** Durable when it resolves. Tried once more where the sidecar was unavailable: its request id makes that the same revocation. */
  revoke(target: RevokeTarget, options?: RevokeOptions): Promise<Revoked>;
  /** Has facts fetched again; kills nothing. Tried once more, as `revoke`. */
  refresh(selector: SelectorFields, options?: RefreshOptions): Promise<Invalidated>;
  /**
   * The newest active token of a user that the sidecar's caches know; never the token itself. Undefined: none is known, others may exist.
   * Needs an authorised caller.
   */
  findToken(target: FindTarget, options?: FindOptions): Promise<Answer | undefined>;
  /** What happens, resumed by itself; see `watch` in the documentation of the protocol. Each iteration is a subscription. */
  watch(options?: WatchOptions): AsyncIterable<WatchEvent>;
  /**
   * Says that everything up to `cursor` of a stream of `watch` is done with: `status` of the sidecar tells it. `subscription`: as its latest
   * `opened` says.
   */
  acknowledge(subscription: string, cursor: Cursor, options?: CallOptions): Promise<void>;
  /** Connects now rather than at the first call, so that its time is that of the call alone. Where that fails the next call says why. */
  connected(options?: CallOptions): Promise<void>;
  /** How the sidecar is. */
  status(options?: CallOptions): Promise<Status>;
  /** A cache in this process, kept true by Watch. It starts at once; close it, or the client. */
  nearCache(options?: NearCacheOptions): NearCache;
  /** Ends everything that was started with it. */
  close(): void;
}

const defaultTimeoutMs = 5000;
/** Long enough for a sidecar that has just been restarted. */
const retryPauseMs = 150;

/** A client. Does nothing until its first call. Throws NoAnswerError INVALID_ARGUMENT / TLS_OPTIONS. */
export function connect(options: ConnectOptions = {}): Client {
  const channel = new Channel(options.address, options.callerToken, options.tls);
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const closing = new AbortController();
  const limits = (call: CallOptions): Limits => ({ timeoutMs: call.timeoutMs ?? timeoutMs, signal: call.signal });

  const validate = async (credential: Credential, asking: ValidateOptions = {}): Promise<Answer> => {
    const request = validateRequest(credential, asking);
    return reading(answerFromMessage, await channel.unary((stub, ...rest) => stub.validate(request, ...rest), limits(asking)));
  };

  const follow = (watching: WatchOptions, subscribing: () => void): AsyncIterable<WatchEvent> => {
    const signal = watching.signal === undefined ? closing.signal : AbortSignal.any([watching.signal, closing.signal]);
    const parts = {
      open: (request: Parameters<Channel['watch']>[0]) => channel.watch(request, subscribing, { timeoutMs, signal }),
      random: Math.random,
      openTimeoutMs: boundedTimeoutMs(timeoutMs),
    };
    return { [Symbol.asyncIterator]: () => watch(parts, { ...watching, signal }) };
  };

  return {
    validate,
    async revoke(target, call = {}) {
      const request = revokeRequest(target, call);
      const once = (left: Limits) => channel.unary<RevokeResponse>((stub, ...rest) => stub.revoke(request, ...rest), left);
      return reading(revokedFromMessage, await twice(once, limits(call)));
    },
    async refresh(selector, call = {}) {
      const request = refreshRequest(selector, call);
      const once = (left: Limits) => channel.unary<RefreshResponse>((stub, ...rest) => stub.refresh(request, ...rest), left);
      return reading(invalidatedFromMessage, await twice(once, limits(call)));
    },
    async findToken(target, call = {}) {
      const request = findTokenRequest(target, call);
      const read = ({ found }: FindTokenResponse): Answer | undefined => found && answerFromMessage(found);
      return reading(read, await channel.unary((stub, ...rest) => stub.findToken(request, ...rest), limits(call)));
    },
    watch: (watching = {}) => follow(watching, () => undefined),
    async acknowledge(subscription, cursor, call = {}) {
      const request = { subscription, cursor: cursorToMessage(cursor) };
      await channel.unary<AcknowledgeResponse>((stub, ...rest) => stub.acknowledge(request, ...rest), limits(call));
    },
    connected: (call = {}) => channel.connected(limits(call)),
    async status(call = {}) {
      return reading(statusFromMessage, await channel.unary((stub, ...rest) => stub.getStatus({}, ...rest), limits(call)));
    },
    nearCache(made = {}) {
      return nearCache({ ask: validate, watch: follow, monotonicMs: () => performance.now(), timeoutMs, signal: closing.signal }, made);
    },
    close() {
      closing.abort();
      channel.close();
    },
  };
}

/** Once more after UNAVAILABLE, when the sidecar asked to wait no longer than the call may take. */
async function twice<Response>(once: (limits: Limits) => Promise<Response>, limits: Limits): Promise<Response> {
  const endsAtMs = performance.now() + boundedTimeoutMs(limits.timeoutMs);
  try {
    return await once(limits);
  } catch (error) {
    const pauseMs = error instanceof NoAnswerError ? (error.retryAfterMs ?? retryPauseMs) : 0;
    const unavailable = error instanceof NoAnswerError && error.code === 'UNAVAILABLE' && error.reason !== 'CLIENT_CLOSED';
    if (!unavailable || performance.now() + pauseMs >= endsAtMs) throw error;
    await pause(pauseMs, limits.signal ?? new AbortController().signal);
    return await once({ timeoutMs: endsAtMs - performance.now(), signal: limits.signal });
  }
}

/** What the message says; one that cannot be read is no answer. */
function reading<Message, Meaning>(read: (message: Message) => Meaning, message: Message): Meaning {
  try {
    return read(message);
  } catch (error) {
    throw toNoAnswerError(error);
  }
}
