// The actions of the captured truth table, in its order, and after them the others.

import { type Action, ask, askAsUser, type Grant, make, type Perform, renamed, role, unmake, update } from './action.ts';
import { otherActions } from './other-actions.ts';
import type { Things } from './things.ts';

const federation = ({ ids }: Things): string => `/OS-FEDERATION/identity_providers/${ids.identityProvider}`;
const enableProvider = (enabled: boolean): Perform => ask('PATCH', federation, () => ({ identity_provider: { enabled } }));
const member = ({ ids }: Things): string => `/groups/${ids.group}/users/${ids.user}`;

/** Nothing dies by these. */
const harmless: readonly Action[] = [
  { name: 'user_create', told: 'silent', perform: make('user', 'user', ({ ids, name }) => ({ name: `n-${name}`, domain_id: ids.domain })) },
  { name: 'user_update_email', told: 'bus', perform: update('user', () => ({ email: 'new@example.org' })) },
  { name: 'user_update_name', told: 'bus', perform: update('user', renamed) },
  { name: 'user_update_default_project', told: 'bus', perform: update('user', ({ ids }) => ({ default_project_id: ids.project })) },
  {
    name: 'project_create',
    told: 'silent',
    perform: make('project', 'project', ({ ids, name }) => ({ name: `np-${name}`, domain_id: ids.domain })),
  },
  { name: 'project_update_name', told: 'bus', perform: update('project', renamed) },
  { name: 'domain_create', told: 'silent', perform: make('domain', 'domain', ({ name }) => ({ name: `nd-${name}` })) },
  { name: 'domain_update_name', told: 'bus', perform: update('domain', renamed) },
  { name: 'role_create', told: 'silent', perform: make('role', 'role', ({ name }) => ({ name: `nr-${name}` })) },
];

const everywhere: readonly Grant[] = ['user_project', 'user_domain', 'group_project', 'group_domain', 'user_system'];
/** Keystone tells of every grant but those on the system. */
const grantToldBy = (grant: Grant) => (grant === 'user_system' ? 'nobody' : 'bus');

const extraRole: readonly Action[] = [
  ...everywhere.map((grant) => ({ name: `role_grant_${grant}`, told: grantToldBy(grant), perform: role('PUT', grant, 'extra') }) as const),
  {
    name: 'role_update_name',
    told: 'bus',
    needs: everywhere.map((grant) => `role_grant_${grant}`),
    perform: ask(
      'PATCH',
      ({ ids }) => `/roles/${ids.extraRole}`,
      (things) => ({ role: renamed(things) }),
    ),
  },
  ...everywhere.map(
    (grant) =>
      ({
        name: `role_revoke_${grant}_one_of_two`,
        told: grantToldBy(grant),
        // By the group too a token on the domain has the role.
        needs: grant === 'group_domain' ? ['role_grant_group_domain', 'role_revoke_user_domain_one_of_two'] : [`role_grant_${grant}`],
        takesAway: true,
        perform: role('DELETE', grant, 'extra'),
      }) as const,
  ),
];

/** Things are made beside those that tokens are about. */
const beside: readonly Action[] = [
  {
    name: 'group_create',
    told: 'silent',
    perform: make('group', 'group', ({ ids, name }) => ({ name: `ng-${name}`, domain_id: ids.domain })),
  },
  { name: 'group_add_member', told: 'wide', perform: ask('PUT', ({ ids }) => `/groups/${ids.group}/users/${ids.trustee}`) },
  {
    name: 'trust_create',
    told: 'silent',
    perform: askAsUser(
      'POST',
      () => '/OS-TRUST/trusts',
      ({ ids, keystone }) => ({
        trust: {
          trustor_user_id: ids.user,
          trustee_user_id: ids.trustee,
          project_id: ids.project,
          impersonation: false,
          roles: [{ id: keystone.roles.member }],
        },
      }),
    ),
  },
  {
    name: 'application_credential_create',
    told: 'silent',
    perform: askAsUser(
      'POST',
      ({ ids }) => `/users/${ids.user}/application_credentials`,
      () => ({ application_credential: { name: 'two', secret: 's' } }),
    ),
  },
  {
    name: 'ec2_credential_create',
    told: 'silent',
    perform: make('credential', 'credential', ({ ids, name }) => ({
      type: 'ec2',
      user_id: ids.user,
      project_id: ids.project,
      blob: JSON.stringify({ access: name, secret: 's' }),
    })),
  },
  { name: 'ec2_credential_delete', told: 'silent', needs: ['ec2_credential_create'], perform: unmake('credential', 'credential') },
  {
    name: 'identity_provider_create',
    told: 'silent',
    perform: ask(
      'PUT',
      ({ name }) => `/OS-FEDERATION/identity_providers/new-${name}`,
      () => ({ identity_provider: { enabled: true } }),
    ),
  },
  { name: 'service_create', told: 'silent', perform: make('service', 'service', ({ name }) => ({ name: `s-${name}`, type: `t-${name}` })) },
  {
    name: 'endpoint_create',
    told: 'bus',
    needs: ['service_create'],
    perform: make('endpoint', 'endpoint', ({ made }) => ({
      service_id: made.get('service'),
      interface: 'public',
      url: 'http://x.example/',
    })),
  },
  { name: 'endpoint_delete', told: 'bus', needs: ['endpoint_create'], perform: unmake('endpoint', 'endpoint') },
  { name: 'service_delete', told: 'bus', needs: ['service_create'], perform: unmake('service', 'service') },
];

