// `npm run check`: every fence around the sources, all of them run, each reported; `npm run check -- knip biome` runs those named,
// `npm run check -- --renew-image` first accepts the present .proto as the baseline of `buf breaking`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installNodePackages, orStop, root, say } from './prepare.mjs';

/** What `buf breaking` compares with: committed, so that it works on any checkout, however shallow. */
const image = join('test', 'vectors', 'token_service.binpb');

orStop(installNodePackages());
// `--renew-image` is for the commit that changes the API on purpose, and says so in docs/decisions.
if (process.argv.includes('--renew-image')) orStop(run('@bufbuild/buf/bin/buf', 'build', '-o', image));

const fences = [
  ['buf lint', () => run('@bufbuild/buf/bin/buf', 'lint')],
  ['buf format', () => run('@bufbuild/buf/bin/buf', 'format', '-d', '--exit-code')],
  ['buf breaking', () => run('@bufbuild/buf/bin/buf', 'breaking', '--against', image)],
  ['generated code', generatedIsUnchanged],
  ['biome', () => run('@biomejs/biome/bin/biome', 'check', '--error-on-warnings')],
  ['tsc src', () => run('typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json')],
  ['tsc tests', () => run('typescript/bin/tsc', '-p', 'tsconfig.test.json')],
  ['knip', () => run('knip/bin/knip.js')],
  ['architecture', () => run('vitest/vitest.mjs', 'run', 'test/architecture.test.ts', '--reporter=dot')],
];

const named = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
orStop(unknownName());
const chosen = fences.filter(([name]) => named.length === 0 || named.includes(name));
let broken = 0;
for (const [name, fence] of chosen) {
  const since = performance.now();
  const found = fence();
  if (found !== undefined) broken += 1;
  const seconds = ((performance.now() - since) / 1000).toFixed(1).padStart(6);
  say(`${found === undefined ? 'ok    ' : 'FAILED'} ${name.padEnd(16)}${seconds} s`);
  if (found !== undefined) say(found.replace(/^/gm, '       '));
}
say(broken === 0 ? `all ${chosen.length} checks hold` : `${broken} of ${chosen.length} checks failed`);
process.exitCode = broken === 0 ? 0 : 1;

/** A misspelt name would run nothing and call it good. */
function unknownName() {
  const names = fences.map(([name]) => name);
  const unknown = named.find((name) => !names.includes(name));
  return unknown === undefined ? undefined : `no check is called ${unknown}; there are: ${names.join(', ')}`;
}

/** Runs a program of node_modules; answers undefined when it is content, else all it said. */
function run(program, ...args) {
  const { status, signal, error, stdout, stderr } = spawnSync(process.execPath, [join('node_modules', program), ...args], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 300_000,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, NO_COLOR: '1' },
  });
  if (status === 0) return undefined;
  return `${stdout ?? ''}${stderr ?? ''}`.trim() || `ended with ${error?.code ?? signal ?? `exit ${status}`} and said nothing`;
}

/** Generates aside and compares with what is committed, byte by byte, both ways. */
function generatedIsUnchanged() {
  const aside = mkdtempSync(join(tmpdir(), 'sidegate-generated-'));
  try {
    const failed = run('@bufbuild/buf/bin/buf', 'generate', '-o', aside);
    if (failed !== undefined) return failed;
    const [fresh, committed] = [contentsOf(join(aside, 'src', 'gen')), contentsOf(join(root, 'src', 'gen'))];
    if (fresh.size === 0) return 'buf generate wrote nothing';
    const differing = [...new Set([...fresh.keys(), ...committed.keys()])].filter((path) => fresh.get(path) !== committed.get(path));
    if (differing.length === 0) return undefined;
    return `not what \`npm run generate\` writes: ${differing
      .sort()
      .map((path) => `src/gen/${path}`)
      .join(', ')}`;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function contentsOf(folder) {
  if (!existsSync(folder)) return new Map();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path, 'latin1')];
    }),
  );
}
