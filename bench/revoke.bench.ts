// Question: what does an acknowledged Revoke cost over what the disk asks for one synced put?
//
// The whole sidecar over its unix socket with the journal on disk, one caller, against `db.put(…, { sync: true })` of the same LevelDB
// on the same disk, in turn. Then both with 64 at once: group commit.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { connect } from '../src/client/index.js';
import { start } from './children.js';
import { median, quantile, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 5 : 11;
const each = options.quick ? 60 : 300;
const dir = mkdtempSync(join(tmpdir(), 'sidegate-bench-'));
const sidecar = await start('journal-server', { args: [dir] });
const client = connect({ address: String(sidecar.ready['socket']) });
const db = new ClassicLevel<string, string>(join(dir, 'bare'));
const value = JSON.stringify({ effect: 'REVOKE', selector: 'x'.repeat(220) });

let n = 0;
const revoke = async (): Promise<void> => {
  n += 1;
  await client.revoke({ selector: { issuer: 'bench', userId: `user-${n}` } }, { reason: 'bench' });
};
const put = async (): Promise<void> => {
  n += 1;
  await db.put(`k${n}`, value, { sync: true });
};
const alone = async (act: () => Promise<void>): Promise<number[]> => {
  const times: number[] = [];
  for (let count = 0; count < each; count += 1) {
    const before = performance.now();
    await act();
    times.push(performance.now() - before);
  }
  return times;
};
const together = async (act: () => Promise<void>): Promise<number> => {
  const before = performance.now();
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      for (let count = 0; count < each / 10; count += 1) await act();
    }),
  );
  return (64 * each) / 10 / ((performance.now() - before) / 1000);
};

try {
  await alone(revoke);
  await alone(put);
  const ratios: number[] = [];
  const rates: number[] = [];
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const one = await alone(revoke);
    const other = await alone(put);
    ours.push(...one);
    theirs.push(...other);
    ratios.push(median(one) / median(other));
    rates.push((await together(revoke)) / (await together(put)));
  }
  const ms = (values: number[]): string => `p50 ${median(values).toFixed(2)}, p99 ${quantile(values, 0.99).toFixed(2)} ms`;
  report(
    options,
    { name: 'revoke_ratio', value: median(ratios), unit: '× a synced put', wanted: null },
    `${rounds} rounds in turn of ${each}, one at a time, gRPC over the socket included: ${ms(ours)} against ${ms(theirs)}`,
  );
  report(
    options,
    { name: 'revoke_rate_ratio', value: median(rates), unit: '× the synced puts a second', wanted: null },
    `64 callers at once, ${Math.ceil(each / 10)} each: group commit`,
  );
} finally {
  client.close();
  await db.close();
  await sidecar.stop();
  rmSync(dir, { recursive: true, force: true });
}
