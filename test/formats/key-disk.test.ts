// A disk with keys that hangs: what is left for everything else of the few threads that node has for files.

import { type Stats, statSync } from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createCertificateSet } from '../../src/formats/certificate-set.ts';
import { readKeyFiles } from '../../src/formats/key-files.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { type KeyFolder, keyFolder } from '../fakes/keystone-keys.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { ScriptedFile, turn } from './pki-stage.ts';

const hanging = vi.hoisted(() => ({ answers: [] as (() => void)[] }));
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  stat: (path: string) => new Promise<Stats>((resolve) => hanging.answers.push(() => resolve(statSync(path)))),
}));

let folder: KeyFolder;
beforeEach(() => {
  folder = keyFolder({ 0: 'staged', 1: 'primary', 2: 'older', 3: 'oldest' });
});
afterEach(() => folder.remove());

it('a directory takes one of them, however many keys are in it', async () => {
  const names = { holdsKey: () => true, compare: () => 0, maxKeys: 128 };
  const reading = readKeyFiles(folder.dir, names, undefined, 0);
  await vi.waitFor(() => expect(hanging.answers).toHaveLength(1));
  for (let n = 0; n < 20; n += 1) await turn();
  expect(hanging.answers).toHaveLength(1);

  const answering = setInterval(() => hanging.answers.shift()?.(), 1);
  expect((await reading).kind).toBe('read');
  clearInterval(answering);
});

it('two files of certificates take one of them', async () => {
  const [signingCert, ca] = [new ScriptedFile(''), new ScriptedFile('')];
  signingCert.hang();
  ca.hang();
  const set = createCertificateSet({ name: 'central', signingCert, ca }, { clock: createFakeClock(), log: createFakeTelemetry().log });
  const looking = set.latest(AbortSignal.timeout(20));
  await expect(looking).rejects.toThrow();
  expect([signingCert.reads, ca.reads]).toEqual([1, 0]);
});
