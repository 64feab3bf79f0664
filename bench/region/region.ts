// A region under load, while faults come and go: three sidecars, three memcached, a Keystone that is the oracle, and a judge.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ScriptedKeystone, startScriptedKeystone } from '../servers/scripted-keystone.ts';
import { newKeyDir, type SidecarPlan, type SidecarProcess, sidecarProcess } from '../servers/sidecar-process.ts';
import { startBendingProxy } from './bending-proxy.ts';
import { type Fault, faults, type Victims } from './faults.ts';
import { Judge, type Rules, type Seen, type Violation } from './judge.ts';
import { type LoadPlan, type Sample, startLoad } from './load.ts';
import { type Stored, startMemcached } from './memcached.ts';

/** How long, and how much. */
export interface RegionPlan {
  /** `dist/cli.js` of the build under test. */
  readonly cli: string;
  /** Each fault has this long, after as long without any. */
  readonly faultMs: number;
  /** In this order; more than once where there is time. */
  readonly faults: readonly Fault[];
  /** `caching.token.time`. */
  readonly timeMs: number;
  readonly questionsPerSecond: number;
  readonly tokensPerSecond: number;
  /** Of a call, by its caller; whoever asks Keystone has half of it. */
  readonly deadlineMs: number;
  /** Told of each step. */
  readonly say?: (line: string) => void;
}

/** A stretch of the run; `fault` undefined: nothing was wrong, nor had just been. */
export interface Stretch {
  readonly fault: Fault | undefined;
  readonly fromMs: number;
  readonly toMs: number;
}

/** The resident memory of a process at a moment. */
export interface Weight {
  readonly sidecar: string;
  readonly pid: number;
  readonly atMs: number;
  readonly bytes: number;
}

/** What came of it. Times are of one clock that never steps; `beganAtMs` is when the load began. */
export interface RegionResult {
  readonly beganAtMs: number;
  readonly endedAtMs: number;
  readonly samples: readonly Sample[];
  readonly stretches: readonly Stretch[];
  readonly weights: readonly Weight[];
  readonly violations: readonly Violation[];
  readonly seen: Seen;
  /** Answers that were found in memcached. */
  readonly sharedAnswers: number;
  /** Validations that Keystone was asked for. */
  readonly upstreamCalls: number;
  /** Whether the Keystone face was there to be asked. */
  readonly hasFace: boolean;
}

const password = 'the-password-of-the-region';
/** Between our hosts: they are one. What is left is the configuration's own default, which the judge must allow for. */
const skewMs = 2000;

/** What the judge holds the answers against. */
export function rulesFor({ timeMs, deadlineMs }: Pick<RegionPlan, 'timeMs' | 'deadlineMs'>): Rules {
  return { timeMs, skewMs, slackMs: 250, recoveryMs: deadlineMs / 2, answerWithinMs: deadlineMs };
}

/** Runs it: `plan.faults` once each. Throws where something of it cannot be started; a broken promise is no error, but in the result. */
export async function runRegion(plan: RegionPlan): Promise<RegionResult> {
  const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-region-'));
  const cleanup: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  try {
    const region = await startRegion(plan, dir, cleanup);
    return await underLoad(plan, region);
  } finally {
    for (const end of cleanup.reverse()) await end();
  }
}

async function startRegion(plan: RegionPlan, dir: string, cleanup: (() => unknown)[]): Promise<Victims> {
  const keystone = await startScriptedKeystone({ password });
  cleanup.push(() => keystone.close());
  const memcached = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
  cleanup.push(() => Promise.all(memcached.map((one) => one.close())));
  const [first, second, third] = memcached;
  if (!first || !second || !third) throw new Error('three memcached were started');
  const proxy = await startBendingProxy(third.port);
  cleanup.push(() => proxy.close());

  const common = {
    cli: plan.cli,
    keystoneUrl: keystone.url,
    password,
    caching: [
      `  token: { time: ${plan.timeMs}ms, jitter: 0 }`,
      '  unknown: { time: 1s }',
      // Small: what is dead is pushed out within the run, and memory that still grows then is ours.
      '  memory: { max_size: 8MiB }',
    ].join('\n'),
    calls: `{ deadline: ${plan.deadlineMs / 2}ms, concurrency: 32, queue: 1024, attempts: 2 }`,
  };
  // Another deployment on the first memcached, for a moment: what it leaves there is written under our keys later.
  const another = { ...common, name: 'another', dir: join(dir, 'another'), keyDir: newKeyDir(dir, 'other-keys'), servers: [first.address] };
  const foreign = await storedByAnother(another, keystone, () => first.records());
  await first.flush();

  const keyDir = newKeyDir(dir, 'keys');
  const servers = [first.address, second.address, proxy.address];
  const sidecars = ['red', 'green', 'blue'].map((name) => sidecarProcess({ ...common, name, dir: join(dir, name), keyDir, servers }));
  cleanup.push(() => Promise.all(sidecars.map((one) => one.end('SIGKILL'))));
  await Promise.all(sidecars.map((one) => one.start()));
  return { memcached, proxy, sidecars, keystone, judge: new Judge(rulesFor(plan)), keyDir, foreign };
}

