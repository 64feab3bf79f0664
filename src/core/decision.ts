// Good or not: the answer about a token, and what a caller may demand of it.

import { type Access, allows } from './access-rules.ts';
import type { Facts, Scope, Token } from './token.ts';

/** Why a token is not good. As InactiveReason of the API. */
export type InactiveReason =
  | 'EXPIRED'
  | 'NOT_YET_VALID'
  | 'REVOKED'
  | 'REFUSED'
  | 'MALFORMED'
  | 'BAD_SIGNATURE'
  | 'WRONG_ISSUER'
  | 'LIFETIME_TOO_LONG'
  | 'UNKNOWN_HANDLE'
  | 'WRONG_CERTIFICATE'
  | 'BAD_SERVICE_TOKEN'
  | 'WRONG_AUDIENCE'
  | 'WRONG_SCOPE'
  | 'MISSING_ROLE'
  | 'MISSING_SCOPE'
  | 'ACCESS_DENIED';

/** An answer. */
export type Decision = { readonly active: true } | { readonly active: false; readonly reason: InactiveReason };

/** What a caller requires; every part that is set must hold. */
export interface Demand {
  readonly scope?:
    | { readonly kind: 'project'; readonly id: string }
    | { readonly kind: 'domain'; readonly id: string }
    | { readonly kind: 'system' };
  /** Names of the configuration. */
  readonly anyOfIssuers?: readonly string[];
  readonly anyOfAudiences?: readonly string[];
  /** Role names. */
  readonly anyOfRoles?: readonly string[];
  readonly allOfScopes?: readonly string[];
  /** SHA-256 of the client certificate (DER), base64url. */
  readonly certificateThumbprint?: string;
  /** The request at hand, for access rules; `enforced-by-caller`: it reads the rules of the answer and judges by itself (S16). */
  readonly access?: Access | 'enforced-by-caller';
  /** It is good beyond its end for so long: for a long operation, on facts that were fetched after the end (S16). */
  readonly expiredWithinMs?: number;
}

/** What `decide` needs of a token without decoding it: numbers, judged against the clock at every call. */
export interface Standing {
  /** First and last instant at which it may be good, the issuer's skew allowed for. `-Infinity` and `Infinity` where there is none. */
  readonly validFromMs: number;
  readonly endsAtMs: number;
  /** It lives longer than its issuer may let it (S12). */
  readonly livesTooLong: boolean;
  readonly hasAccessRules: boolean;
  /** SHA-256 of the certificate it is bound to, base64url. */
  readonly certificateThumbprint: string | undefined;
  /** It is meant for none of the audiences that its issuer's configuration accepts. */
  readonly outsideAudiences: boolean;
}

/** How long an issuer's tokens may live, and how far its clock may be off. */
export interface LifeRules {
  /** S12: a token that lives longer is inactive; one without an end ends this long after its issue. */
  readonly maxTokenLifeMs: number;
  /** How far its clock may be ahead of ours, the skew between our hosts included: for beginnings and for cut-offs (S4). */
  readonly skewMs: number;
  /** What is allowed beyond an end: its own skew alone, none of ours. */
  readonly leewayMs: number;
  /** Tokens with neither issue nor end are accepted. */
  readonly endless: boolean;
  /** A token that does not tell its issue is none: nobody could say how long it lives, nor ask (S12). */
  readonly needsIssueTime: boolean;
  /** Audiences that are accepted where the caller demands none; empty: every one. */
  readonly audiences: readonly string[];
}

const active: Decision = { active: true };
const inactive = (reason: InactiveReason): Decision => ({ active: false, reason });
const decisions = {
  notYetValid: inactive('NOT_YET_VALID'),
  expired: inactive('EXPIRED'),
  tooLong: inactive('LIFETIME_TOO_LONG'),
  revoked: inactive('REVOKED'),
  accessDenied: inactive('ACCESS_DENIED'),
  wrongCertificate: inactive('WRONG_CERTIFICATE'),
  wrongIssuer: inactive('WRONG_ISSUER'),
  wrongAudience: inactive('WRONG_AUDIENCE'),
  wrongScope: inactive('WRONG_SCOPE'),
  missingRole: inactive('MISSING_ROLE'),
  missingScope: inactive('MISSING_SCOPE'),
} as const;

/** When a token ends, and whether that is later than it may. */
export type End = Pick<Standing, 'endsAtMs' | 'livesTooLong'>;

/**
 * The end of a token under its issuer's rules. `learnedAtMs`: when this was told of it, for tokens that tell their end but not their
 * beginning. Follows: S12.
 */
