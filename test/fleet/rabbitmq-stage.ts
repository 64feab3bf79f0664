// Streams of one RabbitMQ, each in the hands of one test.

import { connect } from 'amqplib';
import { createRabbitmqStream, type RabbitmqStreamOptions } from '../../src/fleet/rabbitmq-stream.ts';
import type { Engine } from '../../src/ports.ts';
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
export function engineAt(rabbitmq: Rabbitmq, options: Partial<RabbitmqStreamOptions> = {}): Engine {
  const usual = { transportUrl: text(rabbitmq.transportUrl), tls: inClear, connectionName: 'sidegate test', retentionMs: 3_600_000 };
  return createRabbitmqStream({ ...usual, stream: newStream(), ...options }, { clock: systemClock, random: () => 0.5 });
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
