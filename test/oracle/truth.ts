// The oracle: what Keystone itself says of a token now, and what of it an answer has to say too.

import type { Answer } from '../../src/client/index.ts';
import { byPassword, keystoneLogin, keystoneRequest } from '../e2e/lab/keystone-api.ts';

/** What is true of a token. `says`: all that it says, in one spelling, without its catalog. */
export type Verdict = { readonly accepted: true; readonly says: string } | { readonly accepted: false; readonly status: number };

/** Asks Keystone, past every cache and proxy. */
export interface Truth {
  /** Throws where Keystone does not say. */
  of(token: string): Promise<Verdict>;
}

/** Whose questions are answered: a user with the role `service`, as a sidecar has. */
export interface Asker {
  readonly url: string;
  readonly seed: {
    readonly users: { readonly validator: { readonly id: string; readonly password: string } };
    readonly projects: { readonly service: string };
  };
}

/** Logs in once. */
export async function truthOf({ url, seed }: Asker): Promise<Truth> {
  const { id, password } = seed.users.validator;
  const ours = await keystoneLogin(url, byPassword(id, password), { project: { id: seed.projects.service } });
  return {
    async of(token) {
      const reply = await keystoneRequest(url, 'GET', '/auth/tokens?nocatalog', { token: ours, headers: { 'x-subject-token': token } });
      if (reply.status === 200) return accepting((reply.body as { readonly token: unknown }).token);
      // Keystone's 403 about a trust whose giver has lost what it gave is about the token; of our own user it never is: it can validate.
      if (reply.status === 404 || reply.status === 403) return { accepted: false, status: reply.status };
      throw new Error(`Keystone says ${reply.status} of a token: ${JSON.stringify(reply.body).slice(0, 200)}`);
    },
  };
}

/** Of the `token` of a body. */
export function accepting(token: unknown): Verdict {
  return { accepted: true, says: oneSpelling(token) };
}

/** The same of an answer; undefined where it is active and does not tell what the token says. */
export function saidBy(answer: Answer): string | undefined {
  if (!answer.active) return answer.reason;
  return answer.token.claimsJson === undefined ? undefined : oneSpelling(withoutCatalog(JSON.parse(answer.token.claimsJson)));
}

function withoutCatalog(claims: unknown): unknown {
  const { catalog: _, ...token } = claims as Readonly<Record<string, unknown>>;
  return token;
}

/** Keystone gives lists of roles, methods and groups in any order. */
function oneSpelling(value: unknown): string {
  return JSON.stringify(sorted(value));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => JSON.stringify(sorted(one))).sort();
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, one]) => [name, sorted(one)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
