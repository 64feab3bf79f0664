// The Watch contract, W1 to W15, over real gRPC against a real sidecar.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { revision } from '../../src/core/invalidation.ts';
import {
  type Cursor,
  Effect,
  type Invalidation,
  ResetReason,
  type Selector,
  TokenServiceClient,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import type { Subscription } from '../fakes/requests.ts';
import { detailsOf, openWatcher, type Watcher } from '../fakes/watcher.ts';
import { answered, journalWith, type Stage, type StageOptions, startStage } from './watch-stage.ts';

const stages: Stage[] = [];
const clients: TokenServiceClient[] = [];

async function start(options: StageOptions = {}): Promise<Stage> {
  const stage = await startStage(options);
  stages.push(stage);
  return stage;
}

async function startFrozen(options: StageOptions = {}): Promise<Stage & { readonly clock: FakeClock }> {
  const clock = createFakeClock();
  return { ...(await start({ ...options, clock })), clock };
}

const withWatch =
  (watch: object): NonNullable<StageOptions['config']> =>
  (usual) => ({ ...usual, watch: { ...usual.watch, ...watch } });

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(stages.splice(0).map((stage) => stage.stop()));
});

const cursorOf = (journal: string, at: number | bigint): Cursor => ({ journal, revision: BigInt(at) });
const ms = (duration: { seconds: bigint; nanos: number } | undefined): number =>
  duration === undefined ? Number.NaN : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
const upTo = (first: number, last: number): readonly number[] => Array.from({ length: last - first + 1 }, (_, n) => first + n);
const has = (last: number) => (watcher: Watcher) => watcher.revisions.at(-1) === last;
const hasOpened = (watcher: Watcher): boolean => watcher.opened.length > 0;
const hasCheckpoint = (watcher: Watcher): boolean => watcher.checkpoints.length > 0;

async function journalOf(stage: Stage): Promise<string> {
  return (await stage.status()).latest?.journal ?? '';
}

describe('W1 a cursor is kept and returned whole', () => {
  it.each([
    ['no journal', cursorOf('', 1)],
    ['65 characters', cursorOf('A'.repeat(65), 1)],
    ['a colon', cursorOf('A:B', 1)],
    ['a revision beyond what can be counted', cursorOf('ABCDEF', 2n ** 53n)],
    ['the greatest revision of the wire', cursorOf('ABCDEF', 2n ** 64n - 1n)],
  ])('W1 a malformed one is INVALID_ARGUMENT, and nothing is opened: %s', async (_, after) => {
    const stage = await start();
    const watcher = stage.watch({ after });
    const error = await watcher.ended;
    expect([error?.code, detailsOf(error).reason, watcher.messages]).toEqual([status.INVALID_ARGUMENT, 'CURSOR_MALFORMED', []]);
    expect((await stage.status()).watcherCount).toBe(0n);
  });

  it('W1 the journal is part of every cursor that is sent', async () => {
    const stage = await start();
    const journal = await journalOf(stage);
    const watcher = stage.watch({ after: cursorOf('OTHERJOURNAL', 1) });
    await watcher.until(hasCheckpoint);
    await stage.append(3);
    await watcher.until(has(3));
    const cursors = [
      ...watcher.opened.flatMap((one) => [one.earliest, one.latest]),
      ...watcher.resets.flatMap((one) => [one.cursor, one.earliest]),
      ...watcher.invalidations.map((one) => one.cursor),
      ...watcher.checkpoints.map((one) => one.cursor),
    ];
    expect(cursors.length).toBeGreaterThanOrEqual(8);
    expect(new Set(cursors.map((one) => one?.journal))).toEqual(new Set([journal]));
  });
});

describe('W2 one total order', () => {
  it('W2 every entry comes once, in the order of the journal, to each of ten watchers', async () => {
    const stage = await start();
    const watchers = Array.from({ length: 10 }, () => stage.watch());
    await Promise.all(watchers.map((watcher) => watcher.until(hasOpened)));
    await stage.append(2000);
    await Promise.all(watchers.map((watcher) => watcher.until(has(2000))));
    for (const watcher of watchers) expect(watcher.invalidations.map((one) => Number(one.cursor?.revision))).toEqual(repeated(2000));
  });

  it('W2 the tag sets of one entry share its cursor, follow each other in one batch, and the revision never comes again', async () => {
    const stage = await start();
    const journal = await journalOf(stage);
    for (let n = 0; n < 300; n += 1) await stage.revoke({ userId: `u${n}`, projectId: 'p1' });
    const watcher = stage.watch({ after: cursorOf(journal, 0) });
    await watcher.until(has(300));
    await stage.append(1);
    await watcher.until(has(301));

    expect(watcher.batches.length).toBeGreaterThan(1);
    const seen = new Set<bigint>();
    for (const batch of watcher.batches) {
      const here = batch.map((one) => one.cursor?.revision ?? -1n);
      expect(here).toEqual(here.toSorted((a, b) => Number(a - b)));
      for (const one of new Set(here)) {
        expect(seen.has(one)).toBe(false);
        seen.add(one);
      }
    }
    // user and project, and each of them unknown: four sets, each with two tags, none like another.
    const first = watcher.invalidations.filter((one) => one.cursor?.revision === 1n);
    expect(first.map((one) => one.tags.length)).toEqual([2, 2, 2, 2]);
    expect(new Set(first.map((one) => one.tags.join())).size).toBe(4);
    expect(new Set(first.map((one) => one.entryId)).size).toBe(1);
    expect(seen.size).toBe(301);
  });
});

