// A reading of a fleet's log over a link of its own, pulled batch by batch by who sends it to a follower.

import type { Clock, Engine, LogRecord } from '../../ports.ts';

/** Whose reading, and from where. */
export interface OwnReadingParts {
  /** One more way to the log. */
  readonly engine: Engine;
  readonly clock: Clock;
  /** As of `LogLink.read`. */
  readonly from: number | undefined;
  /** The log has held the record at `from`: one that does not give it is not the log that it was, and may say nothing for ever. */
  readonly isGoingOn: boolean;
}

/** How long a link may take, and where it goes on its first record, in milliseconds. */
const longestLinkMs = 10_000;

/**
 * As `LogLink.read` gives them, until `signal` aborts; the first batch is empty: then the reading stands. Where the link ends, or does
 * not come to stand, it throws what `failed` makes of why.
 */
export async function* ownReading(
  { engine, clock, from, isGoingOn }: OwnReadingParts,
  failed: (cause: unknown) => Error,
  signal: AbortSignal,
): AsyncGenerator<readonly LogRecord[], void, void> {
  const over = new AbortController();
  const end = (): void => over.abort();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  const handing = new Handing();
  const running = engine.run(async (link) => {
    try {
      await link.read(from, (batch) => handing.give(batch, over.signal), over.signal);
    } catch (error) {
      handing.end(error);
    } finally {
      // One link for one reading: what comes over another one may be of another log.
      end();
    }
  }, over.signal);
  const late = clock.delay(longestLinkMs, over.signal).then(
    () => {
      if (isGoingOn ? !handing.hasGiven : !handing.hasBegun) end();
    },
    () => undefined,
  );
  try {
    for (;;) {
      const batch = await handing.take(over.signal);
      if (batch === undefined) break;
      yield batch;
    }
    if (!signal.aborted) throw failed(handing.failure);
  } finally {
    signal.removeEventListener('abort', end);
    end();
    await Promise.all([running, late]);
  }
}

/** One batch from who reads to who sends: the next one is read when this one has been taken, and sent. */
class Handing {
  hasBegun = false;
  hasGiven = false;
  failure: unknown;
  #batch: readonly LogRecord[] | undefined;
  #wake: () => void = () => undefined;
  #done: () => void = () => undefined;

  /** Resolves when it has been sent. */
  async give(batch: readonly LogRecord[], over: AbortSignal): Promise<void> {
    this.hasBegun = true;
    this.hasGiven ||= batch.length > 0;
    this.#batch = batch;
    const sent = until(over, (done) => {
      this.#done = done;
    });
    this.#wake();
    await sent;
  }

  end(failure: unknown): void {
    this.failure = failure;
  }

  /** The next one; undefined: there is none any more. What was taken before has been sent. */
  async take(over: AbortSignal): Promise<readonly LogRecord[] | undefined> {
    this.#done();
    if (this.#batch === undefined) {
      await until(over, (done) => {
        this.#wake = done;
      });
    }
    const batch = this.#batch;
    this.#batch = undefined;
    return over.aborted ? undefined : batch;
  }
}

/** Resolves when `set`'s argument is called, or `over` aborts. */
function until(over: AbortSignal, set: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      over.removeEventListener('abort', done);
      resolve();
    };
    set(done);
    over.addEventListener('abort', done, { once: true });
    if (over.aborted) done();
  });
}
