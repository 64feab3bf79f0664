// The calls of those who follow, over real gRPC: who may, and what is refused.

import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createFollow } from '../../src/fleet/follow.ts';
import { FleetServiceClient, type ReadRecordsRequest, type ReadRecordsResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { fleetService } from '../../src/rpc/fleet-service.ts';
import type { GrpcAdapter } from '../../src/rpc/grpc.ts';
import type { Callers } from '../../src/service/callers.ts';
import { Lending } from '../../src/service/fleet/lending.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeLog, type FakeLog } from '../fakes/engine.ts';
import { startSidecar, type TestSidecar, testCallers } from '../fakes/sidecar.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { detailsOf } from '../fakes/watcher.ts';
import { startUpstream } from '../fleet/follow-stage.ts';
import { hold, says } from '../fleet/jetstream-stage.ts';

const clients: FleetServiceClient[] = [];
let sidecar: TestSidecar | undefined;
/** Of what has no listener. */
let over = new AbortController();
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await sidecar?.stop();
  sidecar = undefined;
  over.abort();
  over = new AbortController();
});

async function started(): Promise<{ readonly socket: FleetServiceClient; readonly tcp: FleetServiceClient }> {
  sidecar = await startSidecar({ callers: [...testCallers, { who: { kind: 'socket' }, may: ['fleet'] }] });
  const of = (address: string | undefined): FleetServiceClient => {
    const client = new FleetServiceClient(address ?? '', credentials.createInsecure());
    clients.push(client);
    return client;
  };
  return { socket: of(sidecar.socket), tcp: of(sidecar.tcp) };
}

type Refusal = readonly [code: status | undefined, reason: string | undefined];
const refusalOf = (error: ServiceError | null | undefined): Refusal => [error?.code, error ? detailsOf(error).reason : undefined];
const append = (client: FleetServiceClient, records: readonly Buffer[]): Promise<Refusal> =>
  new Promise((resolve) => void client.appendRecords({ records: [...records] }, (error) => resolve(refusalOf(error))));
const read = (client: FleetServiceClient, request: ReadRecordsRequest): Promise<Refusal> =>
  new Promise((resolve) => {
    const stream = client.readRecords(request);
    stream.on('error', (error: ServiceError) => resolve(refusalOf(error)));
    stream.on('data', () => stream.cancel());
  });

it('who may not is refused, each time, and that is written down', async () => {
  const { tcp } = await started();
  expect(await append(tcp, [])).toEqual([status.UNAUTHENTICATED, 'CALLER_UNKNOWN']);
  expect(await read(tcp, {})).toEqual([status.UNAUTHENTICATED, 'CALLER_UNKNOWN']);
  expect(sidecar?.audits().map(({ act, actor, outcome }) => [act, actor, outcome])).toEqual([
    ['refused', 'loopback', 'fleet: CALLER_UNKNOWN'],
    ['refused', 'loopback', 'fleet: CALLER_UNKNOWN'],
  ]);
});

interface Lent {
  readonly log: FakeLog;
  /** How many records the next message has. */
  next(): Promise<number>;
  /** How long they are. */
  lengths(): Promise<readonly number[] | undefined>;
  forbid(): void;
  setMs(nowMs: number): void;
}

const noLonger = new SidecarError('UNAVAILABLE', 'its certificate has ended', { reason: 'CERTIFICATE_EXPIRED' });

/** A reading by who may follow, of a log in memory, without a listener. */
function lent(): Lent {
  const log = createFakeLog(systemClock);
  const telemetry = createFakeTelemetry();
  const parts = { clock: systemClock, telemetry, draining: over.signal };
  const lending = new Lending({ ...parts, engine: { ...log.engine(), another: () => log.engine() } });
  let mayFollow = true;
  let nowMs = 0;
  const callers = { allows: () => mayFollow, authorise: () => Promise.reject(noLonger) };
  const adapter = { unary: (_: string, handle: unknown) => handle, serverStream: (_: string, handle: unknown) => handle };
  const service = fleetService(
    { lending, telemetry, callers: callers as unknown as Callers, monotonicMs: () => nowMs },
    adapter as unknown as GrpcAdapter,
  );
  const readRecords = service['readRecords'] as unknown as (request: object, call: object) => AsyncGenerator<ReadRecordsResponse>;
  const reading = readRecords({}, { listener: 'remote', peer: undefined, signal: () => over.signal });
  const lengths = async (): Promise<readonly number[] | undefined> => {
    const { value } = await reading.next();
    return (value as ReadRecordsResponse | undefined)?.records.map(({ content }) => content.length);
  };
  return {
    log,
    lengths,
    next: async () => (await lengths())?.length ?? -1,
    forbid: () => {
      mayFollow = false;
    },
    setMs: (ms) => {
      nowMs = ms;
    },
  };
}