/** A signing key has two tag sets: itself, and unknown. */
const repeated = (last: number): readonly number[] => upTo(1, last).flatMap((n) => [n, n]);

describe('W3 no gap inside retained history', () => {
  it('W3 `after` is exclusive, in the ring and below it, where the journal serves', async () => {
    const stage = await start({ config: withWatch({ ring: 16 }) });
    const journal = await journalOf(stage);
    await stage.append(1000);
    for (const after of [0, 1, 255, 256, 257, 700, 983, 984, 985, 999, 1000]) {
      const watcher = stage.watch({ after: cursorOf(journal, after) });
      await watcher.until(hasCheckpoint);
      expect([...new Set(watcher.revisions)], `after ${after}`).toEqual(upTo(after + 1, 1000));
      expect(watcher.resets).toEqual([]);
      watcher.cancel();
    }
  });
});

describe('W4 where a stream starts', () => {
  it('W4 without a cursor from now: nothing that was before, everything that comes', async () => {
    const stage = await start();
    await stage.append(5);
    const watcher = stage.watch();
    await watcher.until(hasCheckpoint);
    expect([watcher.opened[0]?.latest?.revision, watcher.revisions]).toEqual([5n, []]);
    await stage.append(2);
    await watcher.until(has(7));
    expect([...new Set(watcher.revisions)]).toEqual([6, 7]);
  });

  it('W4 after a cursor: what came since, then what comes', async () => {
    const stage = await start();
    const first = stage.watch();
    await first.until(hasOpened);
    await stage.append(3);
    await first.until(has(3));
    const { cursor } = first.invalidations.at(-1) ?? {};
    first.cancel();
    await stage.append(3);
    const second = stage.watch({ after: cursor });
    await second.until(has(6));
    await stage.append(1);
    await second.until(has(7));
    expect([...new Set(second.revisions)]).toEqual([4, 5, 6, 7]);
  });
});

