// The Keystone that is asked: the tests' real one where Debian's packages are there, with a catalog of twenty services; else a scripted one.

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { byPassword, keystoneCall, keystoneLogin } from '../../test/e2e/lab/keystone-api.ts';
import { seedKeystone } from '../../test/e2e/lab/seed.ts';
import { startScriptedKeystone } from '../servers/scripted-keystone.ts';

/** A Keystone, and what is needed to use it. */
export interface Keystone {
  /** For the notes: which one it is. */
  readonly kind: string;
  readonly port: number;
  /** Of user `validator` of the domain Default, on project `service`. */
  readonly password: string;
  /** Its catalogs say from now on that it is there: auth_token asks where its own token's catalog says. */
  reachedAt(url: string): Promise<void>;
  /** A new token on a project. */
  token(): Promise<string>;
  close(): Promise<void>;
}

/** The tests' Keystone of its own, some 15 s; `root`: of the project; undefined where its packages are not here. */
export async function startRealKeystone(root: string): Promise<Keystone | undefined> {
  if (!['/usr/bin/keystone-manage', '/usr/bin/uwsgi-core'].every((path) => existsSync(path))) return undefined;
  const directory = mkdtempSync(join(tmpdir(), 'sidegate-bench-keystone-'));
  const port = 20_000 + Math.floor(Math.random() * 12_000);
  const run = async (script: string, ...args: readonly string[]): Promise<void> => {
    const env = { ...process.env, LAB_DIR: directory, KEYSTONE_PORT: String(port) };
    await promisify(execFile)('bash', [join(root, 'test/e2e/lab', script), ...args], { env, timeout: 120_000 });
  };
  try {
    await run('keystone-up.sh', '--expiration', '7200');
    const url = `http://127.0.0.1:${port}/v3`;
    const { users, projects, admin } = await seedKeystone(url);
    const asAdmin = await keystoneLogin(url, byPassword(admin.userId, admin.password), { project: { id: admin.projectId } });
    await fillCatalog(url, asAdmin);
    return {
      kind: 'Keystone 22.0.2 of Debian on SQLite',
      port,
      password: users.validator.password,
      reachedAt: (at) => addIdentityEndpoint({ url, admin: asAdmin, at }),
      token: () => keystoneLogin(url, byPassword(users.alice.id, users.alice.password), { project: { id: projects.web } }),
      close: () => run('keystone-down.sh', '--wipe'),
    };
  } catch (error) {
    await run('keystone-down.sh', '--wipe');
    throw error;
  }
}

/** As many as a common deployment has: the body of a token is then some 13 kB. */
async function fillCatalog(url: string, admin: string): Promise<void> {
  for (let made = 0; made < 18; made += 1) {
    const service = { name: `service-${made}`, type: `type-${made}` };
    const { id } = ((await keystoneCall(url, 'POST', '/services', admin, { service })) as { readonly service: { readonly id: string } })
      .service;
    const endpoints = ['public', 'internal', 'admin'].map((kind) => ({
      service_id: id,
      interface: kind,
      region_id: 'RegionOne',
      url: `http://${kind}.region-one.example:${8000 + made}/v3`,
    }));
    await Promise.all(endpoints.map((endpoint) => keystoneCall(url, 'POST', '/endpoints', admin, { endpoint })));
  }
}

/** The interface that auth_token uses; the lab's bootstrap makes only a public one. */
async function addIdentityEndpoint({
  url,
  admin,
  at,
}: {
  readonly url: string;
  readonly admin: string;
  readonly at: string;
}): Promise<void> {
  const { services } = (await keystoneCall(url, 'GET', '/services?type=identity', admin)) as {
    readonly services: readonly { id: string }[];
  };
  const endpoint = { service_id: services[0]?.id, interface: 'internal', region_id: 'RegionOne', url: at };
  await keystoneCall(url, 'POST', '/endpoints', admin, { endpoint });
}

/** A scripted one, at once, with a body of the same size. */
export async function startPlayedKeystone(): Promise<Keystone> {
  const password = 'validator-pw';
  const scripted = await startScriptedKeystone({ password });
  let users = 0;
  return {
    kind: 'a scripted Keystone (bodies as a real one’s)',
    port: scripted.port,
    password,
    async reachedAt(url) {
      scripted.identityUrl = url;
    },
    async token() {
      users += 1;
      return scripted.issue(`user-${users}`, 3_600_000).token;
    },
    close: () => scripted.close(),
  };
}
