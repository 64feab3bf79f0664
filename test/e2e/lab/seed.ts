// Fills a fresh Keystone with a small organisation: a domain, projects, users, roles, services, trusts and other delegations.
import { byPassword, keystoneCall, keystoneLogin } from './keystone-api.ts';
import { authorizeConsumer, type OAuth1Access } from './oauth1.ts';

/** A user of the lab, with the password in clear: a throwaway. */
export interface SeededUser {
  readonly id: string;
  readonly name: string;
  readonly password: string;
  readonly domainId: string;
}

/** An application credential of alice's, on project web with role member. */
export interface SeededCredential {
  readonly id: string;
  readonly secret: string;
}

/** The ids of everything seeded. */
export interface Seed {
  readonly admin: { readonly userId: string; readonly password: string; readonly projectId: string };
  readonly domains: { readonly acme: string };
  /** `service` lies in the domain `default`; the others in acme. */
  readonly projects: { readonly service: string; readonly web: string; readonly db: string };
  readonly roles: {
    readonly admin: string;
    readonly member: string;
    readonly reader: string;
    readonly service: string;
    readonly auditor: string;
  };
  /**
   * alice: member and auditor on web, member on db through group devs, reader on domain acme and on the system.
   * bob: trustee of alice, in devs. dave: member on db, for tests that disable somebody. validator: service on project service
   * (what validates tokens logs in as it). nova: service on project service, too: a service of the cloud. norole: has nothing.
   */
  readonly users: {
    readonly alice: SeededUser;
    readonly bob: SeededUser;
    readonly dave: SeededUser;
    readonly validator: SeededUser;
    readonly nova: SeededUser;
    readonly norole: SeededUser;
  };
  /** `guests`: whoever comes from the identity provider `corp` is in all of them; together they have role member on web. */
  readonly groups: { readonly devs: string; readonly guests: readonly string[] };
  /** alice's trusts for bob on project web, role member. */
  readonly trusts: { readonly plain: string; readonly impersonating: string };
  /** `rules` may only GET /v2.1/servers of the compute service; `validator` is the validator's own. */
  readonly applicationCredentials: {
    readonly plain: SeededCredential;
    readonly rules: SeededCredential;
    readonly validator: SeededCredential;
  };
  /** What a consumer may do in admin's name, on its project: by Keystone's default policy nobody else may authorize one. */
  readonly oauth1: OAuth1Access;
}