describe('W4 a snapshot first', () => {
  const hasSnapshot = (watcher: Watcher): boolean => watcher.snapshotEnds.length > 0;
  const kindsOf = (watcher: Watcher): readonly string[] => [...new Set(watcher.messages.map(({ message }) => message?.$case ?? 'nothing'))];

  it('W4 everything that lives, once and in order, then its end, then what comes', async () => {
    const stage = await start({ config: withWatch({ ring: 16 }) });
    const journal = await journalOf(stage);
    await stage.append(1000);
    const watcher = stage.watch({ snapshot: true, includeDetails: true });
    await watcher.until(hasSnapshot);
    expect(watcher.revisions).toEqual(repeated(1000));
    expect(watcher.snapshotEnds).toMatchObject([{ cursor: cursorOf(journal, 1000) }]);
    expect(watcher.invalidations[0]?.selector).toMatchObject({ issuer: 'main', keyId: 'key-0' });
    await watcher.until(hasCheckpoint);
    await stage.append(2);
    await watcher.until(has(1002));
    expect(kindsOf(watcher)).toEqual(['opened', 'batch', 'snapshotEnd', 'checkpoint']);
    expect(watcher.revisions.slice(2000)).toEqual([1001, 1001, 1002, 1002]);
  });

  it('W4 also of an empty journal; what is appended while it is sent comes after its end', async () => {
    const stage = await start();
    const empty = stage.watch({ snapshot: true });
    await empty.until(hasSnapshot);
    expect(kindsOf(empty).slice(0, 2)).toEqual(['opened', 'snapshotEnd']);

    await stage.append(2000);
    const watcher = stage.watch({ snapshot: true });
    await watcher.until(({ revisions }) => revisions.length > 0);
    await stage.append(100);
    await watcher.until(has(2100));
    expect([...new Set(watcher.revisions)]).toEqual(upTo(1, 2100));
    const before = watcher.messages.findIndex(({ message }) => message?.$case === 'snapshotEnd');
    const upToEnd = watcher.messages
      .slice(0, before)
      .flatMap(({ message }) => (message?.$case === 'batch' ? message.value.invalidations : []));
    expect(Number(upToEnd.at(-1)?.cursor?.revision)).toBe(Number(watcher.snapshotEnds[0]?.cursor?.revision));
  });

  it('W4 only what passes the filter', async () => {
    const stage = await start();
    for (let n = 0; n < 20; n += 1) await stage.revoke({ userId: `u${n % 4}` });
    const watcher = stage.watch({ snapshot: true, filter: { userIds: ['u1'] } });
    await watcher.until(hasSnapshot);
    expect([...new Set(watcher.revisions)]).toEqual([2, 6, 10, 14, 18]);
    expect(watcher.snapshotEnds[0]?.cursor?.revision).toBe(20n);
  });

  it('W4 who may not see details gets none', async () => {
    const stage = await start();
    const client = new TokenServiceClient(stage.running.tcp ?? '', credentials.createInsecure());
    clients.push(client);
    const refused = await openWatcher(client, { snapshot: true }).ended;
    expect([refused?.code, detailsOf(refused).reason]).toEqual([status.UNAUTHENTICATED, 'CALLER_UNKNOWN']);
  });

  it('W4 one at a time: the second is told to come again, and gets it when the first is through, or gone', async () => {
    const stage = await start();
    await stage.append(20_000);
    const first = stage.watch({ snapshot: true });
    await first.until(({ batches }) => batches.length > 0);
    first.pause();
    const second = stage.watch({ snapshot: true });
    const error = await second.ended;
    expect([error?.code, detailsOf(error).reason, detailsOf(error).retryAfterMs]).toEqual([
      status.RESOURCE_EXHAUSTED,
      'SNAPSHOT_UNDER_WAY',
      1000,
    ]);
    // Whoever only watches is not held up.
    const plain = stage.watch();
    await plain.until(hasCheckpoint);
    first.cancel();
    await expect.poll(async () => (await stage.status()).watcherCount).toBe(1n);
    const third = stage.watch({ snapshot: true });
    await third.until(hasSnapshot);
    expect(new Set(third.revisions).size).toBe(20_000);
  });
});

describe('a subscriber that acknowledges', () => {
  const acknowledge = (stage: Stage, subscription: string | undefined, cursor: Cursor | undefined) =>
    answered<object>((done) => stage.client.acknowledge({ subscription: subscription ?? '', cursor }, done));

  it('is told of by GetStatus, with what it has done, as long as its stream is open', async () => {
    const stage = await start();
    const journal = await journalOf(stage);
    const watcher = stage.watch();
    await watcher.until(hasCheckpoint);
    expect((await stage.status()).acknowledgements).toEqual([]);
    await stage.append(5);
    await watcher.until(has(5));
    const name = watcher.opened[0]?.subscription;
    const before = Date.now();
    await acknowledge(stage, name, cursorOf(journal, 4));
    await acknowledge(stage, name, cursorOf(journal, 2));
    const [told, ...others] = (await stage.status()).acknowledgements;
    expect([told, others]).toMatchObject([{ subscription: name, cursor: cursorOf(journal, 4) }, []]);
    expect(Number(told?.acknowledgedAt)).toBeGreaterThanOrEqual(before - 1);
    watcher.cancel();
    await expect.poll(async () => (await stage.status()).acknowledgements).toEqual([]);
  });

  it('acknowledges nothing that was not sent, of no other journal, and no stream of anybody else', async () => {
    const stage = await start();
    const journal = await journalOf(stage);
    const watcher = stage.watch();
    await watcher.until(hasCheckpoint);
    const name = watcher.opened[0]?.subscription;
    const refusedBy = async (call: Promise<unknown>): Promise<unknown> =>
      call.then(
        () => 'nobody',
        (error: Parameters<typeof detailsOf>[0]) => detailsOf(error).reason,
      );
    const loopback = new TokenServiceClient(stage.running.tcp ?? '', credentials.createInsecure());
    clients.push(loopback);
    expect(await refusedBy(acknowledge(stage, name, cursorOf(journal, 1)))).toBe('CURSOR_NOT_SENT');
    expect(await refusedBy(acknowledge(stage, name, cursorOf('OTHER', 0)))).toBe('CURSOR_NOT_SENT');
    expect(await refusedBy(acknowledge(stage, name, undefined))).toBe('CURSOR_MISSING');
    expect(await refusedBy(acknowledge(stage, 'w99', cursorOf(journal, 0)))).toBe('NO_SUCH_SUBSCRIPTION');
    const request = { subscription: name ?? '', cursor: cursorOf(journal, 0) };
    expect(await refusedBy(answered<object>((done) => loopback.acknowledge(request, done)))).toBe('NO_SUCH_SUBSCRIPTION');
    expect((await stage.status()).acknowledgements).toEqual([]);
    await acknowledge(stage, name, cursorOf(journal, 0));
    expect((await stage.status()).acknowledgements).toHaveLength(1);
  });
});

