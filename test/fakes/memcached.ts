// A real memcached for one test: started, frozen, killed, started again at the same port, and ended by its process id.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe } from 'vitest';
import { tlsPair } from './tls-pair.ts';

/** A running memcached on 127.0.0.1. */
export interface Memcached {
  readonly host: string;
  readonly port: number;
  /** One line of its text protocol, in clear; answers the first line of the reply. */
  command(line: string): Promise<string>;
  /** SIGSTOP: from when it resolves on the kernel accepts connections, and nothing is answered. */
  freeze(): Promise<void>;
  thaw(): void;
  /** SIGKILL. Connections are refused when it resolves. */
  kill(): Promise<void>;
  /** Starts it anew at the same port, empty; answers when it serves. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

const binaries = ['/usr/bin/memcached', '/usr/local/bin/memcached', '/opt/homebrew/bin/memcached'];
const binary = binaries.find((path) => existsSync(path));

/** Why there is no memcached here, or undefined. `npm test` sets SIDEGATE_SKIP_UNIT or installs what is missing. */
export const whyNoMemcached: string | undefined =
  process.env['SIDEGATE_SKIP_UNIT'] ?? (binary === undefined ? 'memcached is not installed' : undefined);

/** `describe`, or where there is no memcached a suite skipped aloud: the reason stands in its title. */
export const describeWithMemcached = (title: string, suite: () => void): void => {
  if (whyNoMemcached === undefined) describe(title, suite);
  else describe.skip(`${title} (skipped: ${whyNoMemcached})`, suite);
};

/** Starts one with its own memory. `tls`: with the certificate of fakes/tls-pair.ts, and nothing in clear. */
export async function startMemcached({ tls = false }: { readonly tls?: boolean } = {}): Promise<Memcached> {
  const directory = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-memcached-'));
  if (tls) {
    writeFileSync(join(directory, 'cert.pem'), tlsPair.cert);
    writeFileSync(join(directory, 'key.pem'), tlsPair.key, { mode: 0o600 });
  }
  // To memcached 0 is no port at all, and -1 any that is free.
  let child = await spawnAt(-1, directory, tls);
  const port = portIn(directory);

  const end = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return {
    host: '127.0.0.1',
    port,
    command: (line) => firstLine(port, line),
    async freeze() {
      child.kill('SIGSTOP');
      // Its threads stop one by one.
      while (threadStates(child.pid).some((state) => state !== 'T')) await pause(1);
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

/** Resolves when it serves. */
async function spawnAt(port: number, directory: string, tls: boolean): Promise<ChildProcess> {
  if (binary === undefined) throw new Error('memcached is not installed');
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
  const secured = tls ? ['-Z', '-o', `ssl_chain_cert=${join(directory, 'cert.pem')},ssl_key=${join(directory, 'key.pem')}`] : [];
  const env = { ...process.env, MEMCACHED_PORT_FILENAME: portFile(directory) };
  rmSync(portFile(directory), { force: true });
  const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '64', '-t', '2', ...user, ...secured];
  const child = spawn(binary, args, { stdio: 'ignore', env });
  await once(child, 'spawn');
  try {
    // It writes the file under another name and renames it: what is there is whole.
    while (!existsSync(portFile(directory))) {
      if (child.exitCode !== null) throw new Error(`memcached ended at once with ${child.exitCode}`);
      await pause(5);
    }
    await serves(portIn(directory));
    return child;
  } catch (error) {
    // Nobody else knows of it yet.
    child.kill('SIGKILL');
    throw error;
  }
}

const portFile = (directory: string): string => join(directory, 'ports');

function portIn(directory: string): number {
  return Number(/^TCP INET: (\d+)$/m.exec(readFileSync(portFile(directory), 'utf8'))?.[1]);
}

/** As /proc tells them; none where there is no /proc. */
function threadStates(pid: number | undefined): readonly string[] {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).map((task) => /\) (\S)/.exec(readFileSync(join(tasks, task, 'stat'), 'utf8'))?.[1] ?? '');
}

/** Resolves when somebody accepts connections at `port`. */
async function serves(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const accepted = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(
      () => false,
    );
    socket.destroy();
    if (accepted) return;
    await pause(5);
  }
}

async function firstLine(port: number, line: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(`${line}\r\n`);
  const [reply] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return reply.toString('latin1').split('\r\n')[0] ?? '';
}
