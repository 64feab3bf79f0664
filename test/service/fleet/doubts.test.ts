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

const sound = (...sidecars: readonly Sidecar[]) => stage.until(() => sidecars.every((sidecar) => sidecar.reasons().length === 0));

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

describe('an entry of a fleet, S14', () => {
  const all = (sidecars: readonly Sidecar[], user: string) => async (): Promise<boolean> =>
    (await Promise.all(sidecars.map((sidecar) => sidecar.hasKilled(user)))).every(Boolean);

  it('is another one on another sidecar, also under the same request id in the same second', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    const [one, two] = sidecars;
    const ask = (sidecar: Sidecar | undefined, user: string) => {
      const selector = { kind: 'fit' as const, issuer: 'central', conditions: [{ dimension: 'user' as const, value: user }] };
      const draft = { effect: 'REVOKE' as const, selector, issuedBeforeMs: 0, lifeMs: 86_400_000, origin: { source: 'rpc' } };
      // Of a caller that counts its requests, and of which there are two.
      return sidecar?.invalidations.append(draft, { caller: 'socket', requestId: '1', body: user });
    };
    await Promise.all([ask(one, 'alice'), ask(two, 'bob')]);
    await stage.until(all(sidecars, 'alice'), 5_000);
    await stage.until(all(sidecars, 'bob'), 5_000);
  });
});
