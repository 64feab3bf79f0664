// One connection to RabbitMQ that stands: what is asked over it has a deadline, and it ends once, for one reason.

import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../ports.ts';
import { AmqpError, amqpErrorOf } from './amqp-error.ts';
import { Late, within } from './deadline.ts';
import { createPublisher, type Publisher } from './publisher.ts';

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
  /** One more connection to the same server; `purpose`: what its operator sees it is for. Not after this one has ended. */
  readonly another: (purpose: string) => Promise<AmqpLink>;
}

/** A message from the queue that is read. */
export type Delivery = ConsumeMessage;

/** Takes one message. `acknowledge`: it need not come again. Once the connection has ended that does nothing: it will come again. */
export type Take = (delivery: Delivery, acknowledge: () => void) => void;

/** What reads a queue. */
export interface Consumer {
  /** That one, and all that were given before it, need not come again. Does nothing once it has been stopped, or the connection has ended. */
  acknowledgeThrough(delivery: Delivery): void;
  /** Nothing is given from the call on; what was not acknowledged may come again. Throws AmqpError. */
  stop(): Promise<void>;
}

/** For any one question; RabbitMQ answers within milliseconds, one with its disk full of work within seconds. */
const operationMs = 10_000;
const goodbyeMs = 1_000;

/** A connection, made by `createAmqp`. */
export class AmqpLink {
  readonly server: string;
  /** Aborts with an AmqpError when it has ended. */
  readonly signal: AbortSignal;
  readonly works: () => void;
  /** Resolves when it is blocked for the first time. */
  readonly whenBlocked: Promise<void>;
  readonly #parts: LinkParts;
  #asking: Promise<Channel> | undefined;
  /** Undefined: it is blocked. */
  #listensSinceMs: number | undefined;
  #isLeaving = false;

  constructor(parts: LinkParts) {
    const { model, ended, server } = parts;
    this.#parts = parts;
    this.server = server;
    this.signal = ended.signal;
    this.works = parts.works;
    this.#listensSinceMs = parts.clock.monotonicMs();
    // The last words: without a listener an 'error' would end the process.
    let lastWords: unknown;
    model.on('error', (error) => {
      lastWords = error;
    });
    model.on('close', (error) => this.fail(amqpErrorOf(server, lastWords ?? error)));
    model.on('handler-error', (error) => this.fail(new AmqpError('a fault of ours', { cause: error })));
    let tellBlocked = (): void => undefined;
    this.whenBlocked = new Promise((resolve) => {
      tellBlocked = resolve;
    });
    const block = (is: boolean): void => {
      if (is) tellBlocked();
      this.#listensSinceMs = is ? undefined : parts.clock.monotonicMs();
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
    return this.#listensSinceMs === undefined;
  }

  /** The moment (monotonic) from which on RabbitMQ has read what we send; undefined: it is blocked. */
  get listensSinceMs(): number | undefined {
    return this.#listensSinceMs;
  }

  /** One more connection to the same server, `purpose` in its name. It ends by itself, or by whoever asked for it. Throws AmqpError. */
  another(purpose: string): Promise<AmqpLink> {
    return this.#parts.another(purpose);
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
   * Reads `queue`, `prefetch` messages ahead of what is acknowledged. `take` may be called before this resolves. `about`: arguments of the
   * reading, as RabbitMQ has them. Throws AmqpError where it is refused. When the queue is deleted, or the reading ends in another way
   * than by its `stop`, the connection fails.
   */
  async consume(queue: string, prefetch: number, take: Take, about: Readonly<Record<string, unknown>> = {}): Promise<Consumer> {
    const channel = await this.#open(() => this.#parts.model.createChannel());
    let state: 'opening' | 'reading' | 'closed' | 'stopped' = 'opening';
    let lastWords: unknown;
    channel.on('error', (error) => {
      lastWords = error;
    });
    channel.on('close', () => {
      // A connection that ends closes its channels first, and says why only then.
      if (state === 'reading') queueMicrotask(() => this.fail(amqpErrorOf(this.server, lastWords)));
      // What closes it before it is granted is told to whoever asked.
      if (state === 'opening') state = 'closed';
    });
    const acknowledge = (delivery: Delivery, how: 'alone' | 'through'): void => {
      const isOver = this.signal.aborted || this.#isLeaving || state === 'stopped' || state === 'closed';
      if (!isOver) channel.ack(delivery, how === 'through');
    };
    await this.#timed(channel.prefetch(prefetch));
    const consuming = channel.consume(
      queue,
      (delivery) => {
        if (state === 'stopped') return;
        if (delivery === null) this.fail(new AmqpError(`${this.server} has no queue for us any more: it was deleted`));
        else if (!this.signal.aborted) take(delivery, () => acknowledge(delivery, 'alone'));
      },
      { arguments: about },
    );
    await this.#timed(consuming);
    if (hasClosed()) this.fail(amqpErrorOf(this.server, lastWords));
    else state = 'reading';
    return {
      acknowledgeThrough: (delivery) => acknowledge(delivery, 'through'),
      stop: async () => {
        if (state !== 'reading' || this.signal.aborted) return;
        state = 'stopped';
        await this.#timed(channel.close());
      },
    };

    // Asked by a function: it changes while something is waited for.
    function hasClosed(): boolean {
      return state === 'closed';
    }
  }

  /** A channel of its own to publish on: what is refused closes it. */
  async publisher(): Promise<Publisher> {
    const channel = await this.#open(() => this.#parts.model.createConfirmChannel());
    return createPublisher({ channel, server: this.server, signal: this.signal, timed: (work) => this.#timed(work) });
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
