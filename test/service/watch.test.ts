// Watch, pulled by hand on a fake clock: what the contract says about time, order and what is left behind.

import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Cursor, revision } from '../../src/core/invalidation.ts';
import type { Selector } from '../../src/core/selector.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Subscription, WatchMessage } from '../../src/service/watch.ts';
import { passes, type WatchFilter } from '../../src/service/watch-filter.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { journalWith } from '../rpc/watch-stage.ts';
import { type Road, revokeOf, type Stream, startRoad, user } from './road.ts';

const revisionsIn = (message: WatchMessage): readonly number[] =>
  message.kind === 'batch' ? message.entries.map((one) => one.revision) : [];

/** The first messages of a stream from now: `opened` and the checkpoint that comes at once. */
async function begun(stream: Stream): Promise<void> {
  expect([(await stream.next()).kind, (await stream.next()).kind]).toEqual(['opened', 'checkpoint']);
}

it('who comes again may say at once what it was done with before, and no more than that', async () => {
  const road = await startRoad();
  for (let n = 0; n < 5; n += 1) await road.invalidations.append(revokeOf(user(`u${n}`)));
  const cursor = (at: number) => road.invalidations.cursor(revision(at));
  const other = { journal: 'OTHER', revision: revision(3) };
  const most: number[] = [];
  for (const wanted of [{ after: cursor(3) }, { after: cursor(9) }, { after: other }, {}, { snapshot: true }]) {
    const stream = road.watch({ ...wanted, owner: 'me' });
    const opened = await stream.next();
    const subscription = opened.kind === 'opened' ? opened.subscription : '';
    const takes = (at: number): boolean => {
      try {
        road.watchers.acknowledge(subscription, cursor(at), 'me');
        return true;
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'CURSOR_NOT_SENT' });
        return false;
      }
    };
    most.push([0, 1, 2, 3, 4, 5, 6].findLastIndex((at) => takes(at)));
    await stream.leave();
  }
  expect(most).toEqual([3, 0, 0, 5, 0]);
  await road.stop();
});

it('W5 a name is of one stream: after a restart nobody has one that another had before', async () => {
  const clock = createFakeClock();
  const journal = createMemoryJournal({ clock });
  const names: string[] = [];
  for (let starts = 0; starts < 2; starts += 1) {
    const road = await startRoad({ clock, journal: journalWith(journal, { close: async () => undefined }) });
    const stream = road.watch();
    const opened = await stream.next();
    if (opened.kind === 'opened') names.push(opened.subscription);
    await stream.leave();
    await road.stop();
  }
  expect(new Set(names).size).toBe(2);
});

describe('W4 a snapshot', () => {
  /** The first `count` messages, while time goes on. */
  async function pulled(road: Road, stream: Stream, count: number): Promise<WatchMessage[]> {
    const messages: WatchMessage[] = [];
    while (messages.length < count) {
      const next = stream.next();
      await road.clock.advance(100);
      messages.push(await next);
    }
    return messages;
  }

  it('W4 that is not taken for ten seconds keeps nobody else waiting, and is over', async () => {
    const road = await startRoad();
    for (let n = 0; n < 300; n += 1) await road.invalidations.append(revokeOf(user(`u${n}`)));
    const stalled = road.watch({ snapshot: true });
    await pulled(road, stalled, 2);
    await road.clock.advance(9_800);
    const early = road.watch({ snapshot: true });
    await early.next();
    await expect(early.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'SNAPSHOT_UNDER_WAY' });
    await road.clock.advance(100);
    const other = road.watch({ snapshot: true });
    await pulled(road, other, 2);
    await expect(stalled.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'SNAPSHOT_LOST' });
    expect((await pulled(road, other, 3)).map(({ kind }) => kind)).toEqual(['batch', 'batch', 'snapshot end']);
    await road.stop();
  });

  it('W4 of which the filter lets nothing through is no dead stream: checkpoints come before its end', async () => {
    const clock = createFakeClock();
    const whole = createMemoryJournal({ clock });
    let readMs = 0;
    // Each look at it takes its time.
    const read: typeof whole.read = async (...wanted) => {
      if (readMs > 0) await clock.delay(readMs, new AbortController().signal);
      return whole.read(...wanted);
    };
    const road = await startRoad({ clock, journal: journalWith(whole, { read }) });
    for (let n = 0; n < 1_000; n += 1) await road.invalidations.append(revokeOf(user(`u${n}`)));
    readMs = 60;
    const stream = road.watch({ snapshot: true, filter: { userIds: ['nobody'] }, checkpointIntervalMs: 100 });
    await stream.next();
    const next = stream.next();
    await clock.advance(250);
    expect(await next).toMatchObject({ kind: 'checkpoint' });
    const left: WatchMessage[] = [];
    while (left.at(-1)?.kind !== 'snapshot end') left.push(...(await pulled(road, stream, 1)));
    expect(left.filter(({ kind }) => kind === 'batch')).toEqual([]);
    await stream.leave();
    await road.stop();
  });

  it('W4 ends with the sidecar, in the middle', async () => {
    const road = await startRoad();
    for (let n = 0; n < 300; n += 1) await road.invalidations.append(revokeOf(user(`u${n}`)));
    const stream = road.watch({ snapshot: true });
    await pulled(road, stream, 2);
    road.draining.abort();
    await expect(stream.next()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'DRAINING' });
    // Its turn is free, were anybody to ask.
    expect(road.watchers.count).toBe(0);
    await road.stop();
  });
});

