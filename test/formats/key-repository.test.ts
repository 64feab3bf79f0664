// A directory of keys on a real disk: what counts, what is ignored and said, and what happens while it changes or cannot be read.

import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KeyRepository } from '../../src/formats/key-repository.ts';
import { fernetTokens } from '../../src/formats/keystone-fernet.ts';
import { jwsTokens } from '../../src/formats/keystone-jws.ts';
import type { Clock } from '../../src/ports.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { type KeyFolder, keyFolder, newFernetKey, newNodeKey } from '../fakes/keystone-keys.ts';
import { keyVectors } from '../fakes/keystone-vectors.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

let folder: KeyFolder;
beforeEach(() => {
  folder = keyFolder();
});
afterEach(() => folder.remove());

function fernetRepository(clock: Clock = createFakeClock()) {
  const telemetry = createFakeTelemetry();
  const options = { issuer: 'central', name: 'fernet', dir: folder.dir, files: fernetTokens.files };
  const repository = new KeyRepository(options, { clock, log: telemetry.log });
  const ids = () => repository.inUse.keys.map(({ id }) => id);
  const warned = () =>
    telemetry.lines.filter(({ level }) => level === 'warn').map(({ message, fields }) => [message, fields['file'] ?? fields['problem']]);
  return { repository, telemetry, clock, ids, warned };
}
const idOf = (text: string) => {
  const key = fernetTokens.files.read(text);
  return typeof key === 'string' ? expect.unreachable(key) : key.id;
};

