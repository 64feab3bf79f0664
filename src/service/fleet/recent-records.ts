// The newest records that a sidecar has read of its fleet's log, for those who follow it: one reading of the log for all who are near its end.

import type { LogRecord } from '../../ports.ts';
import { Wakeup } from '../wakeup.ts';

/** In one batch for a follower; the next one when it has been sent. */
const mostInBatch = 512;
const longestBatchBytes = 262_144;
/** What a record costs beside its bytes, about. */
const overheadBytes = 200;

/** Of one reading: whatever is in it came over one link, in the order of the log, without a gap. */
export class RecentRecords {
  readonly #sizeBytes: number;
  readonly #changed = new Wakeup();
  /** From `#first` on; what is before it has made room. */
  #records: (LogRecord | undefined)[] = [];
  #first = 0;
  #heldBytes = 0;
  /** Every record above this position that the reading has come to is here. */
  #since: number;
  #last: number;
  #hasEnded = false;

  /** `from`: where the reading begins, as of `LogLink.read`. `sizeBytes`: for so much it has room; the newest record is there always. */
  constructor(from: number | undefined, sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#since = (from ?? 0) - 1;
    this.#last = this.#since;
  }

  /** The reading has come to these. Without `isWanted` they only tell how far it has come. */
  add(batch: readonly LogRecord[], isWanted: boolean): void {
    for (const { position, bytes } of batch) {
      // An engine may give one twice; what goes back any further is another log.
      if (position < this.#last) this.end();
      if (this.#hasEnded) return;
      if (position === this.#last) continue;
      this.#last = position;
      if (!isWanted) {
        this.#since = position;
        continue;
      }
      // A copy: what it was cut out of may be larger than all that is kept.
      this.#records.push({ position, bytes: Uint8Array.from(bytes) });
      this.#heldBytes += bytes.length + overheadBytes;
      while (this.#heldBytes > this.#sizeBytes && this.#first < this.#records.length - 1) this.#drop();
    }
    this.#changed.wake();
  }

  /** The reading has ended. */
  end(): void {
    this.#hasEnded = true;
    this.#records = [];
    this.#changed.wake();
  }

  /** Whether a reading of the log from `from` on, that record included, begins with what is here. */
  reaches(from: number | undefined): boolean {
    return !this.#hasEnded && from !== undefined && from > this.#since && from <= this.#last;
  }

  /** Whether the reading has come to this position, or further. */
  hasPassed(position: number): boolean {
    return position <= this.#last;
  }

  /** Whether this record of the log is here: not another one, at the same place of another log. */
  holds({ position, bytes }: LogRecord): boolean {
    if (!this.reaches(position)) return false;
    const found = this.#records[this.#firstAbove(position - 1)];
    return found?.position === position && Buffer.compare(found.bytes, bytes) === 0;
  }

  /** Those above `position`, and what comes, in batches; ends where they are not here any more, the reading has ended, or `signal` aborts. */
  async *after(position: number, signal: AbortSignal): AsyncGenerator<readonly LogRecord[], void, void> {
    let at = position;
    while (!signal.aborted && !this.#hasEnded && at >= this.#since) {
      const seen = this.#changed.version;
      const batch = this.#batchAfter(at);
      const last = batch.at(-1);
      if (last === undefined) {
        await this.#changed.wait(seen, signal).catch(() => undefined);
        continue;
      }
      at = last.position;
      yield batch;
    }
  }

  #batchAfter(position: number): readonly LogRecord[] {
    const batch: LogRecord[] = [];
    let sizeBytes = 0;
    for (let at = this.#firstAbove(position); at < this.#records.length && batch.length < mostInBatch; at += 1) {
      const record = this.#records[at];
      if (record === undefined) break;
      sizeBytes += record.bytes.length;
      if (batch.length > 0 && sizeBytes > longestBatchBytes) break;
      batch.push(record);
    }
    return batch;
  }

  #drop(): void {
    const oldest = this.#records[this.#first];
    if (oldest === undefined) return;
    this.#since = oldest.position;
    this.#heldBytes -= oldest.bytes.length + overheadBytes;
    this.#records[this.#first] = undefined;
    this.#first += 1;
    // Now and then, so that each is moved about once.
    if (2 * this.#first < this.#records.length) return;
    this.#records = this.#records.slice(this.#first);
    this.#first = 0;
  }

  #firstAbove(position: number): number {
    let low = this.#first;
    let high = this.#records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#records[middle]?.position ?? Number.POSITIVE_INFINITY) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
