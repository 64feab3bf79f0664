// What a journal keeps of its newest entries: it answers as the disk does, or leaves it to the disk.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { revision } from '../../src/core/invalidation.ts';
import { openLevelJournal } from '../../src/journal/leveldb.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { Recent } from '../../src/journal/recent.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { entryOf, learnedAtMs } from './entries.ts';

/** An id of ours, of that second and number. */
const idOf = (second: number, n: number): string => second.toString(16).padStart(8, '0') + n.toString(16).padStart(32, '0');
const placed = (at: number, id: string) => ({ revision: revision(at), entry: entryOf({ id }) });

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sidegate-recent-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe('ids', () => {
  it('in a journal that was empty each is known, and what was not written is nowhere', () => {
    const recent = new Recent(0, undefined);
    recent.add(placed(1, idOf(100, 1)));
    expect([recent.placeOf(idOf(100, 1)), recent.placeOf(idOf(100, 2)), recent.placeOf(idOf(0, 1))]).toEqual([1, 'nowhere', 'nowhere']);
  });

  it('of the second of the newest that was there, and of those before it, the disk is asked', () => {
    const recent = new Recent(7, idOf(100, 1));
    recent.add(placed(8, idOf(99, 5)));
    const found = [idOf(99, 5), idOf(100, 1), idOf(100, 2), idOf(101, 0)].map((id) => recent.placeOf(id));
    expect(found).toEqual([undefined, undefined, undefined, 'nowhere']);
  });

  it('that are not ours are left to the disk, and so is everything where one of them is the newest', () => {
    const recent = new Recent(0, undefined);
    recent.add(placed(1, 'one of another version'));
    expect(recent.placeOf('one of another version')).toBeUndefined();
    expect(new Recent(1, 'one of another version').placeOf(idOf(2 ** 31, 1))).toBeUndefined();
  });

  it('beyond 32,768 the oldest are left to the disk, with all of their second', () => {
    const recent = new Recent(0, undefined);
    for (let n = 1; n <= 32_768; n += 1) recent.add(placed(n, idOf(100 + Math.floor(n / 1_000), n)));
    expect([recent.placeOf(idOf(100, 1)), recent.placeOf(idOf(100, 0))]).toEqual([1, 'nowhere']);
    recent.add(placed(32_769, idOf(200, 1)));
    const found = [idOf(100, 1), idOf(100, 2), idOf(100, 0), idOf(101, 1_000), idOf(101, 0)].map((id) => recent.placeOf(id));
    expect(found).toEqual([undefined, undefined, undefined, 1_000, 'nowhere']);
  });

  it('make room one by one, the oldest first, however many have', () => {
    const recent = new Recent(0, undefined);
    for (let n = 0; n < 150_000; n += 1) recent.add(placed(n + 1, idOf(100 + n, n)));
    const first = 150_000 - 32_768;
    expect([first - 1, first, 149_999].map((n) => recent.placeOf(idOf(100 + n, n)))).toEqual([undefined, first + 1, 150_000]);
    expect(recent.placeOf(idOf(100 + first, 1))).toBe('nowhere');
  });

  it('that are written twice are where they were written first', () => {
    const recent = new Recent(0, undefined);
    recent.add(placed(1, idOf(100, 1)));
    recent.add(placed(2, idOf(100, 1)));
    expect(recent.placeOf(idOf(100, 1))).toBe(1);
  });
});

describe('entries', () => {
  it('are read from where it reaches back to, at most 1,024 of them', () => {
    const recent = new Recent(10, undefined);
    expect([recent.read(revision(9), 5), recent.read(revision(10), 5)]).toEqual([undefined, []]);
    for (let n = 11; n <= 1_034; n += 1) recent.add(placed(n, idOf(1, n)));
    expect(recent.read(revision(10), 2)?.map((one) => one.revision)).toEqual([11, 12]);
    recent.add(placed(1_035, idOf(1, 1_035)));
    expect([recent.read(revision(10), 2), recent.at(revision(11)), recent.at(revision(12))?.revision]).toEqual([undefined, undefined, 12]);
  });

  it('that may have been forgotten are left to the disk', () => {
    const recent = new Recent(0, undefined);
    recent.add(placed(1, idOf(1, 1)));
    recent.forget(1);
    expect([recent.read(revision(0), 5), recent.at(revision(1)), recent.read(revision(1), 5)]).toEqual([undefined, undefined, []]);
  });
});

describe('a journal on disk with it', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('append' as const), second: fc.nat(5), n: fc.nat(3), lifeMs: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('compact' as const), atMs: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('open' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('skip' as const), by: fc.nat(3) }) },
  );

  it('answers as one in memory, whatever is appended, compacted and opened again', async () => {
    let dirs = 0;
    const histories = fc.array(step, { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(histories, async (steps) => {
        dirs += 1;
        const dir = join(root, String(dirs));
        const clock = createFakeClock(learnedAtMs);
        const model = createMemoryJournal({ clock });
        let journal = await openLevelJournal({ dir, clock });
        for (const one of steps) {
          if (one.kind === 'append') {
            const entry = entryOf({ id: idOf(one.second, one.n), forgetAtMs: learnedAtMs + one.lifeMs });
            await Promise.all([journal.append(entry), model.append(entry)]);
          } else if (one.kind === 'compact') {
            await Promise.all([journal, model].map((each) => each.compact({ nowMs: learnedAtMs + one.atMs, floorMs: 0 })));
          } else if (one.kind === 'skip') {
            await Promise.all([journal, model].map((each) => each.skipTo(revision(each.head() + one.by))));
          } else {
            await journal.close();
            journal = await openLevelJournal({ dir, clock });
          }
          const ids = Array.from({ length: 24 }, (_, n) => idOf(Math.floor(n / 4), n % 4));
          const found = (each: typeof journal) => Promise.all(ids.map((id) => each.find(id)));
          expect(await found(journal)).toEqual(await found(model));
          for (let from = 0; from <= journal.head(); from += 1) {
            expect(await journal.read(revision(from), 3)).toEqual(await model.read(revision(from), 3));
          }
        }
        await journal.close();
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});
