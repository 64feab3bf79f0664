// Question: the engine is away for ten minutes, and each of three sidecars makes 10,000 revocations meanwhile. Have all of them all when it is
// back, after how long, and how often does the log hold each?
//
// Over each engine in turn (--quick: 10 s, 500 each). Fails where one is missing somewhere.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect } from '../src/client/index.ts';
import { engineNames } from './fleet/engines.ts';
import { countInLog } from './fleet/log-count.ts';
import { startFleet } from './fleet/stage.ts';
import { readOptions, report } from './report.ts';

const options = readOptions();
// From dist/bench/bench.
const cli = join(fileURLToPath(new URL('../../../', import.meta.url)), 'dist', 'cli.js');
const each = options.quick ? 500 : 10_000;
const awayMs = options.quick ? 10_000 : 600_000;
/** At once at one sidecar. */
const together = 64;
const patienceMs = 300_000;
let isWrong = false;

for (const engine of engineNames) {
  const stage = await startFleet({ cli, engine, maxLagMs: 10_000, deadlineMs: 10_000 });
  try {
    const row = (what: string, value: number, unit: string, wanted: string | null, note: string): void =>
      report(options, { name: `away_${engine}_${what}`, value, unit, wanted }, note);
    const clients = stage.members.map(({ socket }) => connect({ address: socket, timeoutMs: 60_000 }));
    // A stream that was made a second ago is not on RabbitMQ's disk whole: its kill would leave one that it does not know again.
    await pause(5_000);
    await stage.engine.kill();
    const killedMs = performance.now();
    const ids = new Set<string>();
    await Promise.all(
      clients.map(async (client) => {
        for (let made = 0; made < each; made += together) {
          const some = Array.from({ length: Math.min(together, each - made) }, () => randomBytes(16).toString('hex'));
          const done = await Promise.all(some.map((userId) => client.revoke({ selector: { issuer: 'central', userId } })));
          for (const { entryId } of done) ids.add(entryId);
        }
      }),
    );
    row('made_in', (performance.now() - killedMs) / 1000, 's', null, `${each} revocations on each of three sidecars, ${together} at once`);
    await pause(Math.max(0, awayMs - (performance.now() - killedMs)));
    await stage.engine.start();
    const backMs = performance.now();
    const counts = async (): Promise<readonly number[]> =>
      Promise.all(stage.members.map(async ({ sidecar }) => (await sidecar.client.status()).entryCount));
    while ((await counts()).some((count) => count < 3 * each) && performance.now() - backMs < patienceMs) await pause(100);
    row(
      'all_have_all_after',
      (performance.now() - backMs) / 1000,
      's',
      null,
      `${3 * each} entries, after ${awayMs / 1000} s without the log`,
    );
    const missing = (await counts()).reduce((sum, count) => sum + 3 * each - count, 0);
    row('missing', missing, 'entries', '<= 0', 'of all that each of the three should have');
    const { entries, distinct } = await countInLog(stage);
    row('in_log_twice', entries - distinct, 'records', null, `of ${distinct} entries in the log`);
    row('not_in_log', [...ids].length - distinct, 'entries', '<= 0', 'that were acknowledged');
    isWrong ||= missing > 0 || ids.size !== distinct;
    for (const client of clients) client.close();
  } finally {
    await stage.close();
  }
}
process.exit(isWrong ? 1 : 0);
