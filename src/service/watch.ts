// Watch: one reader's way along the journal, pulled at the reader's pace (W1 to W15).

import { SidecarError } from '../core/errors.ts';
import { type Cursor, type PlacedEntry, type Revision, revision } from '../core/invalidation.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { Degradations } from './degradation.ts';
import type { Invalidations } from './invalidations.ts';
import { Snapshots } from './snapshots.ts';
import type { SourceState } from './source-standing.ts';
import { type Acknowledged, Subscriptions } from './subscriptions.ts';
import { passes, type WatchFilter } from './watch-filter.ts';

/** What a watcher asks for. */
export interface Subscription {
  /** Exclusive; absent: from now. */
  readonly after?: Cursor | undefined;
  /** With everything that lives in the journal; `after` means nothing then. */
  readonly snapshot?: boolean | undefined;
  readonly filter?: WatchFilter | undefined;
  readonly checkpointIntervalMs?: number | undefined;
  /** Whose it is: who may acknowledge. */
  readonly owner?: string | undefined;
}

export type ResetReason = 'COMPACTED' | 'OTHER_JOURNAL' | 'SLOW_CONSUMER' | 'AHEAD' | 'KEYS_CHANGED';

/** What a watcher gets, in order. */
export type WatchMessage =
  | {
      readonly kind: 'opened';
      readonly earliest: Cursor;
      readonly latest: Cursor;
      readonly checkpointIntervalMs: number;
      readonly subscription: string;
      readonly proofLifetimeMs: number;
    }
  | { readonly kind: 'batch'; readonly entries: readonly PlacedEntry[] }
  | {
      readonly kind: 'checkpoint';
      readonly cursor: Cursor;
      readonly serverTimeMs: number;
      readonly provenThroughMs: number;
      readonly degradedIssuers: readonly string[];
      readonly sources: readonly SourceState[];
    }
  | { readonly kind: 'reset'; readonly reason: ResetReason; readonly cursor: Cursor; readonly earliest: Cursor }
  | { readonly kind: 'snapshot end'; readonly cursor: Cursor };

/** What watching needs. */
export interface WatchParts {
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly checkpointIntervalMs: number;
  readonly proofLifetimeMs: number;
  readonly maxWatchers: number;
  /** Aborts when the sidecar drains. */
  readonly draining: AbortSignal;
}

/** That everything until `throughMs` is among what is applied, but for news of these issuers. */
interface Proof {
  readonly throughMs: number;
  readonly degradedIssuers: readonly string[];
}

/** What is sent of the journal before anything else. */
interface Snapshot {
  readonly head: Revision;
  /** Of the moment when `head` was the newest. */
  readonly proof: Proof;
  readonly intervalMs: number;
  readonly filter: WatchFilter | undefined;
}

/** Entries in one message at the most; a slow reader gets them full, a fast one gets what there is. */
const batchLimit = 256;
/** Of a snapshot: small, and a pause after each, so that whoever asks for a million entries holds up no Validate. */
const snapshotBatch = 128;
const snapshotPauseMs = 1;
const shortestIntervalMs = 100;
const longestIntervalMs = 60_000;

/** All subscriptions of this sidecar. They share the ring; each has a cursor and nothing else. */
export class Watchers {
  readonly #parts: WatchParts;
  readonly #lag: { observe(value: number): void };
  readonly #snapshots: Snapshots;
  /** What ends the waits of each stream. One listener for all: a signal looks through those it has whenever one is added. */
  readonly #stops = new Set<() => void>();
  readonly #subscriptions: Subscriptions;

