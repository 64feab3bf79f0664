// What the HTTP faces of Validate share: who may ask, how long an answer is waited for, what is counted, and how a reply goes out.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { SidecarError } from '../core/errors.ts';
import type { Telemetry } from '../ports.ts';
import { Callers } from '../service/callers.ts';
import type { Answer, Question } from '../service/question.ts';
import type { Validator } from '../service/validator.ts';
import { type HttpLimits, type HttpListener, leaveBody, startHttpListener } from './http-listener.ts';
import { ValidateMeter } from './validate-meter.ts';

/** What every face is made of. */
export interface FaceOptions {
  /** `host:port` of the loopback, with an IPv6 host in brackets; port 0: any free one. */
  readonly address: string;
  readonly validator: Pick<Validator, 'validate'>;
  /** Whether loopback alone is enough to validate. Nobody shows an identity here: where it is not, nobody may. */
  readonly mayValidate: () => boolean;
  readonly telemetry: Telemetry;
  readonly monotonicMs: () => number;
  /** Longer tokens are answered without being looked at; they fit into a request all the same. */
  readonly tokenSizeBytes: number;
  /** Questions under way at once; one more has no answer. */
  readonly callsInFlight: number;
  /** For those under way when the end comes, in milliseconds. */
  readonly drainMs: number;
  /** How long an answer is waited for, in milliseconds; absent: 5,000. */
  readonly deadlineMs?: number;
}

/** Beside the token: the line of the request and its other headers, or the rest of a form. */
export const besideTokenBytes = 8_192;

/** What goes back. */
export interface Reply {
  readonly status: number;
  /** Name, value, name, value: beside `Content-Length`. */
  readonly headers: readonly string[];
  /** In pieces: joining them is a copy that a large answer can do without. */
  readonly body: readonly Uint8Array[];
}

/** Answers one request: at once where nothing has to be waited for. */
export type Replies = (request: IncomingMessage, response: ServerResponse) => Reply | Promise<Reply>;

/** Serves `replies` until `signal` aborts. Throws as startHttpListener. */
export function startFace(name: string, replies: Replies, options: FaceOptions, signal: AbortSignal): Promise<HttpListener> {
  const { address, telemetry } = options;
  const { log } = telemetry;
  const give = (response: ServerResponse, { status, headers, body }: Reply): void => {
    const length = body.reduce((sum, piece) => sum + piece.byteLength, 0);
    response.writeHead(status, [...headers, 'Content-Length', String(length)]);
    // One packet, or as few as it takes. To HEAD node sends the headers alone.
    response.cork();
    for (const piece of body) response.write(piece);
    response.end();
  };
  const failed = (response: ServerResponse, error: unknown): void => {
    // Nobody planned it, but where the client has left in the middle. Without a reply it is no answer for any client.
    if (!response.destroyed) log.error({ error }, `the ${name} listener cannot answer a request`);
    response.destroy();
  };
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    try {
      const reply = isOfAWebPage(request) ? notForPages(request, response) : replies(request, response);
      if (!(reply instanceof Promise)) give(response, reply);
      else reply.then((value) => give(response, value)).catch((error: unknown) => failed(response, error));
    } catch (error) {
      failed(response, error);
    }
  };
  return startHttpListener({ name, address, limits: faceLimits(options), serve, log }, signal);
}

/**
 * Limits of a face: a node's services have a connection or two for each of their threads, and use them again and again. Idle ones are
 * kept for longer than a quiet service pauses, since a client that sends as we close has to ask again.
 */
function faceLimits({ tokenSizeBytes, drainMs }: FaceOptions): HttpLimits {
  return { connections: 1_024, headerBytes: tokenSizeBytes + besideTokenBytes, requestMs: 5_000, idleMs: 75_000, drainMs };
}

/** Names of this host. With them a request was addressed here; with others it came by a name that somebody else gives out. */
export const loopbackHost: RegExp = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/**
 * A browser on this host would send what any page tells it to: a page has an origin, or a name of its own for this address (DNS
 * rebinding). A service has neither.
 */
function isOfAWebPage({ headers }: IncomingMessage): boolean {
  return headers.origin !== undefined || (headers.host !== undefined && !loopbackHost.test(headers.host));
}

/** Neither 401 nor 404: those say something of a token, or of our credential. */
function notForPages(request: IncomingMessage, response: ServerResponse): Reply {
  leaveBody(request, response);
  const body = Buffer.from(
    '{"error":{"code":403,"message":"Call this by a name of the loopback, and not from a web page.","title":"Forbidden"}}',
  );
  return { status: 403, headers: ['Content-Type', 'application/json', 'Cache-Control', 'no-store'], body: [body] };
}

