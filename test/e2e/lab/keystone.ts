// A real Keystone of one's own: started, seeded, hurt and ended by the test or program that asks for it.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type CountingProxy, startCountingProxy } from './counting-proxy.ts';
import {
  byApplicationCredential,
  byPassword,
  byToken,
  federatedLogin,
  type KeystoneReply,
  keystoneCall,
  keystoneLogin,
  keystoneRequest,
} from './keystone-api.ts';
import { oauth1Login } from './oauth1.ts';
import { type Seed, seedKeystone } from './seed.ts';
import { copyTemplate, keepTemplate } from './template.ts';

/**
 * The kinds of token the lab can issue; all are alice's but trust (bob's, by alice), federated and federated_unscoped (erin's, of
 * three groups), oauth1 (admin's), admin, validator, nova and dave (on project db).
 */
export type TokenKind =
  | 'unscoped'
  | 'project'
  | 'domain'
  | 'system'
  | 'trust'
  | 'trust_impersonating'
  | 'application_credential'
  | 'application_credential_access_rules'
  | 'oauth1'
  | 'federated'
  | 'federated_unscoped'
  | 'admin'
  | 'validator'
  | 'nova'
  | 'dave';

/** The running lab. */
export interface Lab {
  /** Keystone itself, http://127.0.0.1:PORT/v3; `proxy.url` leads to the same through the counting proxy. */
  readonly url: string;
  readonly seed: Seed;
  /** What is tested should be given `proxy.url`; the lab's own requests never pass it. */
  readonly proxy: CountingProxy & { readonly url: string };
  /** `[fernet_tokens] key_repository`, and `[jwt_tokens] jws_public_key_repository`. */
  readonly fernetKeys: string;
  readonly jwsKeys: string;
  /** A new token of that kind. */
  token(kind: TokenKind): Promise<string>;
  /** Revokes the token at Keystone (`DELETE /v3/auth/tokens`, as admin). */
  revoke(token: string): Promise<void>;
  /** Disables the user: Keystone refuses all its tokens from then on. */
  disableUser(id: string): Promise<void>;
  /** Enables the user; tokens issued after this resolves are good, those from before stay refused. */
  enableUser(id: string): Promise<void>;
  /**
   * Resolves when the clock's second has turned. A revocation by user covers all tokens issued in its own second, which a token
   * issued right after it may still be.
   */
  nextSecond(): Promise<void>;
  /** Any request of the v3 API (path right of /v3), whatever it answers. */
  request(method: string, path: string, token?: string, body?: unknown): Promise<KeystoneReply>;
  /** The logins (POST /v3/auth/tokens) that came through the proxy since its last `forget`. */
  logins(): number;
  /** Ends Keystone; connections are refused when this resolves. Its state stays. */
  stopServer(): Promise<void>;
  /** Starts it again at the same address with the same state; answers when it serves. */
  startServer(): Promise<void>;
  /** Freezes Keystone (SIGSTOP): connections are accepted by the kernel, nothing is answered. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /**
   * From now on Keystone pauses for so long when it has told of something, with the rest of the request still to do. 0: no more, and
   * what pauses goes on.
   * It tells that a user has changed before it writes the revocation that goes with it: this is how long that may take.
   */
  lagAfterMessages(ms: number): Promise<void>;
  /** Ends everything and removes the state. */
  close(): Promise<void>;
}

/** What differs from an untouched Keystone. */
export interface LabOptions {
  /** How long its tokens live; 3600. */
  readonly expirationSeconds?: number;
  /** `[token] provider`; fernet. */
  readonly provider?: 'fernet' | 'jws';
  /** Where and how it tells what happens. Absent: nowhere. */
  readonly notifications?: LabNotifications;
  /** `[cache] memcache_servers`, of its own. Absent: nothing is remembered from one request to the next. */
  readonly cache?: string;
  /** The folder of keystone-up.sh; absent: that of this file, which a compiled program is not in. */
  readonly scripts?: string;
}

