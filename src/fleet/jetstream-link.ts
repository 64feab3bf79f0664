// A stream over one connection, as a log: appends in the order of their calls, so many at once.

import { SidecarError } from '../core/errors.ts';
import type { Clock, LogLink, LogRecord } from '../ports.ts';
import type { JetstreamConnection } from './jetstream-connection.ts';
import { natsErrorOf, noLog, refusalOf } from './jetstream-error.ts';
import { readStream } from './jetstream-reading.ts';

/** What a link is made of. */
export interface JetstreamLinkParts {
  readonly connection: JetstreamConnection;
  readonly clock: Clock;
  readonly stream: string;
  readonly subject: string;
  /** Somebody has answered. */
  readonly heard: () => void;
  /** Appending works, or the server says why it does not, in words. */
  readonly taken: (refusal: string | undefined) => void;
}

/** A file store confirms some thousand a second. */
const mostInFlight = 256;
const mostWaiting = 65_536;
const confirmMs = 5_000;
/** JetStream's number for a record that is larger than the stream takes. */
const tooLarge = 10054;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The log over `connection`. There is no duplicate suppression (`Nats-Msg-Id`): the server remembers ids that a purge has taken the
 * records of, and would swallow them when they are published again. Who reads skips what it has.
 */
export function createJetstreamLink(parts: JetstreamLinkParts): LogLink {
  const { connection, stream, subject, heard, taken } = parts;
  const { signal, server } = connection;
  const waiting: Waiting[] = [];
  let inFlight = 0;
  let isReading = false;

  const confirmed = async (bytes: Uint8Array): Promise<void> => {
    try {
      await connection.records.publish(subject, bytes, { timeout: confirmMs, expect: { streamName: stream } });
      heard();
      taken(undefined);
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      if (refusalOf(cause) === tooLarge || isInvalid(cause)) {
        throw new SidecarError('INVALID_ARGUMENT', `${server} takes no record of ${bytes.length} bytes`, {
          reason: 'RECORD_TOO_LARGE',
          cause,
        });
      }
      const error = isNobodys(cause)
        ? noLog(`${server} has no stream for our records any more: it was deleted, or has lost its leader`, cause)
        : natsErrorOf(server, cause);
      // Refused in words: whoever reads may go on. Everything else is a connection that is of no use.
      if (refusalOf(cause) === undefined) connection.fail(error);
      else taken(error.message);
      throw error;
    }
  };
  const send = (): void => {
    while (inFlight < mostInFlight && !signal.aborted) {
      const next = waiting.shift();
      if (next === undefined) return;
      inFlight += 1;
      confirmed(next.bytes)
        .then(next.resolve, next.reject)
        .finally(() => {
          inFlight -= 1;
          send();
        });
    }
  };
  const rejectAll = (): void => {
    for (const { reject } of waiting.splice(0)) reject(signal.reason);
  };
  signal.addEventListener('abort', rejectAll, { once: true });

  return {
    signal,
    append: (bytes) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(signal.reason);
        } else if (waiting.length >= mostWaiting) {
          reject(new SidecarError('RESOURCE_EXHAUSTED', `too many records wait for ${server}`, { reason: 'LOG_BUSY' }));
        } else {
          waiting.push({ bytes, resolve, reject });
          send();
        }
      }),
    async read(from, take: (batch: readonly LogRecord[]) => Promise<void>, stop) {
      if (isReading) throw new SidecarError('INTERNAL', 'the log is being read already', { reason: 'LOG_BUSY' });
      isReading = true;
      try {
        await readStream(parts, from, take, stop);
      } finally {
        isReading = false;
      }
    },
  };
}

/** There was a stream, and nobody takes what is published to its subject: so the library says it. */
function isNobodys(cause: unknown): boolean {
  return cause instanceof Error && cause.name === 'JetStreamNotEnabled';
}

/** The library's own refusal: more than the server takes. */
function isInvalid(cause: unknown): boolean {
  return cause instanceof Error && cause.name === 'InvalidArgumentError';
}
