// How the bus is heard where we may not write to Keystone's exchange: a queue for each connection, and a look at it each second.

import { randomBytes } from 'node:crypto';
import { AmqpError } from '../../amqp/amqp-error.ts';
import type { AmqpLink } from '../../amqp/amqp-link.ts';
import { bindQueue, isMissing, markerKeyOf, passingQueue, waitingIn } from './queue.ts';
import { BusReader } from './reader.ts';
import { prefetch, proofEveryMs, type SessionParts } from './session.ts';

/**
 * Until `link` ends. Without markers nothing shows what became of a queue while nobody read it, nor who reads it: so it belongs to this
 * connection alone and ends with it, and each connection is a gap.
 */
export async function hearByLooks(link: AmqpLink, parts: SessionParts): Promise<void> {
  const { clock, log, sink, place, queueName, continuity, known, say } = parts;
  const { name } = await passingQueue(link, `${queueName}.${randomBytes(6).toString('hex')}`, place.longestQueue);
  continuity.break('its queue was made anew');
  const reader = new BusReader({
    ...parts,
    markerKey: undefined,
    comesBack: false,
    arrived: () => undefined,
    fail: (error) => link.fail(error),
  });
  await link.consume(name, prefetch, (delivery, acknowledge) => reader.take(delivery, acknowledge));
  log.warn(
    { server: link.server, queue: name, exchange: place.exchange },
    'reading Keystone’s bus without the right to write to its exchange: whatever breaks the connection counts as news missed',
  );
  let boundSinceMs: number | undefined;
  let hasAsked = false;
  for (;;) {
    boundSinceMs = link.isBlocked ? undefined : await look(boundSinceMs);
    if (boundSinceMs !== undefined && !hasAsked) {
      hasAsked = true;
      known.mayWrite = await mayWriteNow(link, parts);
      if (known.mayWrite) throw new AmqpError('markers may be written now: it is heard anew');
    }
    await clock.delay(proofEveryMs, link.signal);
  }

  /** Answers the moment from which on the queue was seen bound; undefined: it is not. */
  async function look(sinceMs: number | undefined): Promise<number | undefined> {
    const atMs = clock.monotonicMs();
    try {
      await bindQueue(link, name, place);
    } catch (error) {
      if (!isMissing(error)) throw error;
      continuity.break('the exchange was gone');
      say(`the exchange ${place.exchange} is not there`);
      return undefined;
    }
    continuity.mend();
    const waiting = await waitingIn(link, name);
    link.works();
    say(undefined);
    if (waiting + reader.takeCount() >= place.longestQueue) void sink.gap('its queue was full');
    // Nothing waits, so all that had come by the look before this one has been handed to us.
    if (waiting === 0 && sinceMs !== undefined) reader.mark(sinceMs);
    return atMs;
  }
}

/** Asked with an empty message: RabbitMQ has no other question for it. It looks at the right before it looks for the exchange. */
async function mayWriteNow(link: AmqpLink, { place, queueName }: SessionParts): Promise<boolean> {
  try {
    await (await link.publisher()).publish(place.exchange, markerKeyOf(queueName, place), 'may we');
  } catch (error) {
    if (isMissing(error)) return true;
    if (error instanceof AmqpError && error.replyCode === 403) return false;
    throw error;
  }
  return true;
}