/** A RabbitMQ that is there: Keystone waits for it with whatever it is doing. */
export interface LabNotifications {
  /** `[oslo_messaging_notifications] transport_url`. */
  readonly url: string;
  readonly format: 'basic' | 'cadf';
  /** `none`: logins are told of too. */
  readonly optOut?: 'none';
}

/** Starts a seeded Keystone of its own: some 15 s, from the second in a run on some 4 s, whatever the options. */
export async function startKeystone(options: LabOptions = {}): Promise<Lab> {
  // Under `npm test` inside the run's own folder, which is removed even when a suite is cut off.
  const directory = await mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-lab-'));
  const port = await freePort();
  const { expirationSeconds = 3600, scripts = import.meta.dirname } = options;
  const run = async (script: string, ...args: readonly string[]): Promise<void> => {
    const env = { ...process.env, LAB_DIR: directory, KEYSTONE_PORT: String(port) };
    await promisify(execFile)('bash', [join(scripts, script), ...args], { env, timeout: 240_000 }).catch(async (cause) => {
      throw new Error(`${script} failed; its logs end with:\n${await endOfLogs(directory)}`, { cause });
    });
  };
  const up = () => run('keystone-up.sh', ...argumentsFor(options));
  const url = `http://127.0.0.1:${port}/v3`;
  try {
    const copied = await copyTemplate(directory);
    await up();
    const seed = copied ?? (await seedKeystone(url));
    if (copied === undefined) await keepTemplate(directory, seed);
    const proxy = await startCountingProxy(`http://127.0.0.1:${port}`);
    return labOver({ url, seed, proxy, directory, expirationSeconds, up, down: (...args) => run('keystone-down.sh', ...args) });
  } catch (error) {
    await run('keystone-down.sh', '--wipe');
    throw error;
  }
}

function argumentsFor({ expirationSeconds = 3600, provider = 'fernet', notifications, cache }: LabOptions): readonly string[] {
  const told = notifications && ['--notifications', notifications.url, '--format', notifications.format];
  return [
    ...['--expiration', String(expirationSeconds), '--provider', provider],
    ...(told ?? []),
    ...(notifications?.optOut === undefined ? [] : ['--opt-out', notifications.optOut]),
    ...(cache === undefined ? [] : ['--cache', cache]),
  ];
}

/** Kinds that need more than a login by POST /auth/tokens. */
type OtherWay = 'oauth1' | 'federated' | 'federated_unscoped';

interface Parts {
  readonly url: string;
  readonly seed: Seed;
  readonly proxy: CountingProxy;
  readonly directory: string;
  readonly expirationSeconds: number;
  up(): Promise<void>;
  down(...args: readonly string[]): Promise<void>;
}

