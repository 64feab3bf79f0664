// What a sidecar has opened, in that order: closed in the reverse one, each within its time.

import { SidecarError } from './core/errors.ts';
import type { Clock, Logger } from './ports.ts';

/** How long one thing may take to close that does not say, in milliseconds: a disk that hangs must not keep the process. */
const longestCloseMs = 5000;

interface Thing {
  readonly name: string;
  readonly close: () => Promise<void>;
  readonly longestMs: number;
}

/** Everything that is open. */
export class Opened {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #things: Thing[] = [];
  #isClosed = false;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** `value`, which is closed by `close` after everything that is kept later. Closes it at once and throws CANCELLED where all is closed. */
  keep<Value>(value: Value, name: string, close: () => Promise<void>, longestMs: number = longestCloseMs): Value {
    const thing = { name, close, longestMs };
    if (!this.#isClosed) {
      this.#things.push(thing);
      return value;
    }
    // It never rejects, and nobody waits any more.
    void this.#close(thing);
    throw new SidecarError('CANCELLED', `${name} was opened when everything was closed already`, { reason: 'STOPPED' });
  }

  /** Closes everything. Never rejects: what fails, or does not end, is said and does not keep the others open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const thing of this.#things.splice(0).reverse()) await this.#close(thing);
  }

  async #close({ name, close, longestMs }: Thing): Promise<void> {
    const done = new AbortController();
    const late = this.#clock.delay(longestMs, done.signal).then(
      () => 'late' as const,
      // Broken off: it has closed, or failed to.
      () => 'in time' as const,
    );
    try {
      const outcome = await Promise.race([close(), late]);
      if (outcome === 'late') this.#log.error({ what: name, longestMs }, 'something does not close: it is left as it is');
    } catch (error) {
      this.#log.error({ what: name, error }, 'something could not be closed');
    } finally {
      done.abort();
    }
  }
}
