// How things are told to people: ages, instants, ids, and what an invalidation is about.

import type { Invalidation, SelectorFields, Token } from '../client/index.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** A span in its largest unit: `0.4 s`, `12 s`, `42 min`, `6 h`, `3 d`. Less than nothing is nothing. */
export function span(ms: number): string {
  const length = Math.max(0, ms);
  if (length < 10 * second) return `${Math.round(length / 100) / 10} s`;
  if (length < 2 * minute) return `${Math.round(length / second)} s`;
  if (length < 2 * hour) return `${Math.round(length / minute)} min`;
  return length < 2 * day ? `${Math.round(length / hour)} h` : `${Math.round(length / day)} d`;
}

/** How long something took: `0.09 ms`, `1.2 ms`, `34 ms`. */
export function took(ms: number): string {
  const digits = ms < 1 ? 2 : ms < 10 ? 1 : 0;
  return `${ms.toFixed(digits)} ms`;
}

/** The time of day here, with milliseconds where `exact`. */
export function clockTime(ms: number, exact = false): string {
  const date = new Date(ms);
  const two = (part: number): string => String(part).padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return exact ? `${time}.${String(date.getMilliseconds()).padStart(3, '0')}` : time;
}

/** An id as people recognise it. What fits stays whole. */
export function short(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, 6)}…${id.slice(-4)}`;
}

/** A count with thousands marked. */
export function counted(count: number): string {
  return count.toLocaleString('en-US');
}

/** Whom a token speaks for, and where it holds: `alice@Default on web-shop (1e24b7…f1bd)`. */
export function holder({ user, clientId, scope }: Token): string {
  const domain = user?.domain && `@${user.domain.name ?? user.domain.id}`;
  const who = user ? `${user.name ?? short(user.id)}${domain ?? ''}` : clientId === undefined ? 'somebody' : `client ${clientId}`;
  switch (scope.kind) {
    case 'unscoped':
      return who;
    case 'system':
      return `${who} on the system`;
    case 'project':
      return `${who} on ${named(scope.project)}`;
    case 'domain':
      return `${who} on domain ${named(scope.domain)}`;
  }
}

function named({ id, name }: { readonly id: string; readonly name?: string }): string {
  return name === undefined ? short(id) : `${name} (${short(id)})`;
}

const fieldWords: { readonly [field in Exclude<keyof SelectorFields, 'issuer' | 'everything' | 'catalog'>]: string } = {
  fingerprint: 'the token with fingerprint',
  // The core knows one identity; the sidecar writes it here, whatever its issuer calls it.
  tokenId: 'the token with id',
  auditId: 'the token with audit id',
  auditChainId: 'audit chain',
  sessionId: 'session',
  userId: 'user',
  projectId: 'project',
  domainId: 'domain',
  roleId: 'role',
  trustId: 'trust',
  applicationCredentialId: 'application credential',
  clientId: 'client',
  accessTokenId: 'access token',
  keyId: 'signing key',
  userDomainId: 'users of domain',
  scopeDomainId: 'scope domain',
  projectDomainId: 'projects of domain',
  scopeKind: 'scope kind',
  identityProviderId: 'identity provider',
  groupId: 'group',
};

/** Which tokens: `user 5f0c… and project 1e24… of dev`. */
export function aboutWhich(selector: SelectorFields): string {
  const issuer = selector.issuer ? ` of ${selector.issuer}` : '';
  if (selector.everything) return `everything${issuer}`;
  if (selector.catalog) return `the service catalogs${issuer}`;
  const parts = Object.entries(fieldWords).flatMap(([field, words]) => {
    const value = selector[field as keyof typeof fieldWords];
    return value ? [`${words} ${value}`] : [];
  });
  // The one that the sidecar makes and the API has no field for.
  return `${parts.join(' and ') || 'one token, by what was signed,'}${issuer}`;
}

/** What it concerns, as far as this caller may know. */
export function concern({ selector, tags }: Invalidation): string {
  if (selector) return aboutWhich(selector);
  return tags.length === 0 ? 'everything' : `${tags.length === 1 ? 'tag' : 'tags'} ${tags.map(hex).join(' ')}`;
}

/** Who brought it: `bus identity.user.deleted`; empty where this caller may not know. */
export function bringer({ origin }: Invalidation): string {
  if (!origin) return '';
  const { source, event, actor, reason } = origin;
  return [source, event, actor && `by ${actor}`, reason && JSON.stringify(reason)].filter(Boolean).join(' ');
}

function hex(tag: bigint): string {
  return tag.toString(16).padStart(16, '0');
}