describe('W7 a checkpoint', () => {
  it('W7 comes at its interval although something is appended before every pull, and claims no more than was sent', async () => {
    const road = await startRoad();
    const stream = road.watch();
    await begun(stream);
    const messages: WatchMessage[] = [];
    let appendedAtMs: readonly number[] = [];
    for (let n = 0; n < 50; n += 1) {
      await road.invalidations.append(revokeOf(user(`u${n}`)));
      appendedAtMs = [...appendedAtMs, road.clock.nowMs()];
      await road.clock.advance(200);
      messages.push(await stream.next());
    }
    await stream.leave();
    await road.stop();

    const checkpoints = messages.filter((one) => one.kind === 'checkpoint');
    expect(checkpoints.length).toBeGreaterThanOrEqual(8);
    for (const { cursor, provenThroughMs, serverTimeMs } of checkpoints) {
      const firstNotSentMs = appendedAtMs[cursor.revision] ?? Infinity;
      expect(provenThroughMs).toBeLessThanOrEqual(firstNotSentMs);
      expect(serverTimeMs - provenThroughMs).toBeLessThanOrEqual(1000);
    }
    const sent = messages.flatMap(revisionsIn);
    expect(sent).toEqual(Array.from({ length: sent.length }, (_, n) => n + 1));
  });

  it('W7 the first one does not claim what was appended while nobody took it', async () => {
    const road = await startRoad();
    const stream = road.watch();
    expect((await stream.next()).kind).toBe('opened');
    const appendedAtMs = road.clock.nowMs();
    await road.invalidations.append(revokeOf(user('u1')));
    await road.clock.advance(500);

    const first = await stream.next();
    expect(first).toMatchObject({ kind: 'checkpoint', cursor: { revision: 0 } });
    expect(first.kind === 'checkpoint' && first.provenThroughMs).toBeLessThanOrEqual(appendedAtMs);
    await stream.leave();
    await road.stop();
  });

  it('W7 claims no more than what the sources of news have proven, tells each of them, and names the issuers of those that are behind', async () => {
    const road = await startRoad();
    const startMs = road.clock.nowMs();
    const bus = road.degradations.addSource({ issuer: 'central', name: 'bus' });
    const poll = road.degradations.addSource({ issuer: 'other', name: 'poll' });
    await road.clock.advance(5000);
    bus.proven(road.clock.monotonicMs() - 300);
    poll.proven(road.clock.monotonicMs() - 2000);
    const stream = road.watch();
    await stream.next();
    expect(await stream.next()).toMatchObject({
      kind: 'checkpoint',
      serverTimeMs: startMs + 5000,
      provenThroughMs: startMs + 3000,
      degradedIssuers: [],
      sources: [
        { issuer: 'central', name: 'bus', lastAliveAtMs: startMs + 4700 },
        { issuer: 'other', name: 'poll', lastAliveAtMs: startMs + 3000 },
      ],
    });
    await road.clock.advance(9000);
    bus.proven(road.clock.monotonicMs());
    // It holds nobody else back.
    expect(await stream.next()).toMatchObject({
      provenThroughMs: startMs + 14_000,
      degradedIssuers: ['other'],
      sources: [{ name: 'bus' }, { name: 'poll', degradedSinceMs: startMs + 13_000 }],
    });
    await stream.leave();
    await road.stop();
  });

  it('W7 to a reader that is behind an issuer stays degraded until it has got what the source had to tell', async () => {
    const road = await startRoad();
    const source = road.degradations.addSource({ issuer: 'central', name: 'bus' });
    const stream = road.watch();
    await begun(stream);
    await road.clock.advance(11_000);
    expect(await stream.next()).toMatchObject({ kind: 'checkpoint', degradedIssuers: ['central'] });
    // More than one message full, while the source is behind; then what it had to tell, and its proof.
    for (let n = 0; n < 257; n += 1) await road.invalidations.append(revokeOf(user(`u${n}`)));
    expect((await stream.next()).kind).toBe('batch');
    await road.invalidations.append(revokeOf(user('late')));
    source.proven(road.clock.monotonicMs());
    await road.clock.advance(1000);
    const late: WatchMessage[] = [];
    for (let sent = 256; sent < 258; sent = late.flatMap(revisionsIn).at(-1) ?? sent) late.push(await stream.next());
    expect(late.filter((one) => one.kind === 'checkpoint').map((one) => one.degradedIssuers)).toEqual([['central']]);
    await road.clock.advance(1000);
    expect(await stream.next()).toMatchObject({ kind: 'checkpoint', degradedIssuers: [] });
    await stream.leave();
    await road.stop();
  });

  it('W7 does not keep the events from a reader that takes an interval for each message', async () => {
    const road = await startRoad();
    const stream = road.watch();
    await begun(stream);
    const kinds: string[] = [];
    for (let n = 0; n < 10; n += 1) {
      await road.invalidations.append(revokeOf(user(`u${n}`)));
      await road.clock.advance(1000);
      kinds.push((await stream.next()).kind);
    }
    expect(kinds).toEqual(Array.from({ length: 5 }, () => ['batch', 'checkpoint']).flat());
    await stream.leave();
    await road.stop();
  });

  it('W7 never precedes its events: its cursor is what was sent last', async () => {
    const road = await startRoad();
    const stream = road.watch();
    await begun(stream);
    let sent = 0;
    for (let n = 0; n < 200; n += 1) {
      await road.invalidations.append(revokeOf(user(`u${n}`)));
      await road.clock.advance(n % 7 === 0 ? 1000 : 10);
      const message = await stream.next();
      sent = revisionsIn(message).at(-1) ?? sent;
      expect(message.kind === 'checkpoint' ? message.cursor.revision : sent).toBe(sent);
    }
    await stream.leave();
    await road.stop();
  });

  it('W7 is due at its interval to the millisecond, and not before', async () => {
    const road = await startRoad();
    const stream = road.watch({ checkpointIntervalMs: 500 });
    await begun(stream);
    let came = false;
    const next = stream.next().then((message) => {
      came = true;
      return message;
    });
    await road.clock.advance(499);
    expect(came).toBe(false);
    await road.clock.advance(1);
    expect((await next).kind).toBe('checkpoint');
    await stream.leave();
    await road.stop();
  });
});

