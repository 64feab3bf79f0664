// The flows of one sidecar, made as its configuration says: invalidations, facts, and the calls that rest on them.

import type { Config } from './config/types.ts';
import type { Tagger } from './core/tag.ts';
import type { Clock, Journal, Telemetry } from './ports.ts';
import { Degradations } from './service/degradation.ts';
import { FactsStore } from './service/facts.ts';
import { Invalidations } from './service/invalidations.ts';
import { type Issuer, longestLifeMs } from './service/issuer.ts';
import { Revoker } from './service/revoker.ts';
import { Validator } from './service/validator.ts';
import { Watchers } from './service/watch.ts';
import { tokenCodec } from './wire/token-codec.ts';

/** What flows are made of. */
export interface FlowParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly tagger: Tagger;
  readonly issuers: readonly Issuer[];
  readonly journal: Journal;
  /** Aborts when the sidecar drains. */
  readonly draining: AbortSignal;
}

/** All of them. */
export interface Flows {
  readonly issuers: readonly Issuer[];
  readonly degradations: Degradations;
  readonly invalidations: Invalidations;
  readonly facts: FactsStore;
  readonly validator: Validator;
  readonly revoker: Revoker;
  readonly watchers: Watchers;
}

/** Makes them; nothing runs, and nothing is read yet. */
export function createFlows({ config, clock, telemetry, tagger, issuers, journal, draining }: FlowParts): Flows {
  const { caching, limits } = config;
  const caches = caching.enabled && caching.token.enabled;
  const factsTimeMs = Number.isFinite(caching.token.timeMs) ? caching.token.timeMs : longestLifeMs(issuers);
  const degradations = new Degradations();
  const invalidations = new Invalidations({
    journal,
    tagger,
    clock,
    telemetry,
    settleMs: caching.settleMs,
    factsLifeMs: factsTimeMs + limits.skewMs,
    ring: config.watch.ring,
  });
  const facts = new FactsStore({
    issuers,
    invalidations,
    tagger,
    codec: tokenCodec,
    clock,
    telemetry,
    degradations,
    random: Math.random,
    limits: {
      enabled: caches,
      timeMs: caching.token.timeMs,
      jitter: caching.token.jitter,
      memoryBytes: caching.memory.maxSizeBytes,
      refusals: { ...caching.unknown, enabled: caching.enabled && caching.unknown.enabled },
    },
  });
  const validator = new Validator({
    issuers,
    facts,
    invalidations,
    degradations,
    clock,
    telemetry,
    tokenSizeBytes: limits.tokenSizeBytes,
    settleMs: caching.settleMs,
    freshnessWaitMs: limits.freshnessWaitMs,
    caching: caches,
  });
  const revoker = new Revoker({
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    skewMs: limits.skewMs,
    factsTimeMs,
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
  return { issuers, degradations, invalidations, facts, validator, revoker, watchers };
}
