// What claims say: from those of a JWT (RFC 7519, RFC 9068) or of an introspection answer (RFC 7662) to facts.

import type { Dimension } from './attributes.ts';
import type { Facts, Role } from './token.ts';

/** Whose claims, and how much their silence says. */
export interface ClaimContext {
  /** Name of the issuer in the configuration. */
  readonly issuer: string;
  /** As Token.format. */
  readonly format: string;
  /**
   * True: a claim that is missing is one the token does not have (a JWT). False: the authority may have left it out
   * (RFC 7662 §2.2), so what invalidations can name of it is unknown (S2).
   */
  readonly complete: boolean;
}

/**
 * MALFORMED: `claim` cannot be read. For a signed token that is an answer; an authority that sends such a thing has given none.
 * WRONG_CERTIFICATE: it is bound (`cnf`) to something that nobody can show us, for example a DPoP key: never active.
 */
export type ClaimsReading =
  | { readonly kind: 'facts'; readonly facts: Facts }
  | { readonly kind: 'inactive'; readonly reason: 'MALFORMED' | 'WRONG_CERTIFICATE'; readonly claim: string };

/** The last second that the wire can tell (google.protobuf.Timestamp): 9999-12-31T23:59:59Z. */
const lastSecond = 253_402_300_799;

/** Base64url of 32 bytes, in its one spelling. */
const sha256Shape = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** What an introspection answer may keep to itself. */
const tellable = ['user', 'client', 'session', 'role'] as const;

/**
 * The facts that verified claims tell. Judges no time and no audience: `decide` does, at every call.
 * Shape: `exp`, `nbf`, `iat` are numbers of seconds from 0 to the year 9999, made whole towards distrust (end and issue down,
 * beginning up). `sub`, `jti`, `sid`, `client_id`, `azp` are strings without control characters; null or empty: absent.
 * Scopes: `scope` or `scp`, a string or a list. Roles: `roles` and Keycloak's `realm_access.roles`; where they cannot be read the
 * role is unknown. The scope is always unscoped: tenants of other issuers are none of Keystone's. `identity` is `jti`, or absent.
 * Follows: RFC 7519 §4.1, RFC 9068 §2.2, RFC 7662 §2.2, RFC 8705 §3, RFC 7800 §3.
 */
export function factsFromClaims(claims: Readonly<Record<string, unknown>>, context: ClaimContext): ClaimsReading {
  const bad: string[] = [];
  const id = (name: string): string | undefined => readId(claims[name], () => bad.push(name));
  const seconds = (name: string): number | undefined => readSeconds(claims[name], () => bad.push(name));
  const words = (name: string): readonly string[] => readWords(claims[name], () => bad.push(name));

  const subject = id('sub');
  const tokenId = id('jti');
  const sessionId = id('sid');
  const authorizedParty = id('azp');
  const clientId = id('client_id') ?? authorizedParty;
  const issued = seconds('iat');
  const begins = seconds('nbf');
  const ends = seconds('exp');
  const audiences = typeof claims['aud'] === 'string' ? [claims['aud']] : words('aud');
  const scopes = [...new Set([...words('scope'), ...words('scp')])];
  const binding = readBinding(claims['cnf']);
  if (binding.kind === 'malformed') bad.push('cnf');
  const [firstBad] = bad;
  if (firstBad !== undefined) return { kind: 'inactive', reason: 'MALFORMED', claim: firstBad };
  if (binding.kind === 'unknown') return { kind: 'inactive', reason: 'WRONG_CERTIFICATE', claim: 'cnf' };

  const roles = readRoles(claims);
  const userName = nameIn(claims);
  const silent: Readonly<Record<(typeof tellable)[number], boolean>> = {
    user: subject === undefined,
    client: clientId === undefined,
    session: sessionId === undefined,
    role: roles.names.length === 0,
  };
  const unknown = new Set<Dimension>(context.complete ? [] : tellable.filter((dimension) => silent[dimension]));
  if (roles.unreadable) unknown.add('role');
  // An introspection answer never tells the groups that a server may know.
  if (!context.complete) unknown.add('group');

  const facts: Facts = {
    token: {
      issuer: context.issuer,
      format: context.format,
      ...(issued === undefined ? {} : { issuedAtMs: Math.floor(issued) * 1000 }),
      ...(ends === undefined ? {} : { expiresAtMs: Math.floor(ends) * 1000 }),
      ...(subject === undefined ? {} : { user: { id: subject, ...(userName === undefined ? {} : { name: userName }) } }),
      scope: { kind: 'unscoped' },
      roles: roles.names.map((name): Role => ({ id: '', name })),
      methods: strings(claims['amr']),
      auditIds: [],
      ...(tokenId === undefined ? {} : { tokenId }),
      ...(sessionId === undefined ? {} : { sessionId }),
      ...(clientId === undefined ? {} : { clientId }),
      audiences,
      scopes,
      ...(binding.kind === 'certificate' ? { certificateThumbprint: binding.thumbprint } : {}),
      isAdminProject: false,
      claimsJson: JSON.stringify(claims),
    },
    ...(tokenId === undefined ? {} : { identity: tokenId }),
    ...(begins === undefined ? {} : { notBeforeMs: Math.ceil(begins) * 1000 }),
    hasAccessRules: false,
    unknown: [...unknown],
  };
  return { kind: 'facts', facts };
}

function readId(value: unknown, refuse: () => void): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  // A control character could close a name where ids are joined or printed.
  if (typeof value === 'string' && !/\p{Control}/u.test(value)) return value;
  refuse();
  return undefined;
}

function readSeconds(value: unknown, refuse: () => void): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && value >= 0 && value <= lastSecond) return value;
  refuse();
  return undefined;
}

/** A list of strings, or one string of words between spaces (RFC 6749 §3.3). */
function readWords(value: unknown, refuse: () => void): readonly string[] {
  if (value === undefined || value === null) return [];
  if (typeof value === 'string') return value.split(' ').filter((word) => word !== '');
  const found = strings(value);
  if (Array.isArray(value) && found.length === value.length) return found;
  refuse();
  return [];
}

type Binding = { readonly kind: 'none' | 'unknown' | 'malformed' } | { readonly kind: 'certificate'; readonly thumbprint: string };

/** Every member of `cnf` must be met, so one that we cannot check spoils the others. */
function readBinding(value: unknown): Binding {
  if (value === undefined || value === null) return { kind: 'none' };
  if (!isObject(value)) return { kind: 'malformed' };
  const names = Object.keys(value);
  if (names.length === 0) return { kind: 'malformed' };
  if (names.some((name) => name !== 'x5t#S256')) return { kind: 'unknown' };
  const thumbprint = value['x5t#S256'];
  return typeof thumbprint === 'string' && sha256Shape.test(thumbprint) ? { kind: 'certificate', thumbprint } : { kind: 'malformed' };
}

function readRoles(claims: Readonly<Record<string, unknown>>): { readonly names: readonly string[]; readonly unreadable: boolean } {
  const realm = claims['realm_access'];
  const lists = [claims['roles'], isObject(realm) ? realm['roles'] : realm].filter((list) => list !== undefined && list !== null);
  const names = [...new Set(lists.flatMap(strings))];
  return { names, unreadable: lists.some((list) => !Array.isArray(list) || strings(list).length < list.length) };
}

/** The strings of a list that say something; none of anything else. */
function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string' && item !== '') : [];
}

function nameIn(claims: Readonly<Record<string, unknown>>): string | undefined {
  return strings([claims['preferred_username'], claims['username'], claims['name']])[0];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