describe('W12 drain', () => {
  it('W12 ends a stream that waits, after everything that was appended, and a new one right after its first checkpoint', async () => {
    const road = await startRoad();
    const [waiting, late] = [road.watch(), road.watch()];
    await begun(waiting);
    const next = waiting.next();
    await road.invalidations.append(revokeOf(user('u1')));
    road.draining.abort();
    expect((await next).kind).toBe('batch');
    expect(await waiting.next()).toMatchObject({ kind: 'checkpoint', cursor: { revision: 1 } });
    await expect(waiting.next()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'DRAINING' });
    await begun(late);
    await expect(late.next()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'DRAINING' });
    expect(road.watchers.count).toBe(0);
    await road.stop();
  });
});

describe('what a watcher leaves behind', () => {
  it('nothing per wait: after 1,000 idle intervals of two watchers there is what there was at the beginning', async () => {
    const road = await startRoad();
    const { signal } = road.draining;
    const quiet = { delays: road.clock.waiting(), listeners: getEventListeners(signal, 'abort').length };
    const streams = [road.watch({ checkpointIntervalMs: 100 }), road.watch({ checkpointIntervalMs: 100 })];
    const leaving = new AbortController();
    const third = road.watchers.watch({ checkpointIntervalMs: 100 }, leaving.signal);
    for (const stream of streams) await begun(stream);
    await third.next();
    await third.next();
    for (let n = 0; n < 1000; n += 1) {
      const nexts = [...streams.map((stream) => stream.next()), third.next()];
      await road.clock.advance(100);
      await Promise.all(nexts);
    }
    expect(road.clock.waiting()).toBe(quiet.delays);
    expect(getEventListeners(leaving.signal, 'abort').length).toBeLessThanOrEqual(1);
    // One for all watchers, however many: node warns of a leak above ten.
    expect([quiet.listeners, getEventListeners(signal, 'abort').length]).toEqual([1, 1]);
    for (const stream of streams) await stream.leave();
    leaving.abort();
    await third.next();
    expect([road.watchers.count, getEventListeners(signal, 'abort').length]).toEqual([0, quiet.listeners]);
    await road.stop();
  });

  it('a signal that has aborted before the stream begins ends it after `opened`, and frees its place', async () => {
    const road = await startRoad();
    const messages: string[] = [];
    for await (const message of road.watchers.watch({}, AbortSignal.abort())) messages.push(message.kind);
    expect([messages, road.watchers.count]).toEqual([['opened'], 0]);
    await road.stop();
  });

  it('a place is freed when the consumer throws a stream away in the middle of a batch', async () => {
    const road = await startRoad({ maxWatchers: 1 });
    for (let n = 0; n < 3; n += 1) {
      for await (const message of road.watch().messages) {
        expect(message.kind).toBe('opened');
        break;
      }
    }
    expect(road.watchers.count).toBe(0);
    await road.stop();
  });
});

