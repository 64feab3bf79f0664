// `npm run bench`: runs the programs of bench/ (or those named), one after the other; `--quick` and `--json` are passed on to each.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { installPackages, missingPackages, whyNoPackages } from './packages.mjs';
import { build, installNodePackages, orStop, root, say } from './prepare.mjs';

/** Programs that run only when they are named, as they take minutes and servers that other people run; and the Debian packages of these. */
const packagesOf = {
  faults: ['memcached', 'rabbitmq-server', 'nats-server'],
  away: ['memcached', 'rabbitmq-server', 'nats-server'],
  crowd: ['memcached', 'rabbitmq-server', 'nats-server'],
  fleet: ['memcached', 'rabbitmq-server', 'nats-server'],
  middleware: ['memcached', 'python3-keystonemiddleware', 'python3-memcache', 'python3-grpcio', 'python3-grpc-tools'],
  region: ['memcached'],
  staleness: [
    'memcached',
    'rabbitmq-server',
    'python3-keystone',
    'uwsgi-core',
    'uwsgi-plugin-python3',
    'python3-keystonemiddleware',
    'python3-memcache',
  ],
  storm: ['memcached', 'rabbitmq-server'],
};

const given = process.argv.slice(2);
// The one option with a value: of `region` alone.
const minutesAt = given.indexOf('--minutes');
const minutes = minutesAt < 0 ? [] : given.slice(minutesAt, minutesAt + 2);
const args = given.filter((_, at) => minutesAt < 0 || at < minutesAt || at > minutesAt + 1);
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
  .filter((name) => (named.length === 0 ? !(name in packagesOf) : named.includes(name)))
  .sort();
if (programs.length === 0) orStop('no such program in bench/');
if (minutes.length > 0 && !programs.includes('region')) orStop('--minutes is an option of region: npm run bench -- region --minutes 10');
for (const name of programs) if (name in packagesOf) orStop(provide(packagesOf[name]));

let failed = 0;
for (const name of programs) {
  say(`sidegate: bench ${name} …`);
  const program = join(compiled, 'bench', `${name}.bench.js`);
  // The garbage collector is exposed: a program settles the heap before it measures.
  const run = spawnSync(process.execPath, ['--expose-gc', program, ...options, ...(name === 'region' ? minutes : [])], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (run.status === 0) continue;
  failed += 1;
  say(`sidegate: bench ${name} failed (${run.signal ?? `exit ${run.status}`})`);
}
process.exitCode = failed === 0 ? 0 : 1;

/** Installs what is missing of them, said aloud. Returns what failed, or undefined. */
function provide(packages) {
  const missing = existsSync('/usr/bin/dpkg-query') ? missingPackages(packages) : packages;
  const why = missing.length === 0 ? undefined : whyNoPackages();
  if (missing.length === 0 || why !== undefined) return why && `${why} (missing: ${missing.join(' ')})`;
  say(`sidegate: these Debian packages are installed now with apt-get (no service is started): ${missing.join(' ')}`);
  return installPackages(missing, (line) => say(`sidegate: ${line}`));
}
