// What is in force and where each value came from, as YAML for people.

import { stringify } from 'yaml';
import type { Path } from './document.ts';
import { isSecretFile } from './files.ts';
import type { LoadedConfig } from './load.ts';

interface Line {
  readonly text: string;
  readonly origin?: string;
}

const commentColumn = 64;

/**
 * One line a setting: its value, then `# default`, `# FILE:LINE` or `# environment NAME`. `fileName` is what the file is called there.
 * Secrets are `<from file PATH>`. What is printed is not meant to be loaded again.
 */
export function printConfig(loaded: LoadedConfig, fileName: string): string {
  const originOf = (path: Path): string => {
    const origin = loaded.originOf(path);
    if (!origin) return 'default';
    return origin.environment.length > 0 ? `environment ${origin.environment.join(', ')}` : `${fileName}:${origin.line}`;
  };
  return linesOf(loaded.written, [], originOf)
    .map(({ text, origin }) => (origin === undefined ? `${text}\n` : `${text.padEnd(commentColumn)} # ${origin}\n`))
    .join('');
}

function linesOf(value: object, path: Path, originOf: (path: Path) => string): readonly Line[] {
  const entries: (readonly [string | number, unknown])[] = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return entries.flatMap(([step, it]) => {
    const inner = [...path, step];
    if (!isBlock(it)) return [{ text: `${typeof step === 'number' ? '-' : `${step}:`} ${flow(it, inner)}`, origin: originOf(inner) }];
    const lines = linesOf(it, inner, originOf).map((line) => ({ ...line, text: `  ${line.text}` }));
    // The first setting of a list's element stands beside its dash.
    return typeof step === 'number'
      ? lines.map((line, index) => (index === 0 ? { ...line, text: line.text.replace('  ', '- ') } : line))
      : [{ text: `${step}:` }, ...lines];
  });
}

// Lists of plain values and whatever is empty stay on one line.
function isBlock(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const inner: unknown[] = Object.values(value);
  return inner.length > 0 && (!Array.isArray(value) || inner.some((it) => typeof it === 'object'));
}

function flow(value: unknown, path: Path): string {
  if (typeof value === 'string' && isSecretFile(path)) return `<from file ${value}>`;
  return stringify(value, { lineWidth: 0, collectionStyle: 'flow', flowCollectionPadding: false }).trimEnd();
}
