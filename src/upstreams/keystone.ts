// Keystone v3 as an authority: GET and DELETE /v3/auth/tokens, and what each of its answers means (S9).

import { SidecarError } from '../core/errors.ts';
import type { Facts } from '../core/token.ts';
import { readKeystoneToken } from '../keystone/token-body.ts';
import type { Reading, ReadOptions, Upstream } from '../ports.ts';
import type { ConnectedUpstream, UpstreamDeps } from './connected-upstream.ts';
import { createHttp, type Deadline, defaultRetryAfterMs, type HttpReply } from './http.ts';
import { createKeystoneLists, type KeystoneLists } from './keystone-lists.ts';
import { createKeystoneSession, type KeystoneLogin, type OwnToken } from './keystone-login.ts';
import { keystonesWords, withOurToken } from './keystone-words.ts';
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

// What fits a header. Everything else is MALFORMED long before it comes here.
const headerSafe = /^[\x21-\x7e]+$/;
// Without the second Keystone answers 404 for application credentials that have access rules.
const heads = { accept: 'application/json', 'openstack-identity-access-rules': '1.0' };
const policyName = /\bidentity:\w+/;
const headerLost = 'No token in the request';

// From here on a token is one that headers are too small for somewhere: nginx has 8 kB for one, Apache 8 kB, node 16 kB for all.
const longBytes = 4_000;
// 400: what nginx says of a header that is too long.
const tooLong: ReadonlySet<number> = new Set([400, 413, 414, 431]);

/** Keystone's upstream: it can be told of revocations, and asked what has been revoked there. */
export interface Keystone extends ConnectedUpstream, KeystoneLists {
  /**
   * `DELETE {url}/auth/tokens` with the token as both the subject and the one who asks: a service user may revoke nobody else's.
   * `rejected`, in Keystone's default policy: tokens of impersonating trusts (403) and those with access rules, which live on.
   * Our own credential has no part in it, and `health` tells nothing of it. Throws as `ask`. Cost: one request; where the token
   * is refused a second, whether it is dead.
   */
  revoke(raw: string, signal: AbortSignal): ReturnType<NonNullable<Upstream['revoke']>>;
  /** The token that it asks with, for who has Keystone's keys to hold against it. */
  readonly own: {
    /** As it is now, without asking anybody; undefined: there is none. */
    held(): string | undefined;
    /** Logs in where there is none, and renews it near its end. Throws as `ask`. */
    wanted(signal: AbortSignal): Promise<void>;
  };
}

/**
 * Keystone by `GET {url}/auth/tokens`: with `?nocatalog` unless the catalog is wanted, with `allow_expired=1` only where it is
 * demanded. `ask` throws INVALID_ARGUMENT for a token that no header can carry, and
 * UNAVAILABLE where Keystone gave no answer about it: KEYSTONE_UNREACHABLE, KEYSTONE_TIMEOUT, KEYSTONE_UNAVAILABLE, BAD_ANSWER,
 * OUR_CREDENTIAL_REFUSED, OUR_CREDENTIAL_FORBIDDEN, OUR_CREDENTIAL_UNREADABLE.
 * Cost: one request; with the login or renewal at most four.
 */
