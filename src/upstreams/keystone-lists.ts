// What else is asked of a Keystone under our own credential: its list of revocation events, and how a project stands.

import * as z from 'zod';
import { httpDateMs } from '../core/clock-offset.ts';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { ClockReading, ProjectStanding } from '../ports.ts';
import { BodyTooLarge, type Deadline, defaultRetryAfterMs, type Http, type HttpReply } from './http.ts';
import type { KeystoneSession } from './keystone-login.ts';
import { keystonesWords, withOurToken } from './keystone-words.ts';

/** What Keystone lists. `too-large`: longer than a body may be, so that nothing of it was read. */
export type RevocationEventsReply =
  | ({
      readonly kind: 'events';
      /** Rows, as JSON.parse gives them. */
      readonly events: readonly unknown[];
      /** When the reply was written, by Keystone's clock (`Date`, whole seconds); absent where it does not tell. */
      readonly dateMs?: number;
    } & ClockReading)
  | { readonly kind: 'too-large' };

/** Questions of the sidecar itself, which no caller waits for. */
export interface KeystoneLists {
  /**
   * `GET {url}/OS-REVOKE/events?since=…`: every revocation event whose `revoked_at` is later than `sinceMs` (whole seconds, exclusive).
   * Throws UNAVAILABLE as `ask`; OUR_CREDENTIAL_FORBIDDEN where our user may not read it, NO_REVOCATION_EVENTS where there is no
   * such list, each in words that say what to do. Tells nothing of the health of `ask`. Cost: as `ask`.
   */
  revocationEvents(sinceMs: number, signal: AbortSignal): Promise<RevocationEventsReply>;
  /** `GET {url}/projects/{id}`. Throws only what `signal` aborts with: whoever does not answer leaves it unknown. Cost: as `ask`. */
  project(id: string, signal: AbortSignal): Promise<ProjectStanding>;
}

/** Which Keystone. `url` ends in `/v3`. */
export interface KeystonePlace {
  readonly name: string;
  readonly url: string;
}

const listSchema = z.looseObject({ events: z.array(z.unknown()) });
const projectSchema = z.looseObject({
  project: z.looseObject({ id: z.string(), enabled: z.boolean(), domain_id: z.string().min(1).nullish() }),
});

/** Over the connections and the login of the Keystone that tokens are asked of. */
export function createKeystoneLists(
  { name, url }: KeystonePlace,
  { http, session }: { readonly http: Http; readonly session: KeystoneSession },
): KeystoneLists {
  async function get(path: string, deadline: Deadline): Promise<HttpReply> {
    const { reply } = await withOurToken(session, deadline, (own) =>
      http.send(
        { method: 'GET', url: `${url}/${path}`, headers: { accept: 'application/json', 'x-auth-token': own.raw }, repeatable: true },
        deadline,
      ),
    );
    return reply;
  }

  async function revocationEvents(sinceMs: number, signal: AbortSignal): Promise<RevocationEventsReply> {
    const since = `${new Date(sinceMs).toISOString().slice(0, 19)}Z`;
    let reply: HttpReply;
    try {
      reply = await get(`OS-REVOKE/events?since=${since}`, http.deadline(signal));
    } catch (cause) {
      if (cause instanceof BodyTooLarge) return { kind: 'too-large' };
      throw cause;
    }
    const list = reply.status === 200 ? listSchema.safeParse(json(reply.body)) : undefined;
    if (!list?.success) throw noList(name, reply);
    const dateMs = httpDateMs(reply.headers['date']);
    return {
      kind: 'events',
      events: list.data.events,
      ...(dateMs === undefined ? {} : { dateMs }),
      ...(reply.clockOffsetMs === undefined ? {} : { clockOffsetMs: reply.clockOffsetMs }),
    };
  }

  async function project(id: string, signal: AbortSignal): Promise<ProjectStanding> {
    let reply: HttpReply;
    try {
      reply = await get(`projects/${encodeURIComponent(id)}`, http.deadline(signal));
    } catch (cause) {
      if (signal.aborted || !(cause instanceof SidecarError)) throw cause;
      return { kind: 'unknown', problem: cause.message };
    }
    const words = keystonesWords(reply);
    if (reply.status === 404 && words !== undefined) return { kind: 'refused' };
    if (reply.status === 403 && words !== undefined) {
      return { kind: 'unknown', problem: `Keystone "${name}" does not let OUR credential read projects (403)` };
    }
    const said = reply.status === 200 ? projectSchema.safeParse(parseStrictJson(reply.body)) : undefined;
    // A cache before it may give us the answer about another one.
    if (!said?.success || said.data.project.id !== id) {
      return { kind: 'unknown', problem: `Keystone "${name}" gave no answer about a project (status ${reply.status})` };
    }
    const { enabled, domain_id: domainId } = said.data.project;
    return { kind: enabled ? 'enabled' : 'disabled', ...(domainId ? { domainId } : {}) };
  }

  return { revocationEvents, project };
}

/**
 * Not `parseStrictJson`: it takes 280 ms for the 8 MiB that such a list may have, and this 75 ms. A row of which there are two readings is
 * one that nobody writes, and what it says can kill a token at most.
 */
function json(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch (_notJson) {
    // Its message quotes the text: it goes no further.
    return undefined;
  }
}

function noList(name: string, reply: HttpReply): SidecarError {
  const { status } = reply;
  const retryAfterMs = reply.retryAfterMs ?? defaultRetryAfterMs;
  const isOurs = keystonesWords(reply) !== undefined;
  if (status === 403 && isOurs) {
    const message = `Keystone "${name}" does not let OUR credential read its revocation events (403): our user needs the role "service"`;
    return new SidecarError('UNAVAILABLE', message, { reason: 'OUR_CREDENTIAL_FORBIDDEN', retryAfterMs });
  }
  if (status === 404 || status === 410) {
    const message = `Keystone "${name}" has no list of revocation events (${status}): its url must end in /v3; where it really has none, set news.poll to null`;
    return new SidecarError('UNAVAILABLE', message, { reason: 'NO_REVOCATION_EVENTS', retryAfterMs });
  }
  const busy = status >= 500 || status === 429;
  return new SidecarError('UNAVAILABLE', `Keystone "${name}" did not list its revocation events (status ${status})`, {
    reason: busy ? 'KEYSTONE_UNAVAILABLE' : 'BAD_ANSWER',
    retryAfterMs,
  });
}
