// A Keystone v3 token body read into facts, whoever brought it. Pure; follows Keystone's render_token and S2.

import * as z from 'zod';
import type { Dimension } from '../core/attributes.ts';
import { cutCatalog } from '../core/catalog-splice.ts';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { AccessRule, ApplicationCredential, Facts, Federation, Role, Scope, Token, Trust, User } from '../core/token.ts';
import type { Reading, ReadOptions } from '../ports.ts';

const id = z.string().min(1);
const name = z.string().nullish();
const domain = z.looseObject({ id, name });
const time = z.string().transform((text, context) => {
  const atMs = keystoneTimeMs(text);
  if (atMs !== undefined) return atMs;
  context.addIssue('not a time of Keystone');
  return z.NEVER;
});
const reference = z.looseObject({ id });

// Keys that we do not read may be there, whatever they are: trust and federated roles carry the whole role, and more may come.
const tokenSchema = z.looseObject({
  methods: z.array(z.string()),
  user: z.looseObject({
    id,
    name,
    domain,
    password_expires_at: z.unknown().optional(),
    'OS-FEDERATION': z
      .looseObject({ groups: z.array(reference).optional(), identity_provider: reference, protocol: reference.optional() })
      .optional(),
  }),
  audit_ids: z.array(id).min(1),
  expires_at: time,
  issued_at: time,
  project: z.looseObject({ id, name, domain }).optional(),
  is_domain: z.boolean().optional(),
  domain: domain.optional(),
  system: z.looseObject({ all: z.literal(true) }).optional(),
  roles: z.array(z.looseObject({ id, name: z.string().min(1) })).optional(),
  is_admin_project: z.boolean().optional(),
  'OS-TRUST:trust': z.looseObject({ id, impersonation: z.boolean(), trustor_user: reference, trustee_user: reference }).optional(),
  application_credential: z.looseObject({ id, name, restricted: z.boolean(), access_rules: z.unknown().optional() }).optional(),
  'OS-OAUTH1': z.looseObject({ access_token_id: id, consumer_id: id }).optional(),
  oauth2_credential: z.looseObject({ 'x5t#S256': id }).optional(),
  bind: z.unknown().optional(),
});
// The first Keystones with this API had no audit ids yet.
const oldTokenSchema = tokenSchema.extend({ audit_ids: tokenSchema.shape.audit_ids.optional() });
const bodySchema = z.looseObject({ token: z.looseObject({}) });
// Its id is for people; the rest is what it allows.
const rulesSchema = z.array(
  z.looseObject({ id: z.string().nullish(), service: z.string().min(1), method: z.string().min(1), path: z.string().min(1) }),
);

type KeystoneToken = z.infer<typeof oldTokenSchema>;

/** What is wanted of a body. */
export interface BodyOptions extends Pick<ReadOptions, 'catalog'> {
  /** It may be of a Keystone that had no audit ids yet; its facts have no identity then. Absent: such a body is no token. */
  readonly auditIds?: 'optional';
}

/**
 * What a body of `GET /v3/auth/tokens` says. Its claims are Keystone's own text of the `token` object with `catalog` cut out, as
 * `cutCatalog` says; the catalog itself is told where `options` ask for it. Inactive (WRONG_CERTIFICATE) only for a token with
 * `bind`: it is bound to something that a caller cannot show us, so it fails closed as other bound tokens do (S16).
 * Throws UNAVAILABLE / BAD_ANSWER where `body` is not a token: never facts, never inactive. The error names fields, not values.
 */
export function readKeystoneToken(body: Uint8Array, issuer: string, options: BodyOptions = {}): Reading {
  const outer = bodySchema.safeParse(parseStrictJson(body));
  if (!outer.success) throw malformed('without one');
  const parsed = (options.auditIds === 'optional' ? oldTokenSchema : tokenSchema).safeParse(outer.data.token);
  if (!parsed.success) throw malformed(`at ${[...new Set(parsed.error.issues.map((issue) => issue.path.join('.')))].join(', ')}`);
  const token = parsed.data;
  if (isBound(token.bind)) return { kind: 'inactive', reason: 'WRONG_CERTIFICATE' };
  const { claims, catalogAt, catalog } = cutCatalog(body);
  const facts: Facts = {
    token: { ...tokenOf(token, issuer), claimsJson: claims },
    // Its own audit id: what OS-REVOKE names a token by.
    ...(token.audit_ids?.[0] !== undefined && { identity: token.audit_ids[0] }),
    hasAccessRules: hasAccessRules(token.application_credential),
    ...(catalogAt >= 0 && { catalogAt }),
    unknown: unknownOf(token),
  };
  return { kind: 'facts', facts, provenance: 'authority', ...(options.catalog && { catalog }) };
}

/**
 * A time as Keystone writes it, in whole seconds as milliseconds since the epoch: `2026-11-21T18:02:05.000000Z`, without the
 * fraction, which is dropped, or without the zone, which is UTC. Undefined for anything else.
 */
