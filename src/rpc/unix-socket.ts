// A unix socket's place in the file system: its directory, what an earlier sidecar has left there, and who may open it.

import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readFileSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { SidecarError } from '../core/errors.ts';

/** Where a socket shall be, and for whom. */
export interface SocketPlace {
  readonly path: string;
  readonly mode: number;
  /** By name. Of the socket, and of its directory where that is made. */
  readonly group: string | undefined;
}

/**
 * Has `bind` make a socket at `path`; never is it open to more than `mode`, not for a moment. Its directory is made where there is none.
 * A socket there that nobody listens on any more is removed; nothing else ever is.
 * Throws FAILED_PRECONDITION / NO_SUCH_GROUP, and CANNOT_LISTEN where the path is taken or not allowed; `bind` may have succeeded then.
 */
export async function bindUnixSocket(place: SocketPlace, bind: () => Promise<unknown>): Promise<void> {
  const { path, mode, group } = place;
  const groupId = group === undefined ? undefined : groupIdOf(group);
  inWords(path, () => makeDirectory(dirname(path), groupId));
  await removeLeftover(path);
  // The server library makes a socket as the umask says.
  const before = process.umask(0o777 & ~mode);
  try {
    await bind();
  } finally {
    process.umask(before);
  }
  inWords(path, () => {
    chmodSync(path, mode);
    if (groupId !== undefined) chownSync(path, -1, groupId);
  });
}

function groupIdOf(name: string): number {
  const line = groups(name).find((one) => one.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  if (line !== undefined && Number.isInteger(id)) return id;
  throw new SidecarError('FAILED_PRECONDITION', `there is no group "${name}"`, { reason: 'NO_SUCH_GROUP' });
}

function groups(wanted: string): readonly string[] {
  try {
    return readFileSync('/etc/group', 'utf8').split('\n');
  } catch (error) {
    const message = `whether there is a group "${wanted}" cannot be told: ${said(error)}`;
    throw new SidecarError('FAILED_PRECONDITION', message, { reason: 'NO_SUCH_GROUP', cause: error });
  }
}

function makeDirectory(directory: string, groupId: number | undefined): void {
  if (existsSync(directory)) return;
  mkdirSync(directory, { recursive: true, mode: 0o750 });
  if (groupId !== undefined) chownSync(directory, -1, groupId);
}

async function removeLeftover(path: string): Promise<void> {
  // Not existsSync: a link that leads nowhere is there as well.
  const there = inWords(path, () => lstatSync(path, { throwIfNoEntry: false }));
  if (there === undefined) return;
  if (!there.isSocket()) throw cannotListen(path, 'something is there that is no socket');
  const answer = await knock(path);
  if (answer === 'connected') throw cannotListen(path, 'somebody listens on it already');
  if (answer === 'ENOENT') return;
  // Only a refusal says that nobody is there: one that is busy, or not for us, is somebody's too.
  if (answer !== 'ECONNREFUSED') throw cannotListen(path, `a socket is there, and whose it is cannot be told: ${answer}`);
  inWords(path, () => unlinkSync(path));
}

/** What a connection to the socket comes to: the system's code where it fails. */
function knock(path: string): Promise<string> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const end = (answer: string): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.setTimeout(1000, () => end('no answer'));
    probe.once('connect', () => end('connected'));
    probe.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

/** `act`, whose failure is told in the system's own words: they name what was tried, and where. */
function inWords<Value>(path: string, act: () => Value): Value {
  try {
    return act();
  } catch (error) {
    throw cannotListen(path, said(error), error);
  }
}

function cannotListen(path: string, why: string, cause?: unknown): SidecarError {
  return new SidecarError('FAILED_PRECONDITION', `cannot listen on ${path}: ${why}`, { reason: 'CANNOT_LISTEN', cause });
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
