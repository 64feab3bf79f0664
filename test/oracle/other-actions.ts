// Actions that the captured truth table does not have: a role that tokens hold is deleted, roles that are inherited or implied, OAuth1.

import { authorizeConsumer } from '../e2e/lab/oauth1.ts';
import { type Action, ask, make, type Perform } from './action.ts';
import type { Things } from './things.ts';

/** A project in the domain, whose role the user has from above only. */
const inheriting = make('project', 'inherited project', ({ ids, name }) => ({ name: `i-${name}`, domain_id: ids.domain }));
/** One below the project, the same. */
const child = make('project', 'child project', ({ ids, name }) => ({ name: `c-${name}`, domain_id: ids.domain, parent_id: ids.project }));

const inherited = {
  user: ({ ids, keystone }: Things) =>
    `/OS-INHERIT/domains/${ids.domain}/users/${ids.user}/roles/${keystone.roles.reader}/inherited_to_projects`,
  group: ({ ids, keystone }: Things) =>
    `/OS-INHERIT/domains/${ids.domain}/groups/${ids.group}/roles/${keystone.roles.reader}/inherited_to_projects`,
  groupOnProject: ({ ids, keystone }: Things) =>
    `/OS-INHERIT/projects/${ids.project}/groups/${ids.group}/roles/${keystone.roles.reader}/inherited_to_projects`,
};
const implied = ({ ids, keystone }: Things): string => `/roles/${keystone.roles.member}/implies/${ids.extraRole}`;

/** What the rows below need. */
const preparations: readonly Action[] = [
  { name: 'inherited_project_create', told: 'silent', perform: inheriting },
  { name: 'child_project_create', told: 'silent', perform: child },
  { name: 'role_inherit_user', told: 'bus', needs: ['inherited_project_create'], perform: ask('PUT', inherited.user) },
  { name: 'role_inherit_group', told: 'bus', needs: ['inherited_project_create'], perform: ask('PUT', inherited.group) },
  { name: 'role_inherit_group_project', told: 'wide', needs: ['child_project_create'], perform: ask('PUT', inherited.groupOnProject) },
  { name: 'role_imply', told: 'nobody', perform: ask('PUT', implied) },
  { name: 'consumer_authorize', told: 'silent', perform: authorize },
];

/** The rows, and what they need. */
export const otherActions: readonly Action[] = [
  ...preparations,
  {
    name: 'role_delete_held',
    told: 'wide',
    onFreshThings: true,
    needs: ['role_grant_user_project', 'role_grant_user_domain', 'role_grant_group_project', 'role_grant_user_system'],
    takesAway: true,
    perform: ask('DELETE', ({ ids }) => `/roles/${ids.extraRole}`),
  },
  {
    name: 'role_revoke_inherited_user',
    told: 'bus',
    onFreshThings: true,
    needs: ['role_inherit_user'],
    takesAway: true,
    kinds: ['inherited_project', 'project', 'unscoped'],
    perform: ask('DELETE', inherited.user),
  },
  {
    name: 'role_revoke_inherited_group',
    told: 'bus',
    onFreshThings: true,
    needs: ['role_inherit_group'],
    takesAway: true,
    kinds: ['inherited_project', 'group_project', 'trustee_unscoped'],
    perform: ask('DELETE', inherited.group),
  },
  {
    name: 'role_revoke_inherited_group_project',
    told: 'wide',
    onFreshThings: true,
    needs: ['role_inherit_group_project'],
    takesAway: true,
    kinds: ['child_project', 'project', 'trustee_unscoped'],
    perform: ask('DELETE', inherited.groupOnProject),
  },
  {
    name: 'role_unimply',
    told: 'nobody',
    onFreshThings: true,
    needs: ['role_imply'],
    takesAway: true,
    kinds: ['project', 'trust', 'unscoped'],
    perform: ask('DELETE', implied),
  },
  {
    name: 'access_token_delete',
    told: 'bus',
    onFreshThings: true,
    needs: ['consumer_authorize'],
    takesAway: true,
    kinds: ['oauth1', 'project'],
    perform: ask('DELETE', ({ keystone, made }) => `/users/${keystone.admin.userId}/OS-OAUTH1/access_tokens/${made.get('access')}`),
  },
  {
    name: 'consumer_delete',
    told: 'bus',
    onFreshThings: true,
    needs: ['consumer_authorize'],
    takesAway: true,
    kinds: ['oauth1', 'project'],
    perform: ask('DELETE', ({ made }) => `/OS-OAUTH1/consumers/${made.get('consumer')}`),
  },
];

/** Their rows alone, in order. */
export const otherRows: readonly Action[] = otherActions.filter((action) => !preparations.includes(action));

/** Lets a consumer act for the administrator: by Keystone's default policy nobody else may authorize one. */
async function authorize({ keystone, made }: Things): ReturnType<Perform> {
  const reply = await keystone.request('POST', '/OS-OAUTH1/consumers', { body: { consumer: {} } });
  const { consumer } = reply.body as { readonly consumer: { readonly id: string; readonly secret: string } };
  const whose = { userToken: await keystone.token(), projectId: keystone.admin.projectId, roleId: keystone.roles.admin };
  const { access } = await authorizeConsumer(keystone.url, consumer, whose);
  for (const [name, pair] of Object.entries({ consumer, access })) {
    made.set(name, pair.id);
    made.set(`${name} secret`, pair.secret);
  }
  return reply;
}
