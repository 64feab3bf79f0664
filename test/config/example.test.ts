// The project's example holds exactly what is read, with its defaults.

import { afterAll, describe, expect, it } from 'vitest';
import { isMap, parse, parseDocument } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { allSettings, exampleText, exampleTexts, patternsOf, removeExampleFiles, settingsIn } from './settings.ts';

afterAll(removeExampleFiles);

describe('sidegate.example.yaml', () => {
  const text = exampleText();

  it('is loaded without a problem or a warning', () => {
    expect(loadConfig({ text, env: {} })).toMatchObject({ ok: true, warnings: [] });
  });

  it('shows lines in comments that can be loaded too', () => {
    const texts = exampleTexts();
    expect(texts.length).toBeGreaterThanOrEqual(6);
    expect(texts.map((it) => loadConfig({ text: it, env: {} })).filter((it) => !it.ok)).toEqual([]);
  });

  it('shows every setting that there is, and no other', () => {
    const shown = allSettings().map(({ setting }) => setting.pattern);
    expect([...new Set(shown)].sort()).toEqual([...new Set(patternsOf())].sort());
    expect(shown.length).toBeGreaterThan(100);
  });

  it('shows the default of every setting that it does not mark as an example', () => {
    const lines = text.split('\n');
    const document = parseDocument(text, { keepSourceTokens: true });
    const lineOf = (path: readonly (string | number)[]): string => {
      const parent = document.getIn(path.slice(0, -1), true);
      const pair = isMap(parent) ? parent.items.find(({ key }) => String(key) === path.at(-1)) : undefined;
      const key = pair?.key as { range: readonly number[] } | undefined;
      return lines[text.slice(0, key?.range[0] ?? 0).split('\n').length - 1] ?? '';
    };
    const unmarked = settingsIn(parse(text)).filter(
      ({ isLeaf, path }) => isLeaf && path[0] !== 'callers' && !lineOf(path).includes('# example'),
    );
    expect(unmarked.length).toBeGreaterThan(60);
    expect(unmarked.filter(({ schema, value }) => JSON.stringify(schema.default) !== JSON.stringify(value))).toEqual([]);
  });

  it('shows the default callers, which are one thing', () => {
    const callers = settingsIn(parse(text)).find(({ pattern }) => pattern === 'callers');
    expect(callers?.value).toEqual(callers?.schema.default);
  });
});
