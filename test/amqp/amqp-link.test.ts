// A connection whose broker does not answer, by a clock that the test moves: the broker is a script that keeps silent.

import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { beforeEach, describe, expect, it } from 'vitest';
import { AmqpError } from '../../src/amqp/amqp-error.ts';
import { AmqpLink } from '../../src/amqp/amqp-link.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';

describe('a connection to RabbitMQ', () => {
  let clock: FakeClock;
  let model: EventEmitter & { createChannel(): Promise<never>; close(): Promise<void> };
  let link: AmqpLink;
  let changes: number;
  beforeEach(() => {
    clock = createFakeClock();
    changes = 0;
    model = Object.assign(new EventEmitter(), {
      createChannel: () => new Promise<never>(() => undefined),
      close: () => new Promise<void>(() => undefined),
    });
    link = new AmqpLink({
      clock,
      server: 'RabbitMQ at nowhere:1',
      model: model as unknown as ChannelModel,
      ended: new AbortController(),
      works: () => undefined,
      another: () => new Promise<never>(() => undefined),
      blocked: () => {
        changes += 1;
      },
    });
  });
  const asked = async (): Promise<unknown> => link.ask((channel) => channel.checkQueue('q')).catch((error: unknown) => error);

  it('ends where a question has no answer within 10 s, and not before', async () => {
    const answer = asked();
    await clock.advance(9_999);
    expect(link.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(String(link.signal.reason)).toBe('AmqpError: RabbitMQ at nowhere:1 gave no answer within 10000 ms');
    expect(await answer).toBe(link.signal.reason);
  });

  it('that RabbitMQ has blocked is waited for, however long, and is measured anew when it is not any more', async () => {
    const answer = asked();
    model.emit('blocked', 'low on disk');
    await clock.advance(3_600_000);
    expect([link.isBlocked, link.signal.aborted, changes]).toEqual([true, false, 1]);
    model.emit('unblocked');
    expect([link.isBlocked, changes]).toEqual([false, 2]);
    await clock.advance(10_000);
    expect(link.signal.aborted).toBe(true);
    expect(await answer).toBeInstanceOf(AmqpError);
  });

  it('ends once, for the first reason, whatever is said afterwards', async () => {
    const answer = asked();
    model.emit('error', new Error('Heartbeat timeout'));
    model.emit('close', new Error('Heartbeat timeout'));
    const { reason } = link.signal;
    link.fail(new AmqpError('something else'));
    model.emit('error', new Error('another'));
    expect(link.signal.reason).toBe(reason);
    expect(await answer).toBe(reason);
    expect(String(reason)).toBe('AmqpError: RabbitMQ at nowhere:1 has given no sign of life');
  });

  it('ends at a fault of ours that amqplib tells it of, and where whoever is left does not say goodbye within 1 s', async () => {
    model.emit('handler-error', new Error('x'), 'delivery');
    expect(String(link.signal.reason)).toBe('AmqpError: a fault of ours');

    const another = new AmqpLink({
      clock,
      server: 'RabbitMQ at nowhere:1',
      model: model as unknown as ChannelModel,
      ended: new AbortController(),
      works: () => undefined,
      another: () => new Promise<never>(() => undefined),
      blocked: () => undefined,
    });
    const closed = another.close();
    await clock.advance(999);
    expect(another.signal.aborted).toBe(false);
    await clock.advance(1);
    await closed;
    expect(another.signal.aborted).toBe(true);
  });
});