/** Seeds the fresh Keystone at `url` (…/v3), whose bootstrap made admin/adminpass. Takes a few seconds; not repeatable. */
export async function seedKeystone(url: string): Promise<Seed> {
  const identity = { methods: ['password'], password: { user: { name: 'admin', domain: { id: 'default' }, password: 'adminpass' } } };
  const token = await keystoneLogin(url, identity, { project: { name: 'admin', domain: { id: 'default' } } });
  const get = (path: string) => keystoneCall(url, 'GET', path, token);
  const grant = (path: string) => keystoneCall(url, 'PUT', path, token);
  const create = async (kind: string, fields: object) =>
    idOf(await keystoneCall(url, 'POST', `/${kind}s`, token, { [kind]: fields }), kind);
  const user = async (name: string, domainId: string, more: object = {}): Promise<SeededUser> => {
    const password = `${name}-pw`;
    return { id: await create('user', { name, domain_id: domainId, password, ...more }), name, password, domainId };
  };

  const [adminUserId, adminProjectId, roleIds, acme, service, compute, volume] = await Promise.all([
    get('/users?name=admin').then((body) => firstId(body, 'users')),
    get('/projects?name=admin').then((body) => firstId(body, 'projects')),
    rolesByName(await get('/roles')),
    create('domain', { name: 'acme' }),
    create('project', { name: 'service', domain_id: 'default' }),
    create('service', { name: 'nova', type: 'compute' }),
    create('service', { name: 'cinder', type: 'block-storage' }),
    create('region', { id: 'RegionTwo' }),
  ]);
  const made = async (name: string) => roleIds.get(name) ?? (await create('role', { name }));
  const [adminRole, member, reader, serviceRole, auditor, web, db, devs, guests, alice, bob, dave, norole, nova, validator] =
    await Promise.all([
      made('admin'),
      made('member'),
      made('reader'),
      made('service'),
      made('auditor'),
      create('project', { name: 'web', domain_id: acme }),
      create('project', { name: 'db', domain_id: acme }),
      create('group', { name: 'devs', domain_id: acme }),
      Promise.all(['one', 'two', 'three'].map((name) => create('group', { name: `guests-${name}`, domain_id: acme }))),
      user('alice', acme),
      user('bob', acme),
      user('dave', acme),
      user('norole', acme),
      user('nova', 'default', { default_project_id: service }),
      user('validator', 'default', { default_project_id: service }),
      create('endpoint', { service_id: compute, interface: 'public', region: 'RegionOne', url: 'http://compute.example:8774/v2.1' }),
      create('endpoint', { service_id: compute, interface: 'internal', region: 'RegionOne', url: 'http://compute.internal:8774/v2.1' }),
      create('endpoint', { service_id: compute, interface: 'public', region: 'RegionTwo', url: 'http://compute.two.example:8774/v2.1' }),
      create('endpoint', { service_id: volume, interface: 'public', region: 'RegionTwo', url: volumeUrl }),
    ]);
  await Promise.all([
    grant(`/projects/${web}/users/${alice.id}/roles/${member}`),
    grant(`/projects/${web}/users/${alice.id}/roles/${auditor}`),
    grant(`/projects/${db}/users/${dave.id}/roles/${member}`),
    grant(`/domains/${acme}/users/${alice.id}/roles/${reader}`),
    grant(`/system/users/${alice.id}/roles/${reader}`),
    grant(`/projects/${service}/users/${validator.id}/roles/${serviceRole}`),
    grant(`/projects/${service}/users/${nova.id}/roles/${serviceRole}`),
    grant(`/projects/${db}/groups/${devs}/roles/${member}`),
    grant(`/projects/${web}/groups/${guests[0]}/roles/${member}`),
    keystoneCall(url, 'PUT', '/OS-FEDERATION/identity_providers/corp', token, {
      identity_provider: { enabled: true, remote_ids: ['https://corp.example/idp'] },
    }),
    keystoneCall(url, 'PUT', '/OS-FEDERATION/mappings/corp', token, {
      mapping: {
        rules: [{ remote: [{ type: 'HTTP_X_FED_USER' }], local: [{ user: { name: '{0}' } }, ...guests.map((id) => ({ group: { id } }))] }],
      },
    }),
  ]);
  const protocol = { protocol: { mapping_id: 'corp' } };
  await keystoneCall(url, 'PUT', '/OS-FEDERATION/identity_providers/corp/protocols/mapped', token, protocol);
  // Group membership comes last of what touches users: a change of it revokes the tokens issued before.
  await Promise.all([grant(`/groups/${devs}/users/${alice.id}`), grant(`/groups/${devs}/users/${bob.id}`)]);

  const [asAlice, asValidator] = await Promise.all([
    keystoneLogin(url, byPassword(alice.id, alice.password), { project: { id: web } }),
    keystoneLogin(url, byPassword(validator.id, validator.password), { project: { id: service } }),
  ]);
  const trust = async (impersonation: boolean) => {
    const fields = { trustor_user_id: alice.id, trustee_user_id: bob.id, project_id: web, impersonation, roles: [{ id: member }] };
    return idOf(await keystoneCall(url, 'POST', '/OS-TRUST/trusts', asAlice, { trust: fields }), 'trust');
  };
  const credential = async (owner: SeededUser, as: string, fields: { readonly name: string; readonly [field: string]: unknown }) => {
    const secret = `${fields.name}-secret`;
    const body = { application_credential: { ...fields, secret } };
    return {
      id: idOf(await keystoneCall(url, 'POST', `/users/${owner.id}/application_credentials`, as, body), 'application_credential'),
      secret,
    };
  };
  const consumer = (await keystoneCall(url, 'POST', '/OS-OAUTH1/consumers', token, { consumer: {} })) as {
    readonly consumer: { readonly id: string; readonly secret: string };
  };
  const oauth1 = await authorizeConsumer(url, consumer.consumer, { userToken: token, projectId: adminProjectId, roleId: adminRole });
  const rule = { path: '/v2.1/servers', method: 'GET', service: 'compute' };
  const [plain, impersonating, plainCredential, rules, validatorCredential] = await Promise.all([
    trust(false),
    trust(true),
    credential(alice, asAlice, { name: 'plain', roles: [{ id: member }] }),
    credential(alice, asAlice, { name: 'rules', roles: [{ id: member }], access_rules: [rule] }),
    credential(validator, asValidator, { name: 'validator', roles: [{ id: serviceRole }] }),
  ]);
  return {
    admin: { userId: adminUserId, password: 'adminpass', projectId: adminProjectId },
    domains: { acme },
    projects: { service, web, db },
    roles: { admin: adminRole, member, reader, service: serviceRole, auditor },
    users: { alice, bob, dave, validator, nova, norole },
    groups: { devs, guests },
    trusts: { plain, impersonating },
    applicationCredentials: { plain: plainCredential, rules, validator: validatorCredential },
    oauth1,
  };
}

/** With the project of who asks: Keystone's catalog differs from scope to scope. */
const volumeUrl = 'http://volume.example:8776/v3/%(project_id)s';

interface Named {
  readonly id: string;
  readonly name: string;
}

function idOf(body: unknown, kind: string): string {
  const entity = (body as Readonly<Record<string, Named | undefined>>)[kind];
  if (entity === undefined) throw new Error(`Keystone's answer has no ${kind}`);
  return entity.id;
}

function firstId(body: unknown, kinds: string): string {
  const [first] = (body as Readonly<Record<string, readonly Named[]>>)[kinds] ?? [];
  if (first === undefined) throw new Error(`Keystone has no ${kinds}`);
  return first.id;
}

/** The bootstrap has made some roles already: which ones depends on the release. */
function rolesByName(body: unknown): ReadonlyMap<string, string> {
  return new Map((body as { readonly roles: readonly Named[] }).roles.map(({ id, name }) => [name, id]));
}
