// A process of the real memcached: started, frozen, killed, started again at the same port, and ended by its process id.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tlsPair } from './tls-pair.ts';

/** A running memcached, always at the same address of 127.0.0.1. */
export interface MemcachedProcess {
  readonly host: string;
  readonly port: number;
  /** `host:port`. */
  readonly address: string;
  /** 0 while it is not there. */
  readonly pid: number;
  /** SIGSTOP: from when it resolves on the kernel accepts connections, and nothing is answered. */
  freeze(): Promise<void>;
  thaw(): void;
  /** SIGKILL. Connections are refused when it resolves. */
  kill(): Promise<void>;
  /** Starts it anew at the same port, empty; resolves when it serves. */
  restart(): Promise<void>;
  /** Kills it, and leaves nothing behind. */
  close(): Promise<void>;
}

const binaries = ['/usr/bin/memcached', '/usr/local/bin/memcached', '/opt/homebrew/bin/memcached'];

/** Where memcached is on this machine; undefined: it is not installed. */
export const memcachedBinary: string | undefined = binaries.find((path) => existsSync(path));

/** It serves within milliseconds; a machine that is busy takes its time. */
const startMs = 20_000;

/**
 * Starts one with its own memory. `tls`: with the certificate of tls-pair.ts, and nothing in clear. Throws where it is not installed
 * or ends at once.
 */
export async function startMemcachedProcess({ tls = false }: { readonly tls?: boolean } = {}): Promise<MemcachedProcess> {
  const directory = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-memcached-'));
  if (tls) {
    writeFileSync(join(directory, 'cert.pem'), tlsPair.cert);
    writeFileSync(join(directory, 'key.pem'), tlsPair.key, { mode: 0o600 });
  }
  const { port, child: first } = await spawnAnywhere(directory, tls).catch((error: unknown) => {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  });
  let child = first;
  const isThere = (): boolean => child.exitCode === null && child.signalCode === null;

  const end = async (): Promise<void> => {
    if (!isThere()) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return {
    host: '127.0.0.1',
    port,
    address: `127.0.0.1:${port}`,
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
    async restart() {
      await end();
      child = await spawnAt(port, directory, tls);
    },
    async close() {
      await end();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Outside the kernel's ephemeral range: nobody's outgoing connection takes the port while memcached is away. */
async function spawnAnywhere(directory: string, tls: boolean): Promise<{ readonly port: number; readonly child: ChildProcess }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      return { port, child: await spawnAt(port, directory, tls) };
    } catch (error) {
      // Somebody else has that port; who fails at twenty fails for another reason.
      if (attempt === 20 || !(error instanceof EndedAtOnce)) throw error;
    }
  }
}

class EndedAtOnce extends Error {}

/** Resolves when it serves. */
async function spawnAt(port: number, directory: string, tls: boolean): Promise<ChildProcess> {
  if (memcachedBinary === undefined) throw new Error('memcached is not installed');
  // It refuses to be root unless it is told whom to be instead; another could not read its key.
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
  const secured = tls ? ['-Z', '-o', `ssl_chain_cert=${join(directory, 'cert.pem')},ssl_key=${join(directory, 'key.pem')}`] : [];
  const portFile = join(directory, 'ports');
  rmSync(portFile, { force: true });
  const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '64', '-t', '2', ...user, ...secured];
  const child = spawn(memcachedBinary, args, { stdio: 'ignore', env: { ...process.env, MEMCACHED_PORT_FILENAME: portFile } });
  await once(child, 'spawn');
  const late = AbortSignal.timeout(startMs);
  try {
    // Who answers at the port may be another: it writes this file when the port is its own.
    while (!existsSync(portFile)) {
      if (child.exitCode !== null) throw new EndedAtOnce(`memcached ended at once with ${child.exitCode}`);
      await pause(5, undefined, { signal: late });
    }
    while (!(await accepts(port))) await pause(5, undefined, { signal: late });
    return child;
  } catch (error) {
    // Nobody else knows of it yet.
    child.kill('SIGKILL');
    throw error;
  }
}

/** As /proc tells them; none where there is no /proc. */
function threadStates(pid: number | undefined): readonly string[] {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).map((task) => /\) (\S)/.exec(readFileSync(join(tasks, task, 'stat'), 'utf8'))?.[1] ?? '');
}

/** Whether somebody accepts connections at `port`. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const connected = once(socket, 'connect').then(() => true);
  const failed = once(socket, 'error').then(() => false);
  // `once` rejects by an 'error', too.
  const accepted = await Promise.race([connected, failed]).catch(() => false);
  socket.destroy();
  return accepted;
}
