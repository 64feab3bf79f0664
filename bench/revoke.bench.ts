// Question: what does an acknowledged Revoke cost over what the disk asks for one synced put?
//
// The whole sidecar over its unix socket with the journal on disk, one caller, against `db.put(…, { sync: true })` of the same LevelDB
// on the same disk, in turn. Then both with 64 at once: group commit. What a Revoke has and a put has not: the round trip of a gRPC
// call from Node's client, about a millisecond where the machine is idle; so a GetStatus is timed too, which is little more than that.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { connect } from '../src/client/index.js';
import { start } from './children.js';
import { median, quantile, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 3 : 11;
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
const call = async (): Promise<void> => {
  await client.status();
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
  await alone(call);
  const ratios: number[] = [];
  const ours: number[] = [];
  const theirs: number[] = [];
  const calls: number[] = [];
  const rateRatios: number[] = [];
  const ourRates: number[] = [];
  const theirRates: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const one = await alone(revoke);
    const other = await alone(put);
    ours.push(...one);
    theirs.push(...other);
    calls.push(...(await alone(call)));
    ratios.push(median(one) / median(other));
    const ourRate = await together(revoke);
    const theirRate = await together(put);
    ourRates.push(ourRate);
    theirRates.push(theirRate);
    rateRatios.push(ourRate / theirRate);
  }
  const spread = (values: number[]): string => `p99 ${quantile(values, 0.99).toFixed(2)} ms`;
  const row = (name: string, value: number, unit: string, note: string): void => report(options, { name, value, unit, wanted: null }, note);
  row(
    'revoke_ratio',
    median(ratios),
    '× a synced put',
    `${rounds} rounds in turn of ${each}, one at a time; the gRPC round trip is in ours alone`,
  );
  row('revoke_p50', median(ours), 'ms', `acknowledged: durable and applied; ${spread(ours)}`);
  row('revoke_put_p50', median(theirs), 'ms', `the synced put; ${spread(theirs)}`);
  row('revoke_call_p50', median(calls), 'ms', `a call of the same client that writes nothing (GetStatus); ${spread(calls)}`);
  const crowd = `64 callers at once, ${Math.ceil(each / 10)} each: both gather their writes; ours are bound by gRPC, client and server`;
  row('revoke_rate_ratio', median(rateRatios), '× the synced puts a second', crowd);
  row('revoke_rate', median(ourRates), 'revocations/s', 'the same rounds');
  row('revoke_put_rate', median(theirRates), 'puts/s', 'the same rounds');
} finally {
  client.close();
  await db.close();
  await sidecar.stop();
  rmSync(dir, { recursive: true, force: true });
}
