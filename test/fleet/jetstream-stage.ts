// What tests of JetStream begin with: a server, engines at it, and somebody who holds their links.

import { expect, vi } from 'vitest';
import { createJetstream, type JetstreamOptions } from '../../src/fleet/jetstream.ts';
import type { Engine, LogLink, LogRecord } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';

export const stream = 'sidegate';
export const patience = { timeout: 30_000, interval: 10 };

/** An engine at `servers`; where nothing else is said, with an hour of retention and one replica, in clear and as nobody. */
export function engineAt(servers: string | readonly string[], options: Partial<JetstreamOptions> = {}): Engine {
  const wanted = {
    servers: [servers].flat(),
    stream,
    retentionMs: 3_600_000,
    replicas: 1,
    credentials: undefined,
    tls: undefined,
    connectionName: 'a sidecar',
  };
  return createJetstream({ ...wanted, ...options }, { clock: systemClock });
}

/** Who runs an engine, and what has come of it. */
export interface Holder {
  readonly engine: Engine;
  readonly links: readonly LogLink[];
  readonly read: readonly LogRecord[];
  texts(): readonly string[];
  /** The link that stands now, or the next one. */
  link(): Promise<LogLink>;
  /** Appends until it is confirmed. */
  append(text: string): Promise<void>;
  stop(): Promise<void>;
}

/** Runs `engine` and reads from `from` on, then from where it stands. `reads: false`: only holds its links. */
export function hold(engine: Engine, { from, reads = true }: { readonly from?: number; readonly reads?: boolean } = {}): Holder {
  const stop = new AbortController();
  const links: LogLink[] = [];
  const read: LogRecord[] = [];
  const take = async (batch: readonly LogRecord[]): Promise<void> => {
    read.push(...batch);
  };
  const running = engine.run(async (link) => {
    links.push(link);
    if (reads) await link.read(read.at(-1)?.position ?? from, take, stop.signal);
    else await new Promise<void>((resolve) => link.signal.addEventListener('abort', () => resolve(), { once: true }));
  }, stop.signal);
  const link = (): Promise<LogLink> =>
    vi.waitFor(() => {
      const last = links.at(-1);
      if (last === undefined || last.signal.aborted) throw new Error('no link');
      return last;
    }, patience);
  return {
    engine,
    links,
    read,
    texts: () => read.map(({ bytes }) => Buffer.from(bytes).toString()),
    link,
    append: (text) => vi.waitFor(async () => (await link()).append(Buffer.from(text)), patience),
    async stop() {
      stop.abort();
      await running;
    },
  };
}

/** Waits until `engine` says `words`; answers whether it calls itself reachable then. */
export async function says(engine: Engine, words: string | RegExp): Promise<boolean> {
  await expect.poll(() => engine.health().problem ?? '', patience).toMatch(words);
  return engine.health().reachable;
}