describe('S14 tags of another key', () => {
  it('S14 a new newest key resets every watcher that resumes from before it, and none that begins now', async () => {
    const clock = createFakeClock();
    const first = await startRoad({ clock });
    await first.invalidations.append(revokeOf(user('u1')));
    const cursor = first.invalidations.cursor();
    await first.stop();
    const second = await startRoad({
      clock,
      journal: first.journal,
      keys: [
        { id: 'k2', secret: Buffer.alloc(32, 2) },
        { id: 'k1', secret: Buffer.alloc(32, 1) },
      ],
    });
    const [resumed, fresh] = [second.watch({ after: cursor }), second.watch()];
    expect((await resumed.next()).kind).toBe('opened');
    expect(await resumed.next()).toMatchObject({ kind: 'reset', reason: 'KEYS_CHANGED' });
    await begun(fresh);
    expect(second.telemetry.count('sidegate_watch_resets_total', { reason: 'KEYS_CHANGED' })).toBe(1);
    for (const stream of [resumed, fresh]) await stream.leave();

    // Once something has been appended under the new key, its holders resume.
    await second.invalidations.append(revokeOf(user('u2')));
    const after = second.invalidations.cursor();
    await second.stop();
    const third = await startRoad({ clock, journal: first.journal, keys: [{ id: 'k2', secret: Buffer.alloc(32, 2) }] });
    const again = third.watch({ after });
    await begun(again);
    await again.leave();
    await third.stop();
  });
});

describe('W11 what passes a filter', () => {
  const values = ['a', 'b', 'c'];
  const list = fc.option(fc.uniqueArray(fc.constantFrom(...values)), { nil: undefined });
  const filters = fc.record({ issuers: list, userIds: list, projectIds: list }).map(
    (one): WatchFilter => ({
      ...(one.issuers ? { issuers: one.issuers } : {}),
      ...(one.userIds ? { userIds: one.userIds } : {}),
      ...(one.projectIds ? { projectIds: one.projectIds } : {}),
    }),
  );
  const one = fc.option(fc.constantFrom(...values), { nil: undefined });
  const of = (issuer: string | undefined): { issuer?: string } => (issuer === undefined ? {} : { issuer });

  it('W11 passes every invalidation that fits a token inside it', () => {
    const tokens = fc.record({ issuer: fc.constantFrom(...values), user: fc.constantFrom(...values), project: fc.constantFrom(...values) });
    fc.assert(
      fc.property(tokens, fc.record({ issuer: one, user: one, project: one }), filters, (token, wanted, filter) => {
        const fits =
          [undefined, token.issuer].includes(wanted.issuer) &&
          [undefined, token.user].includes(wanted.user) &&
          [undefined, token.project].includes(wanted.project);
        const inside = (allowed: readonly string[] | undefined, value: string): boolean => !allowed?.length || allowed.includes(value);
        const isInside =
          inside(filter.issuers, token.issuer) && inside(filter.userIds, token.user) && inside(filter.projectIds, token.project);
        const conditions = [
          ...(wanted.user === undefined ? [] : [{ dimension: 'user' as const, value: wanted.user }]),
          ...(wanted.project === undefined ? [] : [{ dimension: 'project' as const, value: wanted.project }]),
        ];
        const selector: Selector =
          conditions.length === 0 ? { kind: 'everything', ...of(wanted.issuer) } : { kind: 'fit', ...of(wanted.issuer), conditions };
        expect(!(fits && isInside) || passes(placed(selector), filter)).toBe(true);
      }),
    );
  });
});

