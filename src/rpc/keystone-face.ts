// Keystone's own API as a face of Validate, for services with an unmodified auth_token: the table from decisions to Keystone's words.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { spliceCatalog } from '../core/catalog-splice.ts';
import type { Demand } from '../core/decision.ts';
import { type ErrorCode, SidecarError } from '../core/errors.ts';
import type { Answer, More } from '../service/question.ts';
import { FaceCaller, type FaceOptions, loopbackHost, type Reply, retryAfterSeconds, startFace } from './face.ts';
import { type HttpListener, leaveBody } from './http-listener.ts';

/** What the face is made of. */
export interface KeystoneFaceOptions extends FaceOptions {
  /** Names of the issuers that are Keystones, at least one: tokens of others do not exist here. */
  readonly issuers: readonly string[];
  /** Off: `?allow_expired` is ignored, as by a Keystone of before 2017; an expired token is 404. */
  readonly allowExpired: boolean;
}

/** As Keystone says them, of 22.0.2. Never with a token in them. */
interface Words {
  readonly title: string;
  readonly message: string;
}

/** Every inactive token, whatever the reason: auth_token makes 401 of a 404, and 503 of all else. */
const inactive: Words = { title: 'Not Found', message: 'Failed to validate token' };
const noToken: Words = { title: 'Not Found', message: 'No token in the request' };
const noSuchPath: Words = {
  title: 'Not Found',
  message: 'The requested URL was not found: this is not Keystone, and only validates tokens.',
};
const noSuchMethod: Words = {
  title: 'Method Not Allowed',
  message: 'The method is not allowed for the requested URL: only GET and HEAD are.',
};

/** No answer. Never 401: it would tell auth_token that its own credential is bad, and it has none. */
const failures: { readonly [code in ErrorCode]: { readonly status: number; readonly title: string } } = {
  INVALID_ARGUMENT: { status: 400, title: 'Bad Request' },
  UNAUTHENTICATED: { status: 403, title: 'Forbidden' },
  PERMISSION_DENIED: { status: 403, title: 'Forbidden' },
  FAILED_PRECONDITION: { status: 503, title: 'Service Unavailable' },
  ALREADY_EXISTS: { status: 503, title: 'Service Unavailable' },
  RESOURCE_EXHAUSTED: { status: 503, title: 'Service Unavailable' },
  UNAVAILABLE: { status: 503, title: 'Service Unavailable' },
  DEADLINE_EXCEEDED: { status: 503, title: 'Service Unavailable' },
  CANCELLED: { status: 503, title: 'Service Unavailable' },
  INTERNAL: { status: 503, title: 'Service Unavailable' },
};

const open = Buffer.from('{"token": ');
const close = Buffer.from('}');
/** As oslo.utils' bool_from_string. */
const trueWords: ReadonlySet<string> = new Set(['1', 't', 'true', 'on', 'y', 'yes']);

/**
 * Serves `GET` and `HEAD /v3/auth/tokens` (X-Subject-Token; `?nocatalog`, `?allow_expired`, OpenStack-Identity-Access-Rules) and the
 * documents of discovery, until `signal` aborts. The body of an active token is Keystone's own, byte for byte. X-Auth-Token is not
 * looked at: who reaches the loopback may ask, as far as the configuration's `callers` lets it. The token of X-Subject-Token comes
 * back in the header of that name and nowhere else.
 * Throws as startHttpListener, and INVALID_ARGUMENT / NO_KEYSTONE without issuers: an empty list would mean all of them.
 * Cost of a hit: node:http's of a request, and with a catalog one copy of the body; without one none is made.
 * Follows: Keystone's api/auth.py and api/discovery.py.
 */
export async function startKeystoneFace(options: KeystoneFaceOptions, signal: AbortSignal): Promise<HttpListener> {
  if (options.issuers.length === 0) {
    throw new SidecarError('INVALID_ARGUMENT', 'listen.keystone: no issuer is a Keystone', { reason: 'NO_KEYSTONE' });
  }
  const face = new KeystoneFace(options);
  return startFace('keystone', (request, response) => face.reply(request, response), options, signal);
}

class KeystoneFace {
  readonly #caller: FaceCaller;
  readonly #allowExpired: boolean;
  readonly #demand: Demand;
  readonly #demandOfEnforcers: Demand;

