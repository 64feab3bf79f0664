// RFC 7662 as a face of Validate, for resource servers of the OAuth world: the table from decisions to the words of introspection.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorCode, SidecarError } from '../core/errors.ts';
import type { Token } from '../core/token.ts';
import type { Known } from '../service/known.ts';
import type { Answer } from '../service/question.ts';
import { besideTokenBytes, FaceCaller, type FaceOptions, type Reply, retryAfterSeconds, startFace } from './face.ts';
import { type HttpListener, leaveBody } from './http-listener.ts';

/** RFC 7662 §2.2: nothing else is said of a token that is not active, whatever the reason. */
const inactive = Buffer.from('{"active":false}');

/** No answer, and never "inactive". */
const failures: { readonly [code in ErrorCode]: { readonly status: number; readonly error: string } } = {
  INVALID_ARGUMENT: { status: 400, error: 'invalid_request' },
  UNAUTHENTICATED: { status: 403, error: 'access_denied' },
  PERMISSION_DENIED: { status: 403, error: 'access_denied' },
  FAILED_PRECONDITION: { status: 503, error: 'temporarily_unavailable' },
  ALREADY_EXISTS: { status: 503, error: 'temporarily_unavailable' },
  RESOURCE_EXHAUSTED: { status: 503, error: 'temporarily_unavailable' },
  UNAVAILABLE: { status: 503, error: 'temporarily_unavailable' },
  DEADLINE_EXCEEDED: { status: 503, error: 'temporarily_unavailable' },
  CANCELLED: { status: 503, error: 'temporarily_unavailable' },
  INTERNAL: { status: 503, error: 'temporarily_unavailable' },
};

/**
 * Serves `POST /introspect` until `signal` aborts: a form with `token`; `token_type_hint` and every other parameter are ignored, and so
 * is `Authorization`: who reaches the loopback may ask, as far as the configuration's `callers` lets it.
 * Tokens that are bound to a certificate, and those with access rules, are inactive here: nobody can show the one or name the other.
 * Throws as startHttpListener. Cost of a hit: node:http's of a request, and the token decoded and written as JSON.
 * Follows: RFC 7662 §2, RFC 6749 §5.2.
 */
export function startIntrospectionFace(options: FaceOptions, signal: AbortSignal): Promise<HttpListener> {
  const face = new IntrospectionFace(options);
  return startFace('introspection', (request, response) => face.reply(request, response), options, signal);
}

class IntrospectionFace {
  readonly #caller: FaceCaller;
  readonly #bodyBytes: number;

  constructor(options: FaceOptions) {
    this.#caller = new FaceCaller(options);
    this.#bodyBytes = options.tokenSizeBytes + besideTokenBytes;
  }

