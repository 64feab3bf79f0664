// S10 as a user of RabbitMQ who may do less than everything.

import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/sidecar.ts';
import { text } from '../fakes/amqp.ts';
import { basicMessage, enveloped } from '../fakes/keystone-messages.ts';
import { type BrokerRights, describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { type BusStage, createBusStage, type RunningBus } from './bus-stage.ts';

const patience = { timeout: 300_000 };
const madeAnew = 'its queue was made anew';

describeWithRabbitmq('S10 the rights of the sidecar’s user', () => {
  let rabbitmq: Rabbitmq;
  let stage: BusStage;
  let user: string;
  let users = 0;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);
  beforeEach(async () => {
    stage = createBusStage(rabbitmq);
    await stage.keystone.publish();
    users += 1;
    user = `sidegate-${users}`;
  });
  afterEach(() => stage.close(), 60_000);

  const ours = '^sidegate\\.';
  /** As the documentation says: what is needed, and nothing else. */
  const enough = (): BrokerRights => ({
    configure: ours,
    write: `^(sidegate\\..*|${stage.exchange})$`,
    read: `^(sidegate\\..*|${stage.exchange})$`,
  });
  const withoutWriting = (): BrokerRights => ({ ...enough(), write: ours });
  const url = () => text(`rabbit://${user}:own@127.0.0.1:${rabbitmq.port}/`);
  const add = (rights: BrokerRights) => rabbitmq.addUser(user, 'own', rights);
  const deleted = (id: string): string => enveloped(basicMessage('identity.user.deleted', id));
  const hears = async ({ sink }: RunningBus): Promise<void> => {
    const id = await stage.userDeleted();
    await sink.until(() => sink.about(id).length === 1, 'it is told');
  };

  it('are these, and no others, for all that it does', patience, async () => {
    await add(enough());
    const running = await stage.heard({ transportUrl: url() });
    await hears(running);
    await rabbitmq.closeConnections();
    await running.proof();
    await hears(running);
    const operator = await stage.operator();
    await operator.deleteExchange(stage.exchange);
    await stage.keystone.publish();
    await running.sink.until(() => running.sink.gaps.length === 2, 'a gap');
    await running.proof();
    await hears(running);
  });

  it.each([
    [
      'configure',
      (rights: BrokerRights) => ({ ...rights, configure: '^$' }),
      /refuses access \(403\): our user needs the right to configure sidegate\./,
    ],
    [
      'read',
      (rights: BrokerRights) => ({ ...rights, read: ours }),
      /refuses access \(403\): our user needs the right to read keystone-.* and write sidegate\./,
    ],
  ])('without %s: it is said which one is wanted, and once it is granted the bus is heard', patience, async (_, without, expected) => {
    await add(without(enough()));
    const running = stage.run({ transportUrl: url() });
    expect(await running.problem()).toMatch(expected);
    expect(running.sink.proofs).toEqual([]);
    await rabbitmq.allow(user, enough());
    await running.proof();
    await hears(running);
    expect(running.source.health()).not.toHaveProperty('problem');
  });

  it(
    'to write to the exchange may be missing: the bus is heard and proven all the same, and every new connection is a gap',
    patience,
    async () => {
      await add(withoutWriting());
      const running = await stage.heard({ transportUrl: url() });
      const { sink, source, proof } = running;
      await hears(running);
      await proof();
      expect(source.health()).toMatchObject({ reachable: true });
      expect(source.health()).not.toHaveProperty('problem');
      expect(sink.gaps).toEqual([madeAnew]);

      await rabbitmq.closeConnections();
      await sink.until(() => sink.gaps.length === 2, 'a gap');
      await proof();
      await hears(running);
      expect(sink.gaps).toEqual([madeAnew, madeAnew]);
      // The one that waits for us waits for nobody.
      expect(await rabbitmq.queues()).not.toContain(stage.queueName);
    },
  );

  it('without it, too, nothing is proven before it is kept, and what cannot be read or held is a gap', patience, async () => {
    await add(withoutWriting());
    const { sink, proof } = await stage.heard({ transportUrl: url(), longestQueue: 40 });
    const release = sink.hold();
    await stage.keystone.publish(deleted('held'));
    await sink.until(() => sink.about('held').length === 1, 'it is told');
    // A proof that was on its way may still come.
    const since = sink.proofs.length;
    await stage.keystone.publish('what is this?', ...Array.from({ length: 400 }, (_, n) => deleted(`many-${n}`)));
    await sink.until(() => sink.gaps.includes('its queue was full'), 'a gap');
    const meanwhile = sink.proofs.length - since;
    release();
    await proof();

    expect(meanwhile).toBeLessThanOrEqual(1);
    expect(sink.gaps).toEqual(expect.arrayContaining(['a message could not be read', 'its queue was full']));
  });

  it('without it, too, what waits behind what is told is not proven with it', patience, async () => {
    await add(withoutWriting());
    const { sink, source, proof } = await stage.heard({ transportUrl: url() });
    const release = sink.hold();
    await stage.keystone.publish(...Array.from({ length: 400 }, (_, n) => deleted(`many-${n}`)));
    const publishedAtMs = systemClock.monotonicMs();
    await sink.until(() => sink.telling.now === 256, 'as many as there is room for');
    // Each look at the queue says that it is there.
    for (let looks = 0; looks < 3; looks += 1) {
      const before = source.health().lastAnswerAtMs;
      await sink.until(() => source.health().lastAnswerAtMs !== before, 'another look');
    }
    release();
    await proof();

    const first = sink.proofs.findIndex((through) => through >= publishedAtMs);
    let proofs = 0;
    const before = sink.order.filter((what) => {
      if (what === 'proven') proofs += 1;
      return proofs <= first && what.startsWith('kept ');
    });
    expect(first).toBeGreaterThanOrEqual(0);
    expect(before).toHaveLength(400);
  });

  it('without it, an exchange that is gone is noticed, and bound to again', patience, async () => {
    await add(withoutWriting());
    const running = await stage.heard({ transportUrl: url() });
    await (await stage.operator()).deleteExchange(stage.exchange);
    expect(await running.problem()).toBe(`the exchange ${stage.exchange} is not there`);
    await stage.keystone.publish(deleted('lost'));
    await running.proof();
    await hears(running);

    expect(running.sink.gaps).toEqual([madeAnew, 'the exchange was gone']);
  });

  it('once it is granted, the next connection proves itself by markers again, and a cut is no gap any more', patience, async () => {
    await add(withoutWriting());
    const running = await stage.heard({ transportUrl: url() });
    const { sink, proof } = running;
    await rabbitmq.allow(user, enough());
    await rabbitmq.closeConnections();
    // The next connection finds that it may; the one after it makes the queue that outlives connections.
    await sink.until(() => sink.gaps.length === 3, 'the last gaps');
    await proof();
    await rabbitmq.closeConnections();
    await proof();
    await hears(running);

    expect(sink.gaps).toEqual([madeAnew, madeAnew, madeAnew]);
    expect(await rabbitmq.queues()).toContain(stage.queueName);
  });
});
