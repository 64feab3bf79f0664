// Question: how many invalidations a second does a fleet of twenty on one machine carry, with a lag that stays bounded for a minute; and what
// does a thousand a second cost three?
//
// Rates 10, 30, 100, 300 in turn, over each engine (--quick: five sidecars, 5 s, 10 and 30). Fails where an entry did not come to all.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineNames } from './fleet/engines.ts';
import { type FloodResult, flood } from './fleet/flood.ts';
import { startFleet } from './fleet/stage.ts';
import { quantile, readOptions, report } from './report.ts';

const options = readOptions();
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
  const stage = await startFleet({
    cli,
    engine,
    maxLagMs: 10_000,
    deadlineMs: 10_000,
    names: Array.from({ length: many }, (_, n) => `n${n}`),
  });
  try {
    for (const perSecond of rates) {
      const result = await flood(stage, { perSecond, ms });
      tell(`crowd_${engine}_${many}_at_${perSecond}`, result, `${many} sidecars and the server on this machine, ${ms / 1000} s`);
      // The next rate would only show the same.
      if (!isBounded(result)) break;
    }
  } finally {
    await stage.close();
  }
  const few = await startFleet({ cli, engine, maxLagMs: 10_000, deadlineMs: 10_000 });
  try {
    const perSecond = options.quick ? 200 : 1_000;
    const result = await flood(few, { perSecond, ms });
    tell(`crowd_${engine}_3_at_${perSecond}`, result, `three sidecars and the server on this machine, ${ms / 1000} s`);
  } finally {
    await few.close();
  }
}
process.exit(isWrong ? 1 : 0);
