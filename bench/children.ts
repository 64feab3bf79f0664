// Servers under measurement, each a process of its own, so that its processor time and its heap are its own.

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { GCProfiler } from 'node:v8';

/** A server that listens, and tells of itself when asked. */
export interface Child {
  readonly ready: Readonly<Record<string, unknown>>;
  /** Processor time so far, user and system, in microseconds. */
  cpuMicros(): Promise<number>;
  /** Collects garbage, and has the child count from now on. */
  mark(): Promise<void>;
  /** Bytes on and beside the heap since `mark`; undefined where garbage was collected in between, for then nobody can tell. */
  grownBytes(): Promise<number | undefined>;
  stop(): Promise<void>;
}

/** Where and how a child is started. */
export interface Start {
  readonly args?: readonly string[];
  /** A young generation of 128 MiB, so that some thousand requests are answered without a collection. */
  readonly largeYoungGeneration?: boolean;
}

/** Starts `program` of this folder; resolves with what it says first. */
export async function start(program: string, { args = [], largeYoungGeneration = false }: Start = {}): Promise<Child> {
  const young = largeYoungGeneration ? ['--min-semi-space-size=128', '--max-semi-space-size=128'] : [];
  const child = fork(fileURLToPath(new URL(`./${program}.js`, import.meta.url)), [...args], {
    execArgv: ['--expose-gc', ...young],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ready = await reply(child);
  const ask = (message: Question): Promise<Readonly<Record<string, unknown>>> => {
    const answer = reply(child);
    child.send(message);
    return answer;
  };
  return {
    ready,
    cpuMicros: async () => Number((await ask('usage'))['cpuMicros']),
    mark: async () => void (await ask('mark')),
    grownBytes: async () => {
      const { grownBytes, collections } = await ask('grown');
      return collections === 0 ? Number(grownBytes) : undefined;
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

type Question = 'usage' | 'mark' | 'grown';

function reply(child: ChildProcess): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const answered = (message: unknown): void => {
      child.off('exit', ended);
      resolve(message as Readonly<Record<string, unknown>>);
    };
    const ended = (code: number | null): void => {
      child.off('message', answered);
      reject(new Error(`a server under measurement ended with ${code}`));
    };
    child.once('message', answered);
    child.once('exit', ended);
  });
}

/** The child's side: says `ready`, then answers what `Child` asks. */
export function serve(ready: Readonly<Record<string, unknown>>): void {
  let collections = new GCProfiler();
  let markBytes = 0;
  process.on('message', (message: Question) => {
    if (message === 'usage') {
      const { user, system } = process.cpuUsage();
      process.send?.({ cpuMicros: user + system });
    } else if (message === 'mark') {
      globalThis.gc?.();
      collections = new GCProfiler();
      collections.start();
      markBytes = memoryBytes();
      process.send?.({});
    } else if (message === 'grown') {
      const grownBytes = memoryBytes() - markBytes;
      process.send?.({ grownBytes, collections: collections.stop().statistics.length });
    }
  });
  process.send?.(ready);
}

/** Bytes on and beside the heap. `external` holds the buffers too (`arrayBuffers` is a part of it). */
export function memoryBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
