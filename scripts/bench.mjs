// `npm run bench`: runs every program of bench/ (or those named), one after the other; `--quick` and `--json` are passed on to each.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build, installNodePackages, orStop, root, say } from './prepare.mjs';

const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const named = args.filter((arg) => !arg.startsWith('-'));

orStop(installNodePackages());
orStop(build());

// Programs are TypeScript, like src, which Node 20 cannot run: compiled together with the src they import, into dist/bench.
const compiled = join(root, 'dist', 'bench');
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.bench.json'], { cwd: root, stdio: ['ignore', 2, 2] });
if (status !== 0) orStop('the benchmarks could not be built: what tsc says is above');

const folder = join(root, 'bench');
const programs = (existsSync(folder) ? readdirSync(folder) : [])
  .filter((name) => name.endsWith('.bench.ts'))
  .map((name) => basename(name, '.bench.ts'))
  .filter((name) => named.length === 0 || named.includes(name))
  .sort();
if (programs.length === 0) orStop('no such program in bench/');

let failed = 0;
for (const name of programs) {
  say(`sidegate: bench ${name} …`);
  const program = join(compiled, 'bench', `${name}.bench.js`);
  // The garbage collector is exposed: a program settles the heap before it measures.
  const run = spawnSync(process.execPath, ['--expose-gc', program, ...options], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (run.status === 0) continue;
  failed += 1;
  say(`sidegate: bench ${name} failed (${run.signal ?? `exit ${run.status}`})`);
}
process.exitCode = failed === 0 ? 0 : 1;
