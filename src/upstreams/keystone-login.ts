// Our own credential at Keystone: one login for all who need it, renewed before it ends, left alone for a while when refused.

import * as z from 'zod';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import { keystoneTimeMs } from '../keystone/token-body.ts';
import type { Clock, Logger } from '../ports.ts';
import { createCooldown } from './cooldown.ts';
import { type Deadline, defaultRetryAfterMs, type Http, type HttpReply } from './http.ts';

/** A domain, by id or by name. */
export type KeystoneDomainRef = { readonly id: string } | { readonly name: string };

/** A user or a project: by id, or by a name within a domain. */
export type KeystoneRef = { readonly id: string } | { readonly name: string; readonly domain: KeystoneDomainRef };

/** How we log in. Secrets are functions, called for each login, so that a replaced file is read again. */
export type KeystoneLogin =
  | {
      readonly kind: 'password';
      readonly user: KeystoneRef;
      /** Absent: the user's default project. */
      readonly project?: KeystoneRef;
      readonly password: () => Promise<string>;
    }
  | { readonly kind: 'application_credential'; readonly id: string; readonly secret: () => Promise<string> };

/** A token of ours. */
export interface OwnToken {
  readonly raw: string;
  /** Whose it is: ours. */
  readonly userId: string;
}

/** What the login needs. */
export interface KeystoneLoginOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  /** Ends in `/v3`. */
  readonly url: string;
  readonly login: KeystoneLogin;
}

/** Keeps a token of ours at hand. */
export interface KeystoneSession {
  /**
   * The token to use now; logs in first where there is none. Near its end the old one is given while the new one is fetched.
   * Throws UNAVAILABLE: OUR_CREDENTIAL_REFUSED, OUR_CREDENTIAL_UNREADABLE, or what HTTP said; at once while it is too early to
   * try again. Or whatever `deadline` says: a login goes on when those who wait for it leave.
   */
  current(deadline: Deadline): Promise<OwnToken>;
  /** The token as it is, without asking anybody; undefined: there is none, or it has ended. */
  held(): OwnToken | undefined;
  /** Keystone answered 401 to this token: whoever asks next gets another. Does nothing when another is in use already. */
  refused(token: OwnToken): void;
  /** Keystone answered 401 to a token fetched because of a 401: not to be tried again at once. Answers what to throw. */
  refusedAgain(token: OwnToken): SidecarError;
  /** Keystone took this token. */
  accepted(token: OwnToken): void;
}

interface HeldToken extends OwnToken {
  /** Monotonic. */
  readonly renewAtMs: number;
  readonly endsAtMs: number;
}

// As keystoneauth: renewed when less than 120 s are left; of short lives, the last fifth.
const renewBeforeMs = 120_000;
const renewBeforePart = 0.2;

const bodySchema = z.looseObject({
  token: z.looseObject({ issued_at: z.string(), expires_at: z.string(), user: z.looseObject({ id: z.string().min(1) }) }),
});

const missingSchema = z.looseObject({
  error: z.looseObject({ code: z.literal(404), message: z.string().startsWith('Could not find Application Credential') }),
});

