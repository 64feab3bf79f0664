// From the text of a configuration to what is in force, or to everything that is wrong with it.

import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type * as z from 'zod';
import { type ConfigDocument, type Environment, fieldOf, type Origin, type Path, type Problem, readDocument } from './document.ts';
import { fileFindings, filesAt, withAbsoluteSecrets } from './files.ts';
import { issuerSection, strangersIn } from './issuers.ts';
import { type Files, type Section, unknownKey } from './leaves.ts';
import { brokenRules, doubts, type Finding } from './rules.ts';
import { configOf, parts } from './schema.ts';
import { callerSection } from './sections.ts';
import type { Config } from './types.ts';

/** Where a configuration is taken from. */
export interface ConfigSource {
  /** Of the file. Not read where `text` is given. */
  readonly path?: string;
  readonly text?: string;
  /** For `${NAME}`. */
  readonly env: Environment;
  /** Where relative paths begin; without it the directory of `path`, else the working directory. */
  readonly baseDir?: string;
  /** `dev` may do without issuers and without a journal on disk. Without it: `serve`. */
  readonly purpose?: 'serve' | 'dev';
}

/** What is in force, with what is needed to say why. */
export interface LoadedConfig {
  readonly ok: true;
  readonly config: Config;
  /** What may be, but is probably not meant; sorted by line. */
  readonly warnings: readonly Problem[];
  /** As it would have been written in full, the defaults filled in. Secrets are absolute paths in it. */
  readonly written: Readonly<Record<string, unknown>>;
  /** Undefined: a default. */
  originOf(path: Path): Origin | undefined;
}

/** A configuration, or all of its problems, sorted by line. */
export type LoadResult = LoadedConfig | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Reads and judges a configuration, and that the files it names can be read. Says all that is wrong at once: only what cannot be
 * judged before something else is mended waits (everything for YAML, a rule for the settings it is about). Never throws; no message holds a value.
 */
export function loadConfig(source: ConfigSource): LoadResult {
  const text = textOf(source);
  if (typeof text !== 'string') return { ok: false, problems: [text] };
  const { document, problems } = readDocument(text, source.env);
  if (!document) return { ok: false, problems: sorted(problems) };
  const files = filesAt(source.baseDir ?? (source.path === undefined ? process.cwd() : dirname(source.path)));
  return judge(document, files, source.purpose ?? 'serve');
}

/** What is in force where nothing is written: no issuers. For `dev` and tests to build on. */
export function defaultConfig(): Config {
  return configOf({}, filesAt('/'));
}

/** One line each: `sidegate.yaml:12:5 issuers[0].url: must be …`. */
export function formatProblems(problems: readonly Problem[], fileName: string): string {
  return problems
    .map(({ line, column, field, message }) => `${fileName}:${line}:${column} ${field === '' ? '' : `${field}: `}${message}`)
    .join('\n');
}

function textOf({ text, path }: ConfigSource): string | Problem {
  if (text !== undefined) return text;
  if (path === undefined) return '';
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    const message = why === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8' : `cannot be read (${why})`;
    return { line: 1, column: 1, field: '', message };
  }
}

function judge(document: ConfigDocument, files: Files, purpose: 'serve' | 'dev'): LoadResult {
  const top = document.value ?? {};
  if (!isMapping(top)) return { ok: false, problems: [{ ...document.placeOf([]), field: '', message: 'must hold settings' }] };
  const found: Finding[] = Object.keys(top)
    .filter((key) => !Object.hasOwn(parts, key))
    .map((key) => ({ path: [key], message: unknownKey(key, Object.keys(parts)) }));

  const written: Record<string, unknown> = {};
  for (const [name, { schema }] of Object.entries(parts)) {
    const parsed = parsePart(schema, top[name], [name], document);
    if (parsed.success) written[name] = parsed.data;
    else found.push(...parsed.error.issues.flatMap((issue) => findingsOf(issue, [name])).map((it) => withAbsence(it, document)));
  }
  found.push(...kindlessFindings(top['issuers']), ...fileFindings(written, files));

  const means = <T>(part: Section<T>, name: string): T | undefined => (name in written ? part.read(written[name], files) : undefined);
  const judged = {
    deploymentKeys:
      'deployment_key_dir' in written ? { dir: parts.deployment_key_dir.read(written['deployment_key_dir'], files) } : undefined,
    listen: means(parts.listen, 'listen'),
    callers: means(parts.callers, 'callers') ?? readable(callerSection, top['callers'], files),
    issuers: means(parts.issuers, 'issuers') ?? readable(issuerSection, top['issuers'], files),
    caching: means(parts.caching, 'caching'),
    journal: means(parts.journal, 'journal'),
    maxLagMs: means(parts.max_lag, 'max_lag'),
    fleet: means(parts.fleet, 'fleet'),
    watch: means(parts.watch, 'watch'),
    limits: means(parts.limits, 'limits'),
  };
  found.push(...brokenRules(judged, purpose));
  if (found.length > 0) return { ok: false, problems: problemsOf(found, document) };
  const { originOf } = document;
  const warnings = problemsOf(doubts(judged), document);
  return { ok: true, config: configOf(written, files), warnings, written: withAbsoluteSecrets(written, files), originOf };
}

