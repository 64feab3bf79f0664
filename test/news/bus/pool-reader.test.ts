// What a reader of a shared queue makes of deliveries, one by one, and above all of the first: no broker is needed for the order of things.

import { beforeEach, describe, expect, it } from 'vitest';
import type { AmqpError } from '../../../src/amqp/amqp-error.ts';
import type { Delivery } from '../../../src/amqp/amqp-link.ts';
import { Continuity } from '../../../src/news/bus/continuity.ts';
import { Keeping } from '../../../src/news/bus/keeping.ts';
import { Markers, type Sent } from '../../../src/news/bus/markers.ts';
import { PoolReader } from '../../../src/news/bus/pool-reader.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { basicMessage, enveloped } from '../../fakes/keystone-messages.ts';
import { createNewsSink, type FakeNewsSink } from '../../fakes/news-sink.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

const prefix = 'sidegate.ours.';
const ourKey = `${prefix}1`;
const lost = 'its queue was made anew, emptied, or overflowed, while nobody read it';

function delivery(routingKey: string, body: string, messageId?: string): Delivery {
  const properties = { messageId } as Delivery['properties'];
  return {
    content: Buffer.from(body),
    fields: { deliveryTag: 0, redelivered: false, exchange: 'e', routingKey, consumerTag: '' },
    properties,
  };
}

describe('S10 a reader of a pool', () => {
  let sink: FakeNewsSink;
  let markers: Markers;
  let continuity: Continuity;
  let acknowledged: string[];
  let adopted: string[];
  let discarded: string[];
  let proven: Sent[];
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  beforeEach(() => {
    sink = createNewsSink();
    markers = new Markers();
    continuity = new Continuity(sink);
    [acknowledged, adopted, discarded, proven] = [[], [], [], []];
  });

  function reader() {
    const failures: AmqpError[] = [];
    const keeping = new Keeping({ clock: createFakeClock(), sink, signal: new AbortController().signal, random: () => 0 });
    const read = new PoolReader({
      sink,
      log: createFakeTelemetry().log,
      keeping,
      markers,
      continuity,
      keyPrefix: prefix,
      isKnown: (journal) => journal === 'known' || journal === 'us',
      found: ({ markerKey, isProven }) => (isProven ? adopted : discarded).push(markerKey),
      arrived: ({ bindings }) => bindings === 1,
      proven: (sent) => proven.push(sent),
      fail: (error) => failures.push(error),
    });
    const take = (name: string, one: Delivery): void => read.take(one, () => acknowledged.push(name));
    return {
      read,
      take,
      message: (id: string) => take(id, delivery('notifications.info', enveloped(basicMessage('identity.user.deleted', id)))),
      marker: (name: string, { id }: Pick<Sent, 'id'>, key = ourKey) => take(name, delivery(key, '{}', id)),
    };
  }
  const ours = (atMs: number, isWhole = true, bindings = 1): Sent => markers.next(atMs, bindings, { by: 'us', isWhole });

  it('takes over from the marker that the one before has proven, and keeps it until it has one of its own', async () => {
    const { marker, message } = reader();
    marker('theirs', { id: 'p.7.known.whole' }, `${prefix}theirs`);
    message('a');
    await turn();
    expect([adopted, continuity.isBroken, acknowledged]).toEqual([[`${prefix}theirs`], false, ['a']]);
    const sent = ours(10);
    marker('ours', sent);
    expect([sink.proofs, proven, acknowledged]).toEqual([[10], [sent], ['a', 'theirs']]);
  });

  it.each([
    ['a message', 'notifications.info', undefined],
    ['a marker of who had missed something', ourKey, 'p.7.known'],
    ['a marker of whom the log does not know', ourKey, 'p.7.stranger.whole'],
    ['a marker for other topics', 'sidegate.others.1', 'p.7.known.whole'],
    ['a question whether anybody reads', 'sidegate.ours', 'p.0'],
  ])('finds %s first: something was missed, and that is left to be found', async (_, key, id) => {
    const { take, marker } = reader();
    const body = id === undefined ? enveloped(basicMessage('identity.user.deleted', 'first')) : '{}';
    take('first', delivery(key, body, id));
    await turn();
    expect([continuity.isBroken, adopted, acknowledged]).toEqual([true, [], []]);
    expect(discarded).toEqual(id === 'p.7.stranger.whole' ? [key] : []);
    // Told to nobody yet.
    const note = sink.holdNotes();
    continuity.mend();
    expect([continuity.isBroken, continuity.isWhole, sink.gaps]).toEqual([false, false, [lost]]);
    marker('not yet', ours(10, continuity.isWhole));
    expect([sink.proofs, proven, acknowledged]).toEqual([[10], [], ['not yet']]);
    note();
    await turn();
    const sent = ours(20, continuity.isWhole);
    marker('whole', sent);
    expect([proven, acknowledged]).toEqual([[sent], ['not yet', 'first']]);
  });

  it('lets no marker that was sent before something was missed take the place of what stands first', async () => {
    const { marker } = reader();
    marker('theirs', { id: 'p.7.known.whole' });
    const early = ours(10);
    continuity.break('something');
    marker('early', early);
    expect([sink.proofs, proven, acknowledged]).toEqual([[], [], ['early']]);
    await turn();
    continuity.mend();
    marker('of other bindings', ours(20, true, 0));
    expect([proven, acknowledged]).toEqual([[], ['early', 'of other bindings']]);
  });

  it('proves nothing before what came before is told, and takes markers of others for nothing but what they are', async () => {
    const { marker, message } = reader();
    marker('theirs', { id: 'p.7.known.whole' });
    const release = sink.hold();
    message('a');
    marker('ours', ours(10));
    marker('theirs too', { id: 'p.8.known.whole' });
    marker('a question', { id: 'q.0' }, 'sidegate.ours');
    await turn();
    expect([sink.proofs, acknowledged]).toEqual([[], ['theirs too', 'a question']]);
    release();
    await turn();
    expect([sink.proofs, acknowledged]).toEqual([[10], ['theirs too', 'a question', 'a', 'theirs']]);
  });
});