describe('a Fernet key repository', () => {
  it('is read with the greatest number first and the staged key last', async () => {
    const [k0, k2, k10] = [newFernetKey(), newFernetKey(), newFernetKey()];
    for (const [name, key] of Object.entries({ 0: k0, 2: k2, 10: k10 })) folder.put(name, key);
    const { repository, ids } = fernetRepository();

    expect((await repository.loaded()).keys).toHaveLength(3);
    expect(ids()).toEqual([k10, k2, k0].map(idOf));
    expect(repository.health()).toMatchObject({ reachable: true, keyCount: 3 });
  });

  it('has keys in files whose name is a number, and in no other', async () => {
    const key = newFernetKey();
    folder.put('1', key);
    for (const name of ['0.tmp', 'README', '-1', '1.bak', ' 2', '..data', '2~', 'x3']) folder.put(name, newFernetKey());
    mkdirSync(join(folder.dir, '7'));
    const { repository, ids, warned } = fernetRepository();
    await repository.loaded();

    expect(ids()).toEqual([idOf(key)]);
    expect(warned()).toEqual([]);
  });

  it.each([
    ['empty', ''],
    ['half-written', newFernetKey().slice(0, 20)],
    ['of another length', `${newFernetKey()}${newFernetKey()}`],
    ['noise', '\0\0\0\0\0'],
    ['too large for a key', 'A'.repeat(100_000)],
  ])('ignores a file that is %s, and says so once', async (_, text) => {
    const key = newFernetKey();
    folder.put('0', key);
    folder.put('1', text);
    const { repository, ids, warned, telemetry } = fernetRepository();
    for (let look = 0; look < 3; look += 1) await repository.look();

    expect(ids()).toEqual([idOf(key)]);
    expect(warned()).toEqual([['a file in a key repository is ignored', '1']]);
    expect(repository.health().reachable).toBe(true);
    if (text.length > 4) expect(telemetry.everything()).not.toContain(text.slice(0, 100));
  });

  it.each([
    [8_191, 1],
    [8_192, 1],
    [8_193, 0],
  ])('reads a file of %i bytes: %i key', async (sizeBytes, keyCount) => {
    folder.put('0', newFernetKey().padEnd(sizeBytes, '\n'));
    const { repository } = fernetRepository();

    expect((await repository.loaded()).keys).toHaveLength(keyCount);
  });

  it.each([127, 128, 129])('of %i keys tries 128 at most, the greatest numbers', async (count) => {
    const keys = Array.from({ length: count }, newFernetKey);
    for (const [n, key] of keys.entries()) folder.put(String(n), key);
    const { ids, repository, warned } = fernetRepository();
    await repository.loaded();

    expect(ids()).toEqual(keys.toReversed().slice(0, 128).map(idOf));
    expect(warned()).toEqual(count > 128 ? [['a file in a key repository is ignored', '0']] : []);
  });

  it('takes a file once it is whole, and warns again of another half', async () => {
    const [old, young] = [newFernetKey(), newFernetKey()];
    folder.put('0', old);
    folder.put('1', young.slice(0, 7));
    const { repository, ids, warned } = fernetRepository();
    await repository.loaded();
    folder.put('1', young.slice(0, 31));
    await repository.look();
    expect([ids(), warned().length]).toEqual([[idOf(old)], 2]);

    folder.put('1', young);
    expect(await repository.look()).toBe(true);
    expect(ids()).toEqual([idOf(young), idOf(old)]);
  });

  it('follows a rotation, also where a key only changes its number', async () => {
    const [staged, primary, next] = [newFernetKey(), newFernetKey(), newFernetKey()];
    folder.put('0', staged);
    folder.put('1', primary);
    const { repository, ids } = fernetRepository();
    const before = await repository.loaded();
    const { keySetDigest } = repository.health();
    // As keystone-manage does it.
    folder.put('0.tmp', next);
    renameSync(join(folder.dir, '0'), join(folder.dir, '2'));
    await repository.look();
    expect(ids()).toEqual([staged, primary].map(idOf));
    expect(repository.health().keySetDigest).toBe(keySetDigest);
    renameSync(join(folder.dir, '0.tmp'), join(folder.dir, '0'));
    folder.take('1');
    await repository.look();

    expect(ids()).toEqual([staged, next].map(idOf));
    expect(repository.inUse.generation).toBeGreaterThan(before.generation);
    expect(repository.health().keySetDigest).not.toBe(keySetDigest);
  });

  it('has a digest that is the same whatever numbers the keys have, and that tells nothing of them', async () => {
    const keys = [newFernetKey(), newFernetKey(), newFernetKey()];
    const digestWith = async (order: readonly number[]) => {
      for (const [place, at] of order.entries()) folder.put(String(place), keys[at] ?? '');
      const { repository } = fernetRepository();
      await repository.loaded();
      return repository.health().keySetDigest;
    };
    const digest = await digestWith([0, 1, 2]);

    expect(await digestWith([2, 0, 1])).toBe(digest);
    expect(digest).toMatch(/^[0-9a-f]{6}$/);
    folder.put('3', newFernetKey());
    expect(await digestWith([0, 1, 2])).not.toBe(digest);
  });

  it('keeps the last good set, and says why, while the directory is away; and says when it is back', async () => {
    folder.put('0', newFernetKey());
    const { repository, ids, telemetry } = fernetRepository();
    await repository.loaded();
    const before = ids();
    renameSync(folder.dir, `${folder.dir}-away`);

    expect(await repository.look()).toBe(false);
    expect(await repository.look()).toBe(false);
    expect(ids()).toEqual(before);
    expect(repository.health()).toMatchObject({ reachable: false, keyCount: 1, problem: 'its directory cannot be read (ENOENT)' });
    renameSync(`${folder.dir}-away`, folder.dir);
    expect(await repository.look()).toBe(true);
    expect(repository.health().problem).toBeUndefined();
    const said = telemetry.lines.map(({ message }) => message);
    expect(said).toEqual(['keys are at hand', 'keys cannot be read', 'the keys can be read again']);
  });

  it('keeps the last good set where all its keys are gone: half-way through a copy', async () => {
    folder.put('0', newFernetKey());
    const { repository, ids } = fernetRepository();
    await repository.loaded();
    folder.take('0');

    expect(await repository.look()).toBe(false);
    expect([ids().length, repository.health().problem]).toEqual([1, 'there is no key in it']);
    // Also when nothing changes any more.
    expect(await repository.look()).toBe(false);
    const next = newFernetKey();
    folder.put('1', next);
    expect(await repository.look()).toBe(true);
    expect(ids()).toEqual([idOf(next)]);
  });

  it('that is not there at the start, or empty, has no keys and says so; they come later', async () => {
    const { dir } = folder;
    rmSync(dir, { recursive: true });
    const { repository, ids } = fernetRepository();
    expect((await repository.loaded()).keys).toEqual([]);
    expect(repository.health()).toEqual({ reachable: false, problem: 'its directory cannot be read (ENOENT)' });
    mkdirSync(dir);
    await repository.look();
    expect(repository.health()).toEqual({ reachable: false, problem: 'there is no key in it' });

    folder.put('0', newFernetKey());
    await repository.look();
    expect(ids()).toHaveLength(1);
  });

  it('one of whose keys cannot be read changes nothing, and says so', async () => {
    folder.put('0', newFernetKey());
    const { repository, ids } = fernetRepository();
    await repository.loaded();
    const before = ids();
    folder.put('2', newFernetKey());
    // A link to itself: nobody can read that, root neither.
    symlinkSync('1', join(folder.dir, '1'));

    expect(await repository.look()).toBe(false);
    expect([ids(), repository.health().problem]).toEqual([before, 'its directory cannot be read (ELOOP)']);
    folder.take('1');
    expect(await repository.look()).toBe(true);
    expect(ids()).toHaveLength(2);
  });

  it('on a disk that does not answer in time is left alone until it does', async () => {
    folder.put('0', newFernetKey());
    const { repository } = fernetRepository();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const looking = repository.look();
    vi.advanceTimersByTime(1_000);
    // Whoever comes now does not wait at all.
    const next = repository.look();
    expect(repository.health().problem).toBe('it has not been read yet');
    vi.advanceTimersByTime(9_000);
    expect(repository.health()).toEqual({ reachable: false, problem: 'its directory does not answer' });
    vi.useRealTimers();

    expect(await Promise.all([looking, next])).toEqual([false, false]);
    await until(() => repository.health().reachable);
    expect(repository.inUse.keys).toHaveLength(1);
    expect(await repository.look()).toBe(true);
  });

  it('is read through the links with which Kubernetes swaps a volume', async () => {
    const [first, second] = [newFernetKey(), newFernetKey()];
    const version = (name: string, key: string) => {
      mkdirSync(join(folder.dir, name));
      writeFileSync(join(folder.dir, name, '0'), key);
      symlinkSync(name, join(folder.dir, '..data_tmp'));
      renameSync(join(folder.dir, '..data_tmp'), join(folder.dir, '..data'));
    };
    version('..v1', first);
    symlinkSync('..data/0', join(folder.dir, '0'));
    const { repository, ids } = fernetRepository();
    await repository.loaded();
    expect(ids()).toEqual([idOf(first)]);

    version('..v2', second);
    await repository.look();
    expect(ids()).toEqual([idOf(second)]);
  });

  it('of two keys written within one tick of the disk’s clock the later is seen', async () => {
    const clock = createFakeClock(Date.now());
    const { repository, ids } = fernetRepository(clock);
    for (let round = 0; round < 50; round += 1) {
      const key = newFernetKey();
      folder.put('0', key);
      await repository.look();
      expect(ids()).toEqual([idOf(key)]);
    }
  });

  it('is looked at each second, and not on between', async () => {
    const old = newFernetKey();
    folder.put('0', old);
    const clock = createFakeClock();
    const { repository, ids } = fernetRepository(clock);
    const stopping = new AbortController();
    const running = repository.run(stopping.signal, async () => undefined);
    await until(() => ids().length === 1);
    const young = newFernetKey();
    folder.put('1', young);
    await clock.advance(500);
    expect(ids()).toEqual([idOf(old)]);
    await clock.advance(500);

    await until(() => ids().length === 2);
    stopping.abort();
    await running;
  });

  it('many who look at once share two looks', async () => {
    folder.put('0', newFernetKey());
    const { repository } = fernetRepository();
    await repository.loaded();
    const looks = Array.from({ length: 1_000 }, () => repository.look());

    expect(new Set(looks).size).toBe(2);
    expect((await Promise.all(looks)).every((is) => is)).toBe(true);
  });
});

