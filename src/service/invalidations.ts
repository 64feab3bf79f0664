// The one road: append to the journal, follow it into the index, wake whoever waits.

import { byRarity } from '../core/attributes.ts';
import { entryIdOf, freshRequestId, onceKeyOf } from '../core/entry-id.ts';
import { refreshes, saysTheSame, underAnotherId } from '../core/entry-rules.ts';
import { SidecarError } from '../core/errors.ts';
import { History } from '../core/history.ts';
import { type Cursor, type Effect, type Entry, type Origin, type PlacedEntry, type Revision, revision } from '../core/invalidation.ts';
import { type Coverable, type Covering, firstTagsOf, InvalidationIndex, mayFit } from '../core/invalidation-index.ts';
import type { Selector } from '../core/selector.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock, Journal, Telemetry } from '../ports.ts';
import { Compaction } from './compaction.ts';
import { joinKeyIds, KeyNotes } from './key-notes.ts';
import { Merging } from './merging.ts';
import { Wakeup } from './wakeup.ts';

/** What is to be appended; the journal's side adds id, times and place. */
export interface Draft {
  readonly effect: Effect;
  readonly selector: Selector;
  readonly issuedBeforeMs?: number;
  /** REFRESH, also that of a REVOKE which `alsoRefreshes`: it takes effect token by token, spread over so many milliseconds (S7). */
  readonly spreadMs?: number;
  /** A REVOKE by news is a REFRESH of its selector at the same revision (S4). */
  readonly alsoRefreshes?: true;
  /** News: when it happened, by its source's clock. The entry's id begins with that second, so it is the same wherever it is told (S14). */
  readonly atMs?: number;
  /** How long after its appending it matters, skew included (S12); `Infinity`: for ever. */
  readonly lifeMs: number;
  /** The deployment keys that a fingerprint in the selector may be made with; absent: the newest. */
  readonly keyIds?: readonly string[];
  readonly origin: Origin;
}

/**
 * Makes an append idempotent: a retry of `caller` under `requestId` is the first entry, another `body` is ALREADY_EXISTS (S14). News are
 * named like that too: told again they are the entry that they were.
 */
export interface Request {
  readonly caller: string;
  readonly requestId: string;
  readonly body: string;
}

/** What an entry's id is made of, where it is to be the same wherever the same news are told; no idempotency goes with it. */
export interface Naming extends Pick<Request, 'caller' | 'requestId'> {
  /** Named after the first of several that it stands for: where another sidecar has told that one, it is not all that these say. */
  readonly standsForMore?: boolean;
}

/** Appended, durable and applied here. */
export interface Appended {
  readonly asOf: Cursor;
  readonly entryId: string;
  readonly atMs: number;
}

/** One that another has made. */
type ReceivedEntry = Entry & { readonly from: string };

/** What is looked up again and again, and what was found last: a hit only looks at what is new since. */
export interface Looked extends Coverable {
  covering: Covering;
  /** What the invalidations up to there mean for it; -1: it has not been looked up. */
  checkedRevision: number;
}

/** What a hit looks at of an entry that is new since. */
interface FirstTags {
  readonly revision: Revision;
  readonly firstTags: Uint32Array;
}

/** What the road needs. */
export interface RoadParts {
  readonly journal: Journal;
  readonly tagger: Tagger;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** S6. */
  readonly settleMs: number;
  /** S7: what a broad REFRESH is spread over where there is no room to ask. */
  readonly wideWindowMs: number;
  /** How long facts may serve, skew included: what a watcher may still hold (S12, the REFRESH floor). */
  readonly factsLifeMs: number;
  /** How long a REFRESH matters: as long as anything that it makes stale is kept, skew included. */
  readonly refreshLifeMs: number;
  /** Entries kept for watchers in memory. */
  readonly ring: number;
}

const readBatch = 1024;
/** More new entries than this, and a lookup in the index costs less than a look at each. */
const fewNew = 16;

