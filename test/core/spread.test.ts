// S7 in the core: the slots of tokens, the windows of selectors, and what they mean for what was fetched.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { currentnessOf, currentUntilMs, isSettled } from '../../src/core/currentness.ts';
import { type Entry, revision } from '../../src/core/invalidation.ts';
import { type Coverable, type Covering, InvalidationIndex, uncovered } from '../../src/core/invalidation-index.ts';
import type { Condition, Selector } from '../../src/core/selector.ts';
import { placeOf, type Slot, withoutNeedless } from '../../src/core/spread.ts';
import { createTagger } from '../../src/core/tag.ts';

const tagger = createTagger([{ id: 'k1', secret: Buffer.alloc(32, 1) }]);
const settleMs = 2000;
const windowMs = 30_000;

const those = (...conditions: Condition[]): Selector => ({ kind: 'fit', issuer: 'i', conditions });
const everything: Selector = { kind: 'everything', issuer: 'i' };
const entryOf = (selector: Selector, more: Partial<Entry> = {}): Entry => ({
  id: 'e',
  effect: 'REFRESH',
  selector,
  alsoRefreshes: false,
  learnedAtMs: 0,
  forgetAtMs: Infinity,
  keyId: 'k1',
  origin: { source: 'central/bus' },
  ...more,
});
const wide = (selector: Selector = everything, spreadMs = windowMs): Entry => entryOf(selector, { spreadMs });

/** A token of `i` on a project, with a role; its place in every window is `place`. */
const tokenAt = (place: number): Coverable => ({
  attributes: tagger.attributes(
    'i',
    [
      { dimension: 'everything', value: 'everything' },
      { dimension: 'issuer', value: 'i' },
      { dimension: 'user', value: 'u' },
      { dimension: 'project', value: 'p' },
      { dimension: 'role', value: 'r' },
      { dimension: 'group', value: undefined },
    ],
    [],
  ),
  issuedAtMs: 5000,
  canAsk: true,
  fingerprint: Math.floor(place * 2 ** 32)
    .toString(16)
    .padStart(8, '0')
    .concat('0'.repeat(24)),
});

type Applied = readonly [appliedMs: number, entry: Entry];
const indexOf = (applied: readonly Applied[]): InvalidationIndex => {
  const index = new InvalidationIndex(tagger, { settleMs, wideWindowMs: windowMs });
  applied.forEach(([appliedMs, entry], at) => {
    index.add({ revision: revision(at + 1), entry }, appliedMs);
  });
  return index;
};
const slotsOf = (applied: readonly Applied[], place: number): readonly Slot[] => indexOf(applied).covering(tokenAt(place)).slots;

describe('S7 a token’s place in a window', () => {
  it('is made of the first 32 bits of its fingerprint, from 0 to just below 1', () => {
    expect([placeOf('00000000ffff'), placeOf('80000000'), placeOf('ffffffff0000')]).toEqual([0, 0.5, 1 - 2 ** -32]);
    expect(placeOf(undefined)).toBe(0);
  });
});

