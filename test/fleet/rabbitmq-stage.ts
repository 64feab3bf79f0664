// Streams of one RabbitMQ, each in the hands of one test.

import { connect } from 'amqplib';
import { vi } from 'vitest';
import { createRabbitmqStream, type RabbitmqStreamOptions } from '../../src/fleet/rabbitmq-stream.ts';
import type { Engine, Logger, LogLink, LogRecord } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import type { EngineHarness } from '../conformance/engine.ts';
import { inClear, text } from '../fakes/amqp.ts';
import type { Rabbitmq } from '../fakes/rabbitmq.ts';

let streams = 0;

/** A name that no test has had. */
export function newStream(): string {
  streams += 1;
  return `sidegate.test.${streams}`;
}

/** A sidecar's side of a stream there, by default with nothing special. */
export function engineAt(rabbitmq: Rabbitmq, options: Partial<RabbitmqStreamOptions> = {}, log?: Logger): Engine {
  const usual = { transportUrl: text(rabbitmq.transportUrl), tls: inClear, connectionName: 'sidegate test', retentionMs: 3_600_000 };
  return createRabbitmqStream(
    { ...usual, stream: newStream(), ...options },
    { clock: systemClock, random: () => 0.5, ...(log && { log }) },
  );
}

/** Deletes it, by a client that is not ours. */
export async function removeStream(rabbitmq: Rabbitmq, stream: string): Promise<void> {
  const model = await connect({ hostname: rabbitmq.host, port: rabbitmq.port, username: rabbitmq.user, password: rabbitmq.password });
  const channel = await model.createChannel();
  await channel.deleteQueue(stream);
  await model.close();
}

/** A stream of its own there, for the suite of engines. */
export function streamHarness(rabbitmq: Rabbitmq): EngineHarness {
  const stream = newStream();
  return {
    engine: () => engineAt(rabbitmq, { stream }),
    remove: () => removeStream(rabbitmq, stream),
    stop: () => rabbitmq.kill(),
    start: () => rabbitmq.start(),
    freeze: () => rabbitmq.freeze(),
    thaw: () => rabbitmq.thaw(),
    cut: () => rabbitmq.closeConnections(),
    async close() {
      if (rabbitmq.pid === 0) await rabbitmq.start();
      rabbitmq.thaw();
    },
  };
}

/** An engine that runs, and reads nothing by itself. */
export interface Held {
  readonly engine: Engine;
  readonly links: readonly LogLink[];
  /** The connection that stands, or the next one. */
  link(): Promise<LogLink>;
  stop(): Promise<void>;
}

/** Runs it, and holds each of its connections until that ends. */
export function hold(engine: Engine): Held {
  const links: LogLink[] = [];
  const stopping = new AbortController();
  const ended = engine.run(async (link) => {
    links.push(link);
    await new Promise((resolve) => link.signal.addEventListener('abort', resolve, { once: true }));
  }, stopping.signal);
  return {
    engine,
    links,
    link: () =>
      vi.waitFor(
        () => {
          const link = links.at(-1);
          if (link === undefined || link.signal.aborted) throw new Error(`no connection: ${engine.health().problem}`);
          return link;
        },
        { timeout: 60_000, interval: 10 },
      ),
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

/** One that has begun. */
export interface RunningReading {
  readonly records: readonly LogRecord[];
  texts(): readonly string[];
  /** Resolves as it ends: `stopped`, or what it rejects with. */
  readonly end: Promise<unknown>;
  stop(): Promise<void>;
}

/** Reads from there on, until it is stopped. */
export function readFrom(link: LogLink, from?: number): RunningReading {
  const records: LogRecord[] = [];
  const stopping = new AbortController();
  const take = async (batch: readonly LogRecord[]): Promise<void> => void records.push(...batch);
  const end = link.read(from, take, stopping.signal).then(
    () => 'stopped',
    (error: unknown) => error,
  );
  return {
    records,
    texts: () => records.map(({ bytes }) => Buffer.from(bytes).toString()),
    end,
    async stop() {
      stopping.abort();
      await end;
    },
  };
}