/** The invalidations of this sidecar: durable in the journal, live in the index, recent in the ring. */
export class Invalidations {
  readonly journal: Journal;
  /** Wakes whenever `applied` moves. */
  readonly changed: Wakeup = new Wakeup();
  readonly #parts: RoadParts;
  readonly #index: InvalidationIndex;
  readonly #appended = new Wakeup();
  readonly #keys: KeyNotes;
  readonly #merging: Merging;
  readonly #compaction: Compaction;
  readonly #appendSeconds: { observe(value: number): void };
  readonly #appliedSeconds: { observe(value: number): void };
  readonly #counters = new Map<string, { add(n?: number): void }>();
  /** For watchers, and for what is told to a fleet. */
  #ring: History<PlacedEntry>;
  /** For hits: no more than they look at. */
  #newest: History<FirstTags> = new History(fewNew, 0);
  #applied: Revision = revision(0);
  #inPart = 0;
  #failureSaid = false;
  #widenedSaid = false;
  #keysChangedAt: Revision = revision(0);

  constructor(parts: RoadParts) {
    this.#parts = parts;
    this.journal = parts.journal;
    this.#index = new InvalidationIndex(parts.tagger, parts);
    this.#ring = new History(parts.ring, 0);
    this.#keys = new KeyNotes(parts);
    this.#merging = new Merging(parts, (draft, naming, signal) => this.append(draft, naming, signal));
    this.#compaction = new Compaction(parts, (nowMs) => this.#index.sweep(nowMs));
    this.#appendSeconds = parts.telemetry.histogram('sidegate_journal_append_duration_seconds');
    this.#appliedSeconds = parts.telemetry.histogram('sidegate_revoke_applied_seconds');
    parts.telemetry.gauge('sidegate_journal_failed', {}, () => (parts.journal.failure() === undefined ? 0 : 1));
  }

  /** Everything up to here is in the index. */
  get applied(): Revision {
    return this.#applied;
  }

  /** Selectors in the index. */
  get size(): number {
    return this.#index.size;
  }

  /** Cursors below this were made under another newest deployment key: their holders' tags mean nothing now (S14). */
  get keysChangedAt(): Revision {
    return this.#keysChangedAt;
  }

  /** Entries of another version that were read and are only understood in part: they refresh what they may concern (S3). */
  get inPart(): number {
    return this.#inPart;
  }

  /** Where a Validate or a watcher stands now. */
  cursor(at: Revision = this.#applied): Cursor {
    return { journal: this.journal.id, revision: at };
  }

  /**
   * Reads the whole journal into the index. Resolves when everything up to its head is applied.
   * Where the journal is not whole, everything is refreshed, and it is said.
   */
  async load(): Promise<void> {
    const { journal, telemetry, ring } = this.#parts;
    const head = journal.head();
    // The ring begins here: what happened before is read from the journal by the few who resume that far back.
    this.#ring = new History(ring, head);
    this.#newest = new History(fewNew, head);
    await this.#readOn((placed) => {
      this.#keys.checkFor(placed);
      if (placed.entry.inPart) this.#inPart += 1;
      if (!this.#index.add(placed, this.#appliedAt(placed))) this.#widened();
    });
    this.#applied = revision(Math.max(this.#applied, head));
    if (this.#inPart > 0)
      telemetry.log.warn({ entries: this.#inPart }, 'entries of another version are understood in part: they refresh instead');
    if (journal.corruption !== undefined) {
      telemetry.log.error({ journal: journal.id, corruption: journal.corruption }, 'the journal is not whole: everything is refreshed');
      await this.#write({
        effect: 'REFRESH',
        selector: { kind: 'everything' },
        lifeMs: this.#parts.refreshLifeMs,
        origin: { source: 'journal', reason: journal.corruption },
      });
      await this.#apply();
    }
    // After that: a hole in the journal is forgotten with the first thing that is written.
    this.#keysChangedAt = await this.#keys.noteNewest();
  }