describe('S7 a WIDE REFRESH', () => {
  it('is due for each token at its place between settling and the end of the window, and satisfied by what began after settling', () => {
    const due = (place: number): unknown => slotsOf([[100_000, wide()]], place);
    expect(due(0)).toEqual([{ dueMs: 102_000, satisfiedFromMs: 102_000, blocks: false }]);
    expect(due(0.5)).toEqual([{ dueMs: 116_000, satisfiedFromMs: 102_000, blocks: false }]);
    expect(slotsOf([[100_000, wide()]], 1 - 2 ** -32)[0]?.dueMs).toBeLessThan(130_000);
  });

  it('leaves the precise part of what covers a token as it was, and concerns no other tokens', () => {
    const index = indexOf([[100_000, wide(those({ dimension: 'user', value: 'u' }))]]);
    expect(index.covering(tokenAt(0))).toMatchObject({ revoked: undefined, refreshRevision: 0, broadRevision: 0 });
    const other = tagger.attributes('i', [{ dimension: 'user', value: 'other' }], []);
    expect(index.covering({ ...tokenAt(0), attributes: other })).toBe(uncovered);
  });

  it('over a dimension that the facts do not tell concerns the token', () => {
    expect(slotsOf([[100_000, wide(those({ dimension: 'group', value: 'g' }))]], 0.5)).toHaveLength(1);
  });

  it('of a window that is shorter than settling is due when that is over', () => {
    for (const spreadMs of [0, 500, settleMs]) {
      expect(slotsOf([[100_000, wide(everything, spreadMs)]], 0.7)).toEqual([{ dueMs: 102_000, satisfiedFromMs: 102_000, blocks: false }]);
    }
  });

  it('that comes while a window runs waits for its end, and with it all that come until then, as one', () => {
    const applied: Applied[] = [100_000, 110_000, 129_999].map((ms) => [ms, wide()]);
    expect(slotsOf(applied, 0.5)).toEqual([
      { dueMs: 116_000, satisfiedFromMs: 102_000, blocks: false },
      { dueMs: 146_000, satisfiedFromMs: 131_999, blocks: false },
    ]);
  });

  it('that comes when the window has ended begins one of its own; who was not asked for since the first stays due', () => {
    expect(
      slotsOf(
        [
          [100_000, wide()],
          [130_000, wide()],
        ],
        0.5,
      ),
    ).toEqual([
      { dueMs: -Infinity, satisfiedFromMs: 102_000, blocks: false },
      { dueMs: 146_000, satisfiedFromMs: 132_000, blocks: false },
    ]);
  });

  it('that is told twice counts once', () => {
    const index = indexOf([[100_000, wide()]]);
    index.add({ revision: revision(1), entry: wide() }, 120_000);
    expect(index.covering(tokenAt(0))).toEqual(indexOf([[100_000, wide()]]).covering(tokenAt(0)));
  });

  it('with a shorter window than the one that runs shortens it, and postpones nobody', () => {
    const [first, second] = slotsOf(
      [
        [100_000, wide(everything, 60_000)],
        [110_000, wide(everything, 20_000)],
      ],
      0.5,
    );
    expect(first).toEqual({ dueMs: 111_000, satisfiedFromMs: 102_000, blocks: false });
    expect(second).toEqual({ dueMs: 131_000, satisfiedFromMs: 112_000, blocks: false });
  });

  it('that is a REVOKE’s kills at once what was issued until then, and has the others fetched at their slots', () => {
    const index = indexOf([
      [100_000, entryOf(everything, { effect: 'REVOKE', issuedBeforeMs: 5000, alsoRefreshes: true, spreadMs: windowMs })],
    ]);
    expect(index.covering(tokenAt(0.5)).revoked?.revision).toBe(1);
    expect(index.covering({ ...tokenAt(0.5), issuedAtMs: 6000 })).toMatchObject({
      revoked: undefined,
      refreshRevision: 0,
      slots: [{ dueMs: 116_000 }],
    });
  });

  it('of an unusual form has windows of its own', () => {
    const odd = those({ dimension: 'user', value: 'u' }, { dimension: 'project', value: 'p' }, { dimension: 'role', value: 'r' });
    expect(slotsOf([[100_000, wide(odd)]], 0.5)).toEqual([{ dueMs: 116_000, satisfiedFromMs: 102_000, blocks: false }]);
  });

  it('S3 is also what another version wrote and nobody here understands', () => {
    const { slots, refreshRevision } = indexOf([[100_000, entryOf(everything, { inPart: {} })]]).covering(tokenAt(0.5));
    expect([slots, refreshRevision]).toEqual([[{ dueMs: 116_000, satisfiedFromMs: 102_000, blocks: false }], 0]);
    const some = indexOf([[100_000, entryOf(those({ dimension: 'user', value: 'u' }), { inPart: {} })]]).covering(tokenAt(0.5));
    expect([some.slots, some.refreshRevision]).toEqual([[], 1]);
  });

  it('is forgotten with its entry', () => {
    const index = indexOf([[100_000, entryOf(everything, { spreadMs: windowMs, forgetAtMs: 100 })]]);
    for (let pass = 0; pass < 16; pass += 1) index.sweep(500);
    expect(index.covering(tokenAt(0))).toBe(uncovered);
  });
});

