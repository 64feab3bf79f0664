// What the tests of this room share: a clock that runs and can be set, keys, and a tier over given servers.

import { setTimeout as pause } from 'node:timers/promises';
import type { DeploymentKey } from '../../src/core/tag.ts';
import type { Clock, SharedCache } from '../../src/ports.ts';
import { createMemcached, type MemcachedOptions } from '../../src/shared-cache/memcached.ts';
import type { ServerOptions } from '../../src/shared-cache/server.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

/** A clock that runs as the machine's does, over sockets that no test can hurry; its wall time can be set. */
export interface RunningClock extends Clock {
  stepWall(ms: number): void;
}

export function createRunningClock(): RunningClock {
  let stepMs = 0;
  return {
    nowMs: () => Date.now() + stepMs,
    monotonicMs: () => performance.now(),
    delay: (ms, signal) => pause(ms, undefined, { signal }),
    stepWall(ms) {
      stepMs += ms;
    },
  };
}

/** A key whose secret is `letter` 32 times. */
export function keyOf(letter: string): DeploymentKey {
  return { id: `key-${letter}`, secret: Buffer.alloc(32, letter) };
}

/** A tier over `servers` under one key, with a deadline of 150 ms and a breaker of three failures and 200 ms, unless told otherwise. */
export function tierOver(
  servers: MemcachedOptions['servers'],
  more: Partial<MemcachedOptions> & { readonly clock?: Clock; readonly telemetry?: ReturnType<typeof createFakeTelemetry> } = {},
): SharedCache {
  const { clock = createRunningClock(), telemetry = createFakeTelemetry(), ...options } = more;
  return createMemcached(
    {
      servers,
      tls: undefined,
      deadlineMs: 150,
      breaker: { failures: 3, retryAfterMs: 200 },
      keys: [keyOf('a')],
      ...options,
    },
    { clock, telemetry },
  );
}

/** Bounds of one server, wide but for what a test sets. */
export function serverOptions(limits: Partial<ServerOptions['limits']> = {}, more: Partial<ServerOptions> = {}): ServerOptions {
  return {
    tls: undefined,
    breaker: { failures: 1_000, retryAfterMs: 200 },
    limits: {
      deadlineMs: 150,
      connectMs: 1_000,
      maxBodyBytes: 1024 ** 2,
      maxQueuedBytes: 1024 ** 2,
      maxInFlight: 1_000,
      maxOwed: 100,
      ...limits,
    },
    ...more,
  };
}
