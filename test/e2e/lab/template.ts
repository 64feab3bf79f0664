// A seeded Keystone kept for the other suites of the same run: each starts from a copy, in seconds, and hurts only its own.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Seed } from './seed.ts';

/** Where `npm test` keeps what its suites share; undefined outside of it: then every lab is made from nothing. */
const folder = (): string | undefined => {
  const run = process.env['SIDEGATE_TEST_RUN'];
  return run === undefined ? undefined : join(run, 'keystone-template');
};

/** Copies the template into the lab folder `directory`, before Keystone starts there; answers its seed, or undefined when there is none. */
export async function copyTemplate(directory: string): Promise<Seed | undefined> {
  const template = folder();
  if (template === undefined || !existsSync(template)) return undefined;
  await cp(join(template, 'keystone'), join(directory, 'keystone'), { recursive: true });
  return JSON.parse(await readFile(join(template, 'seed.json'), 'utf8')) as Seed;
}

/** Keeps the freshly seeded Keystone of `directory` as the template, unless another suite was first. */
export async function keepTemplate(directory: string, seed: Seed): Promise<void> {
  const template = folder();
  if (template === undefined || existsSync(template)) return;
  const aside = `${template}-${process.pid}`;
  const [from, to] = [join(directory, 'keystone'), join(aside, 'keystone')];
  await mkdir(to, { recursive: true });
  for (const name of ['fernet', 'credential', 'jws', '.bootstrapped']) await cp(join(from, name), join(to, name), { recursive: true });
  // Keystone has the database open: only SQLite itself copies it whole.
  const backup = 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))';
  await promisify(execFile)('/usr/bin/python3', ['-c', backup, join(from, 'keystone.db'), join(to, 'keystone.db')]);
  await writeFile(join(aside, 'seed.json'), JSON.stringify(seed));
  await rename(aside, template).catch(async (error: NodeJS.ErrnoException) => {
    // Another suite was first: theirs is as good.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    await rm(aside, { recursive: true });
  });
}
