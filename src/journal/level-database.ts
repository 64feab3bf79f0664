// Opens the LevelDB of a journal, and says in words what stands in the way.

import { mkdir, open, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { SidecarError } from '../core/errors.ts';

/** Keys and values are text. */
export type Database = ClassicLevel<string, string>;

/**
 * The database in `dir`, which is made (0700) where it is not there yet.
 * Throws UNAVAILABLE / JOURNAL_LOCKED while another process has it; FAILED_PRECONDITION / JOURNAL_CORRUPT or JOURNAL_UNREADABLE.
 */
export async function openDatabase(dir: string, make: (dir: string) => Database = (at) => new ClassicLevel(at)): Promise<Database> {
  try {
    await makeDirectory(resolve(dir));
    const database = make(dir);
    await database.open();
    return database;
  } catch (error) {
    throw notOpened(dir, error);
  }
}

/** Size of the files of `dir` in bytes. LevelDB's own figure leaves out what is still in its log: at first, everything. */
export async function sizeOf(dir: string): Promise<number> {
  let sizeBytes = 0;
  for (const name of await readdir(dir)) {
    try {
      sizeBytes += (await stat(join(dir, name))).size;
    } catch (error) {
      // LevelDB removes files while we look.
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }
  return sizeBytes;
}

/** What to do about a journal whose files are not what was written. */
export function damaged(dir: string, what: string, cause?: unknown): SidecarError {
  const message =
    `the journal in ${dir} is damaged: ${what}. Put a copy back, or move the directory away: ` +
    'a new journal begins, without the revocations that only this one knew';
  return new SidecarError('FAILED_PRECONDITION', message, { reason: 'JOURNAL_CORRUPT', cause });
}

function notOpened(dir: string, error: unknown): SidecarError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = codeOf(cause) ?? 'no code';
  if (code === 'LEVEL_LOCKED') {
    const message = `another process has the journal in ${dir}: stop it, or give this sidecar a directory of its own`;
    return new SidecarError('UNAVAILABLE', message, { reason: 'JOURNAL_LOCKED', retryAfterMs: 1000, cause });
  }
  if (code === 'LEVEL_CORRUPTION') return damaged(dir, 'LevelDB cannot read its files', cause);
  const message =
    `the journal in ${dir} cannot be opened (${code}): it must be a directory that this user may read and write, with room on its ` +
    'disk and all of its files';
  return new SidecarError('FAILED_PRECONDITION', message, { reason: 'JOURNAL_UNREADABLE', cause });
}

async function makeDirectory(dir: string): Promise<void> {
  const made = await mkdir(dir, { recursive: true, mode: 0o700 });
  if (made === undefined) return;
  // LevelDB syncs what is inside. Its own name is in the directory above, and without it a power cut takes everything.
  for (let above = dirname(dir); above.length >= dirname(made).length; above = dirname(above)) {
    await syncDirectory(above);
    if (above === dirname(above)) return;
  }
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
