// A reading of a stream whose broker gives what the test says: what is taken, what is acknowledged, and how it ends.

import { beforeEach, describe, expect, it } from 'vitest';
import { AmqpError } from '../../src/amqp/amqp-error.ts';
import type { AmqpLink, Delivery, Take } from '../../src/amqp/amqp-link.ts';
import { prefetch, readStream } from '../../src/fleet/rabbitmq-reading.ts';
import type { LogRecord } from '../../src/ports.ts';

/** What was woken has its turn, and what waited for that. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

describe('a reading of a RabbitMQ stream', () => {
  let ended: AbortController;
  let stopping: AbortController;
  let give: (...positions: readonly unknown[]) => void;
  /** What was asked of the broker, in order. */
  let asked: unknown[];
  /** Positions of each batch that was taken. */
  let taken: (readonly number[])[];
  let done: () => void;
  let link: AmqpLink;
  beforeEach(() => {
    ended = new AbortController();
    stopping = new AbortController();
    asked = [];
    taken = [];
    link = {
      server: 'RabbitMQ',
      signal: ended.signal,
      fail: (error: AmqpError) => ended.abort(error),
      consume: async (queue: string, ahead: number, take: Take, about: object) => {
        asked.push({ queue, ahead, about });
        give = (...positions) => {
          for (const position of positions) {
            const delivery = { content: Buffer.from('x'), properties: { headers: { 'x-stream-offset': position } } };
            take(delivery as unknown as Delivery, () => asked.push('alone'));
          }
        };
        return {
          acknowledgeThrough: (delivery: Delivery) => asked.push(delivery.properties.headers?.['x-stream-offset']),
          stop: async () => void asked.push('stopped'),
        };
      },
    } as unknown as AmqpLink;
  });
  /** Each batch is done with when the test calls `done`. */
  const slowly = (batch: readonly LogRecord[]): Promise<void> => {
    if (batch.length === 0) {
      asked.push('it stands');
      return Promise.resolve();
    }
    taken.push(batch.map(({ position }) => position));
    return new Promise((resolve) => {
      done = resolve;
    });
  };
  const read = (from: number | undefined, take = slowly): Promise<unknown> =>
    readStream(link, { stream: 's', from }, take, stopping.signal).then(
      () => 'stopped',
      (error: unknown) => error,
    );

  it.each([
    [undefined, 'first'],
    [0, 0],
    [7, 7],
  ])('from %s on asks for offset %s, with a limit to what comes ahead', async (from, offset) => {
    void read(from);
    await settle();
    expect(asked).toEqual([{ queue: 's', ahead: prefetch, about: { 'x-stream-offset': offset } }, 'it stands']);
  });

  it('gives what has come, acknowledges it when it is done with, and then gives the next', async () => {
    void read(undefined);
    await settle();
    give(0, 1, 3);
    await settle();
    give(4, 5);
    await settle();
    expect(taken).toEqual([[0, 1, 3]]);
    expect(asked.slice(2)).toEqual([]);
    done();
    await settle();
    expect(taken).toEqual([
      [0, 1, 3],
      [4, 5],
    ]);
    expect(asked.slice(2)).toEqual([3]);
  });

  it('skips what comes from before its position, and acknowledges that too', async () => {
    void read(5);
    await settle();
    give(3, 4);
    await settle();
    give(4, 5, 6);
    await settle();
    expect(taken).toEqual([[5, 6]]);
    done();
    await settle();
    expect(asked.slice(2)).toEqual([4, 6]);
  });

  it('that is not wanted any more ends when what it gave is done with, and gives nothing else', async () => {
    const reading = read(undefined);
    await settle();
    give(0);
    await settle();
    give(1);
    stopping.abort();
    await settle();
    expect(asked.slice(2)).toEqual([]);
    done();
    expect(await reading).toBe('stopped');
    expect(taken).toEqual([[0]]);
    await settle();
    expect(asked.at(-1)).toBe('stopped');
    expect(ended.signal.aborted).toBe(false);
  });

  it('ends with the reason of who takes, and what was not taken is not acknowledged', async () => {
    const failure = new Error('the disk is full');
    const reading = read(undefined, (batch) => (batch.length === 0 ? slowly(batch) : Promise.reject(failure)));
    await settle();
    give(0);
    expect(await reading).toBe(failure);
    await settle();
    expect(asked.slice(2)).toEqual(['stopped']);
  });

  it('ends with its connection, for the same reason', async () => {
    const reading = read(undefined);
    await settle();
    const gone = new AmqpError('gone');
    link.fail(gone);
    expect(await reading).toBe(gone);
    expect(await read(undefined)).toBe(gone);
  });

  it.each([[undefined], ['7'], [-1], [0.5]])('of what has the position %s is one of what is no stream', async (position) => {
    const reading = read(undefined);
    await settle();
    give(position);
    expect(String(await reading)).toBe('AmqpError: RabbitMQ has a queue s that is not a stream');
    expect(taken).toEqual([]);
  });
});
