// Our queue at Keystone's exchange: made, bound and looked at.

import { createHash } from 'node:crypto';
import { AmqpError } from '../../amqp/amqp-error.ts';
import type { AmqpLink } from '../../amqp/amqp-link.ts';

/** Where Keystone's messages are to be had. */
export interface BusPlace {
  /** `[DEFAULT] control_exchange` of Keystone. */
  readonly exchange: string;
  /** `[oslo_messaging_notifications] topics` of Keystone. */
  readonly topics: readonly string[];
  /** Whether the exchange is made where it is not there, and how. */
  readonly declareExchange: 'never' | 'transient' | 'durable';
  /** Messages that may wait in our queue. */
  readonly longestQueue: number;
}

/** Without anybody who reads it, it is gone after this: whoever comes back later has forgotten everything it was about. */
const unusedMs = 3_600_000;

/** Whose queue it is. */
export interface QueueOwner {
  readonly sidecar: string;
  readonly issuer: string;
  /** Random, made with it. */
  readonly journal: string;
}

/** The same whenever the same sidecar comes back. Whatever it is called, it begins with `sidegate.` and is shorter than AMQP allows. */
export function busQueueName({ sidecar, issuer, journal }: QueueOwner): string {
  return `sidegate.${plain(sidecar)}.${plain(issuer)}.${plain(journal)}`;
}

/** The same for all sidecars of a pool. */
export function poolQueueName({ pool, issuer }: { readonly pool: string; readonly issuer: string }): string {
  return `sidegate.pool.${plain(pool)}.${plain(issuer)}`;
}

function plain(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 64);
}

/**
 * A routing key that only that queue is bound with. It is another one for other topics: what proves their bindings must not have been
 * there before them.
 */
export function markerKeyOf(queue: string, { exchange, topics }: Pick<BusPlace, 'exchange' | 'topics'>): string {
  const hash = createHash('sha256').update(JSON.stringify([queue, exchange, topics]));
  return `sidegate.${hash.digest('hex').slice(0, 32)}`;
}

/** Whether such a message is a marker, of whomever: no topic of Keystone's begins so. */
export function isMarkerKey(routingKey: string): boolean {
  return routingKey.startsWith('sidegate.');
}

/** How our queue was found. */
export interface FoundQueue {
  readonly name: string;
  /** It was there; what is in it has waited for us. */
  readonly wasThere: boolean;
  /** Messages that waited. */
  readonly ready: number;
}

/** Where the first name cannot be used, so many others are tried. */
const otherNames = 3;

/**
 * Finds or makes the queue that outlives connections. It has that name or, while the node of a cluster that keeps it is down, another
 * that begins so: RabbitMQ knows such a queue, and lets nobody use it nor make it anew.
 */
export async function durableQueue(link: AmqpLink, name: string, longestQueue: number): Promise<FoundQueue> {
  for (let other = 0; ; other += 1) {
    const tried = other === 0 ? name : `${name}.${other}`;
    try {
      return await durableQueueOf(link, tried, longestQueue);
    } catch (error) {
      if (!isMissing(error) || other === otherNames) throw error;
    }
  }
}

/**
 * One of several readers reads it at a time, the one that came first: a connection that is dead, and not known to be yet, must not take
 * what it never tells while the next one takes, and proves, the rest.
 */
async function durableQueueOf(link: AmqpLink, name: string, longestQueue: number): Promise<FoundQueue> {
  try {
    const { messageCount } = await link.ask((channel) => channel.checkQueue(name));
    return { name, wasThere: true, ready: messageCount };
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  // Of the type that the vhost gives to a queue that does not say.
  const make = { 'x-expires': unusedMs, 'x-max-length': longestQueue, 'x-single-active-consumer': true };
  await granted(
    `configure ${name}`,
    link.ask((channel) => channel.assertQueue(name, { durable: true, arguments: make })),
  );
  return { name, wasThere: false, ready: 0 };
}

/** Makes a queue that this connection alone can read, and that ends with it. */
export async function passingQueue(link: AmqpLink, name: string, longestQueue: number): Promise<FoundQueue> {
  // A quorum queue, where the vhost makes those, cannot be anybody's own.
  const make = { 'x-max-length': longestQueue, 'x-queue-type': 'classic' };
  const settings = { durable: false, exclusive: true, autoDelete: true, arguments: make };
  await granted(
    `configure ${name}`,
    link.ask((channel) => channel.assertQueue(name, settings)),
  );
  return { name, wasThere: false, ready: 0 };
}

/**
 * Binds `queue` to Keystone's exchange with each topic's routing key and, last, with `markerKey`. Throws AmqpError with 404 where there
 * is no exchange and it is not ours to make.
 */
export async function bindQueue(link: AmqpLink, queue: string, place: BusPlace, markerKey?: string): Promise<void> {
  const { exchange, topics } = place;
  await ensureExchange(link, place);
  const keys = topics.map((topic) => `${topic}.info`);
  // Whoever finds the marker's binding finds all of them.
  for (const key of markerKey === undefined ? keys : [...keys, markerKey]) {
    await granted(
      `read ${exchange} and write ${queue}`,
      link.ask((channel) => channel.bindQueue(queue, exchange, key)),
    );
  }
}

/** Takes away the binding with `key`, so that whoever proves it finds that it is gone. No error where there was none. */
export async function unbindQueue(link: AmqpLink, queue: string, exchange: string, key: string): Promise<void> {
  try {
    await link.ask((channel) => channel.unbindQueue(queue, exchange, key));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Messages that wait. What came before the answer has been delivered before it: RabbitMQ keeps that order. */
export async function waitingIn(link: AmqpLink, queue: string): Promise<number> {
  try {
    return (await link.ask((channel) => channel.checkQueue(queue))).messageCount;
  } catch (error) {
    // Missing is the exchange, elsewhere.
    throw isMissing(error) ? new AmqpError(`${link.server} has lost our queue`) : error;
  }
}

async function ensureExchange(link: AmqpLink, { exchange, declareExchange }: BusPlace): Promise<void> {
  try {
    await link.ask((channel) => channel.checkExchange(exchange));
  } catch (error) {
    if (!isMissing(error) || declareExchange === 'never') throw error;
    const durable = declareExchange === 'durable';
    await granted(
      `configure ${exchange}`,
      link.ask((channel) => channel.assertExchange(exchange, 'topic', { durable })),
    );
  }
}

/** Says which right our user lacks, where that is what failed. */
async function granted<Value>(right: string, answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof AmqpError) || error.replyCode !== 403) throw error;
    throw new AmqpError(`${error.message}: our user needs the right to ${right}`, { replyCode: 403, cause: error });
  }
}

/** Whether the broker knows nothing of that name. */
export function isMissing(error: unknown): boolean {
  return error instanceof AmqpError && error.replyCode === 404;
}
