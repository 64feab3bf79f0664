// What a member of a pool does at the broker with what it was served first: a broker in a test's hands, for what no real one does on demand.

import { describe, expect, it } from 'vitest';
import type { AmqpLink, Delivery, Take } from '../../../src/amqp/amqp-link.ts';
import { hearInPool } from '../../../src/news/bus/by-pool.ts';
import { Keeping } from '../../../src/news/bus/keeping.ts';
import { Pool } from '../../../src/news/bus/pool.ts';
import { markerKeyOf } from '../../../src/news/bus/queue.ts';
import type { SharedQuestion } from '../../../src/ports.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createNewsSink } from '../../fakes/news-sink.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

const place = { exchange: 'keystone', topics: ['notifications'], declareExchange: 'never' as const, longestQueue: 100 };
const queueName = 'sidegate.pool.test.central';
const askKey = markerKeyOf(queueName, place);
const theirKey = `${askKey}.1`;

/** One that has joined, where so many messages wait. */
async function joined(ready: number, maxLagMs = 10_000) {
  const clock = createFakeClock();
  const bound = new Set(['notifications.info', askKey, theirKey]);
  const end = new AbortController();
  let hasLeft = false;
  let give: Take = () => undefined;
  const channel = {
    checkQueue: async () => ({ messageCount: ready }),
    checkExchange: async () => ({}),
    bindQueue: async (_queue: string, _exchange: string, key: string) => void bound.add(key),
    unbindQueue: async (_queue: string, _exchange: string, key: string) => void bound.delete(key),
  };
  const published: string[] = [];
  const link = {
    server: 'RabbitMQ',
    signal: end.signal,
    isBlocked: false,
    works: () => undefined,
    fail: (error: Error) => end.abort(error),
    ask: async (question: (of: typeof channel) => Promise<unknown>) => await question(channel),
    publisher: async () => ({
      publish: async (_exchange: string, key: string) => {
        published.push(key);
        return bound.has(key) ? 'routed' : 'returned';
      },
    }),
    consume: async (_queue: string, _prefetch: number, take: Take) => {
      give = take;
    },
  } as unknown as AmqpLink;
  const sink = createNewsSink();
  const shared: SharedQuestion = {
    others: () => 2,
    isCurrent: () => true,
    hasTold: (journal) => journal === 'known',
    begin: () => () => undefined,
    listen: () => undefined,
  };
  const ended = hearInPool(link, {
    clock,
    log: createFakeTelemetry().log,
    sink,
    place,
    queueName,
    maxLagMs,
    keeping: new Keeping({ clock, sink, signal: end.signal, random: () => 0 }),
    pool: new Pool({ clock, random: () => 0, shared, journalId: 'us' }),
    known: { mayWrite: true, queue: undefined, hears: () => false },
    say: () => undefined,
  }).catch(() => {
    hasLeft = true;
  });
  await clock.advance(0);
  return {
    clock,
    bound,
    published,
    sink,
    hasLeft: () => hasLeft,
    marker(messageId: string): void {
      const fields = { deliveryTag: 1, redelivered: false, exchange: 'keystone', routingKey: theirKey, consumerTag: '' };
      give({ content: Buffer.from(''), fields, properties: { messageId } as Delivery['properties'] }, () => undefined);
    },
    async close(): Promise<void> {
      end.abort(new Error('the test is over'));
      await clock.advance(2_000);
      await ended;
    },
  };
}

describe('S13 the key of the marker that stands first', () => {
  it('goes on proving the bindings where nothing was missed', async () => {
    const member = await joined(90);
    member.marker('p.7.known.whole');
    await member.clock.advance(250);
    expect([member.published, member.bound.has(theirKey)]).toEqual([[theirKey], true]);
    await member.close();
  });

  it.each([
    ['its queue was full when it was found: what stood before it may be gone', 100, 'p.7.known.whole'],
    ['the log knows nothing of who has sent it', 0, 'p.7.stranger.whole'],
  ])('is unbound where %s, before anything else is told: whoever is killed leaves that to the next one', async (_, ready, id) => {
    const member = await joined(ready);
    member.marker(id);
    await member.clock.advance(250);
    const [ours, more] = member.published;
    expect([member.bound.has(theirKey), ours === theirKey, more]).toEqual([false, false, undefined]);
    expect([...member.bound]).toContain(ours);
    expect(member.sink.gaps).toEqual([]);
    await member.close();
  });
});

it.each([
  [10_000, 45_000],
  [60_000, 120_000],
])(
  'leaves a queue whose messages are told to nobody, and not while one may wait for its answers (max_lag %d)',
  async (maxLagMs, limitMs) => {
    const member = await joined(90, maxLagMs);
    member.marker('p.7.known.whole');
    await member.clock.advance(limitMs);
    expect(member.hasLeft()).toBe(false);
    await member.clock.advance(2_000);
    expect(member.hasLeft()).toBe(true);
    await member.close();
  },
);