/** Parses; what came from the environment as text becomes the number or the boolean that is wanted. */
function parsePart(schema: z.ZodType, value: unknown, at: Path, document: ConfigDocument): z.ZodSafeParseResult<unknown> {
  const first = schema.safeParse(value);
  if (first.success) return first;
  let converted = value;
  for (const issue of first.error.issues) {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    const fromEnvironment = (document.originOf([...at, ...path])?.environment.length ?? 0) > 0;
    if (fromEnvironment && issue.code === 'invalid_type') converted = replaced(converted, path, (text) => asType(issue.expected, text));
  }
  return converted === value ? first : schema.safeParse(converted);
}

function asType(wanted: string, text: unknown): unknown {
  if (wanted === 'number') return /^-?\d{1,15}(\.\d{1,15})?$/.test(String(text)) ? Number(text) : text;
  return wanted === 'boolean' && (text === 'true' || text === 'false') ? text === 'true' : text;
}

function replaced(value: unknown, [step, ...rest]: Path, change: (old: unknown) => unknown): unknown {
  if (step === undefined) return change(value);
  if (Array.isArray(value)) return value.map((it, index) => (index === step ? replaced(it, rest, change) : it));
  return isMapping(value) ? { ...value, [step]: replaced(value[step], rest, change) } : value;
}

/** The elements of a list that can be read although others cannot, each at its position. */
function readable<T>(element: Section<T>, value: unknown, files: Files): readonly (T | undefined)[] {
  // Of what is no list nothing is known, not even that it is empty.
  if (!Array.isArray(value)) return [undefined];
  return value.map((it) => (element.schema.safeParse(it).success ? element.read(it, files) : undefined));
}

/** The names that no issuer has, in issuers of an unknown kind. */
function kindlessFindings(issuers: unknown): readonly Finding[] {
  if (!Array.isArray(issuers)) return [];
  return issuers.flatMap((issuer: unknown, index) =>
    isMapping(issuer) && !Object.hasOwn(issuer, 'kind')
      ? strangersIn(issuer).map(({ key, message }) => ({ path: ['issuers', index, key], message }))
      : [],
  );
}

function findingsOf(issue: z.core.$ZodIssue, around: Path): readonly Finding[] {
  const path = [...around, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))];
  if (issue.code === 'unrecognized_keys') {
    const sentences = issue.message.split('\n');
    return issue.keys.map((key, index) => ({ path: [...path, key], message: sentences[index] ?? issue.message }));
  }
  if (issue.code === 'invalid_union') {
    // The alternative that was meant is the one whose own form fits; its problems are more to the point.
    const meant = issue.errors.find(
      (those) => those.length > 0 && those.every((it) => it.path.length > 0 || it.code === 'unrecognized_keys'),
    );
    if (meant) return meant.flatMap((it) => findingsOf(it, path));
  }
  return [{ path, message: issue.message }];
}

function withAbsence({ path, message }: Finding, document: ConfigDocument): Finding {
  return { path, message: document.originOf(path) === undefined ? `is missing: it ${message}` : message };
}

function problemsOf(found: readonly Finding[], document: ConfigDocument): readonly Problem[] {
  const one = new Map<string, Problem>();
  for (const { path, message } of found) {
    const isName = message.startsWith('is not a setting');
    const place = isName ? document.placeOfName(path) : document.placeOf(path);
    const problem = { ...place, field: fieldOf(path), message };
    one.set(`${problem.field} ${message}`, problem);
  }
  return sorted([...one.values()]);
}

function sorted(problems: readonly Problem[]): readonly Problem[] {
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
