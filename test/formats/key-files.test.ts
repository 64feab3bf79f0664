// The files of a directory as they are at one moment, though they are renamed while they are looked at.

import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type KeyFileNames, readKeyFiles } from '../../src/formats/key-files.ts';
import { type KeyFolder, keyFolder } from '../fakes/keystone-keys.ts';

let folder: KeyFolder;
beforeEach(() => {
  folder = keyFolder({ 0: 'staged', 1: 'primary' });
});
afterEach(() => folder.remove());

const names: KeyFileNames = { holdsKey: (name) => /^\d+$/.test(name), compare: (a, b) => Number(b) - Number(a), maxKeys: 16 };

it('a rotation between the list and the files loses no key', async () => {
  let asked = 0;
  // Asked for the first name, the list is made and nothing of the files has been looked at.
  const rotating: KeyFileNames = {
    ...names,
    holdsKey(name) {
      asked += 1;
      if (asked === 1) {
        renameSync(join(folder.dir, '0'), join(folder.dir, '2'));
        folder.put('0', 'next');
      }
      return names.holdsKey(name);
    },
  };
  const found = await readKeyFiles(folder.dir, rotating, undefined, 0);

  expect(found.kind === 'read' && Object.fromEntries(found.texts)).toEqual({ 0: 'next', 1: 'primary', 2: 'staged' });
});

it('one that is never the same twice is told as such', async () => {
  let size = 0;
  const restless: KeyFileNames = {
    ...names,
    holdsKey(name) {
      size += 1;
      folder.put('1', 'x'.repeat(size));
      return names.holdsKey(name);
    },
  };
  expect(await readKeyFiles(folder.dir, restless, undefined, 0)).toEqual({
    kind: 'unreadable',
    problem: 'its directory changes while it is read',
  });
});

it('what has not changed is not read again, unless it has changed so lately that it may have changed once more', async () => {
  const first = await readKeyFiles(folder.dir, names, undefined, 0);
  const held = first.kind === 'read' ? first.listing : expect.unreachable();
  const kindAt = async (nowMs: number) => (await readKeyFiles(folder.dir, names, held, nowMs)).kind;

  expect([await kindAt(held.changedAtMs + 2_000), await kindAt(held.changedAtMs + 2_001)]).toEqual(['read', 'unchanged']);
  // By a clock that is behind the disk's, too.
  expect(await kindAt(held.changedAtMs - 60_000)).toBe('read');
});
