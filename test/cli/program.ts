// The built program as its users run it: a child process, its outputs, its exit code.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const project = join(import.meta.dirname, '..', '..');

/** A folder with `package.json`, `proto` and a `dist` that is not older than the sources: the project, or a copy built for this run. */
export function builtPackage(): string {
  const newest = Math.max(
    ...readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' }).map((path) => changed(join('src', path))),
  );
  if (existsSync(join(project, 'dist', 'cli.js')) && changed('dist/cli.js') >= newest) return project;
  const kept = join(project, 'node_modules', '.cache', `sidegate-${newest}`);
  if (existsSync(kept)) return kept;
  const hourAgoMs = Date.now() - 3_600_000;
  for (const name of existsSync(join(kept, '..')) ? readdirSync(join(kept, '..')) : []) {
    const old = join('node_modules', '.cache', name);
    if (name.startsWith('sidegate-') && changed(old) < hourAgoMs) rmSync(join(project, old), { recursive: true, force: true });
  }
  const aside = `${kept}-${process.pid}`;
  mkdirSync(aside, { recursive: true });
  for (const name of ['package.json', 'proto']) symlinkSync(join(project, name), join(aside, name));
  const tsc = join(project, 'node_modules', 'typescript', 'bin', 'tsc');
  spawnSync(process.execPath, [tsc, '-p', join(project, 'tsconfig.json'), '--outDir', join(aside, 'dist')], { cwd: project });
  // Another test file may have built the same meanwhile.
  if (existsSync(kept)) rmSync(aside, { recursive: true });
  else renameSync(aside, kept);
  return kept;
}

const changed = (path: string) => statSync(join(project, path)).mtimeMs;

/** What a run of the program left. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run it. */
export interface RunOptions {
  /** For standard input, which is closed after it; `open`: it stays open and empty. */
  readonly stdin?: string | 'open';
  readonly env?: Readonly<Record<string, string>>;
  /** Its standard output may hold tokens: `dev` prints what it has made. */
  readonly printsTokens?: boolean;
  /** It is a shell: what it leaves in the background ends with it. */
  readonly isShell?: boolean;
}

/** A program under way. */
export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** The first line of an output that fits; fails when the program ends without one. */
  line(fits: RegExp, from?: 'stdout' | 'stderr'): Promise<string>;
}

const running = new Set<ChildProcess>();
const outputs: string[] = [];

/** Everything that was printed by the program so far, by all commands. */
export const allOutput = (): string => outputs.join('');

/** Ends what still runs. For `afterAll`. */
export async function endAll(): Promise<void> {
  const left = [...running];
  await Promise.all(left.map((child) => new Promise((done) => child.once('close', done).kill('SIGKILL'))));
}

/** Starts `command` (sidegate, unless another is named) with nothing of this process's environment but what finds programs. */
export function start(
  args: readonly string[],
  { stdin = '', env = {}, printsTokens = false, isShell = false }: RunOptions = {},
  command?: readonly [string, ...string[]],
): Started {
  const [file, ...before] = command ?? [process.execPath, join(builtPackage(), 'dist', 'cli.js')];
  const { PATH, HOME, TMPDIR, SIDEGATE_TEST_RUN } = process.env;
  const inherited = Object.entries({ PATH, HOME, TMPDIR, SIDEGATE_TEST_RUN }).filter(([, value]) => value !== undefined);
  const child = spawn(file, [...before, ...args], { env: { ...Object.fromEntries(inherited), ...env }, detached: isShell });
  running.add(child);
  child.stdin.on('error', () => undefined);
  if (stdin !== 'open') child.stdin.end(stdin);
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      texts[name] += chunk;
      if (name === 'stderr' || !printsTokens) outputs.push(chunk);
    });
  }
  const ended = new Promise<Ended>((done) =>
    child.once('close', (code) => {
      running.delete(child);
      if (isShell) endGroup(child.pid ?? 0);
      done({ code, ...texts });
    }),
  );
  const lines = { stdout: createInterface({ input: child.stdout }), stderr: createInterface({ input: child.stderr }) };
  const line = (fits: RegExp, from: 'stdout' | 'stderr' = 'stdout') =>
    new Promise<string>((found, failed) => {
      const seen = texts[from]
        .split('\n')
        .slice(0, -1)
        .find((one) => fits.test(one));
      if (seen !== undefined) return found(seen);
      lines[from].on('line', (one) => {
        if (fits.test(one)) found(one);
      });
      void ended.then(({ code, stderr }) => failed(new Error(`ended with ${code} without ${fits}: ${stderr}`)));
    });
  return { child, ended, line };
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // Nothing of it is left.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Runs the program to its end. */
export const sidegate = (args: readonly string[], options: RunOptions = {}): Promise<Ended> => start(args, options).ended;

/** A `sidegate dev --json` that serves. */
export interface DevProgram extends Started {
  readonly grpc: string;
  readonly socket: string;
  readonly operations: string;
  readonly tokens: ReadonlyMap<string, string>;
}

/** Starts one. */
export async function startDevProgram(): Promise<DevProgram> {
  const started = start(['dev', '--json'], { stdin: 'open', printsTokens: true });
  const told = JSON.parse(await started.line(/^\{/)) as {
    grpc: string;
    socket: string;
    operations: string;
    tokens: { name: string; token: string }[];
  };
  return { ...started, ...told, tokens: new Map(told.tokens.map(({ name, token }) => [name, token])) };
}
