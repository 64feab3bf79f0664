// What is never said too soon: that the whole fleet has an entry, while records come twice, processes begin, and connections end.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Presence, recordKeyOf, sealRecord } from '../../../src/core/fleet-record.ts';
import type { Revision } from '../../../src/core/invalidation.ts';
import type { Reached } from '../../../src/service/fleet/fleet.ts';
import { usualKey } from '../road.ts';
import { createStage, maxLagMs, type Sidecar, type Stage } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = createStage();
});
afterEach(() => stage.close());

/** A sign of life of a sidecar that this test plays. */
const sealed = (more: Partial<Presence> = {}): Uint8Array => {
  const common = { journal: 'other', name: 'other', run: 'r2', turn: 1, head: 0, isWhole: true, answers: [], calls: [] };
  return sealRecord(recordKeyOf(usualKey), { kind: 'presence', presence: { ...common, atMs: stage.clock.nowMs(), ...more } });
};

/** How far it is said to be; undefined: whoever asks still waits. */
const reaching = (sidecar: Sidecar, wanted: Revision) => {
  const asked: { reached?: Reached } = {};
  void sidecar.fleet.reach(wanted, 'fleet', new AbortController().signal).then((reached) => {
    asked.reached = reached;
  });
  return asked;
};

describe('the whole fleet, S14', () => {
  it.each([
    ['goodbye', { isLeaving: true as const, turn: 99 }],
    ['sign of life', { turn: 98 }],
  ])('an old %s that is told once more takes nobody away', async (_what, old) => {
    const one = await stage.start('one');
    const before = sealed({ run: 'r1', ...old });
    stage.log.append(before);
    await stage.clock.advance(2 * maxLagMs);
    stage.log.append(sealed());
    await stage.clock.advance(100);
    const { asOf } = await one.revoke('alice');
    const asked = reaching(one, asOf.revision);
    await stage.clock.advance(1_000);
    stage.log.append(before);
    await stage.clock.advance(1_000);
    expect(asked.reached).toBeUndefined();
    await stage.until(() => asked.reached !== undefined, 2 * maxLagMs);
    expect(asked.reached).toMatchObject({ reach: 'fleet' });
  });
});
