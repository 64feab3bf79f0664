// Question: what does a token cost that keys at hand call dead, before anybody is asked; and one that they know to be revoked?
//
// The validator, the index and the format in one process, without gRPC. The baseline is the same stream without keys, refused at once by an
// authority that is a function here: a real one costs a request on top. Every token is another one; both sides in turn.

import { createKeystoneFormat } from '../src/formats/keystone.js';
import type { TokenFormat, Upstream } from '../src/ports.js';
import { Validator } from '../src/service/validator.js';
import { systemClock } from '../src/sidecar.js';
import { fernetToken, jwsClaims, keyFolder, newFernetKey, newNodeKey, signJws } from '../test/fakes/keystone-keys.js';
import { memoryTier, silent } from './memory-tier.js';
import { median, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 5 : 15;
const tokens = options.quick ? 1_000 : 4_000;
const keysHeld = 3;

const clock = systemClock;
const issuedAtMs = Math.floor(clock.nowMs() / 1000) * 1000 - 60_000;
const life = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };
const fernetKeys = Array.from({ length: keysHeld }, newFernetKey);
const nodes = Array.from({ length: keysHeld }, () => newNodeKey());
const fernetDir = keyFolder(Object.fromEntries(fernetKeys.map((key, index) => [String(index), key])));
const jwsDir = keyFolder(Object.fromEntries(nodes.map(({ pem }, index) => [`node-${index}.pem`, pem])));

let asked = 0;
const refusing: Upstream = {
  ask: async () => {
    asked += 1;
    return { kind: 'inactive', reason: 'REFUSED' };
  },
  health: () => ({ reachable: true }),
};
const own = { fernet: fernetToken(fernetKeys.at(-1) ?? '', { ...life, issuedAtMs: issuedAtMs + 30_000 }), jws: '' };
own.jws = signJws(nodes[0] ?? newNodeKey(), jwsClaims({ ...life, issuedAtMs: issuedAtMs + 30_000 }));

function formatWith(kind: 'fernet' | 'jws' | 'none'): TokenFormat {
  const held = (): string | undefined => (kind === 'none' ? undefined : own[kind]);
  return createKeystoneFormat(
    {
      name: 'bench',
      fernetDir: kind === 'fernet' ? fernetDir.dir : undefined,
      jwsDir: kind === 'jws' ? jwsDir.dir : undefined,
      leewayMs: 0,
      skewMs: 2_000,
    },
    { upstream: refusing, own: { held, wanted: async () => undefined }, clock, log: silent.log },
  );
}

async function side(format: TokenFormat) {
  const { issuer, tagger, invalidations, degradations, facts, catalogs } = memoryTier(format, { facts: 64 << 20, catalogs: 0 });
  await invalidations.load();
  void invalidations.run(new AbortController().signal);
  const validator = new Validator({
    ...{ issuers: [issuer], facts, catalogs, handles: undefined, invalidations, degradations, tagger, clock, telemetry: silent },
    ...{ staleWhileDownMs: 0, tokenSizeBytes: 65_536, settleMs: 2000, freshnessWaitMs: 1000, caching: true, whenDegraded: 'revalidate' },
  });
  const { signal } = new AbortController();
  return { invalidations, ask: async (raw: string) => validator.validate({ raw }, () => signal) };
}
type Side = Awaited<ReturnType<typeof side>>;

interface Cost {
  /** One after the other, and 64 at once, in microseconds a token. */
  readonly oneMicros: number;
  readonly manyMicros: number;
  /** Processor time of all threads, 64 at once. */
  readonly cpuMicros: number;
}

async function cost({ ask }: Side, make: (n: number) => string, reason: string): Promise<Cost> {
  const judge = async (raw: string): Promise<void> => {
    const { decision } = await ask(raw);
    // What no key opens is asked about now and then.
    if (decision.active || (decision.reason !== reason && decision.reason !== 'REFUSED'))
      throw new Error(`that was ${decision.active ? 'active' : decision.reason}`);
  };
  const some = Array.from({ length: tokens / 4 }, (_, n) => make(n));
  let began = performance.now();
  for (const raw of some) await judge(raw);
  const oneMicros = ((performance.now() - began) * 1000) / some.length;
  const many = Array.from({ length: tokens }, (_, n) => make(n));
  const cpu = process.cpuUsage();
  began = performance.now();
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let raw = many[next++]; raw !== undefined; raw = many[next++]) await judge(raw);
  };
  await Promise.all(Array.from({ length: 64 }, caller));
  const { user, system } = process.cpuUsage(cpu);
  return { oneMicros, manyMicros: ((performance.now() - began) * 1000) / tokens, cpuMicros: (user + system) / tokens };
}

const stranger = newFernetKey();
const foreignNode = newNodeKey();
const revoked = 'd'.repeat(32);
const wrong = (): string => fernetToken(stranger, life);
const [fernet, jws, none] = [await side(formatWith('fernet')), await side(formatWith('jws')), await side(formatWith('none'))];
await fernet.invalidations.append({
  effect: 'REVOKE',
  selector: { kind: 'fit', issuer: 'bench', conditions: [{ dimension: 'user', value: revoked }] },
  issuedBeforeMs: issuedAtMs,
  lifeMs: 3_600_000,
  origin: { source: 'bench' },
});
const kinds = {
  fernet_garbage: () => cost(fernet, wrong, 'BAD_SIGNATURE'),
  fernet_ended: () => cost(fernet, () => fernetToken(fernetKeys[0] ?? '', { issuedAtMs: 1_000, expiresAtMs: 2_000 }), 'EXPIRED'),
  fernet_revoked: () => cost(fernet, () => fernetToken(fernetKeys[0] ?? '', { ...life, userId: revoked }), 'REVOKED'),
  jws_unsigned: () => cost(jws, () => signJws({ ...foreignNode, algorithm: 'ES256' }, jwsClaims(life), { alg: 'none' }), 'BAD_SIGNATURE'),
  jws_garbage: () => cost(jws, () => signJws(foreignNode, jwsClaims(life)), 'BAD_SIGNATURE'),
  baseline: () => cost(none, wrong, 'REFUSED'),
} as const;
type Kind = keyof typeof kinds;

// Keys that have just been written are read again at each look: as long as they are that young nothing is measured.
await clock.delay(2_500, new AbortController().signal);
const costs = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, [] as Cost[]])) as Record<Kind, Cost[]>;
for (const [kind, measure] of Object.entries(kinds)) {
  await measure();
  for (let round = 0; round < rounds; round += 1) costs[kind as Kind].push(await measure());
}
const middle = (kind: Kind, of: keyof Cost): number => median(costs[kind].map((one) => one[of]));
for (const kind of Object.keys(kinds) as Kind[]) {
  const note = `${Math.round(middle(kind, 'oneMicros'))} µs one after the other, ${Math.round(middle(kind, 'cpuMicros'))} µs of processor time of all threads`;
  report(options, { name: `glance_${kind}`, value: middle(kind, 'manyMicros'), unit: 'µs a token, 64 at once', wanted: null }, note);
}
report(
  options,
  {
    name: 'glance_garbage_ratio',
    value: middle('fernet_garbage', 'cpuMicros') / middle('baseline', 'cpuMicros'),
    unit: 'times',
    wanted: null,
  },
  `Fernet tokens under none of ${keysHeld} keys, against the same strings without keys, refused by a function; ${rounds} rounds of ${tokens}`,
);
fernetDir.remove();
jwsDir.remove();
process.exit(asked > 0 ? 0 : 1);
