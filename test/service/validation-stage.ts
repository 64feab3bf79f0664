// Everything that answers Validate and Revoke, over a fake clock and scripted issuers, for the tests of this room.

import { setMaxListeners } from 'node:events';
import { createTagger } from '../../src/core/tag.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Journal } from '../../src/ports.ts';
import type { Asked } from '../../src/service/asked.ts';
import { Degradations } from '../../src/service/degradation.ts';
import { type CachingLimits, FactsStore } from '../../src/service/facts.ts';
import { Invalidations } from '../../src/service/invalidations.ts';
import { longestLifeMs } from '../../src/service/issuer.ts';
import { Revoker } from '../../src/service/revoker.ts';
import { type Answer, type Question, Validator } from '../../src/service/validator.ts';
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
  readonly freshnessWaitMs?: number;
  readonly tokenSizeBytes?: number;
  readonly unverified?: { readonly perSecond: number; readonly alive: number };
  /** Newest first. */
  readonly keys?: Parameters<typeof createTagger>[0];
  /** Of a stage before this one, with its journal. */
  readonly before?: { readonly clock: FakeClock; readonly journal: Journal };
}

/** A stage. */
export type ValidationStage = Awaited<ReturnType<typeof createValidationStage>>;

/** Never aborts. */
export const always: AbortSignal = new AbortController().signal;
setMaxListeners(0, always);

/** Sets the stage: an empty journal in memory that is being followed, facts that serve for 300 s without jitter, a settle of 2 s. */
export async function createValidationStage(options: StageOptions = {}) {
  const clock = options.before?.clock ?? createFakeClock();
  const telemetry = createFakeTelemetry();
  const central = createFakeIssuer();
  const issuers = (options.issuers ?? [central]).map((fake) => fake.issuer);
  const tagger = createTagger(options.keys ?? [{ id: 'k1', secret: Buffer.alloc(32, 7) }]);
  const journal = options.before?.journal ?? createMemoryJournal({ clock });
  const degradations = new Degradations();
  const settleMs = options.settleMs ?? 2000;
  const limits: CachingLimits = {
    enabled: true,
    timeMs: 300_000,
    jitter: 0,
    memoryBytes: 64 * 1024 * 1024,
    refusals: { enabled: true, timeMs: 5000, maxEntries: 10_000 },
    ...options.limits,
  };
  const factsLifeMs = limits.timeMs + 2000;
  const invalidations = new Invalidations({ journal, tagger, clock, telemetry, settleMs, factsLifeMs, ring: 1024 });
  const random = options.random ?? (() => 0);
  const facts = new FactsStore({ issuers, invalidations, tagger, codec: tokenCodec, clock, telemetry, degradations, limits, random });
  const validator = new Validator({
    issuers,
    facts,
    invalidations,
    degradations,
    clock,
    telemetry,
    tokenSizeBytes: options.tokenSizeBytes ?? 65_536,
    settleMs,
    freshnessWaitMs: options.freshnessWaitMs ?? 50,
    caching: limits.enabled,
  });
  const revoker = new Revoker({
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    skewMs: 2000,
    factsTimeMs: Number.isFinite(limits.timeMs) ? limits.timeMs : longestLifeMs(issuers),
    tokenSizeBytes: options.tokenSizeBytes ?? 65_536,
    unverified: options.unverified ?? { perSecond: 10, alive: 100_000 },
  });
  const background = new AbortController();
  await invalidations.load();
  const running = invalidations.run(background.signal);

  return {
    clock,
    telemetry,
    central,
    journal,
    tagger,
    degradations,
    invalidations,
    facts,
    validator,
    revoker,
    /** The answer, awaited where it is a promise. */
    ask: async (raw: string, question: Omit<Question, 'raw'> = {}, signal: AbortSignal = always): Promise<Answer> =>
      validator.validate({ raw, ...question }, () => signal),
    /** A REFRESH of one user of `central`, applied when it resolves. */
    refreshUser: (value: string) =>
      invalidations.append({
        effect: 'REFRESH',
        selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value }] },
        lifeMs: 300_000,
        origin: { source: 'rpc' },
      }),
    /** A REVOKE of the token by possession. */
    revokeToken: (raw: string, asked: Partial<Asked> = {}, listener = 'tcp') => revoker.revokeToken(raw, askedBy(asked), listener, always),
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
