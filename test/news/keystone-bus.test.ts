// S10 on a real RabbitMQ: every way in which the bus can break, and what is said of it.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NewsSource } from '../../src/ports.ts';
import { basicMessage, captured, capturedActions, enveloped } from '../fakes/keystone-messages.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { type BusStage, createBusStage } from './bus-stage.ts';

/** Of a test whose broker starts or dies within it. */
const patience = { timeout: 300_000 };

describeWithRabbitmq('S10 Keystone’s bus', () => {
  let rabbitmq: Rabbitmq;
  let stage: BusStage;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);
  beforeEach(() => {
    stage = createBusStage(rabbitmq);
  });
  afterEach(() => stage.close(), 60_000);

  const deleted = (id: string): string => enveloped(basicMessage('identity.user.deleted', id));
  const madeAnew = 'its queue was made anew';
  /** It says so with the look that follows a marker, which may prove a moment before. */
  const isWell = (source: NewsSource) =>
    expect.poll(() => source.health(), { timeout: 60_000 }).toEqual({ reachable: true, lastAnswerAtMs: expect.any(Number) });
  /** Everything of a queue that RabbitMQ tells. */
  const ready = async (queue = stage.queueName): Promise<number> => (await (await stage.operator()).checkQueue(queue)).messageCount;

  describe('what it hears', () => {
    it('is everything that Keystone publishes, and Keystone’s own queue is left to whoever reads it', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const before = await stage.keystone.inItsOwnQueue();
      const actions = capturedActions('cadf');
      const bodies = actions.flatMap((action) => captured('cadf', action).bodies);
      await stage.keystone.publish(...bodies);
      await sink.until(() => sink.kept.length + sink.ignoredAs.length >= bodies.length, 'all have come');
      await proof();

      expect(new Set(sink.kept.map((news) => news.event))).toContain('identity.OS-TRUST:trust.deleted');
      expect(sink.ignoredAs.every((why) => why === 'irrelevant')).toBe(true);
      expect(sink.kept.length + sink.ignoredAs.length).toBe(bodies.length);
      expect(await stage.keystone.inItsOwnQueue()).toBe(before + bodies.length);
      expect(sink.gaps).toEqual([madeAnew]);
    });

    it('may be of several topics, and of no other', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard({ topics: ['notifications', 'audit'] });
      const operator = await stage.operator();
      for (const [key, id] of [
        ['audit.info', 'a'],
        ['audit.error', 'b'],
        ['other.info', 'c'],
        ['notifications.info', 'd'],
      ] as const) {
        operator.publish(stage.exchange, key, Buffer.from(deleted(id)));
      }
      await sink.until(() => sink.about('d').length === 1, 'the last is told');
      await proof();

      expect(sink.kept.flatMap((news) => news.about)).toEqual(['a', 'd']);
    });

    it('is proven each second while Keystone says nothing: silence alone is nothing', patience, async () => {
      await stage.keystone.publish();
      const { sink, source } = await stage.heard();
      await sink.until(() => sink.proofs.length >= 4, 'four proofs');

      const apart = sink.proofs.slice(1).map((proof, n) => proof - (sink.proofs[n] ?? 0));
      expect(Math.min(...apart)).toBeGreaterThan(900);
      expect(sink.told).toEqual([]);
      expect(sink.gaps).toEqual([madeAnew]);
      await isWell(source);
    });

    it('is told 256 at a time; what one waits for keeps no other from being told', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const release = sink.hold();
      const ids = Array.from({ length: 400 }, (_, n) => `many-${n}`);
      await stage.keystone.publish(...ids.map(deleted));
      await sink.until(() => sink.telling.now >= 235, 'as many as there is room for');
      const proven = sink.proofs.length;
      release();
      await sink.until(() => sink.kept.length === ids.length, 'all are kept');
      await proof();

      expect(sink.telling.most).toBeLessThanOrEqual(256);
      expect(proven).toBeGreaterThan(0);
      expect(sink.kept.flatMap((news) => news.about).sort()).toEqual([...ids].sort());
      expect(sink.gaps).toEqual([madeAnew]);
    });

    it('comes twice where it was published twice, and is told once', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const [one, two] = [deleted('one'), deleted('two')];
      await stage.keystone.publish(one, two, one, two, one);
      await sink.until(() => sink.ignoredAs.length === 3, 'three are duplicates');
      await proof();

      expect(sink.told.map((news) => news.about)).toEqual([['one'], ['two']]);
      expect(sink.ignoredAs).toEqual(['duplicate', 'duplicate', 'duplicate']);
      expect(await ready()).toBe(0);
    });

    it.each([
      ['no JSON', 'what is this?'],
      ['of a version that we do not know', enveloped(basicMessage('identity.user.deleted', 'x'), '3.0')],
      ['longer than any of Keystone’s', `${enveloped(basicMessage('identity.user.deleted', 'x'))}${' '.repeat(1024 ** 2)}`],
    ])('a message that cannot be read (%s) is a gap, is set aside, and keeps nobody waiting', patience, async (_, body) => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      await stage.keystone.publish(body, deleted('next'));
      await sink.until(() => sink.about('next').length === 1, 'the next is told');
      await proof();

      expect(sink.gaps).toEqual([madeAnew, 'a message could not be read']);
      expect(sink.ignoredAs).toEqual(['unreadable']);
    });
  });

  describe('where the exchange is not there', () => {
    it('it waits for Keystone to make it, and says so', patience, async () => {
      const { sink, source, problem, proof } = stage.run();
      expect(await problem()).toBe(`the exchange ${stage.exchange} is not there`);
      await stage.keystone.publish(deleted('before'));
      await proof();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(sink.gaps).toEqual([madeAnew]);
      await isWell(source);
    });

    it('as its name is wrong, it hears nothing, proves nothing, and names it', patience, async () => {
      await stage.keystone.publish();
      const { sink, problem } = stage.run({ exchange: 'keystoen' });
      expect(await problem()).toBe('the exchange keystoen is not there');
      await stage.userDeleted();

      expect(sink.proofs).toEqual([]);
      expect(sink.told).toEqual([]);
    });

    it.each(['transient', 'durable'] as const)(
      'it is made %s where that is wanted, and Keystone can use it',
      patience,
      async (declareExchange) => {
        const { sink } = await stage.heard({ declareExchange });
        const operator = await stage.operator();
        await operator.assertExchange(stage.exchange, 'topic', { durable: declareExchange === 'durable' });
        operator.publish(stage.exchange, 'notifications.info', Buffer.from(deleted('first')));
        await sink.until(() => sink.about('first').length === 1, 'it is told');
      },
    );

    it('one that is there is used as it is, whatever would be made', patience, async () => {
      await stage.keystone.publish();
      const { sink } = await stage.heard({ declareExchange: 'durable' });
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');
    });
  });

  describe('where nothing was missed there is no gap', () => {
    it('after the connection was cut: what was published meanwhile is told, what was kept is not told again', patience, async () => {
      await stage.keystone.publish();
      const { sink, source, proof } = await stage.heard();
      const before = await stage.userDeleted();
      await sink.until(() => sink.about(before).length === 1, 'it is told');
      await proof();
      for (let n = 0; n < 3; n += 1) {
        await rabbitmq.closeConnections();
        const id = await stage.userDeleted();
        await sink.until(() => sink.about(id).length === 1, 'it is told');
        await proof();
      }

      expect(sink.told).toHaveLength(4);
      expect(sink.gaps).toEqual([madeAnew]);
      await isWell(source);
    });

    it('after a restart of the sidecar: what was published meanwhile is told', patience, async () => {
      await stage.keystone.publish();
      const first = await stage.heard();
      await first.stop();
      const ids = [await stage.userDeleted(), await stage.userDeleted()];
      const second = await stage.heard();
      await second.stop();
      const third = await stage.heard();
      ids.push(await stage.userDeleted());
      await third.sink.until(() => third.sink.told.length === 1, 'it is told');

      expect(second.sink.kept.flatMap((news) => news.about)).toEqual(ids.slice(0, 2));
      expect(third.sink.kept.flatMap((news) => news.about)).toEqual(ids.slice(2));
      expect([first.sink.gaps, second.sink.gaps, third.sink.gaps]).toEqual([[madeAnew], [], []]);
    });

    it('after the connection was cut while news waited to be kept: told once, kept once, acknowledged', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const release = sink.hold();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');
      await rabbitmq.closeConnections();
      await sink.until(() => sink.ignoredAs.length === 1, 'it has come again');
      release();
      await proof();

      expect(sink.about(id)).toHaveLength(1);
      expect(sink.kept).toHaveLength(1);
      expect(sink.ignoredAs).toEqual(['duplicate']);
      expect(sink.gaps).toEqual([madeAnew]);
      expect(await ready()).toBe(0);
    });

    it('while RabbitMQ blocks who publishes: it says so, proves nothing, and goes on afterwards', patience, async () => {
      await stage.keystone.publish();
      const { sink, source, problem, proof } = await stage.heard();
      await rabbitmq.block(true);
      try {
        expect(await problem()).toBe('RabbitMQ has blocked who publishes: it is short of memory or disk');
      } finally {
        await rabbitmq.block(false);
      }
      await proof();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(sink.gaps).toEqual([madeAnew]);
      await isWell(source);
    });

    it('where the vhost makes quorum queues, as well', patience, async () => {
      await rabbitmq.addVhost('quorum', 'quorum');
      const own = createBusStage(rabbitmq, { vhost: 'quorum' });
      try {
        await own.keystone.publish();
        const { sink, proof } = await own.heard();
        await rabbitmq.closeConnections();
        const id = await own.userDeleted();
        await sink.until(() => sink.about(id).length === 1, 'it is told');
        await proof();

        expect(
          await rabbitmq.evaluate('[amqqueue:get_type(Q) || Q <- rabbit_amqqueue:list(<<"quorum">>), amqqueue:is_quorum(Q)]'),
        ).toContain('quorum');
        expect(sink.gaps).toEqual([madeAnew]);
      } finally {
        await own.close();
      }
    });
  });

  describe('where something may have been missed there is one', () => {
    it.each([
      ['its process', () => rabbitmq.restart()],
      [
        'its process, which was killed',
        async () => {
          await rabbitmq.kill();
          await rabbitmq.start();
        },
      ],
      [
        'its application',
        async () => {
          await rabbitmq.stopApp();
          await rabbitmq.startApp();
        },
      ],
    ])('after a restart of RabbitMQ (%s), which drops the exchange and our bindings', patience, async (_, restart) => {
      await stage.keystone.publish();
      const { sink, source, problem, proof } = await stage.heard();
      const before = await stage.userDeleted();
      await sink.until(() => sink.about(before).length === 1, 'it is told');
      await restart();
      expect(await problem()).not.toBe('');
      // Keystone is the first to come back, and nobody is bound.
      await stage.userDeleted();
      await proof();
      const after = await stage.userDeleted();
      await sink.until(() => sink.about(after).length === 1, 'what comes later is told');

      expect(sink.gaps).toHaveLength(2);
      // What was made within its last seconds RabbitMQ has not written down when it is killed: our queue, too.
      expect(sink.gaps[1]).toMatch(
        /^(the exchange was gone|its bindings were gone|its queue was (emptied, or overflowed, while nobody read it|made anew))$/,
      );
      await isWell(source);
    });

    it(
      'after a restart of RabbitMQ whose exchange is durable: what it kept on disk is told, and it is a gap all the same',
      patience,
      async () => {
        const own = createBusStage(rabbitmq, { durable: true });
        try {
          // The operator's queue of that name is another test's, and not durable.
          const operator = await own.operator();
          await operator.deleteQueue('notifications.info');
          await own.keystone.publish();
          const first = await own.heard();
          await first.stop();
          const waited = await own.userDeleted();
          await rabbitmq.restart();
          const { sink } = await own.heard();

          expect(sink.about(waited)).toHaveLength(1);
          expect(sink.gaps).toEqual(['its queue was emptied, or overflowed, while nobody read it']);
          await (await own.operator()).deleteQueue('notifications.info');
        } finally {
          await own.close();
        }
      },
    );

    it('S13 a sidecar that ends before that is noted leaves it to be found by the next one', patience, async () => {
      await stage.keystone.publish();
      const first = await stage.heard();
      const note = first.sink.holdNotes();
      const operator = await stage.operator();
      await operator.unbindQueue(stage.queueName, stage.exchange, 'notifications.info');
      await operator.unbindQueue(stage.queueName, stage.exchange, stage.markerKey);
      await stage.keystone.publish(deleted('lost'));
      await first.sink.until(() => first.sink.missings === 2, 'its bindings are missed');
      await first.stop();
      const second = await stage.heard();

      expect(first.sink.gaps).toEqual([madeAnew]);
      expect(second.sink.gaps).toEqual(['its bindings were gone']);
      note();
    });

    it('when the exchange is deleted and Keystone makes it again', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const operator = await stage.operator();
      await operator.deleteExchange(stage.exchange);
      await stage.keystone.publish(deleted('lost'));
      await sink.until(() => sink.gaps.length === 2, 'a gap');
      await proof();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(sink.about('lost')).toEqual([]);
      expect(sink.gaps[1]).toMatch(/^(the exchange was gone|its bindings were gone)$/);
    });

    it('told when it is bound again and not before, whichever markers from before come late', patience, async () => {
      await stage.keystone.publish();
      const { sink, problem, proof } = await stage.heard();
      const release = sink.hold();
      await stage.keystone.publish(...Array.from({ length: 400 }, (_, n) => deleted(`many-${n}`)));
      await sink.until(() => sink.telling.now >= 235, 'as many as there is room for');
      // Markers wait behind what there is no room for.
      const before = await ready();
      await vi.waitFor(async () => expect(await ready()).toBeGreaterThanOrEqual(before + 2), { timeout: 60_000 });
      await (await stage.operator()).deleteExchange(stage.exchange);
      expect(await problem()).toBe(`the exchange ${stage.exchange} is not there`);
      release();
      await sink.until(() => sink.kept.length === 400, 'all are kept');
      await vi.waitFor(async () => expect(await ready()).toBe(0), { timeout: 60_000 });
      expect(sink.gaps).toEqual([madeAnew]);
      await stage.keystone.publish();
      await proof();

      expect(sink.gaps).toEqual([madeAnew, 'the exchange was gone']);
    });

    it('when our bindings are removed', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const operator = await stage.operator();
      for (const key of ['notifications.info', stage.markerKey]) await operator.unbindQueue(stage.queueName, stage.exchange, key);
      await stage.keystone.publish(deleted('lost'));
      await sink.until(() => sink.gaps.length === 2, 'a gap');
      await proof();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(sink.about('lost')).toEqual([]);
      expect(sink.gaps).toEqual([madeAnew, 'its bindings were gone']);
    });

    it(
      'when our bindings are removed and somebody takes everything that the exchange gets, so that no marker is returned',
      patience,
      async () => {
        await stage.keystone.publish();
        const { sink } = await stage.heard();
        const operator = await stage.operator();
        const { queue } = await operator.assertQueue('', { exclusive: true });
        await operator.bindQueue(queue, stage.exchange, '#');
        for (const key of ['notifications.info', stage.markerKey]) await operator.unbindQueue(stage.queueName, stage.exchange, key);
        await sink.until(() => sink.gaps.length === 2, 'a gap');
        const id = await stage.userDeleted();
        await sink.until(() => sink.about(id).length === 1, 'it is told');

        expect(sink.gaps).toEqual([madeAnew, 'its markers did not come back']);
      },
    );

    it('when our queue is deleted: it is made again', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      await (await stage.operator()).deleteQueue(stage.queueName);
      await sink.until(() => sink.gaps.length === 2, 'a gap');
      await proof();
      const id = await stage.userDeleted();
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(sink.gaps).toEqual([madeAnew, madeAnew]);
    });

    it('when our queue is emptied while nobody reads it, and when it was deleted', patience, async () => {
      await stage.keystone.publish();
      const first = await stage.heard();
      await first.stop();
      await stage.userDeleted();
      const operator = await stage.operator();
      await operator.purgeQueue(stage.queueName);
      const second = await stage.heard();
      await second.stop();
      await stage.userDeleted();
      await operator.purgeQueue(stage.queueName);
      const waited = await stage.userDeleted();
      const third = await stage.heard();
      await third.stop();
      await operator.deleteQueue(stage.queueName);
      const fourth = await stage.heard();

      const emptied = 'its queue was emptied, or overflowed, while nobody read it';
      expect([second.sink.gaps, third.sink.gaps, fourth.sink.gaps]).toEqual([[emptied], [emptied], [madeAnew]]);
      for (const { sink } of [first, second, third, fourth]) expect(sink.order.indexOf('gap')).toBeLessThan(sink.order.indexOf('proven'));
      expect(third.sink.kept.flatMap((news) => news.about)).toEqual([waited]);
    });

    it('when our queue is emptied while it is read and more waits than is told at once', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard();
      const release = sink.hold();
      await stage.keystone.publish(...Array.from({ length: 400 }, (_, n) => deleted(`many-${n}`)));
      await sink.until(() => sink.telling.now >= 235, 'as many as there is room for');
      // Two markers must wait among them: what is emptied between two of them goes unnoticed.
      const operator = await stage.operator();
      const before = await ready();
      await vi.waitFor(async () => expect(await ready()).toBeGreaterThanOrEqual(before + 2), { timeout: 60_000 });
      const { messageCount } = await operator.purgeQueue(stage.queueName);
      release();
      await sink.until(() => sink.gaps.length === 2, 'a gap');
      await proof();

      expect(messageCount).toBeGreaterThan(100);
      expect(sink.gaps).toEqual([madeAnew, 'its markers did not come back']);
    });

    it.each([
      // The next marker is counted, too.
      { over: -2, gaps: [] },
      { over: 0, gaps: ['its queue was full'] },
      { over: 1, gaps: ['its queue was full'] },
      { over: 30, gaps: ['its queue was full'] },
    ])('when $over more messages than our queue holds came while nobody read it: $gaps', patience, async ({ over, gaps }) => {
      const longestQueue = 12;
      await stage.keystone.publish();
      const first = await stage.heard({ longestQueue });
      await first.stop();
      const left = await ready();
      const ids = Array.from({ length: longestQueue - left + over }, (_, n) => `many-${n}`);
      await stage.keystone.publish(...ids.map(deleted));
      const { sink } = await stage.heard({ longestQueue });

      expect(left).toBeGreaterThanOrEqual(1);
      expect(sink.gaps).toEqual(gaps);
      expect(sink.kept.flatMap((news) => news.about)).toEqual(ids.slice(-longestQueue));
    });

    it('when our queue overflows while it is read', patience, async () => {
      await stage.keystone.publish();
      const { sink, proof } = await stage.heard({ longestQueue: 50 });
      const release = sink.hold();
      await stage.keystone.publish(...Array.from({ length: 400 }, (_, n) => deleted(`many-${n}`)));
      await sink.until(() => sink.gaps.includes('its queue was full'), 'a gap');
      release();
      // What had come before is kept by then. How many that are is RabbitMQ's affair: it hands on less while its reader lags behind.
      await proof();

      expect(sink.telling.now).toBe(0);
      expect(sink.kept.length).toBeGreaterThan(0);
      expect(sink.kept.length).toBeLessThan(400);
    });
  });

  describe('whose queue it is', () => {
    it('nothing is proven while another connection of ours still has it, and nothing is missed when that has gone', patience, async () => {
      await stage.keystone.publish();
      const first = await stage.heard();
      await first.stop();
      // As a connection that died and is not known to be dead: it takes, and never tells.
      const dead = await stage.operator();
      await dead.consume(stage.queueName, () => undefined);
      const { sink, source, problem, proof } = stage.run({ maxLagMs: 60_000 });
      const id = await stage.userDeleted();
      expect(await problem()).toBe('another connection reads its queue: one of ours that is dead, or another sidecar with its journal');
      expect(sink.order).toEqual([]);
      await dead.close();
      await sink.until(() => sink.about(id).length === 1, 'it is told');
      await proof();

      expect(sink.gaps).toEqual([]);
      await isWell(source);
    });
  });
});
