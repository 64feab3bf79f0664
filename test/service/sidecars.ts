// Several sidecars over one shared tier and one authority, on one clock or on clocks that differ.

import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { createValidationStage, type StageOptions, settled, type ValidationStage } from './validation-stage.ts';

/** Several stages that share a store and an authority; each has a journal of its own. */
export type Region = Awaited<ReturnType<typeof createRegion>>;

/** How a region is; what is not said is three stages whose clocks agree. */
export interface RegionOptions extends Omit<StageOptions, 'issuers' | 'shared' | 'clock' | 'before' | 'journal'> {
  /** By how much each stage's wall clock is ahead of the region's, in milliseconds: one for each stage. */
  readonly skews?: readonly number[];
  readonly central?: FakeIssuer;
}

/** The stages have been there for ten seconds: long enough to believe what the others know. */
export async function createRegion({ skews = [0, 0, 0], central = createFakeIssuer(), ...options }: RegionOptions = {}) {
  const clock = createFakeClock();
  const store = createFakeSharedStore(clock);
  const stageOf = (skewMs: number, more: StageOptions = {}): Promise<ValidationStage> =>
    createValidationStage({ ...options, issuers: [central], shared: store.open(), clock: aheadBy(clock, skewMs), ...more });
  const stages = await Promise.all(skews.map((skewMs) => stageOf(skewMs)));
  const [first] = stages;
  if (!first) throw new TypeError('a region has stages');
  await clock.advance(10_000);
  const later: ValidationStage[] = [];
  return {
    clock,
    store,
    central,
    stages,
    first,
    second: stages[1] ?? first,
    third: stages[2] ?? first,
    /** One more, that begins now. */
    async join(more: StageOptions = {}, skewMs = 0): Promise<ValidationStage> {
      const stage = await stageOf(skewMs, more);
      later.push(stage);
      return stage;
    },
    async close() {
      for (const stage of [...stages, ...later]) await stage.close();
    },
  };
}

/** The same clock as a host has it whose wall clock differs. */
export function aheadBy(clock: FakeClock, ms: number): FakeClock {
  return { ...clock, nowMs: () => clock.nowMs() + ms };
}

/** Asked in all stages at once, then given `ms` to come to an end. */
export async function atOnce<Value>(region: Region, ask: (stage: ValidationStage) => Promise<Value>, ms = 5000): Promise<Value[]> {
  const asked = Promise.all(region.stages.map(ask));
  asked.catch(() => undefined);
  await settled();
  await region.clock.advance(ms);
  return asked;
}

/** Resolves with what `promise` does, once as much time has passed as it waits for, at most `ms`. */
export async function inTime<Value>(clock: FakeClock, promise: Promise<Value>, ms = 5000): Promise<Value> {
  promise.catch(() => undefined);
  await settled();
  await clock.advance(ms);
  return promise;
}
