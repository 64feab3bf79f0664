// A real memcached for one test, and suites that are skipped aloud where there is none.

import { once } from 'node:events';
import { connect } from 'node:net';
import { describe } from 'vitest';
import { type MemcachedProcess, memcachedBinary, startMemcachedProcess } from './memcached-process.ts';

/** A running memcached on 127.0.0.1. */
export interface Memcached extends MemcachedProcess {
  /** One line of its text protocol, in clear; answers the first line of the reply. */
  command(line: string): Promise<string>;
  /** What it counts, by its own names. */
  stats(): Promise<ReadonlyMap<string, string>>;
}

/** Why there is no memcached here, or undefined. `npm test` sets SIDEGATE_SKIP_UNIT or installs what is missing. */
export const whyNoMemcached: string | undefined =
  process.env['SIDEGATE_SKIP_UNIT'] ?? (memcachedBinary === undefined ? 'memcached is not installed' : undefined);

/** `describe`, or where there is no memcached a suite skipped aloud: the reason stands in its title. */
export const describeWithMemcached = (title: string, suite: () => void): void => {
  if (whyNoMemcached === undefined) describe(title, suite);
  else describe.skip(`${title} (skipped: ${whyNoMemcached})`, suite);
};

/** Starts one with its own memory. `tls`: with the certificate of fakes/tls-pair.ts, and nothing in clear. */
export async function startMemcached(how: { readonly tls?: boolean } = {}): Promise<Memcached> {
  const memcached = await startMemcachedProcess(how);
  // `pid` is a getter, which a spread would read once.
  return Object.assign(memcached, { command: (line: string) => firstLine(memcached.port, line), stats: () => statsOf(memcached.port) });
}

async function statsOf(port: number): Promise<ReadonlyMap<string, string>> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1');
  socket.write('stats\r\n');
  let text = '';
  for await (const part of socket) {
    text += part;
    // Leaving the loop closes it.
    if (text.endsWith('END\r\n')) break;
  }
  return new Map([...text.matchAll(/^STAT (\S+) (.*)\r$/gm)].map(([, name, value]) => [name ?? '', value ?? '']));
}

async function firstLine(port: number, line: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(`${line}\r\n`);
  const [reply] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return reply.toString('latin1').split('\r\n')[0] ?? '';
}
