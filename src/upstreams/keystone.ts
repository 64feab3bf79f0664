// Keystone v3 as an authority: GET /v3/auth/tokens, and what each of its answers means (S9).

import * as z from 'zod';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Facts } from '../core/token.ts';
import type { Reading } from '../ports.ts';
import type { ConnectedUpstream, UpstreamDeps } from './connected-upstream.ts';
import { createHttp, type Deadline, defaultRetryAfterMs, type HttpReply } from './http.ts';
import { createKeystoneSession, type KeystoneLogin, type OwnToken } from './keystone-login.ts';
import { readKeystoneToken } from './keystone-token.ts';
import { createReachability } from './reachability.ts';

/** One Keystone. */
export interface KeystoneOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  /** Ends in `/v3`. */
  readonly url: string;
  readonly login: KeystoneLogin;
  readonly caFile?: string;
  readonly serverName?: string;
  /** For one question, with whatever login it needs. */
  readonly deadlineMs: number;
  /** Of one request, at most. */
  readonly attempts: number;
  readonly maxBodyBytes: number;
}

const errorSchema = z.looseObject({ error: z.looseObject({ code: z.number(), message: z.string().optional() }) });

// What fits a header. Everything else is MALFORMED long before it comes here.
const headerSafe = /^[\x21-\x7e]+$/;
const policyName = /\bidentity:\w+/;
const headerLost = 'No token in the request';

/**
 * Keystone by `GET {url}/auth/tokens?nocatalog`. `ask` throws INVALID_ARGUMENT for a token that no header can carry, and
 * UNAVAILABLE where Keystone gave no answer about it: KEYSTONE_UNREACHABLE, KEYSTONE_TIMEOUT, KEYSTONE_UNAVAILABLE, BAD_ANSWER,
 * OUR_CREDENTIAL_REFUSED, OUR_CREDENTIAL_FORBIDDEN, OUR_CREDENTIAL_UNREADABLE.
 * Cost: one request; with the login or renewal at most four.
 */
export function createKeystone(options: KeystoneOptions, deps: UpstreamDeps): ConnectedUpstream {
  const { name } = options;
  const url = options.url.replace(/\/+$/, '');
  const http = createHttp({ ...options, authority: `Keystone "${name}"`, reasonPrefix: 'KEYSTONE' }, deps);
  const session = createKeystoneSession({ name, url, login: options.login }, { ...deps, http });
  const reachability = createReachability(name, deps);
  // Until Keystone has let this credential validate a token of somebody else, a 403 is more likely about our roles.
  let hasValidatedForeign = false;

  async function answer(raw: string, deadline: Deadline): Promise<Reading> {
    let own = await session.current(deadline);
    let reply = await get(raw, own, deadline);
    if (reply.status === 401) {
      session.refused(own);
      own = await session.current(deadline);
      reply = await get(raw, own, deadline);
      if (reply.status === 401) throw session.refusedAgain(own);
    }
    // A proxy's 502 proves nothing about our token.
    if (reply.status < 500) session.accepted(own);
    const reading = meaning(reply, own);
    return reply.clockOffsetMs === undefined ? reading : { ...reading, clockOffsetMs: reply.clockOffsetMs };
  }

  function get(raw: string, own: OwnToken, deadline: Deadline): Promise<HttpReply> {
    const headers = {
      accept: 'application/json',
      'x-auth-token': own.raw,
      'x-subject-token': raw,
      // Without it Keystone answers 404 for application credentials that have access rules.
      'openstack-identity-access-rules': '1.0',
    };
    // GET, not HEAD: Keystone's default policy lets the role `service` do only this.
    return http.send({ method: 'GET', url: `${url}/auth/tokens?nocatalog`, headers, repeatable: true }, deadline);
  }

  function meaning(reply: HttpReply, own: OwnToken): Reading {
    if (reply.status === 200) {
      const reading = readKeystoneToken(parseStrictJson(reply.body), name);
      if (reading.kind === 'facts' && isForeign(reading.facts, own.userId)) hasValidatedForeign = true;
      return reading;
    }
    const said = errorSchema.safeParse(parseStrictJson(reply.body));
    // Only Keystone's own words count. A 404 or 403 of a proxy, or of whatever answers at a wrong address, is not about the token.
    if (said.success && said.data.error.code === reply.status) {
      const { message = '' } = said.data.error;
      if (reply.status === 404 && !message.startsWith(headerLost)) return { kind: 'inactive', reason: 'REFUSED' };
      if (reply.status === 403) {
        if (hasValidatedForeign && !policyName.test(message)) return { kind: 'inactive', reason: 'REFUSED' };
        throw forbidden(name, reply);
      }
    }
    throw noAnswer(name, reply);
  }

  return {
    async ask(raw, signal) {
      if (!headerSafe.test(raw)) {
        throw new SidecarError('INVALID_ARGUMENT', 'a token for Keystone is visible ASCII', { reason: 'TOKEN_NOT_SENDABLE' });
      }
      try {
        const reading = await answer(raw, http.deadline(signal));
        reachability.answered();
        return reading;
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

// Any token may validate itself and the others of its user: only a stranger's proves our roles.
function isForeign({ token }: Facts, ownUserId: string): boolean {
  return ![token.user?.id, token.trust?.trustorUserId, token.trust?.trusteeUserId].includes(ownUserId);
}

function forbidden(name: string, reply: HttpReply): SidecarError {
  return new SidecarError(
    'UNAVAILABLE',
    `Keystone "${name}" does not let OUR credential validate tokens (403): it needs the role "service"`,
    {
      reason: 'OUR_CREDENTIAL_FORBIDDEN',
      retryAfterMs: reply.retryAfterMs ?? defaultRetryAfterMs,
    },
  );
}

function noAnswer(name: string, reply: HttpReply): SidecarError {
  const busy = reply.status >= 500 || reply.status === 429;
  return new SidecarError('UNAVAILABLE', `Keystone "${name}" gave no answer about the token (status ${reply.status})`, {
    reason: busy ? 'KEYSTONE_UNAVAILABLE' : 'BAD_ANSWER',
    retryAfterMs: reply.retryAfterMs ?? defaultRetryAfterMs,
  });
}
