// S10 at a RabbitMQ of two nodes, one of which is down.

import { afterAll, beforeAll, expect, it } from 'vitest';
import { text } from '../fakes/amqp.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { createBusStage } from './bus-stage.ts';

describeWithRabbitmq('S10 Keystone’s bus in a cluster', () => {
  let first: Rabbitmq;
  let second: Rabbitmq;
  beforeAll(async () => {
    first = await startRabbitmq();
    second = await startRabbitmq({ joins: first });
  }, 240_000);
  afterAll(async () => {
    await second?.close();
    await first?.close();
  }, 60_000);

  it('is heard at the node that is left, by another queue, when the one that kept ours is gone, and by that when it is back', {
    timeout: 300_000,
  }, async () => {
    // Keystone is at the other node.
    const stage = createBusStage(second);
    try {
      await stage.keystone.publish();
      // The first is ours: it is asked first, and keeps our queue.
      const transportUrl = text(
        `rabbit://${[first, second].map(({ user, password, port }) => `${user}:${password}@127.0.0.1:${port}`).join(',')}/`,
      );
      const early = await stage.heard({ transportUrl: text(first.transportUrl) });
      await early.stop();
      const { sink, proof } = await stage.heard({ transportUrl });
      const before = await stage.userDeleted();
      await sink.until(() => sink.about(before).length === 1, 'it is told');
      await first.kill();
      await proof();
      const meanwhile = await stage.userDeleted();
      await sink.until(() => sink.about(meanwhile).length === 1, 'it is told by the node that is left');
      const gaps = sink.gaps.length;
      await first.start();
      await second.closeConnections();
      await proof();
      const after = await stage.userDeleted();
      await sink.until(() => sink.about(after).length === 1, 'it is told');

      expect(gaps).toBe(1);
      expect(sink.gaps).toHaveLength(2);
      expect(sink.gaps).toContain('it is another queue than the last');
      expect(sink.about(before)).toHaveLength(1);
      expect(sink.about(meanwhile)).toHaveLength(1);
    } finally {
      await stage.close();
    }
  });
});