async function storedByAnother(
  plan: SidecarPlan,
  keystone: ScriptedKeystone,
  records: () => Promise<readonly Stored[]>,
): Promise<readonly Stored[]> {
  const sidecar = sidecarProcess(plan);
  try {
    await sidecar.start();
    for (let made = 0; made < 5; made += 1) await sidecar.client.validate(keystone.issue(`foreigner-${made}`, 3_600_000).token);
    return await records();
  } finally {
    await sidecar.end('SIGKILL');
  }
}

async function underLoad(plan: RegionPlan, victims: Victims): Promise<RegionResult> {
  const { judge, keystone, sidecars } = victims;
  const say = plan.say ?? (() => undefined);
  const loadPlan: LoadPlan = { ...plan, lasting: 100 };
  await warm(keystone, sidecars);
  const hasFace = sidecars.every((one) => one.face !== undefined);
  const load = startLoad(loadPlan, { keystone, judge, sidecars });
  const weights: Weight[] = [];
  const weighing = setInterval(() => weights.push(...weightsOf(sidecars)), 1000);
  const beganAtMs = performance.now();
  const stretches: Stretch[] = [];
  try {
    for (const fault of plan.faults) {
      const calmFromMs = performance.now();
      await sleep(plan.faultMs);
      stretches.push({ fault: undefined, fromMs: calmFromMs, toMs: performance.now() });
      const before = judge.violations.length;
      const fromMs = performance.now();
      await fault.happen(victims, AbortSignal.timeout(plan.faultMs));
      stretches.push({ fault, fromMs, toMs: performance.now() });
      say(`${Math.round((performance.now() - beganAtMs) / 1000)} s: ${fault.name}: ${judge.violations.length - before} answers wrong`);
      // What it leaves behind belongs to neither half: connections are made again, breakers close, facts are fetched.
      await sleep(Math.min(plan.faultMs / 3, 3000));
    }
  } finally {
    clearInterval(weighing);
    await keystone.become('well');
    await load.end();
  }
  const { samples } = load;
  return {
    beganAtMs,
    endedAtMs: performance.now(),
    samples,
    stretches,
    weights,
    violations: judge.violations,
    seen: judge.seen,
    sharedAnswers: samples.filter(({ provenance }) => provenance === 'shared').length,
    upstreamCalls: keystone.validations(),
    hasFace,
  };
}

/** Code compiled, connections made, logged in: what a region does once in its life is not what is measured. */
async function warm(keystone: ScriptedKeystone, sidecars: readonly SidecarProcess[]): Promise<void> {
  const tokens = Array.from({ length: 20 }, (_, at) => keystone.issue(`warm-${at}`, 3_600_000).token);
  const worker = async ({ client }: SidecarProcess): Promise<void> => {
    for (let round = 0; round < 20; round += 1) for (const token of tokens) await client.validate(token, { timeoutMs: 30_000 });
  };
  await Promise.all(sidecars.map(worker));
}

function weightsOf(sidecars: readonly SidecarProcess[]): readonly Weight[] {
  return sidecars.flatMap((one) => {
    const bytes = one.residentBytes();
    return bytes === undefined ? [] : [{ sidecar: one.name, pid: one.pid, atMs: performance.now(), bytes }];
  });
}

/** The faults for a run of about `minutes`: all of them, as often as there is time; those that restart every sidecar only once, first. */
export function scheduleFor(minutes: number): { readonly faults: readonly Fault[]; readonly faultMs: number } {
  const totalMs = minutes * 60_000;
  const again = faults.slice(1);
  // A calm stretch, the fault, and what it leaves behind.
  const parts = (count: number): number => Math.floor(totalMs / count / 2.25);
  const rounds = Math.max(1, Math.floor(totalMs / (again.length * 25_000)));
  const all = [...faults, ...Array.from({ length: rounds - 1 }, () => again).flat()];
  return { faults: all, faultMs: parts(all.length) };
}