/** Asks the validator for a face. */
export class FaceCaller {
  readonly #options: FaceOptions;
  readonly #meter: ValidateMeter;
  #inFlight = 0;

  constructor(options: FaceOptions) {
    this.#options = options;
    this.#meter = new ValidateMeter(options.telemetry, options.monotonicMs);
  }

  /**
   * The answer or why there is none, at once where facts are in memory. It is waited for until its deadline, or until the connection
   * of `response` is gone. Throws nothing.
   */
  ask(question: Question, response: ServerResponse): Answer | SidecarError | Promise<Answer | SidecarError> {
    const { validator, mayValidate, callsInFlight } = this.#options;
    const startedMs = this.#options.monotonicMs();
    if (!mayValidate()) return this.#refused();
    if (this.#inFlight >= callsInFlight) {
      return this.#unanswered(new SidecarError('RESOURCE_EXHAUSTED', 'too many calls are under way', tooManyCalls));
    }
    let answer: Answer | Promise<Answer>;
    try {
      answer = validator.validate(question, this.#signalOf(response));
    } catch (error) {
      return this.#unanswered(error);
    }
    return answer instanceof Promise ? this.#later(answer, startedMs) : this.#answered(answer, startedMs);
  }

  async #later(answer: Promise<Answer>, startedMs: number): Promise<Answer | SidecarError> {
    this.#inFlight += 1;
    try {
      return this.#answered(await answer, startedMs);
    } catch (error) {
      return this.#unanswered(error);
    } finally {
      this.#inFlight -= 1;
    }
  }

  #answered(answer: Answer, startedMs: number): Answer {
    const { decision, known, provenance } = answer;
    this.#meter.count(known?.issuer.name ?? '', decision.active ? 'active' : 'inactive', decision.active ? '' : decision.reason);
    this.#meter.took(provenance ?? 'NONE', startedMs);
    return answer;
  }

  #unanswered(error: unknown): SidecarError {
    this.#meter.unanswered(error);
    const failure = error instanceof SidecarError ? error : unplanned(error);
    if (failure.code === 'INTERNAL') this.#options.telemetry.log.error({ error }, 'a call failed in a way nobody planned');
    if (failure.code === 'INVALID_ARGUMENT') this.#rejected('malformed');
    if (failure.reason === tooManyCalls.reason) this.#rejected('limit');
    return failure;
  }

  #refused(): SidecarError {
    this.#rejected('unauthorised');
    const actor = Callers.actorOf({ listener: 'tcp', peer: undefined }).name;
    this.#options.telemetry.audit({ act: 'refused', actor, outcome: 'validate: CALLER_UNKNOWN' });
    return new SidecarError('PERMISSION_DENIED', 'the configuration lets nobody validate over loopback', { reason: 'CALLER_UNKNOWN' });
  }

  #rejected(why: 'limit' | 'malformed' | 'unauthorised'): void {
    this.#options.telemetry.counter('sidegate_calls_rejected_total', { why }).add();
  }

  /** Made when first asked for: a hit needs none. */
  #signalOf(response: ServerResponse): () => AbortSignal {
    let left: AbortController | undefined;
    return () => {
      if (left) return left.signal;
      const made = new AbortController();
      left = made;
      const deadline = setTimeout(() => made.abort(), this.#options.deadlineMs ?? defaultDeadlineMs);
      response.once('close', () => {
        clearTimeout(deadline);
        made.abort();
      });
      return made.signal;
    };
  }
}

/** When asking again is worth it, as `Retry-After` says it: whole seconds, at least one. */
export function retryAfterSeconds({ retryAfterMs = 1_000 }: Pick<SidecarError, 'retryAfterMs'>): number {
  return Math.max(1, Math.ceil(retryAfterMs / 1_000));
}

const defaultDeadlineMs = 5_000;
const tooManyCalls = { reason: 'TOO_MANY_CALLS', retryAfterMs: 100 } as const;

/** A wait that the caller's own signal has ended is no fault of ours. */
function unplanned(error: unknown): SidecarError {
  const isOver = error instanceof DOMException && (error.name === 'AbortError' || error.name === 'TimeoutError');
  if (isOver) return new SidecarError('DEADLINE_EXCEEDED', 'no answer before the deadline', { reason: 'DEADLINE', cause: error });
  return new SidecarError('INTERNAL', 'something went wrong here', { reason: 'INTERNAL', cause: error });
}
