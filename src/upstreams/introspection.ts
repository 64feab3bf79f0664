// RFC 7662 token introspection as an authority.

import * as z from 'zod';
import { factsFromClaims } from '../core/claims.ts';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Facts } from '../core/token.ts';
import type { Reading } from '../ports.ts';
import type { ConnectedUpstream, UpstreamDeps } from './connected-upstream.ts';
import { createCooldown } from './cooldown.ts';
import { createHttp, type Deadline, defaultRetryAfterMs, type HttpReply } from './http.ts';
import { createReachability } from './reachability.ts';

/** How we authenticate: `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1). The secret is read again after a 401. */
export interface IntrospectionAuth {
  readonly kind: 'basic' | 'post';
  readonly clientId: string;
  readonly secret: () => Promise<string>;
}

/** One introspection endpoint. */
export interface IntrospectionOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  readonly url: string;
  readonly auth: IntrospectionAuth;
  readonly caFile?: string;
  readonly serverName?: string;
  /** For one question. */
  readonly deadlineMs: number;
  /** Of one request, at most. */
  readonly attempts: number;
  readonly maxBodyBytes: number;
}

const claimsSchema = z.record(z.string(), z.unknown());

/** Token types whose holder must prove more than possession (RFC 9449, older drafts), which nobody can do through us. */
const provenTypes: ReadonlySet<string> = new Set(['dpop', 'pop', 'mac']);

/**
 * An authority by `POST {url}` with the token in the form. An answer is status 200 with a JSON object whose `active` is a boolean;
 * for everything else `ask` throws UNAVAILABLE: INTROSPECTION_UNREACHABLE, INTROSPECTION_TIMEOUT, INTROSPECTION_UNAVAILABLE,
 * BAD_ANSWER, OUR_CREDENTIAL_REFUSED, OUR_CREDENTIAL_FORBIDDEN, OUR_CREDENTIAL_UNREADABLE.
 * Cost: one request; after a 401 at most two. Follows RFC 7662 §2, S2.
 */
export function createIntrospection(options: IntrospectionOptions, deps: UpstreamDeps): ConnectedUpstream {
  const { name, url, auth } = options;
  const http = createHttp({ ...options, authority: `the introspection of "${name}"`, reasonPrefix: 'INTROSPECTION' }, deps);
  const reachability = createReachability(name, deps);
  const cooldown = createCooldown(deps.clock);
  let secret: string | undefined;
  let reading: Promise<string> | undefined;

  async function answer(raw: string, deadline: Deadline): Promise<Reading> {
    const tooEarly = cooldown.error();
    if (tooEarly !== undefined) throw tooEarly;
    const used = secret ?? (await http.within(readSecret(), deadline));
    let reply = await post(raw, used, deadline);
    if (refusesUs(reply)) {
      // As many calls as there are come here when the secret is replaced. Whoever finds a newer one in use takes that; the
      // others share one reading of the file.
      const now = secret === used || secret === undefined ? await http.within(readSecret(), deadline) : secret;
      if (now !== used) reply = await post(raw, now, deadline);
      if (refusesUs(reply)) throw refused(now);
    }
    if (reply.status === 200) cooldown.over();
    const found = meaning(reply, name);
    return reply.clockOffsetMs === undefined ? found : { ...found, clockOffsetMs: reply.clockOffsetMs };
  }

  function readSecret(): Promise<string> {
    reading ??= auth
      .secret()
      .then(
        (read) => {
          secret = read;
          return read;
        },
        (cause: unknown) => {
          throw noAnswer('OUR_CREDENTIAL_UNREADABLE', `our secret for the introspection of "${name}" cannot be read`, { cause });
        },
      )
      .finally(() => {
        reading = undefined;
      });
    return reading;
  }

  function refused(used: string): SidecarError {
    const error = noAnswer('OUR_CREDENTIAL_REFUSED', `the introspection of "${name}" refuses OUR credential`, {});
    // Only the first of many with this secret: otherwise a hundred calls at once would double the wait a hundred times.
    if (secret === used && cooldown.error() === undefined) cooldown.failed(error, 'refused');
    return error;
  }

  function post(raw: string, used: string, deadline: Deadline): Promise<HttpReply> {
    const form = new URLSearchParams({ token: raw, token_type_hint: 'access_token' });
    const headers: Record<string, string> = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
    if (auth.kind === 'post') {
      form.set('client_id', auth.clientId);
      form.set('client_secret', used);
    } else {
      const pair = `${formEncoded(auth.clientId)}:${formEncoded(used)}`;
      headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
    }
    // A question, though a POST: asking twice does no harm.
    return http.send({ method: 'POST', url, headers, body: form.toString(), repeatable: true }, deadline);
  }

  return {
    async ask(raw, signal) {
      try {
        const found = await answer(raw, http.deadline(signal));
        reachability.answered();
        return found;
      } catch (cause) {
        // Seen for the health, and thrown on: it is the caller's.
        reachability.failed(cause);
        throw cause;
      }
    },
    health: () => reachability.health(),
    close: () => http.close(),
  };
}

