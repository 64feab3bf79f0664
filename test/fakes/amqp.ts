// Where a RabbitMQ of the tests is, without files.

import type { AmqpOptions, TextFile } from '../../src/amqp/amqp.ts';

export const inClear: AmqpOptions['tls'] = { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined };

/** Text that is in no file. */
export const text = (content: string): TextFile => ({ read: async () => content });