describe('W5 `opened` comes first and at once', () => {
  it('W5 it tells earliest, latest, who, which subscription and the proof lifetime; GetStatus tells the same positions', async () => {
    const stage = await startFrozen();
    await stage.append(4);
    const watchers = [stage.watch(), stage.watch()];
    await Promise.all(watchers.map((watcher) => watcher.until(hasOpened)));
    const at = await stage.status();
    expect(watchers.map(({ messages }) => messages[0]?.message?.$case)).toEqual(['opened', 'opened']);
    const [first, second] = watchers.map(({ opened }) => opened[0]);
    expect([first?.earliest, first?.latest]).toEqual([at.earliest, at.latest]);
    expect([first?.sidecar, ms(first?.proofLifetime), ms(first?.checkpointInterval)]).toEqual(['stage', 10_000, 1000]);
    expect(first?.subscription).toMatch(/./);
    expect(first?.subscription).not.toBe(second?.subscription);
  });

  it.each([
    ['1 ms', 1, 10_000, 100],
    ['99 ms', 99, 10_000, 100],
    ['100 ms', 100, 10_000, 100],
    ['101 ms', 101, 10_000, 101],
    ['a third of max_lag', 3333, 10_000, 3333],
    ['more than a third of max_lag', 3334, 10_000, 3333],
    ['a minute', 60_000, 600_000, 60_000],
    ['more than a minute', 60_001, 600_000, 60_000],
    ['zero', 0, 10_000, 1000],
  ])('W5 the interval is granted between 100 ms, a minute and a third of max_lag: %s', async (_, wishedMs, maxLagMs, grantedMs) => {
    const stage = await start({ config: (usual) => ({ ...usual, maxLagMs }) });
    const checkpointInterval = { seconds: BigInt(Math.floor(wishedMs / 1000)), nanos: (wishedMs % 1000) * 1_000_000 };
    const watcher = stage.watch({ checkpointInterval });
    await watcher.until(hasOpened);
    expect(ms(watcher.opened[0]?.checkpointInterval)).toBe(grantedMs);
  });

  it('W5 a negative wish is INVALID_ARGUMENT', async () => {
    const stage = await start();
    const error = await stage.watch({ checkpointInterval: { seconds: -1n, nanos: 0 } }).ended;
    expect([error?.code, detailsOf(error).reason]).toEqual([status.INVALID_ARGUMENT, 'DURATION_OUT_OF_RANGE']);
  });
});

describe('W6 what cannot be continued is reset in-band, and the stream goes on', () => {
  /** A journal of ten entries that has forgotten the first five for watchers. */
  async function compacted(): Promise<Stage & { readonly clock: FakeClock }> {
    const stage = await startFrozen();
    await stage.append(5, 'old-');
    await stage.clock.advance(303_000);
    await stage.append(5, 'new-');
    // The next compaction, a minute later at the most.
    await stage.clock.advance(60_000);
    return stage;
  }

  it.each([
    ['forgotten', 'COMPACTED', (journal: string) => cursorOf(journal, 4)],
    ['of another journal', 'OTHER_JOURNAL', () => cursorOf('ANOTHER', 7)],
    ['ahead', 'AHEAD', (journal: string) => cursorOf(journal, 11)],
  ] as const)('W6 a position that is %s: reset %s with cursor and earliest, then what comes', async (_, reason, after) => {
    const stage = await compacted();
    const watcher = stage.watch({ after: after(await journalOf(stage)) });
    await watcher.until(hasCheckpoint);
    expect(watcher.messages.map((one) => one.message?.$case)).toEqual(['opened', 'reset', 'checkpoint']);
    const [reset] = watcher.resets;
    expect([reset?.reason, reset?.cursor?.revision, reset?.earliest?.revision]).toEqual([ResetReason[reason], 10n, 5n]);
    await stage.append(1, 'next-');
    await watcher.until(has(11));
    expect([[...new Set(watcher.revisions)], watcher.resets.length]).toEqual([[11], 1]);
  });

  it.each([
    ['earliest itself', 5],
    ['the newest', 10],
  ])('W6 a position that can be resumed from is not reset: %s', async (_, at) => {
    const stage = await compacted();
    const watcher = stage.watch({ after: cursorOf(await journalOf(stage), at) });
    await watcher.until(hasCheckpoint);
    expect([watcher.resets, [...new Set(watcher.revisions)]]).toEqual([[], upTo(at + 1, 10)]);
  });
});

