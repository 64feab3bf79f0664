// Question: what does a Validate that is answered from memory cost, against a grpc-js server that does nothing?
//
// Server processor time per request, from the processes themselves, both asked by the same loader over one HTTP/2 connection in turn;
// the baseline answers the very bytes that the sidecar answered. Then bytes allocated per request, garbage collection forced before.

import { ValidateRequest } from '../src/gen/sidegate/v1/token_service.js';
import { type Child, start } from './children.js';
import { send } from './load.js';
import { median, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 5 : 11;
const requests = options.quick ? 2_000 : 6_000;
const warmUp = options.quick ? 8_000 : 20_000;
const concurrency = 32;
const path = '/sidegate.v1.TokenService/Validate';

const sidecar = await start('sidecar-server');
const token = String(sidecar.ready['token']);
const body = ValidateRequest.encode(ValidateRequest.fromPartial({ credential: { $case: 'token', value: token } })).finish();
const load = (child: Child) => ({ address: String(child.ready['address']), path, body });
await send(load(sidecar), 10, 1);
const answer = await send(load(sidecar), 1, 1);
const bare = await start('bare-server', [answer.toString('base64')]);

const cpuMicros = async (child: Child): Promise<number> => {
  const before = Number((await child.ask('usage'))['cpuMicros']);
  await send(load(child), requests, concurrency);
  return (Number((await child.ask('usage'))['cpuMicros']) - before) / requests;
};
/** Without a collection in between: few enough requests to stay inside the young generation's growth. */
const allocated = async (child: Child): Promise<number> => {
  const few = 400;
  const before = Number((await child.ask('collect'))['heapBytes']);
  await send(load(child), few, 8);
  return (Number((await child.ask('heap'))['heapBytes']) - before) / few;
};

try {
  for (const child of [sidecar, bare]) await send(load(child), warmUp, concurrency);
  const ratios: number[] = [];
  const ours: number[] = [];
  const theirs: number[] = [];
  const more: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    // Who goes first changes every round: what comes second finds a warmer machine, or a busier one.
    const first = round % 2 === 0 ? sidecar : bare;
    const firstCost = await cpuMicros(first);
    const secondCost = await cpuMicros(first === sidecar ? bare : sidecar);
    const [one, other] = first === sidecar ? [firstCost, secondCost] : [secondCost, firstCost];
    ours.push(one);
    theirs.push(other);
    ratios.push(one / other);
    more.push((await allocated(sidecar)) - (await allocated(bare)));
  }
  const conditions = `${rounds} rounds in turn of ${requests} requests, ${concurrency} at once; request ${body.length} B, answer ${answer.length} B; medians ${median(ours).toFixed(1)} and ${median(theirs).toFixed(1)} µs`;
  report(options, { name: 'hit_cpu_ratio', value: median(ratios), unit: '× bare grpc-js server', wanted: '<= 1.3' }, conditions);
  report(
    options,
    { name: 'hit_allocation', value: median(more), unit: 'bytes more than the bare server', wanted: '<= 1024' },
    `${rounds} rounds of 400 requests, heap and external memory, no collection in between`,
  );
} finally {
  await sidecar.stop();
  await bare.stop();
}
