// The road without its listeners: a journal, what follows it, and who watches, on a clock that a test holds.

import type { Selector } from '../../src/core/selector.ts';
import { createTagger, type DeploymentKey } from '../../src/core/tag.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Journal } from '../../src/ports.ts';
import { Degradations } from '../../src/service/degradation.ts';
import { type Draft, Invalidations } from '../../src/service/invalidations.ts';
import { type Subscription, Watchers, type WatchMessage } from '../../src/service/watch.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';

/** What differs from the usual. */
export interface RoadOptions {
  /** Absent: in memory. */
  readonly journal?: Journal;
  readonly clock?: FakeClock;
  readonly ring?: number;
  /** Newest first. */
  readonly keys?: readonly [DeploymentKey, ...DeploymentKey[]];
  readonly settleMs?: number;
  readonly wideWindowMs?: number;
  readonly factsLifeMs?: number;
  readonly maxWatchers?: number;
}

/** A road that runs. */
export interface Road {
  readonly clock: FakeClock;
  readonly telemetry: FakeTelemetry;
  readonly journal: Journal;
  readonly invalidations: Invalidations;
  readonly watchers: Watchers;
  readonly degradations: Degradations;
  readonly draining: AbortController;
  /** A stream, and its end. */
  watch(subscription?: Subscription): Stream;
  /** Ends the applier; the journal stays open. */
  stop(): Promise<void>;
}

/** One watcher, pulled by hand. */
export interface Stream {
  readonly messages: AsyncGenerator<WatchMessage, void, void>;
  /** The next message; throws at the end. */
  next(): Promise<WatchMessage>;
  leave(): Promise<void>;
}

export const usualKey: DeploymentKey = { id: 'k1', secret: Buffer.alloc(32, 1) };

/** Builds, loads and runs it. */
export async function startRoad(options: RoadOptions = {}): Promise<Road> {
  const clock = options.clock ?? createFakeClock();
  const telemetry = createFakeTelemetry();
  const journal = options.journal ?? createMemoryJournal({ clock });
  const invalidations = new Invalidations({
    journal,
    tagger: createTagger(options.keys ?? [usualKey]),
    clock,
    telemetry,
    settleMs: options.settleMs ?? 2000,
    wideWindowMs: options.wideWindowMs ?? 30_000,
    factsLifeMs: options.factsLifeMs ?? 302_000,
    refreshLifeMs: 602_000,
    ring: options.ring ?? 64,
  });
  const degradations = new Degradations({ clock, telemetry, maxLagMs: 10_000 });
  const draining = new AbortController();
  const watchers = new Watchers({
    invalidations,
    degradations,
    clock,
    telemetry,
    checkpointIntervalMs: 1000,
    proofLifetimeMs: 10_000,
    maxWatchers: options.maxWatchers ?? 8,
    draining: draining.signal,
  });
  const end = new AbortController();
  await invalidations.load();
  const running = invalidations.run(end.signal);
  return {
    clock,
    telemetry,
    journal,
    invalidations,
    watchers,
    degradations,
    draining,
    watch: (subscription = {}) => {
      const signal = new AbortController();
      const messages = watchers.watch(subscription, signal.signal);
      return {
        messages,
        next: async () => {
          const { value } = await messages.next();
          if (!value) throw new Error('the stream has ended');
          return value;
        },
        leave: async () => {
          signal.abort();
          await messages.return();
        },
      };
    },
    stop: async () => {
      end.abort();
      await running;
    },
  };
}

/** Tokens of this user of `central`. */
export const user = (value: string): Selector => ({ kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value }] });

/** A REVOKE for an hour, of everything issued so far. */
export const revokeOf = (selector: Selector, more: Partial<Draft> = {}): Draft => ({
  effect: 'REVOKE',
  selector,
  lifeMs: 3_600_000,
  origin: { source: 'rpc' },
  ...more,
});

/** A REFRESH for as long as facts live. */
export const refreshOf = (selector: Selector, more: Partial<Draft> = {}): Draft =>
  revokeOf(selector, { effect: 'REFRESH', lifeMs: 302_000, ...more });
