// The keys of the deployment: which files are keys, which is the newest, and what is refused.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { deploymentKeys } from '../src/deployment-keys.ts';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function createDirectory(files: Readonly<Record<string, string | Uint8Array>> = {}): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidegate-keys-'));
  directories.push(directory);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}

const idsOf = (keys: ReturnType<typeof deploymentKeys>): string[] => keys.map((key) => key.id);

describe('a directory of keys', () => {
  it('S14 another key under the same name is another key', () => {
    const one = createDirectory({ key: 'a'.repeat(32) });
    const other = createDirectory({ key: 'b'.repeat(32) });

    expect(idsOf(deploymentKeys(one, undefined))).not.toEqual(idsOf(deploymentKeys(other, undefined)));
    expect(idsOf(deploymentKeys(one, undefined))).toEqual(idsOf(deploymentKeys(createDirectory({ key: 'a'.repeat(32) }), undefined)));
  });

  it('S14 every file is a key, the name that sorts last is the newest, and hidden files are none', () => {
    const directory = createDirectory({
      '2026-01': 'a'.repeat(32),
      '2026-11': 'b'.repeat(32),
      '2025-07': 'c'.repeat(32),
      '..data': 'short',
    });

    expect(idsOf(deploymentKeys(directory, undefined))).toEqual([
      expect.stringMatching(/^2026-11-[0-9a-f]{8}$/),
      expect.stringMatching(/^2026-01-/),
      expect.stringMatching(/^2025-07-/),
    ]);
  });

  it('S15 a staged key is accepted and never the newest, and stays the key that it is when it is renamed', () => {
    const directory = createDirectory({ '2026-01': 'a'.repeat(32), '2026-11': 'b'.repeat(32), '2027-01.staged': 'c'.repeat(32) });
    const before = idsOf(deploymentKeys(directory, undefined));
    renameSync(join(directory, '2027-01.staged'), join(directory, '2027-01'));
    const after = idsOf(deploymentKeys(directory, undefined));

    expect(before).toEqual([expect.stringMatching(/^2026-11-/), expect.stringMatching(/^2026-01-/), expect.stringMatching(/^2027-01-/)]);
    expect(after).toEqual([before[2], before[0], before[1]]);
  });

  it('S15 several staged keys are all accepted, and one that is also in use is one key', () => {
    const directory = createDirectory({
      a: 'a'.repeat(32),
      'b.staged': 'b'.repeat(32),
      'c.staged': 'c'.repeat(32),
      'a.staged': 'a'.repeat(32),
    });

    expect(idsOf(deploymentKeys(directory, undefined))).toEqual([
      expect.stringMatching(/^a-/),
      expect.stringMatching(/^c-/),
      expect.stringMatching(/^b-/),
    ]);
  });

  it('S15 a directory whose keys are all staged is refused, and so is a staged key that is too short', () => {
    const refused = expect.objectContaining({ code: 'FAILED_PRECONDITION', reason: 'DEPLOYMENT_KEYS' });
    const staged = createDirectory({ 'a.staged': 'a'.repeat(32) });
    const short = createDirectory({ a: 'a'.repeat(32), 'b.staged': 'b'.repeat(31) });

    expect(() => deploymentKeys(staged, undefined)).toThrow(refused);
    expect(() => deploymentKeys(staged, undefined)).toThrow(/only staged/);
    expect(() => deploymentKeys(short, undefined)).toThrow(refused);
  });

  it.each([
    { bytes: 31, refused: true },
    { bytes: 32, refused: false },
    { bytes: 33, refused: false },
  ])('a key of $bytes bytes is refused: $refused', ({ bytes, refused }) => {
    const directory = createDirectory({ key: 'k'.repeat(bytes) });
    const outcome = (() => {
      try {
        return String(deploymentKeys(directory, undefined)[0].secret.length);
      } catch (error) {
        return String((error as { reason?: string }).reason);
      }
    })();

    expect(outcome).toBe(refused ? 'DEPLOYMENT_KEYS' : String(bytes));
  });

  it('white space around a key that is text is not part of it', () => {
    const directory = createDirectory({ key: ` ${'k'.repeat(32)}\r\n` });

    expect(Buffer.from(deploymentKeys(directory, undefined)[0].secret).toString()).toBe('k'.repeat(32));
  });

  it.each([0x20, 0x0a, 0xa0])('a binary key of 32 bytes that ends in %i keeps all of them', (last) => {
    const secret = Uint8Array.from({ length: 32 }, (_, n) => (n === 31 ? last : 200 + n));
    const directory = createDirectory({ key: secret });

    expect([...deploymentKeys(directory, undefined)[0].secret]).toEqual([...secret]);
  });

  it.each([
    { name: 'is empty', make: () => createDirectory() },
    { name: 'is not there', make: () => join(createDirectory(), 'none') },
    {
      name: 'holds a directory',
      make: () => {
        const directory = createDirectory({ a: 'a'.repeat(32) });
        mkdirSync(join(directory, 'b'));
        return directory;
      },
    },
  ])('one that $name is refused', ({ make }) => {
    expect(() => deploymentKeys(make(), undefined)).toThrow(
      expect.objectContaining({ code: 'FAILED_PRECONDITION', reason: 'DEPLOYMENT_KEYS' }),
    );
  });

  it('the refusal names the file and never what is in it', () => {
    const directory = createDirectory({ 'my-key': 'too-short-a-secret' });

    expect(() => deploymentKeys(directory, undefined)).toThrow(/my-key/);
    expect(() => deploymentKeys(directory, undefined)).not.toThrow(/too-short-a-secret/);
  });
});

describe('a key of its own', () => {
  it('is made once, for its owner alone, and stays', () => {
    const directory = join(createDirectory(), 'journal');
    const [first] = deploymentKeys(undefined, directory);
    const [second] = deploymentKeys(undefined, directory);
    const [file = ''] = readdirSync(directory);

    expect(readdirSync(directory)).toHaveLength(1);
    expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
    expect(first.secret.length).toBeGreaterThanOrEqual(32);
    expect(second).toEqual(first);
    expect(readFileSync(join(directory, file), 'latin1').trim()).toBe(Buffer.from(first.secret).toString('latin1'));
  });

  it('is another one for another journal, and without a journal for every process', () => {
    const secrets = [
      deploymentKeys(undefined, createDirectory()),
      deploymentKeys(undefined, createDirectory()),
      deploymentKeys(undefined, undefined),
      deploymentKeys(undefined, undefined),
    ].map(([key]) => Buffer.from(key.secret).toString('hex'));

    expect(new Set(secrets).size).toBe(4);
  });
});
