// Watch against a real server: it resumes by itself, waits as it is told, and ends as it is told.
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Client, connect, type WatchEvent } from '../../src/client/index.ts';
import type { WatchResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { Refusal, ScriptedSidecar, type Subscription } from '../fakes/scripted-sidecar.ts';

const cursor = (revision: bigint) => ({ journal: 'J', revision });
const opened = (latest: bigint): WatchResponse => ({
  message: {
    $case: 'opened',
    value: {
      earliest: cursor(1n),
      latest: cursor(latest),
      checkpointInterval: { seconds: 60n, nanos: 0 },
      proofLifetime: { seconds: 180n, nanos: 0 },
      sidecar: 'scripted',
      subscription: 's1',
    },
  },
});
const batch = (...revisions: bigint[]): WatchResponse => ({
  message: {
    $case: 'batch',
    value: {
      invalidations: revisions.map((revision) => ({ cursor: cursor(revision), effect: 1 as const, tags: [7n], entryId: `e${revision}` })),
    },
  },
});

let sidecar: ScriptedSidecar;
let client: Client;
let ending: AbortController;
let events: AsyncIterator<WatchEvent>;
const next = async (): Promise<WatchEvent | undefined> => (await events.next()).value;
const began = async (): Promise<Subscription> => sidecar.subscription();

beforeEach(async () => {
  sidecar = await ScriptedSidecar.start();
  client = connect({ address: sidecar.address, callerToken: 'caller' });
  ending = new AbortController();
  events = client.watch({ signal: ending.signal, details: true, checkpointIntervalMs: 250 })[Symbol.asyncIterator]();
});
afterEach(() => {
  client.close();
  sidecar.stop();
});

describe('watch', () => {
  it('subscribes as it was asked, and tells what happens in order', async () => {
    const first = next();
    const subscription = await began();
    expect(subscription.request).toMatchObject({ start: undefined, includeDetails: true, checkpointInterval: { nanos: 250_000_000 } });
    expect(subscription.authorization).toBe('Bearer caller');
    subscription.send(opened(5n));
    subscription.send(batch(6n, 6n, 7n));
    expect(await first).toMatchObject({
      kind: 'opened',
      latest: { journal: 'J', revision: 5 },
      checkpointIntervalMs: 60_000,
      subscription: 's1',
    });
    expect([await next(), await next(), await next()]).toMatchObject([
      { kind: 'invalidation', cursor: { revision: 6 }, effect: 'REVOKE', tags: [7n], entryId: 'e6' },
      { kind: 'invalidation', cursor: { revision: 6 } },
      { kind: 'invalidation', cursor: { revision: 7 } },
    ]);
  });

  it('W3: a stream from now that was cut before anything happened goes on from its beginning', async () => {
    const first = next();
    const subscription = await began();
    subscription.send(opened(5n));
    await first;
    subscription.cut();
    expect(await next()).toMatchObject({ kind: 'disconnected', error: { code: 'UNAVAILABLE' } });
    void next();
    expect((await began()).request.start?.value).toMatchObject(cursor(5n));
  });

  it('W4: a snapshot that is cut before its end comes again as a whole; after its end the stream goes on from there, until it is reset', async () => {
    const all = client.watch({ snapshot: true, signal: ending.signal })[Symbol.asyncIterator]();
    const kinds: string[] = [];
    const take = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 1) kinds.push((await all.next()).value?.kind ?? 'end');
    };
    const first = take(2);
    const one = await began();
    expect(one.request.start).toEqual({ $case: 'snapshot', value: true });
    one.send(opened(5n));
    one.send(batch(3n));
    await first;
    one.cut();
    const second = take(4);
    const two = await began();
    expect(two.request.start).toEqual({ $case: 'snapshot', value: true });
    two.send(opened(5n));
    two.send(batch(3n));
    two.send({ message: { $case: 'snapshotEnd', value: { cursor: cursor(5n) } } });
    await second;
    two.cut();
    const third = take(3);
    const three = await began();
    expect(three.request.start).toMatchObject({ $case: 'after', value: cursor(5n) });
    three.send(opened(6n));
    three.send({ message: { $case: 'reset', value: { reason: 1, cursor: cursor(9n), earliest: cursor(8n) } } });
    await third;
    const fourth = take(2);
    const four = await began();
    expect(four.request.start).toEqual({ $case: 'snapshot', value: true });
    four.send(opened(9n));
    await fourth;
    expect(kinds).toEqual([
      ...['opened', 'invalidation', 'disconnected'],
      ...['opened', 'invalidation', 'snapshotEnd', 'disconnected'],
      ...['opened', 'reset', 'disconnected', 'opened'],
    ]);
  });

  it('W12: comes back after a drain, not before it was asked to, and after the last cursor', async () => {
    const first = next();
    const subscription = await began();
    subscription.send(opened(5n));
    subscription.send(batch(8n));
    await first;
    await next();
    const cutMs = performance.now();
    subscription.cut(new Refusal(status.UNAVAILABLE, { reason: 'DRAINING', retryAfterMs: 400 }));
    expect(await next()).toMatchObject({ kind: 'disconnected', error: { reason: 'DRAINING', retryAfterMs: 400 } });
    void next();
    const again = await began();
    expect(again.atMs - cutMs).toBeGreaterThanOrEqual(395);
    expect(again.request.start?.value).toMatchObject(cursor(8n));
  });

  it.each([
    ['INVALID_ARGUMENT', status.INVALID_ARGUMENT],
    ['UNAUTHENTICATED', status.UNAUTHENTICATED],
    ['PERMISSION_DENIED', status.PERMISSION_DENIED],
    ['UNIMPLEMENTED', status.UNIMPLEMENTED],
  ])('fails where the subscription itself is refused: %s', async (code, number) => {
    const first = next();
    (await began()).cut(new Refusal(number));
    await expect(first).rejects.toMatchObject({ name: 'NoAnswerError', code });
  });

  it('ends by returning when its signal aborts, while it waits for a message', async () => {
    const first = next();
    (await began()).send(opened(5n));
    await first;
    const waiting = events.next();
    ending.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  it('ends by returning when its signal aborts, while it waits to reconnect', async () => {
    const first = next();
    (await began()).cut(new Refusal(status.UNAVAILABLE, { retryAfterMs: 60_000 }));
    expect(await first).toMatchObject({ kind: 'disconnected' });
    const waiting = events.next();
    ending.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  it('takes a stream that never opens for a dead one', async () => {
    const impatient = connect({ address: sidecar.address, timeoutMs: 50 });
    const first = impatient.watch()[Symbol.asyncIterator]().next();
    await began();
    expect((await first).value).toMatchObject({ kind: 'disconnected', error: { reason: 'STREAM_SILENT' } });
    impatient.close();
  });

  it('takes a message without a position for no message at all', async () => {
    const first = next();
    const subscription = await began();
    subscription.send(opened(5n));
    subscription.send({ message: { $case: 'batch', value: { invalidations: [{ effect: 1, tags: [], entryId: '' }] } } });
    await first;
    expect(await next()).toMatchObject({ kind: 'disconnected', error: { code: 'INTERNAL', reason: 'ANSWER_MALFORMED' } });
  });

  it('W6 and W7: tells resets and checkpoints, also with what is newer than it', async () => {
    const first = next();
    const subscription = await began();
    subscription.send(opened(5n));
    subscription.send({ message: { $case: 'reset', value: { reason: 77 as 0, cursor: cursor(9n), earliest: cursor(8n) } } });
    const sources = [{ name: 'bus', lastAliveAt: new Date(5) }];
    const checkpoint = {
      cursor: cursor(9n),
      serverTime: new Date(10),
      provenThrough: undefined,
      degraded: false,
      degradedIssuers: ['central'],
      sources,
    };
    subscription.send({ message: { $case: 'checkpoint', value: checkpoint } });
    await first;
    expect(await next()).toMatchObject({ kind: 'reset', reason: 'UNKNOWN', cursor: { revision: 9 }, earliest: { revision: 8 } });
    const told = await next();
    expect(told).toMatchObject({
      kind: 'checkpoint',
      serverTimeMs: 10,
      degradedIssuers: ['central'],
      sources: [{ name: 'bus', lastAliveAtMs: 5 }],
    });
    expect(told).not.toHaveProperty('provenThroughMs');
  });
});
