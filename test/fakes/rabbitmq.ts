// A real RabbitMQ for one test, and suites that are skipped aloud where there is none.

import { describe } from 'vitest';
import { whyNoRabbitmqBinary } from './rabbitmq-process.ts';

export { type BrokerRights, type RabbitmqProcess as Rabbitmq, startRabbitmqProcess as startRabbitmq } from './rabbitmq-process.ts';

/** Why there is no RabbitMQ here, or undefined. `npm test` sets SIDEGATE_SKIP_UNIT or installs what is missing. */
export const whyNoRabbitmq: string | undefined = process.env['SIDEGATE_SKIP_UNIT'] ?? whyNoRabbitmqBinary;

/** `describe`, or where there is no RabbitMQ a suite skipped aloud: the reason stands in its title. */
export const describeWithRabbitmq = (title: string, suite: () => void): void => {
  if (whyNoRabbitmq === undefined) describe(title, suite);
  else describe.skip(`${title} (skipped: ${whyNoRabbitmq})`, suite);
};
