// What Keystone's messages mean for its tokens (S8), as one table. Pure.

import type { Dimension } from '../core/attributes.ts';
import type { News, NewsInvalidation } from '../ports.ts';
import { isName, isObject, type KeystoneMessage } from './keystone-envelope.ts';
import { secondOf } from './keystone-time.ts';

/** What a message means; nothing: it is of no concern to any token. */
interface Meaning extends Pick<News, 'lookFirst' | 'mayCascadeFrom'> {
  readonly invalidations: readonly NewsInvalidation[];
}

/** A message about one thing, with that thing's id. */
interface About {
  readonly id: string;
  readonly message: KeystoneMessage;
}

type Row = (about: About) => Meaning;

const wide: NewsInvalidation = { effect: 'REFRESH', conditions: [], isWide: true };
const everyone: Meaning = { invalidations: [wide] };

/**
 * The rows of S8 for what is said of one thing, by the event's type without `identity.`. There is no `disabled` on the wire of any
 * Keystone that is known; as `updated` is what one that had it would mean, it is read as that.
 */
const rows: Readonly<Record<string, Row>> = {
  'user.deleted': gone('user'),
  // A domain is a project of the same id, which scopes domain tokens.
  'project.deleted': gone('project', 'scope_domain'),
  'OS-TRUST:trust.deleted': gone('trust'),
  'application_credential.deleted': gone('application_credential'),
  'OS-OAUTH1:consumer.deleted': gone('client'),
  'OS-OAUTH1:access_token.deleted': gone('access_token'),
  // Disabled, another password, another name: it does not say. A revocation may follow, and hide behind it.
  'user.updated': ({ id }) => ({ invalidations: [refresh(['user', id])], lookFirst: [] }),
  // What is below it is disabled with it, and of that nobody tells.
  'project.updated': ({ id }) => ({ invalidations: [refresh(['project', id])], mayCascadeFrom: id }),
  'domain.updated': ofDomain,
  'domain.deleted': ofDomain,
  'group.updated': ofGroup,
  // Its members are listed. Whoever came from an identity provider was never one, and has lost what the group was granted: that names nobody.
  'group.deleted': ({ id }) => ({ invalidations: [{ ...refresh(['group', id]), isWide: true }], lookFirst: [] }),
  'role.updated': ({ id }) => ({ invalidations: [refresh(['role', id])] }),
  // With it go roles that it implied, and where it was the last one a token.
  'role.deleted': ({ id }) => ({ invalidations: [refresh(['role', id]), ...['project', 'domain', 'system'].map(wideOverScope)] }),
};

/** What is sent about things that no token that is out can depend on. */
const harmless: ReadonlySet<string> = new Set([
  // Keystone refuses to delete one that an application credential has.
  'access_rule',
  'credential',
  'policy',
  'project tag',
  'OS-OAUTH1:consumer',
  'OS-OAUTH1:request_token',
]);

/**
 * The news in `message`; undefined where it means nothing here. A message that should name somebody and does not, and one of a kind
 * that only a newer Keystone knows, refreshes every token of the issuer, spread: nobody here can tell whom it is about.
 */
export function newsOf(message: KeystoneMessage): News | undefined {
  const meaning = meaningOf(message);
  if (meaning === undefined) return undefined;
  const requestId = requestOf(message);
  return {
    id: message.id,
    event: message.eventType,
    atMs: message.atMs,
    ...(requestId !== undefined && { requestId }),
    about: namedBy(message),
    ...meaning,
  };
}

function meaningOf(message: KeystoneMessage): Meaning | undefined {
  const [, thing = '', act = ''] = /^identity\.([\w:. -]+)\.(\w+)$/.exec(message.eventType) ?? [];
  if (thing === 'role_assignment') return assignment(message);
  if (thing === 'endpoint' || thing === 'service' || thing === 'region') return { invalidations: [refresh(['catalog', 'catalog'])] };
  if (act !== 'deleted' && act !== 'updated' && act !== 'disabled') return undefined;
  const row = rows[`${thing}.${act === 'disabled' ? 'updated' : act}`];
  if (row === undefined) return harmless.has(thing) ? undefined : everyone;
  const id = resourceOf(message);
  return id === undefined ? everyone : row({ id, message });
}

/** It has no resource: it names the two that it joins. It is sent of a failure too, which has changed nothing. */
function assignment({ payload }: KeystoneMessage): Meaning | undefined {
  const { user, group, project, domain, outcome, inherited_to_projects: isInherited } = payload;
  if (outcome === 'failure') return undefined;
  const only = (invalidation: NewsInvalidation): Meaning => ({ invalidations: [invalidation] });
  if (!isName(project) && !isName(domain)) return everyone;
  if (isName(user)) {
    // In which of the projects below it holds is not said.
    if (isInherited === true) return only(refresh(['user', user]));
    return only(isName(project) ? refresh(['user', user], ['project', project]) : refresh(['user', user], ['domain', String(domain)]));
  }
  if (!isName(group)) return everyone;
  if (isName(project)) return only(isInherited === true ? wideOverScope('project') : refresh(['project', project]));
  return only(refresh([isInherited === true ? 'project_domain' : 'scope_domain', String(domain)]));
}

function gone(...dimensions: readonly Dimension[]): Row {
  return ({ id, message }) => ({
    invalidations: dimensions.map((dimension) => ({
      effect: 'REVOKE',
      conditions: [{ dimension, value: id }],
      issuedBeforeMs: secondOf(message.atMs),
    })),
  });
}

function ofDomain({ id }: About): Meaning {
  return { invalidations: [refresh(['user_domain', id]), refresh(['scope_domain', id]), refresh(['project_domain', id])], lookFirst: [] };
}

/** In the basic format it says whom it adds or removes; in CADF it keeps that to itself, and a token does not tell its user's groups. */
function ofGroup({ id, message: { payload } }: About): Meaning {
  const { actor_id: user, actor_type: kind } = payload;
  if (isName(user) && kind === 'user') return { invalidations: [refresh(['user', user])], lookFirst: [] };
  return { invalidations: [], lookFirst: [{ ...refresh(['group', id]), isWide: true }] };
}

function wideOverScope(kind: string): NewsInvalidation {
  return { ...refresh(['scope_kind', kind]), isWide: true };
}

function refresh(...conditions: readonly (readonly [Dimension, string])[]): NewsInvalidation {
  return { effect: 'REFRESH', conditions: conditions.map(([dimension, value]) => ({ dimension, value })) };
}

/** In CADF twice, in the basic format once. */
function resourceOf({ payload }: KeystoneMessage): string | undefined {
  const { resource_info: id, target } = payload;
  if (isName(id)) return id;
  return isObject(target) && isName(target['id']) ? target['id'] : undefined;
}

/** In the basic format beside the resource, in CADF of whoever asked. */
function requestOf({ payload }: KeystoneMessage): string | undefined {
  const { request_id: id, initiator } = payload;
  if (isName(id)) return id;
  return isObject(initiator) && isName(initiator['request_id']) ? initiator['request_id'] : undefined;
}

/** Every id that it tells of those whom it is about. A role assignment's target is an id that exists nowhere. */
function namedBy(message: KeystoneMessage): readonly string[] {
  const { user, group, project, domain, role, actor_id: actor } = message.payload;
  const isAssignment = message.eventType.startsWith('identity.role_assignment.');
  const named = [isAssignment ? undefined : resourceOf(message), actor, user, group, project, domain, role];
  return [...new Set(named.filter(isName))];
}
