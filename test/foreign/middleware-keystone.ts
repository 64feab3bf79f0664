// A scripted Keystone for the proof with auth_token: it answers GET /v3/auth/tokens as the captured one did, byte for byte in its style.

import { createHttpAuthority, type HttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import catalogs from '../vectors/keystone-catalogs.json' with { type: 'json' };
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type Members = { readonly [name: string]: Json };

/** A kind of token that was captured as a good one. */
export type Kind = Exclude<keyof typeof vectors.tokens, 'application_credential_access_rules'>;
/** All of them. */
export const kinds = Object.keys(vectors.tokens).filter((kind) => kind !== 'application_credential_access_rules') as readonly Kind[];

/** Tokens that are not good, or not for everybody. */
export const special = {
  expired: vectors.errors.expired.subject,
  revoked: vectors.errors.revoked.subject,
  accessRules: vectors.errors.access_rules_with_header.subject,
  garbage: vectors.errors.garbage.subject,
  garbageLikeFernet: vectors.errors.garbage_fernet_like.subject,
  oneCharacterChanged: vectors.errors.one_character_changed.subject,
} as const;

/** What a service shows where it asks Keystone itself. */
export const serviceToken = 'token-of-the-service';
const sidecarToken = 'token-of-the-sidecar';

/** The Keystone, and what a test does with it. */
export interface MiddlewareKeystone extends HttpAuthority {
  /** The GETs of this token, oldest first; of all tokens where none is said. */
  asked(token?: string): readonly ReceivedRequest[];
  /** From now on this token is answered so. */
  answers(token: string, answer: ScriptedAnswer): void;
  /** From now on this token's body has these members, too. */
  says(token: string, members: Members): void;
  /** From now on nobody's credential is accepted. */
  refusesEverybody(): void;
}

/** The token of a captured kind. */
export function tokenOf(kind: Kind): string {
  return vectors.tokens[kind].token;
}

/** The captured error of this name. */
function errorOf(name: keyof typeof vectors.errors): ScriptedAnswer {
  const { status, headers, body } = vectors.errors[name];
  return { status, headers, ...(body !== null && { body: pythonJson(body as Json) }) };
}

/** Starts it. Good tokens are issued now and end in an hour; the expired one has ended. */
export async function startMiddlewareKeystone(): Promise<MiddlewareKeystone> {
  const authority = await createHttpAuthority();
  const bodies = new Map<string, Members>();
  const changed = new Map<string, ScriptedAnswer>();
  const now = Date.now();
  const times = { expires_at: isoOf(now + 3_600_000), issued_at: isoOf(now) };
  for (const kind of kinds) bodies.set(tokenOf(kind), bodyOf(kind, vectors.tokens[kind].body.token, times));
  const rules = vectors.errors.access_rules_with_header.body.token as Members;
  bodies.set(special.accessRules, bodyOf('application_credential_access_rules', rules, times));
  const ended = { expires_at: isoOf(now - 60_000), issued_at: isoOf(now - 3_600_000) };
  bodies.set(special.expired, bodyOf('expired_allow_expired', vectors.errors.expired_allow_expired.body.token, ended));

  function login(): ScriptedAnswer {
    const token = { ...times, methods: ['password'], user: { id: 'sidecar' }, audit_ids: ['own'] };
    return { status: 201, headers: { ...json, 'x-subject-token': sidecarToken }, body: pythonJson({ token }) };
  }

  function validation({ path, headers }: ReceivedRequest): ScriptedAnswer {
    const query = new URLSearchParams(path.split('?')[1] ?? '');
    const { 'x-auth-token': caller, 'x-subject-token': subject = '' } = headers;
    if (caller !== serviceToken && caller !== sidecarToken) return errorOf('service_token_garbage');
    if (subject === '') return errorOf('subject_header_missing');
    const known = changed.get(subject);
    if (known) return known;
    const body = bodies.get(subject);
    if (!body) return errorOf(subject === special.revoked ? 'revoked' : 'garbage');
    if (subject === special.expired && query.get('allow_expired') !== '1') return errorOf('expired');
    const enforces = Number(headers['openstack-identity-access-rules'] ?? 0) >= 1;
    if (subject === special.accessRules && !enforces) return errorOf('access_rules_without_header');
    const { catalog: _catalog, ...bare } = body;
    return {
      status: 200,
      headers: { ...json, 'X-Subject-Token': subject },
      body: pythonJson({ token: query.has('nocatalog') ? bare : body }),
    };
  }

  authority.script((request) => (request.method === 'POST' ? login() : validation(request)));
  return {
    ...authority,
    asked: (token) =>
      authority.requests.filter(({ method, headers }) => method === 'GET' && (token === undefined || headers['x-subject-token'] === token)),
    answers: (token, answer) => void changed.set(token, answer),
    says: (token, members) => void bodies.set(token, { ...bodies.get(token), ...members }),
    refusesEverybody: () => authority.script(() => errorOf('service_token_garbage')),
  };
}

const json = { 'Content-Type': 'application/json', Vary: 'X-Auth-Token' };

/** With the times, and the catalog where it was captured. */
function bodyOf(kind: string, token: Members, times: Members): Members {
  const place = catalogs.tokens[kind as keyof typeof catalogs.tokens];
  const members = Object.entries({ ...token, ...times });
  if (!place) return Object.fromEntries(members);
  const catalog: Json = catalogs.catalogs[place.catalog as keyof typeof catalogs.catalogs];
  const at = members.findIndex(([name]) => name === place.before);
  return Object.fromEntries(members.toSpliced(at < 0 ? members.length : at, 0, ['catalog', catalog]));
}

function isoOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
}

/** As Python's json.dumps writes it: spaces after commas and colons, ASCII only. */
function pythonJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([name, member]) => `${pythonJson(name)}: ${pythonJson(member)}`)
      .join(', ')}}`;
  }
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
