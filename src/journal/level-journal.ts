// The journal on disk: LevelDB, one synced batch for all that waits.

import type { SidecarError } from '../core/errors.ts';
import { type Entry, type PlacedEntry, type Revision, revision } from '../core/invalidation.ts';
import type { Journal, Outbox } from '../ports.ts';
import { type First, type Operation, planForgetting, planWrite, put, type Waiting } from './batch.ts';
import { closed, failed, type Once, unreadable } from './contract.ts';
import type { JournalIdentity } from './identity.ts';
import { type Database, sizeOf } from './level-database.ts';
import { encodeProof, type Proof } from './proof.ts';
import { Recent } from './recent.ts';
import { decodeLetter, decodeOnce, decodeRecord, encodeLetter, encodeRecord, keys, lastPlaceIn } from './records.ts';
import { WriteLane } from './write-lane.ts';

/** Entries that share one sync. 1,024 of a few hundred bytes: the write costs no more than its sync. */
export const maxBatch = 1024;
/** Appends that wait for the disk, some 30 MB at most; beyond it RESOURCE_EXHAUSTED. */
export const maxWaiting = 65_536;
/** Entries that compaction looks at between two appends: some milliseconds. */
const compactBatch = 500;

/** An open database, and what opening found in it. */
export interface OpenedDatabase {
  readonly database: Database;
  readonly dir: string;
  readonly identity: JournalIdentity;
  readonly proof: Proof;
  /** The greatest id that may be of an entry; undefined: there is none. */
  readonly newestId: string | undefined;
  readonly corruption: string | undefined;
}

