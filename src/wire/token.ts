// The facts of a token on the wire. An empty string there is an absent value here.

import type { AccessRule, ApplicationCredential, Domain, Federation, Project, Scope, Token, User } from '../core/token.ts';
import type {
  ApplicationCredential as CredentialMessage,
  Domain as DomainMessage,
  Project as ProjectMessage,
  Token as TokenMessage,
  User as UserMessage,
} from '../gen/sidegate/v1/token_service.ts';
import { dateFromMs, msFromDate } from './time.ts';

/** For the wire. `include.claims`: the claims too. */
export function tokenToMessage(token: Token, include: { readonly claims: boolean }): TokenMessage {
  return {
    issuer: token.issuer,
    format: token.format,
    issuedAt: dateFromMs(token.issuedAtMs),
    expiresAt: dateFromMs(token.expiresAtMs),
    user: token.user && userToMessage(token.user),
    scope: scopeToMessage(token.scope),
    roles: token.roles.map(({ id, name }) => ({ id, name })),
    methods: [...token.methods],
    auditIds: [...token.auditIds],
    tokenId: token.tokenId ?? '',
    sessionId: token.sessionId ?? '',
    clientId: token.clientId ?? '',
    audiences: [...token.audiences],
    scopes: [...token.scopes],
    trust: token.trust && { ...token.trust },
    applicationCredential: token.applicationCredential && {
      id: token.applicationCredential.id,
      name: token.applicationCredential.name ?? '',
      restricted: token.applicationCredential.restricted,
      accessRules: (token.applicationCredential.accessRules ?? []).map((rule) => ({ ...rule })),
    },
    accessTokenId: token.accessTokenId ?? '',
    certificateThumbprint: token.certificateThumbprint ?? '',
    isAdminProject: token.isAdminProject,
    claimsJson: include.claims ? (token.claimsJson ?? '') : '',
    catalog: [],
  };
}

/** From the wire. Throws INVALID_ARGUMENT / TIME_OUT_OF_RANGE where a time is none. */
export function tokenFromMessage(message: TokenMessage): Token {
  const issuedAtMs = msFromDate(message.issuedAt, 'issued_at');
  const expiresAtMs = msFromDate(message.expiresAt, 'expires_at');
  const credential = message.applicationCredential;
  const trust = message.trust;
  return {
    issuer: message.issuer,
    format: message.format,
    ...(issuedAtMs === undefined ? {} : { issuedAtMs }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(message.user === undefined ? {} : { user: userFromMessage(message.user) }),
    scope: scopeFromMessage(message.scope),
    roles: message.roles.map(({ id, name }) => ({ id, name })),
    methods: message.methods,
    auditIds: message.auditIds,
    ...(message.tokenId === '' ? {} : { tokenId: message.tokenId }),
    ...(message.sessionId === '' ? {} : { sessionId: message.sessionId }),
    ...(message.clientId === '' ? {} : { clientId: message.clientId }),
    audiences: message.audiences,
    scopes: message.scopes,
    ...(trust === undefined
      ? {}
      : {
          trust: {
            id: trust.id,
            trustorUserId: trust.trustorUserId,
            trusteeUserId: trust.trusteeUserId,
            impersonation: trust.impersonation,
          },
        }),
    ...(credential === undefined ? {} : { applicationCredential: credentialFromMessage(credential) }),
    ...(message.accessTokenId === '' ? {} : { accessTokenId: message.accessTokenId }),
    ...(message.certificateThumbprint === '' ? {} : { certificateThumbprint: message.certificateThumbprint }),
    isAdminProject: message.isAdminProject,
    ...(message.claimsJson === '' ? {} : { claimsJson: message.claimsJson }),
  };
}

function credentialFromMessage({ id, name, restricted, accessRules }: CredentialMessage): ApplicationCredential {
  const rules = accessRules.map(({ id, service, method, path }): AccessRule => ({ id, service, method, path }));
  return { id, ...named(name), restricted, ...(rules.length === 0 ? {} : { accessRules: rules }) };
}

function userToMessage(user: User): UserMessage {
  return {
    id: user.id,
    name: user.name ?? '',
    domain: user.domain && domainToMessage(user.domain),
    passwordExpiresAt: dateFromMs(user.passwordExpiresAtMs),
    federation: user.federation && {
      identityProviderId: user.federation.identityProviderId,
      protocolId: user.federation.protocolId ?? '',
      groupIds: [...user.federation.groupIds],
    },
  };
}

function userFromMessage(message: UserMessage): User {
  const passwordExpiresAtMs = msFromDate(message.passwordExpiresAt, 'password_expires_at');
  const from = message.federation;
  const federation: Federation | undefined = from && {
    identityProviderId: from.identityProviderId,
    ...(from.protocolId === '' ? {} : { protocolId: from.protocolId }),
    groupIds: from.groupIds,
  };
  return {
    id: message.id,
    ...named(message.name),
    ...(message.domain === undefined ? {} : { domain: domainFromMessage(message.domain) }),
    ...(passwordExpiresAtMs === undefined ? {} : { passwordExpiresAtMs }),
    ...(federation === undefined ? {} : { federation }),
  };
}

function scopeToMessage(scope: Scope): TokenMessage['scope'] {
  switch (scope.kind) {
    case 'unscoped':
      return undefined;
    case 'project':
      return { $case: 'project', value: projectToMessage(scope.project) };
    case 'domain':
      return { $case: 'domain', value: domainToMessage(scope.domain) };
    case 'system':
      return { $case: 'system', value: { all: true } };
  }
}

function scopeFromMessage(scope: TokenMessage['scope']): Scope {
  switch (scope?.$case) {
    case 'project':
      return { kind: 'project', project: projectFromMessage(scope.value) };
    case 'domain':
      return { kind: 'domain', domain: domainFromMessage(scope.value) };
    case 'system':
      // Less than all of the system is nothing that exists: it is no system scope.
      return scope.value.all ? { kind: 'system' } : { kind: 'unscoped' };
    default:
      return { kind: 'unscoped' };
  }
}

function projectToMessage(project: Project): ProjectMessage {
  return {
    id: project.id,
    name: project.name ?? '',
    domain: project.domain && domainToMessage(project.domain),
    isDomain: project.isDomain,
  };
}

function projectFromMessage(message: ProjectMessage): Project {
  return {
    id: message.id,
    ...named(message.name),
    ...(message.domain === undefined ? {} : { domain: domainFromMessage(message.domain) }),
    isDomain: message.isDomain,
  };
}

function domainToMessage(domain: Domain): DomainMessage {
  return { id: domain.id, name: domain.name ?? '' };
}

function domainFromMessage(message: DomainMessage): Domain {
  return { id: message.id, ...named(message.name) };
}

function named(name: string): { readonly name?: string } {
  return name === '' ? {} : { name };
}
