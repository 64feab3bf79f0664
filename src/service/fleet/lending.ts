// The log of our fleet, for sidecars that follow this one: a wire to it, which looks into nothing and keeps what was read last.

import { SidecarError } from '../../core/errors.ts';
import type { Clock, Engine, LogLink, LogRecord, Telemetry } from '../../ports.ts';
import { ownReading } from './own-reading.ts';
import { RecentRecords } from './recent-records.ts';

/** What lending needs. */
export interface LendingParts {
  /** Of our own fleet; undefined: there is none. */
  readonly engine: Engine | undefined;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'gauge'>;
  /** Aborts when the sidecar drains: followers are to go elsewhere, or come again. */
  readonly draining: AbortSignal;
  /** Of what was read last, so much is kept once somebody follows. Absent: 16 MiB. */
  readonly recentBytes?: number;
}

interface OurReading {
  readonly take: (batch: readonly LogRecord[]) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Each of which may read the log over a link of its own for a while. */
const mostFollowers = 256;
/** Some 25,000 records: four minutes of a hundred a second. */
const usualRecentBytes = 16_777_216;
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
  /** What our own reading has come to, and over which link; undefined: nothing is read now. */
  #near: { readonly link: LogLink; readonly records: RecentRecords } | undefined;
  #followers = 0;
  /** Somebody has followed since the start: until then nothing is kept. */
  #isFollowed = false;
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
   * The records from `from` on, as `LogLink.read` gives them, until `signal` aborts; the first batch is empty: then the reading stands.
   * Throws as `append`, RESOURCE_EXHAUSTED / TOO_MANY_FOLLOWERS, and UNAVAILABLE when the link ends or the sidecar drains.
   */
  async *read(from: number | undefined, signal: AbortSignal): AsyncGenerator<readonly LogRecord[], void, void> {
    const make = this.#another();
    if (this.#followers >= mostFollowers) {
      const message = `${mostFollowers} sidecars follow this one already`;
      throw new SidecarError('RESOURCE_EXHAUSTED', message, { reason: 'TOO_MANY_FOLLOWERS', retryAfterMs: 5 * retryAfterMs });
    }
    this.#followers += 1;
    this.#isFollowed = true;
    const { draining } = this.#parts;
    const over = new AbortController();
    const end = (): void => over.abort();
    this.#ends.add(end);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted || draining.aborted) end();
    try {
      yield* this.#records(make, from, over.signal);
      if (draining.aborted && !signal.aborted) throw unavailable('the sidecar is draining', 'DRAINING');
    } finally {
      this.#ends.delete(end);
      signal.removeEventListener('abort', end);
      end();
      this.#followers -= 1;
    }
  }

  /** Out of what was read here as far as that reaches; else by a reading of its own, until it does. */
  async *#records(make: () => Engine, from: number | undefined, over: AbortSignal): AsyncGenerator<readonly LogRecord[], void, void> {
    let last: LogRecord | undefined;
    // What was sent, and is waited for here: over another link there may be another log, but for where the very same record stands in both.
    let mark: LogRecord | undefined;
    for (let isFirst = true; !over.aborted; isFirst = false) {
      const near = this.#near;
      if (near && (mark === undefined ? near.records.reaches(from) : near.records.holds(mark))) {
        if (isFirst) yield [];
        let isProven = last === mark;
        for await (const batch of near.records.after(last?.position ?? (from ?? 0) - 1, over)) {
          // Further than the mark it was read over the other link: in two logs that part behind it another record stands there.
          if (!isProven && last && !near.records.holds(last)) throw away();
          isProven = true;
          last = batch.at(-1) ?? last;
          yield batch;
        }
        mark = last;
        // As if it were the follower's own.
        if (near.link.signal.aborted && !over.aborted) throw away(near.link.signal.reason);
        continue;
      }
      for await (const batch of this.#own(make, { from, last }, over)) {
        last = batch.at(-1) ?? last;
        if (batch.length > 0 || isFirst) yield batch;
        const records = this.#near?.records;
        const isAwaited = mark !== undefined && records !== undefined && !records.hasPassed(mark.position);
        if (mark && records?.holds(mark)) break;
        if (!isAwaited) mark = last;
        if (mark && records?.holds(mark)) break;
      }
    }
  }

  /** From `from` on; or what follows `last`, if that is where it was. */
  async *#own(
    make: () => Engine,
    { from, last }: { readonly from: number | undefined; readonly last: LogRecord | undefined },
    over: AbortSignal,
  ): AsyncGenerator<readonly LogRecord[], void, void> {
    const { clock } = this.#parts;
    let isThere = last === undefined;
    for await (const batch of ownReading({ engine: make(), clock, from: last?.position ?? from, isGoingOn: !isThere }, away, over)) {
      const [first, ...others] = batch;
      if (isThere || first === undefined) yield batch;
      else if (last && first.position === last.position && Buffer.compare(first.bytes, last.bytes) === 0) yield others;
      // The follower finds out what has become of it, when it asks again from there.
      else throw away();
      if (first !== undefined) isThere = true;
    }
  }

  async #over(link: LogLink, session: (link: LogLink) => Promise<void>): Promise<void> {
    this.#link = link;
    try {
      await session({
        signal: link.signal,
        append: (bytes) => link.append(bytes),
        read: (from, take, signal) => this.#readOver(link, from, { take, signal }),
      });
    } finally {
      this.#link = undefined;
    }
  }

  /** Our own reading: followers may be told before it is done with here. It is only a log, and what they rely on they find in it. */
  async #readOver(link: LogLink, from: number | undefined, { take, signal }: OurReading): Promise<void> {
    const records = new RecentRecords(from, this.#parts.recentBytes ?? usualRecentBytes);
    this.#near = { link, records };
    try {
      await link.read(
        from,
        (batch) => {
          records.add(batch, this.#isFollowed);
          return take(batch);
        },
        signal,
      );
    } finally {
      this.#near = undefined;
      records.end();
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

/** Why, this sidecar says itself: it is not a follower's to know, and where two follow each other what one is told would be told the other. */
function away(cause?: unknown): SidecarError {
  return unavailable('the log of its fleet is away', 'LOG_UNREACHABLE', cause);
}

function unavailable(message: string, reason: string, cause?: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, retryAfterMs, ...(cause === undefined ? {} : { cause }) });
}
