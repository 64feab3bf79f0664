// RFC 7009 token revocation: telling an authority that a token is to be dead.

import type { SidecarError } from '../core/errors.ts';
import type { Upstream } from '../ports.ts';
import { type ClientAuth, createFormEndpoint, noAnswer, oauthError } from './client-auth.ts';
import type { UpstreamDeps } from './connected-upstream.ts';
import { createHttp, type HttpReply } from './http.ts';

/** One revocation endpoint. */
export interface RevocationOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  readonly url: string;
  readonly auth: ClientAuth;
  readonly caFile?: string;
  readonly serverName?: string;
  /** For one token. */
  readonly deadlineMs: number;
  /** Of one request, at most. */
  readonly attempts: number;
  readonly maxBodyBytes: number;
}

/** Tells one authority. */
export interface Revocation {
  /**
   * `accepted`: the authority says that the token is dead there, which it also says of one that it does not know (§2.2).
   * `rejected`: it revokes no such tokens (`unsupported_token_type`), or does not take the request (`invalid_request`).
   * Throws UNAVAILABLE where it has not said: REVOCATION_UNREACHABLE, REVOCATION_TIMEOUT, REVOCATION_UNAVAILABLE, BAD_ANSWER,
   * OUR_CREDENTIAL_REFUSED, OUR_CREDENTIAL_FORBIDDEN, OUR_CREDENTIAL_UNREADABLE; DEADLINE_EXCEEDED or CANCELLED by `signal`.
   */
  revoke(raw: string, signal: AbortSignal): ReturnType<NonNullable<Upstream['revoke']>>;
  /** Ends its connections. */
  close(): Promise<void>;
}

const rejections: ReadonlySet<string | undefined> = new Set(['unsupported_token_type', 'invalid_request']);

/**
 * An authority by `POST {url}` with the token in the form. Cost: one request; after a refusal of our credential at most two.
 * Follows RFC 7009 §2.
 */
export function createRevocation(options: RevocationOptions, deps: Pick<UpstreamDeps, 'clock' | 'random'>): Revocation {
  const what = `the revocation of "${options.name}"`;
  const http = createHttp({ ...options, authority: what, reasonPrefix: 'REVOCATION' }, deps);
  const endpoint = createFormEndpoint({ what, url: options.url, auth: options.auth }, { http, clock: deps.clock });
  return {
    async revoke(raw, signal) {
      const reply = await endpoint.post({ token: raw, token_type_hint: 'access_token' }, http.deadline(signal));
      // §2.2 knows only 200, with a body that means nothing; 204 says that there is none.
      if (reply.status === 200 || reply.status === 204) return 'accepted';
      if (reply.status === 400 && rejections.has(oauthError(reply))) return 'rejected';
      throw unsaid(options.name, reply);
    },
    close: () => http.close(),
  };
}

function unsaid(name: string, reply: HttpReply): SidecarError {
  const { status, retryAfterMs } = reply;
  if (status === 403 || (status === 400 && oauthError(reply) === 'unauthorized_client')) {
    return noAnswer('OUR_CREDENTIAL_FORBIDDEN', `"${name}" does not let OUR credential revoke (${status})`, { retryAfterMs });
  }
  const reason = status >= 500 || status === 429 ? 'REVOCATION_UNAVAILABLE' : 'BAD_ANSWER';
  return noAnswer(reason, `the revocation of "${name}" has not said that the token is dead (status ${status})`, { retryAfterMs });
}
