// One sidecar of a history: whole, with a journal on disk, a line of its own to the log, and those who call and watch it.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Client, type Cursor, connect, type NearCache } from '../../src/client/index.ts';
import type { DegradedPolicy, FleetConfig, IssuerConfig } from '../../src/config/types.ts';
import { openLevelJournal } from '../../src/journal/leveldb.ts';
import { systemClock } from '../../src/sidecar.ts';
import { startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import type { Happening } from './happening.ts';
import type { Line } from './line.ts';

/** What all members of a history have in common. Milliseconds. */
export interface Settings {
  readonly timeMs: number;
  readonly settleMs: number;
  readonly unknownMs: number;
  readonly maxLagMs: number;
  readonly checkpointIntervalMs: number;
  readonly whenDegraded: DegradedPolicy;
}

/** What one is made of. */
export interface MemberParts {
  readonly name: string;
  /** Of its own, for its journal and its socket. */
  readonly dir: string;
  readonly keyDir: string;
  readonly line: Line;
  readonly fleet: FleetConfig;
  readonly memcachedPort: number;
  readonly issuers: readonly IssuerConfig[];
  readonly settings: Settings;
  note(happening: Happening): void;
}

/** A sidecar that comes and goes, always at one address, with one journal. */
export interface Member {
  readonly name: string;
  readonly line: Line;
  readonly client: Client;
  readonly near: NearCache;
  /** There is a process, which may be ending. */
  readonly isThere: boolean;
  /** Serves from when it resolves. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Says as its watcher that everything until its last checkpoint is done with; and asks the sidecar what it knows of that. */
  acknowledge(): Promise<void>;
  /** Why it is not as it should be, for people; undefined: it is, and the log has all that it was told. */
  unsound(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Makes one; it is started by `start`. */
export function createMember(parts: MemberParts): Member {
  const { name, dir, line, settings, note } = parts;
  const { checkpointIntervalMs } = settings;
  const socket = join(dir, 'run', 's.sock');
  const client = connect({ address: `unix://${socket}`, timeoutMs: 3_000 });
  const closing = new AbortController();
  let running: TestSidecar | undefined;
  /** Its names begin anew with each process. */
  let subscription: { readonly id: string; readonly starts: number } | undefined;
  let starts = 0;
  let checkpoint: Cursor | undefined;
  mkdirSync(join(dir, 'run'), { recursive: true, mode: 0o700 });

  let opened: () => void = () => undefined;
  // From now on nothing is missed: its watcher goes on where it has been.
  const watched = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const watching = (async () => {
    for await (const event of client.watch({ checkpointIntervalMs, signal: closing.signal })) {
      const atMs = performance.now();
      if (event.kind === 'opened') {
        subscription = { id: event.subscription, starts };
        opened();
      }
      if (event.kind === 'disconnected') subscription = undefined;
      if (event.kind === 'disconnected' || event.kind === 'reset') checkpoint = undefined;
      if (event.kind === 'checkpoint') checkpoint = event.cursor;
      if (event.kind === 'reset') note({ kind: 'reset', sidecar: name, atMs });
      if (event.kind === 'invalidation') note({ kind: 'placed', sidecar: name, entryId: event.entryId, position: event.cursor, atMs });
    }
  })();
  // The near cache keeps one Watch more.
  const near = client.nearCache({ checkpointIntervalMs });

  async function start(): Promise<void> {
    starts += 1;
    running = await startSidecar({
      issuers: parts.issuers,
      journal: await openLevelJournal({ dir: join(dir, 'journal'), clock: systemClock }),
      config: (config) => ({
        ...config,
        name,
        deploymentKeyDir: parts.keyDir,
        listen: { ...config.listen, socket: { path: socket, mode: 0o600, group: undefined } },
        fleet: parts.fleet,
        maxLagMs: settings.maxLagMs,
        whenDegraded: settings.whenDegraded,
        watch: { ...config.watch, checkpointIntervalMs },
        limits: { ...config.limits, skewMs: 100 },
        caching: {
          ...config.caching,
          settleMs: settings.settleMs,
          token: { ...config.caching.token, timeMs: settings.timeMs },
          unknown: { ...config.caching.unknown, timeMs: settings.unknownMs },
          handles: { enabled: true },
          shared: { ...config.caching.shared, servers: [{ host: '127.0.0.1', port: parts.memcachedPort }] },
        },
      }),
    });
    while ((await running.getStatus()).response?.serving !== true) await pause(20);
    await watched;
  }

  async function stop(): Promise<void> {
    await running?.stop();
    running = undefined;
  }

  return {
    name,
    line,
    client,
    near,
    get isThere() {
      return running !== undefined;
    },
    start,
    stop,
    async acknowledge() {
      const [cursor, mine] = [checkpoint, subscription];
      if (cursor === undefined || mine === undefined) return;
      const watcher = `${name} ${mine.starts} ${mine.id}`;
      const beganMs = performance.now();
      await client.acknowledge(mine.id, cursor);
      // Where it has begun anew meanwhile, another stream may have that name.
      if (subscription !== mine) return;
      note({ kind: 'acknowledged', sidecar: name, watcher, revision: cursor.revision, beganMs, atMs: performance.now() });
      const askedAtMs = performance.now();
      const { acknowledgements } = await client.status();
      const revision = acknowledgements.find(({ subscription: id }) => id === mine.id)?.cursor?.revision;
      if (subscription !== mine || revision === undefined) return;
      note({ kind: 'counted', sidecar: name, watcher, revision, askedAtMs, answeredAtMs: performance.now() });
    },
    async unsound() {
      if (running === undefined) return 'it is down';
      const { response } = await running.getStatus();
      if (response === undefined) return 'it does not answer';
      const waiting = Number(response.fleet?.outboxCount ?? 0n);
      if (waiting > 0) return `${waiting} entries wait to be told`;
      return response.degraded || !response.serving ? 'it is degraded' : undefined;
    },
    async close() {
      closing.abort();
      near.close();
      client.close();
      await watching;
      await stop();
    },
  };
}