describe('W7 checkpoints', () => {
  it('W7 the first comes at once, the others at the granted interval', async () => {
    const stage = await startFrozen();
    const watcher = stage.watch({ checkpointInterval: { seconds: 0n, nanos: 500_000_000 } });
    await watcher.until(hasCheckpoint);
    for (let n = 2; n <= 5; n += 1) {
      await stage.clock.advance(499);
      await stage.status();
      expect(watcher.checkpoints.length).toBe(n - 1);
      await stage.clock.advance(1);
      await watcher.until((it) => it.checkpoints.length === n);
    }
    const times = watcher.checkpoints.map((one) => one.serverTime?.getTime() ?? 0);
    expect(times.map((time) => time - (times[0] ?? 0))).toEqual([0, 500, 1000, 1500, 2000]);
  });

  it('W7 they come under a steady flow of appends too, and never before their events', async () => {
    const stage = await start();
    const watcher = stage.watch({ checkpointInterval: { seconds: 0n, nanos: 100_000_000 } });
    await watcher.until(hasOpened);
    let flows = true;
    let appended = 0;
    const flow = async (name: string): Promise<void> => {
      while (flows) {
        await stage.append(10, `${name}-${appended}-`);
        appended += 10;
        // The journal in memory never waits: without this nobody else would have a turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const flowing = ['a', 'b', 'c', 'd'].map(flow);
    const startedMs = performance.now();
    await watcher.until(() => performance.now() - startedMs > 2000);
    const duringFlow = watcher.checkpoints.length;
    flows = false;
    await Promise.all(flowing);
    await watcher.until((it) => it.revisions.at(-1) === appended);

    // Twenty are due; a busy machine may be late for some.
    expect([appended > 300, duringFlow]).toEqual([true, expect.toSatisfy((n: number) => n >= 8)]);
    for (const { message } of watcher.messages) {
      const proven = message?.$case === 'checkpoint' ? message.value : undefined;
      const lagMs = (proven?.serverTime?.getTime() ?? 0) - (proven?.provenThrough?.getTime() ?? 0);
      expect(lagMs).toBeGreaterThanOrEqual(0);
      expect(lagMs).toBeLessThan(2000);
    }
    expectNoneEarly(watcher);
  });

  it('W7 nothing is proven before everything up to `latest` of `opened` has been sent', async () => {
    const stage = await start({ config: withWatch({ ring: 16 }) });
    const journal = await journalOf(stage);
    await stage.append(3000);
    const watcher = stage.watch({ after: cursorOf(journal, 0), checkpointInterval: { seconds: 0n, nanos: 100_000_000 } });
    await watcher.until(hasCheckpoint);
    expect(watcher.revisions.at(-1)).toBe(3000);
    expectNoneEarly(watcher);
  });
});

/** A checkpoint says that everything up to its cursor has been sent: nothing at or below it comes later. */
function expectNoneEarly(watcher: Watcher): void {
  let promised = -1n;
  for (const { message } of watcher.messages) {
    const batch: readonly Invalidation[] = message?.$case === 'batch' ? message.value.invalidations : [];
    for (const one of batch) {
      expect(one.cursor?.revision).toBeGreaterThan(promised);
    }
    promised = message?.$case === 'checkpoint' ? (message.value.cursor?.revision ?? promised) : promised;
  }
}

describe('W8 what proof is judged by', () => {
  it('W8 every checkpoint tells the server time and proven_through, of the same clock, and nobody is degraded', async () => {
    const stage = await startFrozen();
    const watcher = stage.watch();
    await watcher.until(hasCheckpoint);
    await stage.clock.advance(1000);
    await watcher.until((it) => it.checkpoints.length === 2);
    const nowMs = stage.clock.nowMs();
    expect(watcher.checkpoints.map((one) => [one.serverTime?.getTime(), one.provenThrough?.getTime()])).toEqual([
      [nowMs - 1000, nowMs - 1000],
      [nowMs, nowMs],
    ]);
    expect(watcher.checkpoints.map((one) => [one.degraded, one.degradedIssuers])).toEqual([
      [false, []],
      [false, []],
    ]);
  });
});

describe('W9 what a fill is judged by', () => {
  it('W9 an answer tells the cursor it was decided at, and carries the tags of the events that concern it', async () => {
    const stage = await start();
    const watcher = stage.watch();
    await watcher.until(hasOpened);
    const before = await stage.validate({ token: 'alice', include: { claims: false, tags: true, details: false } });
    await stage.revoke({ userId: 'alice', projectId: 'p1' });
    await stage.revoke({ userId: 'bob' });
    await watcher.until(has(2));
    const after = await stage.validate({ token: 'alice' });

    expect([before.active, after.active]).toEqual([true, false]);
    expect([before.asOf, after.asOf]).toMatchObject([cursorOf(await journalOf(stage), 0), cursorOf(await journalOf(stage), 2)]);
    const tags = new Set(before.tags);
    const concerns = watcher.invalidations.map((one) => one.tags.every((tag) => tags.has(tag)));
    expect(concerns).toEqual([true, false, false, false, false, false]);
  });
});

describe('W10 a slow reader', () => {
  it('W10 costs no memory while it does not read, gets larger batches afterwards, and misses nothing', { timeout: 60_000 }, async () => {
    const inner = createMemoryJournal({ clock: createFakeClock() });
    let read = 0;
    const journal = journalWith(inner, {
      read: async (after, limit) => {
        const entries = await inner.read(after, limit);
        read += limit === 1024 ? 0 : entries.length;
        return entries;
      },
    });
    const stage = await start({ journal, config: withWatch({ ring: 64 }) });
    const watcher = stage.watch({ after: cursorOf(journal.id, 0) });
    await watcher.until(hasCheckpoint);
    watcher.pause();
    for (let round = 0; round < 20; round += 1) {
      await stage.append(1000, `round-${round}-`);
      // As if one after another, to a reader who keeps up.
      await stage.status();
    }
    // What the flow-control windows and both ends' buffers take, and not more: a few thousand of the twenty thousand.
    expect(read).toBeLessThan(8000);
    const slow = watcher.batches.length;
    watcher.resume();
    await watcher.until(has(20_000));
    expect(watcher.resets).toEqual([]);
    expect(watcher.revisions).toEqual(repeated(20_000));
    const larger = watcher.batches.slice(slow).map((batch) => new Set(batch.map((one) => one.cursor?.revision)).size);
    expect(Math.max(...larger)).toBe(256);
  });

  it('W10 whose position is forgotten meanwhile is told: reset SLOW_CONSUMER, and what comes then', { timeout: 60_000 }, async () => {
    const stage = await startFrozen({ config: withWatch({ ring: 64 }) });
    const watcher = stage.watch();
    await watcher.until(hasCheckpoint);
    watcher.pause();
    for (let round = 0; round < 20; round += 1) await stage.append(1000, `round-${round}-`);
    await stage.clock.advance(370_000);
    expect((await stage.status()).earliest?.revision).toBe(20_000n);
    watcher.resume();
    await watcher.until((it) => it.resets.length === 1);
    await stage.append(1, 'next-');
    await watcher.until(has(20_001));
    expect(watcher.resets.map((one) => [one.reason, one.cursor?.revision])).toEqual([[ResetReason.SLOW_CONSUMER, 20_000n]]);
    expect(watcher.invalidations.length).toBeLessThan(2 * 20_000);
    expectNoneEarly(watcher);
  });
});

describe('W11 a filter', () => {
  const selectors: readonly (readonly [string, Partial<Selector>])[] = [
    ['alice', { userId: 'alice' }],
    ['bob', { userId: 'bob' }],
    ['alice on p1', { userId: 'alice', projectId: 'p1' }],
    ['alice on p2', { userId: 'alice', projectId: 'p2' }],
    ['bob on p1', { userId: 'bob', projectId: 'p1' }],
    ['p1', { projectId: 'p1' }],
    ['p2', { projectId: 'p2' }],
    ['a role', { roleId: 'r' }],
    ['a fingerprint', { issuer: '', fingerprint: 'f'.repeat(32) }],
    ['all of main', { everything: true }],
    ['everything', { issuer: '', everything: true }],
  ];

  it.each([
    ['none', {}, selectors.map(([name]) => name)],
    ['an issuer', { issuers: ['main'] }, selectors.map(([name]) => name)],
    ['another issuer', { issuers: ['other'] }, ['a fingerprint', 'everything']],
    [
      'a user',
      { userIds: ['alice'] },
      ['alice', 'alice on p1', 'alice on p2', 'p1', 'p2', 'a role', 'a fingerprint', 'all of main', 'everything'],
    ],
    [
      'a user and a project',
      { userIds: ['alice'], projectIds: ['p1'] },
      ['alice', 'alice on p1', 'p1', 'a role', 'a fingerprint', 'all of main', 'everything'],
    ],
    [
      'two projects',
      { projectIds: ['p1', 'p3'] },
      ['alice', 'bob', 'alice on p1', 'bob on p1', 'p1', 'a role', 'a fingerprint', 'all of main', 'everything'],
    ],
  ])('W11 passes everything that could concern what is inside it, and the checkpoints advance: %s', async (_, filter, wanted) => {
    const stage = await start();
    const journal = await journalOf(stage);
    for (const [, selector] of selectors) await stage.revoke(selector);
    const request: Subscription = {
      after: cursorOf(journal, 0),
      filter: { issuers: [], userIds: [], projectIds: [], ...filter },
    };
    const watcher = stage.watch(request);
    await watcher.until(hasCheckpoint);
    const names = [...new Set(watcher.revisions)].map((n) => selectors[n - 1]?.[0]);
    expect(names).toEqual(wanted);
    expect(watcher.checkpoints[0]?.cursor?.revision).toBe(BigInt(selectors.length));
  });

  it('W11 is not lost on the way from the ring to the journal: thousands that do not pass cost no message', async () => {
    const stage = await start({ config: withWatch({ ring: 16 }) });
    const journal = await journalOf(stage);
    await stage.append(2000);
    await stage.revoke({ issuer: '', everything: true });
    const watcher = stage.watch({ after: cursorOf(journal, 0), filter: { issuers: ['other'], userIds: [], projectIds: [] } });
    await watcher.until(hasCheckpoint);
    expect(watcher.messages.map((one) => one.message?.$case)).toEqual(['opened', 'batch', 'checkpoint']);
    expect([watcher.revisions, watcher.checkpoints[0]?.cursor?.revision]).toEqual([[2001], 2001n]);
  });
});

describe('W12 drain', () => {
  it('W12 a last checkpoint with everything before it, then UNAVAILABLE with RetryInfo', async () => {
    const stage = await startFrozen();
    const watchers = Array.from({ length: 5 }, () => stage.watch());
    await Promise.all(watchers.map((watcher) => watcher.until(hasCheckpoint)));
    await stage.append(3);
    const [, ...ends] = await Promise.all([stage.stop(), ...watchers.map((watcher) => watcher.ended)]);
    stages.splice(0);
    for (const end of ends) {
      expect([end?.code, detailsOf(end)]).toEqual([status.UNAVAILABLE, { reason: 'DRAINING', retryAfterMs: 1000 }]);
    }
    for (const watcher of watchers) {
      expect([...new Set(watcher.revisions)]).toEqual([1, 2, 3]);
      expect(watcher.messages.at(-1)?.message?.$case).toBe('checkpoint');
      expect(watcher.checkpoints.at(-1)?.cursor?.revision).toBe(3n);
    }
  });
});

describe('W13 names', () => {
  const secretive = { userId: 'alice', projectId: 'p1' };

  it('W13 events carry tags and no selector or origin, unless a caller that may asks for them', async () => {
    const stage = await start();
    const [plain, detailed] = [stage.watch(), stage.watch({ includeDetails: true })];
    await Promise.all([plain.until(hasOpened), detailed.until(hasOpened)]);
    await stage.revoke(secretive, { requestId: 'ticket-7', reason: 'left the company' });
    await Promise.all([plain.until(has(1)), detailed.until(has(1))]);

    expect(plain.invalidations.map((one) => [one.selector, one.origin])).toEqual(Array(4).fill([undefined, undefined]));
    const [event] = detailed.invalidations;
    expect(event?.selector).toMatchObject({ issuer: 'main', ...secretive });
    expect(event?.origin).toMatchObject({ source: 'rpc', actor: 'socket', requestId: 'ticket-7', reason: 'left the company' });
    const bytes = JSON.stringify(plain.messages, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value));
    expect(['alice', 'p1', 'ticket-7', 'left the company'].filter((word) => bytes.includes(word))).toEqual([]);
  });

  it('W13 who may not is refused, not served less', async () => {
    const stage = await start();
    const client = new TokenServiceClient(stage.running.tcp ?? '', credentials.createInsecure());
    clients.push(client);
    const refused = await openWatcher(client, { includeDetails: true }).ended;
    const plain = openWatcher(client);
    await plain.until(hasOpened);
    plain.cancel();
    expect([refused?.code, detailsOf(refused).reason]).toEqual([status.UNAUTHENTICATED, 'CALLER_UNKNOWN']);
  });

  it('W13 a listener that does not grant `watch` refuses it', async () => {
    const stage = await start({ config: (usual) => ({ ...usual, callers: [{ who: { kind: 'local' }, may: ['validate', 'status'] }] }) });
    const error = await stage.watch().ended;
    expect([error?.code, detailsOf(error).reason]).toEqual([status.UNAUTHENTICATED, 'CALLER_UNKNOWN']);
  });
});

describe('W14 what is not narrowed', () => {
  it('W14 an invalidation of everything has no tags; one of an issuer has the issuer’s', async () => {
    const stage = await start();
    const watcher = stage.watch();
    await watcher.until(hasOpened);
    const answer = await stage.validate({ token: 'alice', include: { claims: false, tags: true, details: false } });
    await stage.revoke({ issuer: '', everything: true });
    await stage.refresh({ everything: true });
    await watcher.until(has(2));
    const [all, ofIssuer] = watcher.invalidations;
    expect([watcher.invalidations.length, all?.tags, all?.effect]).toEqual([2, [], Effect.REVOKE]);
    expect([ofIssuer?.tags.length, ofIssuer?.effect]).toEqual([1, Effect.REFRESH]);
    expect(answer.tags).toEqual(expect.arrayContaining([...(ofIssuer?.tags ?? [])]));
  });
});

describe('W15 the permission to keep an answer', () => {
  it('W15 max_age ends with the settle window while a REFRESH settles, and is long again afterwards', async () => {
    const stage = await startFrozen({
      config: (usual) => ({ ...usual, caching: { ...usual.caching, settleMs: 2000, token: { ...usual.caching.token, jitter: 0 } } }),
    });
    const before = await stage.validate({ token: 'alice' });
    await stage.refresh({ userId: 'alice' });
    await stage.clock.advance(500);
    const settling = await stage.validate({ token: 'alice' });
    await stage.clock.advance(1500);
    const settled = await stage.validate({ token: 'alice' });
    expect([before, settling, settled].map((one) => [one.active, ms(one.maxAge)])).toEqual([
      [true, 300_000],
      [true, 1500],
      [true, 300_000],
    ]);
  });
});

describe('places for watchers', () => {
  it('one below and at the limit open, one above is RESOURCE_EXHAUSTED with RetryInfo; who cancels frees its place', async () => {
    const stage = await start({ config: withWatch({ maxWatchers: 3 }) });
    const watchers = [stage.watch(), stage.watch(), stage.watch()];
    await Promise.all(watchers.map((watcher) => watcher.until(hasOpened)));
    expect((await stage.status()).watcherCount).toBe(3n);
    const error = await stage.watch().ended;
    expect([error?.code, detailsOf(error)]).toEqual([status.RESOURCE_EXHAUSTED, { reason: 'TOO_MANY_WATCHERS', retryAfterMs: 5000 }]);
    watchers[0]?.cancel();
    await countIs(stage, 2);
    await stage.watch().until(hasOpened);
  });

  it('a place is freed when the connection is cut, also under a reader that had stopped reading', async () => {
    const stage = await start();
    const sockets = new Set<Socket>();
    const relay = createServer((here) => {
      const there = connect(stage.socketPath);
      for (const one of [here, there]) one.on('error', () => undefined);
      sockets.add(here).add(there);
      here.pipe(there).pipe(here);
    });
    const path = join(stage.socketPath, '..', 'relay.sock');
    relay.listen(path);
    await once(relay, 'listening');
    const client = new TokenServiceClient(`unix://${path}`, credentials.createInsecure());
    clients.push(client);
    const [reading, stuck] = [openWatcher(client), openWatcher(client)];
    await Promise.all([reading.until(hasOpened), stuck.until(hasOpened)]);
    stuck.pause();
    await stage.append(20_000);
    await countIs(stage, 2);

    for (const socket of sockets) socket.destroy();
    relay.close();
    await countIs(stage, 0);
    expect((await reading.ended)?.code).toBe(status.UNAVAILABLE);
  });

  it('a deadline on the stream ends it and frees its place', async () => {
    const stage = await start();
    const stream = stage.client.watch({ includeDetails: false }, { deadline: Date.now() + 300 });
    stream.on('data', () => undefined);
    const [error] = await once(stream, 'error');
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    await countIs(stage, 0);
  });
});

/** Until the sidecar counts so many; the test's own limit ends it otherwise. */
async function countIs(stage: Stage, count: number): Promise<void> {
  while (Number((await stage.status()).watcherCount) !== count) await new Promise((resolve) => setImmediate(resolve));
}

describe('a sidecar with nothing to tell', () => {
  it('says position 0 and can be resumed from there', async () => {
    const stage = await start();
    const watcher = stage.watch({ after: cursorOf(await journalOf(stage), revision(0)) });
    await watcher.until(hasCheckpoint);
    expect(watcher.messages.map((one) => one.message?.$case)).toEqual(['opened', 'checkpoint']);
  });
});