  constructor(parts: WatchParts) {
    this.#parts = parts;
    this.#lag = parts.telemetry.histogram('sidegate_watch_lag_revisions');
    this.#snapshots = new Snapshots(parts.clock);
    this.#subscriptions = new Subscriptions({ journal: parts.invalidations.journal.id, nowMs: () => parts.clock.nowMs() });
    const drain = (): void => {
      for (const stop of this.#stops) stop();
    };
    parts.draining.addEventListener('abort', drain, { once: true });
  }

  get count(): number {
    return this.#subscriptions.count;
  }

  /** As `Subscriptions.acknowledged`. */
  get acknowledged(): readonly Acknowledged[] {
    return this.#subscriptions.acknowledged;
  }

  /** As `Subscriptions.acknowledge`. */
  acknowledge(subscription: string, cursor: Cursor, owner: string): void {
    this.#subscriptions.acknowledge(subscription, cursor, owner);
  }

  /**
   * The stream of one subscriber, until `signal` aborts. Pulled: what the reader does not take is not made.
   * Throws RESOURCE_EXHAUSTED / TOO_MANY_WATCHERS, and as `Snapshots`; after the last checkpoint of a drain, or in the middle of a
   * snapshot, UNAVAILABLE / DRAINING (W12).
   */
  async *watch(subscription: Subscription, signal: AbortSignal): AsyncGenerator<WatchMessage, void, void> {
    const { maxWatchers } = this.#parts;
    if (this.count >= maxWatchers) {
      throw new SidecarError('RESOURCE_EXHAUSTED', `${maxWatchers} watchers are there already`, {
        reason: 'TOO_MANY_WATCHERS',
        retryAfterMs: 5000,
      });
    }
    const stop = new AbortController();
    const end = (): void => stop.abort();
    this.#stops.add(end);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted || this.#parts.draining.aborted) end();
    const open = this.#subscriptions.open(subscription.owner, this.#startOf(subscription));
    try {
      for await (const message of this.#follow(subscription, open.name, { signal, stop: stop.signal })) {
        open.sent = sentWith(message) ?? open.sent;
        yield message;
      }
    } finally {
      this.#subscriptions.close(open);
      this.#stops.delete(end);
      signal.removeEventListener('abort', end);
    }
  }

  /** Up to where a subscriber has everything before anything is sent: it may say so at once, when it comes again. */
  #startOf({ snapshot, after }: Subscription): Revision {
    const { journal, revision: latest } = this.#parts.invalidations.cursor();
    if (snapshot) return revision(0);
    if (after === undefined) return latest;
    return after.journal === journal && after.revision <= latest ? after.revision : revision(0);
  }

