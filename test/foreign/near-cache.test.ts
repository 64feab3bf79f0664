// Near caches as processes of their own: Python's plays every scripted case, and both languages are stopped and continued.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { type CaseFilter, nearCacheCases, playNearCacheCase, type Subject } from '../fakes/near-cache-cases.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const python = '/usr/bin/python3';
const skipped = process.env['SIDEGATE_SKIP_FOREIGN'];
/** Debian's grpc-tools writes stubs that Debian's newer protobuf only takes in pure Python. */
const pythonEnv = { ...process.env, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION: 'python', PYTHONDONTWRITEBYTECODE: '1' };

/** A driver's process as the subject of a case. */
function subjectOf(child: ChildProcess): Subject {
  const waiting = new Map<number, { resolve(said: { active: boolean; events: number }): void; reject(error: Error): void }>();
  let made = 0;
  let complaints = '';
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.stderr?.on('data', (chunk) => {
    complaints = `${complaints}${chunk}`.slice(-4000);
  });
  child.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error(`the driver has ended: ${complaints}`));
  });
  if (child.stdout === null || child.stdin === null) throw new Error('the driver has no pipes');
  const { stdin } = child;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, error, ...said } = JSON.parse(line);
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(said);
    else waiter?.reject(new Error(error));
  });
  const command = (what: object): Promise<{ active: boolean; events: number }> =>
    new Promise((resolve, reject) => {
      made += 1;
      waiting.set(made, { resolve, reject });
      stdin.write(`${JSON.stringify({ id: made, ...what })}\n`);
    });
  return {
    validate: (token) => command({ do: 'validate', token }),
    events: async () => (await command({ do: 'events' })).events,
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    async end() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

describe.skipIf(skipped)(`the near cache in Python${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let stubs = '';

  beforeAll(async () => {
    stubs = await mkdtemp(join(tmpdir(), 'sidegate-stubs-'));
    await run(python, ['-c', 'import grpc, grpc_tools.protoc, google.protobuf'], { env: pythonEnv }).catch((cause: unknown) => {
      const wanted = 'python3-grpcio python3-grpc-tools python3-protobuf';
      throw new Error(`needs ${wanted} of Debian; install them, or say why not in SIDEGATE_SKIP_FOREIGN`, { cause });
    });
    const protoc = ['-m', 'grpc_tools.protoc', `-I${join(root, 'proto')}`, `--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
    await run(python, [...protoc, 'sidegate/v1/token_service.proto'], { env: pythonEnv });
  });

  afterAll(async () => {
    await rm(stubs, { recursive: true, force: true });
  });

  const begin = async (address: string, filter: CaseFilter | undefined): Promise<Subject> => {
    const driver = fileURLToPath(new URL('driver.py', import.meta.url));
    const env = { ...pythonEnv, PYTHONPATH: stubs };
    return subjectOf(spawn(python, [driver, address, JSON.stringify(filter ?? null)], { env, stdio: 'pipe' }));
  };

  it.each(nearCacheCases())('$name', async (scripted) => {
    await playNearCacheCase(scripted, begin);
  });
});

describe('the near cache in TypeScript, stopped and continued', () => {
  // Inside the project, so that the compiled client finds its dependencies.
  const parent = join(root, 'node_modules', '.cache');
  let built = '';

  beforeAll(async () => {
    await mkdir(parent, { recursive: true });
    built = await mkdtemp(join(parent, 'sidegate-client-'));
    const compile = ['--outDir', built, '--declaration', 'false', '--isolatedDeclarations', 'false', '--noCheck'];
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json'), ...compile], {
      cwd: root,
    });
  });

  afterAll(async () => {
    await rm(built, { recursive: true, force: true });
  });

  const begin = async (address: string, filter: CaseFilter | undefined): Promise<Subject> => {
    const driver = fileURLToPath(new URL('driver.mjs', import.meta.url));
    const client = pathToFileURL(join(built, 'client', 'index.js')).href;
    return subjectOf(spawn(process.execPath, [driver, client, address, JSON.stringify(filter ?? null)], { stdio: 'pipe' }));
  };

  it.each(nearCacheCases().filter((scripted) => scripted.pauses))('$name', async (scripted) => {
    await playNearCacheCase(scripted, begin);
  });
});
