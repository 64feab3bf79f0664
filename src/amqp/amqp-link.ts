// One connection to RabbitMQ that stands: what is asked over it has a deadline, and it ends once, for one reason.

import type { Channel, ChannelModel, ConfirmChannel, ConsumeMessage, Options } from 'amqplib';
import type { Clock } from '../ports.ts';
import { AmqpError, amqpErrorOf } from './amqp-error.ts';
import { Late, within } from './deadline.ts';

/** What a link is made of. */
export interface LinkParts {
  readonly clock: Clock;
  /** For people: `RabbitMQ at host:port`. */
  readonly server: string;
  readonly model: ChannelModel;
  /** Its signal holds the socket: aborting it is the end of both. */
  readonly ended: AbortController;
  /** Is told when the connection is of use. */
  readonly works: () => void;
  /** Is told when `isBlocked` changes. */
  readonly blocked: () => void;
}

/** A message from the queue that is read. */
export type Delivery = ConsumeMessage;

/** Takes one message. `acknowledge`: it need not come again. Once the connection has ended that does nothing: it will come again. */
export type Take = (delivery: Delivery, acknowledge: () => void) => void;

/** Who publishes, and is told what has come of it. */
export interface Publisher {
  /**
   * An empty message of that id, which no disk needs to keep. Resolves when the broker has it, and says whether any queue has. Throws
   * AmqpError where the broker will not take it; then this publisher is over.
   */
  publish(exchange: string, routingKey: string, id: string): Promise<'routed' | 'returned'>;
  close(): Promise<void>;
}

/** For any one question; RabbitMQ answers within milliseconds, one with its disk full of work within seconds. */
const operationMs = 10_000;
const goodbyeMs = 1_000;
const empty = Buffer.from('{}');

/** A connection, made by `createAmqp`. */
export class AmqpLink {
  readonly server: string;
  /** Aborts with an AmqpError when it has ended. */
  readonly signal: AbortSignal;
  readonly works: () => void;
  readonly #parts: LinkParts;
  #asking: Promise<Channel> | undefined;
  #isBlocked = false;
  #isLeaving = false;

  constructor(parts: LinkParts) {
    const { model, ended, server } = parts;
    this.#parts = parts;
    this.server = server;
    this.signal = ended.signal;
    this.works = parts.works;
    // The last words: without a listener an 'error' would end the process.
    let lastWords: unknown;
    model.on('error', (error) => {
      lastWords = error;
    });
    model.on('close', (error) => this.fail(amqpErrorOf(server, lastWords ?? error)));
    model.on('handler-error', (error) => this.fail(new AmqpError('a fault of ours', { cause: error })));
    const block = (is: boolean): void => {
      this.#isBlocked = is;
      parts.blocked();
    };
    model.on('blocked', () => block(true));
    model.on('unblocked', () => block(false));
  }

  /**
   * Whether RabbitMQ has stopped reading what we send, as it does to who publishes while it is short of memory or disk: nothing that is
   * asked is answered meanwhile, and nothing that is acknowledged is noticed.
   */
  get isBlocked(): boolean {
    return this.#isBlocked;
  }

  /** Ends it. */
  fail(error: AmqpError): void {
    if (!this.signal.aborted) this.#parts.ended.abort(error);
  }

  /** Says goodbye, and ends it. */
  async close(): Promise<void> {
    const { clock, model, server } = this.#parts;
    const isLeaving = this.#isLeaving;
    this.#isLeaving = true;
    try {
      if (!this.signal.aborted && !isLeaving) await within({ clock, ms: goodbyeMs }, this.signal, model.close());
    } catch (error) {
      // Whoever does not say goodbye is left all the same.
      this.fail(amqpErrorOf(server, error));
    }
    this.fail(new AmqpError(`${server} was left`));
  }

  /** What RabbitMQ answers, on a channel that is made anew where an answer has closed it. Throws AmqpError. */
  async ask<Value>(question: (channel: Channel) => Promise<Value>): Promise<Value> {
    this.#asking ??= this.#open(() => this.#parts.model.createChannel());
    const asking = this.#asking;
    try {
      const channel = await asking;
      return await this.#timed(question(channel));
    } catch (error) {
      // Whatever RabbitMQ refuses, it closes the channel.
      if (this.#asking === asking) this.#asking = undefined;
      throw error;
    }
  }

  /**
   * Reads `queue`, `prefetch` messages ahead of what is acknowledged. `take` may be called before this resolves. When the queue is
   * deleted, or the reading ends in another way, the connection fails.
   */
  async consume(queue: string, prefetch: number, take: Take): Promise<void> {
    const channel = await this.#open(() => this.#parts.model.createChannel());
    let lastWords: unknown;
    channel.on('error', (error) => {
      lastWords = error;
    });
    channel.on('close', () => this.fail(amqpErrorOf(this.server, lastWords)));
    await this.#timed(channel.prefetch(prefetch));
    const consuming = channel.consume(queue, (delivery) => {
      if (delivery === null) {
        this.fail(new AmqpError(`${this.server} has no queue for us any more: it was deleted`));
      } else if (!this.signal.aborted) {
        take(delivery, () => {
          if (!this.signal.aborted && !this.#isLeaving) channel.ack(delivery);
        });
      }
    });
    await this.#timed(consuming);
  }

  /** A channel of its own to publish on: what is refused closes it. */
  async publisher(): Promise<Publisher> {
    const channel: ConfirmChannel = await this.#open(() => this.#parts.model.createConfirmChannel());
    let refusal: unknown;
    channel.on('error', (error) => {
      refusal = error;
    });
    const returned = new Set<string>();
    channel.on('return', ({ properties }) => returned.add(String(properties.messageId)));
    return {
      publish: async (exchange, routingKey, id) => {
        const options: Options.Publish = { mandatory: true, persistent: false, messageId: id, contentType: 'application/json' };
        const confirmed = new Promise<void>((resolve, reject) => {
          channel.publish(exchange, routingKey, empty, options, (error) => (error ? reject(refusal ?? error) : resolve()));
        });
        await this.#timed(confirmed);
        // It comes before the confirmation.
        return returned.delete(id) ? 'returned' : 'routed';
      },
      close: () => this.#timed(channel.close()),
    };
  }

  async #open<Kind extends Channel>(create: () => Promise<Kind>): Promise<Kind> {
    const channel = await this.#timed(create());
    // Told by the promise of whoever asked; without a listener it would end the process.
    channel.on('error', () => undefined);
    channel.on('handler-error', (error) => this.fail(new AmqpError('a fault of ours', { cause: error })));
    return channel;
  }

  /** A broker that does not answer is as good as gone, and so is the connection; not one that has told us that it does not listen. */
  async #timed<Value>(work: Promise<Value>): Promise<Value> {
    const { clock, server } = this.#parts;
    for (;;) {
      try {
        return await within({ clock, ms: operationMs }, this.signal, work);
      } catch (cause) {
        if (cause instanceof Late && this.isBlocked) continue;
        const error = amqpErrorOf(server, cause);
        if (cause instanceof Late) this.fail(error);
        throw error;
      }
    }
  }
}
