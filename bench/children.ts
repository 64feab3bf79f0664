// Servers under measurement, each a process of its own, so that its processor time is its own.

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A server that listens, and tells of itself when asked. */
export interface Child {
  readonly ready: Readonly<Record<string, unknown>>;
  /** Sends a message and answers the reply. */
  ask(message: string): Promise<Readonly<Record<string, unknown>>>;
  stop(): Promise<void>;
}

/** Starts `program` of this folder; resolves with what it says first. */
export async function start(program: string, args: readonly string[] = []): Promise<Child> {
  const child = fork(fileURLToPath(new URL(`./${program}.js`, import.meta.url)), [...args], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ready = await reply(child);
  return {
    ready,
    ask: (message) => {
      const answer = reply(child);
      child.send(message);
      return answer;
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

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

/** The child's side: says `ready`, then answers `usage` with processor microseconds, `heap` with bytes in use, and `collect` with the same after a collection. */
export function serve(ready: Readonly<Record<string, unknown>>): void {
  process.on('message', (message) => {
    if (message === 'usage') {
      const { user, system } = process.cpuUsage();
      process.send?.({ cpuMicros: user + system });
    } else if (message === 'collect') {
      globalThis.gc?.();
      process.send?.({ heapBytes: heapBytes() });
    } else process.send?.({ heapBytes: heapBytes() });
  });
  process.send?.(ready);
}

function heapBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
