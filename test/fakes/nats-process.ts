// A process of the real nats-server with JetStream: started, frozen, killed, started again with what was on disk, ended by its process id.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tlsPair } from './tls-pair.ts';

/** A running nats-server, always at the same address of 127.0.0.1. */
export interface NatsProcess {
  readonly host: string;
  readonly port: number;
  /** `nats://host:port`. */
  readonly url: string;
  /** 0 while it is not there. */
  readonly pid: number;
  /** SIGSTOP: from when it resolves on the kernel accepts connections, and nothing is answered. */
  freeze(): Promise<void>;
  thaw(): void;
  /** SIGKILL. Connections are refused when it resolves. */
  kill(): Promise<void>;
  /** Starts it with what is on disk; resolves when it serves. */
  start(): Promise<void>;
  /** What it has written to its log. */
  log(): string;
  /** Kills it, and leaves nothing behind. */
  close(): Promise<void>;
}

/** Which server is started. */
export interface NatsOptions {
  /** `server`: with the certificate of tls-pair.ts, and nothing in clear. `both`: clients must show one, too. */
  readonly tls?: 'server' | 'both';
  /** Public keys (`U…`) of those who may do everything; nobody else may anything. */
  readonly users?: readonly string[];
  /** What those users may not publish to, all the same. */
  readonly deny?: string;
  /** Without JetStream. */
  readonly isPlain?: boolean;
  /** Of the largest message, in bytes; a MiB where nothing is said. */
  readonly maxPayloadBytes?: number;
}

const binaries = ['/usr/sbin/nats-server', '/usr/bin/nats-server', '/usr/local/bin/nats-server', '/opt/homebrew/bin/nats-server'];

/** Where nats-server is on this machine; undefined: it is not installed. */
export const natsBinary: string | undefined = binaries.find((path) => existsSync(path));

/** It serves within a quarter of a second; a machine that is busy takes its time. */
const startMs = 20_000;

/** Starts one with its own store. Throws where it is not installed or ends at once. */
export async function startNatsProcess(options: NatsOptions = {}): Promise<NatsProcess> {
  const directory = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-nats-'));
  const { port, child: first } = await spawnAnywhere(directory, options).catch((error: unknown) => {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  });
  let child = first;
  const isThere = (): boolean => child.exitCode === null && child.signalCode === null;

  const end = async (): Promise<void> => {
    if (!isThere()) return;
    const exited = once(child, 'exit');
    // Also where it is frozen.
    child.kill('SIGKILL');
    await exited;
  };
  return {
    host: '127.0.0.1',
    port,
    url: `nats://127.0.0.1:${port}`,
    get pid() {
      return isThere() ? (child.pid ?? 0) : 0;
    },
    async freeze() {
      child.kill('SIGSTOP');
      // Its threads stop one by one.
      while (isThere() && threadStates(child.pid).some((state) => state !== 'T')) await pause(1);
    },
    thaw: () => void child.kill('SIGCONT'),
    kill: end,
    async start() {
      await end();
      child = await spawnAt(port, directory, options);
    },
    log: () => readFileSync(join(directory, 'log'), 'utf8'),
    async close() {
      await end();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Outside the kernel's ephemeral range: nobody's outgoing connection takes the port while the server is away. */
async function spawnAnywhere(directory: string, options: NatsOptions): Promise<{ readonly port: number; readonly child: ChildProcess }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      return { port, child: await spawnAt(port, directory, options) };
    } catch (error) {
      // Somebody else has that port; who fails at twenty fails for another reason.
      if (attempt === 20 || !(error instanceof EndedAtOnce)) throw error;
    }
  }
}

class EndedAtOnce extends Error {}

/** Resolves when it serves. */
async function spawnAt(port: number, directory: string, options: NatsOptions): Promise<ChildProcess> {
  if (natsBinary === undefined) throw new Error('nats-server is not installed');
  const file = join(directory, 'nats.conf');
  writeFileSync(file, configuration(port, directory, options), { mode: 0o600 });
  const child = spawn(natsBinary, ['-c', file], { stdio: 'ignore' });
  await once(child, 'spawn');
  // Written when it serves: who answers at the port may be another.
  const ready = join(directory, `nats-server_${child.pid}.ports`);
  const late = AbortSignal.timeout(startMs);
  try {
    while (!existsSync(ready)) {
      if (child.exitCode !== null) throw new EndedAtOnce(`nats-server ended at once with ${child.exitCode}`);
      await pause(5, undefined, { signal: late });
    }
    return child;
  } catch (error) {
    // Nobody else knows of it yet.
    child.kill('SIGKILL');
    throw error;
  }
}

function configuration(port: number, directory: string, { tls, users, deny, isPlain = false, maxPayloadBytes }: NatsOptions): string {
  const at = (name: string): string => JSON.stringify(join(directory, name));
  const lines = ['host: 127.0.0.1', `port: ${port}`, `ports_file_dir: ${JSON.stringify(directory)}`, `log_file: ${at('log')}`];
  if (!isPlain) lines.push(`jetstream { store_dir: ${at('store')}, max_memory_store: 64MB, max_file_store: 256MB }`);
  if (maxPayloadBytes !== undefined) lines.push(`max_payload: ${maxPayloadBytes}`);
  if (tls !== undefined) {
    writeFileSync(join(directory, 'cert.pem'), tlsPair.cert);
    writeFileSync(join(directory, 'key.pem'), tlsPair.key, { mode: 0o600 });
    const verify = tls === 'both' ? `, ca_file: ${at('cert.pem')}, verify: true` : '';
    lines.push(`tls { cert_file: ${at('cert.pem')}, key_file: ${at('key.pem')}, timeout: 5${verify} }`);
  }
  const rights = deny === undefined ? '' : `, permissions: { publish: { deny: "${deny}" }, subscribe: ">" }`;
  if (users !== undefined) lines.push(`authorization { users: [${users.map((user) => `{ nkey: ${user}${rights} }`).join(', ')}] }`);
  return `${lines.join('\n')}\n`;
}

/** As /proc tells them; none where there is no /proc. */
function threadStates(pid: number | undefined): readonly string[] {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).map((task) => /\) (\S)/.exec(readFileSync(join(tasks, task, 'stat'), 'utf8'))?.[1] ?? '');
}
