// Those who want a source asked now: they wait for the next question, never for one that began before they came.

interface Look {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Who waits, and whom that wakes. */
export class WaitingLooks {
  #waiting: Look[] = [];
  #wake = (): void => undefined;

  /** Whether anybody waits. */
  get isWanted(): boolean {
    return this.#waiting.length > 0;
  }

  /** Resolves or rejects with what is said of the question that begins next; rejects with the signal's reason when it aborts first. */
  async next(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let leave = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const look: Look = { resolve, reject };
        leave = (): void => {
          this.#waiting = this.#waiting.filter((other) => other !== look);
          reject(signal.reason);
        };
        signal.addEventListener('abort', leave, { once: true });
        this.#waiting.push(look);
        this.#wake();
      });
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  /** A question begins, for all who wait until now. What comes of it is told by what is answered; undefined: it went well. */
  begin(): (error: unknown) => void {
    const looks = this.#waiting;
    this.#waiting = [];
    return (error) => {
      for (const look of looks) {
        if (error === undefined) look.resolve();
        else look.reject(error);
      }
    };
  }

  /** A signal that aborts when somebody comes, or `signal` does; and the end of it. */
  until(signal: AbortSignal): { readonly over: AbortSignal; readonly forget: () => void } {
    const over = new AbortController();
    const leave = (): void => over.abort();
    this.#wake = leave;
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted || this.isWanted) leave();
    return { over: over.signal, forget: () => signal.removeEventListener('abort', leave) };
  }
}
