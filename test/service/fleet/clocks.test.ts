// Clocks of a fleet held against each other: whose is off says so, and nobody else does (S1).

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Presence, recordKeyOf, sealRecord } from '../../../src/core/fleet-record.ts';
import { Clocks } from '../../../src/service/fleet/clocks.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { usualKey } from '../road.ts';
import { createStage, maxLagMs, type Sidecar, type Stage } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = createStage();
});
afterEach(() => stage.close());

const skewMs = 2_000;
const begin = async (...aheadMs: readonly number[]): Promise<readonly Sidecar[]> => {
  const sidecars = await Promise.all(aheadMs.map((ms, n) => stage.start(`number ${n}`, { aheadMs: ms })));
  await stage.until(() => sidecars.every(({ fleet }) => fleet.isCaughtUp));
  await stage.clock.advance(6_000);
  return sidecars;
};
const reasonsOf = (sidecars: readonly Sidecar[]): readonly string[] => sidecars.map((sidecar) => sidecar.reasons().join());
const repeated = (count: number, text: string): readonly string[] => Array.from({ length: count }, () => text);

describe('S1 clocks of a fleet', () => {
  it.each([
    ['all right', [0, 0, 0], ['', '', '']],
    ['apart by as much as they may be', [0, skewMs, 0], ['', '', '']],
    ['one ahead', [0, skewMs + 100, 0], ['', 'CLOCK', '']],
    ['one behind', [0, 0, -skewMs - 1_200], ['', '', 'CLOCK']],
    ['of two nobody knows which', [0, 3_600_000], ['CLOCK', 'CLOCK']],
    ['two of four', [0, 0, 60_000, 60_000], ['CLOCK', 'CLOCK', 'CLOCK', 'CLOCK']],
    ['two of five', [0, 60_000, 0, 60_000, 0], ['', 'CLOCK', '', 'CLOCK', '']],
    ['each another one', [0, 60_000, 120_000], ['CLOCK', 'CLOCK', 'CLOCK']],
    ['alone', [60_000], ['']],
  ])('%s', async (_what, aheadMs, reasons) => {
    expect(reasonsOf(await begin(...aheadMs))).toEqual(reasons);
  });

  it('one liar degrades nobody of twenty but itself', async () => {
    const reasons = reasonsOf(await begin(-3_600_000, ...Array.from({ length: 19 }, () => 0)));
    expect(reasons).toEqual(['CLOCK', ...repeated(19, '')]);
  });

  it('one that is set while it runs says so, and no longer when it is right again', async () => {
    const sidecars = await begin(0, 0, 0);
    sidecars[1]?.setClock(600_000);
    await stage.until(() => sidecars[1]?.reasons().includes('CLOCK') === true, 6_000);
    sidecars[1]?.setClock(0);
    await stage.until(() => reasonsOf(sidecars).join('') === '', maxLagMs + 6_000);
    expect(sidecars[1]?.telemetry.lines.filter(({ fields }) => fields['from'] === 'fleet')).toMatchObject([
      { level: 'warn', fields: { offsetMs: expect.any(Number), known: 2, apart: 2 } },
      { level: 'info' },
    ]);
  });

  it('what is read late says nothing: of one that was away, and of one that was stopped', async () => {
    const sidecars = await begin(0, 0);
    const [one, two] = sidecars;
    two?.engine.freeze();
    await stage.clock.advance(maxLagMs / 2 - 1_000);
    two?.engine.thaw();
    await stage.clock.advance(5_000);
    stage.log.hang();
    await stage.clock.advance(60_000);
    stage.log.start();
    await stage.until(() => reasonsOf(sidecars).join('') === '');
    const said = [one, two].flatMap((sidecar) => sidecar?.telemetry.lines.filter(({ fields }) => fields['reason'] === 'CLOCK') ?? []);
    expect(said).toEqual([]);
  });

  it('a machine that has slept does not take what it finds for clocks that are behind', async () => {
    const clock = createFakeClock();
    let isOff: boolean | undefined;
    const judged = (is: boolean): void => {
      isOff = is;
    };
    const clocks = new Clocks({ clock, members: { isPresent: () => true }, skewMs, maxLagMs, judged });
    const common = { journal: 'other', name: 'other', run: 'r', head: 0, isWhole: true, answers: [], calls: [] };
    const hear = (): void => {
      for (let turn = 1; turn <= 3; turn += 1) clocks.saw({ ...common, turn, atMs: clock.nowMs() - 30_000 });
    };
    clocks.cameBack(clock.monotonicMs());
    clock.stepWall(30_000);
    hear();
    clocks.cameBack(clock.monotonicMs());
    expect(isOff).toBe(false);
    // What stands behind a sign of life that is as young as this is behind.
    hear();
    clocks.cameBack(clock.monotonicMs());
    expect(isOff).toBe(true);
  });

  it('one that is gone counts no longer, and one that looked off once never did', async () => {
    const [one] = await begin(0);
    const presence = (turn: number, atMs: number): void => {
      const common = { journal: 'other', name: 'other', run: 'r', head: 0, isWhole: true, answers: [], calls: [] };
      const said: Presence = { ...common, turn, atMs };
      stage.log.append(sealRecord(recordKeyOf(usualKey), { kind: 'presence', presence: said }));
    };
    presence(1, stage.clock.nowMs() + 60_000);
    presence(2, stage.clock.nowMs() + 60_000);
    await stage.clock.advance(2_000);
    expect(one?.reasons()).toEqual([]);
    presence(3, stage.clock.nowMs() + 60_000);
    await stage.until(() => one?.reasons().includes('CLOCK') === true, 2_000);
    await stage.until(() => one?.reasons().length === 0, 2 * maxLagMs + 2_000);
  });
});
