// The gRPC listeners: how they are refused an address, and how they drain.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientReadableStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/types.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { foreignGroup, withoutRoot } from '../fakes/nobody.ts';
import { listenOn } from '../fakes/sockets.ts';
import { journalWith, type Stage, type StageOptions, startStage } from './watch-stage.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-server-'));
  closing.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function start(options: StageOptions, drainMs: number): Promise<Stage> {
  const config = (usual: Config): Config => ({ ...usual, shutdown: { drainMs } });
  const stage = await startStage({ config, ...options });
  closing.push(() => stage.stop());
  return stage;
}

/** A memory journal whose next append waits until it is let go. */
function gatedJournal() {
  let letGo = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let begin = (): void => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const inner = createMemoryJournal({ clock: createFakeClock() });
  const journal = journalWith(inner, {
    append: async (...given) => {
      begin();
      await gate;
      return inner.append(...given);
    },
  });
  return { journal, begun, letGo: () => letGo() };
}

interface OpenStream {
  /** The first bytes of each message, which are all that these tests need. */
  readonly seen: readonly Buffer[];
  readonly first: Promise<void>;
  readonly ended: Promise<ServiceError | undefined>;
}

const same = (bytes: Buffer): Buffer => bytes;

function watching(stream: ClientReadableStream<Buffer>, client: Client): OpenStream {
  closing.push(() => {
    stream.cancel();
    client.close();
  });
  const seen: Buffer[] = [];
  const first = new Promise<void>((resolve) => {
    stream.on('data', (message: Buffer) => {
      seen.push(message);
      resolve();
    });
  });
  const ended = new Promise<ServiceError | undefined>((resolve) => {
    stream.on('error', resolve);
    stream.on('end', () => resolve(undefined));
  });
  return { seen, first, ended };
}

function watchHealth(address: string): OpenStream {
  const client = new Client(address, credentials.createInsecure());
  return watching(client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', same, same, Buffer.alloc(0)), client);
}

function reflect(address: string): OpenStream {
  const client = new Client(address, credentials.createInsecure());
  const stream = client.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', same, same);
  // list_services, and the stream stays open for more.
  stream.write(Buffer.from([0x3a, 0x00]));
  return watching(stream, client);
}

async function timed(task: Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await task;
  return performance.now() - startedMs;
}

const serving = Buffer.from([0x08, 0x01]);
const notServing = Buffer.from([0x08, 0x02]);

describe('a drain', () => {
  it('does not wait for who watches health or asks for reflection: they are told, and end', async () => {
    const stage = await start({}, 60_000);
    const addresses = [stage.running.tcp ?? '', stage.running.socket ?? ''];
    const healths = addresses.map(watchHealth);
    const reflections = addresses.map(reflect);
    await Promise.all([...healths, ...reflections].map((one) => one.first));

    expect(await timed(stage.stop())).toBeLessThan(10_000);

    const codes = await Promise.all([...healths, ...reflections].map(async (one) => (await one.ended)?.code));
    expect(codes).toEqual(Array(4).fill(status.UNAVAILABLE));
    expect(healths.map((one) => one.seen)).toEqual(Array(2).fill([serving, notServing]));
  });

  it('waits for a call of the API that is under way, and no longer', async () => {
    const { journal, begun, letGo } = gatedJournal();
    const stage = await start({ journal }, 60_000);
    const health = watchHealth(stage.running.tcp ?? '');
    await health.first;
    const revoking = stage.revoke({ userId: 'alice' });
    await begun;
    let isStopped = false;
    const stopped = stage.stop().then(() => {
      isStopped = true;
    });
    expect((await health.ended)?.code).toBe(status.UNAVAILABLE);
    expect(isStopped).toBe(false);
    const takesMs = timed(stopped);
    letGo();
    expect((await revoking).entryId).not.toBe('');
    expect(await takesMs).toBeLessThan(10_000);
  });

  it('ends what does not end, at its limit', async () => {
    const { journal, begun } = gatedJournal();
    const stage = await start({ journal }, 200);
    const revoking = stage.revoke({ userId: 'alice' }).catch((error: ServiceError) => error.code);
    await begun;
    const tookMs = await timed(Promise.all([stage.stop(), revoking]));
    expect([status.UNAVAILABLE, status.CANCELLED]).toContain(await revoking);
    expect(tookMs).toBeGreaterThan(150);
    expect(tookMs).toBeLessThan(10_000);
  });

  it('leaves the place of its socket to a successor, and does not remove the one that is there then', async () => {
    const { begun, letGo, journal } = gatedJournal();
    const dir = newDir();
    const path = join(dir, 'sidegate.sock');
    const config = (usual: Config): Config => ({
      ...usual,
      listen: { ...usual.listen, socket: { path, mode: 0o600, group: undefined } },
      shutdown: { drainMs: 60_000 },
    });
    const stage = await start({ journal, config }, 60_000);
    const health = watchHealth(stage.running.tcp ?? '');
    await health.first;
    const revoking = stage.revoke({ userId: 'alice' });
    await begun;
    const stopped = stage.stop();
    await health.ended;
    expect(existsSync(path)).toBe(false);
    const successor = await listenOn(path);
    closing.push(() => successor.close());
    letGo();
    await Promise.all([revoking, stopped]);
    expect(existsSync(path)).toBe(true);
  });
});

describe('a listener that cannot be had', () => {
  it('is said with its path and leaves nobody listening: a group that we may not give the socket to', async () => {
    const dir = newDir();
    const path = join(dir, 'sidegate.sock');
    const socket = { path, mode: 0o660, group: foreignGroup() };
    const starting = withoutRoot([dir], () => startStage({ config: (usual) => ({ ...usual, listen: { ...usual.listen, socket } }) }));
    await expect(starting).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'CANNOT_LISTEN',
      message: expect.stringContaining(path),
    });
    expect(existsSync(path)).toBe(false);
  });
});
