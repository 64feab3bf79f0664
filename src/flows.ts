// The flows of one sidecar, made as its configuration says: invalidations, facts, and the calls that rest on them.

import type { Config } from './config/types.ts';
import type { DeploymentKey, Tagger } from './core/tag.ts';
import type { Clock, Engine, Journal, SharedCache, Telemetry } from './ports.ts';
import { Authorities } from './service/authorities.ts';
import { Catalogs } from './service/catalogs.ts';
import { refreshLifeMs } from './service/compaction.ts';
import { Degradations } from './service/degradation.ts';
import { FactsStore } from './service/facts.ts';
import { Finder } from './service/finder.ts';
import { Fleet } from './service/fleet/fleet.ts';
import type { SharedQuestions } from './service/fleet/shared-questions.ts';
import { Invalidations } from './service/invalidations.ts';
import { type Issuer, longestLifeMs } from './service/issuer.ts';
import type { CachingLimits } from './service/kept-facts.ts';
import type { NewsOrigin } from './service/news/issuer-news.ts';
import { NewsRoom } from './service/news/news-room.ts';
import { Revoker } from './service/revoker.ts';
import { Forwarding } from './service/telling/forwarding.ts';
import { Handles } from './service/tier/handles.ts';
import { Leases } from './service/tier/leases.ts';
import { SharedTier } from './service/tier/shared-tier.ts';
import { Validator } from './service/validator.ts';
import { Watchers } from './service/watch.ts';
import { tokenCodec } from './wire/token-codec.ts';

/** What flows are made of. */
export interface FlowParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Of the deployment, newest first. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
  readonly tagger: Tagger;
  readonly issuers: readonly Issuer[];
  /** Who tells of what happens at them. */
  readonly news: readonly NewsOrigin[];
  readonly journal: Journal;
  /** The tier that sidecars share, where there is one. */
  readonly shared: SharedCache | undefined;
  /** What carries entries between sidecars, where something does; and what they know this one by. */
  readonly engine: Engine | undefined;
  /** How long an entry may matter, and a log has to hold it. */
  readonly retentionMs: number;
  readonly name: string;
  /** What its sources ask for the whole fleet. */
  readonly questions: SharedQuestions;
  /** Aborts when the sidecar drains. */
  readonly draining: AbortSignal;
  /** Aborts when what runs beside the calls ends. Many listen to it. */
  readonly stopping: AbortSignal;
}

/** All of them. */
export interface Flows {
  readonly issuers: readonly Issuer[];
  readonly degradations: Degradations;
  readonly invalidations: Invalidations;
  readonly facts: FactsStore;
  readonly catalogs: Catalogs;
  readonly tier: SharedTier | undefined;
  readonly finder: Finder;
  readonly validator: Validator;
  readonly forwarding: Forwarding;
  readonly revoker: Revoker;
  readonly watchers: Watchers;
  readonly news: NewsRoom;
  readonly fleet: Fleet | undefined;
}

/** Of the memory tier, what service catalogs may take: they are dropped first, as many tokens share one (S1). */
const catalogsPart = 0.25;

