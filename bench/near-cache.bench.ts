// Question: how many answers a second does a near cache give, against asking the sidecar over its socket?
//
// One process asks, one token; the near cache lives from a real Watch of a real sidecar.

import { connect } from '../src/client/index.js';
import { start } from './children.js';
import { median, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 3 : 11;
const hits = options.quick ? 50_000 : 200_000;
const asks = options.quick ? 300 : 1_500;

const sidecar = await start('sidecar-server');
const client = connect({ address: String(sidecar.ready['address']) });
const near = client.nearCache();
const token = String(sidecar.ready['token']);
try {
  // The stream has to prove the cache first.
  const deadline = performance.now() + 10_000;
  while (!near.peek(token)) {
    await near.validate(token);
    if (performance.now() > deadline) throw new Error('the near cache was never proven');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const nearRate = async (): Promise<number> => {
    const before = performance.now();
    let done = 0;
    while (done < hits) {
      const answer = near.peek(token);
      // A hit is refused now and then, when the answer's time is over: asked again, as its users do.
      if (!answer) await near.validate(token);
      done += 1;
    }
    return done / ((performance.now() - before) / 1000);
  };
  const askRate = async (): Promise<number> => {
    const before = performance.now();
    for (let done = 0; done < asks; done += 1) await client.validate(token);
    return asks / ((performance.now() - before) / 1000);
  };
  await nearRate();
  await askRate();
  const rates: number[] = [];
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const rate = await nearRate();
    rates.push(rate);
    ratios.push(rate / (await askRate()));
  }
  report(
    options,
    { name: 'near_cache_hits', value: median(rates), unit: 'hits/s', wanted: null },
    `${rounds} rounds of ${hits} hits of one token of ${token.length} B, one process`,
  );
  report(
    options,
    { name: 'near_cache_ratio', value: median(ratios), unit: '× asking the sidecar, one at a time', wanted: null },
    `in turn with ${asks} calls of the client over loopback`,
  );
} finally {
  near.close();
  client.close();
  await sidecar.stop();
}
process.exit(0);
