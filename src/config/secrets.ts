// What is read from a file of its own: secrets and certificates, read again when the file changes, never printed.

import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { SidecarError } from '../core/errors.ts';

/** Text that lives in a file. Only its path may be shown. */
export interface Secret {
  /** Absolute. */
  readonly path: string;
  /**
   * The text, without one line end at its end. Reads the file again only when it has changed.
   * Throws UNAVAILABLE / SECRET_UNREADABLE where it cannot be read, is empty or is larger than 1 MiB: a secret that is being
   * replaced may be away for a moment, so whoever needs it tries again.
   */
  read(): Promise<string>;
}

const maxBytes = 1024 ** 2;

/** The secret in the file at `path` (absolute). Nothing is read before it is asked for. */
export function secretFile(path: string): Secret {
  let kept: { readonly state: string; readonly text: string } | undefined;
  const read = async (): Promise<string> => {
    try {
      // The state is taken before the text: a change in between is seen by the next call.
      const found = await stat(path, { bigint: true });
      const state = [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join();
      if (kept?.state !== state) kept = { state, text: textOf(await readFile(allowed(path, found))) };
      return kept.text;
    } catch (error) {
      throw new SidecarError('UNAVAILABLE', `the file ${path} cannot be read: ${why(error)}`, {
        reason: 'SECRET_UNREADABLE',
        retryAfterMs: 1_000,
        cause: error,
      });
    }
  };
  return { path, read };
}

/**
 * What is wrong with the secret in the file at `path` now; undefined where nothing is.
 * It does not repeat the path: somebody may have written the secret itself in its place.
 */
export function secretFileProblem(path: string): string | undefined {
  const read = readSecretNow(path);
  return 'problem' in read ? read.problem : undefined;
}

/** The text of the secret in the file at `path`, or what is wrong with it, as `secretFileProblem` says it. */
export function readSecretNow(path: string): { readonly text: string } | { readonly problem: string } {
  try {
    const found = statSync(path);
    return { text: textOf(readFileSync(allowed(path, found))) };
  } catch (error) {
    return { problem: `names a file that cannot be read: ${why(error)}` };
  }
}

/** A file that is not as it must be; its message is for people. */
class Unfit extends Error {}

/** `path`, where what was found there may be read. A pipe would never end, and a directory has no text. */
function allowed(path: string, found: { isFile(): boolean; readonly size: number | bigint }): string {
  if (!found.isFile()) throw new Unfit('it is not a file');
  if (found.size > maxBytes) throw new Unfit('it is larger than 1 MiB');
  return path;
}

function textOf(content: Buffer): string {
  const text = content.toString('utf8').replace(/\r?\n$/, '');
  if (text.trim() === '') throw new Unfit('it is empty');
  return text;
}

// The messages of node:fs repeat the path, so only their code is passed on.
function why(error: unknown): string {
  if (error instanceof Unfit) return error.message;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  return { ENOENT: 'there is none', EACCES: 'permission denied', ENOTDIR: 'part of its path is not a directory' }[code] ?? code;
}
