// A real memcached, and somebody who reads and writes in it past every sidecar.

import { connect as dial, type Socket } from 'node:net';
import { type MemcachedProcess, startMemcachedProcess } from '../../test/fakes/memcached-process.ts';

/** One process, always at the same address. */
export interface Memcached extends MemcachedProcess {
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

/** Starts one on a free port of loopback. */
export async function startMemcached(): Promise<Memcached> {
  const memcached = await startMemcachedProcess();
  const ask = async (request: Buffer | string, isWhole: (answer: Buffer) => boolean): Promise<Buffer> => {
    const socket = dial({ port: memcached.port, host: memcached.host });
    try {
      return await exchange(socket, request, isWhole);
    } catch {
      // It is frozen, killed or restarted at any time: then there is nothing in it that anybody could read.
      return Buffer.alloc(0);
    } finally {
      socket.destroy();
    }
  };
  // `pid` is a getter, which a spread would read once.
  return Object.assign(memcached, {
    async records(limit = 1000) {
      const dump = await ask(
        'lru_crawler metadump all\r\n',
        (it) => endsWith('END\r\n')(it) || /^(BUSY|ERROR)/.test(it.toString('latin1')),
      );
      const keys = [...dump.toString('latin1').matchAll(/^key=(\S+) /gm)].map(([, key]) => decodeURIComponent(key ?? '')).slice(0, limit);
      return keys.length === 0 ? [] : valuesIn(await ask(`get ${keys.join(' ')}\r\n`, endsWith('END\r\n')));
    },
    async write(records: readonly Stored[]) {
      for (const { key, flags, value } of records) {
        await ask(Buffer.concat([Buffer.from(`set ${key} ${flags} 60 ${value.length}\r\n`), value, Buffer.from('\r\n')]), endsWith('\r\n'));
      }
    },
    flush: async () => void (await ask('flush_all\r\n', endsWith('\r\n'))),
  });
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
