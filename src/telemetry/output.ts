// Writes lines to standard output without waiting for whoever reads them.

import { write } from 'node:fs';
import type { Clock } from '../ports.ts';
import type { LineSink } from './log.ts';

/** Lines on their way out. */
export interface Output extends LineSink {
  write(line: string): void;
  /** Resolves when all lines are written, or after a second. Lines after it are dropped. */
  close(): Promise<void>;
}

/** Characters that wait at most. Beyond it lines are dropped: whoever reads them has stopped, and the sidecar must not. */
export const maxWaiting = 1_048_576;

const closeWithinMs = 1_000;
const retryAfterMs = 50;

/**
 * Writes to the open file `descriptor`, in order, one write at a time; what comes meanwhile goes out with the next. What cannot be
 * written (no room, no reader) is dropped. Lines are lost when the process exits before `close` has resolved.
 *
 * Not pino's own destination: at exit that one tries again for ever what a full disk has refused (sonic-boom 4, flushSync), and the
 * process never ends.
 */
export function openOutput(descriptor: number, clock: Clock): Output {
  const closing = new AbortController();
  let waiting = '';
  let running: Promise<void> | undefined;

  async function drain(): Promise<void> {
    while (waiting !== '') {
      const bytes = Buffer.from(waiting);
      waiting = '';
      await writeAll(bytes);
    }
    running = undefined;
  }

  async function writeAll(bytes: Buffer): Promise<void> {
    let done = 0;
    while (done < bytes.length && !closing.signal.aborted) {
      const written = await writeSome(descriptor, bytes.subarray(done));
      if (written === 'failed') return;
      if (written === 'full') await clock.delay(retryAfterMs, closing.signal).catch(() => undefined);
      else done += written;
    }
  }

  let isOpen = true;
  return {
    write(line) {
      if (!isOpen || waiting.length + line.length > maxWaiting) return;
      waiting += line;
      running ??= drain();
    },
    async close() {
      isOpen = false;
      const late = new AbortController();
      await Promise.race([running, clock.delay(closeWithinMs, late.signal)]);
      late.abort();
      waiting = '';
      closing.abort();
    },
  };
}

// How many bytes went out; `full`: a pipe that does not block has no room now.
function writeSome(descriptor: number, bytes: Buffer): Promise<number | 'full' | 'failed'> {
  return new Promise((resolve) => {
    write(descriptor, bytes, (error, written) => {
      if (error === null) resolve(written);
      else resolve(error.code === 'EAGAIN' ? 'full' : 'failed');
    });
  });
}
