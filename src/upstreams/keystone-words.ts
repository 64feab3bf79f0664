// What holds for every question to a Keystone: under which token of ours it is asked, and which replies are Keystone's own.

import * as z from 'zod';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Deadline, HttpReply } from './http.ts';
import type { KeystoneSession, OwnToken } from './keystone-login.ts';

const errorSchema = z.looseObject({ error: z.looseObject({ code: z.number(), message: z.string().optional() }) });

/**
 * Asks under our token. A 401 is about it: it is renewed once, and the question asked once more. Throws what the session says: a
 * second 401 is OUR_CREDENTIAL_REFUSED. Cost: at most two requests, and those of a login.
 */
export async function withOurToken(
  session: KeystoneSession,
  deadline: Deadline,
  ask: (own: OwnToken) => Promise<HttpReply>,
): Promise<{ readonly own: OwnToken; readonly reply: HttpReply }> {
  let own = await session.current(deadline);
  let reply = await ask(own);
  if (reply.status === 401) {
    session.refused(own);
    own = await session.current(deadline);
    reply = await ask(own);
    if (reply.status === 401) throw session.refusedAgain(own);
  }
  // A proxy's 502 proves nothing about our token.
  if (reply.status < 500) session.accepted(own);
  return { own, reply };
}

/**
 * The message of an error that Keystone itself wrote, '' where it has none; undefined: it did not write this. Only its own words
 * count: a 404 or 403 of a proxy, or of whatever answers at a wrong address, is not about what was asked.
 */
export function keystonesWords(reply: HttpReply): string | undefined {
  const said = errorSchema.safeParse(parseStrictJson(reply.body));
  return said.success && said.data.error.code === reply.status ? (said.data.error.message ?? '') : undefined;
}
