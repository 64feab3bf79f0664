// One row of Keystone's revocation events, and what it means here. Pure.

import { hash } from 'node:crypto';
import type { Dimension } from '../core/attributes.ts';
import type { Condition } from '../core/selector.ts';
import type { News, NewsInvalidation } from '../ports.ts';
import { keystoneTime } from './keystone-time.ts';

/** What a token must have to fit a field. All fields of a row hold together; one that is null, or not there, is of any token. */
const dimensionOf: Readonly<Record<string, Dimension>> = {
  user_id: 'user',
  project_id: 'project',
  domain_id: 'domain',
  domain_scope_id: 'scope_domain',
  role_id: 'role',
  audit_id: 'identity',
  'OS-TRUST:trust_id': 'trust',
  'OS-OAUTH1:consumer_id': 'client',
  audit_chain_id: 'chain',
};

/** Those that say when, not what. */
const times: ReadonlySet<string> = new Set(['issued_before', 'revoked_at']);

/** Whom another source's news may be about as well. */
const announced: ReadonlySet<Dimension> = new Set<Dimension>(['user', 'project', 'trust', 'client']);

/** What a selector holds at most, and how long an id may be; Keystone's have 64 characters at most, and a row has one field or two. */
const mostConditions = 4;
const longestId = 1_024;

/**
 * The news that a row is. Total: whatever stands there means something. A row that says nothing but when kills every token issued until
 * then. What is not understood makes it a REFRESH of the tokens that fit the rest, and where there is no rest of all, spread: as
 * * `audit_chain_id`: Keystone itself compares it with the parent of a rescoped token, and a root has none; ours is the root's too;
 * * `expires_at`, and `OS-OAUTH1:access_token_id`: Keystone compares the latter at no place, so that such a row hits every token;
 * * fields of another version, and a row without the time of its cut-off.
 * `listedAtMs`: when it happened, at the latest, for a row that does not tell.
 * Follows: Keystone's revoke_models (all fields must fit, issued_before is inclusive, whole seconds), S8.
 */
export function readRevocationEvent(row: unknown, listedAtMs: number): News {
  const fields = Object.entries(isObject(row) ? row : {}).filter(([, value]) => value !== null && value !== undefined);
  const named = fields.filter(([name]) => !times.has(name));
  const conditions = named.map(([name, value]) => conditionOf(name, value)).filter((one) => one !== undefined);
  const issuedBeforeMs = timeIn(fields, 'issued_before');
  const isUnderstood =
    isObject(row) &&
    issuedBeforeMs !== undefined &&
    conditions.length === named.length &&
    conditions.length <= mostConditions &&
    conditions.every(({ dimension }) => dimension !== 'chain');
  return {
    id: idOf(fields, row),
    event: `OS-REVOKE ${namesIn(named)}`,
    atMs: timeIn(fields, 'revoked_at') ?? issuedBeforeMs ?? listedAtMs,
    about: aboutOf(conditions),
    invalidations: isUnderstood ? revocationOf(conditions, issuedBeforeMs) : refreshOf(conditions.slice(0, mostConditions)),
  };
}

function revocationOf(conditions: readonly Condition[], issuedBeforeMs: number): readonly NewsInvalidation[] {
  if (conditions.length === 0) return [{ effect: 'REVOKE', conditions, issuedBeforeMs, isWide: true }];
  const revocation: NewsInvalidation = { effect: 'REVOKE', conditions, issuedBeforeMs };
  const [only, more] = conditions;
  // The row of a domain that is deleted: its id is that of a project, too. Tokens of the domain itself, and of users that Keystone
  // has only from LDAP, have no row of their own.
  const isProject = more === undefined && only?.dimension === 'project';
  return isProject ? [revocation, { effect: 'REFRESH', conditions: [{ dimension: 'domain', value: only?.value ?? '' }] }] : [revocation];
}

function refreshOf(conditions: readonly Condition[]): readonly NewsInvalidation[] {
  return [conditions.length === 0 ? { effect: 'REFRESH', conditions, isWide: true } : { effect: 'REFRESH', conditions }];
}

function conditionOf(name: string, value: unknown): Condition | undefined {
  const dimension = Object.hasOwn(dimensionOf, name) ? dimensionOf[name] : undefined;
  if (dimension === undefined || typeof value !== 'string' || value === '' || value.length > longestId) return undefined;
  return { dimension, value };
}

function aboutOf(conditions: readonly Condition[]): readonly string[] {
  return conditions.filter(({ dimension }) => announced.has(dimension)).map(({ value }) => value);
}

/** Field names that this version knows, never values: for log lines and entries. */
function namesIn(fields: readonly (readonly [string, unknown])[]): string {
  const names = fields.map(([name]) => (Object.hasOwn(dimensionOf, name) ? name : 'other')).sort();
  return names.length === 0 ? 'everything' : [...new Set(names)].join(' ');
}

function timeIn(fields: readonly (readonly [string, unknown])[], wanted: string): number | undefined {
  return keystoneTime(fields.find(([name]) => name === wanted)?.[1]);
}

/** Rows have no id: what stands in them is what tells them apart, in whatever order. */
function idOf(fields: readonly (readonly [string, unknown])[], row: unknown): string {
  const canonical = isObject(row) ? fields.toSorted(([one], [other]) => (one < other ? -1 : 1)) : [row];
  return hash('sha256', written(canonical), 'base64url');
}

function written(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (_tooDeep) {
    // A row nested so deep that it cannot be written is like any other of its kind: everything is refreshed, once.
    return 'too deep';
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
