// RFC 7662 token introspection as an authority.

import * as z from 'zod';
import { factsFromClaims } from '../core/claims.ts';
import type { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Facts } from '../core/token.ts';
import type { Reading } from '../ports.ts';
import { type ClientAuth, createFormEndpoint, noAnswer } from './client-auth.ts';
import type { ConnectedUpstream, UpstreamDeps } from './connected-upstream.ts';
import { createHttp, type Deadline, type HttpReply } from './http.ts';
import { createReachability } from './reachability.ts';
import { createRevocation } from './revocation.ts';

/** One introspection endpoint. */
export interface IntrospectionOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  readonly url: string;
  readonly auth: ClientAuth;
  /** Where it is told of revocations (RFC 7009); absent: it is not. All else is as here. */
  readonly revocation?: { readonly url: string; readonly auth: ClientAuth };
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
  const what = `the introspection of "${name}"`;
  const http = createHttp({ ...options, authority: what, reasonPrefix: 'INTROSPECTION' }, deps);
  const endpoint = createFormEndpoint({ what, url, auth }, { http, clock: deps.clock });
  const revocation = options.revocation && createRevocation({ ...options, ...options.revocation }, deps);
  const reachability = createReachability(name, deps);

  async function answer(raw: string, deadline: Deadline): Promise<Reading> {
    // A question, though a POST: asking twice does no harm.
    const reply = await endpoint.post({ token: raw, token_type_hint: 'access_token' }, deadline);
    const found = meaning(reply, name);
    return reply.clockOffsetMs === undefined ? found : { ...found, clockOffsetMs: reply.clockOffsetMs };
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
    ...(revocation && { revoke: revocation.revoke }),
    health: () => reachability.health(),
    close: async () => {
      await Promise.all([http.close(), revocation?.close()]);
    },
  };
}

function meaning(reply: HttpReply, name: string): Reading {
  if (reply.status !== 200) throw statusError(name, reply);
  const parsed = claimsSchema.safeParse(parseStrictJson(reply.body));
  const claims = parsed.success ? parsed.data : {};
  const { active, token_type: type } = claims;
  if (active === false) return { kind: 'inactive', reason: 'REFUSED' };
  // "true" is not true: what does not keep to the protocol has said nothing.
  if (active !== true) throw noAnswer('BAD_ANSWER', `the introspection of "${name}" did not say whether the token is active`);
  if (typeof type === 'string' && provenTypes.has(type.toLowerCase())) return { kind: 'inactive', reason: 'WRONG_CERTIFICATE' };
  const read = factsFromClaims(claims, { issuer: name, format: 'opaque', complete: false });
  if (read.kind === 'facts') return { kind: 'facts', facts: withUnknownIdentity(read.facts), provenance: 'authority' };
  if (read.reason !== 'MALFORMED') return { kind: 'inactive', reason: read.reason };
  throw noAnswer('BAD_ANSWER', `the introspection of "${name}" sent a claim that cannot be read: ${read.claim}`);
}

// The token may well have a `jti` that the authority keeps to itself: a revocation by token id could be about it.
function withUnknownIdentity(facts: Facts): Facts {
  if (facts.identity !== undefined || facts.unknown.includes('identity')) return facts;
  return { ...facts, unknown: [...facts.unknown, 'identity'] };
}

function statusError(name: string, { status, retryAfterMs }: HttpReply): SidecarError {
  if (status === 403)
    return noAnswer('OUR_CREDENTIAL_FORBIDDEN', `"${name}" does not let OUR credential introspect (403)`, { retryAfterMs });
  const busy = status >= 500 || status === 429;
  const reason = busy ? 'INTROSPECTION_UNAVAILABLE' : 'BAD_ANSWER';
  return noAnswer(reason, `the introspection of "${name}" gave no answer about the token (status ${status})`, { retryAfterMs });
}
