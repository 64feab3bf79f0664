// One set of things in a real Keystone to act on: a domain with a user who has every way to a token, and whoever is needed for that.

import { randomBytes } from 'node:crypto';
import { type Administrator, madeId } from './administrator.ts';
import { type IssuedToken, issueToken, type Kind, remoteIdOf } from './kinds.ts';

/** The ids of all of them. */
export interface ThingIds {
  readonly domain: string;
  /** The user has role member on it by itself; the trusts and the application credential are for it. */
  readonly project: string;
  /** The user, and whoever comes from the identity provider, has role member on it by the group. */
  readonly otherProject: string;
  readonly user: string;
  /** Of the domain Default. */
  readonly trustee: string;
  readonly group: string;
  /** A role that nobody has. */
  readonly extraRole: string;
  readonly trust: string;
  readonly impersonatingTrust: string;
  readonly applicationCredential: string;
  /** With a protocol `mapped`; whoever comes from there is in the group. */
  readonly identityProvider: string;
}

/** The set, with what changes about it. */
export class Things {
  /** Told from other sets by this. */
  readonly name: string;
  readonly ids: ThingIds;
  readonly keystone: Administrator;
  /** The user's. */
  password = 'first';
  /** What actions have made on the way: the ids of it, by a name that they agree on. */
  readonly made = new Map<string, string>();
  /** The tokens at hand. */
  readonly tokens = new Map<Kind, IssuedToken>();
  /** Actions that were done with them. */
  readonly done = new Set<string>();

  constructor(name: string, ids: ThingIds, keystone: Administrator) {
    this.name = name;
    this.ids = ids;
    this.keystone = keystone;
  }

  /** A new token, known here from then on; undefined where Keystone issues none, as what it would be for is gone. */
  async issue(kind: Kind): Promise<IssuedToken | undefined> {
    const issued = await issueToken(kind, this);
    if (issued === undefined) this.tokens.delete(kind);
    else this.tokens.set(kind, issued);
    return issued;
  }

  /** A new token of the user on the project, beside those at hand. */
  async ownToken(): Promise<string> {
    const issued = await issueToken('project', this);
    if (issued === undefined) throw new Error(`the user of ${this.name} has no token on its project`);
    return issued.token;
  }
}

/** Makes a new set. Takes some two seconds. */
export async function makeThings(keystone: Administrator): Promise<Things> {
  const name = randomBytes(3).toString('hex');
  const make = async (kind: string, fields: object): Promise<string> =>
    madeId(await keystone.call('POST', `/${kind}s`, { body: { [kind]: fields } }), kind);
  const grant = (path: string) => keystone.call('PUT', path);
  const { member, reader } = keystone.roles;

  const domain = await make('domain', { name: `d-${name}` });
  const [project, otherProject, user, trustee, group, extraRole] = await Promise.all([
    make('project', { name: `p-${name}`, domain_id: domain }),
    make('project', { name: `q-${name}`, domain_id: domain }),
    make('user', { name: `u-${name}`, domain_id: domain, password: 'first', email: 'old@example.org' }),
    make('user', { name: `v-${name}`, domain_id: 'default', password: 'first' }),
    make('group', { name: `g-${name}`, domain_id: domain }),
    make('role', { name: `extra-${name}` }),
  ]);
  await Promise.all([
    grant(`/groups/${group}/users/${user}`),
    grant(`/projects/${project}/users/${user}/roles/${member}`),
    grant(`/domains/${domain}/users/${user}/roles/${member}`),
    grant(`/system/users/${user}/roles/${reader}`),
    grant(`/projects/${otherProject}/groups/${group}/roles/${member}`),
  ]);
  const identityProvider = `idp-${name}`;
  await Promise.all([
    keystone.call('PUT', `/OS-FEDERATION/identity_providers/${identityProvider}`, {
      body: { identity_provider: { enabled: true, remote_ids: [remoteIdOf(identityProvider)] } },
    }),
    keystone.call('PUT', `/OS-FEDERATION/mappings/map-${name}`, { body: { mapping: { rules: [ruleFor(group)] } } }),
  ]);
  await keystone.call('PUT', `/OS-FEDERATION/identity_providers/${identityProvider}/protocols/mapped`, {
    body: { protocol: { mapping_id: `map-${name}` } },
  });

  const begun = new Things(
    name,
    {
      domain,
      project,
      otherProject,
      user,
      trustee,
      group,
      extraRole,
      identityProvider,
      trust: '',
      impersonatingTrust: '',
      applicationCredential: '',
    },
    keystone,
  );
  const token = await begun.ownToken();
  const trust = async (impersonation: boolean): Promise<string> => {
    const fields = { trustor_user_id: user, trustee_user_id: trustee, project_id: project, impersonation, roles: [{ id: member }] };
    return madeId(await keystone.call('POST', '/OS-TRUST/trusts', { token, body: { trust: fields } }), 'trust');
  };
  const credential = { name: 'ac', secret: 's', roles: [{ id: member }] };
  const [plain, impersonating, made] = await Promise.all([
    trust(false),
    trust(true),
    keystone.call('POST', `/users/${user}/application_credentials`, { token, body: { application_credential: credential } }),
  ]);
  const applicationCredential = madeId(made, 'application_credential');
  return new Things(name, { ...begun.ids, trust: plain, impersonatingTrust: impersonating, applicationCredential }, keystone);
}

function ruleFor(group: string): object {
  return { remote: [{ type: 'HTTP_X_FED_USER' }], local: [{ user: { name: '{0}' } }, { group: { id: group } }] };
}
