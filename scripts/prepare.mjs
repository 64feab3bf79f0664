// What every script needs first: the node packages of the lock file, and `dist` built from the present sources.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Says one line to the human, on stderr: stdout belongs to the program that is started. */
export const say = (line) => process.stderr.write(`${line}\n`);

/** Installs the node packages unless exactly those of the lock file are there. Returns what failed, or undefined. */
export function installNodePackages() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) return `Sidegate needs Node 20.19 or later; this is ${process.versions.node}`;
  if (installed()) return undefined;
  say('sidegate: installing the node packages (npm ci) …');
  // `--include=dev`: the compiler is needed also where NODE_ENV says production.
  const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  // Under `npm start` npm tells where it lies itself; by hand it is on the PATH.
  const npm = process.env['npm_execpath'];
  const [command, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const { status, signal, error } = spawnSync(command, [...before, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return undefined;
  return `npm ci failed (${error?.code ?? signal ?? `exit ${status}`}): its own lines are above. Is the package registry reachable?`;
}

/** Builds `dist` unless it was built from exactly the present sources. Returns what failed, or undefined. */
export function build() {
  const sources = fingerprintOfSources();
  const stamp = join(root, 'dist', '.built-from');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === sources) {
    linkCommand();
    return undefined;
  }
  say('sidegate: building dist …');
  // Built aside and moved in whole: what runs from `dist` at this moment never sees half of it, and no file of a former build stays.
  const aside = join(root, 'node_modules', `.sidegate-build-${process.pid}`);
  const former = `${aside}-former`;
  try {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--outDir', aside], { cwd: root, stdio: ['ignore', 2, 2] });
    if (status !== 0) return 'the build failed: what tsc says is above';
    if (existsSync(join(aside, 'cli.js'))) chmodSync(join(aside, 'cli.js'), 0o755);
    writeFileSync(join(aside, '.built-from'), sources);
    if (existsSync(join(root, 'dist'))) renameSync(join(root, 'dist'), former);
    renameSync(aside, join(root, 'dist'));
  } finally {
    rmSync(aside, { recursive: true, force: true });
    rmSync(former, { recursive: true, force: true });
  }
  linkCommand();
  return undefined;
}

/** Ends the script with what failed, said aloud; does nothing with undefined. */
export function orStop(failed) {
  if (failed === undefined) return;
  say(`sidegate: ${failed}`);
  process.exit(1);
}

/**
 * Calls `ended` once when the npm that runs this script has gone. A signal to npm ends npm and its shell, and is not passed on to us:
 * without this, `kill` of an `npm start` would leave sidegate behind. By hand (no npm) nothing is watched.
 */
export function whenNpmEnds(ended) {
  if (process.env['npm_lifecycle_event'] === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    ended();
  }, 250);
  timer.unref();
}

/** npm keeps what it installed in a lock file of its own: compared by content, since a checkout sets times as it likes. */
function installed() {
  const present = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(present)) return false;
  const have = JSON.parse(readFileSync(present, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(([path, { version, integrity, optional }]) => {
    // Optional packages are those of other platforms.
    if (path === '' || (optional === true && have[path] === undefined)) return true;
    return have[path]?.version === version && have[path]?.integrity === integrity && existsSync(join(root, path, 'package.json'));
  });
}

function fingerprintOfSources() {
  const hash = createHash('sha256');
  for (const path of [...filesUnder('src'), 'tsconfig.json', 'package-lock.json']) {
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update('\0');
  }
  return hash.digest('hex');
}

function filesUnder(folder) {
  return readdirSync(join(root, folder))
    .sort()
    .flatMap((name) => (statSync(join(root, folder, name)).isDirectory() ? filesUnder(join(folder, name)) : [join(folder, name)]));
}

/** npm links the commands of dependencies, not our own: with this link `npx sidegate …` finds it inside the checkout. */
function linkCommand() {
  const bin = join(root, 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  const link = join(bin, 'sidegate');
  rmSync(link, { force: true });
  symlinkSync(join('..', '..', 'dist', 'cli.js'), link);
}
