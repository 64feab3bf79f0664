// Where `sidegate dev` listens: where the command line looks, or, where that is taken, somewhere near, with a word about it.

import { accessSync, constants, lstatSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Address, ListenConfig, SocketConfig } from '../config/types.ts';

/** Where to listen, and how to leave no trace of it. */
export interface Places {
  readonly listen: ListenConfig;
  /** One sentence for each listener that is not where the command line looks. */
  readonly notes: readonly string[];
  /** Removes the private directory of the socket, if one was made. */
  remove(): void;
}

/**
 * The listeners of `wanted` where they can be had; else any free port, and a socket in a private directory (0700) under the system's
 * directory for temporary files. Between this look and the listening somebody else may come.
 */
export async function findPlaces(wanted: ListenConfig): Promise<Places> {
  const notes: string[] = [];
  let privateDir: string | undefined;

  const port = async (address: Address | undefined, whose: string): Promise<Address | undefined> => {
    if (address === undefined || address.port === 0 || (await isFree(address))) return address;
    notes.push(`${address.host}:${address.port} is taken, so ${whose} listens on another port.`);
    return { ...address, port: 0 };
  };
  const socket = async (config: SocketConfig | undefined): Promise<SocketConfig | undefined> => {
    const why = config && (await whyNoSocket(config.path));
    if (config === undefined || why === undefined) return config;
    notes.push(`${config.path} ${why}, so the socket is in a private directory.`);
    privateDir = mkdtempSync(join(tmpdir(), 'sidegate-'));
    return { ...config, path: join(privateDir, 'sidegate.sock') };
  };

  const listen: ListenConfig = {
    socket: await socket(wanted.socket),
    tcp: await port(wanted.tcp, 'the API'),
    operations: await port(wanted.operations, 'operations'),
    keystone: undefined,
    introspection: undefined,
    remote: undefined,
  };
  return {
    listen,
    notes,
    remove: () => {
      if (privateDir !== undefined) rmSync(privateDir, { recursive: true, force: true });
    },
  };
}

function isFree({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port }, () => probe.close(() => resolve(true)));
  });
}

/** Why no socket can be made at `path`; undefined: it can. Makes its directory, which nobody but its owner and group may enter. */
async function whyNoSocket(path: string): Promise<string | undefined> {
  const directory = dirname(path);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o750 });
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    // Whatever it is (no permission, a read-only file system, a file of that name): there is no place for a socket.
    void error;
    return 'cannot be made';
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  // Whoever listens there removes what is in the way: it must not be somebody's file.
  if (!found.isSocket()) return 'is no socket';
  return (await isInUse(path)) ? 'is in use' : undefined;
}

/** A socket that nobody listens on is a leftover, which may be replaced. */
function isInUse(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const end = (inUse: boolean): void => {
      probe.destroy();
      resolve(inUse);
    };
    probe.setTimeout(1000, () => end(true));
    probe.once('connect', () => end(true));
    probe.once('error', (error: NodeJS.ErrnoException) => end(error.code !== 'ECONNREFUSED'));
  });
}
