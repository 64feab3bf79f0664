// A fleet's log in a real RabbitMQ.

import { afterAll, beforeAll } from 'vitest';
import { engineConformance } from '../conformance/engine.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { streamHarness } from './rabbitmq-stage.ts';

describeWithRabbitmq('a RabbitMQ stream', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  engineConformance('a RabbitMQ stream', async () => streamHarness(rabbitmq));
});
