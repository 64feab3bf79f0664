// The HTTP face of the embedded issuer: discovery, the key set and introspection.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { JWK } from 'jose';

/** Who may introspect, by HTTP Basic. It guards toys. */
export const devClient = { id: 'dev', secret: 'dev-secret' } as const;

/** The largest body of a request, in bytes. */
export const maxBodyBytes = 262_144;

/** What the endpoints tell. */
export interface IssuerContents {
  /** The issuer's base, without a slash at the end. */
  readonly url: string;
  /** The public keys of now. */
  keys(): readonly JWK[];
  /** The claims of a token that is active now. */
  claimsOf(token: string): Readonly<Record<string, unknown>> | undefined;
}

/**
 * Answers one request: GET of discovery (OpenID Connect and RFC 8414) and /jwks, POST /introspect (RFC 7662, client_secret_basic).
 * Rejects when the connection breaks.
 */
export async function answerRequest(request: IncomingMessage, response: ServerResponse, contents: IssuerContents): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0];
  if (path === '/introspect') {
    return request.method === 'POST' ? introspect(request, response, contents) : send(response, 405, { error: 'invalid_request' });
  }
  const document = documentAt(path, contents);
  if (document === undefined) return send(response, 404, { error: 'not_found' });
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  return isRead ? send(response, 200, document) : send(response, 405, { error: 'invalid_request' });
}

function documentAt(path: string | undefined, { url, keys }: IssuerContents): object | undefined {
  switch (path) {
    case '/.well-known/openid-configuration':
    case '/.well-known/oauth-authorization-server':
      return metadataOf(url);
    case '/jwks':
      return { keys: keys() };
    default:
      return undefined;
  }
}

// OpenID Connect Discovery 1.0 §3 and RFC 8414 §2, as far as there is something to say.
function metadataOf(url: string): object {
  return {
    issuer: url,
    jwks_uri: `${url}/jwks`,
    introspection_endpoint: `${url}/introspect`,
    introspection_endpoint_auth_methods_supported: ['client_secret_basic'],
    response_types_supported: [],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  };
}

// RFC 7662 §2.
async function introspect(request: IncomingMessage, response: ServerResponse, { claimsOf }: IssuerContents): Promise<void> {
  if (!isClient(request.headers.authorization)) {
    response.setHeader('WWW-Authenticate', 'Basic realm="sidegate dev"');
    return send(response, 401, { error: 'invalid_client' });
  }
  const body = await readBody(request);
  if (body === undefined) {
    response.setHeader('Connection', 'close');
    return send(response, 413, { error: 'invalid_request' });
  }
  const isForm = /^application\/x-www-form-urlencoded\s*(;|$)/i.test(request.headers['content-type'] ?? '');
  const token = isForm ? new URLSearchParams(body).get('token') : null;
  if (!token) return send(response, 400, { error: 'invalid_request' });
  const claims = claimsOf(token);
  return send(response, 200, claims === undefined ? { active: false } : { active: true, token_type: 'Bearer', ...claims });
}

function send(response: ServerResponse, status: number, body: object): void {
  const json = JSON.stringify(body);
  if (status === 405) response.setHeader('Allow', 'GET, HEAD, POST');
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(json),
    'Cache-Control': 'no-store',
  });
  response.end(json);
}

// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
function isClient(authorization: string | undefined): boolean {
  const basic = /^Basic +([A-Za-z0-9+/]+=*)$/i.exec(authorization ?? '')?.[1] ?? '';
  const [, id = '', secret = ''] = /^([^:]*):(.*)$/s.exec(Buffer.from(basic, 'base64').toString()) ?? [];
  return isSame(formDecoded(id), devClient.id) && isSame(formDecoded(secret), devClient.secret);
}

function formDecoded(text: string): string {
  return new URLSearchParams(`x=${text.replaceAll('&', '%26')}`).get('x') ?? '';
}

// Of the digests, as these are of one length.
function isSame(given: string, wanted: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

// Undefined: it is larger than allowed.
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  // The stream must outlive the loop: its socket has still to bring the 413.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxBodyBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
