// A log in memory, for what is done with one: every link of it reads and appends at once. Its sudden ends are the test's.

import { SidecarError } from '../../src/core/errors.ts';
import type { Clock, DependencyHealth, Engine, LogLink, LogRecord } from '../../src/ports.ts';
import { Wakeup } from '../../src/service/wakeup.ts';

/** A log, and what may happen to it. */
export interface FakeLog {
  /** A connection of one more sidecar. */
  engine(): FakeEngine;
  readonly records: readonly LogRecord[];
  /** Appends as somebody who is no sidecar. */
  append(bytes: Uint8Array): void;
  /** Forgets everything below `position`. */
  trim(position: number): void;
  /** Deletes it and makes it again: empty, with positions from 0. */
  recreate(): void;
  /** Nobody can connect, and every connection ends. */
  stop(): void;
  start(): void;
  /** Every connection ends. */
  cut(): void;
  /** From now on a reading stands only so much after it began, in milliseconds. */
  readLate(lateMs: number): void;
  /** Connections stay, appending never resolves and nothing is given, until `start`. */
  hang(): void;
}

/** One sidecar's way to it. */
export interface FakeEngine extends Engine {
  /** As in a process that is stopped: from now on it reads and writes nothing, and notices nothing, until `thaw`. */
  freeze(): void;
  thaw(): void;
}

const longestAppendMs = 500;

/** An empty log. */
export function createFakeLog(clock: Pick<Clock, 'delay'>): FakeLog {
  let records: LogRecord[] = [];
  let next = 0;
  let lateMs = 0;
  let state: 'up' | 'down' | 'hanging' = 'up';
  let ends = new AbortController();
  const changed = new Wakeup();
  const gone = (): SidecarError => new SidecarError('UNAVAILABLE', 'the log is gone', { reason: 'LOG_UNREACHABLE' });
  const become = (now: typeof state): void => {
    state = now;
    changed.wake();
  };
  const breakAll = (): void => {
    const old = ends;
    ends = new AbortController();
    old.abort(gone());
  };
  const append = (bytes: Uint8Array): void => {
    records.push({ position: next, bytes: Buffer.from(bytes) });
    next += 1;
    changed.wake();
  };
  const untilUp = async (signal: AbortSignal, isFrozen: () => boolean): Promise<void> => {
    while (state === 'hanging' || isFrozen()) await changed.wait(changed.version, signal);
    signal.throwIfAborted();
  };

  const linkOf = (signal: AbortSignal, end: (reason: unknown) => void, isFrozen: () => boolean): LogLink => ({
    signal,
    async append(bytes) {
      const late = new AbortController();
      const hurry = clock.delay(longestAppendMs, late.signal).then(
        () => {
          if (!isFrozen()) end(gone());
        },
        () => undefined,
      );
      try {
        await untilUp(signal, isFrozen);
        append(bytes);
      } finally {
        late.abort();
        await hurry;
      }
    },
    async read(from, take, stop) {
      const over = AbortSignal.any([signal, stop]);
      let at = Math.max(from ?? 0, records[0]?.position ?? next);
      if (from !== undefined && from > at) at = from;
      try {
        if (lateMs > 0) await clock.delay(lateMs, over);
        await untilUp(over, isFrozen);
        await take([]);
        for (;;) {
          await untilUp(over, isFrozen);
          const seen = changed.version;
          const batch = records.filter(({ position }) => position >= at).slice(0, 100);
          const last = batch.at(-1);
          if (last === undefined) {
            await changed.wait(seen, over);
          } else {
            await take(batch);
            over.throwIfAborted();
            at = last.position + 1;
          }
        }
      } catch (error) {
        if (stop.aborted && !signal.aborted) return;
        throw signal.aborted ? signal.reason : error;
      }
    },
  });

  const engine = (): FakeEngine => {
    let isFrozen = false;
    let health: DependencyHealth = { reachable: false, problem: 'not connected yet' };
    return {
      name: 'fake',
      freeze: () => {
        isFrozen = true;
      },
      thaw: () => {
        isFrozen = false;
        changed.wake();
      },
      health: () => health,
      async run(session, signal) {
        while (!signal.aborted) {
          if (state === 'down' || isFrozen) {
            await clock.delay(50, signal).catch(() => undefined);
            continue;
          }
          const own = new AbortController();
          const both = AbortSignal.any([ends.signal, signal, own.signal]);
          health = { reachable: true };
          await session(
            linkOf(
              both,
              (reason) => own.abort(reason),
              () => isFrozen,
            ),
          ).catch(() => undefined);
          health = { reachable: false, problem: 'the connection has ended' };
          await clock.delay(50, signal).catch(() => undefined);
        }
      },
    };
  };

  return {
    engine,
    get records() {
      return records;
    },
    append,
    trim: (position) => {
      records = records.filter((record) => record.position >= position);
    },
    recreate: () => {
      records = [];
      next = 0;
      breakAll();
    },
    stop: () => {
      become('down');
      breakAll();
    },
    start: () => become('up'),
    cut: breakAll,
    readLate: (ms) => {
      lateMs = ms;
    },
    hang: () => become('hanging'),
  };
}
