// How we ask an OAuth endpoint with a form: our client's credential, its secret read again when it is refused, left alone for a while after.

import * as z from 'zod';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Clock } from '../ports.ts';
import { createCooldown } from './cooldown.ts';
import { type Deadline, defaultRetryAfterMs, type Http, type HttpReply } from './http.ts';

/** How we authenticate: `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1). The secret is read again after a refusal. */
export interface ClientAuth {
  readonly kind: 'basic' | 'post';
  readonly clientId: string;
  readonly secret: () => Promise<string>;
}

/** One endpoint that takes forms from authenticated clients. */
export interface FormEndpointOptions {
  /** What people call it, in messages: `the introspection of "partners"`. */
  readonly what: string;
  readonly url: string;
  readonly auth: ClientAuth;
}

/** Sends forms to it. */
export interface FormEndpoint {
  /**
   * Any reply that does not refuse our credential. Throws UNAVAILABLE: OUR_CREDENTIAL_REFUSED, also at once while it is too early to
   * try again; OUR_CREDENTIAL_UNREADABLE; what HTTP said; or whatever `deadline` says.
   * Sending a form twice must do no harm. Cost: one request; after a refusal at most two.
   */
  post(form: Readonly<Record<string, string>>, deadline: Deadline): Promise<HttpReply>;
}

const errorSchema = z.looseObject({ error: z.string() });

/** An endpoint whose secret has not been read yet. */
export function createFormEndpoint(options: FormEndpointOptions, deps: { readonly http: Http; readonly clock: Clock }): FormEndpoint {
  const { what, url, auth } = options;
  const { http } = deps;
  const cooldown = createCooldown(deps.clock);
  let secret: string | undefined;
  let reading: Promise<string> | undefined;

  function readSecret(): Promise<string> {
    reading ??= auth
      .secret()
      .then(
        (read) => {
          secret = read;
          return read;
        },
        (cause: unknown) => {
          throw noAnswer('OUR_CREDENTIAL_UNREADABLE', `our secret for ${what} cannot be read`, { cause });
        },
      )
      .finally(() => {
        reading = undefined;
      });
    return reading;
  }

  function refused(used: string): SidecarError {
    const error = noAnswer('OUR_CREDENTIAL_REFUSED', `${what} refuses OUR credential`);
    // Only the first of many with this secret: otherwise a hundred calls at once would double the wait a hundred times.
    if (secret === used && cooldown.error() === undefined) cooldown.failed(error, 'refused');
    return error;
  }

  function send(form: Readonly<Record<string, string>>, used: string, deadline: Deadline): Promise<HttpReply> {
    const body = new URLSearchParams(form);
    const headers: Record<string, string> = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
    if (auth.kind === 'post') {
      body.set('client_id', auth.clientId);
      body.set('client_secret', used);
    } else {
      const pair = `${formEncoded(auth.clientId)}:${formEncoded(used)}`;
      headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
    }
    return http.send({ method: 'POST', url, headers, body: body.toString(), repeatable: true }, deadline);
  }

  return {
    async post(form, deadline) {
      const tooEarly = cooldown.error();
      if (tooEarly !== undefined) throw tooEarly;
      const used = secret ?? (await http.within(readSecret(), deadline));
      let reply = await send(form, used, deadline);
      if (refusesUs(reply)) {
        // As many calls as there are come here when the secret is replaced. Whoever finds a newer one in use takes that; the
        // others share one reading of the file.
        const now = secret === used || secret === undefined ? await http.within(readSecret(), deadline) : secret;
        if (now !== used) reply = await send(form, now, deadline);
        if (refusesUs(reply)) throw refused(now);
      }
      if (reply.status === 200) cooldown.over();
      return reply;
    },
  };
}

/** The `error` of a body as RFC 6749 §5.2 writes it; undefined where there is none. */
export function oauthError(reply: HttpReply): string | undefined {
  const parsed = errorSchema.safeParse(parseStrictJson(reply.body));
  return parsed.success ? parsed.data.error : undefined;
}

/** UNAVAILABLE for `reason`: no answer, ask again after what the reply asks for. */
export function noAnswer(
  reason: string,
  message: string,
  { retryAfterMs = defaultRetryAfterMs, cause }: { readonly retryAfterMs?: number | undefined; readonly cause?: unknown } = {},
): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, retryAfterMs, cause });
}

// Some servers keep to RFC 6749 §5.2 and answer a bad client with 400.
function refusesUs(reply: HttpReply): boolean {
  return reply.status === 401 || (reply.status === 400 && oauthError(reply) === 'invalid_client');
}

// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined, so that either may hold a colon.
function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1);
}
