// HTTP towards an authority: a deadline for each question, bounded bodies, few repetitions, no redirects.

import { readFile } from 'node:fs/promises';
import { Agent, buildConnector } from 'undici';
import { clockOffset } from '../core/clock-offset.ts';
import { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';

/** How to reach an authority, and what it may cost. */
export interface HttpOptions {
  /** What people call it, in messages: `Keystone "central"`. */
  readonly authority: string;
  /** Begins the reasons of errors: `KEYSTONE` gives `KEYSTONE_UNREACHABLE`, `KEYSTONE_TIMEOUT`. */
  readonly reasonPrefix: string;
  /** PEM of the CAs to trust instead of the system's. Read again for every new connection, so that it may be replaced. */
  readonly caFile?: string;
  /** The name to send and to expect in the certificate, where it is not the host of the URL. */
  readonly serverName?: string;
  /** For one question, all its requests and pauses together. */
  readonly deadlineMs: number;
  /** How often one request is tried, at most; at least 1. */
  readonly attempts: number;
  /** A longer body is no answer. */
  readonly maxBodyBytes: number;
}

/** What HTTP needs of the world. */
export interface HttpDeps {
  readonly clock: Clock;
  /** From 0 to below 1, for jitter. */
  readonly random?: () => number;
}

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Sending it twice does no harm: it is tried again after connection errors, 502, 503 and 504. */
  readonly repeatable: boolean;
}

/** A whole reply, whatever its status. */
export interface HttpReply {
  readonly status: number;
  /** By lower-case name; repeated ones are joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** What `Retry-After` asks for (its form in seconds), at most five minutes. */
  readonly retryAfterMs?: number;
  /** The authority's clock minus ours, as far as `Date` proves a difference; 0 where it proves none. Absent without a `Date`. */
  readonly clockOffsetMs?: number;
}

/** The time that one question has. */
export interface Deadline {
  /** Aborts when it is over, or when the caller leaves. */
  readonly signal: AbortSignal;
  leftMs(): number;
  /**
   * What to throw when `signal` has aborted: UNAVAILABLE (`…_TIMEOUT`) where the authority took too long; where the caller left,
   * the SidecarError it left with, else DEADLINE_EXCEEDED or CANCELLED.
   */
  error(): SidecarError;
}