describe('S7 a broad REFRESH', () => {
  const project = { dimension: 'project', value: 'p' } as const;
  const role = { dimension: 'role', value: 'r' } as const;
  const user = { dimension: 'user', value: 'u' } as const;

  it.each([
    ['a project', [project]],
    ['a role', [role]],
    ['a group that is not told', [{ dimension: 'group', value: 'g' } as const]],
    ['a project and a role', [project, role]],
    ['a project, a role and a group', [project, role, { dimension: 'group', value: 'g' } as const]],
  ])('by %s is not precise: it has a slot, which blocks', (_what, conditions) => {
    const covering = indexOf([[100_000, entryOf(those(...conditions))]]).covering(tokenAt(0.5));
    expect(covering).toEqual({
      ...uncovered,
      broadRevision: 1,
      broadAppliedMs: 100_000,
      slots: [{ dueMs: 116_000, satisfiedFromMs: 102_000, blocks: true }],
    });
  });

  it.each([
    ['a user and a project', [user, project]],
    ['a user and a role', [user, role]],
    ['a user, a project and a role', [user, project, role]],
  ])('by %s is precise', (_what, conditions) => {
    const covering = indexOf([[100_000, entryOf(those(...conditions))]]).covering(tokenAt(0.5));
    expect(covering).toEqual({ ...uncovered, refreshRevision: 1, refreshAppliedMs: 100_000 });
  });

  it('everything is precise: who says that means it', () => {
    expect(indexOf([[100_000, entryOf(everything)]]).covering(tokenAt(0.5))).toMatchObject({ refreshRevision: 1, slots: [] });
  });

  it('a REVOKE that may fit is precise, whatever its selector', () => {
    const revoke = entryOf(those({ dimension: 'group', value: 'g' }), { effect: 'REVOKE', issuedBeforeMs: 9000 });
    expect(indexOf([[100_000, revoke]]).covering(tokenAt(0.5))).toMatchObject({ refreshRevision: 1, broadRevision: 0, slots: [] });
  });

  it('and a WIDE one of the same selector keep their windows apart', () => {
    const { slots } = indexOf([
      [100_000, wide(those(project))],
      [110_000, entryOf(those(project))],
    ]).covering(tokenAt(0.5));
    expect(slots).toEqual([
      { dueMs: 126_000, satisfiedFromMs: 112_000, blocks: true },
      { dueMs: 116_000, satisfiedFromMs: 102_000, blocks: false },
    ]);
  });
});

