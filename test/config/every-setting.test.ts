// Every setting, absent, of the wrong type, out of range and misspelt: a clear answer or a problem that names field and line.

import { afterAll, describe, expect, it } from 'vitest';
import { Document, stringify } from 'yaml';
import { fieldOf, type Path, type Problem } from '../../src/config/document.ts';
import { formatProblems, type LoadResult, loadConfig } from '../../src/config/load.ts';
import { parseDuration, parseSize } from '../../src/config/units.ts';
import { allSettings, type JsonSchema, removeExampleFiles, type Setting, secretText, variants } from './settings.ts';

const all = allSettings();
afterAll(removeExampleFiles);
const titled = (some: typeof all): (readonly [string, Setting, Readonly<Record<string, unknown>>])[] =>
  some.map(({ setting, document }) => [setting.pattern, setting, document] as const);

/** Each setting on its own line. */
const write = (document: unknown): string => stringify(document, { lineWidth: 0 });

function changed(document: unknown, change: (yaml: Document) => void): { text: string; result: LoadResult } {
  const yaml = new Document(structuredClone(document));
  change(yaml);
  const text = write(yaml.toJS());
  const result = loadConfig({ text, env: {} });
  expect(formatProblems(problemsOf(result), 'x.yaml')).not.toContain(secretText);
  return { text, result };
}

const set = (document: unknown, path: Path, value: unknown): { text: string; result: LoadResult } =>
  changed(document, (yaml) => yaml.setIn(path, value));

const problemsOf = (result: LoadResult): readonly Problem[] => (result.ok ? [] : result.problems);
const lineOf = (text: string, part: string): number => text.split('\n').findIndex((line) => line.includes(part)) + 1;

const accepts = (schema: JsonSchema, type: string): boolean =>
  variants(schema).some((it) => it.type === type || typeof it.const === type || it.enum?.some((value) => typeof value === type));

describe('every setting', () => {
  it.each(titled(all.filter(({ setting }) => !setting.required && 'default' in setting.schema && setting.pattern !== 'issuers')))(
    '%s may be absent: its default is in force',
    (_, { path, schema }, document) => {
      const { result } = changed(document, (yaml) => yaml.deleteIn(path));
      expect(problemsOf(result)).toEqual([]);
      const written = result.ok ? path.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], result.written) : undefined;
      // A mapping that may be absent has the defaults of what is in it, and those are looked at one by one.
      expect(written).toEqual(JSON.stringify(schema.default) === '{}' ? expect.any(Object) : schema.default);
    },
  );

  it.each(titled(all.filter(({ setting }) => setting.required)))('%s must not be absent', (_, { path }, document) => {
    const { result } = changed(document, (yaml) => yaml.deleteIn(path));
    expect(problemsOf(result)).toContainEqual(
      expect.objectContaining({ field: fieldOf(path), message: expect.stringMatching(/^is missing: it must /) }),
    );
  });

  it.each(titled(all.filter(({ setting }) => !setting.required && !('default' in setting.schema))))(
    '%s is one of several, and one must be there',
    (_, { path }, document) => {
      const { result } = changed(document, (yaml) => yaml.deleteIn(path));
      expect(problemsOf(result)).toContainEqual(
        expect.objectContaining({ field: fieldOf(path.slice(0, -1)), message: expect.stringMatching(/^must (hold exactly one|be)/) }),
      );
    },
  );

  it.each(titled(all))('%s of the wrong type is refused', (_, { path, schema }, document) => {
    const wrong = accepts(schema, 'string') ? 98765.25 : 'wrong type';
    const { text, result } = set(document, path, wrong);
    expect(problemsOf(result)).toContainEqual(
      expect.objectContaining({ field: fieldOf(path), line: lineOf(text, String(wrong)), message: expect.stringMatching(/^must /) }),
    );
  });

  it.each(titled(all.filter(({ setting }) => !accepts(setting.schema, 'null'))))('%s must not be empty', (_, { path }, document) => {
    const { result } = set(document, path, null);
    expect(problemsOf(result).map(({ field }) => field)).toContain(fieldOf(path));
  });

  it.each(titled(all))('%s misspelt is refused, and the right name is told', (_, { path }, document) => {
    const name = String(path.at(-1));
    const misspelt = name.length > 3 ? `${name.slice(0, 2)}q${name.slice(2)}` : `${name}q`;
    const { text, result } = changed(document, (yaml) => {
      yaml.setIn([...path.slice(0, -1), misspelt], yaml.getIn(path, true));
      yaml.deleteIn(path);
    });
    expect(problemsOf(result)).toContainEqual({
      field: fieldOf([...path.slice(0, -1), misspelt]),
      line: lineOf(text, `${misspelt}:`),
      column: expect.any(Number),
      message: `is not a setting here; did you mean "${name}"?`,
    });
  });

  it.each(titled(all))('%s is never repeated in a problem', (_, { path }, document) => {
    const { result } = set(document, path, 'hunter2 passw0rd');
    expect(formatProblems(problemsOf(result), 'x.yaml')).not.toMatch(/hunter2|passw0rd/);
  });
});

