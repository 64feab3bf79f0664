// What a request costs whose token is known, by each way: rounds in turn, so that other load on the machine falls on all alike.

import { median, quantile, type Row } from '../report.ts';
import { cpuSecondsOf } from '../servers/sidecar-process.ts';
import type { Stage, WayName } from './stage.ts';
import type { Subject } from './subject.ts';

interface Round {
  readonly cpuUs: number;
  readonly p50Ms: number;
}

interface Measurement {
  readonly name: WayName;
  readonly subject: Subject;
  readonly rounds: Round[];
  readonly tookMs: number[];
  sidecarSeconds: number;
  memcachedSeconds: number;
}

const titles: Readonly<Record<WayName, string>> = {
  today: 'auth_token with warm memcached, as deployed today',
  encrypted: 'auth_token with warm memcached and memcache_security_strategy = ENCRYPT',
  face: 'auth_token over the Keystone face, without a cache of its own',
  near: 'the near cache in Python',
};

/** The rows: for each way its costs, and for each but the first its ratios to that. */
export async function measureCosts(stage: Stage, quick: boolean): Promise<readonly Row[]> {
  const { keystone, sidecar, theirs } = stage;
  const rounds = quick ? 5 : 15;
  const requests = quick ? 200 : 400;
  const tokens = await Promise.all(Array.from({ length: 4 }, () => keystone.token()));
  const measurements: Measurement[] = [];
  for (const [name, way] of stage.ways) {
    const subject = await stage.start(way);
    // Cold requests, and for the near cache the proof of its stream.
    await subject.measure(tokens, 100);
    await new Promise((resolve) => setTimeout(resolve, name === 'near' ? 2500 : 0));
    await subject.measure(tokens, 100);
    measurements.push({ name, subject, rounds: [], tookMs: [], sidecarSeconds: 0, memcachedSeconds: 0 });
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const one of measurements) {
      const before = { sidecar: sidecar.cpuSeconds(), memcached: cpuSecondsOf(theirs.pid) };
      const { cpuMs, tookMs } = await one.subject.measure(tokens, requests);
      one.sidecarSeconds += sidecar.cpuSeconds() - before.sidecar;
      one.memcachedSeconds += cpuSecondsOf(theirs.pid) - before.memcached;
      one.rounds.push({ cpuUs: (cpuMs * 1000) / requests, p50Ms: median(tookMs) });
      one.tookMs.push(...tookMs);
    }
  }
  await Promise.all(measurements.map(({ subject }) => subject.end()));
  const conditions = `${rounds} rounds of ${requests} requests, 4 tokens in turn, in turn with the others; ${keystone.kind}`;
  return measurements.flatMap((one) => rowsOf(one, measurements[0], rounds * requests, conditions));
}

function rowsOf(one: Measurement, first: Measurement | undefined, count: number, conditions: string): readonly Row[] {
  const { name, tookMs } = one;
  const row = (what: string, value: number, unit: string, note: string): Row => ({
    answer: { name: `middleware_${name}_${what}`, value, unit, wanted: null },
    note,
  });
  const title = titles[name];
  const beside = (seconds: number): number => (seconds * 1e6) / count;
  const rows = [
    row(
      'cpu',
      median(one.rounds.map(({ cpuUs }) => cpuUs)),
      'µs',
      `${title}: processor time of the Python process, a request; ${conditions}`,
    ),
    row('sidecar_cpu', beside(one.sidecarSeconds), 'µs', 'of the sidecar, a request; its idle time is in it'),
    row('memcached_cpu', beside(one.memcachedSeconds), 'µs', 'of the memcached that auth_token uses, a request'),
    row('p50', quantile(tookMs, 0.5), 'ms', title),
    row('p99', quantile(tookMs, 0.99), 'ms', title),
  ];
  if (first === undefined || one === first) return rows;
  const against = 'against auth_token with warm memcached, round by round; the median';
  const ratio = (of: (round: Round) => number): number => median(one.rounds.map((round, at) => of(round) / of(first.rounds[at] ?? round)));
  const whole = (it: Measurement): number =>
    median(it.rounds.map(({ cpuUs }) => cpuUs)) + beside(it.sidecarSeconds) + beside(it.memcachedSeconds);
  return [
    ...rows,
    row(
      'cpu_ratio',
      ratio(({ cpuUs }) => cpuUs),
      '× today',
      `Python’s alone, ${against}`,
    ),
    row('cpu_whole_ratio', whole(one) / whole(first), '× today', 'Python’s, the sidecar’s and memcached’s together'),
    row(
      'p50_ratio',
      ratio(({ p50Ms }) => p50Ms),
      '× today',
      against,
    ),
    row('p99_ratio', quantile(tookMs, 0.99) / quantile(first.tookMs, 0.99), '× today', 'of all rounds together'),
  ];
}