describe('what was fetched', () => {
  const covering = (part: Partial<Covering>): Covering => ({ ...uncovered, ...part });
  const began = (monotonicMs: number, at = 5): { readonly revision: number; readonly monotonicMs: number } => ({
    revision: at,
    monotonicMs,
  });
  const slot = (dueMs: number, satisfiedFromMs: number, blocks = false): Slot => ({ dueMs, satisfiedFromMs, blocks });

  it.each([
    ['nothing covers it', began(0), covering({}), 100, 'current'],
    ['a precise one has come since', began(0), covering({ refreshRevision: 6, refreshAppliedMs: 50 }), 100, 'stale'],
    ['it is provisional', began(60), covering({ refreshRevision: 5, refreshAppliedMs: 50 }), 100, 'current'],
    ['it was provisional', began(60), covering({ refreshRevision: 5, refreshAppliedMs: 50 }), 2050, 'stale'],
    ['a broad one has come since', began(0), covering({ broadRevision: 6, broadAppliedMs: 50 }), 100, 'yielding'],
    ['it was provisional for a broad one', began(60), covering({ broadRevision: 5, broadAppliedMs: 50 }), 2050, 'yielding'],
    ['its slot has not come', began(0), covering({ slots: [slot(5000, 2050)] }), 4999, 'current'],
    ['its slot has come', began(0), covering({ slots: [slot(5000, 2050)] }), 5000, 'due'],
    ['it was provisional for a WIDE one', began(2049), covering({ slots: [slot(5000, 2050)] }), 5000, 'due'],
    ['it satisfies the slot', began(2050), covering({ slots: [slot(5000, 2050)] }), 5000, 'current'],
    [
      'the slot of a broad one has come',
      began(0),
      covering({ broadRevision: 6, broadAppliedMs: 50, slots: [slot(5000, 2050, true)] }),
      5000,
      'overdue',
    ],
    ['one slot has come, and a broad one has not', began(0), covering({ broadRevision: 6, slots: [slot(50, 40)] }), 60, 'overdue'],
    ['a precise one over all', began(0), covering({ refreshRevision: 6, slots: [slot(50, 40)] }), 60, 'stale'],
  ] as const)('%s', (_what, fetched, covered, nowMs, wanted) => {
    expect(currentnessOf(fetched, covered, { nowMs, settleMs })).toBe(wanted);
  });

  it('by a signature is never provisional', () => {
    expect(currentnessOf(began(60), covering({ refreshRevision: 5, refreshAppliedMs: 50 }), { nowMs: 9000, settleMs: 0 })).toBe('current');
  });

  it('stays current until its window or its slot, whichever is first, and is settled when nothing can end it', () => {
    const covered = covering({ refreshRevision: 5, refreshAppliedMs: 50, broadRevision: 4, broadAppliedMs: 40, slots: [slot(1500, 3000)] });
    expect([currentUntilMs(began(60), covered, settleMs), isSettled(began(60), covered, settleMs)]).toEqual([1500, false]);
    expect([currentUntilMs(began(2050), covered, settleMs), isSettled(began(2050), covered, settleMs)]).toEqual([1500, false]);
    expect([currentUntilMs(began(3000), covered, settleMs), isSettled(began(3000), covered, settleMs)]).toEqual([Infinity, true]);
    expect(isSettled(began(3000, 4), covered, settleMs)).toBe(false);
  });

  it('needless slots are those that another one includes', () => {
    const [early, late, equal] = [slot(10, 50), slot(20, 50), slot(10, 50)];
    expect(withoutNeedless([late, early, equal])).toEqual([early]);
    expect(withoutNeedless([slot(10, 50), slot(20, 60)])).toHaveLength(2);
    expect(withoutNeedless([slot(10, 50), slot(20, 50, true)])).toHaveLength(2);
  });
});

