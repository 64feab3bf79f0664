// The log on this host's disk: what stays over restarts, what is trimmed, and what is said where it cannot be used.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { afterEach, describe, expect, it } from 'vitest';
import { createLocalLog } from '../../src/fleet/local-log.ts';
import { LocalStore } from '../../src/fleet/local-store.ts';
import type { Engine, LogRecord } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { type Holder, hold, says } from './jetstream-stage.ts';

const dirs: string[] = [];
const holders: Holder[] = [];
const stores: LocalStore[] = [];
afterEach(async () => {
  await Promise.all(holders.splice(0).map((holder) => holder.stop()));
  await Promise.all(stores.splice(0).map((store) => store.close()));
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const directory = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-log-'));
  dirs.push(dir);
  return dir;
};
const logIn = (dir: string): Engine =>
  createLocalLog({ dir, retentionMs: 3_600_000 }, { clock: systemClock, log: createFakeTelemetry().log });
const held = (engine: Engine): Holder => {
  const holder = hold(engine);
  holders.push(holder);
  return holder;
};
const another = (engine: Engine): Engine => {
  if (!engine.another) throw new Error('there is no other way to it');
  return engine.another();
};

describe('a log of one’s own', () => {
  it('is one log for whoever has it, and goes on where it was after a restart', async () => {
    const dir = directory();
    const log = logIn(dir);
    const [own, lent] = [held(log), held(another(log))];
    await own.append('a');
    await lent.append('b');
    await expect
      .poll(() => [own.texts(), lent.texts()])
      .toEqual([
        ['a', 'b'],
        ['a', 'b'],
      ]);
    await Promise.all(holders.splice(0).map((holder) => holder.stop()));

    const again = held(logIn(dir));
    await again.append('c');
    await expect.poll(() => again.read.map(({ position }) => position)).toEqual([1, 2, 3]);
    expect(again.texts()).toEqual(['a', 'b', 'c']);
  });

  it('that another process has, or that is no directory, is said, and used when it can be', async () => {
    const dir = directory();
    const first = held(logIn(dir));
    await first.append('a');
    const second = held(logIn(dir));
    expect(await says(second.engine, 'another process has it')).toBe(false);
    await first.stop();
    holders.splice(holders.indexOf(first), 1);
    await expect.poll(() => second.texts(), { timeout: 30_000 }).toEqual(['a']);
    expect(second.engine.health()).toMatchObject({ reachable: true });

    const file = join(directory(), 'file');
    writeFileSync(file, 'no directory');
    expect(await says(held(logIn(file)).engine, 'cannot be read or written')).toBe(false);
  });
});

it('a log that is damaged is said to be, each time it is tried', async () => {
  const dir = directory();
  const database = new ClassicLevel<string, string>(dir);
  await database.put('0000000000000001', 'short');
  await database.close();
  const open = (): Promise<LocalStore> => LocalStore.open({ dir, retentionMs: 60_000, mostBytes: 1_000 }, createFakeClock());
  for (const _ of [1, 2]) await expect(open()).rejects.toThrow('cannot be read or written');
});

describe('what is forgotten', () => {
  const opened = async (mostBytes: number, dir = directory()) => {
    const clock = createFakeClock();
    const store = await LocalStore.open({ dir, retentionMs: 60_000, mostBytes }, clock);
    stores.push(store);
    const positions = async (): Promise<readonly number[]> => (await store.read(0, 10_000)).map(({ position }) => position);
    return { clock, store, positions };
  };

  it('is what is older than it has to be kept, and never the newest', async () => {
    const { clock, store, positions } = await opened(1_000_000);
    await store.append(Buffer.from('a'));
    await clock.advance(30_000);
    await store.append(Buffer.from('b'));
    await clock.advance(29_999);
    await store.trim();
    expect(await positions()).toEqual([1, 2]);
    await clock.advance(2);
    await store.trim();
    expect(await positions()).toEqual([2]);
    await clock.advance(600_000);
    await store.trim();
    expect(await positions()).toEqual([2]);
    await store.append(Buffer.from('c'));
    expect(await positions()).toEqual([2, 3]);
    expect(store.trimmedEarly).toBe(false);
  });

  it('is the oldest where there is more than there may be, which is said; also in thousands', async () => {
    const { store, positions } = await opened(100_000);
    await Promise.all(Array.from({ length: 10_000 }, () => store.append(Buffer.alloc(100))));
    await store.trim();
    expect(store.trimmedEarly).toBe(true);
    const left = await positions();
    expect([left[0], left.length]).toEqual([9_001, 1_000]);
  });

  it('before somebody who is reading has come to it ends his reading, and is not there when he goes on', async () => {
    const clock = createFakeClock();
    const { log } = createFakeTelemetry();
    const engine = createLocalLog({ dir: directory(), retentionMs: 3_600_000, mostBytes: 10_000 }, { clock, log });
    const stop = new AbortController();
    let goOn: () => void = () => undefined;
    const waits = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const read: number[] = [];
    const ends: unknown[] = [];
    const running = engine.run(async (link) => {
      if (ends.length === 0) await Promise.all(Array.from({ length: 1_000 }, () => link.append(Buffer.alloc(100))));
      const take = async (batch: readonly LogRecord[]): Promise<void> => {
        read.push(...batch.map(({ position }) => position));
        if (batch.length > 0) await waits;
      };
      await link.read(read.at(-1), take, stop.signal).catch((error: unknown) => ends.push(error));
    }, stop.signal);
    await expect.poll(() => read.at(-1)).toBe(256);
    await clock.advance(60_000);
    const oldest = async (): Promise<number | undefined> => {
      const reader = held(another(engine));
      await expect.poll(() => reader.read.length).toBeGreaterThan(0);
      return reader.read[0]?.position;
    };
    await expect.poll(oldest).toBe(901);
    goOn();
    await expect.poll(() => ends).toMatchObject([{ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' }]);
    await clock.advance(1_000);
    await expect.poll(() => read.at(-1)).toBe(1_000);
    expect(read.slice(0, 257)).toEqual([...Array.from({ length: 256 }, (_, n) => n + 1), 901]);
    stop.abort();
    await running;
  });

  it('is read in parts, however long its records are', async () => {
    const { store, positions } = await opened(100_000_000);
    await Promise.all(Array.from({ length: 6 }, () => store.append(Buffer.alloc(262_144))));
    expect(await positions()).toEqual([1, 2, 3, 4]);
    expect((await store.read(5, 10_000)).map(({ position }) => position)).toEqual([5, 6]);
  });

  it('is not what is not too much', async () => {
    const { store, positions } = await opened(100_000);
    await Promise.all(Array.from({ length: 1_000 }, () => store.append(Buffer.alloc(100))));
    await store.trim();
    expect([(await positions()).length, store.trimmedEarly]).toEqual([1_000, false]);
  });
});
