// What the measurement stands on: a Keystone behind a gate, two memcached, a sidecar, and the ways to have a token validated.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MemcachedProcess, startMemcachedProcess } from '../../test/fakes/memcached-process.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess } from '../servers/sidecar-process.ts';
import { type Gate, startGate } from './gate.ts';
import { type Keystone, startPlayedKeystone, startRealKeystone } from './keystone.ts';
import { type Subject, startSubject, type Way } from './subject.ts';

/** The ways that are compared; `face` only where the build has a Keystone face. */
export type WayName = 'today' | 'encrypted' | 'face' | 'near';

/** Everything that runs. */
export interface Stage {
  readonly keystone: Keystone;
  readonly gate: Gate;
  /** The middleware's own memcached, as deployed today. */
  readonly theirs: MemcachedProcess;
  /** The sidecar's shared tier. */
  readonly ours: MemcachedProcess;
  readonly sidecar: SidecarProcess;
  readonly ways: ReadonlyMap<WayName, Way>;
  /** A Python process; ended with the stage at the latest. */
  start(way: Way): Promise<Subject>;
  close(): Promise<void>;
}

/** Starts it. `root`: of the project. A real Keystone takes some 15 s; with `quick`, or where its packages are missing, it is scripted. */
export async function startStage(root: string, quick: boolean): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-middleware-'));
  const cleanup: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const end of cleanup.splice(0).reverse()) await end();
  };
  try {
    const keystone = (quick ? undefined : await startRealKeystone(root)) ?? (await startPlayedKeystone());
    cleanup.push(() => keystone.close());
    const gate = await startGate(keystone.port);
    cleanup.push(() => gate.close());
    const url = `http://127.0.0.1:${gate.port}/v3`;
    await keystone.reachedAt(url);
    // One for each: what one stores must not serve the other.
    const [theirs, ours] = await Promise.all([startMemcachedProcess(), startMemcachedProcess()]);
    cleanup.push(() => Promise.all([theirs.close(), ours.close()]));
    const sidecar = sidecarProcess({
      name: 'sidecar',
      cli: join(root, 'dist', 'cli.js'),
      dir: join(dir, 'sidecar'),
      keyDir: newKeyDir(dir, 'keys'),
      keystoneUrl: url,
      password: keystone.password,
      servers: [ours.address],
      // The defaults of the configuration.
      caching: '',
      calls: '{}',
    });
    cleanup.push(() => sidecar.end('SIGKILL'));
    await sidecar.start();

    const where = {
      program: join(root, 'bench/middleware/subject.py'),
      path: [makeStubs(root, dir), join(root, 'test/foreign')].join(':'),
    };
    return {
      keystone,
      gate,
      theirs,
      ours,
      sidecar,
      ways: waysTo({ url, keystone, theirs, sidecar }),
      close,
      async start(way) {
        const subject = await startSubject(way, where);
        cleanup.push(() => subject.end());
        return subject;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The generated client of the near cache in Python; answers its folder. */
function makeStubs(root: string, dir: string): string {
  const stubs = join(dir, 'stubs');
  mkdirSync(stubs);
  const protoc = ['-m', 'grpc_tools.protoc', `-I${join(root, 'proto')}`, `--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
  execFileSync('/usr/bin/python3', [...protoc, 'sidegate/v1/token_service.proto']);
  return stubs;
}

type Reached = Pick<Stage, 'keystone' | 'theirs' | 'sidecar'> & { readonly url: string };

function waysTo({ url, keystone, theirs, sidecar }: Reached): ReadonlyMap<WayName, Way> {
  const deployed = {
    auth_type: 'password',
    auth_url: url,
    username: 'validator',
    password: keystone.password,
    user_domain_id: 'default',
    project_name: 'service',
    project_domain_id: 'default',
    www_authenticate_uri: url,
    memcached_servers: theirs.address,
    service_token_roles_required: 'true',
  };
  const encrypted = { ...deployed, memcache_security_strategy: 'ENCRYPT', memcache_secret_key: 'a-key-of-the-benchmark' };
  const ways = new Map<WayName, Way>([
    ['today', { way: 'auth_token', options: deployed }],
    ['encrypted', { way: 'auth_token', options: encrypted }],
    ['near', { way: 'near_cache', options: { address: sidecar.tcp } }],
  ]);
  const { face } = sidecar;
  if (face !== undefined) {
    // The four lines of an unmodified service, and where clients are sent to log in.
    const options = { auth_type: 'admin_token', endpoint: face, token: 'unused', token_cache_time: -1, www_authenticate_uri: url };
    ways.set('face', { way: 'auth_token', options });
  }
  return ways;
}
