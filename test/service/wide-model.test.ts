// S6 and S7 for random histories: precise, broad and WIDE REFRESHes, an authority that fails, a queue that fills, restarts, and a shared tier.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { digestOf } from '../../src/core/raw.ts';
import { placeOf } from '../../src/core/spread.ts';
import type { Answer } from '../../src/service/question.ts';
import { createFakeIssuer, type FactsSaid } from '../fakes/issuer.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { createValidationStage, settled, type ValidationStage } from './validation-stage.ts';

const settleMs = 2000;
const windowMs = 10_000;
const alice: FactsSaid = {
  token: { user: { id: 'alice' }, scope: { kind: 'project', project: { id: 'shop', isDomain: false } }, roles: [] },
};

interface Told {
  readonly revision: number;
  readonly atMs: number;
}

/** All that has been told so far. */
interface History {
  readonly precise: readonly Told[];
  readonly broad: readonly Told[];
  readonly wide: readonly Told[];
}

interface Began {
  readonly revision: number;
  readonly monotonicMs: number;
}

/** Of each window the moment when a token at `place` is due in it, and the newest that belongs to it. */
function dues(told: readonly Told[], place: number): readonly { readonly dueMs: number; readonly newsMs: number }[] {
  const windows: { startMs: number; newsMs: number }[] = [];
  for (const { atMs } of told) {
    const last = windows.at(-1);
    if (!last || atMs >= last.startMs + windowMs) windows.push({ startMs: atMs, newsMs: atMs });
    else if (atMs < last.startMs) last.newsMs = atMs;
    else windows.push({ startMs: last.startMs + windowMs, newsMs: atMs });
  }
  return windows.map(({ startMs, newsMs }) => ({ dueMs: startMs + settleMs + place * (windowMs - settleMs), newsMs }));
}

const isDue = (told: readonly Told[], place: number, began: Began, nowMs: number): boolean =>
  dues(told, place).some(({ dueMs, newsMs }) => nowMs >= dueMs && began.monotonicMs < newsMs + settleMs);

/** Learned before one of them was applied, or so soon after it that its window has ended. */
const isBehind = (told: readonly Told[], began: Began, nowMs: number): boolean => {
  const newest = told.at(-1);
  if (!newest) return false;
  return began.revision < newest.revision || (began.monotonicMs < newest.atMs + settleMs && nowMs >= newest.atMs + settleMs);
};

const step = fc.oneof(
  { weight: 5, arbitrary: fc.constant('validate' as const) },
  { weight: 1, arbitrary: fc.constant('validate from now' as const) },
  { weight: 1, arbitrary: fc.constant('precise' as const) },
  { weight: 2, arbitrary: fc.constant('broad' as const) },
  { weight: 3, arbitrary: fc.constant('wide' as const) },
  { weight: 3, arbitrary: fc.constant('land' as const) },
  { weight: 1, arbitrary: fc.constant('fail' as const) },
  { weight: 1, arbitrary: fc.constant('stranger' as const) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 6000 }) },
);

