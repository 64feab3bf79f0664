// The documents say what is there: their links, metrics, log lines and reasons are held against the tree.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path/posix';
import { describe, expect, test } from 'vitest';
import { metricTable } from '../src/telemetry/metric-table.ts';

const project = join(import.meta.dirname, '..');
const textOf = (path: string): string => readFileSync(join(project, path), 'utf8');

const documents = [
  'README.md',
  'CHANGELOG.md',
  'deploy/README.md',
  'bench/README.md',
  ...['docs', 'docs/decisions'].flatMap((folder) =>
    readdirSync(join(project, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`),
  ),
];

/** All sources but the generated ones, with any white space as one space, so that a text over two lines is found too. */
const sources = readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('gen/'))
  .map((path) => textOf(`src/${path}`))
  .join('\n')
  .replaceAll(/\s+/g, ' ');

/** The part of a page under a heading, until the next one of its depth. */
function under(page: string, heading: string): string {
  const text = textOf(page);
  const from = text.indexOf(`\n${heading}\n`);
  expect(from, `${page}: ${heading}`).toBeGreaterThan(0);
  const rest = text.slice(from + heading.length + 2);
  const until = rest.indexOf(`\n${heading.slice(0, heading.indexOf(' '))} `);
  return until < 0 ? rest : rest.slice(0, until);
}

/** What stands in code, in a text. */
const codeIn = (text: string): readonly string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);

/** The places of a page's headings, as forges name them. */
const anchorsOf = (page: string): readonly string[] =>
  [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** The links of `page` that lead nowhere. */
function brokenIn(page: string, text: string): readonly string[] {
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link).filter((link) => !/^https?:/.test(link));
  return links.filter((link) => {
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? page : normalize(join(dirname(page), path));
    if (!existsSync(join(project, target))) return true;
    return anchor !== undefined && !anchorsOf(target).includes(anchor);
  });
}

describe.each(documents)('%s', (page) => {
  test('every link leads to a file of the project, and to a heading that it has', () => {
    expect(brokenIn(page, textOf(page))).toEqual([]);
  });
});

test('a link to a heading that is not there would have been found', () => {
  expect(brokenIn('README.md', '[a](docs/keystone.md#the-bus) [b](docs/keystone.md#the-train) [c](docs/none.md)')).toEqual([
    'docs/keystone.md#the-train',
    'docs/none.md',
  ]);
});

test('operations.md asks a question for each metric, with its labels, and for no other', () => {
  const rows = under('docs/operations.md', '## Metrics')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  const said = rows.flatMap((row) => {
    const cell = row.split('|')[1] ?? '';
    // More than one metric stands in a cell: each with labels of its own, or all with those at the end. `_name` goes on from the first.
    const parts = [...cell.matchAll(/`(\w+)`(?: \(([^)]*)\))?/g)].map(([, name = '', labels]) => ({ name, labels }));
    const shared = parts.at(-1)?.labels ?? '';
    const first = parts[0]?.name ?? '';
    return parts.map(({ name, labels = shared }) => `${name.startsWith('_') ? nameFrom(first, name) : name} ${labels}`.trim());
  });
  const wanted = Object.entries(metricTable).map(([name, { labels }]) => `${name} ${labels.join(', ')}`.trim());
  expect(said.toSorted()).toEqual(wanted.toSorted());
});

/** `_entries` beside `sidegate_cache_bytes` is `sidegate_cache_entries`: the one that is there. */
function nameFrom(first: string, ending: string): string {
  const words = first.split('_');
  const tries = words.map((_, at) => `${words.slice(0, words.length - at).join('_')}${ending}`);
  return tries.find((name) => Object.hasOwn(metricTable, name)) ?? `${first}${ending}`;
}

test('every message of the log that operations.md names is one that the sidecar writes', () => {
  const rows = under('docs/operations.md', '## Logs and audit')
    .split('\n')
    .filter((line) => line.startsWith('| '));
  // An ellipsis stands for what follows. Short words are fields.
  const messages = codeIn(rows.join('\n'))
    .map((code) => code.replace(/…$/, '').trim())
    .filter((code) => code.includes(' ') || code.endsWith(':'))
    .filter((code) => !/^\w+: "/.test(code));
  expect(messages.length).toBeGreaterThan(20);
  expect(messages.filter((message) => !sources.includes(message))).toEqual([]);
});

test('every machine reason in semantics.md is one that the code gives', () => {
  const table = under('docs/semantics.md', '## No answer: codes and machine reasons');
  const reasons = codeIn(table).filter((code) => /^[A-Z]+(?:_[A-Z]+)*$/.test(code));
  expect(reasons.length).toBeGreaterThan(60);
  // KEYSTONE_TIMEOUT is put together of KEYSTONE and TIMEOUT.
  const isGiven = (reason: string): boolean => sources.includes(`'${reason}'`) || sources.includes(`_${reason.split('_').at(-1)}\``);
  expect(reasons.filter((reason) => !isGiven(reason))).toEqual([]);
});

test('every machine reason that the code gives is in semantics.md', () => {
  const page = textOf('docs/semantics.md');
  const given = new Set([...sources.matchAll(/\breason: '([A-Z]+(?:_[A-Z]+)*)'/g)].map(([, reason = '']) => reason));
  expect(given.size).toBeGreaterThan(60);
  expect([...given].filter((reason) => !page.includes(`\`${reason}\``))).toEqual([]);
});

test('the .proto has no field that is `optional`, as old generators refuse the whole file then', () => {
  const proto = textOf('proto/sidegate/v1/token_service.proto');
  expect(proto).toContain('  uint64 from = 1;');
  expect(proto).not.toMatch(/^\s*optional /m);
});

test('architecture.md has every room and file at the root of src, and no other', () => {
  const tree = under('docs/architecture.md', '## The rooms').split('```')[1] ?? '';
  // Two places may stand in one line, before what is said of them.
  const said = tree
    .split('\n')
    .flatMap((line) => [...(/^ {2}((?:[\w.-]+(?:\.ts|\/) ?)+) /.exec(line)?.[1] ?? '').matchAll(/\S+/g)].map(([place]) => place));
  const there = readdirSync(join(project, 'src'), { withFileTypes: true }).map((entry) =>
    entry.isDirectory() ? `${entry.name}/` : entry.name,
  );
  expect(said.toSorted()).toEqual(there.toSorted());
});

test('every limit in architecture.md stands in a file that is there', () => {
  const files = codeIn(under('docs/architecture.md', '## Limits')).filter((code) => code.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(40);
  // In one cell the second file is beside the first.
  const isThere = (file: string): boolean => existsSync(join(project, 'src', file)) || existsSync(join(project, 'src/formats', file));
  expect(files.filter((file) => !isThere(file))).toEqual([]);
});
