// Everything that answers Validate and Revoke, over a fake clock and scripted issuers, for the tests of this room.

import { setMaxListeners } from 'node:events';
import { createTagger } from '../../src/core/tag.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Journal, Outbox, SharedCache } from '../../src/ports.ts';
import type { Asked, Forward } from '../../src/service/asked.ts';
import { Authorities } from '../../src/service/authorities.ts';
import { type CatalogLimits, Catalogs } from '../../src/service/catalogs.ts';
import { refreshLifeMs } from '../../src/service/compaction.ts';
import { Degradations, type DegradedPolicy } from '../../src/service/degradation.ts';
import { FactsStore } from '../../src/service/facts.ts';
import { Finder } from '../../src/service/finder.ts';
import { Invalidations } from '../../src/service/invalidations.ts';
import type { CachingLimits } from '../../src/service/kept-facts.ts';
import type { Known } from '../../src/service/known.ts';
import type { Answer, Question } from '../../src/service/question.ts';
import { Revoker } from '../../src/service/revoker.ts';
import { Forwarding } from '../../src/service/telling/forwarding.ts';
import type { OutboxLimits } from '../../src/service/telling/letters.ts';
import { Handles } from '../../src/service/tier/handles.ts';
import { Leases } from '../../src/service/tier/leases.ts';
import { SharedTier } from '../../src/service/tier/shared-tier.ts';
import { Validator } from '../../src/service/validator.ts';
import { tokenCodec } from '../../src/wire/token-codec.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

/** What differs from the defaults of the configuration. */
export interface StageOptions {
  readonly issuers?: readonly FakeIssuer[];
  readonly limits?: Partial<CachingLimits>;
  readonly random?: () => number;
  readonly settleMs?: number;
  readonly wideWindowMs?: number;
  readonly freshnessWaitMs?: number;
  readonly tokenSizeBytes?: number;
  /** The tier that it shares with other stages. */
  readonly shared?: SharedCache;
  readonly handles?: boolean;
  readonly staleWhileDownMs?: number;
  readonly whenDegraded?: DegradedPolicy;
  readonly catalogs?: Partial<CatalogLimits>;
  /** Is told of facts that are learned, too. */
  readonly learned?: (known: Known) => void;
  readonly unverified?: { readonly perSecond: number; readonly alive: number };
  /** Absent: that of the journal. */
  readonly outbox?: Outbox;
  readonly outboxLimits?: OutboxLimits;
  /** Newest first. */
  readonly keys?: Parameters<typeof createTagger>[0];
  /** Of a stage before this one, with its journal. */
  readonly before?: { readonly clock: FakeClock; readonly journal: Journal };
  /** Of several stages. Absent: one of its own. */
  readonly clock?: FakeClock;
  /** Absent: a new one. */
  readonly journal?: Journal;
}

/** A stage. */
export type ValidationStage = Awaited<ReturnType<typeof createValidationStage>>;

/** Never aborts. */
export const always: AbortSignal = new AbortController().signal;
setMaxListeners(0, always);