/** A session that has not logged in yet. */
export function createKeystoneSession(
  options: KeystoneLoginOptions,
  deps: { readonly http: Http; readonly clock: Clock; readonly log: Logger },
): KeystoneSession {
  const { name, url, login } = options;
  const { http, clock, log } = deps;
  const cooldown = createCooldown(clock);
  let held: HeldToken | undefined;
  let proven: OwnToken | undefined;
  let flight: Promise<OwnToken> | undefined;

  function begin(): Promise<OwnToken> {
    flight = logIn()
      .then(
        (token) => {
          held = token;
          log.info({ issuer: name }, 'logged in to Keystone');
          return token;
        },
        (cause: unknown) => {
          const error = cause instanceof SidecarError ? cause : internal(name, cause);
          cooldown.failed(error, error.reason.startsWith('OUR_CREDENTIAL') ? 'refused' : 'other');
          throw error;
        },
      )
      .finally(() => {
        flight = undefined;
      });
    return flight;
  }

  async function logIn(): Promise<HeldToken> {
    // Its own deadline: it serves all who wait for it, and none of them may end it for the others.
    const deadline = http.deadline();
    const beganMs = clock.monotonicMs();
    const secret = await http.within(readSecret(), deadline);
    let reply = await send(secret, deadline);
    if (reply.status === 401) {
      // The file may have been replaced between our reading and Keystone's.
      const now = await http.within(readSecret(), deadline);
      if (now !== secret) reply = await send(now, deadline);
    }
    return tokenFrom(reply, beganMs);
  }

  async function readSecret(): Promise<string> {
    try {
      return await (login.kind === 'password' ? login.password() : login.secret());
    } catch (cause) {
      throw new SidecarError('UNAVAILABLE', `our credential for Keystone "${name}" cannot be read`, {
        reason: 'OUR_CREDENTIAL_UNREADABLE',
        retryAfterMs: defaultRetryAfterMs,
        cause,
      });
    }
  }

  function send(secret: string, deadline: Deadline): Promise<HttpReply> {
    const headers = { 'content-type': 'application/json', accept: 'application/json' };
    const body = JSON.stringify(loginBody(login, secret));
    return http.send({ method: 'POST', url: `${url}/auth/tokens?nocatalog`, headers, body, repeatable: false }, deadline);
  }

  function tokenFrom(reply: HttpReply, beganMs: number): HeldToken {
    if (reply.status !== 201) throw loginFailed(name, reply);
    const raw = reply.headers['x-subject-token'];
    const parsed = bodySchema.safeParse(parseStrictJson(reply.body));
    const issuedAtMs = parsed.success ? keystoneTimeMs(parsed.data.token.issued_at) : undefined;
    const expiresAtMs = parsed.success ? keystoneTimeMs(parsed.data.token.expires_at) : undefined;
    if (!raw || !parsed.success || issuedAtMs === undefined || expiresAtMs === undefined || expiresAtMs <= issuedAtMs) {
      throw new SidecarError('UNAVAILABLE', `Keystone "${name}" answered our login with something that is not a token`, {
        reason: 'BAD_ANSWER',
        retryAfterMs: defaultRetryAfterMs,
      });
    }
    // Both times are Keystone's, and the end is kept on the monotonic clock: how far our clocks are apart does not matter.
    const lifeMs = expiresAtMs - issuedAtMs;
    const endsAtMs = beganMs + lifeMs;
    return { raw, userId: parsed.data.token.user.id, endsAtMs, renewAtMs: endsAtMs - Math.min(renewBeforeMs, lifeMs * renewBeforePart) };
  }

  return {
    async current(deadline) {
      const nowMs = clock.monotonicMs();
      if (held !== undefined && nowMs < held.endsAtMs) {
        if (nowMs >= held.renewAtMs && flight === undefined && cooldown.error() === undefined) {
          // Nobody waits for this one: when it fails the old token still lives, and the cooldown has seen the failure.
          begin().catch((cause: unknown) => log.warn({ issuer: name, reason: reasonOf(cause) }, 'our token could not be renewed yet'));
        }
        return held;
      }
      if (flight === undefined) {
        const tooEarly = cooldown.error();
        if (tooEarly !== undefined) throw tooEarly;
      }
      return await http.within(flight ?? begin(), deadline);
    },
    held: () => (held !== undefined && clock.monotonicMs() < held.endsAtMs ? held : undefined),
    refused(token) {
      // A hundred calls with one dead token come here together. The first drops it; the others find it gone, or find its
      // successor, which they must leave alone: otherwise each of them would log in.
      if (token === held) held = undefined;
    },
    refusedAgain(token) {
      const error = new SidecarError('UNAVAILABLE', `Keystone "${name}" refuses OUR credential (401), though it has just logged us in`, {
        reason: 'OUR_CREDENTIAL_REFUSED',
        retryAfterMs: defaultRetryAfterMs,
      });
      if (token === held) {
        held = undefined;
        cooldown.failed(error, 'refused');
        log.warn({ issuer: name, reason: error.reason }, error.message);
      }
      return error;
    },
    accepted(token) {
      // Once for each token: later answers to an old one say nothing about the renewal that has just failed.
      if (token !== held || token === proven) return;
      proven = token;
      cooldown.over();
    },
  };
}

function loginBody(login: KeystoneLogin, secret: string): object {
  if (login.kind === 'application_credential') {
    const identity = { methods: ['application_credential'], application_credential: { id: login.id, secret } };
    // No scope: the project is the credential's.
    return { auth: { identity } };
  }
  const identity = { methods: ['password'], password: { user: { ...login.user, password: secret } } };
  return { auth: { identity, ...(login.project && { scope: { project: login.project } }) } };
}

function loginFailed(name: string, reply: HttpReply): SidecarError {
  const retryAfterMs = reply.retryAfterMs ?? defaultRetryAfterMs;
  if (reply.status === 400 || reply.status === 401 || reply.status === 403 || isMissing(reply)) {
    return new SidecarError('UNAVAILABLE', `Keystone "${name}" refuses to log in with OUR credential (${reply.status})`, {
      reason: 'OUR_CREDENTIAL_REFUSED',
      retryAfterMs,
    });
  }
  if (reply.status === 404) {
    return new SidecarError('UNAVAILABLE', `Keystone "${name}" has no login under its configured url (404); it should end in /v3`, {
      reason: 'BAD_ANSWER',
      retryAfterMs,
    });
  }
  return new SidecarError('UNAVAILABLE', `Keystone "${name}" did not take our login (${reply.status})`, {
    reason: reply.status >= 500 || reply.status === 429 ? 'KEYSTONE_UNAVAILABLE' : 'BAD_ANSWER',
    retryAfterMs,
  });
}

// An application credential that was deleted is a 404 in Keystone's own words; every other wrong credential is a 401.
function isMissing(reply: HttpReply): boolean {
  return reply.status === 404 && missingSchema.safeParse(parseStrictJson(reply.body)).success;
}

function internal(name: string, cause: unknown): SidecarError {
  return new SidecarError('INTERNAL', `the login to Keystone "${name}" failed`, { reason: 'LOGIN_FAILED', cause });
}

function reasonOf(cause: unknown): string {
  return cause instanceof SidecarError ? cause.reason : 'INTERNAL';
}