  async *#follow(
    subscription: Subscription,
    name: string,
    { signal, stop }: { readonly signal: AbortSignal; readonly stop: AbortSignal },
  ): AsyncGenerator<WatchMessage, void, void> {
    const { invalidations, clock, draining, proofLifetimeMs } = this.#parts;
    const intervalMs = this.#granted(subscription.checkpointIntervalMs);
    const latest = invalidations.cursor();
    // What has been sent is complete until the moment when it was all there was. The goal stands still until it is reached: with
    // one that moves on, whoever reads more slowly than entries come would never get a checkpoint (W7). Before anything is sent: while
    // it waits to be taken, more may be appended.
    let goal = { revision: latest.revision, proof: this.#proof() };
    yield { kind: 'opened', earliest: this.#earliest(), latest, checkpointIntervalMs: intervalMs, subscription: name, proofLifetimeMs };

    const after = subscription.snapshot ? undefined : subscription.after;
    if (subscription.snapshot) {
      yield* this.#snapshot({ head: latest.revision, proof: goal.proof, intervalMs, filter: subscription.filter }, stop);
      if (signal.aborted) return;
      yield { kind: 'snapshot end', cursor: latest };
    }
    let at = after?.revision ?? latest.revision;
    const refused = after && this.#whyNot(after);
    if (refused) {
      at = invalidations.applied;
      yield this.#reset(refused, at);
    }
    // The first checkpoint comes at once: it is what proves a near cache that has just been filled.
    let nextCheckpointMs = clock.monotonicMs();
    let proven: Proof | undefined;
    let told: Revision | undefined;
    while (!signal.aborted) {
      const seen = invalidations.changed.version;
      const applied = invalidations.applied;
      if (at >= goal.revision) {
        proven = at >= applied ? this.#proof() : goal.proof;
        goal = { revision: applied, proof: this.#proof() };
      }
      const remainingMs = nextCheckpointMs - clock.monotonicMs();
      const last = draining.aborted && at >= applied;
      // Behind, a batch comes between two checkpoints: a reader that takes an interval for each message gets both.
      const due = remainingMs <= 0 && (at >= applied || at !== told);
      if (proven !== undefined && (due || last)) {
        nextCheckpointMs = clock.monotonicMs() + intervalMs;
        told = at;
        yield this.#checkpoint(at, proven);
        if (last) throw isDraining();
      } else if (at < applied) {
        this.#lag.observe(applied - at);
        const entries = await this.#read(at);
        if (entries === 'gone') {
          at = invalidations.applied;
          yield this.#reset('SLOW_CONSUMER', at);
          continue;
        }
        const passed = entries.filter((placed) => passes(placed, subscription.filter));
        at = entries.at(-1)?.revision ?? applied;
        if (passed.length > 0) yield { kind: 'batch', entries: passed };
      } else {
        await this.#idle(seen, remainingMs, stop);
      }
    }
  }

  /** Everything that lives up to `head`, in order (W4). What ends before it is sent can concern nobody. */
  async *#snapshot({ head, proof, intervalMs, filter }: Snapshot, stop: AbortSignal): AsyncGenerator<WatchMessage, void, void> {
    const { invalidations, clock, draining } = this.#parts;
    const turn = this.#snapshots.begin();
    let saidAtMs = clock.monotonicMs();
    try {
      for (let at = revision(0); at < head; ) {
        const read = await invalidations.journal.read(at, snapshotBatch);
        const passed = read.filter((placed) => placed.revision <= head && passes(placed, filter));
        at = revision(Math.min(head, read.at(-1)?.revision ?? head));
        // Where the filter lets nothing through for long, the reader would take the stream for dead.
        const isQuiet = clock.monotonicMs() - saidAtMs >= intervalMs;
        if (passed.length > 0 || isQuiet) saidAtMs = clock.monotonicMs();
        if (passed.length > 0) yield { kind: 'batch', entries: passed };
        else if (isQuiet) yield this.#checkpoint(at, proof);
        turn.took();
        if (at < head) await clock.delay(snapshotPauseMs, stop).catch(() => undefined);
        if (draining.aborted) throw isDraining();
        if (stop.aborted) return;
      }
    } finally {
      turn.end();
    }
  }

  /** Until something is applied, the checkpoint is due, or the end. */
  async #idle(seen: number, remainingMs: number, stop: AbortSignal): Promise<void> {
    const over = new AbortController();
    const end = (): void => over.abort();
    stop.addEventListener('abort', end, { once: true });
    if (stop.aborted) end();
    try {
      await Promise.race([this.#parts.invalidations.changed.wait(seen, over.signal), this.#parts.clock.delay(remainingMs, over.signal)]);
    } catch (error) {
      // Only an abort can end the wait early; the loop looks why.
      if (!stop.aborted) throw error;
    } finally {
      stop.removeEventListener('abort', end);
      end();
    }
  }

  async #read(at: Revision): Promise<readonly PlacedEntry[] | 'gone'> {
    const { invalidations } = this.#parts;
    if (at < invalidations.journal.earliest()) return 'gone';
    const entries = await invalidations.after(at, batchLimit);
    // The floor may have passed us while the journal was read: then something may be missing from what came.
    return at < invalidations.journal.earliest() ? 'gone' : entries;
  }

  #whyNot(after: Cursor): ResetReason | undefined {
    const { invalidations } = this.#parts;
    if (after.journal !== invalidations.journal.id) return 'OTHER_JOURNAL';
    if (after.revision > invalidations.journal.head()) return 'AHEAD';
    if (after.revision < invalidations.journal.earliest()) return 'COMPACTED';
    if (after.revision < invalidations.keysChangedAt) return 'KEYS_CHANGED';
    return undefined;
  }

  #reset(reason: ResetReason, at: Revision): WatchMessage {
    this.#parts.telemetry.counter('sidegate_watch_resets_total', { reason }).add();
    return { kind: 'reset', reason, cursor: this.#parts.invalidations.cursor(at), earliest: this.#earliest() };
  }

  /** What is applied now is complete until now, as far as every source of news has proven that it has told; who has not is degraded. */
  #proof(): Proof {
    const { clock, degradations } = this.#parts;
    return {
      throughMs: Math.min(clock.nowMs(), degradations.provenThroughMs()),
      degradedIssuers: degradations.all().map(({ issuer }) => issuer),
    };
  }

  #checkpoint(at: Revision, proven: Proof): WatchMessage {
    const { invalidations, clock, degradations } = this.#parts;
    const now = this.#proof();
    return {
      kind: 'checkpoint',
      cursor: invalidations.cursor(at),
      serverTimeMs: clock.nowMs(),
      provenThroughMs: proven.throughMs,
      // To a reader that is behind, an issuer that was degraded then still is: what its source had to tell is not among what was sent.
      degradedIssuers: [...new Set([...proven.degradedIssuers, ...now.degradedIssuers])],
      sources: degradations.sources(),
    };
  }

  #earliest(): Cursor {
    const { invalidations } = this.#parts;
    return invalidations.cursor(revision(Math.max(invalidations.journal.earliest(), 0)));
  }

  #granted(wishedMs: number | undefined): number {
    const wanted = wishedMs === undefined || wishedMs === 0 ? this.#parts.checkpointIntervalMs : wishedMs;
    return Math.min(longestIntervalMs, this.#parts.proofLifetimeMs / 3, Math.max(shortestIntervalMs, wanted));
  }
}

/** Up to where everything has been sent with it. */
function sentWith(message: WatchMessage): Revision | undefined {
  if (message.kind === 'batch') return message.entries.at(-1)?.revision;
  return message.kind === 'opened' ? undefined : message.cursor.revision;
}

function isDraining(): SidecarError {
  return new SidecarError('UNAVAILABLE', 'the sidecar is draining', { reason: 'DRAINING', retryAfterMs: 1000 });
}
