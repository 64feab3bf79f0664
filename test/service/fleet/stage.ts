// Sidecars of one fleet, without their listeners: journals, what follows them, and a log in memory, on a clock that a test holds.

import { setMaxListeners } from 'node:events';
import { revision } from '../../../src/core/invalidation.ts';
import type { Selector } from '../../../src/core/selector.ts';
import { createTagger, type DeploymentKey } from '../../../src/core/tag.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Clock, Journal, NewsSource, Telemetry } from '../../../src/ports.ts';
import { Degradations, type DegradedReason } from '../../../src/service/degradation.ts';
import { Fleet } from '../../../src/service/fleet/fleet.ts';
import { SharedQuestions } from '../../../src/service/fleet/shared-questions.ts';
import { type Appended, type Draft, Invalidations } from '../../../src/service/invalidations.ts';
import { NewsRoom } from '../../../src/service/news/news-room.ts';
import { createFakeClock, type FakeClock } from '../../fakes/clock.ts';
import { createFakeLog, type FakeEngine, type FakeLog } from '../../fakes/engine.ts';
import { createFakeIssuer } from '../../fakes/issuer.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../../fakes/telemetry.ts';
import { usualKey } from '../road.ts';

/** A sidecar of the fleet. */
export interface Sidecar {
  readonly name: string;
  readonly journal: Journal;
  readonly invalidations: Invalidations;
  readonly fleet: Fleet;
  readonly engine: FakeEngine;
  readonly telemetry: FakeTelemetry;
  /** Kills all tokens of this user. */
  revoke(user: string, more?: Partial<Draft>): Promise<Appended>;
  /** Whether a REVOKE of this user is applied here. */
  hasKilled(user: string): Promise<boolean>;
  reasons(): readonly DegradedReason[];
  /** Its wall clock is set: so far ahead of everybody's. */
  setClock(ms: number): void;
  /** Everything from before then that this source had is said to be here, by everybody's wall clock; undefined: nothing is. */
  provenMs(source: string): number | undefined;
  /** As SIGTERM; the journal stays. */
  stop(): Promise<void>;
}

/** What differs from the usual. */
export interface SidecarOptions {
  readonly journal?: Journal;
  /** Newest first. */
  readonly keys?: readonly [DeploymentKey, ...DeploymentKey[]];
  /** Who tells it of what happens at `central`. */
  readonly sources?: (parts: SourceParts) => readonly NewsSource[];
  /** Labels of keys that nobody has. */
  readonly ignoredKeys?: readonly string[];
  /** Its wall clock is ahead of everybody's. */
  readonly aheadMs?: number;
}

/** What its sources are made of. */
export interface SourceParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly journal: Journal;
  readonly questions: SharedQuestions;
}

/** All of it. */
export interface Stage {
  readonly clock: FakeClock;
  readonly log: FakeLog;
  start(name: string, options?: SidecarOptions): Promise<Sidecar>;
  /** Lets time pass until `condition` holds, at most so many milliseconds; throws where it does not. */
  until(condition: () => boolean | Promise<boolean>, ms?: number): Promise<void>;
  close(): Promise<void>;
}

export const maxLagMs = 10_000;
export const wideWindowMs = 5_000;
export const retentionMs = 86_400_000;

/** Nobody is there yet. */
export function createStage(): Stage {
  const steadyClock = createFakeClock();
  const log = createFakeLog(steadyClock);
  const sidecars: Sidecar[] = [];
  const { issuer } = createFakeIssuer({ name: 'central' });

  const start = async (name: string, options: SidecarOptions = {}): Promise<Sidecar> => {
    const keys = options.keys ?? [usualKey];
    const { sources } = options;
    let aheadMs = options.aheadMs ?? 0;
    const clock: Clock = { ...steadyClock, nowMs: () => steadyClock.nowMs() + aheadMs };
    const telemetry = createFakeTelemetry();
    const journal = options.journal ?? createMemoryJournal({ clock });
    const tagger = createTagger(keys);
    const times = { settleMs: 2000, wideWindowMs, factsLifeMs: 302_000, refreshLifeMs: 602_000 };
    const invalidations = new Invalidations({ journal, tagger, clock, telemetry, ...times, ring: 64 });
    const degradations = new Degradations({ clock, telemetry, maxLagMs });
    await invalidations.load();
    const end = new AbortController();
    setMaxListeners(0, end.signal);
    const questions = new SharedQuestions({ clock, skewMs: 2_000, maxLagMs });
    const news = new NewsRoom([{ issuer, sources: sources?.({ clock, telemetry, journal, questions }) ?? [] }], {
      invalidations,
      degradations,
      notes: journal,
      clock,
      telemetry,
      random: Math.random,
      ...times,
      skewMs: 2_000,
      clockRead: () => undefined,
      toldAll: (signal) => questions.told(signal),
      stop: end.signal,
    });
    const engine = log.engine();
    const fleet = new Fleet({
      engine,
      name,
      journal,
      invalidations,
      degradations,
      issuers: [issuer],
      tagger,
      keys,
      clock,
      telemetry,
      random: () => 0.5,
      maxLagMs,
      skewMs: 2_000,
      wideWindowMs,
      refreshLifeMs: times.refreshLifeMs,
      questions,
      heard: (entry) => news.heardOf(entry),
      retentionMs,
      ignoredKeys: options.ignoredKeys ?? [],
      stop: end.signal,
    });
    await fleet.load();
    const following = new AbortController();
    const running = Promise.all([fleet.run(end.signal), news.run(), invalidations.run(following.signal)]);
    const sidecar: Sidecar = {
      name,
      journal,
      invalidations,
      fleet,
      engine,
      telemetry,
      revoke: (user, more = {}) => {
        const selector: Selector = { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: user }] };
        const draft = { effect: 'REVOKE' as const, selector, issuedBeforeMs: clock.nowMs(), lifeMs: 86_400_000, origin: { source: 'rpc' } };
        return invalidations.append({ ...draft, ...more });
      },
      async hasKilled(user) {
        const entries = await invalidations.after(revisionZero, 100_000);
        return entries.some(({ entry: { selector, effect } }) => {
          return effect === 'REVOKE' && selector.kind === 'fit' && selector.conditions.some(({ value }) => value === user);
        });
      },
      reasons: () => degradations.by('central'),
      setClock: (ms) => {
        aheadMs = ms;
      },
      provenMs(source) {
        const throughMs = degradations.sources().find(({ name: one }) => one === source)?.lastAliveAtMs;
        return throughMs === undefined ? undefined : throughMs - aheadMs;
      },
      async stop() {
        // One that is stopped hears of it when it goes on.
        engine.thaw();
        end.abort();
        following.abort();
        let isOver = false;
        void running.finally(() => {
          isOver = true;
        });
        await until(() => isOver);
      },
    };
    sidecars.push(sidecar);
    return sidecar;
  };

  const until = async (condition: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> => {
    for (let passedMs = 0; passedMs <= ms; passedMs += 20) {
      if (await condition()) return;
      await steadyClock.advance(20);
    }
    throw new Error(`it did not come to that within ${ms} ms`);
  };

  return {
    clock: steadyClock,
    log,
    start,
    until,
    async close() {
      for (const sidecar of sidecars) await sidecar.stop();
    },
  };
}

const revisionZero = revision(0);
