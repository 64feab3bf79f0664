// Question: how many invalidations a second does a fleet of twenty on one machine carry, with a lag that stays bounded for a minute; and what
// does a thousand a second cost three?
//
// Rates 10, 30, 100, 300 in turn, over each engine (--quick: five sidecars, 5 s, 10 and 30; --only=jetstream_20_at_300: that row alone).
// Fails where an entry did not come to all.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EngineName, engineNames } from './fleet/engines.ts';
import { type FloodResult, flood } from './fleet/flood.ts';
import { startFleet } from './fleet/stage.ts';
import { quantile, readOnly, readOptions, report } from './report.ts';

const { isWanted, rest } = readOnly();
const options = readOptions(rest);
// From dist/bench/bench.
const cli = join(fileURLToPath(new URL('../../../', import.meta.url)), 'dist', 'cli.js');
const many = options.quick ? 5 : 20;
const ms = options.quick ? 5_000 : 60_000;
const rates = options.quick ? [10, 30] : [10, 30, 100, 300];
let isWrong = false;

/** The last quarter is not much later than the first: what comes is carried away. */
function isBounded({ lagsMs }: FloodResult): boolean {
  const quarter = Math.ceil(lagsMs.length / 4);
  return quantile(lagsMs.slice(-quarter), 0.5) <= 2 * quantile(lagsMs.slice(0, quarter), 0.5) + 100;
}

function tell(name: string, result: FloodResult, note: string): void {
  const row = (what: string, value: number, unit: string, wanted: string | null = null): void =>
    report(options, { name: `${name}_${what}`, value, unit, wanted }, note);
  row('lag_p50', quantile(result.lagsMs, 0.5), 'ms');
  row('lag_p99', quantile(result.lagsMs, 0.99), 'ms');
  row('lag_worst', Math.max(...result.lagsMs), 'ms');
  row('achieved', result.perSecond, 'a second');
  row('bounded', isBounded(result) ? 1 : 0, '1: yes');
  row('cpu_sidecar', 100 * result.sidecarCpu, '% of a processor');
  row('cpu_engine', 100 * result.engineCpu, '% of a processor');
  row('memory_sidecar', result.sidecarBytes / 1024 ** 2, 'MiB');
  row('memory_engine', result.engineBytes / 1024 ** 2, 'MiB');
  row('missing', result.missing, 'told to nobody', '<= 0');
  isWrong ||= result.missing > 0;
}

for (const engine of engineNames) {
  const wanted = rates
    .map((perSecond) => ({ perSecond, name: `crowd_${engine}_${many}_at_${perSecond}` }))
    .filter(({ name }) => isWanted(name));
  if (wanted.length > 0) await crowd(engine, wanted);
  const perSecond = options.quick ? 200 : 1_000;
  const name = `crowd_${engine}_3_at_${perSecond}`;
  if (isWanted(name)) await three(engine, perSecond, name);
}
process.exit(isWrong ? 1 : 0);

async function crowd(engine: EngineName, wanted: readonly { readonly perSecond: number; readonly name: string }[]): Promise<void> {
  const names = Array.from({ length: many }, (_, n) => `n${n}`);
  const stage = await startFleet({ cli, engine, maxLagMs: 10_000, deadlineMs: 10_000, names });
  try {
    for (const { perSecond, name } of wanted) {
      const result = await flood(stage, { perSecond, ms });
      tell(name, result, `${many} sidecars and the server on this machine, ${ms / 1000} s`);
      // The next rate would only show the same.
      if (!isBounded(result)) break;
    }
  } finally {
    await stage.close();
  }
}

async function three(engine: EngineName, perSecond: number, name: string): Promise<void> {
  const stage = await startFleet({ cli, engine, maxLagMs: 10_000, deadlineMs: 10_000 });
  try {
    const result = await flood(stage, { perSecond, ms });
    tell(name, result, `three sidecars and the server on this machine, ${ms / 1000} s`);
  } finally {
    await stage.close();
  }
}
