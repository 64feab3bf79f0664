// A sidecar's beginning and end: what is told when, what is refused, and what is left.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client, credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../src/config/types.ts';
import { openLevelJournal } from '../src/journal/leveldb.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import { createSidecar, type Running } from '../src/sidecar.ts';
import { createFakeClock } from './fakes/clock.ts';
import { detailsOf } from './fakes/watcher.ts';
import { journalWith, type Stage, stageConfig, startStage } from './rpc/watch-stage.ts';

const stages: Stage[] = [];
const closing: (() => unknown)[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.stop()));
  for (const close of closing.splice(0)) await close();
});

async function start(...given: Parameters<typeof startStage>): Promise<Stage> {
  const stage = await startStage(...given);
  stages.push(stage);
  return stage;
}

function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-start-'));
  closing.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A configuration that the real adapters serve: a JWT issuer with its keys in a file, and LevelDB. */
function realConfig(dir: string, change: Partial<Config> = {}): Config {
  const keys = join(dir, 'keys.json');
  writeFileSync(keys, JSON.stringify({ keys: [{ kty: 'OKP', crv: 'Ed25519', kid: 'k', x: 'A'.repeat(43) }] }));
  return {
    ...stageConfig(dir),
    issuers: [
      {
        kind: 'jwt',
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'main',
        issuer: 'https://issuer.test',
        keys: { kind: 'file', file: { path: keys, read: async () => readFileSync(keys, 'utf8') } },
        algorithms: ['EdDSA'],
        types: ['at+jwt'],
        audiences: [],
        tls: { caFile: undefined, serverName: undefined },
        skewMs: 0,
        maxTokenLifeMs: 3_600_000,
        calls: { deadlineMs: 1000 },
        expiredWithinMs: 0,
      },
    ],
    journal: { dir: join(dir, 'journal') },
    ...change,
  };
}

interface Started {
  readonly running: Running;
  readonly stop: () => Promise<void>;
}

async function startReal(config: Config): Promise<Started> {
  const end = new AbortController();
  const running = await createSidecar({ config, destination: { write: () => undefined } }).start(end.signal);
  const stop = async (): Promise<void> => {
    end.abort();
    await running.stopped;
  };
  closing.push(stop);
  return { running, stop };
}

/** grpc.health.v1.Health/Check without generated code: the name is field 1, the status field 1 of the answer. */
function healthOf(address: string, service = ''): Promise<'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | number> {
  const client = new Client(address, credentials.createInsecure());
  const name = Buffer.from(service);
  const request = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const names = ['UNKNOWN', 'SERVING', 'NOT_SERVING'] as const;
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes[1] ?? 0,
      request,
      (error, value) => {
        client.close();
        resolve(error ? error.code : (names[value ?? 0] ?? 'UNKNOWN'));
      },
    );
  });
}

/** Every status that Health/Watch tells, as it comes. */
function watchHealth(address: string): { readonly seen: readonly number[]; cancel(): void } {
  const client = new Client(address, credentials.createInsecure());
  const seen: number[] = [];
  const stream = client.makeServerStreamRequest(
    '/grpc.health.v1.Health/Watch',
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes[1] ?? 0,
    Buffer.alloc(0),
  );
  stream.on('data', (value: number) => seen.push(value));
  stream.on('error', () => undefined);
  const cancel = (): void => {
    stream.cancel();
    client.close();
  };
  return { seen, cancel };
}

