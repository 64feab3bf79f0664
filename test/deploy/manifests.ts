// Reads what deploy/ holds: YAML as Kubernetes and Compose read it, and the configurations of Sidegate that are in it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { formatProblems, loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/types.ts';

/** Anything that YAML may hold, for reading fields that are or are not there. */
export interface Node {
  readonly [name: string]: Node | undefined;
}

const root = join(import.meta.dirname, '..', '..');

/** The text of a file of the project. */
export const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The documents of a YAML file of the project. YAML 1.1 as in Kubernetes: there 0440 is an octal number. Throws at the first doubt. */
export function documentsOf(path: string): readonly Node[] {
  const documents = parseAllDocuments(textOf(path), { version: '1.1', uniqueKeys: true, strict: true });
  if (!Array.isArray(documents)) throw new Error(`${path} is empty`);
  return documents.map((document) => {
    const [problem] = [...document.errors, ...document.warnings];
    if (problem) throw new Error(`${path}: ${problem.message}`);
    return document.toJS() as Node;
  });
}

/** A list that may not be there. */
export const each = (node: Node | undefined): readonly Node[] => (Array.isArray(node) ? (node as readonly Node[]) : []);

/** A mapping as pairs, in order. */
export const pairs = (node: Node | undefined): readonly (readonly [string, string])[] =>
  Object.entries(node ?? {}).map(([name, value]) => [name, String(value)]);

/** A value as text; '' where there is none. */
export const said = (node: unknown): string => (node === undefined || node === null ? '' : String(node));

/** Where the files are on the machines that the configurations are for. */
const places = ['/run/secrets/', '/etc/sidegate/keys', '/etc/keystone/'];

/**
 * The configuration `text`, as `serve` reads it on the machine it is for: the files and the folders of keys that it names are made in a
 * folder of their own, which stands in the places of theirs; the fields that `serve` doubts. Throws every problem.
 */
export function judged(text: string): { readonly config: Config; readonly doubted: readonly string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'sidegate-deploy-'));
  const env = { CREDENTIALS_DIRECTORY: `${folder}/credentials` };
  try {
    const here = places.reduce((all, place) => all.replaceAll(place, `${folder}${place}`), text);
    const [, keys = ''] = /^deployment_key_dir: (\S+)$/m.exec(here) ?? [];
    mkdirSync(keys, { recursive: true });
    writeFileSync(join(keys, 'k-1'), 'x'.repeat(32));
    for (const [path] of here.replaceAll(`\${CREDENTIALS_DIRECTORY}`, env.CREDENTIALS_DIRECTORY).matchAll(/\/[^\s,"}]+/g)) {
      if (!path.startsWith(folder) || path === keys) continue;
      const isFolder = path.endsWith('fernet-keys');
      mkdirSync(isFolder ? path : dirname(path), { recursive: true });
      if (!isFolder) writeFileSync(path, 'not a secret\n');
    }
    const loaded = loadConfig({ text: here, baseDir: '/etc/sidegate', env });
    if (!loaded.ok) throw new Error(formatProblems(loaded.problems, 'sidegate.yaml'));
    return { config: withoutPrefix(loaded.config, folder), doubted: loaded.warnings.map(({ field }) => field) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The configuration alone. */
export const configIn = (text: string): Config => judged(text).config;

/** The same with the paths that are written. Secrets are left as they are but for their path. */
function withoutPrefix<Value>(value: Value, folder: string): Value {
  if (typeof value === 'string') return value.replace(folder, '') as Value;
  if (Array.isArray(value)) return value.map((it: unknown) => withoutPrefix(it, folder)) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, withoutPrefix(it, folder)])) as Value;
}

/** The paths of the files that a configuration names, wherever they stand in it. */
export function filesOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = 'path' in value && 'read' in value ? [String(value.path)] : [];
  return [...own, ...Object.values(value).flatMap(filesOf)];
}
