// Whoever listens on a Keystone's exchange beside everybody else, and keeps what is said, byte for byte.

import { connect } from 'amqplib';

/** One message, as it lay in the queue. */
export interface RecordedMessage {
  readonly routingKey: string;
  readonly body: string;
}

/** The running recorder. */
export interface Recorder {
  /** All since the last `take`. */
  take(): readonly RecordedMessage[];
  close(): Promise<void>;
}

/** Binds a queue of its own to the exchange, which it makes as Keystone does where that has said nothing yet. */
export async function startRecorder(transportUrl: string, exchange = 'keystone'): Promise<Recorder> {
  const connection = await connect(transportUrl.replace(/^rabbit:/, 'amqp:'));
  const channel = await connection.createChannel();
  // As oslo.messaging declares it: with any other arguments Keystone would be refused.
  await channel.assertExchange(exchange, 'topic', { durable: false });
  const { queue } = await channel.assertQueue('', { exclusive: true, autoDelete: true });
  await channel.bindQueue(queue, exchange, 'notifications.#');
  let messages: RecordedMessage[] = [];
  const keep = (message: { readonly fields: { readonly routingKey: string }; readonly content: Buffer } | null): void => {
    if (message) messages.push({ routingKey: message.fields.routingKey, body: message.content.toString('utf8') });
  };
  await channel.consume(queue, keep, { noAck: true });
  return {
    take() {
      const taken = messages;
      messages = [];
      return taken;
    },
    close: () => connection.close(),
  };
}

/** What a message says. */
export interface RecordedEvent {
  readonly type: string;
  /** By Keystone's clock, in milliseconds since the epoch. */
  readonly atMs: number;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Reads one. Throws where it is none of Keystone's. */
export function eventOf({ body }: RecordedMessage): RecordedEvent {
  const envelope = JSON.parse(body) as { readonly 'oslo.message': string };
  const { event_type, timestamp, payload } = JSON.parse(envelope['oslo.message']) as {
    readonly event_type: string;
    readonly timestamp: string;
    readonly payload: Readonly<Record<string, unknown>>;
  };
  return { type: event_type, atMs: Date.parse(`${timestamp.replace(' ', 'T')}Z`), payload };
}
