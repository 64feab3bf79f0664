// The memory tier as a sidecar has it, alone in its process: one issuer, no gRPC, no network, nothing that is reported.

import { createTagger, type Tagger } from '../src/core/tag.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import type { Clock, Journal, Telemetry, TokenFormat } from '../src/ports.ts';
import { Authorities } from '../src/service/authorities.ts';
import { Catalogs } from '../src/service/catalogs.ts';
import { Degradations } from '../src/service/degradation.ts';
import { FactsStore } from '../src/service/facts.ts';
import { Invalidations } from '../src/service/invalidations.ts';
import type { Issuer } from '../src/service/issuer.ts';
import { systemClock } from '../src/sidecar.ts';
import { tokenCodec } from '../src/wire/token-codec.ts';

/** Takes everything and tells nobody. */
export const silent: Telemetry = {
  counter: () => ({ add: () => undefined }),
  histogram: () => ({ observe: () => undefined }),
  gauge: () => undefined,
  log: { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined },
  audit: () => undefined,
};

/** The rooms, put together. */
export interface MemoryTier {
  readonly clock: Clock;
  readonly issuer: Issuer;
  readonly tagger: Tagger;
  /** Empty; what is put into it is known after `invalidations.load()`. */
  readonly journal: Journal;
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly facts: FactsStore;
  readonly catalogs: Catalogs;
}

/** Makes it. `format` answers for every token of the one issuer, `bench`; `maxBytes`: of facts, and of catalogs (0: none are kept). */
export function memoryTier(format: TokenFormat, maxBytes: { readonly facts: number; readonly catalogs: number }): MemoryTier {
  const clock = systemClock;
  const issuer: Issuer = {
    name: 'bench',
    accepts: ['opaque'],
    format,
    life: { maxTokenLifeMs: 3_600_000, skewMs: 0, leewayMs: 0, endless: false, needsIssueTime: false, audiences: [] },
    expiredWithinMs: 0,
    serviceRoles: [],
    hasCatalogs: maxBytes.catalogs > 0,
    revokeUpstream: false,
    canAsk: true,
    movesEnds: false,
    calls: { deadlineMs: 5000, concurrency: 64, queue: 64 },
  };
  const journal = createMemoryJournal({ clock });
  const tagger = createTagger([{ id: 'k', secret: Buffer.alloc(32, 7) }]);
  const invalidations = new Invalidations({
    journal,
    tagger,
    clock,
    telemetry: silent,
    settleMs: 2000,
    wideWindowMs: 30_000,
    factsLifeMs: 302_000,
    refreshLifeMs: 302_000,
    ring: 65_536,
  });
  const degradations = new Degradations({ clock, telemetry: silent, maxLagMs: 10_000 });
  const catalogLimits = { enabled: maxBytes.catalogs > 0, timeMs: 300_000, memoryBytes: Math.max(1, maxBytes.catalogs) };
  const catalogs = new Catalogs({ clock, invalidations, tagger, settleMs: 2000, limits: catalogLimits });
  const facts = new FactsStore({
    invalidations,
    authorities: new Authorities({ issuers: [issuer], clock, telemetry: silent, degradations }),
    catalogs,
    settleMs: 2000,
    tagger,
    codec: tokenCodec,
    clock,
    telemetry: silent,
    random: () => 0,
    limits: {
      enabled: true,
      timeMs: 300_000,
      jitter: 0,
      refreshAhead: 1,
      memoryBytes: maxBytes.facts,
      refusals: { enabled: true, timeMs: 5000, maxEntries: 100 },
    },
  });
  return { clock, issuer, journal, tagger, invalidations, degradations, facts, catalogs };
}