describe('S7 the windows agree with the model', () => {
  /** Each window that there is, one after the other; what comes while one runs belongs to the next. */
  const modelOf = (arrivals: readonly number[]): readonly { readonly startMs: number; readonly newsMs: number }[] => {
    const windows: { startMs: number; newsMs: number }[] = [];
    for (const arrivalMs of arrivals) {
      const last = windows.at(-1);
      if (!last || arrivalMs >= last.startMs + windowMs) windows.push({ startMs: arrivalMs, newsMs: arrivalMs });
      else if (arrivalMs < last.startMs) last.newsMs = arrivalMs;
      else windows.push({ startMs: last.startMs + windowMs, newsMs: arrivalMs });
    }
    return windows;
  };
  const isDueByModel = (arrivals: readonly number[], { place, beganMs, nowMs }: Look): boolean =>
    modelOf(arrivals).some(
      ({ startMs, newsMs }) => beganMs < newsMs + settleMs && nowMs >= startMs + settleMs + place * (windowMs - settleMs),
    );
  interface Look {
    readonly place: number;
    readonly beganMs: number;
    readonly nowMs: number;
  }
  const isDue = (index: InvalidationIndex, { place, beganMs, nowMs }: Look): boolean => {
    const judged = currentnessOf({ revision: 1e9, monotonicMs: beganMs }, index.covering(tokenAt(place)), { nowMs, settleMs });
    return judged !== 'current';
  };
  const history = fc
    .array(fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 0, max: 100_000 })), { minLength: 1, maxLength: 12 })
    .map((gaps) => {
      let nowMs = 50_000;
      return gaps.map((gap) => {
        nowMs += gap;
        return nowMs;
      });
    });
  const look = fc.record({
    place: fc.constantFrom(0, 0.001, 0.25, 0.5, 0.999, 1 - 2 ** -32),
    ago: fc.integer({ min: 0, max: 200_000 }),
    later: fc.integer({ min: 0, max: 200_000 }),
  });

  it.each([
    ['WIDE', everything, windowMs],
    ['broad', those({ dimension: 'project', value: 'p' }), undefined],
  ])('of %s ones for random histories, looked at after each of them', (_what, selector, spreadMs) => {
    fc.assert(
      fc.property(history, fc.array(look, { minLength: 1, maxLength: 6 }), (arrivals, looks) => {
        const index = new InvalidationIndex(tagger, { settleMs, wideWindowMs: windowMs });
        arrivals.forEach((appliedMs, at) => {
          const entry = entryOf(selector, spreadMs === undefined ? {} : { spreadMs });
          index.add({ revision: revision(at + 1), entry }, appliedMs);
          for (const { place, ago, later } of looks) {
            const nowMs = appliedMs + later;
            const one = { place, nowMs, beganMs: nowMs - ago };
            const isBroadly = spreadMs === undefined && appliedMs + settleMs > one.beganMs && nowMs >= appliedMs + settleMs;
            expect(isDue(index, one)).toBe(isBroadly || isDueByModel(arrivals.slice(0, at + 1), one));
          }
        });
      }),
      { numRuns: 1000 },
    );
  });

  it('everything is done within two windows of its arrival, nobody is postponed by what comes later, and nobody is asked too early', () => {
    fc.assert(
      fc.property(history, look, (arrivals, { place, ago, later }) => {
        const wides = arrivals.map((ms): Applied => [ms, wide()]);
        arrivals.forEach((arrivalMs, at) => {
          const sofar = indexOf(wides.slice(0, at + 1));
          const doneMs = arrivalMs + 2 * windowMs;
          // Whatever has been fetched too early is due by then, and what began when settling was over is not due by this one.
          expect(isDue(sofar, { place, beganMs: arrivalMs + settleMs - 1, nowMs: doneMs })).toBe(true);
          expect(isDue(sofar, { place, beganMs: arrivalMs + settleMs, nowMs: doneMs + later })).toBe(false);
          const nowMs = arrivalMs + later;
          const one = { place, beganMs: nowMs - ago, nowMs };
          if (!isDue(sofar, one)) return;
          expect(isDue(indexOf(wides), one)).toBe(true);
          // What is fetched when it is due is settled: no slot has it fetched twice for one WIDE.
          expect(isDue(sofar, { place, beganMs: nowMs, nowMs })).toBe(false);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('a token that is always asked for is fetched once a window and WIDE at the most', () => {
    fc.assert(
      fc.property(history, fc.constantFrom(0, 0.3, 0.999), (arrivals, place) => {
        const endMs = (arrivals.at(-1) ?? 0) + 3 * windowMs;
        let beganMs = 0;
        let fetches = 0;
        const index = indexOf([]);
        let come = 0;
        for (let nowMs = 50_000; nowMs < endMs; nowMs += 500) {
          for (const arrivalMs of arrivals.slice(come).filter((ms) => ms <= nowMs)) {
            come += 1;
            index.add({ revision: revision(come), entry: wide() }, arrivalMs);
          }
          if (!isDue(index, { place, beganMs, nowMs })) continue;
          beganMs = nowMs;
          fetches += 1;
        }
        expect(fetches).toBeLessThanOrEqual(Math.min(arrivals.length, Math.ceil((endMs - 50_000) / windowMs)));
        expect(fetches).toBeGreaterThanOrEqual(1);
      }),
      { numRuns: 60 },
    );
  });
});