export function keystoneTimeMs(text: string): number | undefined {
  // Without a zone where an application credential ends before its token would (issue_token in keystone/token/provider.py): at its
  // login, and at every validation that Keystone answers from what it kept of that login.
  const match = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?Z?$/.exec(text);
  if (match === null) return undefined;
  const atMs = Date.parse(`${match[1]}Z`);
  // Date.parse takes 30 February for 2 March.
  return Number.isNaN(atMs) || !new Date(atMs).toISOString().startsWith(match[1] ?? '') ? undefined : atMs;
}

function tokenOf(token: KeystoneToken, issuer: string): Token {
  const trust = trustOf(token);
  const applicationCredential = applicationCredentialOf(token);
  const thumbprint = token.oauth2_credential?.['x5t#S256'];
  return {
    issuer,
    format: 'opaque',
    issuedAtMs: token.issued_at,
    expiresAtMs: token.expires_at,
    user: userOf(token),
    scope: scopeOf(token),
    roles: (token.roles ?? []).map((role): Role => ({ id: role.id, name: role.name })),
    methods: token.methods,
    auditIds: token.audit_ids ?? [],
    ...(token['OS-OAUTH1'] && { clientId: token['OS-OAUTH1'].consumer_id, accessTokenId: token['OS-OAUTH1'].access_token_id }),
    audiences: [],
    scopes: [],
    ...(trust && { trust }),
    ...(applicationCredential && { applicationCredential }),
    ...(thumbprint !== undefined && { certificateThumbprint: thumbprint.replace(/=+$/, '') }),
    // Keystone's clients take absence for true: a deployment without an admin project has no other.
    isAdminProject: token.is_admin_project ?? true,
  };
}

function userOf({ user }: KeystoneToken): User {
  const passwordExpiresAtMs = passwordTimeMs(user.password_expires_at);
  const from = user['OS-FEDERATION'];
  const federation: Federation | undefined = from && {
    identityProviderId: from.identity_provider.id,
    ...(from.protocol && { protocolId: from.protocol.id }),
    groupIds: (from.groups ?? []).map((group) => group.id),
  };
  return {
    ...named(user),
    domain: named(user.domain),
    ...(passwordExpiresAtMs !== undefined && { passwordExpiresAtMs }),
    ...(federation && { federation }),
  };
}

function scopeOf(token: KeystoneToken): Scope {
  const { project, domain, system } = token;
  if ([project, domain, system].filter((scope) => scope !== undefined).length > 1) throw malformed('with more than one scope');
  if (project) {
    return { kind: 'project', project: { ...named(project), domain: named(project.domain), isDomain: token.is_domain ?? false } };
  }
  if (domain) return { kind: 'domain', domain: named(domain) };
  return system ? { kind: 'system' } : { kind: 'unscoped' };
}

function trustOf(token: KeystoneToken): Trust | undefined {
  const trust = token['OS-TRUST:trust'];
  return (
    trust && {
      id: trust.id,
      trustorUserId: trust.trustor_user.id,
      trusteeUserId: trust.trustee_user.id,
      impersonation: trust.impersonation,
    }
  );
}

function applicationCredentialOf({ application_credential: it }: KeystoneToken): ApplicationCredential | undefined {
  return it && { ...named(it), restricted: it.restricted, ...(hasAccessRules(it) && { accessRules: accessRulesOf(it.access_rules) }) };
}

// Present but empty means "nothing is allowed", not "no rules".
function hasAccessRules(credential: object | undefined): boolean {
  return credential !== undefined && 'access_rules' in credential;
}

// All of them or none: whoever writes rules that we cannot read means something by them that we do not know.
function accessRulesOf(value: unknown): readonly AccessRule[] {
  const rules = rulesSchema.safeParse(value);
  if (!rules.success) return [];
  return rules.data.map(({ id: ruleId, service, method, path }) => ({ id: ruleId ?? '', service, method, path }));
}

function unknownOf(token: KeystoneToken): Dimension[] {
  const unknown: Dimension[] = [];
  // Under impersonation the body has the trustor's domain; Keystone matches domain events with the trustee's.
  if (token['OS-TRUST:trust']?.impersonation) unknown.push('user_domain');
  if (token.user['OS-FEDERATION']?.groups === undefined) unknown.push('group');
  return unknown;
}

// For people only: what cannot be read must not keep a good token from being one.
function passwordTimeMs(value: unknown): number | undefined {
  return typeof value === 'string' ? keystoneTimeMs(value) : undefined;
}

function isBound(bind: unknown): boolean {
  if (bind === undefined || bind === null) return false;
  return typeof bind !== 'object' || Object.keys(bind).length > 0;
}

function named(from: { readonly id: string; readonly name?: string | null | undefined }): { id: string; name?: string } {
  return { id: from.id, ...(from.name && { name: from.name }) };
}

function malformed(where: string): SidecarError {
  return new SidecarError('UNAVAILABLE', `Keystone sent a token that cannot be read, ${where}`, {
    reason: 'BAD_ANSWER',
    retryAfterMs: 1_000,
  });
}
