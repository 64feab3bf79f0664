// What every NewsSource must do, whoever tells.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { NewsSource } from '../../src/ports.ts';
import { createNewsSink, type FakeNewsSink } from '../fakes/news-sink.ts';

/** An issuer's server with a source at it, in the hands of the suite. Each test gets a new one. */
export interface NewsSourceHarness {
  /** The source of one sidecar; each further one is of that sidecar after a restart. Not running yet. */
  source(): NewsSource;
  /** Something happens at the issuer that revokes all tokens of the user `id`. Resolves when the server that tells of it has it. */
  happen(id: string): Promise<void>;
  /** Something happens of which the source cannot learn what it was; absent: whatever happens, this source learns it. */
  lose?(): Promise<void>;
  /** The server ends; nobody accepts connections when it resolves. What it had to tell, it has when it is started again. */
  stop(): Promise<void>;
  /** The server is there again, where it was. */
  start(): Promise<void>;
  /** It accepts connections, and answers nothing. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** By which the source measures time. */
  monotonicMs(): number;
  /** What must never be said. */
  readonly secrets: readonly string[];
  close(): Promise<void>;
}

/** Milliseconds for a test, and for its hooks: servers are started and die within them, on machines that are slow. */
const patienceMs = 300_000;

/** A source that runs. */
interface Running {
  readonly source: NewsSource;
  readonly sink: FakeNewsSink;
  /** Ends it; resolves when it has ended. */
  stop(): Promise<void>;
}

