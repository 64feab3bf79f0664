// S10 a pool on a real RabbitMQ: three sidecars, one queue. Each message becomes an entry everywhere, whoever dies, and no loss is hidden.

import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { createPoolStage, type Member, type PoolStage } from './pool-stage.ts';

const patience = { timeout: 300_000 };

describeWithRabbitmq('S10 a pool', () => {
  let rabbitmq: Rabbitmq;
  let stage: PoolStage;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);
  beforeEach(() => {
    stage = createPoolStage(rabbitmq);
  });
  afterEach(() => stage.close(), 60_000);

  const unread = 'its queue was made anew, emptied, or overflowed, while nobody read it';
  const three = async (): Promise<readonly [Member, Member, Member]> => {
    await stage.keystone.publish();
    return [await stage.start('one'), await stage.start('two'), await stage.start('three')];
  };
  const others = (than: Member): readonly Member[] => stage.members().filter((one) => one !== than);
  const gapsOf = async (): Promise<readonly (readonly string[])[]> => await Promise.all(stage.members().map((one) => one.gaps()));
  /** Each is here, in one entry and no more: told twice, it is the entry that it was. */
  const onceEach = async (users: readonly string[]): Promise<void> => {
    for (const one of stage.members()) expect([...(await one.killed())].sort()).toEqual([...users].sort());
  };

  it('is read by one, proven on all, and each message is one entry everywhere', patience, async () => {
    await three();
    const reader = await stage.heard();
    const users = await stage.deleted(300);
    await stage.dead(users);
    await stage.heard();

    await onceEach(users);
    expect((await rabbitmq.queues()).filter((name) => name === stage.queueName)).toHaveLength(1);
    expect(await stage.ready()).toBe(0);
    // A queue that was made anew: once, for all of them.
    expect(await gapsOf()).toEqual([[unread], [unread], [unread]]);
    expect(others(reader)).toHaveLength(2);
    for (const one of stage.members()) expect(one.bus.health()).toMatchObject({ reachable: true });
    await stage.until(() => stage.members().every((one) => one.reasons().length === 0), 'nobody is degraded');
  });

  /** Users are deleted all the time, until it is called: answers all of them. */
  const underLoad = (): (() => Promise<readonly string[]>) => {
    const users: string[] = [];
    const over = new AbortController();
    const running = (async () => {
      while (!over.signal.aborted) {
        users.push(...(await stage.deleted(5)));
        await pause(40, undefined, { signal: over.signal }).catch(() => undefined);
      }
    })();
    return async () => {
      over.abort();
      await running;
      return users;
    };
  };
  const isRead = async (than?: Member): Promise<Member> => {
    await stage.until(() => stage.members().some((one) => one !== than && one.hears()), 'somebody reads it');
    return stage.members().find((one) => one !== than && one.hears()) ?? expect.unreachable();
  };

  describe('where nothing was lost there is no gap, and nothing is missed', () => {
    it.each([
      ['is stopped', (one: Member) => one.stop()],
      ['is killed', (one: Member) => one.kill()],
      ['is cut off from the broker', async (one: Member) => one.relay.cut()],
    ])('when who reads it %s under load: the next goes on', patience, async (_, hurt) => {
      await three();
      const first = await stage.heard();
      const stopLoad = underLoad();
      await stage.until(async () => (await first.killed()).length > 20, 'it is under load');
      await hurt(first);
      const second = await isRead(first);
      const seen = (await second.killed()).length;
      await stage.until(async () => (await second.killed()).length > seen + 20, 'the next one reads');
      const users = await stopLoad();
      await stage.dead(users);
      await stage.heard();

      await onceEach(users);
      for (const gaps of await gapsOf()) expect(gaps).toEqual([unread]);
    });

    it('when who reads it is stopped for so long that its connection dies, and goes on', patience, async () => {
      await three();
      const first = await stage.heard();
      const stopLoad = underLoad();
      await stage.until(async () => (await first.killed()).length > 20, 'it is under load');
      first.freeze();
      // Two heartbeats.
      const second = await isRead(first);
      const seen = (await second.killed()).length;
      await stage.until(async () => (await second.killed()).length > seen + 20, 'the next one reads');
      first.thaw();
      const users = await stopLoad();
      await stage.dead(users);
      expect(await stage.heard()).toBe(second);

      await onceEach(users);
      expect(await gapsOf()).toEqual([[unread], [unread], [unread]]);
    });

    it('when it is read by one after the other, and by the first again', patience, async () => {
      await three();
      const readers: Member[] = [];
      for (let n = 0; n < 6; n += 1) {
        const reader = await stage.heard();
        readers.push(reader);
        const users = await stage.deleted(3);
        await stage.dead(users);
        reader.relay.cut();
        await isRead(reader);
      }
      await stage.heard();

      expect(new Set(readers.map(({ name }) => name)).size).toBeLessThan(readers.length);
      expect(await gapsOf()).toEqual([[unread], [unread], [unread]]);
    });

    it('S13 while the log is away: nothing is acknowledged, all are behind, and all have all when it is back', patience, async () => {
      await three();
      await stage.heard();
      stage.log.stop();
      const users = await stage.deleted(40);
      await stage.until(() => stage.members().every((one) => one.reasons().includes('SOURCE_BEHIND(bus)')), 'all are behind');
      await stage.until(() => stage.members().every((one) => !one.hears()), 'it is left to whoever can tell');
      // With the marker that was proven last.
      await stage.until(async () => (await stage.ready()) >= 41, 'they wait in the queue');
      stage.log.start();
      await stage.dead(users);
      await stage.heard();

      await onceEach(users);
      expect(await gapsOf()).toEqual([[unread], [unread], [unread]]);
    });

    it(
      'a message is acknowledged only when the log has what it means: whoever is killed before leaves it to the next',
      patience,
      async () => {
        await three();
        const first = await stage.heard();
        stage.log.hang();
        const users = await stage.deleted(5);
        // It is dead there, durable, and nobody else knows.
        await stage.until(async () => (await first.killed()).length === 5, 'it is kept');
        await first.kill();
        stage.log.start();
        await stage.dead(users);
        await stage.heard();

        await onceEach(users);
        expect(await gapsOf()).toEqual([[unread], [unread]]);
      },
    );

    it('while somebody takes everything and tells nothing all are behind, and when that has gone nothing is missed', patience, async () => {
      const members = await three();
      await stage.heard();
      // As one who hangs, and whose connection stands.
      const dead = await stage.operator();
      await dead.consume(stage.queueName, () => undefined);
      for (const one of members) one.relay.cut();
      const users = await stage.deleted(5);
      await stage.until(() => members.every((one) => one.reasons().includes('SOURCE_BEHIND(bus)')), 'all are behind');
      await stage.until(() => members.some((one) => one.bus.health().problem?.startsWith('nobody tells') ?? false), 'it says so');
      await dead.close();
      await stage.dead(users);
      await stage.heard();

      await onceEach(users);
      expect(await gapsOf()).toEqual([[unread], [unread], [unread]]);
    });
  });

  it('who may not write to the exchange says so, and leaves the queue to those who may', patience, async () => {
    await rabbitmq.addUser('reader', 'secret', { configure: '^sidegate\\.', write: '^sidegate\\.', read: '.*' });
    await stage.keystone.publish();
    const poor = await stage.start('poor', { user: 'reader', password: 'secret' });
    await stage.until(() => /needs the right to write/.test(poor.bus.health().problem ?? ''), 'it says so');
    const rich = await stage.start('rich');
    await stage.heard();
    const users = await stage.deleted(3);
    await stage.dead(users);
    expect(rich.hears()).toBe(true);
  });

  it('where the vhost makes quorum queues, as well', patience, async () => {
    await rabbitmq.addVhost('quorum-pool', 'quorum');
    await stage.close();
    stage = createPoolStage(rabbitmq, { vhost: 'quorum-pool' });
    await three();
    const first = await stage.heard();
    const users = await stage.deleted(20);
    await stage.dead(users);
    await first.kill();
    users.push(...(await stage.deleted(20)));
    await stage.dead(users);
    await stage.heard();

    await onceEach(users);
    expect(await gapsOf()).toEqual([[unread], [unread]]);
  });

  describe('where something may have been lost there is one, on all', () => {
    const isTold = (why: string | RegExp) =>
      stage.until(async () => (await gapsOf()).every((gaps) => gaps.some((gap) => new RegExp(why).test(gap))), 'the gap is told to all');

    it.each([
      ['its bindings are removed', 'its bindings were gone', () => unbound()],
      [
        'the exchange is deleted',
        'the exchange was gone|its bindings were gone',
        async () => {
          await (await stage.operator()).deleteExchange(stage.exchange);
          await stage.keystone.publish();
        },
      ],
      ['its queue is deleted', unread, async () => void (await (await stage.operator()).deleteQueue(stage.queueName))],
      [
        'RabbitMQ is restarted',
        `the exchange was gone|its bindings were gone|${unread}`,
        async () => {
          await rabbitmq.stopApp();
          await rabbitmq.startApp();
          await stage.keystone.publish();
        },
      ],
    ])('when %s, and all say so until everything has been asked about', patience, async (_, why, hurt) => {
      const members = await three();
      await stage.heard();
      const said = new Set<string>();
      await hurt();
      await stage.until(() => {
        for (const one of members) if (one.reasons().includes('GAP')) said.add(one.name);
        return said.size === 3;
      }, 'all say that there is a gap');
      await isTold(why);
      await stage.heard();
      const users = await stage.deleted(3);
      await stage.dead(users);
      await stage.until(() => members.every((one) => one.reasons().length === 0), 'it is over');
      for (const gaps of await gapsOf()) expect(gaps.length).toBeLessThanOrEqual(3);
    });

    it.each([
      ['the bindings, that are there again', 'its bindings were gone', () => unbound()],
      ['the queue, emptied while nobody read it', unread, undefined],
    ])('S13 when who has noticed it by %s is killed before anybody is told: the next one tells', patience, async (_, why, hurt) => {
      await stage.close();
      // It goes on for half of that when nothing can be told.
      stage = createPoolStage(rabbitmq, { maxLagMs: 20_000 });
      await three();
      const first = await stage.heard();
      if (hurt === undefined) {
        // Nobody reads: all are cut off, and what they left is taken away.
        const operator = await stage.operator();
        await operator.consume(stage.queueName, () => undefined);
        for (const one of stage.members()) one.relay.freeze();
        await rabbitmq.closeConnections();
        await stage.until(async () => (await stage.ready()) > 0, 'what was first waits');
        await (await stage.operator()).purgeQueue(stage.queueName);
        await stage.deleted();
        for (const one of stage.members()) one.relay.thaw();
        await isRead();
        stage.log.hang();
      } else {
        stage.log.hang();
        await hurt();
      }
      const noticed = () =>
        stage.members().find((one) => one.telemetry.count('sidegate_news_gaps_total', { source: 'central/bus' }) > (one === first ? 1 : 0));
      await stage.until(() => noticed() !== undefined, 'somebody has noticed');
      const reader = noticed() ?? expect.unreachable();
      // Markers of its new bindings come back meanwhile, unless a message stands before them: none may take the place of what shows the gap.
      const fromMs = hurt === undefined ? 0 : Date.now() + 1_000;
      await stage.until(() => (reader.provenMs() ?? 0) > fromMs, 'they come back');
      await reader.kill();
      stage.log.start();
      await isTold(why);
      await stage.heard();
    });

    it('when more comes than the queue holds while nobody may read it', patience, async () => {
      await stage.close();
      stage = createPoolStage(rabbitmq, { longestQueue: 12 });
      const members = await three();
      await stage.heard();
      stage.log.stop();
      await stage.until(() => members.every((one) => !one.hears()), 'nobody reads');
      const users = await stage.deleted(30);
      stage.log.start();
      await isTold(`${unread}|its queue was full`);
      await stage.dead(users.slice(-11));
      await stage.heard();
      for (const one of members) expect(await one.killed()).not.toContain(users[0]);
    });

    it('when a message cannot be read: it stays in the queue until the log has what it means', patience, async () => {
      await three();
      const first = await stage.heard();
      stage.log.hang();
      await stage.keystone.publish('what is this?');
      await stage.until(() => first.telemetry.count('sidegate_news_ignored_total', { why: 'unreadable' }) === 1, 'it has come');
      await first.kill();
      stage.log.start();
      await isTold('a message could not be read');
      await stage.heard();
      expect(await stage.ready()).toBe(0);
    });

    it(
      'S13 after a restart of all with another log and other journals: the queue remembers who is not known any more',
      patience,
      async () => {
        const members = await three();
        await stage.heard();
        for (const one of members) await one.stop();
        stage.log.recreate();
        await stage.start('four');
        await stage.heard();
        expect(await gapsOf()).toEqual([[unread]]);
      },
    );

    it('and none after a restart of all with their journals', patience, async () => {
      const members = await three();
      await stage.heard();
      for (const one of members) await one.stop();
      const users = await stage.deleted(3);
      for (const { name, journal } of members) await stage.start(name, { journal });
      await stage.dead(users);
      await stage.heard();
      for (const gaps of await gapsOf()) expect(gaps).toEqual([unread]);
    });

    const unbound = async (): Promise<void> => {
      const operator = await stage.operator();
      // All of them, whatever their keys are.
      const names = await rabbitmq.evaluate(
        `[base64:encode(element(3, B)) || B <- rabbit_binding:list_for_destination(rabbit_misc:r(<<"/">>, queue, <<"${stage.queueName}">>))]`,
      );
      for (const [, name] of names.matchAll(/"([^"]*)"/g)) {
        const key = Buffer.from(name ?? '', 'base64').toString();
        await operator.unbindQueue(stage.queueName, stage.exchange, key);
      }
    };
  });
});
