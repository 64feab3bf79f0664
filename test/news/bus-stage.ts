// One Keystone's bus on a real broker, with an exchange, a queue and a publisher that no other test has.

import { randomBytes } from 'node:crypto';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { markerKeyOf } from '../../src/news/bus/queue.ts';
import type { KeystoneBusOptions } from '../../src/news/keystone-bus.ts';
import type { Logger, NewsSource } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { text } from '../fakes/amqp.ts';
import { keystoneBus, newQueueName } from '../fakes/keystone-bus.ts';
import { basicMessage, enveloped } from '../fakes/keystone-messages.ts';
import { createKeystonePublisher, type KeystonePublisher } from '../fakes/keystone-publisher.ts';
import { createNewsSink, type FakeNewsSink } from '../fakes/news-sink.ts';
import type { Rabbitmq } from '../fakes/rabbitmq.ts';

/** A source that runs. */
export interface RunningBus {
  readonly source: NewsSource;
  readonly sink: FakeNewsSink;
  /** Waits until a moment from now on is proven. */
  proof(): Promise<void>;
  /** Waits until it says what is wrong, and answers it. */
  problem(): Promise<string>;
  stop(): Promise<void>;
}

/** What a test has. */
export interface BusStage {
  readonly exchange: string;
  readonly queueName: string;
  /** Of the topic `notifications`. */
  readonly markerKey: string;
  readonly keystone: KeystonePublisher;
  /** A source, or the next one of the same sidecar, running. */
  run(options?: Partial<KeystoneBusOptions>, log?: Logger): RunningBus;
  /** One that has proven something. */
  heard(options?: Partial<KeystoneBusOptions>): Promise<RunningBus>;
  /** A user is deleted; answers its id. */
  userDeleted(): Promise<string>;
  /** A channel of somebody else's, who may do everything. */
  operator(): Promise<Channel>;
  close(): Promise<void>;
}

/** Publishes nothing yet: the exchange is not there. */
export function createBusStage(rabbitmq: Rabbitmq, { vhost = '/', durable = false } = {}): BusStage {
  const exchange = `keystone-${randomBytes(4).toString('hex')}`;
  const queueName = newQueueName();
  const keystone = createKeystonePublisher(rabbitmq, { exchange, vhost, durable });
  const runs: RunningBus[] = [];
  const models: ChannelModel[] = [];
  const transportUrl = text(`${rabbitmq.transportUrl}${encodeURIComponent(vhost)}`);
  let count = 0;

  const run = (options: Partial<KeystoneBusOptions> = {}, log?: Logger): RunningBus => {
    const source = keystoneBus({ transportUrl, exchange, queueName, ...options }, log);
    const sink = createNewsSink();
    const stopping = new AbortController();
    const ended = source.run(sink, stopping.signal);
    const running: RunningBus = {
      source,
      sink,
      async proof() {
        const nowMs = systemClock.monotonicMs();
        await sink.until(() => sink.proofs.some((proof) => proof >= nowMs), 'a moment from now on is proven');
      },
      async problem() {
        const said = (): string | undefined => (source.health().reachable ? undefined : source.health().problem);
        await sink.until(() => said() !== undefined && said() !== 'not connected yet', 'it says what is wrong');
        return said() ?? '';
      },
      async stop() {
        stopping.abort();
        await ended;
      },
    };
    runs.push(running);
    return running;
  };
  return {
    exchange,
    queueName,
    markerKey: markerKeyOf(queueName, { exchange, topics: ['notifications'] }),
    keystone,
    run,
    async heard(options) {
      const running = run(options);
      await running.proof();
      return running;
    },
    async userDeleted() {
      count += 1;
      const id = `user-${count}`;
      await keystone.publish(enveloped(basicMessage('identity.user.deleted', id)));
      return id;
    },
    async operator() {
      const { host: hostname, port, user: username, password } = rabbitmq;
      const model = await connect({ hostname, port, username, password, vhost: encodeURIComponent(vhost) });
      model.on('error', () => undefined);
      models.push(model);
      const channel = await model.createChannel();
      channel.on('error', () => undefined);
      return channel;
    },
    async close() {
      await Promise.all(runs.map((running) => running.stop()));
      await keystone.close();
      for (const model of models) await model.close().catch(() => undefined);
    },
  };
}
