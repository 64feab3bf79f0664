// What a run of the region shows, in rows: answers that were wrong, hits and misses under faults, memory.

import { median, quantile, type Row } from '../report.ts';
import type { Violation } from './judge.ts';
import type { Sample } from './load.ts';
import type { RegionResult, Stretch, Weight } from './region.ts';

/** The rows, and a line for each kind of wrong answer. */
export interface Summary {
  readonly rows: readonly Row[];
  readonly wrong: readonly string[];
}

const minuteMs = 60_000;

/** What it shows. Pure. */
export function summaryOf(result: RegionResult): Summary {
  const { samples, stretches, violations, seen } = result;
  const seconds = Math.round((result.endedAtMs - result.beganAtMs) / 1000);
  const row = (name: string, value: number, unit: string, wanted: string | null, note: string): Row => ({
    answer: { name, value, unit, wanted },
    note,
  });
  const calm = within(samples, stretches, (fault) => fault === undefined);
  const calmHits = hitsOf(calm);
  const ofTier = hitsOf(within(samples, stretches, (fault) => fault?.of === 'tier'));
  const inAny = hitsOf(within(samples, stretches, (fault) => fault !== undefined));
  const misses = missesOf(within(samples, stretches, (fault) => fault?.of === 'tier'));
  const rows = [
    row(
      'region_wrong_answers',
      violations.length,
      'answers',
      '<= 0',
      `${seconds} s, ${seen.answers} answers (${seen.active} active, ${seen.inactive} inactive, ${seen.none} none); ` +
        `${seen.afterRevoke} after an acknowledged Revoke, ${seen.afterDenial} after a denial at Keystone, ${seen.pastTime} of them past \`time\`; ` +
        `${result.upstreamCalls} asked of Keystone, ${result.sharedAnswers} found in memcached; ` +
        `the Keystone face ${result.hasFace ? 'is asked too' : 'is not there'}`,
    ),
    row('region_hits_p50', quantile(calmHits, 0.5), 'ms', null, `undisturbed, ${calmHits.length} hits over loopback gRPC`),
    row('region_hits_p99', quantile(calmHits, 0.99), 'ms', null, 'the same'),
    row(
      'region_hits_p99_ratio',
      quantile(ofTier, 0.99) / quantile(calmHits, 0.99),
      '× undisturbed',
      '<= 1.5',
      `while memcached fails: ${ofTier.length} hits, p99 ${ms(quantile(ofTier, 0.99))}; ${byFault(result)}`,
    ),
    row(
      'region_hits_p99_any_ratio',
      quantile(inAny, 0.99) / quantile(calmHits, 0.99),
      '× undisturbed',
      null,
      'with Keystone’s faults and restarts',
    ),
    row(
      'region_misses_max',
      Math.max(0, ...misses),
      'ms',
      '<= 5000',
      `while memcached fails: ${misses.length} misses, p50 ${ms(quantile(misses, 0.5))}, p99 ${ms(quantile(misses, 0.99))}; the deadline is 5 s`,
    ),
    ...memoryRow(result),
  ];
  return { rows, wrong: wrongLines(violations, result.beganAtMs) };
}

function within(samples: readonly Sample[], stretches: readonly Stretch[], fits: (fault: Stretch['fault']) => boolean): readonly Sample[] {
  const wanted = stretches.filter(({ fault }) => fits(fault));
  return samples.filter(({ askedAtMs }) => wanted.some(({ fromMs, toMs }) => askedAtMs >= fromMs && askedAtMs < toMs));
}

/** Over gRPC only: the face does not tell where it found what it says. */
function hitsOf(samples: readonly Sample[]): readonly number[] {
  return samples.filter(({ provenance, kind }) => kind === 'active' && provenance === 'memory').map(({ tookMs }) => tookMs);
}

function missesOf(samples: readonly Sample[]): readonly number[] {
  return samples.filter(({ over, provenance }) => over === 'grpc' && provenance !== 'memory').map(({ tookMs }) => tookMs);
}

function byFault({ samples, stretches }: RegionResult): string {
  const names = [...new Set(stretches.flatMap(({ fault }) => fault?.name ?? []))];
  return names
    .map((name) => `${name} ${ms(quantile(hitsOf(within(samples, stretches, (fault) => fault?.name === name)), 0.99))}`)
    .join(', ');
}

/** The last minute against the third, of each process that lived through both; the heaviest. */
function memoryRow({ weights, beganAtMs, endedAtMs }: RegionResult): readonly Row[] {
  const between = (fromMs: number, toMs: number, pid: number): readonly number[] =>
    weights.filter((one) => one.pid === pid && one.atMs >= fromMs && one.atMs < toMs).map(({ bytes }) => bytes);
  const compared = [...new Map(weights.map((one) => [one.pid, one])).values()].flatMap(({ pid, sidecar }: Weight) => {
    const third = between(beganAtMs + 2 * minuteMs, beganAtMs + 3 * minuteMs, pid);
    const last = between(endedAtMs - minuteMs, endedAtMs, pid);
    return third.length < 30 || last.length < 30 ? [] : [{ sidecar, third: median(third), last: median(last) }];
  });
  // A run of less than four minutes has nothing to compare.
  if (endedAtMs - beganAtMs < 4 * minuteMs || compared.length === 0) return [];
  const value = Math.max(...compared.map(({ third, last }) => last / third));
  const note = compared.map(({ sidecar, third, last }) => `${sidecar} ${mib(third)} then ${mib(last)}`).join(', ');
  return [
    { answer: { name: 'region_memory_ratio', value, unit: '× the third minute', wanted: '<= 1.1' }, note: `resident, medians: ${note}` },
  ];
}

function wrongLines(violations: readonly Violation[], beganAtMs: number): readonly string[] {
  const kinds = [...new Set(violations.map(({ broken }) => broken))];
  return kinds.map((kind) => {
    const them = violations.filter(({ broken }) => broken === kind);
    const told = them.slice(0, 5).map(({ observation, note }) => {
      const { sidecar, askedAtMs, answeredAtMs } = observation;
      return `\n    at ${((askedAtMs - beganAtMs) / 1000).toFixed(2)} s on ${sidecar}, in ${ms(answeredAtMs - askedAtMs)}: ${note}`;
    });
    return `${kind}: ${them.length}${told.join('')}`;
  });
}

const ms = (value: number): string => `${value.toFixed(1)} ms`;
const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