async function readyOf(operations: string | undefined): Promise<number> {
  return (await fetch(`http://${operations}/readyz`)).status;
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

describe('a start', () => {
  it('tells SERVING on every listener and for every service once start has resolved', async () => {
    const { running } = await start();
    const addresses = [running.tcp ?? '', running.socket ?? ''];
    const answers = addresses.flatMap((address) => ['', 'sidegate.v1.TokenService', 'issuer/main'].map((name) => healthOf(address, name)));
    expect(await Promise.all(answers)).toEqual(Array(6).fill('SERVING'));
    expect(await readyOf(running.operations)).toBe(200);
    expect(await healthOf(running.tcp ?? '', 'nobody')).toBe(status.NOT_FOUND);
  });

  it('lives and is not ready while the journal loads, and listens for calls only when it is loaded', async () => {
    const dir = newDir();
    let load = (): void => undefined;
    const loaded = new Promise<void>((resolve) => {
      load = resolve;
    });
    let reading = (): void => undefined;
    const isReading = new Promise<void>((resolve) => {
      reading = resolve;
    });
    const inner = createMemoryJournal({ clock: createFakeClock() });
    const journal = journalWith(inner, {
      read: async (...given) => {
        reading();
        await loaded;
        return inner.read(...given);
      },
    });
    const port = await freePort();
    const operations = { host: '127.0.0.1', port };
    const starting = start({ journal, config: () => ({ ...stageConfig(dir), listen: { ...stageConfig(dir).listen, operations } }) });
    await isReading;
    expect([await readyOf(`127.0.0.1:${port}`), (await fetch(`http://127.0.0.1:${port}/healthz`)).status]).toEqual([503, 200]);
    expect(existsSync(join(dir, 'sidegate.sock'))).toBe(false);
    load();
    await starting;
    expect(await readyOf(`127.0.0.1:${port}`)).toBe(200);
  });
});

describe('a journal that is not whole', () => {
  it('is said by GetStatus and the log; the sidecar serves, with a REFRESH of everything applied', async () => {
    const corruption = '1 of 2 entries are missing between revisions 1 and 2';
    const inner = createMemoryJournal({ clock: createFakeClock() });
    Object.defineProperty(inner, 'corruption', { value: corruption });
    const stage = await start({ journal: inner });
    const told = await stage.status();
    expect(told.dependencies.find((one) => one.name === 'journal')).toMatchObject({ reachable: true, problem: corruption });
    expect([told.serving, told.latest?.revision, told.applied?.revision]).toEqual([true, 1n, 1n]);
    expect(stage.lines.filter((line) => line.includes('"level":"error"') && line.includes(corruption)).length).toBe(1);
  });
});

describe('a drain', () => {
  it('flips health before the streams end, answers what is under way, and readiness says no until the last listener is gone', async () => {
    const stage = await start();
    const health = watchHealth(stage.running.tcp ?? '');
    const watcher = stage.watch();
    await watcher.until((it) => it.checkpoints.length > 0);
    while (health.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const end = watcher.ended.then((error) => ({ error, health: [...health.seen], ready: readyOf(stage.running.operations) }));
    const stopped = stage.stop();
    stages.splice(0);
    const { error, health: seen, ready } = await end;
    expect([error?.code, detailsOf(error).reason, seen]).toEqual([status.UNAVAILABLE, 'DRAINING', [1, 2]]);
    expect(await ready).toBe(503);
    health.cancel();
    await stopped;
    await expect(readyOf(stage.running.operations)).rejects.toThrow();
  });

  it('closes every listener, removes the socket and the lock of the journal, and another one can start in its place', async () => {
    const dir = newDir();
    const config = realConfig(dir);
    const first = await startReal(config);
    const { running } = first;
    expect(await accepts(join(dir, 'sidegate.sock'))).toBe(true);
    await first.stop();
    expect([existsSync(join(dir, 'sidegate.sock')), await healthOf(running.tcp ?? '')]).toEqual([false, status.UNAVAILABLE]);
    await expect(readyOf(running.operations)).rejects.toThrow();
    const second = await startReal(config);
    expect(await healthOf(second.running.socket ?? '')).toBe('SERVING');
  });

  it('a signal that has aborted before the start: it starts, drains at once and leaves nothing', async () => {
    const dir = newDir();
    const config = realConfig(dir);
    const running = await createSidecar({ config, destination: { write: () => undefined } }).start(AbortSignal.abort());
    await running.stopped;
    expect(existsSync(join(dir, 'sidegate.sock'))).toBe(false);
    await (await openLevelJournal({ dir: join(dir, 'journal'), clock: createFakeClock() })).close();
  });
});

describe('a start that fails', () => {
  /** Nothing is left: another one can have the journal, and nobody listens. */
  async function expectNothingLeft(dir: string): Promise<void> {
    const journal = await openLevelJournal({ dir: join(dir, 'journal'), clock: createFakeClock() });
    await journal.close();
    expect(existsSync(join(dir, 'sidegate.sock'))).toBe(false);
  }

  const listening = async (): Promise<{ server: Server; port: number }> => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => new Promise((resolve) => server.close(resolve)));
    const address = server.address();
    return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
  };

  it.each(['tcp', 'operations'] as const)('says which address is taken, and leaves nothing open: %s', async (which) => {
    const dir = newDir();
    const { port } = await listening();
    const config = realConfig(dir);
    const listen = { ...config.listen, [which]: { host: '127.0.0.1', port } };
    await expect(startReal({ ...config, listen })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'CANNOT_LISTEN',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    await expectNothingLeft(dir);
    await startReal(config);
  });

  it('a socket that somebody listens on is refused and left alone; nothing else is left open', async () => {
    const dir = newDir();
    const path = join(dir, 'sidegate.sock');
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    closing.push(() => new Promise((resolve) => server.close(resolve)));
    await expect(startReal(realConfig(dir))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'CANNOT_LISTEN',
      message: expect.stringContaining(path),
    });
    expect(await accepts(path)).toBe(true);
    await (await openLevelJournal({ dir: join(dir, 'journal'), clock: createFakeClock() })).close();
  });

  it('a journal that another sidecar has is refused in words, and that one goes on', async () => {
    const dir = newDir();
    const first = await startReal(realConfig(dir));
    const other = { ...realConfig(dir), listen: { ...stageConfig(newDir()).listen } };
    await expect(startReal(other)).rejects.toMatchObject({
      reason: 'JOURNAL_LOCKED',
      message: expect.stringContaining(join(dir, 'journal')),
    });
    expect(await healthOf(first.running.socket ?? '')).toBe('SERVING');
  });

  it('a group that does not exist is said, and nothing is left open', async () => {
    const dir = newDir();
    const config = realConfig(dir);
    const socket = { path: join(dir, 'sidegate.sock'), mode: 0o660, group: 'no-such-group-here' };
    await expect(startReal({ ...config, listen: { ...config.listen, socket } })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'NO_SUCH_GROUP',
    });
    await expectNothingLeft(dir);
  });
});

