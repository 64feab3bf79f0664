// What a reader makes of deliveries, one by one: no broker is needed for the order of things.

import { beforeEach, describe, expect, it } from 'vitest';
import type { AmqpError } from '../../../src/amqp/amqp-error.ts';
import type { Delivery } from '../../../src/amqp/amqp-link.ts';
import { Continuity } from '../../../src/news/bus/continuity.ts';
import { Keeping, mostAtOnce } from '../../../src/news/bus/keeping.ts';
import { Markers, type Sent } from '../../../src/news/bus/markers.ts';
import { BusReader } from '../../../src/news/bus/reader.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { basicMessage, enveloped } from '../../fakes/keystone-messages.ts';
import { createNewsSink, type FakeNewsSink } from '../../fakes/news-sink.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

const markerKey = 'sidegate.marker';
const emptied = 'its queue was emptied, or overflowed, while nobody read it';

function delivery(routingKey: string, body: string, messageId?: string): Delivery {
  const properties = { messageId } as Delivery['properties'];
  return {
    content: Buffer.from(body),
    fields: { deliveryTag: 0, redelivered: false, exchange: 'e', routingKey, consumerTag: '' },
    properties,
  };
}

describe('S10 a reader', () => {
  let sink: FakeNewsSink;
  let markers: Markers;
  let continuity: Continuity;
  let keeping: Keeping;
  let acknowledged: string[];
  let failures: AmqpError[];
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  beforeEach(() => {
    sink = createNewsSink();
    markers = new Markers();
    continuity = new Continuity(sink);
    keeping = new Keeping({ clock: createFakeClock(), sink, signal: new AbortController().signal, random: () => 0 });
    acknowledged = [];
    failures = [];
  });

  function reader(comesBack = false) {
    const { log } = createFakeTelemetry();
    const parts = { sink, log, keeping, markers, continuity, markerKey, comesBack };
    const read = new BusReader({ ...parts, arrived: () => undefined, fail: (error) => failures.push(error) });
    const take = (name: string, one: Delivery): void => read.take(one, () => acknowledged.push(name));
    return {
      read,
      take,
      message: (id: string) => take(id, delivery('notifications.info', enveloped(basicMessage('identity.user.deleted', id)))),
      marker: (name: string, { id }: Pick<Sent, 'id'>) => take(name, delivery(markerKey, '{}', id)),
    };
  }

  it('keeps the newest proven marker in the queue, and nothing before it', async () => {
    const { message, marker } = reader();
    const [one, two] = [markers.next(10, 1), markers.next(20, 1)];
    message('a');
    marker('one', one);
    message('b');
    marker('two', two);
    await turn();
    expect(sink.proofs).toEqual([10, 20]);
    expect([...acknowledged].sort()).toEqual(['a', 'b', 'one']);
  });

  it('leaves everything in the queue that is not kept, and the marker before it', async () => {
    const { message, marker } = reader();
    marker('one', markers.next(10, 1));
    const release = sink.hold();
    message('a');
    marker('two', markers.next(20, 1));
    await turn();
    expect([sink.proofs, acknowledged]).toEqual([[10], []]);
    release();
    await turn();
    expect([sink.proofs, [...acknowledged].sort()]).toEqual([
      [10, 20],
      ['a', 'one'],
    ]);
  });

  it('proves nothing while it is broken, though everything is told; after the gap it does', async () => {
    const { message, marker } = reader();
    continuity.break('something');
    message('a');
    const early = markers.next(10, 1);
    marker('one', early);
    await turn();
    expect([sink.proofs, sink.kept.length]).toEqual([[], 1]);
    // It is no marker that whoever comes back could know as proven.
    expect(markers.isFirstOfAll(early)).toBe(false);
    continuity.mend();
    marker('two', markers.next(20, 1));
    await turn();
    expect(sink.order.slice(-2)).toEqual(['gap', 'proven']);
    expect(sink.proofs).toEqual([20]);
  });

  it.each([
    ['the one before the newest proven marker', 0, []],
    ['the newest proven marker', 1, []],
    ['a later marker', 2, [emptied]],
  ])('coming back to find %s first, admits what that shows', async (_, which, gaps) => {
    const sent = [markers.next(1, 1), markers.next(2, 1), markers.next(3, 1)] as const;
    markers.proved(sent[1]);
    reader(true).marker('first', sent[which] ?? expect.unreachable());
    await turn();
    continuity.mend();
    expect(sink.gaps).toEqual(gaps);
  });

  it.each([
    ['a message', ({ message }: ReturnType<typeof reader>) => message('a')],
    ['a marker that it has just sent', ({ marker }: ReturnType<typeof reader>) => marker('m', markers.next(1, 1))],
  ])('coming back to find %s first, knows that something was lost', async (_, come) => {
    const back = reader(true);
    come(back);
    back.message('b');
    await turn();
    continuity.mend();
    expect(sink.gaps).toEqual([emptied]);
  });

  it('S10 leaves a message that cannot be read in the queue until a restart would know of the gap, and proves nothing after it', async () => {
    const { take, marker } = reader();
    const note = sink.holdNotes();
    take('rubbish', delivery('notifications.info', 'what is this?'));
    marker('one', markers.next(10, 1));
    await turn();
    expect([sink.gaps, acknowledged, sink.proofs]).toEqual([['a message could not be read'], [], []]);
    note();
    await turn();
    expect([acknowledged, sink.proofs]).toEqual([['rubbish'], [10]]);
  });

  it('S10 leaves no marker in the queue while it is broken: the next process would take it for a proven one', async () => {
    const { message, marker } = reader(true);
    message('a');
    marker('theirs', { id: 'other-process.7' });
    marker('ours', markers.next(10, 1));
    await turn();
    expect([continuity.isBroken, [...acknowledged].sort(), sink.proofs]).toEqual([true, ['a', 'ours', 'theirs'], []]);
  });

  it('after a restart, takes any marker of the process before, keeps it until it has a proven one of its own, and wants no second', async () => {
    const { message, marker } = reader(true);
    marker('theirs', { id: 'other-process.7' });
    marker('theirs again', { id: 'other-process.8' });
    message('a');
    await turn();
    expect([...acknowledged].sort()).toEqual(['a', 'theirs again']);
    marker('ours', markers.next(10, 1));
    await turn();
    continuity.mend();
    expect([...acknowledged].sort()).toEqual(['a', 'theirs', 'theirs again']);
    expect([sink.gaps, sink.proofs]).toEqual([[], [10]]);
  });

  it('makes no more than 16 markers wait for their turn, so that they leave room for what they wait for', async () => {
    const { message, marker } = reader();
    const release = sink.hold();
    message('a');
    for (let n = 1; n <= 18; n += 1) marker(`marker-${n}`, markers.next(n, 1));
    expect(acknowledged).toEqual(['marker-17', 'marker-18']);
    release();
    await turn();
    expect(sink.proofs).toEqual(Array.from({ length: 16 }, (_, n) => n + 1));
  });

  it('leaves the connection when more waits to be kept than may, and what it could not take comes again', async () => {
    const { message } = reader();
    const release = sink.hold();
    for (let n = 0; n < mostAtOnce; n += 1) message(`n-${n}`);
    expect(failures).toEqual([]);
    message('one more');
    expect(failures.map(({ message: why }) => why)).toEqual(['more of it waits to be kept than may']);
    release();
    await turn();
    expect(acknowledged).toHaveLength(mostAtOnce);
    expect(acknowledged).not.toContain('one more');
  });

  it('says how much has come since it was last asked', () => {
    const { read, message, marker } = reader();
    expect([read.hasRead, read.takeCount()]).toEqual([false, 0]);
    message('a');
    marker('m', markers.next(1, 1));
    expect([read.hasRead, read.takeCount(), read.takeCount()]).toEqual([true, 2, 0]);
  });
});
