// Question: does a hit cost more when a million invalidations (quick: 200,000) are live than when a thousand are, while the journal moves on before every hit?
//
// The real road, facts and validator in one process, without gRPC around them, so that nothing hides the difference: append, wait until
// it is applied, then time one hit. Both sides in turn.

import type { TokenFormat } from '../src/ports.js';
import { Validator } from '../src/service/validator.js';
import { systemClock } from '../src/sidecar.js';
import { memoryTier, silent } from './memory-tier.js';
import { median, readOptions, report } from './report.js';

const options = readOptions();
const many = options.quick ? 200_000 : 1_000_000;
const rounds = options.quick ? 5 : 15;
const hits = options.quick ? 1_000 : 5_000;

interface Side {
  hit(n: number): Promise<bigint>;
  /** A hit on a record that has not been looked at for longer than the ring of new entries is looked through. */
  coldHit(n: number): Promise<bigint>;
}

async function side(live: number): Promise<Side> {
  const clock = systemClock;
  const issuedAtMs = Math.floor(clock.nowMs() / 1000) * 1000;
  const format: TokenFormat = {
    name: 'opaque',
    health: () => ({ reachable: true }),
    read: async () => ({
      kind: 'facts',
      provenance: 'authority',
      facts: {
        token: {
          issuer: 'bench',
          format: 'opaque',
          issuedAtMs,
          expiresAtMs: issuedAtMs + 3_600_000,
          user: { id: 'alice', name: 'alice', domain: { id: 'default', name: 'Default' } },
          scope: { kind: 'project', project: { id: 'shop', name: 'shop', domain: { id: 'default' }, isDomain: false } },
          roles: [
            { id: 'r1', name: 'member' },
            { id: 'r2', name: 'reader' },
          ],
          methods: ['password'],
          auditIds: ['own', 'root'],
          audiences: [],
          scopes: [],
          isAdminProject: true,
        },
        hasAccessRules: false,
        unknown: ['group'],
      },
    }),
  };
  const { issuer, journal, tagger, invalidations, degradations, facts, catalogs } = memoryTier(format, { facts: 64 << 20, catalogs: 0 });
  const dimensions = ['user', 'project', 'session', 'trust', 'application_credential'] as const;
  const entry = (n: number) => ({
    effect: 'REVOKE' as const,
    selector: {
      kind: 'fit' as const,
      issuer: 'bench',
      conditions: [{ dimension: dimensions[n % 5] ?? ('user' as const), value: `id-${n}` }],
    },
    issuedBeforeMs: issuedAtMs + 60_000,
    lifeMs: 3_600_000,
    origin: { source: 'bench' },
  });
  for (let n = 0; n < live; n += 1) {
    const { lifeMs, ...draft } = entry(n);
    await journal.append({
      ...draft,
      id: n.toString(16).padStart(40, '0'),
      alsoRefreshes: false,
      learnedAtMs: issuedAtMs,
      forgetAtMs: issuedAtMs + lifeMs,
      keyId: 'k',
    });
  }
  await invalidations.load();
  void invalidations.run(new AbortController().signal);
  const validator = new Validator({
    issuers: [issuer],
    facts,
    catalogs,
    handles: undefined,
    invalidations,
    degradations,
    tagger,
    clock,
    telemetry: silent,
    staleWhileDownMs: 0,
    whenDegraded: 'revalidate',
    tokenSizeBytes: 65_536,
    settleMs: 2000,
    freshnessWaitMs: 1000,
    caching: true,
  });
  const never = (): AbortSignal => new AbortController().signal;
  const raw = 'a-token-of-some-length-'.repeat(8);
  await validator.validate({ raw }, never);
  const timed = (): bigint => {
    const before = process.hrtime.bigint();
    const answer = validator.validate({ raw }, never);
    const took = process.hrtime.bigint() - before;
    if (answer instanceof Promise || !answer.decision.active || answer.asOf !== invalidations.applied)
      throw new Error('that was no hit at the newest revision');
    return took;
  };
  let next = live;
  const move = async (): Promise<void> => {
    next += 1;
    await invalidations.append(entry(next));
  };
  return {
    hit: async () => {
      await move();
      return timed();
    },
    coldHit: async () => {
      for (let n = 0; n < 20; n += 1) await move();
      return timed();
    },
  };
}

const cost = async (count: number, hit: (n: number) => Promise<bigint>): Promise<number> => {
  const all: number[] = [];
  for (let n = 0; n < count; n += 1) all.push(Number(await hit(n)));
  return median(all);
};

const few = await side(1_000);
const full = await side(many);
await cost(hits, few.hit);
await cost(hits, full.hit);
const warm: number[] = [];
const cold: number[] = [];
const costs: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const small = await cost(hits, few.hit);
  const large = await cost(hits, full.hit);
  warm.push(large / small);
  costs.push(large);
  cold.push((await cost(Math.ceil(hits / 20), full.coldHit)) / (await cost(Math.ceil(hits / 20), few.coldHit)));
}
const conditions = `${rounds} rounds in turn of ${hits} hits, each after an append that was applied; a hit with ${many} live takes ${median(costs).toFixed(0)} ns (median), gRPC not included`;
report(options, { name: 'hit_live_invalidations_ratio', value: median(warm), unit: '× with 1,000 live', wanted: '<= 1.5' }, conditions);
report(
  options,
  { name: 'hit_live_invalidations_lookup_ratio', value: median(cold), unit: '× with 1,000 live', wanted: null },
  'the same where 20 entries came in between, so that the hit looks every attribute up in the whole index',
);
process.exit(0);
