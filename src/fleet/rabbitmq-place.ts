// The stream in RabbitMQ: made, or found as somebody else has made it.

import { AmqpError } from '../amqp/amqp-error.ts';
import type { AmqpLink, Publisher } from '../amqp/amqp-link.ts';

/** The stream that is wanted. */
export interface StreamPlace {
  readonly stream: string;
  /** For at least so long each record is kept. */
  readonly retentionMs: number;
  /** RabbitMQ drops whole segments of this size: so much more may be kept. */
  readonly segmentBytes: number;
}

/** Header of a delivery, and argument of a reading: the position in the stream. */
export const streamOffset = 'x-stream-offset';

/** Settings that only a stream has: whoever made one otherwise in one of them has made a stream. */
const settingsOfStreams: ReadonlySet<string> = new Set(['x-max-age', 'x-stream-max-segment-size-bytes', 'x-stream-filter-size-bytes']);

/**
 * Makes the stream where there is none. Answers what is not as wanted of one that is there, in words for people. Throws AmqpError where
 * it cannot be used, with the reason in words.
 */
export async function ensureStream(link: AmqpLink, place: StreamPlace): Promise<string | undefined> {
  const { stream, retentionMs, segmentBytes } = place;
  const make = {
    'x-queue-type': 'stream',
    'x-max-age': `${Math.ceil(retentionMs / 1_000)}s`,
    'x-stream-max-segment-size-bytes': segmentBytes,
  };
  try {
    await link.ask((channel) => channel.assertQueue(stream, { durable: true, arguments: make }));
    return undefined;
  } catch (error) {
    if (!(error instanceof AmqpError)) throw error;
    if (error.replyCode === 406) return await asItIs(link, stream, error);
    if (error.replyCode === 403) return await asItIsTold(link, stream, error);
    throw error.replyCode === 541 ? noStreams(link, error) : error;
  }
}

/**
 * Throws AmqpError where our user may not append, or not read, or the stream cannot be read as one. Appends nothing: what is sent has a
 * key that no queue has, and comes back.
 */
export async function ensureRights(link: AmqpLink, publisher: Publisher, stream: string): Promise<void> {
  await granted('write amq.default', publisher.publish('', `${stream}.nobody.${nobody}`, 'may we'));
  const reading = link.consume(stream, 1, () => undefined, { [streamOffset]: 'next' });
  await (await granted(`read ${stream}`, reading)).stop();
}

const nobody = 'b2b1b6b0';

/** One of that name is there, and is another. */
async function asItIs(link: AmqpLink, stream: string, refusal: AmqpError): Promise<string> {
  const said = refusal.cause instanceof Error ? refusal.cause.message : '';
  if (/invalid arg|invalid property|unsupported/i.test(said)) throw noStreams(link, refusal);
  const setting = /inequivalent arg '(?<setting>[^']*)'/.exec(said)?.groups?.['setting'];
  if (setting === 'x-queue-type' || setting === 'durable') throw noStream(link, stream, refusal);
  await link.ask((channel) => channel.checkQueue(stream));
  const how = setting !== undefined && settingsOfStreams.has(setting) ? ` (${setting})` : '';
  return `the stream ${stream} was made otherwise${how}: it may keep records for a shorter time than wanted`;
}

/** We may not make it: somebody else may have. */
async function asItIsTold(link: AmqpLink, stream: string, refusal: AmqpError): Promise<string> {
  try {
    await link.ask((channel) => channel.checkQueue(stream));
  } catch (error) {
    if (!(error instanceof AmqpError) || error.replyCode !== 404) throw error;
    const message = `${refusal.message}: there is no stream ${stream}, and to make it our user needs the right to configure it`;
    throw new AmqpError(message, { replyCode: 403, cause: refusal });
  }
  return `without the right to configure ${stream} nobody can tell here for how long it keeps records`;
}

/** What has that name cannot carry a log. */
export function noStream(link: AmqpLink, stream: string, cause?: unknown): AmqpError {
  return new AmqpError(`${link.server} has a queue ${stream} that is not a stream`, { cause });
}

function noStreams(link: AmqpLink, cause: unknown): AmqpError {
  return new AmqpError(`${link.server} has no streams: it needs RabbitMQ 3.9 or newer, with the feature flag stream_queue`, { cause });
}

/** Says which right our user lacks, where that is what failed. */
async function granted<Value>(right: string, answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof AmqpError) || error.replyCode !== 403) throw error;
    throw new AmqpError(`${error.message}: our user needs the right to ${right}`, { replyCode: 403, cause: error });
  }
}
