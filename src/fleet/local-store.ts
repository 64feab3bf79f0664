// The records of a log on this host's disk: appended with one sync for many, read by position, trimmed by age and by size.

import { ClassicLevel } from 'classic-level';
import type { Clock, LogRecord } from '../ports.ts';
import { noLog } from './log-error.ts';

/** Where they are kept, and for how long. */
export interface LocalStoreOptions {
  /** Made where it is not there. */
  readonly dir: string;
  readonly retentionMs: number;
  /** Of all records. */
  readonly mostBytes: number;
}

interface Waiting {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Head of a stored record: when it was appended, and how many bytes all records up to it have together. */
const headBytes = 16;
/** In one write. */
const mostAtOnce = 1_024;
const mostWaiting = 65_536;
const trimEveryMs = 60_000;
const trimBatch = 4_096;
/** Of what is read at once: each who follows holds as much. */
const enoughBytes = 1_048_576;
const digits = String(Number.MAX_SAFE_INTEGER).length;

type Database = ClassicLevel<string, Buffer>;

/** One that is open. It ends once: closed, or as something could not be written; then `signal` aborts. */
export class LocalStore {
  readonly #options: LocalStoreOptions;
  readonly #clock: Clock;
  readonly #database: Database;
  readonly #ended = new AbortController();
  readonly #changed = new Set<() => void>();
  #waiting: Waiting[] = [];
  #last: number;
  #totalBytes: number;
  #isWriting = false;
  #trimmedEarly = false;

  /** Throws UNAVAILABLE / LOG_UNREACHABLE, in words. */
  static async open(options: LocalStoreOptions, clock: Clock): Promise<LocalStore> {
    const database: Database = new ClassicLevel(options.dir, { valueEncoding: 'buffer' });
    try {
      await database.open();
      const [last] = await database.iterator({ reverse: true, limit: 1 }).all();
      return new LocalStore(options, clock, database, last);
    } catch (cause) {
      // Left open it would be locked by us, and that would be said from then on.
      await database.close().catch(() => undefined);
      throw notReadable(options.dir, cause);
    }
  }

  private constructor(options: LocalStoreOptions, clock: Clock, database: Database, last: readonly [string, Buffer] | undefined) {
    this.#options = options;
    this.#clock = clock;
    this.#database = database;
    this.#last = last === undefined ? 0 : Number(last[0]);
    this.#totalBytes = last === undefined ? 0 : headOf(last[1]).throughBytes;
    this.#keepTrimming().catch((error: unknown) => this.#fail(error));
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Records had to go before their time. */
  get trimmedEarly(): boolean {
    return this.#trimmedEarly;
  }

  /** Resolves when the disk has it. Rejects where nobody knows. */
  append(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) reject(this.signal.reason);
      else if (this.#waiting.length >= mostWaiting) reject(noLog('too many records wait for the disk'));
      else {
        this.#waiting.push({ bytes, resolve, reject });
        void this.#write();
      }
    });
  }

  /** Those from `from` on, at most `limit`, and no more when they have 1 MiB together. */
  async read(from: number, limit: number): Promise<readonly LogRecord[]> {
    try {
      const found: LogRecord[] = [];
      let sizeBytes = 0;
      for await (const [key, value] of this.#database.iterator({ gte: keyOf(from), limit })) {
        found.push({ position: Number(key), bytes: value.subarray(headBytes) });
        sizeBytes += value.length;
        if (sizeBytes >= enoughBytes) break;
      }
      return found;
    } catch (cause) {
      throw this.signal.aborted ? this.signal.reason : this.#fail(cause);
    }
  }

  /** Calls `wake` once, when something is appended. Tells how to take that back. */
  onChange(wake: () => void): () => void {
    this.#changed.add(wake);
    return () => void this.#changed.delete(wake);
  }

  /** The newest position; 0: there is none. */
  get last(): number {
    return this.#last;
  }

  async close(): Promise<void> {
    this.#end(noLog('the log was left'));
    await this.#database.close();
  }

  async #write(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    try {
      while (this.#waiting.length > 0 && !this.signal.aborted) {
        const some = this.#waiting.slice(0, mostAtOnce);
        this.#waiting = this.#waiting.slice(mostAtOnce);
        await this.#put(some);
      }
    } finally {
      this.#isWriting = false;
    }
  }

  async #put(some: readonly Waiting[]): Promise<void> {
    const atMs = this.#clock.nowMs();
    let last = this.#last;
    let totalBytes = this.#totalBytes;
    const puts = some.map(({ bytes }) => {
      last += 1;
      totalBytes += bytes.length;
      const head = Buffer.alloc(headBytes);
      head.writeDoubleBE(atMs, 0);
      head.writeDoubleBE(totalBytes, 8);
      return { type: 'put' as const, key: keyOf(last), value: Buffer.concat([head, bytes]) };
    });
    try {
      await this.#database.batch(puts, { sync: true });
    } catch (cause) {
      const failure = this.signal.aborted ? this.signal.reason : this.#fail(cause);
      for (const { reject } of some) reject(failure);
      return;
    }
    this.#last = last;
    this.#totalBytes = totalBytes;
    for (const { resolve } of some) resolve();
    for (const wake of this.#changed) wake();
    this.#changed.clear();
  }

  async #keepTrimming(): Promise<void> {
    while (!this.signal.aborted) {
      await this.trim();
      await this.#clock.delay(trimEveryMs, this.signal).catch(() => undefined);
    }
  }

  /** Forgets what is too old, and the oldest of what is too much; never the newest record, by which positions go on. */
  async trim(): Promise<void> {
    for (let from = 0; !this.signal.aborted; ) {
      let gone: string | undefined;
      let count = 0;
      for await (const [key, value] of this.#database.iterator({ gte: keyOf(from), lt: keyOf(this.#last), limit: trimBatch })) {
        if (!this.#isToGo(value)) break;
        gone = key;
        count += 1;
      }
      if (gone === undefined) return;
      await this.#database.clear({ lte: gone });
      if (count < trimBatch) return;
      from = Number(gone) + 1;
    }
  }

  #isToGo(record: Buffer): boolean {
    const { retentionMs, mostBytes } = this.#options;
    const { atMs, throughBytes } = headOf(record);
    const isOld = atMs < this.#clock.nowMs() - retentionMs;
    const isTooMuch = this.#totalBytes - throughBytes >= mostBytes;
    if (isTooMuch && !isOld) this.#trimmedEarly = true;
    return isOld || isTooMuch;
  }

  #fail(cause: unknown): Error {
    const failure = notReadable(this.#options.dir, cause);
    this.#end(failure);
    return failure;
  }

  #end(reason: Error): void {
    if (this.signal.aborted) return;
    this.#ended.abort(reason);
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
    for (const wake of this.#changed) wake();
    this.#changed.clear();
  }
}

function keyOf(position: number): string {
  return String(position).padStart(digits, '0');
}

function headOf(value: Buffer): { readonly atMs: number; readonly throughBytes: number } {
  return { atMs: value.readDoubleBE(0), throughBytes: value.readDoubleBE(8) };
}

function notReadable(dir: string, cause: unknown): Error {
  const inner = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause;
  const code = inner instanceof Error && 'code' in inner ? String(inner.code) : 'no code';
  const what = code === 'LEVEL_LOCKED' ? 'another process has it' : `it cannot be read or written (${code})`;
  return noLog(`the log in ${dir}: ${what}`, cause);
}