describe('a repository of public keys', () => {
  function jwsRepository() {
    const telemetry = createFakeTelemetry();
    const clock = createFakeClock();
    const options = { issuer: 'central', name: 'jws', dir: folder.dir, files: jwsTokens.files };
    return { repository: new KeyRepository(options, { clock, log: telemetry.log }), telemetry, clock };
  }

  it('has a key in each file, whatever its name; what is none is ignored and said', async () => {
    folder.put('public.pem', keyVectors.captured.jwsPublic);
    folder.put('node-2', newNodeKey('EdDSA').pem);
    folder.put('private.pem', keyVectors.captured.jwsPrivate);
    folder.put('.swp', 'x');
    const { repository, telemetry } = jwsRepository();
    await repository.loaded();

    expect(repository.inUse.keys.map(({ algorithm }) => algorithm).sort()).toEqual(['ES256', 'EdDSA']);
    const warnings = telemetry.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields['file']);
    expect(warnings).toEqual(['private.pem']);
    expect(telemetry.everything()).not.toContain('MIGHAgEA');
  });

  it('with the same key twice has it once', async () => {
    folder.put('a', keyVectors.captured.jwsPublic);
    folder.put('b', `\n${keyVectors.captured.jwsPublic}`);
    const { repository } = jwsRepository();

    expect((await repository.loaded()).keys).toHaveLength(1);
  });

  it.each([15, 16, 17])('of %i keys tries 16 at most', async (count) => {
    for (let n = 0; n < count; n += 1) folder.put(`node-${n}`, newNodeKey().pem);
    const { repository, telemetry } = jwsRepository();
    await repository.loaded();

    expect(repository.inUse.keys).toHaveLength(Math.min(count, 16));
    await repository.look();
    expect(telemetry.lines.filter(({ message }) => message.includes('is ignored'))).toHaveLength(count > 16 ? 1 : 0);
  });

  it('S8 tells of each key that has left, again until it has been heard', async () => {
    const [stays, leaves] = [newNodeKey(), newNodeKey()];
    folder.put('a', stays.pem);
    folder.put('b', leaves.pem);
    const { repository, clock } = jwsRepository();
    const told: string[] = [];
    let deaf = 2;
    const stopping = new AbortController();
    const running = repository.run(stopping.signal, async (keyId) => {
      told.push(keyId);
      deaf -= 1;
      if (deaf >= 0) throw new Error('the journal has failed');
    });
    await until(() => repository.inUse.keys.length === 2);
    const leaving = jwsTokens.files.read(leaves.pem);
    folder.take('b');
    for (let second = 0; second < 30 && told.length < 3; second += 1) {
      await clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await clock.advance(5_000);

    expect(told).toEqual(Array.from({ length: 3 }, () => (typeof leaving === 'string' ? '' : leaving.id)));
    stopping.abort();
    await running;
  });
});

/** Waits for what a disk does. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 5_000 && !holds(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 2));
  expect(holds()).toBe(true);
}
