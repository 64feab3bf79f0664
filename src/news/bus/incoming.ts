// Keystone's messages out of a queue: each is read, and told until it is kept.

import { AmqpError } from '../../amqp/amqp-error.ts';
import type { Logger, NewsSink } from '../../ports.ts';
import { readKeystoneMessage } from '../keystone-envelope.ts';
import { newsOf } from '../keystone-messages.ts';
import type { Keeping } from './keeping.ts';

/** What reading them needs. */
export interface IncomingParts {
  readonly sink: NewsSink;
  readonly log: Logger;
  readonly keeping: Keeping;
  /** Ends the connection: whatever it has brought will be brought again. */
  readonly fail: (error: AmqpError) => void;
}

/** Of one connection. */
export class Incoming {
  readonly #parts: IncomingParts;
  #unreadable = 0;

  constructor(parts: IncomingParts) {
    this.#parts = parts;
  }

  /** Whether there is room for one more. Where there is none the connection ends. */
  get hasRoom(): boolean {
    const { keeping, fail } = this.#parts;
    if (keeping.isFull) fail(new AmqpError('more of it waits to be kept than may'));
    return !keeping.isFull;
  }

  /** `finish`: all that it means is kept, and it need not come again. */
  take(content: Buffer, finish: () => void): void {
    const { sink, log, keeping } = this.#parts;
    const message = readKeystoneMessage(content);
    if (message === undefined) {
      // It is set aside: nobody could read it the next time either.
      this.#unreadable += 1;
      // Who sends one sends many.
      log[this.#unreadable === 1 ? 'warn' : 'debug']({ sizeBytes: content.byteLength }, 'a message of Keystone’s bus cannot be read');
      sink.ignored('unreadable');
      void sink.gap('a message could not be read').then(finish);
      return;
    }
    const news = newsOf(message);
    if (news === undefined) {
      sink.ignored('irrelevant');
      finish();
      return;
    }
    // Rejects only at the end: the message stays in the queue.
    keeping.keep(news).then(finish, () => undefined);
  }
}
