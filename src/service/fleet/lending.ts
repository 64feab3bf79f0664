// The log of our fleet, for sidecars that follow this one: a wire to it, which keeps nothing and looks into nothing.

import { SidecarError } from '../../core/errors.ts';
import type { Clock, Engine, LogLink, LogRecord, Telemetry } from '../../ports.ts';

/** What lending needs. */
export interface LendingParts {
  /** Of our own fleet; undefined: there is none. */
  readonly engine: Engine | undefined;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'gauge'>;
  /** Aborts when the sidecar drains: followers are to go elsewhere, or come again. */
  readonly draining: AbortSignal;
}

/** Each reads the log over a link of its own. */
const mostFollowers = 256;
/** How long a link for a follower may take, in milliseconds. */
const longestLinkMs = 10_000;
const retryAfterMs = 1_000;
/** What followers may have under way together: the link is ours too, and holds as much as it is given. */
const mostUnderWay = 32_768;
const mostUnderWayBytes = 67_108_864;

/** What followers are lent. */
export class Lending {
  /** As our own fleet is to run it: what it appends over, followers append over too. */
  readonly engine: Engine | undefined;
  readonly #parts: LendingParts;
  /** What ends each reading. One listener for all: a signal looks through those it has whenever one is added. */
  readonly #ends = new Set<() => void>();
  #link: LogLink | undefined;
  #followers = 0;
  #underWay = { records: 0, bytes: 0 };

  constructor(parts: LendingParts) {
    const { engine, telemetry, draining } = parts;
    this.#parts = parts;
    const drain = (): void => {
      for (const end of this.#ends) end();
    };
    draining.addEventListener('abort', drain, { once: true });
    telemetry.gauge('sidegate_fleet_followers', {}, () => this.#followers);
    this.engine = engine && {
      name: engine.name,
      health: () => engine.health(),
      run: (session, signal) => engine.run((link) => this.#over(link, session), signal),
    };
  }

  /**
   * Resolves when the log has all of them for sure, in their order. Rejects with FAILED_PRECONDITION / NO_FLEET, RESOURCE_EXHAUSTED / LOG_BUSY
   * where none of them is appended, and UNAVAILABLE where nobody knows.
   */
  async append(records: readonly Uint8Array[]): Promise<void> {
    this.#another();
    const link = this.#link;
    if (link === undefined || link.signal.aborted) throw away();
    const sizeBytes = records.reduce((sum, { length }) => sum + length, 0);
    const { records: count, bytes } = this.#underWay;
    if (count + records.length > mostUnderWay || bytes + sizeBytes > mostUnderWayBytes) {
      const message = 'too many records of followers wait for the log';
      throw new SidecarError('RESOURCE_EXHAUSTED', message, { reason: 'LOG_BUSY', retryAfterMs });
    }
    this.#count(records.length, sizeBytes);
    try {
      // Each is waited for: what waits still is held, whatever became of the others.
      const outcomes = await Promise.allSettled(records.map((record) => link.append(record)));
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw away(outcome.reason);
    } finally {
      this.#count(-records.length, -sizeBytes);
    }
  }

  /**
   * The records from `from` on, as `LogLink.read` gives them, until `signal` aborts; the first batch comes when the log is there, and is empty.
   * Throws as `append`, RESOURCE_EXHAUSTED / TOO_MANY_FOLLOWERS, and UNAVAILABLE when the link ends or the sidecar drains.
   */
  async *read(from: number | undefined, signal: AbortSignal): AsyncGenerator<readonly LogRecord[], void, void> {
    const make = this.#another();
    if (this.#followers >= mostFollowers) {
      const message = `${mostFollowers} sidecars follow this one already`;
      throw new SidecarError('RESOURCE_EXHAUSTED', message, { reason: 'TOO_MANY_FOLLOWERS', retryAfterMs: 5 * retryAfterMs });
    }
    this.#followers += 1;
    const { clock, draining } = this.#parts;
    const over = new AbortController();
    const end = (): void => over.abort();
    this.#ends.add(end);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted || draining.aborted) end();
    const handing = new Handing();
    const running = make().run(async (link) => {
      try {
        await handing.give([], over.signal);
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
        if (!handing.hasBegun) end();
      },
      () => undefined,
    );
    try {
      for (;;) {
        const batch = await handing.take(over.signal);
        if (batch === undefined) break;
        yield batch;
      }
      if (signal.aborted) return;
      if (draining.aborted) throw unavailable('the sidecar is draining', 'DRAINING');
      throw away(handing.failure);
    } finally {
      this.#ends.delete(end);
      signal.removeEventListener('abort', end);
      end();
      await Promise.all([running, late]);
      this.#followers -= 1;
    }
  }

  async #over(link: LogLink, session: (link: LogLink) => Promise<void>): Promise<void> {
    this.#link = link;
    try {
      await session(link);
    } finally {
      this.#link = undefined;
    }
  }

  #another(): () => Engine {
    const { engine } = this.#parts;
    if (engine?.another) return engine.another;
    throw new SidecarError('FAILED_PRECONDITION', 'this sidecar is in no fleet: there is no log to follow', { reason: 'NO_FLEET' });
  }

  #count(records: number, bytes: number): void {
    this.#underWay = { records: this.#underWay.records + records, bytes: this.#underWay.bytes + bytes };
  }
}

/** One batch from who reads to who sends: the next one is read when this one has been taken, and sent. */
class Handing {
  hasBegun = false;
  failure: unknown;
  #batch: readonly LogRecord[] | undefined;
  #wake: () => void = () => undefined;
  #done: () => void = () => undefined;

  /** Resolves when it has been sent. */
  async give(batch: readonly LogRecord[], over: AbortSignal): Promise<void> {
    this.hasBegun = true;
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

/** Why, this sidecar says itself: it is not a follower's to know, and where two follow each other what one is told would be told the other. */
function away(cause?: unknown): SidecarError {
  return unavailable('the log of its fleet is away', 'LOG_UNREACHABLE', cause);
}

function unavailable(message: string, reason: string, cause?: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, retryAfterMs, ...(cause === undefined ? {} : { cause }) });
}
