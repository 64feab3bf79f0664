// Bounded concurrency with a bounded queue: what stands before every authority.

import { SidecarError } from '../core/errors.ts';

/** Lets a limited number through at once; first come, first served. */
export class Gate {
  readonly #name: string;
  readonly #concurrency: number;
  readonly #queueLimit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(name: string, limits: { readonly concurrency: number; readonly queue: number }) {
    this.#name = name;
    this.#concurrency = limits.concurrency;
    this.#queueLimit = limits.queue;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running;
  }

  /** There is a place at once, or half of the queue is free. */
  get isHalfFree(): boolean {
    return this.#running < this.#concurrency || 2 * this.#waiting.length < this.#queueLimit;
  }

  /**
   * Runs `task` when there is room. Throws UNAVAILABLE / UPSTREAM_BUSY at once where the queue is full, and the signal's reason as
   * UNAVAILABLE / UPSTREAM_TIMEOUT where its turn does not come in time.
   */
  async run<Result>(signal: AbortSignal, task: () => Promise<Result>): Promise<Result> {
    if (this.#running >= this.#concurrency) await this.#turn(signal);
    else this.#running += 1;
    try {
      return await task();
    } finally {
      // Hands its place on instead of freeing it: nobody can slip in between.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#queueLimit) {
      const message = `${this.#queueLimit} questions already wait for ${this.#name}`;
      return Promise.reject(new SidecarError('UNAVAILABLE', message, { reason: 'UPSTREAM_BUSY', retryAfterMs: 250 }));
    }
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        const message = `no turn at ${this.#name} in time`;
        reject(new SidecarError('UNAVAILABLE', message, { reason: 'UPSTREAM_TIMEOUT', retryAfterMs: 250, cause: signal.reason }));
      };
      if (signal.aborted) {
        this.#waiting.push(go);
        leave();
        return;
      }
      this.#waiting.push(go);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