describe('S7 no answer rests on what it must not, and none is missing that there could be', () => {
  it.each([
    ['with room for all', 1024],
    ['with a queue of two', 2],
  ])('S7 %s', { timeout: 120_000 }, async (_what, queue) => {
    const isRoomy = queue > 2;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fc.constantFrom('t', 'u', 'v', 'w'), async (steps, raw) => {
        const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: isRoomy ? 16 : 1, queue } });
        central.knows(raw, alice);
        let stage: ValidationStage | undefined;
        const store = createFakeSharedStore({ nowMs: () => stage?.clock.nowMs() ?? 0 });
        stage = await createValidationStage({ issuers: [central], wideWindowMs: windowMs, shared: store.open(), handles: false });
        const place = placeOf(stage.facts.fingerprintOf(digestOf(raw)));
        let history: History = { precise: [], broad: [], wide: [] };
        let held = central.hold();
        let strangers = 0;
        let allowed = 1;
        const calls: Promise<unknown>[] = [];

        const check = (now: ValidationStage, answer: Answer, then: History, arrivedMs: number): void => {
          const answeredMs = now.clock.monotonicMs();
          expect(answer.decision.active).toBe(true);
          const began = answer.known?.began;
          if (!began) throw new Error('an active answer has facts');
          expect(isBehind(then.precise, began, arrivedMs)).toBe(false);
          const isMarked = answer.degradedBy.includes('STALE_FACTS');
          if (!isMarked) {
            expect(isDue(then.wide, place, began, arrivedMs)).toBe(false);
            expect(isDue(then.broad, place, began, arrivedMs)).toBe(false);
            if (isRoomy) expect(isBehind(then.broad, began, arrivedMs)).toBe(false);
          } else {
            const { wide, broad } = history;
            expect(isDue(wide, place, began, answeredMs) || isDue(broad, place, began, answeredMs)).toBe(true);
            // Where there is room for all, only an authority that is away has it served: not under a broad one.
            if (isRoomy) expect(isBehind(broad, began, answeredMs)).toBe(false);
            expect(answer.maxAgeMs).toBe(0);
          }
          // Only for want of room a near cache may keep what a later call would have fetched first.
          const isFetched = isRoomy || answer.provenance !== 'MEMORY';
          const hasOvertaken = isBehind(history.precise, began, answeredMs) || (isFetched && isBehind(history.broad, began, answeredMs));
          if (hasOvertaken) expect(answer.maxAgeMs).toBe(0);
          const unsatisfied = [...dues(history.wide, place), ...dues(history.broad, place)].filter(
            ({ newsMs }) => began.monotonicMs < newsMs + settleMs,
          );
          const settles = history.precise.at(-1);
          const ends = [
            ...unsatisfied.map(({ dueMs }) => dueMs),
            ...(settles && began.monotonicMs < settles.atMs + settleMs ? [settles.atMs + settleMs] : []),
          ];
          if (answer.maxAgeMs > 0) expect(answeredMs + answer.maxAgeMs).toBeLessThanOrEqual(Math.min(Infinity, ...ends));
        };
        const call = (now: ValidationStage, maxStalenessMs?: number): void => {
          const then = history;
          const arrivedMs = now.clock.monotonicMs();
          const before = now.facts.find(digestOf(raw));
          const question = maxStalenessMs === undefined ? {} : { maxStalenessMs };
          const judged = now.ask(raw, question).then(
            (answer) => check(now, answer, then, arrivedMs),
            (error: unknown) => {
              if (!(error instanceof SidecarError)) throw error;
              // With facts that only a WIDE one has overtaken there is always an answer.
              const failedMs = now.clock.monotonicMs();
              const { precise, broad } = history;
              const serves = before && !isBehind(precise, before.began, failedMs) && !isBehind(broad, before.began, failedMs);
              const isYoung = before !== undefined && failedMs < before.freshUntilMs;
              expect(Boolean(serves) && isYoung && maxStalenessMs === undefined).toBe(false);
            },
          );
          // It is awaited at the end.
          judged.catch(() => undefined);
          calls.push(judged);
        };
        /** Answers all that has been asked; who waits for a lease waits for the clock. */
        const finish = async (now: ValidationStage): Promise<void> => {
          held.all();
          let isDone = false;
          const all = Promise.all(calls.splice(0)).finally(() => {
            isDone = true;
          });
          all.catch(() => undefined);
          await settled();
          while (!isDone) await now.clock.advance(250);
          await all;
        };
        const tell = async (now: ValidationStage, kind: keyof History): Promise<void> => {
          const { asOf } = await now.invalidations.append({
            effect: 'REFRESH',
            selector:
              kind === 'wide'
                ? { kind: 'everything', issuer: 'central' }
                : {
                    kind: 'fit',
                    issuer: 'central',
                    conditions: [kind === 'broad' ? { dimension: 'project', value: 'shop' } : { dimension: 'user', value: 'alice' }],
                  },
            ...(kind === 'wide' ? { spreadMs: windowMs } : {}),
            lifeMs: 600_000,
            origin: { source: 'central/bus' },
          });
          history = { ...history, [kind]: [...history[kind], { revision: asOf.revision, atMs: now.clock.monotonicMs() }] };
          allowed += 2;
        };

        for (const what of steps) {
          if (what === 'validate') call(stage);
          else if (what === 'validate from now') {
            allowed += 1;
            call(stage, 0);
          } else if (what === 'precise' || what === 'broad' || what === 'wide') await tell(stage, what);
          else if (what === 'land') held.one();
          else if (what === 'stranger') {
            strangers += 1;
            central.knows(`stranger${strangers}`, alice);
            calls.push(stage.ask(`stranger${strangers}`).catch(() => undefined));
          } else if (what === 'fail') {
            allowed += 1;
            central.isDown();
            held.one();
            await settled();
            central.answers();
          } else if (what === 'restart') {
            await finish(stage);
            await stage.close();
            const before = { clock: stage.clock, journal: stage.journal };
            stage = await createValidationStage({
              issuers: [central],
              wideWindowMs: windowMs,
              shared: store.open(),
              handles: false,
              before,
            });
            allowed += 1;
            held = central.hold();
          } else await stage.clock.advance(what);
          await settled();
        }
        await finish(stage);
        expect(central.reads.filter((read) => read === raw).length).toBeLessThanOrEqual(allowed);
        await stage.close();
      }),
      { numRuns: 200 },
    );
  });
});
