// All settings, derived from the JSON Schema and the example, so that a new one is covered without being named here.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Path } from '../../src/config/document.ts';
import { configSchema } from '../../src/config/schema.ts';
import { tlsPair } from '../fakes/tls-pair.ts';

/** As much of JSON Schema as ours uses. */
export interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly pattern?: string;
  readonly 'x-minimum'?: string;
  readonly 'x-maximum'?: string;
}

/** A setting that is written somewhere. */
export interface Setting {
  readonly path: Path;
  /** The same for all places with the same schema: `issuers[keystone].url`. */
  readonly pattern: string;
  readonly schema: JsonSchema;
  readonly value: unknown;
  readonly required: boolean;
  /** Neither a mapping nor a list of mappings. */
  readonly isLeaf: boolean;
}

export const schema = configSchema() as JsonSchema;

/** The alternatives of a schema, itself where it has none. */
export const variants = (it: JsonSchema): readonly JsonSchema[] =>
  (it.anyOf ?? it.oneOf ?? [it]).flatMap((v) => (v === it ? [v] : variants(v)));

const kindOf = (it: JsonSchema): string => String(it.properties?.['kind']?.const ?? '');

/** The patterns of everything that may be written. */
export function patternsOf(it: JsonSchema = schema, pattern = ''): readonly string[] {
  return variants(it).flatMap((variant) => {
    if (variant.items?.type === 'string') return [];
    if (variant.items) return variants(variant.items).flatMap((item) => patternsOf(item, `${pattern}[${kindOf(item)}]`));
    return Object.entries(variant.properties ?? {}).flatMap(([name, inner]) => {
      const here = pattern === '' ? name : `${pattern}.${name}`;
      return [here, ...patternsOf(inner, here)];
    });
  });
}

/** The settings that `value` writes. */
export function settingsIn(value: unknown, it: JsonSchema = schema, path: Path = [], pattern = ''): readonly Setting[] {
  if (Array.isArray(value)) {
    const items = variants(it).find((v) => v.items)?.items;
    if (!items || items.type === 'string') return [];
    return value.flatMap((element: { kind?: string }, index) => {
      const item = variants(items).find((v) => kindOf(v) === (element.kind ?? '')) ?? {};
      return settingsIn(element, item, [...path, index], `${pattern}[${kindOf(item)}]`);
    });
  }
  if (typeof value !== 'object' || value === null) return [];
  const mapping = variants(it).find((v) => v.properties) ?? {};
  return Object.entries(value).flatMap(([name, inner]) => {
    const setting: Setting = {
      path: [...path, name],
      pattern: pattern === '' ? name : `${pattern}.${name}`,
      schema: mapping.properties?.[name] ?? {},
      value: inner,
      required: mapping.required?.includes(name) ?? false,
      isLeaf: settingsIn(inner, mapping.properties?.[name]).length === 0,
    };
    return [setting, ...settingsIn(inner, setting.schema, setting.path, setting.pattern)];
  });
}

/** What the secret files of the example hold here. */
export const secretText = 'correct-horse-battery';

const directory = mkdtempSync(join(tmpdir(), 'sidegate-example-'));

/** Removes the secret files of the example. For `afterAll`. */
export const removeExampleFiles = (): void => rmSync(directory, { recursive: true, force: true });

/** What is looked into when it is read must be what it is called. */
const contentOf = (name: string): string =>
  name.endsWith('.crt') ? tlsPair.cert : name.endsWith('.key') ? tlsPair.key : `${secretText}\n`;

/** The project's example, its secret files replaced by ones that are there. */
export function exampleText(): string {
  const text = readFileSync(new URL('../../sidegate.example.yaml', import.meta.url), 'utf8');
  for (const [, name] of text.matchAll(/\/etc\/sidegate\/([a-z.-]+)/g))
    writeFileSync(join(directory, String(name)), contentOf(String(name)));
  for (const [, name] of text.matchAll(/\/etc\/keystone\/([a-z./-]+)/g)) mkdirSync(join(directory, String(name)), { recursive: true });
  return text.replaceAll(/\/etc\/(sidegate|keystone)\//g, `${directory}/`);
}

/** The example as it is, with its commented callers, and once with each other commented line in place of the live one before it. */
export function exampleTexts(): readonly string[] {
  const text = exampleText();
  const lines = text.split('\n');
  const texts = [text, text.replace(/^ {2}# (- who:| {2}may:)/gm, '  $1')];
  for (const [index, line] of lines.entries()) {
    if (!/^ {2,8}# (?!- who:)[a-z_]+:/.test(line)) continue;
    const before = lines.slice(0, index).findLastIndex((it) => !/^ *#/.test(it));
    texts.push(
      lines
        .map((it, at) => (at === index ? it.replace('# ', '') : it))
        .filter((_, at) => at !== before)
        .join('\n'),
    );
  }
  return texts;
}

/** Each setting that the example shows, live or commented, once, with the document that shows it. */
export function allSettings(): readonly { readonly setting: Setting; readonly document: Readonly<Record<string, unknown>> }[] {
  const all = new Map<string, { setting: Setting; document: Record<string, unknown> }>();
  for (const text of exampleTexts()) {
    const document: Record<string, unknown> = parse(text);
    for (const setting of settingsIn(document)) if (!all.has(setting.pattern)) all.set(setting.pattern, { setting, document });
  }
  return [...all.values()];
}
