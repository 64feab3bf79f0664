// Who publishes as Keystone does: its exchange, its own queue, its messages, and a connection that is made anew when it has to be.

import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { published } from './keystone-messages.ts';
import type { RabbitmqProcess } from './rabbitmq-process.ts';

/** A publisher at one broker. */
export interface KeystonePublisher {
  /** Makes the exchange and the queue as Keystone does before it publishes, and resolves when RabbitMQ has all of `bodies`. */
  publish(...bodies: readonly string[]): Promise<void>;
  /** Messages that lie in `notifications.info`, which somebody else reads. */
  inItsOwnQueue(): Promise<number>;
  close(): Promise<void>;
}

/** Where it publishes, if not as Keystone does by default. */
export interface PublisherOptions {
  readonly exchange?: string;
  readonly routingKey?: string;
  readonly vhost?: string;
  /** `amqp_durable_queues`. */
  readonly durable?: boolean;
}

/** Connects when it has something to say. */
export function createKeystonePublisher(rabbitmq: RabbitmqProcess, options: PublisherOptions = {}): KeystonePublisher {
  const { exchange = published.exchange, routingKey = published.routingKey, vhost = '/', durable = false } = options;
  let open: { readonly model: ChannelModel; readonly channel: ConfirmChannel } | undefined;

  async function channel(): Promise<ConfirmChannel> {
    if (open !== undefined) return open.channel;
    const { host: hostname, port, user: username, password } = rabbitmq;
    const model = await connect({ hostname, port, username, password, vhost: encodeURIComponent(vhost) }, { noDelay: true });
    model.on('error', () => undefined);
    model.on('close', () => {
      open = undefined;
    });
    const made = await model.createConfirmChannel();
    made.on('error', () => undefined);
    made.on('close', () => {
      open = undefined;
    });
    open = { model, channel: made };
    return made;
  }

  return {
    async publish(...bodies) {
      const at = await channel();
      // For each message, as oslo.messaging does: either may have gone with the broker.
      await at.assertExchange(exchange, 'topic', { durable });
      await at.assertQueue(routingKey, { durable });
      await at.bindQueue(routingKey, exchange, routingKey);
      for (const body of bodies) {
        at.publish(exchange, routingKey, Buffer.from(body), {
          contentType: published.properties.content_type,
          contentEncoding: published.properties.content_encoding,
          deliveryMode: published.properties.delivery_mode,
          priority: published.properties.priority,
          headers: {},
        });
      }
      await at.waitForConfirms();
    },
    inItsOwnQueue: async () => (await (await channel()).checkQueue(routingKey)).messageCount,
    close: async () => {
      await open?.model.close().catch(() => undefined);
    },
  };
}