describe('the socket', () => {
  it.each([0o600, 0o660, 0o666])('has its mode, whatever the umask: %o', async (mode) => {
    const dir = newDir();
    const config = realConfig(dir);
    const before = process.umask(0o077);
    closing.push(() => process.umask(before));
    await startReal({ ...config, listen: { ...config.listen, socket: { path: join(dir, 'sidegate.sock'), mode, group: undefined } } });
    expect(statSync(join(dir, 'sidegate.sock')).mode & 0o777).toBe(mode);
    expect(process.umask()).toBe(0o077);
  });

  it('has its group, and so has its directory where that is made', async () => {
    const dir = newDir();
    const config = realConfig(dir);
    const path = join(dir, 'run', 'sidegate.sock');
    const [name = '', , gid = ''] = groupOfOurs();
    await startReal({ ...config, listen: { ...config.listen, socket: { path, mode: 0o660, group: name } } });
    expect([statSync(path).gid, statSync(dirname(path)).gid, statSync(dirname(path)).mode & 0o777]).toEqual([
      Number(gid),
      Number(gid),
      0o750,
    ]);
  });

  it('one that a killed sidecar left is replaced', async () => {
    const dir = newDir();
    const path = join(dir, 'sidegate.sock');
    await leaveSocket(path);
    const { running } = await startReal(realConfig(dir));
    expect(await healthOf(running.socket ?? '')).toBe('SERVING');
  });

  it('a file that is no socket is not removed', async () => {
    const dir = newDir();
    const path = join(dir, 'sidegate.sock');
    writeFileSync(path, 'precious');
    await expect(startReal(realConfig(dir))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'CANNOT_LISTEN' });
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('its directory is left as it is where it exists', async () => {
    const dir = newDir();
    const run = join(dir, 'run');
    mkdirSync(run);
    chmodSync(run, 0o711);
    const config = realConfig(dir);
    await startReal({
      ...config,
      listen: { ...config.listen, socket: { path: join(run, 'sidegate.sock'), mode: 0o600, group: undefined } },
    });
    expect(statSync(run).mode & 0o777).toBe(0o711);
  });
});

/** A group that this process may give a file to: as root any but its own, else its own. */
function groupOfOurs(): readonly string[] {
  const groups = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .filter(([name]) => name);
  const mine = process.getgid?.();
  const others = process.getuid?.() === 0 ? groups.filter(([, , gid]) => Number(gid) !== mine) : [];
  return others[0] ?? groups.find(([, , gid]) => Number(gid) === mine) ?? [];
}

/** As `kill -9` leaves one: the name is there, nobody listens. */
async function leaveSocket(path: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const code = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
  await new Promise((resolve) => child.on('exit', resolve));
  expect([existsSync(path), await accepts(path)]).toEqual([true, false]);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
