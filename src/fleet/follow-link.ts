// A connection to the sidecar that is followed, as a link: appends one call at a time, in order, and one stream of records.

import { SidecarError } from '../core/errors.ts';
import type { ReadRecordsResponse } from '../gen/sidegate/v1/token_service.ts';
import type { LogLink, LogRecord } from '../ports.ts';
import type { UpstreamConnection } from './follow-connection.ts';
import { noLog } from './log-error.ts';

const mostInCall = 512;
const longestCallBytes = 262_144;
const mostWaiting = 65_536;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The log behind `connection`. `heard` is called whenever it has answered. */
export function createFollowLink(connection: UpstreamConnection, heard: () => void): LogLink {
  const { signal, upstream } = connection;
  let waiting: Waiting[] = [];
  let isSending = false;
  let isReading = false;

  const send = async (): Promise<void> => {
    if (isSending) return;
    isSending = true;
    while (waiting.length > 0 && !signal.aborted) {
      const some = waiting.slice(0, fittingIn(waiting));
      waiting = waiting.slice(some.length);
      try {
        await connection.append(some.map(({ bytes }) => bytes));
        heard();
        for (const { resolve } of some) resolve();
      } catch (cause) {
        // Whatever it was, nobody knows what the log has: what comes next must not be there before it.
        const error = connection.fail(cause);
        for (const { reject } of some) reject(error);
      }
    }
    isSending = false;
  };
  const rejectAll = (): void => {
    for (const { reject } of waiting.splice(0)) reject(signal.reason);
  };
  signal.addEventListener('abort', rejectAll, { once: true });

  return {
    signal,
    append: (bytes) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) reject(signal.reason);
        else if (waiting.length >= mostWaiting) {
          reject(new SidecarError('RESOURCE_EXHAUSTED', `too many records wait for ${upstream}`, { reason: 'LOG_BUSY' }));
        } else {
          waiting.push({ bytes, resolve, reject });
          void send();
        }
      }),
    async read(from, take, stop) {
      if (isReading) throw new SidecarError('INTERNAL', 'the log is being read already', { reason: 'LOG_BUSY' });
      signal.throwIfAborted();
      isReading = true;
      try {
        await readOver(connection, from, { take, stop, heard });
      } finally {
        isReading = false;
      }
    },
  };
}

/** How many of them go in one call: at least one. */
function fittingIn(waiting: readonly Waiting[]): number {
  let sizeBytes = 0;
  const tooMany = waiting.slice(0, mostInCall).findIndex(({ bytes }, at) => {
    sizeBytes += bytes.length;
    return at > 0 && sizeBytes > longestCallBytes;
  });
  return tooMany < 0 ? mostInCall : tooMany;
}

interface Reader {
  readonly take: (batch: readonly LogRecord[]) => Promise<void>;
  readonly stop: AbortSignal;
  readonly heard: () => void;
}

/** The library reads ahead by what flow control allows, some 64 KiB, and no further. */
async function readOver(connection: UpstreamConnection, from: number | undefined, { take, stop, heard }: Reader): Promise<void> {
  const stream = connection.client.readRecords(from === undefined ? {} : { from: BigInt(from) });
  // One that we cancel fails once more after we have stopped reading; without a listener that would end the process.
  stream.on('error', () => undefined);
  const cancel = (): void => stream.cancel();
  for (const end of [stop, connection.signal]) {
    end.addEventListener('abort', cancel, { once: true });
    if (end.aborted) cancel();
  }
  let isTaking = false;
  try {
    for await (const { records } of stream as AsyncIterable<ReadRecordsResponse>) {
      heard();
      if (stop.aborted) return;
      // None is beyond what any log can be asked for: noted as our place, it would be asked for again and again.
      if (records.some(({ position }) => position > Number.MAX_SAFE_INTEGER))
        throw noLog(`${connection.upstream} tells positions of no log`);
      isTaking = true;
      await take(records.map(({ position, content }) => ({ position: Number(position), bytes: content })));
      isTaking = false;
    }
    throw noLog(`${connection.upstream} ended the reading`);
  } catch (cause) {
    if (stop.aborted && !isTaking) return;
    throw isTaking ? cause : connection.fail(cause);
  } finally {
    for (const end of [stop, connection.signal]) end.removeEventListener('abort', cancel);
    cancel();
  }
}