/** The journal of one database. Made by `openLevelJournal`. */
export class LevelJournal implements Journal {
  readonly id: string;
  readonly bornAtMs: number;
  readonly corruption: string | undefined;
  readonly outbox: Outbox = {
    put: (id, record) => this.#keep(keys.letter(id), encodeLetter(record)),
    remove: (id) => this.#keep(keys.letter(id), undefined),
    list: async () => (await this.#reading(() => this.#database.iterator(keys.letters).all())).map(decodeLetter),
  };
  readonly #database: Database;
  readonly #dir: string;
  readonly #lane: WriteLane<Waiting>;
  readonly #recent: Recent;
  // Replaced when what it tells is durable; only in a turn of the lane.
  #proof: Proof;
  #failure: string | undefined;
  #closing: Promise<void> | undefined;

  constructor({ database, dir, identity, proof, newestId, corruption }: OpenedDatabase) {
    this.id = identity.id;
    this.bornAtMs = identity.bornAtMs;
    this.corruption = corruption;
    this.#database = database;
    this.#dir = dir;
    this.#proof = proof;
    this.#recent = new Recent(proof.head, newestId);
    this.#lane = new WriteLane({ batch: maxBatch, waiting: maxWaiting }, (batch) => this.#commit(batch));
  }

  failure(): string | undefined {
    return this.#failure;
  }

  head(): Revision {
    return revision(this.#proof.head);
  }

  earliest(): Revision {
    return revision(this.#proof.earliest);
  }

  count(): number {
    return this.#proof.count;
  }

  async sizeBytes(): Promise<number> {
    return await sizeOf(this.#dir);
  }

  append(entry: Entry, once?: Once): Promise<PlacedEntry> {
    return new Promise((resolve, reject) => {
      this.#requireWritable();
      this.#lane.add({ kind: 'entry', entry, text: encodeRecord(entry, once?.key), once, resolve, reject });
    });
  }

  async skipTo(head: Revision): Promise<void> {
    await this.#lane.inTurn(async () => {
      this.#requireWritable();
      if (head > this.#proof.head) await this.#writeOrFail([], { ...this.#proof, head });
    });
  }

  note(name: string, value: string): Promise<void> {
    return this.#keep(keys.note(name), value);
  }

  async noted(name: string): Promise<string | undefined> {
    return await this.#reading(() => this.#database.get(keys.note(name)));
  }

  async read(after: Revision, limit: number): Promise<PlacedEntry[]> {
    const recent = this.#closing === undefined ? this.#recent.read(after, limit) : undefined;
    if (recent) return recent;
    // Up to the head: what is written further is not acknowledged yet.
    const range = { gt: keys.entry(after), lte: keys.entry(this.#proof.head), limit };
    const rows = await this.#reading(() => this.#database.iterator(range).all());
    return rows.map(([key, text]) => ({ revision: revision(lastPlaceIn(key)), entry: decodeRecord(text).entry }));
  }

  async find(entryId: string): Promise<PlacedEntry | undefined> {
    const place = this.#closing === undefined ? this.#recent.placeOf(entryId) : undefined;
    if (place === 'nowhere') return undefined;
    const found = place === undefined ? undefined : await this.at(place);
    if (found) return found;
    const [key] = await this.#reading(() => this.#database.keys({ ...keys.idRange(entryId), limit: 1 }).all());
    return key === undefined ? undefined : await this.at(revision(lastPlaceIn(key)));
  }

  async at(at: Revision): Promise<PlacedEntry | undefined> {
    return await this.#reading(() => this.#entryAt(at));
  }

  async compact(times: { readonly nowMs: number; readonly floorMs: number }): Promise<number> {
    this.#requireWritable();
    // Before anything is forgotten: what is gone can no longer tell when it was learned.
    await this.#raiseEarliest(times.floorMs);
    let forgotten = 0;
    let from: string | undefined = '';
    while (from !== undefined) {
      const after: string = from;
      const turn = await this.#lane.inTurn(() => this.#forget(times.nowMs, after));
      forgotten += turn.forgotten;
      from = turn.last;
    }
    return forgotten;
  }

  close(): Promise<void> {
    this.#closing ??= this.#lane.drained().then(() => this.#database.close());
    return this.#closing;
  }

  #keep(key: string, value: string | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#requireWritable();
      this.#lane.add({ kind: 'value', key, value, resolve, reject });
    });
  }

  async #entryAt(at: Revision): Promise<PlacedEntry | undefined> {
    if (at > this.#proof.head) return undefined;
    const recent = this.#recent.at(at);
    if (recent) return recent;
    const text = await this.#database.get(keys.entry(at));
    return text === undefined ? undefined : { revision: at, entry: decodeRecord(text).entry };
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    try {
      if (this.#failure !== undefined) throw failed();
      for (const settle of await this.#writeTogether(batch)) settle();
    } catch (error) {
      const failure = this.#fail(error);
      for (const waiting of batch) waiting.reject(failure);
    }
  }

  /** Writes a batch with one sync. Answers what tells each of the waiting how it went. */
  async #writeTogether(batch: readonly Waiting[]): Promise<readonly (() => void)[]> {
    const firsts = await this.#firsts(batch);
    const { operations, proof, placed, settlements } = planWrite(batch, firsts, this.#proof);
    if (operations.length > 0) await this.#write(operations, proof, placed);
    return settlements;
  }

  /** What has been appended before under the keys of `batch`. */
  async #firsts(batch: readonly Waiting[]): Promise<Map<string, First>> {
    const firsts = new Map<string, First>();
    const wanted = new Set<string>();
    for (const waiting of batch) if (waiting.kind === 'entry' && waiting.once !== undefined) wanted.add(waiting.once.key);
    if (wanted.size === 0) return firsts;
    const onceKeys = [...wanted];
    const texts = await this.#database.getMany(onceKeys.map(keys.once));
    for (const [index, key] of onceKeys.entries()) {
      const text = texts[index];
      const written = text === undefined ? undefined : decodeOnce(text);
      if (written === undefined) continue;
      // Where the entry itself is missing, the key stands for nothing: append it again.
      const placed = await this.#entryAt(revision(written.revision));
      if (placed !== undefined) firsts.set(key, { digest: written.digest, placed });
    }
    return firsts;
  }

  async #raiseEarliest(floorMs: number): Promise<void> {
    let raised = this.#proof.earliest;
    let full = true;
    while (full) {
      const page = await this.read(revision(raised), compactBatch);
      const fresh = page.findIndex(({ entry }) => entry.learnedAtMs >= floorMs);
      const old = fresh < 0 ? page : page.slice(0, fresh);
      raised = old.at(-1)?.revision ?? raised;
      full = old.length === compactBatch;
    }
    await this.#lane.inTurn(async () => {
      this.#requireWritable();
      if (raised > this.#proof.earliest) await this.#writeOrFail([], { ...this.#proof, earliest: raised });
    });
  }

  /** Forgets one batch of what ended before `nowMs`, beginning above the key `after`. `last`: go on there; undefined: that was all. */
  async #forget(nowMs: number, after: string): Promise<{ readonly forgotten: number; readonly last: string | undefined }> {
    this.#requireWritable();
    // Not from the start again: LevelDB would step over all that the batches before have deleted.
    const range = { ...(after === '' ? { gte: 'x/' } : { gt: after }), lt: keys.endsBefore(nowMs), limit: compactBatch };
    const ends = await this.#reading(() => this.#database.keys(range).all());
    if (ends.length === 0) return { forgotten: 0, last: undefined };
    const texts = await this.#reading(() => this.#database.getMany(ends.map((end) => keys.entry(lastPlaceIn(end)))));
    const { operations, proof } = planForgetting(ends, texts, this.#proof);
    const forgotten = this.#proof.count - proof.count;
    // Told before it is done: whoever reads a gap and then asks for `earliest` must find that it has moved.
    this.#proof = { ...this.#proof, earliest: proof.earliest };
    await this.#writeOrFail(operations, proof);
    if (forgotten > 0) this.#recent.forget(proof.head);
    return { forgotten, last: ends.length === compactBatch ? ends.at(-1) : undefined };
  }

  async #writeOrFail(operations: readonly Operation[], proof: Proof): Promise<void> {
    try {
      await this.#write(operations, proof);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** One batch, one sync, with the proof of what lives after it. */
  async #write(operations: readonly Operation[], proof: Proof, placed: readonly PlacedEntry[] = []): Promise<void> {
    // Notes and letters change no proof. After a hole was found the old one stays until something is appended: were it mended before the
    // REFRESH of everything is there, a crash in between would hide the hole for ever.
    const proven = proof === this.#proof ? operations : [...operations, put(keys.proof, encodeProof(proof))];
    await this.#database.batch([...proven], { sync: true });
    // Together: whoever sees the head and reads up to it must find all of them.
    this.#proof = proof;
    for (const one of placed) this.#recent.add(one);
  }

  /** From now on nothing is acknowledged: after a failed sync nobody knows what is on the disk, not even the kernel. */
  #fail(error: unknown): SidecarError {
    this.#failure ??= `a write failed: ${error instanceof Error ? error.message : String(error)}`;
    return failed(error);
  }

  async #reading<T>(read: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw closed();
    try {
      return await read();
    } catch (error) {
      throw this.#closing === undefined ? unreadable(error) : closed();
    }
  }

  #requireWritable(): void {
    if (this.#closing !== undefined) throw closed();
    if (this.#failure !== undefined) throw failed();
  }
}