  async reply(request: IncomingMessage, response: ServerResponse): Promise<Reply> {
    const wrong = wrongIn(request);
    if (wrong) {
      leaveBody(request, response);
      return wrong;
    }
    const body = await bodyOf(request, this.#bodyBytes);
    if (body === undefined) {
      leaveBody(request, response);
      return refusal(413, 'invalid_request', `a request has at most ${this.#bodyBytes} bytes`);
    }
    const [raw, ...more] = new URLSearchParams(body.toString('utf8')).getAll('token');
    if (!raw || more.length > 0) return refusal(400, 'invalid_request', 'exactly one token must be in the request');
    const outcome = await this.#caller.ask({ raw }, response);
    return outcome instanceof SidecarError ? failure(outcome) : reply(200, wordsOf(outcome), []);
  }
}

function wordsOf({ decision, known }: Answer): Buffer {
  if (!decision.active || !known) return inactive;
  const token = known.token();
  // Only a Keystone's tokens have catalogs.
  const said = known.issuer.hasCatalogs ? keystoneMembers(token) : claimMembers(token, known);
  return Buffer.from(JSON.stringify({ ...said, active: true, token_type: 'Bearer' }));
}

/** RFC 7662 §2.2: what the token's own claims say, and over it what was understood of them. */
function claimMembers(token: Token, { claims }: Known): object {
  const own: Readonly<Record<string, unknown>> = claims.length === 0 ? {} : JSON.parse(Buffer.from(claims).toString('utf8'));
  return {
    ...own,
    ...commonMembers(token),
    iss: own['iss'] ?? token.issuer,
    ...(token.scopes.length > 0 && { scope: token.scopes.join(' ') }),
    ...(token.audiences.length > 0 && { aud: token.audiences.length === 1 ? token.audiences[0] : token.audiences }),
    ...(token.tokenId !== undefined && { jti: token.tokenId }),
  };
}

/**
 * A Keystone token has no scopes and no audience. `client_id` is the application credential or the OAuth1 consumer that it was got
 * with, `jti` its audit id; the rest is in `openstack`, in the words of Keystone.
 */
function keystoneMembers(token: Token): object {
  const { scope, trust, applicationCredential, auditIds } = token;
  const clientId = token.clientId ?? applicationCredential?.id;
  return {
    ...commonMembers(token),
    iss: token.issuer,
    ...(clientId !== undefined && { client_id: clientId }),
    ...(auditIds[0] !== undefined && { jti: auditIds[0] }),
    openstack: {
      user_domain: token.user?.domain,
      ...(scope.kind === 'project' && {
        project: { id: scope.project.id, name: scope.project.name, domain: scope.project.domain },
        is_admin_project: token.isAdminProject,
      }),
      ...(scope.kind === 'domain' && { domain: scope.domain }),
      ...(scope.kind === 'system' && { system: { all: true } }),
      roles: token.roles.map((role) => role.name),
      methods: token.methods,
      audit_ids: auditIds,
      ...(applicationCredential && {
        application_credential: {
          id: applicationCredential.id,
          name: applicationCredential.name,
          restricted: applicationCredential.restricted,
        },
      }),
      ...(trust && {
        trust: {
          id: trust.id,
          impersonation: trust.impersonation,
          trustor_user: { id: trust.trustorUserId },
          trustee_user: { id: trust.trusteeUserId },
        },
      }),
    },
  };
}

function commonMembers({ user, clientId, expiresAtMs, issuedAtMs }: Token): object {
  return {
    ...(user && { sub: user.id }),
    ...(user?.name !== undefined && { username: user.name }),
    ...(clientId !== undefined && { client_id: clientId }),
    ...(expiresAtMs !== undefined && { exp: expiresAtMs / 1_000 }),
    ...(issuedAtMs !== undefined && { iat: issuedAtMs / 1_000 }),
  };
}

function wrongIn({ url = '', method, headers }: IncomingMessage): Reply | undefined {
  if (url.split('?', 1)[0] !== '/introspect') return refusal(404, 'not_found', 'only POST /introspect is served');
  if (method !== 'POST') return refusal(405, 'invalid_request', 'only POST is allowed', ['Allow', 'POST']);
  if (/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(headers['content-type'] ?? '')) return undefined;
  return refusal(400, 'invalid_request', 'the body must be application/x-www-form-urlencoded');
}

/** Undefined where it is longer. Rejects where the client leaves before it is whole. */
async function bodyOf(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop early must not end the connection: the reply has to go out on it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > limitBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

function failure({ code, message, retryAfterMs }: SidecarError): Reply {
  const { status, error } = failures[code];
  return refusal(status, error, message, status === 503 ? ['Retry-After', String(retryAfterSeconds({ retryAfterMs }))] : []);
}

function refusal(status: number, error: string, description: string, more: readonly string[] = []): Reply {
  return reply(status, Buffer.from(JSON.stringify({ error, error_description: description })), more);
}

function reply(status: number, body: Uint8Array, more: readonly string[]): Reply {
  return { status, headers: ['Content-Type', 'application/json', 'Cache-Control', 'no-store', ...more], body: [body] };
}