function placed(selector: Selector): Parameters<typeof passes>[0] {
  return {
    revision: revision(1),
    entry: {
      id: 'e',
      effect: 'REVOKE',
      selector,
      alsoRefreshes: false,
      learnedAtMs: 0,
      forgetAtMs: 1,
      keyId: 'k1',
      origin: { source: 'rpc' },
    },
  };
}

describe('W2, W3 and W6 together', () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({
        kind: fc.constant('append' as const),
        count: fc.integer({ min: 1, max: 40 }),
        effect: fc.constantFrom('REVOKE' as const, 'REFRESH' as const),
      }),
      fc.record({ kind: fc.constant('pull' as const), count: fc.integer({ min: 1, max: 4 }) }),
      // Facts live ten seconds here and entries twenty: compaction, each minute, forgets nearly everything.
      fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(100, 5000, 30_000, 61_000) }),
      fc.record({ kind: fc.constant('reconnect' as const) }),
    ),
    { minLength: 5, maxLength: 40 },
  );

  it('a watcher that resumes by its last cursor sees every entry in order, or is reset: for all interleavings and ring sizes', async () => {
    let resets = 0;
    let resumed = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 64 }), steps, async (ring, script) => {
        const road = await startRoad({ ring, factsLifeMs: 10_000 });
        const seen = new Seen();
        let stream = road.watch({ after: road.invalidations.cursor() });
        for (const step of script) {
          if (step.kind === 'append') {
            const drafts = Array.from({ length: step.count }, (_, n) => revokeOf(user(`u${n}`), { effect: step.effect, lifeMs: 20_000 }));
            await Promise.all(drafts.map((draft) => road.invalidations.append(draft)));
          } else if (step.kind === 'wait') {
            await road.clock.advance(step.ms);
          } else if (step.kind === 'reconnect') {
            await stream.leave();
            stream = road.watch(seen.subscription());
            resumed += 1;
          } else {
            for (let n = 0; n < step.count; n += 1) {
              const next = stream.next();
              // Where nothing is due now, the next checkpoint is.
              await road.clock.advance(1000);
              seen.take(await next);
            }
          }
        }
        // To its end.
        const head = road.journal.head();
        for (let n = 0; n < 500 && seen.at < head; n += 1) {
          const next = stream.next();
          await road.clock.advance(1000);
          seen.take(await next);
        }
        await stream.leave();
        await road.stop();
        expect(seen.at).toBe(head);
        expect(seen.gaps(road)).toEqual([]);
        resets += seen.resets;
      }),
      { numRuns: 60 },
    );
    // Otherwise the property would hold for a stream that never had to resume, or was always reset.
    expect([resets > 0, resumed > 20]).toEqual([true, true]);
  });
});

/** What a watcher keeps: its cursor, and which stretches it has followed without a reset. */
class Seen {
  at = 0;
  resets = 0;
  #journal = '';
  readonly #revisions = new Set<number>();
  readonly #excused = new Set<number>();
  #last = 0;

  take(message: WatchMessage): void {
    if (message.kind === 'opened') {
      this.#journal = message.latest.journal;
      this.#last = this.at;
    }
    if (message.kind === 'batch') {
      for (const one of message.entries) {
        expect(one.revision).toBeGreaterThan(this.#last);
        this.#last = one.revision;
        this.#revisions.add(one.revision);
        this.at = one.revision;
      }
    }
    if (message.kind === 'checkpoint') {
      expect(message.cursor.revision).toBeGreaterThanOrEqual(this.at);
      this.at = message.cursor.revision;
    }
    if (message.kind === 'reset') {
      for (let n = this.at + 1; n <= message.cursor.revision; n += 1) this.#excused.add(n);
      this.at = message.cursor.revision;
      this.resets += 1;
    }
  }

  subscription(): Subscription {
    const after: Cursor = { journal: this.#journal, revision: revision(this.at) };
    return this.#journal === '' ? { after: { journal: 'NONE', revision: revision(0) } } : { after };
  }

  /** Revisions that were neither seen nor covered by a reset. */
  gaps(road: Road): readonly number[] {
    const head = road.journal.head();
    const all = Array.from({ length: head }, (_, n) => n + 1);
    return all.filter((n) => !this.#revisions.has(n) && !this.#excused.has(n));
  }
}