/** Runs the suite `name`. `makeHarness` starts a server. */
export function newsSourceConformance(
  name: string,
  makeHarness: () => Promise<NewsSourceHarness>,
  options: { readonly loses: boolean },
): void {
  describe(`${name} as a NewsSource`, () => {
    let harness: NewsSourceHarness;
    let runs: Running[];
    let count = 0;
    beforeEach(async () => {
      harness = await makeHarness();
      runs = [];
    }, patienceMs);
    afterEach(async () => {
      await harness.thaw();
      for (const { source } of runs) for (const secret of harness.secrets) expect(JSON.stringify(source.health())).not.toContain(secret);
      await Promise.all(runs.map((running) => running.stop()));
      await harness.close();
    }, patienceMs);

    const run = (): Running => {
      const source = harness.source();
      const sink = createNewsSink();
      const stopping = new AbortController();
      const ended = source.run(sink, stopping.signal);
      const running: Running = {
        source,
        sink,
        async stop() {
          stopping.abort();
          await ended;
        },
      };
      runs.push(running);
      return running;
    };
    /** One that hears: it has proven something. */
    const heard = async (): Promise<Running> => {
      const running = run();
      await running.sink.until(() => running.sink.proofs.length > 0, 'something is proven');
      return running;
    };
    const another = (): string => {
      count += 1;
      return `user-${count}`;
    };
    const provenThrough = (sink: FakeNewsSink): number => Math.max(Number.NEGATIVE_INFINITY, ...sink.proofs);
    const nextProof = async (sink: FakeNewsSink): Promise<void> => {
      const nowMs = harness.monotonicMs();
      await sink.until(() => provenThrough(sink) >= nowMs, 'a moment from now on is proven');
    };

    it('tells what happens, about whom, with an id of its own, and does not tell it again', { timeout: patienceMs }, async () => {
      const { sink } = await heard();
      const ids = [another(), another(), another()];
      for (const id of ids) await harness.happen(id);
      await sink.until(() => ids.every((id) => sink.about(id).length > 0), 'all are told');
      await nextProof(sink);
      await nextProof(sink);

      expect(ids.map((id) => sink.about(id).length)).toEqual([1, 1, 1]);
      expect(new Set(sink.told.map((news) => news.id)).size).toBe(sink.told.length);
      for (const id of ids) {
        const [news] = sink.about(id);
        expect(news?.event).not.toBe('');
        expect(news?.atMs).toBeGreaterThan(Date.now() - 3_600_000);
        expect(news?.invalidations).toContainEqual(expect.objectContaining({ conditions: [{ dimension: 'user', value: id }] }));
      }
    });

    it('tells again what was not kept, until it is', { timeout: patienceMs }, async () => {
      const { sink } = await heard();
      const id = another();
      sink.reject(2);
      await harness.happen(id);
      await sink.until(() => sink.kept.some((news) => news.about.includes(id)), 'it is kept');

      expect(sink.about(id)).toHaveLength(3);
      expect(new Set(sink.about(id).map((news) => news.id)).size).toBe(1);
      await nextProof(sink);
      expect(sink.about(id)).toHaveLength(3);
    });

    it('proves no moment before everything from before it is kept, and then does', { timeout: patienceMs }, async () => {
      const { sink } = await heard();
      const release = sink.hold();
      const id = another();
      await harness.happen(id);
      const happenedAtMs = harness.monotonicMs();
      await sink.until(() => sink.about(id).length === 1, 'it is told');
      // Long enough for whatever proves by itself.
      for (const atMs = harness.monotonicMs(); harness.monotonicMs() - atMs < 3_000; ) await turn();

      expect(provenThrough(sink)).toBeLessThan(happenedAtMs);
      release();
      await nextProof(sink);
      expect(sink.kept.map((news) => news.about)).toContainEqual(expect.arrayContaining([id]));
    });

    it('proves moments one after the other, none of which lies ahead', { timeout: patienceMs }, async () => {
      const { sink } = await heard();
      for (let n = 0; n < 3; n += 1) {
        await nextProof(sink);
        expect(provenThrough(sink)).toBeLessThanOrEqual(harness.monotonicMs());
      }
      expect([...sink.proofs].sort((a, b) => a - b)).toEqual(sink.proofs);
    });

    it('waits for a server that is not there, says so, and hears it when it comes', { timeout: patienceMs }, async () => {
      await harness.stop();
      const { source, sink } = run();
      await sink.until(() => source.health().problem !== undefined && !source.health().reachable, 'it says what is wrong');
      expect(sink.proofs).toEqual([]);
      await harness.start();
      await nextProof(sink);
      const id = another();
      await harness.happen(id);
      await sink.until(() => sink.about(id).length === 1, 'it is told');

      expect(source.health()).toMatchObject({ reachable: true, lastAnswerAtMs: expect.any(Number) });
      expect(source.health()).not.toHaveProperty('problem');
    });

    it('comes back to a server that was started again: what happens then is told, or a gap is admitted', {
      timeout: patienceMs,
    }, async () => {
      const { source, sink } = await heard();
      await harness.stop();
      await sink.until(() => !source.health().reachable && source.health().problem !== undefined, 'it says what is wrong');
      const goneAtMs = harness.monotonicMs();
      await harness.start();
      const gaps = sink.gaps.length;
      const id = another();
      await harness.happen(id);
      await sink.until(() => sink.about(id).length === 1 || sink.gaps.length > gaps, 'it is told, or a gap is admitted');
      await nextProof(sink);
      const later = another();
      await harness.happen(later);
      await sink.until(() => sink.about(later).length === 1, 'what happens later is told');

      expect(source.health()).toMatchObject({ reachable: true });
      expect(provenThrough(sink)).toBeGreaterThan(goneAtMs);
    });

    it('notices a server that answers nothing, proves nothing meanwhile, and misses nothing', { timeout: patienceMs }, async () => {
      const { source, sink } = await heard();
      const before = another();
      const release = sink.hold();
      await harness.happen(before);
      await sink.until(() => sink.about(before).length === 1, 'it is told');
      await harness.freeze();
      const frozenAtMs = harness.monotonicMs();
      release();
      await sink.until(() => !source.health().reachable && source.health().problem !== undefined, 'it says what is wrong');
      expect(provenThrough(sink)).toBeLessThanOrEqual(frozenAtMs);
      await harness.thaw();
      const gaps = sink.gaps.length;
      const after = another();
      await harness.happen(after);
      await sink.until(() => sink.about(after).length === 1 || sink.gaps.length > gaps, 'it is told, or a gap is admitted');
      await nextProof(sink);

      expect(sink.kept.some((news) => news.about.includes(before))).toBe(true);
      expect(source.health()).toMatchObject({ reachable: true });
    });

    it('after a restart of the sidecar tells what happened meanwhile, or admits a gap', { timeout: patienceMs }, async () => {
      const first = await heard();
      await first.stop();
      const id = another();
      await harness.happen(id);
      const { sink } = await heard();

      expect(sink.about(id).length > 0 || sink.gaps.length > 0).toBe(true);
    });

    if (options.loses) {
      it('admits what it cannot tell, before it proves that moment', { timeout: patienceMs }, async () => {
        const { sink } = await heard();
        const gaps = sink.gaps.length;
        await harness.lose?.();
        const lostAtMs = harness.monotonicMs();
        await sink.until(() => provenThrough(sink) >= lostAtMs, 'a moment after it is proven');

        expect(sink.gaps.length).toBeGreaterThan(gaps);
        const firstProofAfter = sink.proofs.findIndex((proof) => proof >= lostAtMs);
        const proofsBeforeGap = sink.order.slice(0, sink.order.lastIndexOf('gap')).filter((what) => what === 'proven').length;
        expect(proofsBeforeGap).toBeLessThanOrEqual(firstProofAfter);
      });
    }

    it.each([
      ['while it hears', async () => void (await heard())],
      ['before it has begun', async () => void run()],
      [
        'while nobody is there',
        async () => {
          await harness.stop();
          const { source, sink } = run();
          await sink.until(() => source.health().problem !== undefined, 'it says what is wrong');
        },
      ],
      [
        'while nobody answers',
        async () => {
          await harness.freeze();
          run();
        },
      ],
      [
        'while what it told is not kept yet',
        async () => {
          const { sink } = await heard();
          sink.hold();
          const id = another();
          await harness.happen(id);
          await sink.until(() => sink.about(id).length === 1, 'it is told');
        },
      ],
      [
        'while what it told cannot be kept',
        async () => {
          const { sink } = await heard();
          sink.reject(Number.POSITIVE_INFINITY);
          const id = another();
          await harness.happen(id);
          await sink.until(() => sink.about(id).length > 1, 'it is told again');
        },
      ],
    ])('ends with its signal %s, and says nothing afterwards', { timeout: patienceMs }, async (_, come) => {
      await come();
      const running = runs.at(-1) ?? expect.unreachable('nothing runs');
      const began = performance.now();
      await running.stop();
      const said = running.sink.order.length;

      // Its goodbye has a second; the rest is the machine's.
      expect(performance.now() - began).toBeLessThan(30_000);
      await harness.thaw();
      for (const atMs = performance.now(); performance.now() - atMs < 1_500; ) await turn();
      expect(running.sink.order.length).toBe(said);
    });

    it('that is to end before it begins ends at once, and asks nobody', { timeout: patienceMs }, async () => {
      const sink = createNewsSink();
      await harness.source().run(sink, AbortSignal.abort());
      expect(sink.order).toEqual([]);
    });

    it('asked to look, has told everything that was there when it is done; where nobody answers it says so', {
      timeout: patienceMs,
    }, async () => {
      const { source, sink } = await heard();
      // A source that tells as it hears has nothing to look for.
      if (source.look === undefined) return;
      const id = another();
      await harness.happen(id);
      await source.look(new AbortController().signal);
      expect(sink.about(id)).toHaveLength(1);
      await harness.stop();
      await expect(source.look(new AbortController().signal)).rejects.toBeInstanceOf(SidecarError);
    });
  });
}

/** A moment for everybody else, of the real clock: what is waited for is servers'. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));
