// Who publishes over a connection to RabbitMQ, and is told what has come of it.

import type { ConfirmChannel, Options } from 'amqplib';
import { AmqpError, amqpErrorOf } from './amqp-error.ts';

/** Publishes on a channel of its own: what is refused closes it. */
export interface Publisher {
  /** RabbitMQ has closed it, for what was refused: nothing can be published with it any more. */
  readonly isOver: boolean;
  /**
   * An empty message of that id, which no disk needs to keep. Resolves when the broker has it, and says whether any queue has. Throws
   * AmqpError where the broker will not take it.
   */
  publish(exchange: string, routingKey: string, id: string): Promise<'routed' | 'returned'>;
  /**
   * A message straight to `queue`, to be kept on disk. Any number at once: they are sent in the order of the calls. As `publish`, but
   * without a deadline: who has many on the way watches over all of them.
   */
  post(queue: string, id: string, body: Uint8Array): Promise<'routed' | 'returned'>;
  close(): Promise<void>;
}

/** What it needs of its connection. */
export interface PublisherParts {
  readonly channel: ConfirmChannel;
  readonly server: string;
  /** Aborts with an AmqpError when the connection has ended. */
  readonly signal: AbortSignal;
  /** Gives it a deadline. */
  readonly timed: <Value>(work: Promise<Value>) => Promise<Value>;
}

interface Target {
  readonly exchange: string;
  readonly routingKey: string;
}

const empty = Buffer.from('{}');

/** Over a channel that nobody else uses. */
export function createPublisher({ channel, server, signal, timed }: PublisherParts): Publisher {
  let refusal: unknown;
  let isOver = false;
  channel.on('error', (error) => {
    refusal = error;
  });
  channel.on('close', () => {
    isOver = true;
  });
  const returned = new Set<string>();
  channel.on('return', ({ properties }) => returned.add(String(properties.messageId)));

  async function send(target: Target, body: Buffer, options: Options.Publish): Promise<'routed' | 'returned'> {
    const id = String(options.messageId);
    try {
      await new Promise<void>((resolve, reject) => {
        channel.publish(target.exchange, target.routingKey, body, options, (error) => (error ? reject(error) : resolve()));
      });
    } catch (cause) {
      returned.delete(id);
      if (isOver) throw amqpErrorOf(server, signal.aborted ? signal.reason : (refusal ?? cause));
      throw new AmqpError(`${server} did not take a message`, { cause });
    }
    // It comes before the confirmation.
    return returned.delete(id) ? 'returned' : 'routed';
  }

  return {
    get isOver() {
      return isOver;
    },
    publish: (exchange, routingKey, messageId) =>
      timed(send({ exchange, routingKey }, empty, { mandatory: true, persistent: false, messageId, contentType: 'application/json' })),
    post(queue, messageId, { buffer, byteOffset, byteLength }) {
      const body = Buffer.from(buffer, byteOffset, byteLength);
      return send({ exchange: '', routingKey: queue }, body, { mandatory: true, persistent: true, messageId });
    },
    close: () => timed(channel.close()),
  };
}
