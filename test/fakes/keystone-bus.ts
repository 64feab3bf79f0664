// Keystone's bus at a broker of the tests, as a source of news.

import { randomBytes } from 'node:crypto';
import type { TextFile } from '../../src/amqp/amqp.ts';
import { busQueueName } from '../../src/news/bus/queue.ts';
import { createKeystoneBus, type KeystoneBusOptions } from '../../src/news/keystone-bus.ts';
import type { Logger, NewsSource } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { inClear } from './amqp.ts';
import { published } from './keystone-messages.ts';

/** A queue name that no other test has. */
export function newQueueName(): string {
  return busQueueName({ sidecar: 'test', issuer: 'central', journal: randomBytes(8).toString('hex') });
}

/** A bus with Keystone's own defaults, over the real clock. */
export function keystoneBus(options: Partial<KeystoneBusOptions> & { readonly transportUrl: TextFile }, log: Logger = silent): NewsSource {
  return createKeystoneBus(
    {
      issuer: 'central',
      tls: inClear,
      exchange: published.exchange,
      topics: ['notifications'],
      declareExchange: 'never',
      queueName: newQueueName(),
      maxLagMs: 10_000,
      ...options,
    },
    { clock: systemClock, log },
  );
}

const silent: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined };
