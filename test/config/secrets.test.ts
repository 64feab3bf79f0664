// Secrets are read from their file, again when it changes, and never shown.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { secretFile } from '../../src/config/secrets.ts';

const dir = mkdtempSync(join(tmpdir(), 'sidegate-secrets-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a secret', () => {
  const path = join(dir, 'secret');

  it.each([
    ['hunter2', 'hunter2'],
    ['hunter2\n', 'hunter2'],
    ['hunter2\r\n', 'hunter2'],
    ['hunter2\n\n', 'hunter2\n'],
    [' hunter2 ', ' hunter2 '],
  ])('%j is read as %j', async (content, expected) => {
    writeFileSync(path, content);
    expect(await secretFile(path).read()).toBe(expected);
  });

  it('is read again when its file is written or replaced', async () => {
    writeFileSync(path, 'first');
    const secret = secretFile(path);
    expect(await secret.read()).toBe('first');
    writeFileSync(path, 'other');
    expect(await secret.read()).toBe('other');
    writeFileSync(`${path}.new`, 'third');
    renameSync(`${path}.new`, path);
    expect(await secret.read()).toBe('third');
  });

  it('is not shown by whatever prints its holder', async () => {
    writeFileSync(path, 'hunter2');
    const secret = secretFile(path);
    await secret.read();
    expect(`${inspect(secret, { depth: 9, showHidden: true })} ${JSON.stringify(secret)} ${String(secret)}`).not.toContain('hunter2');
  });

  it.each([
    ['is gone', join(dir, 'gone'), 'there is none'],
    ['is empty', join(dir, 'empty'), 'it is empty'],
    ['is a directory', dir, 'it is not a file'],
    ['is too large', join(dir, 'large'), 'it is larger than 1 MiB'],
  ])('whose file %s is no answer', async (_, at, why) => {
    writeFileSync(join(dir, 'empty'), ' \n');
    writeFileSync(join(dir, 'large'), 'x'.repeat(1024 ** 2 + 1));
    await expect(secretFile(at).read()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'SECRET_UNREADABLE',
      message: `the file ${at} cannot be read: ${why}`,
    });
  });

  it('of exactly 1 MiB is read', async () => {
    writeFileSync(path, 'x'.repeat(1024 ** 2));
    expect((await secretFile(path).read()).length).toBe(1024 ** 2);
  });
});