/** Makes them; nothing runs, and nothing is read yet. */
export function createFlows(parts: FlowParts): Flows {
  const { config, clock, telemetry, tagger, issuers, journal, draining } = parts;
  const { caching, limits } = config;
  const caches = caching.enabled && caching.token.enabled;
  const factsTimeMs = Number.isFinite(caching.token.timeMs) ? caching.token.timeMs : longestLifeMs(issuers);
  const keepMs = factsTimeMs + caching.token.staleWhileDownMs;
  const cachesCatalogs = caching.enabled && caching.catalog.enabled;
  const catalogsMs = cachesCatalogs ? caching.catalog.timeMs : 0;
  const lifeMs = refreshLifeMs({ factsMs: keepMs, catalogsMs, settleMs: caching.settleMs, skewMs: limits.skewMs });
  const degradations = new Degradations({ clock, telemetry, maxLagMs: config.maxLagMs });
  const invalidations = new Invalidations({
    journal,
    tagger,
    clock,
    telemetry,
    settleMs: caching.settleMs,
    wideWindowMs: caching.wideWindowMs,
    factsLifeMs: keepMs + limits.skewMs,
    refreshLifeMs: lifeMs,
    ring: config.watch.ring,
  });
  const catalogBytes = cachesCatalogs ? Math.floor(caching.memory.maxSizeBytes * catalogsPart) : 1;
  const catalogs = new Catalogs({
    clock,
    invalidations,
    tagger,
    settleMs: caching.settleMs,
    limits: { enabled: cachesCatalogs, timeMs: caching.catalog.timeMs, memoryBytes: catalogBytes },
  });
  const factsLimits: CachingLimits = {
    enabled: caches,
    timeMs: caching.token.timeMs,
    jitter: caching.token.jitter,
    refreshAhead: caching.token.refreshAhead,
    memoryBytes: caching.memory.maxSizeBytes - (cachesCatalogs ? catalogBytes : 0),
    refusals: { ...caching.unknown, enabled: caching.enabled && caching.unknown.enabled },
  };
  const shared = caches ? parts.shared : undefined;
  const handles = shared && caching.handles.enabled ? new Handles(shared) : undefined;
  const tier =
    shared &&
    new SharedTier({
      shared,
      issuers,
      invalidations,
      tagger,
      codec: tokenCodec,
      clock,
      telemetry,
      degradations,
      limits: factsLimits,
      random: Math.random,
      keepMs,
      catalogTimeMs: catalogsMs,
      settleMs: caching.settleMs,
      skewMs: limits.skewMs,
      handles: handles !== undefined,
    });
  const finder = new Finder({ issuers, shared, lifeMs: keepMs, remembers: config.callers.some(({ may }) => may.includes('find')) });
  const authorities = new Authorities({ issuers, clock, telemetry, degradations });
  const news = new NewsRoom(parts.news, {
    invalidations,
    degradations,
    notes: journal,
    clock,
    telemetry,
    random: Math.random,
    settleMs: caching.settleMs,
    wideWindowMs: caching.wideWindowMs,
    skewMs: limits.skewMs,
    refreshLifeMs: lifeMs,
    clockRead: (issuer, offsetMs) => authorities.clockRead(issuer, offsetMs),
    toldAll: (signal) => parts.questions.told(signal),
    stop: parts.stopping,
  });
  const fleet =
    parts.engine &&
    new Fleet({
      engine: parts.engine,
      name: parts.name,
      journal,
      invalidations,
      degradations,
      issuers,
      tagger,
      keys: parts.keys,
      clock,
      telemetry,
      random: Math.random,
      maxLagMs: config.maxLagMs,
      skewMs: limits.skewMs,
      wideWindowMs: caching.wideWindowMs,
      refreshLifeMs: lifeMs,
      questions: parts.questions,
      heard: (entry) => news.heardOf(entry),
      retentionMs: parts.retentionMs,
      ignoredKeys: config.fleet.ignoredKeys ?? [],
      stop: parts.stopping,
    });
  const facts = new FactsStore({
    invalidations,
    authorities,
    catalogs,
    settleMs: caching.settleMs,
    shared: shared && tier && { tier, leases: new Leases({ shared, clock, telemetry }), handles },
    learned: (known, isNews) => {
      finder.learned(known, isNews);
      news.learned(known);
    },
    tagger,
    codec: tokenCodec,
    clock,
    telemetry,
    random: Math.random,
    limits: factsLimits,
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
    tokenSizeBytes: limits.tokenSizeBytes,
    settleMs: caching.settleMs,
    freshnessWaitMs: limits.freshnessWaitMs,
    staleWhileDownMs: caching.token.staleWhileDownMs,
    whenDegraded: config.whenDegraded,
    caching: caches,
  });
  const forwarding = new Forwarding({
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    random: Math.random,
    keys: parts.keys,
    outbox: journal.outbox,
    skewMs: limits.skewMs,
  });
  const revoker = new Revoker({
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    skewMs: limits.skewMs,
    refreshLifeMs: lifeMs,
    forwarding,
    handles,
    tokenSizeBytes: limits.tokenSizeBytes,
    unverified: { perSecond: limits.unverifiedRevokes, alive: 100_000 },
  });
  const watchers = new Watchers({
    invalidations,
    degradations,
    clock,
    telemetry,
    checkpointIntervalMs: config.watch.checkpointIntervalMs,
    proofLifetimeMs: config.maxLagMs,
    maxWatchers: config.watch.maxWatchers,
    draining,
  });
  return { issuers, degradations, invalidations, facts, catalogs, tier, finder, validator, forwarding, revoker, watchers, news, fleet };
}
