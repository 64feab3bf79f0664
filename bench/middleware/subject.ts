// A Python process that has its tokens validated in one way: see subject.py.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What many requests cost. */
export interface Measured {
  /** Of the Python process, all of its threads. */
  readonly cpuMs: number;
  readonly tookMs: readonly number[];
}

/** What came of one request. `status` undefined: given up at the limit. */
export interface Once {
  readonly status: string | undefined;
  readonly seconds: number;
}

/** The process. */
export interface Subject {
  /** `count` requests with these tokens in turn. Throws where one of them is not answered with 200. */
  measure(tokens: readonly string[], count: number): Promise<Measured>;
  /** One request, waited for no longer than `limitSeconds`. */
  once(token: string, limitSeconds: number): Promise<Once>;
  end(): Promise<void>;
}

/** How it is validated. */
export interface Way {
  readonly way: 'auth_token' | 'near_cache' | 'nothing';
  readonly options: Readonly<Record<string, string | number>>;
}

/** Starts one; resolves when it has loaded what it needs. `program`: subject.py; `path`: for its imports. */
export async function startSubject({ way, options }: Way, where: { readonly program: string; readonly path: string }): Promise<Subject> {
  const child = spawn('/usr/bin/python3', [where.program, way, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // As few variables as a service has: requests looks through all of them for a proxy, with every call.
    env: {
      PATH: '/usr/bin:/bin',
      LANG: 'C.UTF-8',
      PYTHONPATH: where.path,
      PYTHONDONTWRITEBYTECODE: '1',
      // Debian's grpc-tools writes stubs that Debian's newer protobuf only takes in pure Python.
      PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION: 'python',
    },
  });
  const replies = repliesOf(child);
  await replies.next();
  const ask = async (command: object): Promise<Readonly<Record<string, unknown>>> => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return replies.next();
  };
  return {
    async measure(tokens, count) {
      const { cpu_ms, took_ms, wrong } = await ask({ do: 'measure', tokens, count });
      if (wrong !== 0) throw new Error(`${wrong} of ${count} requests by ${way} were not answered with 200`);
      return { cpuMs: Number(cpu_ms), tookMs: took_ms as readonly number[] };
    },
    async once(token, limit) {
      const { status, seconds } = await ask({ do: 'once', token, limit });
      return { status: typeof status === 'string' ? status : undefined, seconds: Number(seconds) };
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Its lines, one for each command. */
function repliesOf(child: ChildProcess): { next(): Promise<Readonly<Record<string, unknown>>> } {
  if (!child.stdout) throw new Error('the subject has no standard output');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let complaints = '';
  child.stderr?.on('data', (part) => {
    complaints = `${complaints}${part}`.slice(-2000);
  });
  return {
    async next() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the subject has ended: ${complaints}`);
      return JSON.parse(value);
    },
  };
}
