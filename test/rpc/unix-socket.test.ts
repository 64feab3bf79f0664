// A socket's place: who may open it, what is removed to make room for it, and in which words it cannot be had.

import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bindUnixSocket } from '../../src/rpc/unix-socket.ts';
import { foreignGroup, withoutRoot } from '../fakes/nobody.ts';
import { leaveSocketAt, listenOn } from '../fakes/sockets.ts';

let dir: string;
let path: string;
const servers: Server[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sidegate-socket-'));
  path = join(dir, 's.sock');
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  rmSync(dir, { recursive: true, force: true });
});

async function listening(at = path): Promise<void> {
  servers.push(await listenOn(at));
}

const bind = (at: string, group?: string): Promise<void> => bindUnixSocket({ path: at, mode: 0o660, group }, () => listening(at));

const refusal = (at: string): object => ({
  name: 'SidecarError',
  code: 'FAILED_PRECONDITION',
  reason: 'CANNOT_LISTEN',
  message: expect.stringContaining(at),
});

describe('a place that cannot be had is said with its path', () => {
  it('a directory that cannot be made', async () => {
    writeFileSync(join(dir, 'file'), '');
    const at = join(dir, 'file', 'run', 's.sock');
    await expect(bind(at)).rejects.toMatchObject(refusal(at));
  });

  it('a directory that we may not write to', async () => {
    const at = join(dir, 'closed', 's.sock');
    mkdirSync(join(dir, 'closed'), { mode: 0o555 });
    await expect(withoutRoot([], () => bind(join(at, 'deeper')))).rejects.toMatchObject(refusal(at));
  });

  it('a group that we may not give it to', async () => {
    await expect(withoutRoot([dir], () => bind(path, foreignGroup()))).rejects.toMatchObject(refusal(path));
  });

  it('a socket whose mode cannot be set', async () => {
    await expect(bindUnixSocket({ path, mode: 0o600, group: undefined }, async () => undefined)).rejects.toMatchObject(refusal(path));
  });

  it('a group that does not exist, before anything is made', async () => {
    const at = join(dir, 'run', 's.sock');
    await expect(bind(at, 'no-such-group-here')).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'NO_SUCH_GROUP',
      message: expect.stringContaining('no-such-group-here'),
    });
    expect(existsSync(join(dir, 'run'))).toBe(false);
  });

  it.each([true, false])('leaves the umask as it was, whether it can be bound or not: %s', async (can) => {
    const before = process.umask();
    const fails = Promise.reject(new Error('not bound'));
    fails.catch(() => undefined);
    await bindUnixSocket({ path, mode: 0o600, group: undefined }, () => (can ? listening() : fails)).catch(() => undefined);
    expect(process.umask()).toBe(before);
  });
});

describe('what is there already', () => {
  it('a socket that nobody listens on is replaced', async () => {
    await leaveSocketAt(path);
    chmodSync(path, 0o600);
    await bind(path);
    expect(lstatSync(path).mode & 0o777).toBe(0o660);
  });

  it('a socket that answers is somebody’s', async () => {
    await listening();
    await expect(bind(path)).rejects.toMatchObject(refusal(path));
    expect(lstatSync(path).isSocket()).toBe(true);
  });

  it('a socket that is not for us is somebody’s', async () => {
    await listening();
    chmodSync(path, 0o000);
    await expect(withoutRoot([dir], () => bind(path))).rejects.toMatchObject(refusal(path));
    expect(lstatSync(path).isSocket()).toBe(true);
  });

  it('a file is left alone', async () => {
    writeFileSync(path, 'precious');
    await expect(bind(path)).rejects.toMatchObject(refusal(path));
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('a directory is left alone', async () => {
    mkdirSync(path);
    await expect(bind(path)).rejects.toMatchObject(refusal(path));
    expect(lstatSync(path).isDirectory()).toBe(true);
  });

  it('a link that leads nowhere is left alone', async () => {
    symlinkSync(join(dir, 'nowhere'), path);
    await expect(bind(path)).rejects.toMatchObject(refusal(path));
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
  });
});
