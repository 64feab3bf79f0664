// "Something changed": any number of waiters, none of whom leaves anything behind.

/**
 * Wakes all who wait. Callbacks instead of one shared promise: a promise that stays pending for hours would keep a reaction for
 * every wait that ended otherwise.
 */
export class Wakeup {
  readonly #waiters = new Set<() => void>();
  #version = 0;

  /** Take it before looking, and give it to `wait`: then nothing that happens in between is missed. */
  get version(): number {
    return this.#version;
  }

  wake(): void {
    this.#version += 1;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const resume of waiters) resume();
  }

  /** Resolves at the first wake after `seen`; rejects with the signal's reason when it aborts first. */
  wait(seen: number, signal?: AbortSignal): Promise<void> {
    if (seen !== this.#version) return Promise.resolve();
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const resume = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiters.delete(resume);
        reject(signal?.reason);
      };
      this.#waiters.add(resume);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }
}

/** Resolves when `promise` does; rejects with the signal's reason when it aborts first. For promises that end soon anyway. */
export function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  if (signal.aborted) {
    // Nobody waits for it any more; its failure is nobody's.
    promise.catch(() => undefined);
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