/** One below, at and one above each bound, as far as there is one. */
function edges({ schema }: Setting): { readonly inside: readonly unknown[]; readonly outside: readonly unknown[] } {
  const bounds = variants(schema).find((it) => it.minimum !== undefined || it['x-minimum'] !== undefined) ?? {};
  if (bounds.minimum !== undefined && bounds.maximum !== undefined) {
    const step = bounds.type === 'integer' ? 1 : 0.001;
    return {
      inside: [bounds.minimum, bounds.maximum],
      outside: [bounds.minimum - step, bounds.maximum + step, bounds.maximum - 0.5].slice(0, bounds.type === 'integer' ? 3 : 2),
    };
  }
  const [min, max] = [bounds['x-minimum'], bounds['x-maximum']];
  if (min === undefined || max === undefined) return { inside: [], outside: [] };
  const [parse, unit] = Number.isNaN(parseSize(min)) ? [parseDuration, 'ms'] : [parseSize, 'B'];
  const below = parse(min) === 0 ? [] : [`${parse(min) - 1}${unit}`];
  return { inside: [min, max], outside: [...below, `${parse(max) + 1}${unit}`, '-1s', '5', '1.5h', '5 s', ''] };
}

describe('every bound', () => {
  const bounded = all.filter(({ setting }) => edges(setting).inside.length > 0);

  it('is looked at', () => {
    expect(bounded.length).toBeGreaterThan(30);
  });

  it.each(titled(bounded))('%s is accepted at its bounds', (_, setting, document) => {
    for (const value of edges(setting).inside) {
      const { result } = set(document, setting.path, value);
      const own = problemsOf(result).filter(({ field, message }) => field === fieldOf(setting.path) && / from .* to /.test(message));
      expect(own).toEqual([]);
    }
  });

  it.each(titled(bounded))('%s is refused beyond its bounds', (_, setting, document) => {
    for (const value of edges(setting).outside) {
      const { text, result } = set(document, setting.path, value);
      const name = `${String(setting.path.at(-1))}: ${JSON.stringify(value)}`;
      expect(text.replaceAll("'", '"').includes(name) || text.includes(String(value))).toBe(true);
      expect(problemsOf(result)).toContainEqual(
        expect.objectContaining({ field: fieldOf(setting.path), message: expect.stringMatching(/ from .* to /) }),
      );
    }
  });

  const texts = all.filter(({ setting }) => variants(setting.schema).some((it) => it.maxLength !== undefined || it.pattern !== undefined));

  it.each(titled(texts))('%s is refused when it is too long or empty', (_, { path }, document) => {
    for (const value of ['x'.repeat(5000), '']) {
      const { result } = set(document, path, value);
      expect(problemsOf(result)).toContainEqual(
        expect.objectContaining({ field: fieldOf(path), message: expect.stringMatching(/^must /) }),
      );
    }
  });

  const lists = all.filter(({ setting }) => setting.schema.type === 'array');

  it.each(titled(lists))('%s is refused when an element comes twice', (_, { path, value }, document) => {
    const one: unknown = [value].flat()[0] ?? 'https://api.example.com';
    const { result } = set(document, path, [one, structuredClone(one)]);
    expect(problemsOf(result)).toContainEqual(
      expect.objectContaining({ field: fieldOf(path), message: expect.stringMatching(/none of them twice/) }),
    );
  });
});
