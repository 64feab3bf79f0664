// A log that is lent, held to the contract of every engine: with room for nearly nothing of what was read last, and for all of it.

import { setTimeout as pause } from 'node:timers/promises';
import type { Engine, LogLink, LogRecord } from '../../../src/ports.ts';
import { Lending } from '../../../src/service/fleet/lending.ts';
import { systemClock } from '../../../src/sidecar.ts';
import { engineConformance } from '../../conformance/engine.ts';
import { createFakeLog } from '../../fakes/engine.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

/** As a follower has it, without the wire between. */
function follow(lending: Lending): Engine {
  let isReachable = false;
  return {
    name: 'lent',
    health: () => (isReachable ? { reachable: true } : { reachable: false, problem: 'it is away' }),
    async run(session, signal) {
      while (!signal.aborted) {
        const ended = new AbortController();
        const end = (): void => ended.abort(signal.reason);
        signal.addEventListener('abort', end, { once: true });
        const failing = async <Value>(work: Promise<Value>): Promise<Value> => {
          try {
            return await work;
          } catch (error) {
            ended.abort(error);
            throw error;
          }
        };
        try {
          await failing(lending.append([]));
          isReachable = true;
          ended.signal.addEventListener('abort', () => {
            isReachable = false;
          });
          await session(linkOf(lending, ended.signal, failing));
        } catch {
          await pause(20);
        } finally {
          signal.removeEventListener('abort', end);
          ended.abort();
        }
      }
    },
  };
}

function linkOf(lending: Lending, signal: AbortSignal, failing: <Value>(work: Promise<Value>) => Promise<Value>): LogLink {
  return {
    signal,
    async append(bytes) {
      signal.throwIfAborted();
      await failing(lending.append([bytes]));
    },
    async read(from, take, stop) {
      signal.throwIfAborted();
      const over = AbortSignal.any([signal, stop]);
      const reading = lending.read(from, over);
      const next = (): Promise<IteratorResult<readonly LogRecord[], void>> => failing(reading.next());
      try {
        for (let got = await next(); !got.done; got = await next()) await take(got.value);
        if (!stop.aborted) throw signal.reason;
      } finally {
        await reading.return();
      }
    },
  };
}

for (const [room, recentBytes] of [
  ['room for a record', 1],
  ['room for some', 5_000],
  ['room for all', 16_777_216],
] as const) {
  engineConformance(`A lent log with ${room}`, async () => {
    const log = createFakeLog(systemClock);
    const draining = new AbortController();
    const engine: Engine = { ...log.engine(), another: log.engine };
    const lending = new Lending({ engine, clock: systemClock, telemetry: createFakeTelemetry(), draining: draining.signal, recentBytes });
    let place: number | undefined;
    const running = lending.engine?.run(
      (link) =>
        link.read(
          place,
          async (batch) => {
            // It is done with later than a follower that reads by itself would be.
            await pause(batch.length % 3);
            place = batch.at(-1)?.position ?? place;
          },
          draining.signal,
        ),
      draining.signal,
    );
    return {
      engine: () => follow(lending),
      async remove() {
        place = undefined;
        log.recreate();
      },
      stop: async () => log.stop(),
      start: async () => log.start(),
      freeze: async () => log.hang(),
      thaw: () => log.start(),
      cut: async () => log.cut(),
      async close() {
        draining.abort();
        log.stop();
        await running;
      },
    };
  });
}
