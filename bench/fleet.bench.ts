// Question: how long after a Revoke at one sidecar is the token denied there, and at the others of its fleet?
//
// Three sidecars of one fleet under load, over each engine in turn, 1,000 revocations (--quick: 150). Fails where a revoked token was called active.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { engineNames } from './fleet/engines.ts';
import { measureLag } from './fleet/lag.ts';
import { startFleet } from './fleet/stage.ts';
import { quantile, readOptions, report } from './report.ts';

const options = readOptions();
// From dist/bench/bench.
const cli = join(fileURLToPath(new URL('../../../', import.meta.url)), 'dist', 'cli.js');
const plan = {
  revocations: options.quick ? 150 : 1_000,
  revocationsPerSecond: 20,
  validationsPerSecond: 200,
  waiting: options.quick ? 30 : 150,
};
let isWrong = false;

for (const engine of engineNames) {
  const stage = await startFleet({ cli, engine, maxLagMs: 10_000, deadlineMs: 5_000 });
  try {
    const result = await measureLag(stage, plan);
    const row = (what: string, value: number, unit: string, wanted: string | null, note: string): void =>
      report(options, { name: `fleet_${engine}_${what}`, value, unit, wanted }, note);
    const spread = (place: string, ms: readonly number[], wanted: string | null, note: string): void => {
      row(`${place}_p50`, quantile(ms, 0.5), 'ms', null, note);
      row(`${place}_p99`, quantile(ms, 0.99), 'ms', wanted, note);
      row(`${place}_worst`, Math.max(...ms), 'ms', null, note);
    };
    const load = `with ${plan.validationsPerSecond} validations a second on each of three sidecars`;
    spread(
      'here',
      result.hereMs,
      '<= 50',
      `from sending the Revoke to the denied Validate after it, ${result.hereMs.length} times, ${load}`,
    );
    spread(
      'others',
      result.othersMs,
      '<= 250',
      `the same at the other two, as soon as their Watch has told: ${result.othersMs.length} times`,
    );
    spread(
      'wait_for_fleet',
      result.fleetMs,
      null,
      `until a Revoke that waits for the fleet is acknowledged: ${result.fleetMs.length} times`,
    );
    const told = result.wrong.length === 0 ? 'none' : [...new Set(result.wrong)].slice(0, 5).join('; ');
    row('wrong_answers', result.wrong.length, 'answers', '<= 0', `${result.validations} validations of the load beside it; wrong: ${told}`);
    isWrong ||= result.wrong.length > 0;
  } finally {
    await stage.close();
  }
}
process.exit(isWrong ? 1 : 0);