/** What dies by these comes back to life by the next, or does not. */
const undone: readonly Action[] = [
  ...(['user_project', 'user_domain', 'group_project', 'user_system'] as const).flatMap((grant) => {
    const told = grantToldBy(grant);
    const last = `role_revoke_${grant}_last`;
    return [
      { name: last, told, takesAway: true, perform: role('DELETE', grant, 'own') },
      { name: `role_regrant_${grant}`, told, follows: last, perform: role('PUT', grant, 'own') },
    ] as const;
  }),
  { name: 'group_remove_member', told: 'look', takesAway: true, perform: ask('DELETE', member) },
  { name: 'group_add_member_again', told: 'wide', follows: 'group_remove_member', perform: ask('PUT', member) },
  { name: 'project_disable', told: 'bus', takesAway: true, perform: update('project', () => ({ enabled: false })) },
  { name: 'project_enable', told: 'bus', follows: 'project_disable', perform: update('project', () => ({ enabled: true })) },
  { name: 'domain_disable', told: 'bus', takesAway: true, perform: update('domain', () => ({ enabled: false })) },
  { name: 'domain_enable', told: 'bus', follows: 'domain_disable', perform: update('domain', () => ({ enabled: true })) },
  { name: 'identity_provider_disable', told: 'silent', perform: enableProvider(false) },
  { name: 'identity_provider_enable', told: 'silent', follows: 'identity_provider_disable', perform: enableProvider(true) },
  { name: 'user_password_change_by_self', told: 'look', takesAway: true, perform: changePassword },
  { name: 'user_password_reset_by_admin', told: 'look', takesAway: true, perform: resetPassword },
  { name: 'user_disable', told: 'look', takesAway: true, perform: update('user', () => ({ enabled: false })) },
  { name: 'user_enable', told: 'bus', follows: 'user_disable', perform: update('user', () => ({ enabled: true })) },
  { name: 'token_revoke_project', told: 'poll', takesAway: true, perform: revoked('project') },
  { name: 'token_revoke_unscoped', told: 'poll', takesAway: true, perform: revoked('unscoped') },
];

/** What is deleted stays so. */
const deletions: readonly Action[] = [
  {
    name: 'application_credential_delete',
    told: 'bus',
    takesAway: true,
    perform: askAsUser('DELETE', ({ ids }) => `/users/${ids.user}/application_credentials/${ids.applicationCredential}`),
  },
  { name: 'trust_delete', told: 'bus', takesAway: true, perform: askAsUser('DELETE', ({ ids }) => `/OS-TRUST/trusts/${ids.trust}`) },
  { name: 'protocol_delete', told: 'nobody', perform: ask('DELETE', (things) => `${federation(things)}/protocols/mapped`) },
  { name: 'identity_provider_delete', told: 'nobody', takesAway: true, perform: ask('DELETE', federation) },
  { name: 'role_delete', told: 'wide', perform: ask('DELETE', ({ ids }) => `/roles/${ids.extraRole}`) },
  {
    name: 'group_delete',
    told: 'look',
    onFreshThings: true,
    needs: ['group_add_member'],
    // Its members are listed; who comes from an identity provider and is in it is not.
    toldOtherwise: { federated_unscoped: 'wide', federated_project: 'wide' },
    takesAway: true,
    perform: ask('DELETE', ({ ids }) => `/groups/${ids.group}`),
  },
  {
    name: 'project_delete',
    told: 'bus',
    onFreshThings: true,
    takesAway: true,
    perform: ask('DELETE', ({ ids }) => `/projects/${ids.project}`),
  },
  { name: 'user_delete', told: 'bus', onFreshThings: true, takesAway: true, perform: ask('DELETE', ({ ids }) => `/users/${ids.user}`) },
  {
    name: 'user_delete_trustee',
    told: 'bus',
    onFreshThings: true,
    takesAway: true,
    perform: ask('DELETE', ({ ids }) => `/users/${ids.trustee}`),
  },
  { name: 'identity_provider_delete_alone', told: 'nobody', onFreshThings: true, takesAway: true, perform: ask('DELETE', federation) },
  { name: 'domain_disable_2', told: 'bus', takesAway: true, perform: update('domain', () => ({ enabled: false })) },
  { name: 'domain_delete', told: 'bus', follows: 'domain_disable_2', perform: ask('DELETE', ({ ids }) => `/domains/${ids.domain}`) },
];

/** The 65 of the captured truth table. */
export const tableActions: readonly Action[] = [...harmless, ...extraRole, ...beside, ...undone, ...deletions];

const all = new Map([...tableActions, ...otherActions].map((action) => [action.name, action]));

/** By its name. Throws where there is none. */
export function actionNamed(name: string): Action {
  const found = all.get(name);
  if (found === undefined) throw new Error(`there is no action ${name}`);
  return found;
}

/** Each of those named and, before it, what it follows. */
export function rowsFor(names: readonly string[]): readonly Action[] {
  return names.flatMap((name) => {
    const action = actionNamed(name);
    return action.follows === undefined ? [action] : [...rowsFor([action.follows]), action];
  });
}

function revoked(kind: 'project' | 'unscoped'): Perform {
  return ({ keystone, tokens }) =>
    keystone.request('DELETE', '/auth/tokens', { headers: { 'x-subject-token': tokens.get(kind)?.token ?? '' } });
}

async function changePassword(...[things]: Parameters<Perform>): ReturnType<Perform> {
  const user = { original_password: things.password, password: 'second' };
  const reply = await things.keystone.request('POST', `/users/${things.ids.user}/password`, { body: { user } });
  things.password = 'second';
  return reply;
}

async function resetPassword(...[things]: Parameters<Perform>): ReturnType<Perform> {
  const reply = await update('user', () => ({ password: 'third' }))(things);
  things.password = 'third';
  return reply;
}
