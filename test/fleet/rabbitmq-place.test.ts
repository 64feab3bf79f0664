// What is said of a RabbitMQ without streams: by the words of one, as there are few left to ask.

import { expect, it } from 'vitest';
import { amqpErrorOf } from '../../src/amqp/amqp-error.ts';
import type { AmqpLink } from '../../src/amqp/amqp-link.ts';
import { ensureStream } from '../../src/fleet/rabbitmq-place.ts';

const server = 'RabbitMQ at host:5672';
const coded = (code: number, words: string): Error => Object.assign(new Error(words), { code });

it('one that is older than streams is said to be', async () => {
  const words = `Operation failed: QueueDeclare; 406 (PRECONDITION-FAILED) with message "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 's' in vhost '/': "unsupported queue type 'stream'""`;
  const refused = amqpErrorOf(server, coded(406, words));
  const link = { server, ask: () => Promise.reject(refused) } as unknown as AmqpLink;
  const making = ensureStream(link, { stream: 's', retentionMs: 1_000, segmentBytes: 1_000 });
  await expect(making).rejects.toThrow(`${server} has no streams: those begin with RabbitMQ 3.9`);
});

it('one whose feature flag is disabled closes the connection, and that is said', () => {
  const words = `Connection closed: 541 (INTERNAL-ERROR) with message "INTERNAL_ERROR - Cannot declare a queue 'queue 's' in vhost '/'' of type 'rabbit_stream_queue' on node 'a@b': the corresponding feature flag is disabled"`;
  expect(amqpErrorOf(server, coded(541, words)).message).toBe(`${server} has no queues of that type: their feature flag is disabled (541)`);
  expect(amqpErrorOf(server, coded(541, 'Connection closed: 541')).message).toBe(`${server} failed (541)`);
});

it('a retention of a part of a second is a second', async () => {
  const asked: unknown[] = [];
  const channel = { assertQueue: async (...given: unknown[]) => void asked.push(...given) };
  const link = { server, ask: (question: (of: unknown) => Promise<unknown>) => question(channel) } as unknown as AmqpLink;
  expect(await ensureStream(link, { stream: 's', retentionMs: 1_200, segmentBytes: 5_000 })).toBeUndefined();
  expect(asked).toEqual([
    's',
    { durable: true, arguments: { 'x-queue-type': 'stream', 'x-max-age': '2s', 'x-stream-max-segment-size-bytes': 5_000 } },
  ]);
});
