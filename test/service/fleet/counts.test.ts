// Records that are counted: what the log had for sure and did not give is noticed, and what may never have got there is not missed.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Count, openRecord, recordKeyOf } from '../../../src/core/fleet-record.ts';
import { Appending } from '../../../src/service/fleet/appending.ts';
import { Counts } from '../../../src/service/fleet/counts.ts';
import { usualKey } from '../road.ts';

const key = recordKeyOf(usualKey);
const of = (link: number, nth: number, sure: number, before?: Count['before']): Count => {
  return { run: 'r', link, nth, sure, ...(before ? { before } : {}) };
};
const lostAt = (records: readonly Count[]): readonly number[] => {
  const counts = new Counts();
  return records.flatMap((count, at) => (counts.saw(count) ? [at] : []));
};

describe('S14 records of another that are missing', () => {
  it.each<[string, readonly Count[], readonly number[]]>([
    ['none is, in the middle of a run that nobody has heard of', [of(1, 7, 5), of(1, 8, 7)], []],
    ['one that the log had for sure is missed at the next one that says so', [of(1, 1, 0), of(1, 3, 1), of(1, 4, 2)], [2]],
    ['one that may never have got there is not', [of(1, 1, 0), of(1, 3, 1), of(1, 4, 1)], []],
    ['read twice they say nothing', [of(1, 1, 0), of(1, 2, 1), of(1, 1, 0), of(1, 2, 1), of(1, 3, 2)], []],
    ['the last ones of a connection', [of(1, 1, 0), of(2, 1, 0, { link: 1, sure: 2 })], [1]],
    ['all of a connection', [of(1, 1, 0), of(3, 1, 0, { link: 2, sure: 1 })], [1]],
    ['the first ones of a connection', [of(1, 1, 0), of(2, 2, 1, { link: 1, sure: 1 })], [1]],
    ['none of a connection that the log never had anything of', [of(1, 1, 0), of(3, 1, 0, { link: 1, sure: 1 })], []],
    [
      'none, behind a connection of which nobody knows',
      [of(1, 1, 0), of(2, 2, 0, { link: 1, sure: 1 }), of(3, 1, 0, { link: 1, sure: 1 })],
      [],
    ],
    ['once, and then it goes on', [of(1, 1, 0), of(1, 5, 4), of(1, 6, 5)], [1]],
  ])('%s', (_what, records, lost) => {
    expect(lostAt(records)).toEqual(lost);
  });

  it('are sure behind one that the log refused, though the connection stands', async () => {
    const told: (Count | undefined)[] = [];
    const writer = new Appending(key).over({
      signal: new AbortController().signal,
      read: () => Promise.resolve(),
      append: async (bytes) => {
        told.push(openRecord([key], bytes).count);
        if (told.length === 2) throw new Error('refused');
      },
    });
    for (let nth = 0; nth < 4; nth += 1) await writer.append({ kind: 'polled', polled }).catch(() => undefined);
    const before = { link: 1, sure: 1 };
    expect(told.slice(2)).toMatchObject([of(2, 1, 0, before), of(2, 2, 1, before)].map(({ run, ...count }) => count));
  });

  it('are told of once: those of others, and those that the log gives again, say nothing', () => {
    const counts = new Counts();
    const [one, other] = [
      { ...of(1, 1, 0), run: 'a' },
      { ...of(1, 1, 0), run: 'b' },
    ];
    const behind = { nth: 3, sure: 2 };
    const lost = [one, other, { ...one, ...behind }].map((count) => counts.saw(count));
    counts.goOn();
    const again = [{ ...other, ...behind }, one, other, { ...one, ...behind }, { ...other, ...behind }].map((count) => counts.saw(count));
    const next = [
      { ...one, nth: 4, sure: 3 },
      { ...one, nth: 6, sure: 5 },
    ].map((count) => counts.saw(count));
    expect([lost, again, next]).toEqual([
      [false, false, true],
      [false, false, false, false, false],
      [false, true],
    ]);
  });

  it('are told of in whatever way they were lost, and never where none was', async () => {
    /** Each link's appends: `true` the log takes and confirms, `false` it may or may not have; and which of all are lost later. */
    const links = fc.array(fc.array(fc.record({ isSure: fc.boolean(), isThere: fc.boolean() }), { maxLength: 6 }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(links, fc.nat({ max: 40 }), fc.nat({ max: 4 }), async (all, from, length) => {
        const log: { readonly count: Count; readonly isSure: boolean }[] = [];
        const appending = new Appending(key);
        for (const appends of [...all, [{ isSure: true, isThere: true }]]) {
          let nth = 0;
          const writer = appending.over({
            signal: new AbortController().signal,
            read: () => Promise.resolve(),
            append: (bytes) => {
              const one = appends[nth] ?? { isSure: true, isThere: true };
              nth += 1;
              const record = openRecord([key], bytes);
              if (record.count && (one.isSure || one.isThere)) log.push({ count: record.count, isSure: one.isSure });
              return one.isSure ? Promise.resolve() : Promise.reject(new Error('nobody knows'));
            },
          });
          for (const _one of appends) await writer.append({ kind: 'polled', polled }).catch(() => undefined);
        }
        const lost = log.slice(from, from + length);
        const left = log.filter((one) => !lost.includes(one));
        const counts = new Counts();
        const isTold = left.map(({ count }) => counts.saw(count)).includes(true);
        // Before all that is left nobody knows of anything; at the end one that is sure has been appended.
        const isBetween = from > 0 && from + length < log.length;
        const mustTell = isBetween && lost.some(({ isSure }, at) => isSure && isProvable(log, from + at));
        expect(isTold || !mustTell).toBe(true);
        if (!lost.some(({ isSure }) => isSure)) expect(isTold).toBe(false);
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});

/** Something behind it says that the log had it. */
function isProvable(log: readonly { readonly count: Count }[], at: number): boolean {
  const one = log[at]?.count;
  return log.slice(at + 1).some(({ count: { link, sure, before } }) => {
    return one !== undefined && ((link === one.link && sure >= one.nth) || (before?.link === one.link && before.sure >= one.nth));
  });
}

const polled = { journal: 'j', issuer: 'i', source: 's', atMs: 0, tookMs: 0, sinceMs: 0, fromMs: 0, throughMs: 0, after: 0 };