export function endOf({ issuedAtMs, expiresAtMs }: Pick<Token, 'issuedAtMs' | 'expiresAtMs'>, rules: LifeRules, learnedAtMs: number): End {
  const beginsAtMs = issuedAtMs ?? (expiresAtMs === undefined || rules.needsIssueTime ? undefined : learnedAtMs);
  const allowedEndMs = beginsAtMs === undefined ? (rules.endless ? Infinity : -Infinity) : beginsAtMs + rules.maxTokenLifeMs;
  return {
    endsAtMs: (expiresAtMs ?? allowedEndMs) + rules.leewayMs,
    livesTooLong: allowedEndMs === -Infinity || (expiresAtMs !== undefined && expiresAtMs > allowedEndMs),
  };
}

/** The times of a token under its issuer's rules, as `endOf`. Follows: S12; RFC 7519 §4.1.4 to §4.1.6 (their small leeway). */
export function standingOf(facts: Facts, rules: LifeRules, learnedAtMs: number): Standing {
  const { issuedAtMs, certificateThumbprint } = facts.token;
  // A token that claims to have been issued later than now would escape every cut-off (S4), so it waits for its time.
  const validFromMs = Math.max(facts.notBeforeMs ?? -Infinity, issuedAtMs ?? -Infinity) - rules.skewMs;
  return {
    validFromMs,
    ...endOf(facts.token, rules, learnedAtMs),
    hasAccessRules: facts.hasAccessRules,
    certificateThumbprint,
    outsideAudiences: rules.audiences.length > 0 && !rules.audiences.some((one) => facts.token.audiences.includes(one)),
  };
}

/** A token as `decide` sees it. `token` decodes, so it is called only where a demand needs more than what stands beside it. */
export interface Subject {
  readonly issuer: { readonly name: string };
  readonly standing: Standing;
  token(): Token;
}

/**
 * Good at `nowMs`, for `demand`? Pure, and the only place where that is said.
 * Reasons that say "no identity" come before those that say "not for this". Follows: S4, S12, S16; RFC 8705 §3.
 */
export function decide(subject: Subject, revoked: boolean, demand: Demand | undefined, nowMs: number): Decision {
  const { standing } = subject;
  if (standing.livesTooLong) return decisions.tooLong;
  if (nowMs >= standing.endsAtMs + (demand?.expiredWithinMs ?? 0)) return decisions.expired;
  if (revoked) return decisions.revoked;
  if (nowMs < standing.validFromMs) return decisions.notYetValid;
  const bound = standing.certificateThumbprint;
  if (bound !== undefined && bound !== demand?.certificateThumbprint) return decisions.wrongCertificate;
  if (standing.hasAccessRules && !isAllowed(subject, demand?.access)) return decisions.accessDenied;
  if (standing.outsideAudiences && !demand?.anyOfAudiences?.length) return decisions.wrongAudience;
  if (!demand) return active;
  if (demand.anyOfIssuers?.length && !demand.anyOfIssuers.includes(subject.issuer.name)) return decisions.wrongIssuer;
  const { scope, anyOfAudiences, anyOfRoles, allOfScopes } = demand;
  return scope || anyOfAudiences?.length || anyOfRoles?.length || allOfScopes?.length ? meets(subject.token(), demand) : active;
}

function isAllowed(subject: Subject, access: Demand['access']): boolean {
  if (access === undefined || access === 'enforced-by-caller') return access !== undefined;
  return allows(subject.token().applicationCredential?.accessRules ?? [], access);
}

function meets(token: Token, demand: Demand): Decision {
  if (demand.anyOfAudiences?.length && !demand.anyOfAudiences.some((one) => token.audiences.includes(one))) return decisions.wrongAudience;
  if (demand.scope && !inScope(token.scope, demand.scope)) return decisions.wrongScope;
  if (demand.anyOfRoles?.length && !token.roles.some((role) => demand.anyOfRoles?.includes(role.name))) return decisions.missingRole;
  if (demand.allOfScopes?.length && !demand.allOfScopes.every((one) => token.scopes.includes(one))) return decisions.missingScope;
  return active;
}

function inScope(scope: Scope, demanded: NonNullable<Demand['scope']>): boolean {
  if (demanded.kind === 'project') return scope.kind === 'project' && scope.project.id === demanded.id;
  if (demanded.kind === 'domain') return scope.kind === 'domain' && scope.domain.id === demanded.id;
  return scope.kind === 'system';
}
