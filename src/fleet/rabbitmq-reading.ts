// A reading of a RabbitMQ stream: from a position on, in batches, the next one when the last one is done with.

import type { AmqpLink, Delivery } from '../amqp/amqp-link.ts';
import type { LogRecord } from '../ports.ts';
import { noStream, streamOffset } from './rabbitmq-place.ts';

/** Where is read. */
export interface ReadingPlace {
  readonly stream: string;
  /** As of `LogLink.read`. */
  readonly from: number | undefined;
}

/** What the broker may send ahead of what is done with: all that is held here. */
export const prefetch = 512;
const largestBatch = 256;

interface Arrived {
  readonly record: LogRecord;
  readonly delivery: Delivery;
}

/** As `LogLink.read`, over a connection of which only the end is told. */
export async function readStream(
  link: AmqpLink,
  { stream, from }: ReadingPlace,
  take: (batch: readonly LogRecord[]) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const over = AbortSignal.any([link.signal, signal]);
  if (over.aborted) return ended();
  const arrived: Arrived[] = [];
  let wake = (): void => undefined;
  const ofEnd = new Promise<void>((resolve) => {
    const end = (): void => {
      resolve();
      wake();
    };
    over.addEventListener('abort', end, { once: true });
  });
  const arrive = (delivery: Delivery): void => {
    const position: unknown = delivery.properties.headers?.[streamOffset];
    if (typeof position !== 'number' || !Number.isSafeInteger(position) || position < 0) {
      link.fail(noStream(link, stream));
      return;
    }
    arrived.push({ record: { position, bytes: delivery.content }, delivery });
    wake();
  };
  // A number beyond the end is taken without a word, and nothing comes: that is the reader's to notice.
  const consuming = link.consume(stream, prefetch, arrive, { [streamOffset]: from ?? 'first' });
  try {
    const consumer = await Promise.race([consuming, ofEnd]);
    if (consumer && !over.aborted) await take([]);
    while (consumer && !over.aborted) {
      const batch = arrived.splice(0, largestBatch);
      const last = batch.at(-1);
      if (last === undefined) {
        // No race with the end: each would be kept by it for as long as the connection stands.
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      // RabbitMQ finds the chunk that has the position, and may give what comes before it there.
      const records = batch.map(({ record }) => record).filter(({ position }) => from === undefined || position >= from);
      if (records.length > 0) await take(records);
      consumer.acknowledgeThrough(last.delivery);
    }
    return ended();
  } finally {
    // Nobody waits for the goodbye: a broker that does not answer it ends the connection, which tells.
    consuming.then((consumer) => consumer.stop()).catch(() => undefined);
  }

  function ended(): void {
    if (!signal.aborted) throw link.signal.reason;
  }
}
