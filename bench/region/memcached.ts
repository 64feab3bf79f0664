// Real memcached processes, and somebody who reads and writes in them past every sidecar.

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, connect as dial, type Socket } from 'node:net';

/** One process, always at the same address. */
export interface Memcached {
  readonly port: number;
  /** 0 while it is not there. */
  readonly pid: number;
  /** `host:port`. */
  readonly address: string;
  /** SIGKILL; resolves when the port is closed. */
  kill(): Promise<void>;
  /** Empty, at the same port; resolves when it answers. */
  start(): Promise<void>;
  /** SIGSTOP: the kernel still takes connections, nothing is answered. */
  stop(): void;
  continue(): void;
  /** What is in it now, at most `limit` records; none where it does not answer within half a second. */
  records(limit?: number): Promise<readonly Stored[]>;
  /** Puts it there, for a minute. */
  write(records: readonly Stored[]): Promise<void>;
  flush(): Promise<void>;
}

/** One record, as memcached keeps it. */
export interface Stored {
  readonly key: string;
  readonly flags: string;
  readonly value: Buffer;
}

/** Starts Debian's memcached on a free port of loopback. End it with `kill`. */
export async function startMemcached(): Promise<Memcached> {
  const port = await freePort();
  let child: ChildProcess | undefined;
  // memcached refuses to be root unless it is told whom to be instead.
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];

  const ask = async (request: Buffer | string, isWhole: (answer: Buffer) => boolean): Promise<Buffer> => {
    const socket = dial({ port, host: '127.0.0.1' });
    try {
      return await exchange(socket, request, isWhole);
    } finally {
      socket.destroy();
    }
  };
  const quiet = (request: Buffer | string, isWhole: (answer: Buffer) => boolean): Promise<Buffer> =>
    // It is stopped, killed or restarted at any time: then there is nothing in it that anybody could read.
    ask(request, isWhole).catch(() => Buffer.alloc(0));

  const memcached: Memcached = {
    port,
    get pid() {
      return child?.pid ?? 0;
    },
    address: `127.0.0.1:${port}`,
    async start() {
      if (child) return;
      const started = spawn('memcached', ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '64', ...user], { stdio: 'ignore' });
      const failed = new Promise<never>((_, reject) => started.once('error', reject));
      child = started;
      for (let attempt = 0; attempt < 100; attempt += 1) {
        const answer = quiet('version\r\n', endsWith('\r\n'));
        if ((await Promise.race([answer, failed])).length > 0) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      throw new Error(`memcached does not answer on port ${port}`);
    },
    async kill() {
      const killed = child;
      if (!killed) return;
      child = undefined;
      const ended = new Promise((resolve) => killed.once('exit', resolve));
      killed.kill('SIGKILL');
      await ended;
    },
    stop: () => void child?.kill('SIGSTOP'),
    continue: () => void child?.kill('SIGCONT'),
    async records(limit = 1000) {
      const dump = await quiet(
        'lru_crawler metadump all\r\n',
        (it) => endsWith('END\r\n')(it) || /^(BUSY|ERROR)/.test(it.toString('latin1')),
      );
      const keys = [...dump.toString('latin1').matchAll(/^key=(\S+) /gm)].map(([, key]) => decodeURIComponent(key ?? '')).slice(0, limit);
      return keys.length === 0 ? [] : valuesIn(await quiet(`get ${keys.join(' ')}\r\n`, endsWith('END\r\n')));
    },
    async write(records) {
      for (const { key, flags, value } of records) {
        await quiet(
          Buffer.concat([Buffer.from(`set ${key} ${flags} 60 ${value.length}\r\n`), value, Buffer.from('\r\n')]),
          endsWith('\r\n'),
        );
      }
    },
    flush: async () => void (await quiet('flush_all\r\n', endsWith('\r\n'))),
  };
  await memcached.start();
  return memcached;
}

const endsWith =
  (text: string) =>
  (answer: Buffer): boolean =>
    answer.subarray(-text.length).toString('latin1') === text;

function exchange(socket: Socket, request: Buffer | string, isWhole: (answer: Buffer) => boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0);
    socket.setTimeout(500, () => reject(new Error('memcached does not answer')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('memcached has closed the connection')));
    socket.on('data', (part) => {
      answer = Buffer.concat([answer, part]);
      if (isWhole(answer)) resolve(answer);
    });
    socket.write(request);
  });
}

/** `VALUE key flags bytes\r\n…\r\n`, again and again, then END. */
function valuesIn(answer: Buffer): readonly Stored[] {
  const found: Stored[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = answer.indexOf('\r\n', at);
    const [word, key, flags, length] = answer
      .subarray(at, lineEnd < 0 ? at : lineEnd)
      .toString('latin1')
      .split(' ');
    if (word !== 'VALUE' || key === undefined || flags === undefined) return found;
    const begin = lineEnd + 2;
    found.push({ key, flags, value: Buffer.from(answer.subarray(begin, begin + Number(length))) });
    at = begin + Number(length) + 2;
  }
}

/** Outside the kernel's ephemeral range: nobody's outgoing connection takes it while memcached is away. */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((done) => {
      server.on('error', () => done(false));
      server.listen(port, '127.0.0.1', () => done(true));
    });
    if (!isFree) continue;
    await new Promise<void>((done) => server.close(() => done()));
    return port;
  }
  throw new Error('no free port between 20000 and 32000');
}