/** Sets the stage: an empty journal in memory that is being followed, facts that serve for 300 s without jitter, a settle of 2 s. */
export async function createValidationStage(options: StageOptions = {}) {
  const clock = options.before?.clock ?? options.clock ?? createFakeClock();
  const telemetry = createFakeTelemetry();
  const central = createFakeIssuer();
  const issuers = (options.issuers ?? [central]).map((fake) => fake.issuer);
  const keys = options.keys ?? [{ id: 'k1', secret: Buffer.alloc(32, 7) }];
  const tagger = createTagger(keys);
  const journal = options.before?.journal ?? options.journal ?? createMemoryJournal({ clock });
  const degradations = new Degradations({ clock, telemetry, maxLagMs: 10_000 });
  const settleMs = options.settleMs ?? 2000;
  const limits: CachingLimits = {
    enabled: true,
    timeMs: 300_000,
    jitter: 0,
    refreshAhead: 1,
    memoryBytes: 64 * 1024 * 1024,
    refusals: { enabled: true, timeMs: 5000, maxEntries: 10_000 },
    ...options.limits,
  };
  const catalogLimits = { enabled: true, timeMs: 600_000, memoryBytes: 1024 * 1024, ...options.catalogs };
  const factsLifeMs = limits.timeMs + 2000;
  const keepMs = limits.timeMs + (options.staleWhileDownMs ?? 0);
  const catalogTimeMs = catalogLimits.enabled ? catalogLimits.timeMs : 0;
  const lifeMs = refreshLifeMs({ factsMs: keepMs, catalogsMs: catalogTimeMs, settleMs, skewMs: 2000 });
  const wideWindowMs = options.wideWindowMs ?? 30_000;
  const lives = { factsLifeMs, refreshLifeMs: lifeMs };
  const invalidations = new Invalidations({ journal, tagger, clock, telemetry, settleMs, wideWindowMs, ...lives, ring: 1024 });
  const random = options.random ?? (() => 0);
  const { shared } = options;
  const skewMs = 2000;
  const handles = shared && options.handles !== false ? new Handles(shared) : undefined;
  const catalogs = new Catalogs({ clock, invalidations, tagger, settleMs, limits: catalogLimits });
  const common = { issuers, invalidations, tagger, codec: tokenCodec, clock, telemetry, degradations, limits, random };
  const tierLimits = { keepMs, catalogTimeMs, settleMs, skewMs, handles: handles !== undefined };
  const tier = shared && new SharedTier({ shared, ...common, ...tierLimits });
  const finder = new Finder({ issuers, shared, lifeMs: keepMs, remembers: true });
  const facts = new FactsStore({
    ...common,
    authorities: new Authorities(common),
    catalogs,
    settleMs,
    shared: shared && tier && { tier, leases: new Leases({ shared, clock, telemetry }), handles },
    learned: (known, isNews) => {
      finder.learned(known, isNews);
      options.learned?.(known);
    },
  });
  const validator = new Validator({
    issuers,
    facts,
    catalogs,
    handles,
    invalidations,
    degradations,
    tagger,
    clock,
    telemetry,
    tokenSizeBytes: options.tokenSizeBytes ?? 65_536,
    settleMs,
    freshnessWaitMs: options.freshnessWaitMs ?? 50,
    staleWhileDownMs: options.staleWhileDownMs ?? 0,
    whenDegraded: options.whenDegraded ?? 'revalidate',
    caching: limits.enabled,
  });
  const forwarding = new Forwarding({
    ...{ issuers, facts, invalidations, tagger, clock, telemetry, skewMs, random, keys },
    outbox: options.outbox ?? journal.outbox,
    ...(options.outboxLimits && { limits: options.outboxLimits }),
  });
  const revoker = new Revoker({
    forwarding,
    handles,
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    skewMs: 2000,
    refreshLifeMs: lifeMs,
    tokenSizeBytes: options.tokenSizeBytes ?? 65_536,
    unverified: options.unverified ?? { perSecond: 10, alive: 100_000 },
  });
  const background = new AbortController();
  setMaxListeners(0, background.signal);
  await invalidations.load();
  await forwarding.load();
  const running = Promise.all([invalidations.run(background.signal), forwarding.run(background.signal)]);

  return {
    clock,
    telemetry,
    central,
    journal,
    tagger,
    degradations,
    invalidations,
    facts,
    catalogs,
    finder,
    validator,
    revoker,
    forwarding,
    /** The answer, awaited where it is a promise. */
    ask: async (raw: string, question: Omit<Question, 'raw'> = {}, signal: AbortSignal = always): Promise<Answer> =>
      validator.validate({ raw, ...question }, () => signal),
    /** A REFRESH of one user of `central`, applied when it resolves. */
    refreshUser: (value: string) =>
      invalidations.append({
        effect: 'REFRESH',
        selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value }] },
        lifeMs,
        origin: { source: 'rpc' },
      }),
    /** FindToken of `central`. */
    find: (userId: string, projectId = '', issuer = 'central'): Promise<Answer | undefined> =>
      finder.find({ issuer, userId, projectId }, { facts, validator }),
    /** A REVOKE of the token by possession. */
    revokeToken: (raw: string, asked: Partial<Asked> = {}, listener = 'tcp', forward?: Forward) =>
      revoker.revokeToken(raw, askedBy(asked), listener, always, forward),
    /** The same by its handle. */
    revokeHandle: (handle: string, forward?: Forward) => revoker.revokeHandle(handle, askedBy(), 'tcp', always, forward),
    async close() {
      background.abort();
      await running;
    },
  };
}

/** Somebody at the socket, without request id or reason. */
export function askedBy(asked: Partial<Asked> = {}): Asked {
  return { actor: 'socket', caller: asked.actor ?? 'socket', requestId: '', reason: '', ...asked };
}

/** The answer in one word: `active`, or the reason. */
export function verdict({ decision }: Answer): string {
  return decision.active ? 'active' : decision.reason;
}

/** Lets everything that can go on without time go on. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