it('who may no longer is sent away in the middle of a reading, within 5 s', async () => {
  const { log, next, forbid, setMs } = lent();
  expect(await next()).toBe(0);
  forbid();
  log.append(Buffer.from('a'));
  expect(await next()).toBe(1);
  setMs(5_001);
  log.append(Buffer.from('b'));
  await expect(next()).rejects.toBe(noLonger);
});

it('a message holds 256 KiB of records, or one that is longer', async () => {
  const { log, next } = lent();
  for (const sizeBytes of [131_072, 131_072, 1, 262_144, 262_145, 1]) log.append(Buffer.alloc(sizeBytes));
  const sizes: number[] = [];
  while (sizes.length < 6) sizes.push(await next());
  expect(sizes).toEqual([0, 2, 1, 1, 1, 1]);
});

it('of a record that is nobody’s, as it is too long, no more is told than shows that: one message of any client holds it', async () => {
  const { log, lengths } = lent();
  log.append(Buffer.alloc(5_000_000));
  expect([await lengths(), await lengths()]).toEqual([[], [262_145]]);
});

it('a sidecar without a fleet has nothing to lend', async () => {
  const { socket } = await started();
  expect(await append(socket, [])).toEqual([status.FAILED_PRECONDITION, 'NO_FLEET']);
  expect(await read(socket, {})).toEqual([status.FAILED_PRECONDITION, 'NO_FLEET']);
});

it('records that are too long or too many, and a position that no log has, are INVALID_ARGUMENT', async () => {
  const { socket } = await started();
  const fits = [status.FAILED_PRECONDITION, 'NO_FLEET'];
  const tooLarge = [status.INVALID_ARGUMENT, 'RECORDS_TOO_LARGE'];
  expect(await append(socket, [Buffer.alloc(262_144)])).toEqual(fits);
  expect(await append(socket, [Buffer.alloc(262_145)])).toEqual(tooLarge);
  expect(
    await append(
      socket,
      Array.from({ length: 1_024 }, () => Buffer.alloc(1)),
    ),
  ).toEqual(fits);
  expect(
    await append(
      socket,
      Array.from({ length: 1_025 }, () => Buffer.alloc(1)),
    ),
  ).toEqual(tooLarge);
  expect(await read(socket, { from: BigInt(Number.MAX_SAFE_INTEGER) })).toEqual(fits);
  expect(await read(socket, { from: 2n ** 53n })).toEqual([status.INVALID_ARGUMENT, 'POSITION_MALFORMED']);
});

it('a follower says why it does not get on: its certificate may not, nobody is there, or it knows nobody of that name', async () => {
  const upstream = await startUpstream();
  const { tls, address } = upstream.options(upstream.port);
  const follow = (options: Parameters<typeof createFollow>[0]) => hold(createFollow(options, { clock: systemClock }));
  const holders = [
    follow(upstream.options(upstream.port, 'stranger')),
    follow({ tls, address: { ...address, port: 1 } }),
    follow({ address, tls: { ...tls, serverName: 'other.example' } }),
    follow({ address, tls: { ...tls, keyFile: { read: async () => 'no key' } } }),
  ];
  const words = [/does not let us follow it/, /is away: .*ECONNREFUSED/, /is away: .*other\.example/, /certificates for .* cannot be used/];
  for (const [n, { engine }] of holders.entries()) expect(await says(engine, words[n] ?? '')).toBe(false);
  await Promise.all(holders.map((holder) => holder.stop()));
  await upstream.close();
}, 120_000);
