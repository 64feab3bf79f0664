// The keys of the deployment: from their directory, or made once beside the journal.

import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { SidecarError } from './core/errors.ts';
import type { DeploymentKey } from './core/tag.ts';

/** Newest first, at least one. */
export type DeploymentKeys = readonly [DeploymentKey, ...DeploymentKey[]];

const fewestBytes = 32;
const ownName = 'deployment.key';
/** Ends the name of a key that is accepted and not yet used. */
const stagedEnd = '.staged';

/**
 * Every file of `keyDir` is a key of at least 32 bytes; the name that sorts last is the newest, and hidden files are none. A key whose
 * name ends in `.staged` is accepted, and is not the newest whatever its name: give it to every sidecar so, then rename it without that
 * end, which puts it to use and leaves it the key that it was. Without `keyDir` one key is made in `journalDir`, readable by its owner
 * only; without that too, for the life of this process.
 * Throws FAILED_PRECONDITION / DEPLOYMENT_KEYS, which names the file, never its content; also where every key is only staged.
 */
export function deploymentKeys(keyDir: string | undefined, journalDir: string | undefined): DeploymentKeys {
  if (keyDir !== undefined) return fromDirectory(keyDir);
  if (journalDir !== undefined) return [ownKey(journalDir)];
  return [{ id: 'process', secret: randomBytes(fewestBytes) }];
}

function fromDirectory(dir: string): DeploymentKeys {
  const names = reading(dir, () => readdirSync(dir))
    .filter((name) => !name.startsWith('.'))
    .sort()
    .reverse();
  const isStaged = (name: string): boolean => name.endsWith(stagedEnd);
  const read = (name: string): DeploymentKey => readKey(isStaged(name) ? name.slice(0, -stagedEnd.length) : name, join(dir, name));
  const [newest, ...others] = names.filter((name) => !isStaged(name)).map(read);
  if (!newest) throw refused(names.length === 0 ? `there is no key in ${dir}` : `every key in ${dir} is only staged: one must be in use`);
  const used = [newest, ...others];
  // A key that was copied where it should have been renamed is one key, and in use.
  const staged = names.filter(isStaged).map(read);
  return [newest, ...others, ...staged.filter(({ id }) => used.every((key) => key.id !== id))];
}

function ownKey(dir: string): DeploymentKey {
  const path = join(dir, ownName);
  if (!existsSync(path)) {
    reading(path, () => {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      // Written whole under another name first: a crash leaves no half key, which would be a different deployment.
      const file = openSync(`${path}.new`, 'w', 0o600);
      writeSync(file, `${randomBytes(fewestBytes).toString('base64url')}\n`);
      fsyncSync(file);
      closeSync(file);
      chmodSync(`${path}.new`, 0o600);
      renameSync(`${path}.new`, path);
    });
  }
  return readKey(ownName, path);
}

/** Its id tells the key itself, not only its file: another key under the same name is another key (S14). */
function readKey(name: string, path: string): DeploymentKey {
  const secret = reading(path, () => readFileSync(path));
  // White space around a key that is text is an editor's; bytes of a binary key that look like it are its own.
  const latin1 = secret.toString('latin1');
  const key = /^[\t\n\r -~]*$/.test(latin1) ? Buffer.from(latin1.trim(), 'latin1') : secret;
  if (key.length < fewestBytes) throw refused(`the key in ${path} is shorter than ${fewestBytes} bytes`);
  return { id: `${name}-${createHash('sha256').update('sidegate key id').update(key).digest('hex').slice(0, 8)}`, secret: key };
}

function reading<Value>(path: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw refused(`the deployment key ${path} cannot be had`, error);
  }
}

function refused(message: string, cause?: unknown): SidecarError {
  return new SidecarError('FAILED_PRECONDITION', message, { reason: 'DEPLOYMENT_KEYS', cause });
}
