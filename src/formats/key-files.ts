// The files of a directory of keys: listed, told apart, and read as they are at one moment.

import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Which files of a directory hold keys. */
export interface KeyFileNames {
  /** Whether a file of this name holds a key; what else lies there is nobody's business. */
  holdsKey(fileName: string): boolean;
  /** The keys that are tried first come first. */
  compare(fileName: string, other: string): number;
  /** Files beyond that are not looked at. */
  readonly maxKeys: number;
}

/** What a directory holds, as far as its files can be told apart without reading them. */
export interface Listing {
  /** By name, best first. */
  readonly stamps: ReadonlyMap<string, Stamp>;
  /** The youngest of them, by the clock of the file system. */
  readonly changedAtMs: number;
  /** Files that were not looked at. */
  readonly more: readonly string[];
}

interface Stamp {
  /** Another one when the file has changed. */
  readonly text: string;
  readonly sizeBytes: number;
}

/** `unchanged` since the listing that was given. A text is '' of a file that is empty, or larger than any key. */
export type KeyFilesFound =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'read'; readonly listing: Listing; readonly texts: ReadonlyMap<string, string> }
  | { readonly kind: 'unreadable'; readonly problem: string };

/** A file that has changed within this may change again without showing it: the clocks of file systems are coarse. */
const coarseMs = 2_000;
const maxFileBytes = 8_192;
/** How often a directory that changes while it is read is read again at once. */
const maxReadings = 4;

/** All key files of `dir`, all of one moment; `held`: what is known of it already. Never throws. Cost: a look at each file. */
export async function readKeyFiles(dir: string, names: KeyFileNames, held: Listing | undefined, nowMs: number): Promise<KeyFilesFound> {
  let what = 'its directory';
  try {
    for (let reading = 0; reading < maxReadings; reading += 1) {
      what = 'its directory';
      const before = await list(dir, names);
      if (held && isSame(before, held) && nowMs - before.changedAtMs > coarseMs) return { kind: 'unchanged' };
      what = 'a file in its directory';
      const texts = await textsOf(dir, before);
      // A rotation renames: between the list and the files a key may have moved to where it was not looked for.
      if (texts && isSame(before, await list(dir, names))) return { kind: 'read', listing: before, texts };
    }
    return { kind: 'unreadable', problem: 'its directory changes while it is read' };
  } catch (error) {
    return { kind: 'unreadable', problem: `${what} cannot be read (${codeOf(error)})` };
  }
}

async function list(dir: string, { holdsKey, compare, maxKeys }: KeyFileNames): Promise<Listing> {
  const names = (await readdir(dir)).filter(holdsKey).sort(compare);
  const stamps = new Map<string, Stamp>();
  let changedAtMs = Number.NEGATIVE_INFINITY;
  // One after the other: node has four threads for all files of the process, the journal's among them, and a disk may keep what it gets.
  for (const name of names.slice(0, maxKeys)) {
    const stats = await statOf(join(dir, name));
    if (!stats?.isFile()) continue;
    const { mtimeMs, ctimeMs, size, ino } = stats;
    stamps.set(name, { text: [mtimeMs, ctimeMs, size, ino].join(' '), sizeBytes: size });
    changedAtMs = Math.max(changedAtMs, mtimeMs, ctimeMs);
  }
  return { stamps, changedAtMs, more: names.slice(maxKeys) };
}

/** Undefined: one of them was there a moment ago. */
async function textsOf(dir: string, { stamps }: Listing): Promise<ReadonlyMap<string, string> | undefined> {
  const texts = new Map<string, string>();
  for (const [name, { sizeBytes }] of stamps) {
    try {
      texts.set(name, sizeBytes > maxFileBytes ? '' : await readFile(join(dir, name), 'latin1'));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
  return texts;
}

function isSame(a: Listing, b: Listing): boolean {
  return a.stamps.size === b.stamps.size && [...a.stamps].every(([name, { text }]) => b.stamps.get(name)?.text === text);
}

/** Undefined: it is not there, perhaps not any more. */
async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
}

/** `EACCES` and the like: a closed list of node's. */
function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'failed';
}