  /** Applies what is appended, and compacts, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const compacting = this.#compaction.run(signal);
    while (!signal.aborted) {
      const seen = this.#appended.version;
      if (this.journal.head() > this.#applied) {
        try {
          await this.#apply();
        } catch (error) {
          this.#parts.telemetry.log.error({ error }, 'the journal cannot be read; trying again in a second');
          await this.#parts.clock.delay(1000, signal).catch(() => undefined);
        }
      } else {
        await this.#appended.wait(seen, signal).catch(() => undefined);
      }
    }
    await compacting;
  }

  /**
   * Appends and applies. Resolves when a Validate that starts now sees it.
   * Throws UNAVAILABLE / JOURNAL_FAILED where it is not durable, ALREADY_EXISTS for another body under the same request id,
   * RESOURCE_EXHAUSTED / TOO_MANY_FORMS, but not for news (S3), and DEADLINE_EXCEEDED / NOT_APPLIED_YET where `signal` aborts when it is
   * durable already.
   */
  async append(said: Draft, request?: Naming | Request, signal?: AbortSignal): Promise<Appended> {
    const draft = this.#withRoom(said);
    const { clock } = this.#parts;
    const startedMs = clock.monotonicMs();
    const headBefore = this.journal.head();
    const { placed, atMs } = await this.#write(draft, request);
    this.#appendSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
    await this.#waitToBeApplied(placed.revision, signal);
    this.#appliedSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
    // What has been told before is the entry that it was then.
    if (placed.revision > headBefore) this.#countOf(draft.origin.source, draft.effect);
    return { asOf: this.cursor(revision(Math.max(placed.revision, this.#applied))), entryId: placed.entry.id, atMs };
  }

  /** As `Merging.announce`: an append for sources that repeat themselves (S6). */
  announce(draft: Draft, signal: AbortSignal, naming?: Naming): Promise<Appended> {
    return this.#merging.announce(draft, signal, naming);
  }

  /**
   * Appends entries that others have made, under their own ids, and applies them; what is here already, or has ended, is left out. Resolves
   * with the number of new ones when a Validate that starts now sees all of them. Rejects as `append`, and with the signal's reason.
   */
  async receive(entries: readonly ReceivedEntry[], signal?: AbortSignal): Promise<number> {
    const { clock, refreshLifeMs } = this.#parts;
    const fresh = await this.#fresh(entries);
    const learnedAtMs = clock.nowMs();
    const placed = await Promise.all(
      fresh.map((entry) => {
        // Facts may have been fetched here since it was made: it matters as long as one that is made now.
        const lifeMs = refreshes(entry) ? refreshLifeMs + 2 * (entry.spreadMs ?? 0) : 0;
        return this.journal.append({ ...entry, learnedAtMs, forgetAtMs: Math.max(entry.forgetAtMs, learnedAtMs + lifeMs) });
      }),
    ).catch((error: unknown) => {
      this.#sayFailure();
      throw error;
    });
    this.#appended.wake();
    const last = placed.at(-1);
    if (last) await this.waitFor(last.revision, signal);
    for (const { effect } of fresh) this.#countOf('fleet', effect);
    return fresh.length;
  }

  /** Those of them that are not here; of two that are the same, one. */
  async #fresh(entries: readonly ReceivedEntry[]): Promise<readonly ReceivedEntry[]> {
    const steadyMs = this.steadyNowMs();
    const fresh = new Map<string, ReceivedEntry>();
    const notHere = await Promise.all(entries.map((entry) => this.#unlessHere(entry)));
    for (const entry of notHere) {
      if (entry === undefined || entry.forgetAtMs < steadyMs) continue;
      const before = fresh.get(entry.id);
      const differs = before !== undefined && !saysTheSame(before, entry);
      const told = differs ? await this.#unlessHere(underAnotherId(entry)) : entry;
      if (told !== undefined && !fresh.has(told.id)) fresh.set(told.id, told);
    }
    return [...fresh.values()];
  }

  /** Where another says something else under an id that is here, as who had no room for the form of the same news, both hold. */
  async #unlessHere(entry: ReceivedEntry): Promise<ReceivedEntry | undefined> {
    const known = await this.journal.find(entry.id);
    if (known === undefined) return entry;
    if (saysTheSame(known.entry, entry)) return undefined;
    const another = underAnotherId(entry);
    return (await this.journal.find(another.id)) === undefined ? another : undefined;
  }

  /** As `Compaction.steadyNowMs`. */
  steadyNowMs(): number {
    return this.#compaction.steadyNowMs();
  }

  /** Resolves when `wanted` is applied; rejects with the signal's reason. */
  async waitFor(wanted: Revision, signal?: AbortSignal): Promise<void> {
    while (this.#applied < wanted) {
      await this.changed.wait(this.changed.version, signal);
    }
  }

  /**
   * What covers this token now. One comparison where nothing has been applied since it was last asked for this record; where only a
   * few entries have, those alone are looked at, whatever the number of live ones; else its attributes × forms in use.
   */
  covering(known: Looked): Covering {
    if (known.checkedRevision !== this.#applied) {
      const touched = this.#newest.someAfter(known.checkedRevision, fewNew, (item) => mayFit(item.firstTags, known.attributes));
      if (touched !== false) known.covering = this.#index.covering(known);
      known.checkedRevision = this.#applied;
    }
    return known.covering;
  }

  /** The same for something that is not kept. */
  coveringOf(token: Coverable): Covering {
    return this.#index.covering(token);
  }

  /** Applied entries above `after`, oldest first: from the ring, or from the journal where the ring no longer reaches. */
  async after(after: Revision, limit: number): Promise<readonly PlacedEntry[]> {
    const recent = this.#ring.after(after, limit);
    if (recent) return recent;
    const read = await this.journal.read(after, limit);
    return read.filter((placed) => placed.revision <= this.#applied);
  }

  /** The oldest applied entry above `after` that is in memory: where the ring no longer reaches, a younger one. */
  oldestInMemory(after: Revision): PlacedEntry | undefined {
    return this.#ring.after(Math.max(after, this.#ring.since), 1)?.[0];
  }

  #countOf(source: string, effect: Effect): void {
    const key = `${effect} ${source}`;
    let counter = this.#counters.get(key);
    if (!counter) {
      counter = this.#parts.telemetry.counter('sidegate_invalidations_total', { source, effect: effect.toLowerCase() });
      this.#counters.set(key, counter);
    }
    counter.add();
  }

  async #write(draft: Draft, request?: Naming | Request): Promise<{ placed: PlacedEntry; atMs: number }> {
    const atMs = this.#parts.clock.nowMs();
    const name = { caller: request?.caller ?? draft.origin.source, requestId: request?.requestId || freshRequestId() };
    const entry = {
      id: this.#idOf(draft, name, atMs),
      effect: draft.effect,
      selector: draft.selector,
      ...(draft.issuedBeforeMs === undefined ? {} : { issuedBeforeMs: draft.issuedBeforeMs }),
      ...(draft.spreadMs === undefined ? {} : { spreadMs: draft.spreadMs }),
      alsoRefreshes: draft.alsoRefreshes ?? false,
      learnedAtMs: atMs,
      forgetAtMs: atMs + draft.lifeMs,
      keyId: joinKeyIds(draft.keyIds ?? [this.#parts.tagger.newestKeyId]),
      origin: draft.origin,
    };
    // News that another sidecar has heard, and told the fleet of, before we did.
    const told = draft.atMs === undefined || request === undefined ? undefined : await this.journal.find(entry.id);
    if (told?.entry.from !== undefined && saysTheSame(told.entry, entry)) {
      const isAll = request === undefined || !('standsForMore' in request) || !request.standsForMore;
      if (isAll) return { placed: told, atMs };
      const fresh = { ...entry, id: entryIdOf({ ...name, requestId: freshRequestId() }, draft.atMs ?? atMs) };
      return { placed: await this.#keep(fresh, undefined), atMs };
    }
    const once = request && 'body' in request && request.requestId ? { key: onceKeyOf(name), digest: request.body } : undefined;
    return { placed: await this.#keep(entry, once), atMs };
  }

  async #keep(entry: Entry, once: Parameters<Journal['append']>[1]): Promise<PlacedEntry> {
    const placed = await this.journal.append(entry, once).catch((error: unknown) => {
      this.#sayFailure();
      throw error;
    });
    this.#appended.wake();
    return placed;
  }

  /** Of news the same wherever they are told; of what is asked for here another one than wherever else the same is asked for (S14). */
  #idOf({ atMs: happenedAtMs }: Draft, name: Naming, nowMs: number): string {
    if (happenedAtMs !== undefined) return entryIdOf(name, happenedAtMs);
    return entryIdOf({ ...name, caller: `${this.journal.id} ${name.caller}` }, nowMs);
  }

  /** Once: from now on nothing is acknowledged, until somebody mends the disk and starts again. */
  #sayFailure(): void {
    const failure = this.journal.failure();
    if (failure === undefined || this.#failureSaid) return;
    this.#failureSaid = true;
    this.#parts.telemetry.log.error(
      { journal: this.journal.id, failure },
      'the journal cannot be written: no Revoke is acknowledged any more',
    );
  }

  async #waitToBeApplied(wanted: Revision, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.waitFor(wanted, signal);
    } catch (error) {
      // Only the signal ends the wait early, with a reason that is no SidecarError.
      const message = 'it is durable and will be applied, but was not before the caller left';
      throw new SidecarError('DEADLINE_EXCEEDED', message, { reason: 'NOT_APPLIED_YET', cause: error });
    }
  }

  /**
   * Where too many selectors of unusual forms are live, a caller is told so. News cannot be turned away: they become a REFRESH of the
   * condition that concerns the fewest tokens (S3). It may concern too much, and kills nothing: what has died is refused when it is asked for.
   */
  #withRoom(draft: Draft): Draft {
    const { selector } = draft;
    if (this.#index.hasRoomFor(selector) || selector.kind === 'everything') return draft;
    const [rarest] = selector.conditions.toSorted((one, other) => byRarity(one.dimension, other.dimension));
    if (draft.atMs === undefined || !rarest) {
      throw new SidecarError('RESOURCE_EXHAUSTED', 'too many selectors of unusual forms are live', { reason: 'TOO_MANY_FORMS' });
    }
    const { issuedBeforeMs, alsoRefreshes, ...rest } = draft;
    return { ...rest, effect: 'REFRESH', selector: { ...selector, conditions: [rarest] } };
  }

  async #apply(): Promise<void> {
    await this.#readOn((placed) => this.#take(placed));
    // Holes at the head: the newest entries may already be forgotten.
    const head = this.journal.head();
    if (head > this.#applied && (await this.journal.read(this.#applied, 1)).length === 0) this.#move(head);
  }

  #take(placed: PlacedEntry): void {
    if (placed.entry.inPart) this.#inPart += 1;
    const sets = this.#parts.tagger.tagSets(placed.entry.selector);
    if (!this.#index.add(placed, this.#parts.clock.monotonicMs(), sets)) this.#widened();
    this.#ring.push(placed);
    this.#newest.push({ revision: placed.revision, firstTags: firstTagsOf(sets) });
  }

  async #readOn(take: (placed: PlacedEntry) => void): Promise<void> {
    for (;;) {
      const batch = await this.journal.read(this.#applied, readBatch);
      for (const placed of batch) take(placed);
      const last = batch.at(-1);
      if (last) this.#move(last.revision);
      if (batch.length < readBatch) return;
    }
  }

  /** It came from the log of a fleet, or was told before a restart: it cannot be turned away. */
  #widened(): void {
    const { telemetry } = this.#parts;
    telemetry.counter('sidegate_invalidations_widened_total').add();
    if (this.#widenedSaid) return;
    this.#widenedSaid = true;
    telemetry.log.warn(
      { journal: this.journal.id },
      'too many selectors of unusual forms are live: some concern more tokens than they say',
    );
  }

  #move(to: Revision): void {
    this.#applied = to;
    this.changed.wake();
  }

  /** When an entry from before this process was applied: as if then, by the wall clock; never in the future. */
  #appliedAt(placed: PlacedEntry): number {
    const { clock } = this.#parts;
    return clock.monotonicMs() - Math.max(0, clock.nowMs() - placed.entry.learnedAtMs);
  }
}