export function createKeystone(options: KeystoneOptions, deps: UpstreamDeps): Keystone {
  const { name } = options;
  const tokensUrl = `${options.url.replace(/\/+$/, '')}/auth/tokens`;
  const http = createHttp({ ...options, authority: `Keystone "${name}"`, reasonPrefix: 'KEYSTONE' }, deps);
  const session = createKeystoneSession({ name, url: options.url.replace(/\/+$/, ''), login: options.login }, { ...deps, http });
  const reachability = createReachability(name, deps);
  // Until Keystone has let this credential validate a token of somebody else, a 403 is more likely about our roles.
  let hasValidatedForeign = false;

  async function answer(raw: string, wanted: ReadOptions, deadline: Deadline): Promise<Reading> {
    const { own, reply } = await withOurToken(session, deadline, (token) => get({ raw, own: token, wanted }, deadline));
    const reading = meaning(reply, { raw, own, wanted });
    return reply.clockOffsetMs === undefined ? reading : { ...reading, clockOffsetMs: reply.clockOffsetMs };
  }

  function get({ raw, own, wanted }: Question, deadline: Deadline): Promise<HttpReply> {
    const headers = { ...heads, 'x-auth-token': own.raw, 'x-subject-token': raw };
    // Keystone looks whether `nocatalog` is there, not what it says.
    const query = [wanted.catalog ? '' : 'nocatalog', wanted.allowExpired ? 'allow_expired=1' : ''].filter((it) => it !== '').join('&');
    // GET, not HEAD: Keystone's default policy lets the role `service` do only this.
    return http.send({ method: 'GET', url: query === '' ? tokensUrl : `${tokensUrl}?${query}`, headers, repeatable: true }, deadline);
  }

  function meaning(reply: HttpReply, { raw, own, wanted }: Question): Reading {
    if (reply.status === 200) {
      // Keystone echoes what it was asked about. Its replies vary by that without saying so (`Vary: X-Auth-Token` alone), so a cache
      // before it may give us the answer about another token.
      const echo = reply.headers['x-subject-token'];
      if (echo !== undefined && echo !== raw) throw mixedUp(name);
      const reading = readKeystoneToken(reply.body, name, wanted);
      if (reading.kind === 'facts' && isForeign(reading.facts, own.userId)) hasValidatedForeign = true;
      return reading;
    }
    if (isForbidden(reply)) {
      if (hasValidatedForeign && !policyName.test(keystonesWords(reply) ?? '')) return { kind: 'inactive', reason: 'REFUSED' };
      throw forbidden(name, reply);
    }
    // A second 401 has been thrown before: here it is a 404.
    if (isRefused(reply)) return { kind: 'inactive', reason: 'REFUSED' };
    throw noAnswer(name, reply, raw);
  }

  async function tell(raw: string, deadline: Deadline): Promise<'accepted' | 'rejected'> {
    const reply = await asItself('DELETE', raw, deadline);
    // It answers 204. A 200 that says nothing is that through some gateways; one that says something is of somebody else.
    if (reply.status === 204 || (reply.status === 200 && reply.body.length === 0)) return 'accepted';
    if (isForbidden(reply)) return 'rejected';
    if (!isRefused(reply)) throw noAnswer(name, reply, raw);
    // Refused need not be dead: Keystone answers 404 to the DELETE of a live token that has access rules, whatever we send (zed).
    const now = await asItself('GET', raw, deadline);
    if (isRefused(now)) return 'accepted';
    if (now.status === 200 || isForbidden(now)) return 'rejected';
    throw noAnswer(name, now, raw);
  }

  // Sent twice it does no harm: the second time the token is refused, which is what was wanted.
  function asItself(method: 'DELETE' | 'GET', raw: string, deadline: Deadline): Promise<HttpReply> {
    const headers = { ...heads, 'x-auth-token': raw, 'x-subject-token': raw };
    return http.send({ method, url: method === 'GET' ? `${tokensUrl}?nocatalog` : tokensUrl, headers, repeatable: true }, deadline);
  }

  return {
    ...createKeystoneLists({ name, url: options.url.replace(/\/+$/, '') }, { http, session }),
    async ask(raw, signal, wanted = {}) {
      refuseUnsendable(raw);
      try {
        const reading = await answer(raw, wanted, http.deadline(signal));
        reachability.answered();
        return reading;
      } catch (cause) {
        // Seen for the health, and thrown on: it is the caller's.
        reachability.failed(cause);
        throw cause;
      }
    },
    async revoke(raw, signal) {
      refuseUnsendable(raw);
      return await tell(raw, http.deadline(signal));
    },
    own: {
      held: () => session.held()?.raw,
      async wanted(signal) {
        const before = session.held();
        try {
          await session.current(http.deadline(signal));
        } catch (cause) {
          // Seen for the health, and thrown on. Perhaps nobody else asks.
          reachability.failed(cause);
          throw cause;
        }
        if (session.held() !== before) reachability.answered();
      },
    },
    health: () => reachability.health(),
    close: () => http.close(),
  };
}

interface Question {
  readonly raw: string;
  readonly own: OwnToken;
  readonly wanted: ReadOptions;
}

function refuseUnsendable(raw: string): void {
  if (headerSafe.test(raw)) return;
  throw new SidecarError('INVALID_ARGUMENT', 'a token for Keystone is visible ASCII', { reason: 'TOKEN_NOT_SENDABLE' });
}

function isForbidden(reply: HttpReply): boolean {
  return reply.status === 403 && keystonesWords(reply) !== undefined;
}

/** It does not know the token; `headerLost`: it has not seen it. */
function isRefused(reply: HttpReply): boolean {
  const message = reply.status === 401 || reply.status === 404 ? keystonesWords(reply) : undefined;
  return message !== undefined && !message.startsWith(headerLost);
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

function mixedUp(name: string): SidecarError {
  return new SidecarError('UNAVAILABLE', `Keystone "${name}", or a cache before it, answered about another token than was asked about`, {
    reason: 'BAD_ANSWER',
    retryAfterMs: defaultRetryAfterMs,
  });
}

function noAnswer(name: string, { status, retryAfterMs }: HttpReply, raw: string): SidecarError {
  const busy = status >= 500 || status === 429;
  const size =
    tooLong.has(status) && raw.length >= longBytes
      ? `: the limit of request headers there, or of a proxy before it, must hold a token of ${raw.length} bytes`
      : '';
  return new SidecarError('UNAVAILABLE', `Keystone "${name}" gave no answer about the token (status ${status})${size}`, {
    reason: busy ? 'KEYSTONE_UNAVAILABLE' : 'BAD_ANSWER',
    retryAfterMs: retryAfterMs ?? defaultRetryAfterMs,
  });
}
