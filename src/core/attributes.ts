// What invalidations can name of a token (S2): dimensions, and the attributes that facts give.

import type { Facts } from './token.ts';

/** S2, the closed list. `everything` and `issuer` are dimensions too, so that they are looked up like the others. */
export const dimensions = [
  'everything',
  'issuer',
  'fingerprint',
  'identity',
  'chain',
  'user',
  'user_domain',
  'scope_domain',
  'domain',
  'project',
  'project_domain',
  'scope_kind',
  'role',
  'group',
  'idp',
  'trust',
  'application_credential',
  'access_token',
  'client',
  'session',
  'signing_key',
  'signed_content',
  // Of service catalogs, which are kept beside tokens; no token has it. Its one value is its name.
  'catalog',
] as const;

export type Dimension = (typeof dimensions)[number];

/** Those whose one value stands for the fewest tokens first. */
const rarestFirst: readonly Dimension[] = [
  'fingerprint',
  'identity',
  'signed_content',
  'access_token',
  'session',
  'trust',
  'application_credential',
  'chain',
  'user',
  'client',
  'project',
  'group',
  'role',
  'idp',
  'project_domain',
  'user_domain',
  'scope_domain',
  'domain',
  'signing_key',
  'scope_kind',
];

/** Orders dimensions by how few tokens one value of them stands for; those that stand for all come last. */
export function byRarity(one: Dimension, other: Dimension): number {
  const rank = (dimension: Dimension): number => {
    const at = rarestFirst.indexOf(dimension);
    return at < 0 ? rarestFirst.length : at;
  };
  return rank(one) - rank(other);
}

/** One value of one dimension; `value` undefined: the facts do not tell it. */
export interface Attribute {
  readonly dimension: Dimension;
  readonly value: string | undefined;
}

/** What names a token beside its facts, as far as its string has it. */
export interface SpelledNames {
  /** What names a signed token whatever its signature's spelling. */
  readonly signedContent?: string | undefined;
  /** Keystone's own ids of a PKI token: they are identities of it, beside the one of its facts. */
  readonly hashIds?: readonly string[];
}

/**
 * Every attribute of a token but its fingerprints, each once. Ids are unique within an issuer: whoever compares these adds it.
 * `identity`: that of the facts, or what stands in for it.
 */
export function attributesOf(facts: Facts, identity: string, { signedContent, hashIds = [] }: SpelledNames = {}): Attribute[] {
  const { token } = facts;
  const found = new Map<string, Attribute>();
  const add = (dimension: Dimension, value: string | undefined): void => {
    if (value) found.set(`${dimension}\0${value}`, { dimension, value });
  };
  add('everything', 'everything');
  add('issuer', token.issuer);
  for (const one of [identity, ...hashIds]) add('identity', one);
  add('signed_content', signedContent);
  add('chain', token.auditIds.at(-1));
  add('user', token.user?.id);
  add('user', token.trust?.trustorUserId);
  add('user', token.trust?.trusteeUserId);
  const tellsUserDomain = !facts.unknown.includes('user_domain');
  if (tellsUserDomain) add('user_domain', token.user?.domain?.id);
  if (tellsUserDomain) add('domain', token.user?.domain?.id);
  add('scope_kind', token.scope.kind);
  if (token.scope.kind === 'domain') {
    add('scope_domain', token.scope.domain.id);
    add('domain', token.scope.domain.id);
  }
  if (token.scope.kind === 'project') {
    add('project', token.scope.project.id);
    add('project_domain', token.scope.project.domain?.id);
  }
  for (const role of token.roles) add('role', role.id || role.name);
  for (const group of token.user?.federation?.groupIds ?? []) add('group', group);
  add('idp', token.user?.federation?.identityProviderId);
  add('trust', token.trust?.id);
  add('application_credential', token.applicationCredential?.id);
  add('access_token', token.accessTokenId);
  add('client', token.clientId);
  add('session', token.sessionId);
  add('signing_key', facts.keyId);
  for (const dimension of facts.unknown) {
    found.set(`${dimension}\0`, { dimension, value: undefined });
    if (dimension === 'user_domain') found.set('domain\0', { dimension: 'domain', value: undefined });
  }
  return [...found.values()];
}
