// The stream in RabbitMQ: made, or found as somebody else has made it.

import { AmqpError, amqpErrorOf } from '../amqp/amqp-error.ts';
import type { AmqpLink } from '../amqp/amqp-link.ts';
import type { Publisher } from '../amqp/publisher.ts';

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

/**
 * Makes the stream where there is none. Answers what is not as wanted of a queue of that name that is there, in words for people. Throws
 * AmqpError where there can be none, with the reason in words.
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
    if (error instanceof AmqpError && error.replyCode === 406) return madeOtherwise(link, stream, error);
    if (error instanceof AmqpError && error.replyCode === 403) return await madeBySomebody(link, stream, error);
    throw error;
  }
}

/** Asks for what is needed to use the stream, and appends nothing. */
export interface StreamUse {
  readonly reading: AmqpLink;
  readonly publishing: AmqpLink;
  readonly publisher: Publisher;
  readonly stream: string;
}

/** Throws AmqpError where our user may not append, or not read, or what has that name is no stream. */
export async function ensureUse({ reading, publishing, publisher, stream }: StreamUse): Promise<void> {
  const asked = granted('write amq.default', publisher.publish('', nobody, 'may we'));
  asked.catch((error: unknown) => publishing.fail(amqpErrorOf(publishing.server, error)));
  // A broker that is short of disk does not answer for as long as it is, and can be read all the while.
  await Promise.race([asked, publishing.whenBlocked]);
  const probe = reading.consume(stream, 1, () => undefined, { [streamOffset]: 'next' });
  try {
    await (await granted(`read ${stream}`, probe)).stop();
  } catch (error) {
    // What is no stream refuses the argument.
    throw error instanceof AmqpError && error.replyCode === 406 ? noStream(reading, stream, error) : error;
  }
}

/** What has that name cannot carry a log. */
export function noStream(link: AmqpLink, stream: string, cause?: unknown): AmqpError {
  return new AmqpError(`${link.server} has a queue ${stream} that is not a stream`, { cause });
}

/** No queue is called so: what is sent to it comes back. */
const nobody = 'sidegate.nobody.81c5b0f2';

/** One of that name is there, and is another; or RabbitMQ knows no such type. */
function madeOtherwise({ server }: AmqpLink, stream: string, refusal: AmqpError): string {
  const said = refusal.cause instanceof Error ? refusal.cause.message : '';
  const { what, setting } = /(?<what>\w+) arg '(?<setting>[\w-]+)'/.exec(said)?.groups ?? {};
  if (what === 'invalid')
    throw new AmqpError(`${server} has no streams: those begin with RabbitMQ 3.9`, { replyCode: 406, cause: refusal });
  return `the stream ${stream} was made with another ${setting ?? 'setting'}: it may keep records for a shorter time than wanted`;
}

/** We may not make it: somebody else may have. */
async function madeBySomebody(link: AmqpLink, stream: string, refusal: AmqpError): Promise<string> {
  try {
    await link.ask((channel) => channel.checkQueue(stream));
  } catch (error) {
    if (!(error instanceof AmqpError) || error.replyCode !== 404) throw error;
    const message = `${refusal.message}: there is no stream ${stream}, and our user needs the right to configure it, to make one`;
    throw new AmqpError(message, { replyCode: 403, cause: refusal });
  }
  return `our user may not configure the stream ${stream}: for how long it keeps records cannot be told`;
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
