// Appends to a broker that confirms when the test says so, by a clock that the test moves.

import { beforeEach, describe, expect, it } from 'vitest';
import { AmqpError } from '../../src/amqp/amqp-error.ts';
import { Appends, appendMs, mostOnTheirWay } from '../../src/fleet/rabbitmq-appends.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';

/** One that was sent, and what comes of it. */
interface Posted {
  readonly text: string;
  readonly confirm: (come?: 'routed' | 'returned') => void;
  readonly refuse: (error: AmqpError) => void;
}

describe('appends to a RabbitMQ stream', () => {
  let clock: FakeClock;
  let ended: AbortController;
  let posted: Posted[];
  let link: { server: string; isBlocked: boolean; listensSinceMs: number | undefined; fail(error: AmqpError): void };
  let publisher: { isOver: boolean; post(stream: string, id: string, body: Uint8Array): Promise<'routed' | 'returned'> };
  let appends: Appends;
  /** What has come of each, by its text. */
  let come: Map<string, string>;
  beforeEach(() => {
    clock = createFakeClock();
    ended = new AbortController();
    posted = [];
    come = new Map();
    link = { server: 'RabbitMQ', isBlocked: false, listensSinceMs: clock.monotonicMs(), fail: (error) => ended.abort(error) };
    publisher = {
      isOver: false,
      post: (_stream, _id, body) =>
        new Promise((resolve, reject) => {
          posted.push({ text: Buffer.from(body).toString(), confirm: (what = 'routed') => resolve(what), refuse: reject });
        }),
    };
    appends = new Appends({ clock, link, publisher, stream: 's', signal: ended.signal });
  });
  const append = (text: string): void => {
    appends.append(Buffer.from(text)).then(
      () => come.set(text, 'there'),
      (error: unknown) => come.set(text, String(error)),
    );
  };
  const block = (is: boolean): void => {
    link.isBlocked = is;
    link.listensSinceMs = is ? undefined : clock.monotonicMs();
  };
  const texts = (): readonly string[] => posted.map(({ text }) => text);

  it('are sent in the order of the calls, and told in the order of what is confirmed', async () => {
    for (const text of ['a', 'b', 'c']) append(text);
    expect(texts()).toEqual(['a', 'b', 'c']);
    posted[2]?.confirm();
    posted[0]?.confirm();
    await clock.advance(1);
    expect([...come]).toEqual([
      ['c', 'there'],
      ['a', 'there'],
    ]);
    await clock.advance(appendMs - 2);
    expect(come.get('b')).toBeUndefined();
    posted[1]?.confirm();
    await clock.advance(1);
    expect(come.get('b')).toBe('there');
    await clock.advance(10 * appendMs);
    expect([ended.signal.aborted, clock.waiting()]).toEqual([false, 0]);
  });

  it(`of which ${mostOnTheirWay} are on their way wait for their turn`, async () => {
    const all = Array.from({ length: mostOnTheirWay + 2 }, (_, n) => `record ${n}`);
    for (const text of all) append(text);
    expect(texts()).toEqual(all.slice(0, mostOnTheirWay));
    posted[7]?.confirm();
    await clock.advance(1);
    expect(texts()).toEqual(all.slice(0, mostOnTheirWay + 1));
    posted[8]?.confirm();
    await clock.advance(1);
    expect(texts()).toEqual(all);
  });

  it('that are not confirmed in time reject, and the connection is given up', async () => {
    append('a');
    await clock.advance(appendMs - 1);
    expect([come.size, ended.signal.aborted]).toEqual([0, false]);
    await clock.advance(1);
    expect(come.get('a')).toBe('SidecarError: RabbitMQ did not confirm within 10000 ms');
    expect(String(ended.signal.reason)).toContain('has confirmed nothing for 10000 ms');
    append('b');
    await clock.advance(1);
    expect(come.get('b')).toContain('SidecarError: RabbitMQ has confirmed nothing');
    expect(texts()).toEqual(['a']);
  });

  it('to one that has blocked us reject in time, and the connection is measured from when it listens again', async () => {
    append('a');
    await clock.advance(1_000);
    block(true);
    append('b');
    await clock.advance(appendMs);
    expect(come.get('a')).toContain('has blocked who publishes');
    expect(come.get('b')).toContain('has blocked who publishes');
    await clock.advance(3_600_000);
    expect(ended.signal.aborted).toBe(false);
    block(false);
    await clock.advance(appendMs - 1_001);
    expect(ended.signal.aborted).toBe(false);
    for (const { confirm } of posted) confirm();
    await clock.advance(10 * appendMs);
    expect(ended.signal.aborted).toBe(false);

    append('c');
    await clock.advance(appendMs);
    expect(ended.signal.aborted).toBe(true);
  });

  it('that nobody waits for any more hold their place until it is known what came of them', async () => {
    block(true);
    for (let n = 0; n < mostOnTheirWay + 1; n += 1) append(`record ${n}`);
    await clock.advance(appendMs);
    expect(come.size).toBe(mostOnTheirWay + 1);
    append('later');
    expect(posted).toHaveLength(mostOnTheirWay);
    block(false);
    posted[0]?.confirm();
    await clock.advance(1);
    // What had not been sent in time never is.
    expect(texts().slice(mostOnTheirWay)).toEqual(['later']);
  });

  it('that one does not take reject alone; where the channel is closed for it, or there is no stream, the connection ends', async () => {
    append('a');
    posted[0]?.refuse(new AmqpError('RabbitMQ did not take a message'));
    append('b');
    posted[1]?.confirm();
    await clock.advance(1);
    expect([...come.values()]).toEqual(['SidecarError: RabbitMQ did not take a message', 'there']);
    expect(ended.signal.aborted).toBe(false);

    append('c');
    append('d');
    posted[2]?.confirm('returned');
    await clock.advance(1);
    expect(come.get('c')).toBe('SidecarError: RabbitMQ has no stream s any more');
    expect(come.get('d')).toBe(come.get('c'));
    expect(ended.signal.aborted).toBe(true);
  });

  it('over a channel that was closed end the connection with what was refused', async () => {
    append('a');
    publisher.isOver = true;
    posted[0]?.refuse(new AmqpError('RabbitMQ refuses access (403)'));
    await clock.advance(1);
    expect(come.get('a')).toBe('SidecarError: RabbitMQ refuses access (403)');
    expect(String(ended.signal.reason)).toContain('403');
  });
});
