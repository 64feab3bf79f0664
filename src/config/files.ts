// The files that a configuration names: where they are, and whether they can be read.

import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Path } from './document.ts';
import type { Files } from './leaves.ts';
import type { Finding } from './rules.ts';
import { secretFile, secretFileProblem } from './secrets.ts';

/** Paths relative to `baseDir`. */
export function filesAt(baseDir: string): Files {
  const path = (written: string): string => resolve(baseDir, written);
  return { path, secret: (written) => secretFile(path(written)) };
}

/** Is the setting at `path` the path of a file whose content is read and never shown? Every `*_file`, and the key file of a JWT issuer. */
export function isSecretFile(path: Path): boolean {
  return String(path.at(-1)).endsWith('_file') || (path.at(-2) === 'keys' && path.at(-1) === 'file');
}

/** What is wrong with the files and the directories of keys that `written` names. No message repeats a path. */
export function fileFindings(written: unknown, files: Files): readonly Finding[] {
  return settingsOf(written, []).flatMap(({ path, value }) => {
    const message = problemWith(path, value, files);
    return message === undefined ? [] : [{ path, message }];
  });
}

/** `written` with the paths of secrets made absolute. */
export function withAbsoluteSecrets(written: Readonly<Record<string, unknown>>, files: Files): Readonly<Record<string, unknown>> {
  const change = (value: unknown, path: Path): unknown => {
    if (Array.isArray(value)) return value.map((it, index) => change(it, [...path, index]));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, change(it, [...path, name])]));
    }
    return typeof value === 'string' && isSecretFile(path) ? files.path(value) : value;
  };
  return Object.fromEntries(Object.entries(written).map(([name, it]) => [name, change(it, [name])]));
}

function settingsOf(value: unknown, path: Path): readonly { readonly path: Path; readonly value: string }[] {
  if (Array.isArray(value)) return value.flatMap((it, index) => settingsOf(it, [...path, index]));
  if (typeof value === 'object' && value !== null) return Object.entries(value).flatMap(([name, it]) => settingsOf(it, [...path, name]));
  return typeof value === 'string' ? [{ path, value }] : [];
}

function problemWith(path: Path, value: string, files: Files): string | undefined {
  if (isSecretFile(path)) return secretFileProblem(files.path(value));
  return isKeyDirectory(path) ? directoryProblem(files.path(value)) : undefined;
}

/** Of this deployment, or a repository of Keystone's. */
function isKeyDirectory(path: Path): boolean {
  const [parent, name] = path.slice(-2);
  return path.at(-1) === 'deployment_key_dir' || (parent === 'keys' && (name === 'fernet' || name === 'jws'));
}

function directoryProblem(path: string): string | undefined {
  const message = 'must be a directory that can be read';
  try {
    accessSync(path, constants.R_OK | constants.X_OK);
    return statSync(path).isDirectory() ? undefined : message;
  } catch (_error) {
    // Whatever keeps us from looking keeps us from reading the keys, and its message repeats the path.
    return message;
  }
}
