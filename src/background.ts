// What runs beside the calls: until it is stopped, and never unseen when it fails.

import { setMaxListeners } from 'node:events';
import type { Logger } from './ports.ts';

/** Tasks without an end of their own. */
export class Background {
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];
  #isSound = true;

  constructor(log: Logger) {
    this.#log = log;
    // As many listen as there are issuers and waits: node would call more than ten a leak.
    setMaxListeners(0, this.#stop.signal);
  }

  /** Whether all of it runs. What has failed does not come back without a restart. */
  get isSound(): boolean {
    return this.#isSound;
  }

  /** Aborts when all of it is to end. Any number may listen. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  /** Begins `work`, which runs until its signal aborts. */
  run(name: string, work: (signal: AbortSignal) => Promise<void>): void {
    this.#running.push(this.#watched(name, work));
  }

  /** Resolves when everything has ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  /** Never rejects: nobody waits for it before the end. */
  async #watched(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    try {
      await work(signal);
    } catch (error) {
      // We stop: whatever breaks off a wait then is no failure.
      if (signal.aborted) return;
      this.#isSound = false;
      this.#log.error({ task: name, error }, 'what runs beside the calls has failed: a restart is needed');
    }
  }
}