function labOver({ url, seed, proxy, directory, expirationSeconds, up, down }: Parts): Lab {
  const { admin, users, projects, domains, trusts, applicationCredentials } = seed;
  const alice = byPassword(users.alice.id, users.alice.password);
  const bob = byPassword(users.bob.id, users.bob.password);
  const onWeb = { project: { id: projects.web } };
  const logins: Readonly<Record<Exclude<TokenKind, OtherWay>, readonly [identity: unknown, scope?: unknown]>> = {
    unscoped: [alice, 'unscoped'],
    project: [alice, onWeb],
    domain: [alice, { domain: { id: domains.acme } }],
    system: [alice, { system: { all: true } }],
    trust: [bob, { 'OS-TRUST:trust': { id: trusts.plain } }],
    trust_impersonating: [bob, { 'OS-TRUST:trust': { id: trusts.impersonating } }],
    application_credential: [byApplicationCredential(applicationCredentials.plain.id, applicationCredentials.plain.secret)],
    application_credential_access_rules: [byApplicationCredential(applicationCredentials.rules.id, applicationCredentials.rules.secret)],
    admin: [byPassword(admin.userId, admin.password), { project: { id: admin.projectId } }],
    validator: [byPassword(users.validator.id, users.validator.password), { project: { id: projects.service } }],
    nova: [byPassword(users.nova.id, users.nova.password), { project: { id: projects.service } }],
    dave: [byPassword(users.dave.id, users.dave.password), { project: { id: projects.db } }],
  };
  const token = async (kind: TokenKind): Promise<string> => {
    if (kind === 'oauth1') return await oauth1Login(url, seed.oauth1);
    if (kind === 'federated_unscoped') return await federatedLogin(url, 'erin');
    if (kind === 'federated') return await keystoneLogin(url, byToken(await federatedLogin(url, 'erin')), onWeb);
    return await keystoneLogin(url, ...logins[kind]);
  };

  // Our own admin token, kept for half its life: a test may ask for tokens of few seconds.
  let ours: { readonly token: string; readonly untilMs: number } | undefined;
  const asAdmin = async () => {
    if (ours === undefined || performance.now() > ours.untilMs) {
      ours = { token: await token('admin'), untilMs: performance.now() + expirationSeconds * 500 };
    }
    return ours.token;
  };
  const setEnabled = async (id: string, enabled: boolean) => {
    await keystoneCall(url, 'PATCH', `/users/${id}`, await asAdmin(), { user: { enabled } });
  };
  const signal = async (name: 'SIGSTOP' | 'SIGCONT') => {
    const master = Number(await readFile(join(directory, 'run', 'keystone.pid'), 'utf8'));
    const workers = (await readFile(`/proc/${master}/task/${master}/children`, 'utf8')).trim().split(' ').map(Number);
    // The master first: it would take a worker that does not move for a broken one.
    for (const pid of [master, ...workers]) process.kill(pid, name);
  };

  return {
    url,
    seed,
    proxy: { ...proxy, url: `${proxy.origin}/v3` },
    token,
    revoke: async (subject) => {
      const reply = await keystoneRequest(url, 'DELETE', '/auth/tokens', {
        token: await asAdmin(),
        headers: { 'x-subject-token': subject },
      });
      if (reply.status !== 204) throw new Error(`revoking -> ${reply.status}`);
    },
    disableUser: (id) => setEnabled(id, false),
    enableUser: async (id) => {
      await setEnabled(id, true);
      await nextSecond();
    },
    nextSecond,
    request: (method, path, as, body) =>
      keystoneRequest(url, method, path, { ...(as === undefined ? {} : { token: as }), ...(body === undefined ? {} : { body }) }),
    logins: () => proxy.count('POST', '/v3/auth/tokens'),
    stopServer: () => down('--server-only'),
    startServer: up,
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    fernetKeys: join(directory, 'keystone', 'fernet'),
    jwsKeys: join(directory, 'keystone', 'jws', 'public'),
    lagAfterMessages: async (ms) => {
      const file = join(directory, 'run', 'lag-after-messages');
      if (ms <= 0) return await rm(file, { force: true });
      // Whole at once: it may be read at any time.
      await writeFile(`${file}.new`, String(ms / 1000));
      await rename(`${file}.new`, file);
    },
    close: async () => {
      await proxy.close();
      await down('--wipe');
    },
  };
}

const nextSecond = () => setTimeout(1000 - (Date.now() % 1000) + 20);

/** A free port outside the kernel's ephemeral range: nobody's outgoing connection takes it while Keystone is stopped. */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const free = await new Promise<boolean>((done) => {
      server.on('error', () => done(false));
      server.listen(port, '127.0.0.1', () => done(true));
    });
    if (!free) continue;
    await new Promise<void>((done) => server.close(() => done()));
    return port;
  }
  throw new Error('no free port between 20000 and 32000');
}

async function endOfLogs(directory: string): Promise<string> {
  const logs = ['manage', 'keystone', 'uwsgi'].map(async (name) => {
    const text = await readFile(join(directory, 'log', `${name}.log`), 'utf8').catch((error: Error) => `(${error.message})`);
    return `${name}.log: …${text.slice(-1500)}`;
  });
  return (await Promise.all(logs)).join('\n');
}