/** HTTP towards one authority. */
export interface Http {
  /** Starts the clock for one question. Without a signal nobody can leave early. */
  deadline(signal?: AbortSignal): Deadline;
  /**
   * Any reply that came whole. Throws UNAVAILABLE: `…_UNREACHABLE`, `…_TIMEOUT`, `BAD_ANSWER` (too long, or not HTTP); or
   * whatever `deadline` says.
   */
  send(request: HttpRequest, deadline: Deadline): Promise<HttpReply>;
  /** The same for other waits: the result of `work`, or `deadline.error()` as soon as it is over. */
  within<T>(work: Promise<T>, deadline: Deadline): Promise<T>;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** A reply was longer than `maxBodyBytes`; the rest of it was not read. */
export class BodyTooLarge extends SidecarError {
  constructor({ authority, maxBodyBytes }: HttpOptions) {
    const message = `${authority} sent more than ${maxBodyBytes} bytes`;
    super('UNAVAILABLE', message, { reason: 'BAD_ANSWER', retryAfterMs: defaultRetryAfterMs });
  }
}

/** When to ask again, where nobody knows better. */
export const defaultRetryAfterMs = 1_000;

const maxConnections = 128;
const maxRetryAfterMs = 300_000;
// Of a reply. Keystone echoes the token, which may have 64 kB; node's own limit would be 16 kB.
const maxHeaderBytes = 131_072;
const firstPauseMs = 50;
/** One for all: most deadlines pass when their question has long been answered. */
const timeIsOver = new DOMException('the time of the question is over', 'TimeoutError');
const notHttp: ReadonlySet<string> = new Set(['HTTPParserError', 'UND_ERR_HEADERS_OVERFLOW']);
const transient: ReadonlySet<number> = new Set([502, 503, 504]);

/** HTTP over undici. Opens nothing before the first request; idle connections do not keep the process alive. */
export function createHttp(options: HttpOptions, deps: HttpDeps): Http {
  const { clock, random = Math.random } = deps;
  // Answers end by `deadline`; undici's own timers are coarse and would only be a second opinion.
  const agent = new Agent({
    connect: connector(options),
    connections: maxConnections,
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: maxHeaderBytes,
  });
  const noAnswer = (reason: string, what: string, cause?: unknown): SidecarError =>
    new SidecarError('UNAVAILABLE', `${options.authority} ${what}`, { reason, retryAfterMs: defaultRetryAfterMs, cause });

  function deadline(signal?: AbortSignal): Deadline {
    const ending = new AbortController();
    const endsMs = clock.monotonicMs() + options.deadlineMs;
    let isLate = false;
    const leave = (): void => {
      clearTimeout(timer);
      ending.abort(signal?.reason);
    };
    // Not AbortSignal.any: what it leaves in each of its sources stays there (node 20), and the signal of what runs in the background
    // lives as long as the process. This lets go of it when the time is over.
    const timer = setTimeout(() => {
      isLate = true;
      signal?.removeEventListener('abort', leave);
      ending.abort(timeIsOver);
    }, options.deadlineMs).unref();
    if (signal?.aborted) leave();
    else signal?.addEventListener('abort', leave, { once: true });
    return {
      signal: ending.signal,
      leftMs: () => endsMs - clock.monotonicMs(),
      error: () =>
        signal?.aborted && !isLate
          ? left(signal.reason)
          : noAnswer(`${options.reasonPrefix}_TIMEOUT`, `gave no answer within ${options.deadlineMs} ms`),
    };
  }

  async function within<T>(work: Promise<T>, { signal, error }: Deadline): Promise<T> {
    let leave = (): void => {};
    const over = new Promise<never>((_resolve, reject) => {
      leave = (): void => reject(error());
      if (signal.aborted) leave();
      else signal.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([work, over]);
    } catch (cause) {
      // `work` may hear of the abort first and fail with it: what ended it is the deadline all the same.
      throw signal.aborted ? error() : cause;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  async function send(request: HttpRequest, until: Deadline): Promise<HttpReply> {
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await once(request, until);
      const again = outcome instanceof SidecarError ? outcome.reason.endsWith('_UNREACHABLE') : transient.has(outcome.status);
      const pauseMs = Math.max((firstPauseMs + random() * firstPauseMs) * 2 ** (attempt - 1), asksFor(outcome));
      if (!again || !request.repeatable || attempt >= options.attempts || pauseMs >= until.leftMs()) {
        if (outcome instanceof SidecarError) throw outcome;
        return outcome;
      }
      await within(clock.delay(pauseMs, until.signal), until);
    }
  }

  // A failure is a value here, so that `send` can weigh it against another attempt.
  async function once(request: HttpRequest, until: Deadline): Promise<HttpReply | SidecarError> {
    if (until.signal.aborted) return until.error();
    try {
      // undici forgets the signal until a connection stands: without `within`, a host that swallows packets would keep us.
      return await within(exchange(request, until.signal), until);
    } catch (cause) {
      return cause instanceof SidecarError ? cause : failure(cause);
    }
  }

  async function exchange({ method, url, headers, body }: HttpRequest, signal: AbortSignal): Promise<HttpReply> {
    const { origin, pathname, search } = new URL(url);
    const sentAtMs = clock.monotonicMs();
    const response = await agent.request({ origin, path: pathname + search, method, headers, body: body ?? null, signal });
    const date = response.headers['date'];
    const readAtMs = clock.nowMs();
    const sent = readAtMs - (clock.monotonicMs() - sentAtMs);
    const replyHeaders = flat(response.headers);
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    // Leaving this loop by a throw destroys the stream, and with it the connection: the rest is never read.
    for await (const chunk of response.body) {
      sizeBytes += chunk.length;
      if (sizeBytes > options.maxBodyBytes) throw new BodyTooLarge(options);
      chunks.push(chunk);
    }
    const retryAfterMs = retryAfter(replyHeaders['retry-after']);
    // An answer out of somebody's cache (`Age`) has the date of another moment.
    const clockOffsetMs = replyHeaders['age'] === undefined ? clockOffset(date, { sentAtMs: sent, readAtMs }) : undefined;
    return {
      status: response.statusCode,
      headers: replyHeaders,
      body: Buffer.concat(chunks),
      ...(retryAfterMs !== undefined && { retryAfterMs }),
      ...(clockOffsetMs !== undefined && { clockOffsetMs }),
    };
  }

  // undici's errors can hold what was received (`HTTPParserError.data`): only their codes go on.
  function failure(cause: unknown): SidecarError {
    const code = codeOf(cause);
    const clean = new Error(code);
    if (notHttp.has(code)) return noAnswer('BAD_ANSWER', `sent what is not HTTP (${code})`, clean);
    return noAnswer(`${options.reasonPrefix}_UNREACHABLE`, `cannot be reached (${code})`, clean);
  }

  return { deadline, send, within, close: () => agent.destroy() };
}

function connector({ caFile, serverName, deadlineMs }: HttpOptions): buildConnector.connector {
  const name = serverName === undefined ? {} : { servername: serverName };
  if (caFile === undefined) return buildConnector({ timeout: deadlineMs, ...name });
  let known: { readonly ca: string; readonly connect: buildConnector.connector } | undefined;
  return (target, callback) => {
    readFile(caFile, 'utf8').then(
      (ca) => {
        if (known?.ca !== ca) known = { ca, connect: buildConnector({ timeout: deadlineMs, ca, ...name }) };
        known.connect(target, callback);
      },
      (error: unknown) => callback(Object.assign(new Error('CA file'), { code: `CA_FILE_${codeOf(error)}` }), null),
    );
  };
}

function left(reason: unknown): SidecarError {
  if (reason instanceof SidecarError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new SidecarError('DEADLINE_EXCEEDED', 'the call had no time left', { reason: 'DEADLINE_EXCEEDED' });
  }
  return new SidecarError('CANCELLED', 'the caller left', { reason: 'CANCELLED' });
}

function codeOf(cause: unknown): string {
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause;
  if (inner instanceof Error && 'code' in inner && typeof inner.code === 'string') return inner.code;
  return inner instanceof Error ? inner.name : 'unknown';
}

function asksFor(outcome: HttpReply | SidecarError): number {
  return outcome instanceof SidecarError ? 0 : (outcome.retryAfterMs ?? 0);
}

function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,9}$/.test(value)) return undefined;
  return Math.min(Number(value) * 1_000, maxRetryAfterMs);
}

function flat(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) all[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return all;
}
