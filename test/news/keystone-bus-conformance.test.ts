// Keystone's bus on a real RabbitMQ, as every source of news must be.

import { afterAll, beforeAll } from 'vitest';
import { systemClock } from '../../src/sidecar.ts';
import { newsSourceConformance } from '../conformance/news-source.ts';
import { text } from '../fakes/amqp.ts';
import { keystoneBus, newQueueName } from '../fakes/keystone-bus.ts';
import { basicMessage, enveloped } from '../fakes/keystone-messages.ts';
import { createKeystonePublisher } from '../fakes/keystone-publisher.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';

describeWithRabbitmq('on RabbitMQ', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  newsSourceConformance(
    'Keystone’s bus',
    async () => {
      const queueName = newQueueName();
      const keystone = createKeystonePublisher(rabbitmq);
      await keystone.publish();
      let isStopped = false;
      const start = async (): Promise<void> => {
        if (isStopped) await rabbitmq.startApp();
        isStopped = false;
        // It makes its exchange when it has something to say.
        await keystone.publish();
      };
      return {
        source: () => keystoneBus({ transportUrl: text(rabbitmq.transportUrl), queueName }),
        happen: (id) => keystone.publish(enveloped(basicMessage('identity.user.deleted', id))),
        lose: () => keystone.publish('what is this?'),
        stop: async () => {
          await rabbitmq.stopApp();
          isStopped = true;
        },
        start,
        freeze: () => rabbitmq.freeze(),
        thaw: async () => rabbitmq.thaw(),
        monotonicMs: systemClock.monotonicMs,
        secrets: [rabbitmq.password],
        close: async () => {
          if (isStopped) await start();
          await keystone.close();
        },
      };
    },
    { loses: true },
  );
});