function meaning(reply: HttpReply, name: string): Reading {
  if (reply.status !== 200) throw statusError(name, reply);
  const parsed = claimsSchema.safeParse(parseStrictJson(reply.body));
  const claims = parsed.success ? parsed.data : {};
  const { active, token_type: type } = claims;
  if (active === false) return { kind: 'inactive', reason: 'REFUSED' };
  // "true" is not true: what does not keep to the protocol has said nothing.
  if (active !== true) throw noAnswer('BAD_ANSWER', `the introspection of "${name}" did not say whether the token is active`, {});
  if (typeof type === 'string' && provenTypes.has(type.toLowerCase())) return { kind: 'inactive', reason: 'WRONG_CERTIFICATE' };
  const read = factsFromClaims(claims, { issuer: name, format: 'opaque', complete: false });
  if (read.kind === 'facts') return { kind: 'facts', facts: withUnknownIdentity(read.facts), provenance: 'authority' };
  if (read.reason !== 'MALFORMED') return { kind: 'inactive', reason: read.reason };
  throw noAnswer('BAD_ANSWER', `the introspection of "${name}" sent a claim that cannot be read: ${read.claim}`, {});
}

// The token may well have a `jti` that the authority keeps to itself: a revocation by token id could be about it.
function withUnknownIdentity(facts: Facts): Facts {
  if (facts.identity !== undefined || facts.unknown.includes('identity')) return facts;
  return { ...facts, unknown: [...facts.unknown, 'identity'] };
}

// Some servers keep to RFC 6749 §5.2 and answer a bad client with 400.
function refusesUs(reply: HttpReply): boolean {
  if (reply.status === 401) return true;
  if (reply.status !== 400) return false;
  const parsed = claimsSchema.safeParse(parseStrictJson(reply.body));
  return parsed.success && parsed.data['error'] === 'invalid_client';
}

function statusError(name: string, { status, retryAfterMs }: HttpReply): SidecarError {
  if (status === 403)
    return noAnswer('OUR_CREDENTIAL_FORBIDDEN', `"${name}" does not let OUR credential introspect (403)`, { retryAfterMs });
  const busy = status >= 500 || status === 429;
  const reason = busy ? 'INTROSPECTION_UNAVAILABLE' : 'BAD_ANSWER';
  return noAnswer(reason, `the introspection of "${name}" gave no answer about the token (status ${status})`, { retryAfterMs });
}

function noAnswer(
  reason: string,
  message: string,
  { retryAfterMs = defaultRetryAfterMs, cause }: { readonly retryAfterMs?: number | undefined; readonly cause?: unknown },
): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, retryAfterMs, cause });
}

// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined, so that either may hold a colon.
function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1);
}
