// Question: what does a Validate that is answered from memory cost, against a grpc-js server that does nothing?
//
// Processor time per request, from the servers' processes themselves, both asked by the same loader in turn, each over one HTTP/2
// connection that stays open; the baseline answers the very bytes that the sidecar answered. Then bytes allocated per request, of a
// pair of its own whose young generation is so large that nothing is collected meanwhile: a round in which something was is thrown
// away. The first pair has node's own, as in production, and pays for its collections.

import { ValidateRequest } from '../src/gen/sidegate/v1/token_service.js';
import { type Child, type Start, start } from './children.js';
import { type Loader, open } from './load.js';
import { median, readOptions, report } from './report.js';

const options = readOptions();
const rounds = options.quick ? 5 : 31;
const requests = options.quick ? 2_000 : 4_000;
const warmUp = options.quick ? 15_000 : 20_000;
const concurrency = 32;
const allocationRounds = options.quick ? 9 : 15;
const allocationRequests = 1_000;

interface Server {
  readonly child: Child;
  readonly loader: Loader;
}

interface Pair {
  readonly sidecar: Server;
  readonly bare: Server;
  readonly requestBytes: number;
  readonly answerBytes: number;
}

async function pair(how: Start): Promise<Pair> {
  const sidecar = await start('sidecar-server', how);
  const credential = { $case: 'token' as const, value: String(sidecar.ready['token']) };
  const body = ValidateRequest.encode(ValidateRequest.fromPartial({ credential })).finish();
  const loaderOf = (child: Child): Loader =>
    open({ address: String(child.ready['address']), path: '/sidegate.v1.TokenService/Validate', body });
  const asked = loaderOf(sidecar);
  await asked.send(10, 1);
  const answer = await asked.send(1, 1);
  const bare = await start('bare-server', { ...how, args: [answer.toString('base64')] });
  const servers = { sidecar: { child: sidecar, loader: asked }, bare: { child: bare, loader: loaderOf(bare) } };
  for (const { loader } of Object.values(servers)) await loader.send(warmUp, concurrency);
  return { ...servers, requestBytes: body.length, answerBytes: answer.length };
}

async function end({ sidecar, bare }: Pair): Promise<void> {
  for (const { child, loader } of [sidecar, bare]) {
    loader.close();
    await child.stop();
  }
}

/** What `measure` says of both. Who goes first changes every round: what comes second finds a warmer machine, or a busier one. */
async function both(
  { sidecar, bare }: Pair,
  round: number,
  measure: (server: Server) => Promise<number>,
): Promise<{ readonly ours: number; readonly theirs: number }> {
  if (round % 2 === 0) {
    const ours = await measure(sidecar);
    return { ours, theirs: await measure(bare) };
  }
  const theirs = await measure(bare);
  return { ours: await measure(sidecar), theirs };
}

async function cpuMicros({ child, loader }: Server): Promise<number> {
  const before = await child.cpuMicros();
  await loader.send(requests, concurrency);
  return ((await child.cpuMicros()) - before) / requests;
}

async function allocatedBytes({ child, loader }: Server): Promise<number> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await child.mark();
    await loader.send(allocationRequests, concurrency);
    const grown = await child.grownBytes();
    if (grown !== undefined) return grown / allocationRequests;
  }
  throw new Error('garbage was collected in every round: nothing can be said about allocation');
}

const usual = await pair({});
try {
  const costs: { ours: number; theirs: number }[] = [];
  for (let round = 0; round < rounds; round += 1) costs.push(await both(usual, round, cpuMicros));
  const ours = median(costs.map((cost) => cost.ours));
  const theirs = median(costs.map((cost) => cost.theirs));
  const ratio = median(costs.map((cost) => cost.ours / cost.theirs));
  const conditions = `${rounds} rounds in turn of ${requests} requests, ${concurrency} at once; request ${usual.requestBytes} B, answer ${usual.answerBytes} B`;
  report(options, { name: 'hit_cpu_ratio', value: ratio, unit: '× bare grpc-js server', wanted: '<= 1.3' }, conditions);
  report(options, { name: 'hit_cpu', value: ours, unit: 'µs a request', wanted: null }, 'the same rounds');
  report(options, { name: 'hit_cpu_bare', value: theirs, unit: 'µs a request', wanted: null }, 'the same rounds');
} finally {
  await end(usual);
}

const roomy = await pair({ largeYoungGeneration: true });
try {
  // The first one finds what warming up left behind: what the collector frees with a delay would count against it.
  await both(roomy, 0, allocatedBytes);
  const sizes: { ours: number; theirs: number }[] = [];
  for (let round = 0; round < allocationRounds; round += 1) sizes.push(await both(roomy, round, allocatedBytes));
  const ours = median(sizes.map((size) => size.ours));
  const theirs = median(sizes.map((size) => size.theirs));
  const more = ours - theirs;
  // Who does more allocates more: anything else is noise that would pass for a good answer.
  if (theirs <= 0 || more <= 0) throw new Error(`that was noise: ${ours} B a request against ${theirs} B`);
  const conditions = `${allocationRounds} rounds in turn of ${allocationRequests} requests, heap and external memory, nothing collected in between; of the medians`;
  report(options, { name: 'hit_allocation', value: more, unit: 'bytes more than the bare server', wanted: '<= 1024' }, conditions);
  report(options, { name: 'hit_allocation_whole', value: ours, unit: 'bytes a request', wanted: null }, 'the same rounds');
  report(options, { name: 'hit_allocation_bare', value: theirs, unit: 'bytes a request', wanted: null }, 'the same rounds');
} finally {
  await end(roomy);
}