  constructor(options: KeystoneFaceOptions) {
    this.#caller = new FaceCaller(options);
    this.#allowExpired = options.allowExpired;
    this.#demand = { anyOfIssuers: options.issuers };
    this.#demandOfEnforcers = { ...this.#demand, access: 'enforced-by-caller' };
  }

  reply(request: IncomingMessage, response: ServerResponse): Reply | Promise<Reply> {
    leaveBody(request, response);
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    const path = pathOf(mark < 0 ? url : url.slice(0, mark));
    if (path !== '/v3/auth/tokens' && path !== '/v3' && path !== '/') return refusal(404, noSuchPath);
    if (request.method !== 'GET' && request.method !== 'HEAD') return refusal(405, noSuchMethod, ['Allow', 'GET, HEAD']);
    if (path !== '/v3/auth/tokens') return discovery(path, request);
    return this.#validate(request, mark < 0 ? '' : url.slice(mark + 1), response);
  }

  #validate({ headers }: IncomingMessage, query: string, response: ServerResponse): Reply | Promise<Reply> {
    const raw = headers['x-subject-token'];
    // Sent twice they are one string with a comma, as for Keystone: no token at all.
    if (typeof raw !== 'string' || raw === '') return refusal(404, noToken);
    const rules = headers['openstack-identity-access-rules'];
    const demand = rules !== undefined && Number(rules) >= 1 ? this.#demandOfEnforcers : this.#demand;
    const outcome = this.#caller.ask({ raw, demand, more: this.#moreOf(query) }, response);
    return outcome instanceof Promise ? outcome.then((landed) => replyTo(raw, landed)) : replyTo(raw, outcome);
  }

  #moreOf(query: string): More {
    if (query === '') return wants.catalog;
    if (query === 'nocatalog') return wants.nothing;
    const flags = new URLSearchParams(query);
    const catalog = !flags.has('nocatalog');
    if (!this.#allowExpired || !trueWords.has((flags.get('allow_expired') ?? '').trim().toLowerCase())) {
      return catalog ? wants.catalog : wants.nothing;
    }
    return catalog ? wants.expiredWithCatalog : wants.expired;
  }
}

const wants = {
  nothing: {},
  catalog: { catalog: true },
  expired: { allowExpired: true },
  expiredWithCatalog: { allowExpired: true, catalog: true },
} as const satisfies Record<string, More>;

/** Without a slash at its end, which Keystone does not mind either. */
function pathOf(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

function replyTo(raw: string, outcome: Answer | SidecarError): Reply {
  if (outcome instanceof SidecarError) return failure(outcome);
  const { decision, known, catalog } = outcome;
  if (!decision.active || !known) return refusal(404, inactive);
  const { claims, catalogAt } = known;
  const token = catalog !== undefined && catalog.length > 0 ? spliceCatalog(claims, catalogAt, catalog) : claims;
  return reply(200, [open, token, close], ['X-Subject-Token', raw]);
}

function failure(error: SidecarError): Reply {
  if (error.reason === 'TOKEN_MISSING') return refusal(404, noToken);
  const { status, title } = failures[error.code];
  const more = status === 503 ? ['Retry-After', String(retryAfterSeconds(error))] : [];
  return refusal(status, { title, message: error.message }, more);
}

function refusal(code: number, { title, message }: Words, more: readonly string[] = []): Reply {
  return reply(code, json({ error: { code, message, title } }), more);
}

function reply(status: number, body: Reply['body'], more: readonly string[]): Reply {
  const headers = ['Content-Type', 'application/json', 'Vary', 'X-Auth-Token', 'x-openstack-request-id', `req-${randomUUID()}`, ...more];
  return { status, headers, body };
}

function json(value: object): Reply['body'] {
  return [Buffer.from(JSON.stringify(value))];
}

function discovery(path: string, { headers, socket }: IncomingMessage): Reply {
  const { localAddress = '127.0.0.1', localPort } = socket;
  const bound = `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
  const href = `http://${loopbackHost.test(headers.host ?? '') ? headers.host : bound}/v3/`;
  const version = {
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: [{ rel: 'self', href }],
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
  };
  if (path === '/v3') return reply(200, json({ version }), []);
  return reply(300, json({ versions: { values: [version] } }), ['Location', href]);
}
