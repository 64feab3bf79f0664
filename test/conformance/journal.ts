// What every Journal must do, wherever it keeps its entries.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Entry, type PlacedEntry, revision } from '../../src/core/invalidation.ts';
import type { Journal } from '../../src/ports.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { entryOf, learnedAtMs, refreshOf } from '../journal/entries.ts';

/** Begins a new, empty journal; each test gets one of its own. */
export type BeginJournal = (clock: ReturnType<typeof createFakeClock>) => Promise<Journal>;

/** Runs the suite `name`. */
export function journalConformance(name: string, begin: BeginJournal): void {
  describe(`${name} as a Journal`, () => {
    let journal: Journal;
    beforeEach(async () => {
      journal = await begin(createFakeClock(learnedAtMs));
    });
    afterEach(async () => {
      await journal.close();
    });

    const appendAll = (entries: readonly Entry[]): Promise<PlacedEntry[]> => Promise.all(entries.map((entry) => journal.append(entry)));
    const everything = (): Promise<PlacedEntry[]> => journal.read(revision(0), 10_000);
    const revisions = async (): Promise<number[]> => (await everything()).map((placed) => placed.revision);

    describe('appending', () => {
      it('begins empty, whole, with an id that a cursor can hold', async () => {
        expect([journal.head(), journal.earliest(), journal.count(), await everything()]).toEqual([0, 0, 0, []]);
        expect([journal.corruption, journal.failure(), journal.bornAtMs]).toEqual([undefined, undefined, learnedAtMs]);
        expect(journal.id).toMatch(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/);
      });

      it('gives revisions in the order of the calls, from 1, without a hole', async () => {
        const placed = await appendAll(Array.from({ length: 100 }, (_, n) => entryOf({ id: `n${n}` })));
        expect(placed.map((one) => [one.revision, one.entry.id])).toEqual(Array.from({ length: 100 }, (_, n) => [n + 1, `n${n}`]));
        expect([journal.head(), journal.count()]).toEqual([100, 100]);
      });

      it('goes on above what nobody has, where that is wanted, and is whole all the same', async () => {
        await appendAll([entryOf({ id: 'a' }), entryOf({ id: 'b' })]);
        await journal.skipTo(revision(1_000));
        await journal.skipTo(revision(10));
        expect([journal.head(), journal.count(), await revisions()]).toEqual([1_000, 2, [1, 2]]);
        expect((await journal.append(entryOf({ id: 'c' }))).revision).toBe(1_001);
        expect(await revisions()).toEqual([1, 2, 1_001]);
      });

      it('keeps every field of an entry, and the end of one that never ends', async () => {
        const entry = entryOf({
          id: 'all',
          issuedBeforeMs: 5_000,
          spreadMs: 30_000,
          alsoRefreshes: true,
          from: 'another',
          forgetAtMs: Number.POSITIVE_INFINITY,
        });
        await journal.append(entry);
        expect(await everything()).toEqual([{ revision: 1, entry }]);
      });

      it('shows what is appended as soon as the append has resolved', async () => {
        for (let n = 1; n <= 20; n++) {
          const placed = await journal.append(entryOf({ id: `n${n}` }));
          expect([journal.head(), await journal.read(revision(n - 1), 5)]).toEqual([n, [placed]]);
        }
      });

      it.each([
        { forgetAtMs: Number.NaN },
        { learnedAtMs: Number.NaN },
        { issuedBeforeMs: Number.POSITIVE_INFINITY },
        { spreadMs: Number.NaN },
        { spreadMs: -1 },
      ])('refuses %o, which no journal could order or keep, and goes on', async (wrong) => {
        await expect(journal.append(entryOf({ id: 'wrong', ...wrong }))).rejects.toMatchObject({ reason: 'ENTRY_UNWRITABLE' });
        expect((await journal.append(entryOf({ id: 'right' }))).revision).toBe(1);
      });
    });

    describe('appending once (S14)', () => {
      const once = { key: 'caller/request', digest: 'body' };

      it('answers a retry with the first entry and appends nothing', async () => {
        const first = await journal.append(entryOf({ id: 'first' }), once);
        expect(await journal.append(entryOf({ id: 'retry' }), once)).toEqual(first);
        expect([journal.head(), journal.count(), await journal.find('retry')]).toEqual([1, 1, undefined]);
      });

      it('makes one entry of retries that come together', async () => {
        const placed = await Promise.all(['a', 'b', 'c'].map((id) => journal.append(entryOf({ id }), once)));
        expect(placed.map((one) => [one.revision, one.entry.id])).toEqual([1, 2, 3].map(() => [1, 'a']));
        expect([journal.head(), journal.count()]).toEqual([1, 1]);
      });

      it('refuses the same key with another body, also when both come together, without hurting what comes with them', async () => {
        const results = await Promise.allSettled([
          journal.append(entryOf({ id: 'a' }), once),
          journal.append(entryOf({ id: 'b' }), { ...once, digest: 'other' }),
          journal.append(entryOf({ id: 'c' })),
        ]);
        expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
        await expect(journal.append(entryOf({ id: 'd' }), { ...once, digest: 'third' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
        expect((await everything()).map((placed) => placed.entry.id)).toEqual(['a', 'c']);
      });

      it('forgets a key with its entry', async () => {
        await journal.append(entryOf({ id: 'a', forgetAtMs: learnedAtMs + 1 }), once);
        await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
        expect(await journal.append(entryOf({ id: 'b' }), { ...once, digest: 'other' })).toMatchObject({ revision: 2, entry: { id: 'b' } });
      });
    });

    describe('reading', () => {
      beforeEach(() => appendAll(['a', 'b', 'c', 'd'].map((id) => entryOf({ id }))));

      it('begins after a revision and stops at the limit', async () => {
        expect((await journal.read(revision(1), 2)).map((placed) => placed.revision)).toEqual([2, 3]);
        expect(await journal.read(revision(4), 2)).toEqual([]);
        expect(await journal.read(revision(9), 2)).toEqual([]);
      });

      it('finds an entry by its id and by its revision', async () => {
        expect(await journal.find('c')).toMatchObject({ revision: 3, entry: { id: 'c' } });
        expect(await journal.at(revision(3))).toMatchObject({ revision: 3, entry: { id: 'c' } });
        expect([await journal.find(''), await journal.find('x'), await journal.at(revision(0)), await journal.at(revision(5))]).toEqual(
          Array(4).fill(undefined),
        );
      });

      it('tells ids apart, whatever they are made of', async () => {
        const ids = ['a/', 'a/0000000000000001', 'a%2F', 'a0', '', 'é'];
        await appendAll(ids.map((id) => entryOf({ id })));
        const found = await Promise.all(ids.map((id) => journal.find(id)));
        expect(found.map((placed) => placed?.entry.id)).toEqual(ids);
      });

      it('answers with the first of two entries of one id, and with the other when that is forgotten', async () => {
        await journal.append(entryOf({ id: 'twice', forgetAtMs: learnedAtMs + 1 }));
        await journal.append(entryOf({ id: 'twice' }));
        expect(await journal.find('twice')).toMatchObject({ revision: 5 });
        await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
        expect(await journal.find('twice')).toMatchObject({ revision: 6 });
      });
    });

    describe('compaction (S12)', () => {
      const atEnd = (end: number): { readonly nowMs: number; readonly floorMs: number } => ({ nowMs: learnedAtMs + end, floorMs: 0 });

      it('forgets what ended before now, not what ends now', async () => {
        await appendAll([9, 10, 11].map((end) => entryOf({ id: `end${end}`, forgetAtMs: learnedAtMs + end })));
        expect(await journal.compact(atEnd(10))).toBe(1);
        expect([await revisions(), journal.count(), journal.head()]).toEqual([[2, 3], 2, 3]);
        expect([await journal.find('end9'), await journal.at(revision(1))]).toEqual([undefined, undefined]);
      });

      it('forgets an entry that names one token before older ones, and never gives its revision again', async () => {
        await appendAll([100, 5, 100, 5].map((end, n) => entryOf({ id: `n${n}`, forgetAtMs: learnedAtMs + end })));
        expect(await journal.compact(atEnd(10))).toBe(2);
        expect([await revisions(), journal.head()]).toEqual([[1, 3], 4]);
        expect((await journal.append(entryOf({ id: 'next' }))).revision).toBe(5);
        expect(await journal.read(revision(1), 1)).toMatchObject([{ revision: 3 }]);
      });

      it('never forgets an entry without an end', async () => {
        await journal.append(entryOf({ id: 'endless', forgetAtMs: Number.POSITIVE_INFINITY }));
        expect(await journal.compact({ nowMs: Number.MAX_SAFE_INTEGER, floorMs: 0 })).toBe(0);
        expect(journal.count()).toBe(1);
      });

      it('forgets more than a batch, while appends go on', async () => {
        await appendAll(Array.from({ length: 1_201 }, (_, n) => entryOf({ id: `old${n}`, forgetAtMs: learnedAtMs + 1 })));
        const compacting = journal.compact(atEnd(10));
        const placed = await appendAll(Array.from({ length: 50 }, (_, n) => entryOf({ id: `new${n}` })));
        expect(await compacting).toBe(1_201);
        expect([await everything(), journal.count(), journal.head()]).toEqual([placed, 50, 1_251]);
      });

      it('counts an entry once when two compactions meet', async () => {
        await appendAll(Array.from({ length: 10 }, (_, n) => entryOf({ id: `n${n}`, forgetAtMs: learnedAtMs + 1 })));
        const forgotten = await Promise.all([journal.compact(atEnd(10)), journal.compact(atEnd(10))]);
        expect([forgotten[0] + forgotten[1], journal.count()]).toEqual([10, 0]);
      });
    });

    describe('the oldest cursor that can be resumed from (S12)', () => {
      const learned = (...offsets: readonly number[]): Entry[] =>
        offsets.map((offset, n) => entryOf({ id: `n${n}`, learnedAtMs: learnedAtMs + offset }));
      const floor = (offset: number): Promise<number> => journal.compact({ nowMs: learnedAtMs, floorMs: learnedAtMs + offset });

      it('is that of the newest entry learned before the floor, though revocations below it live on', async () => {
        await appendAll(learned(1, 2, 3));
        expect(await floor(3)).toBe(0);
        expect([journal.earliest(), journal.count()]).toEqual([2, 3]);
      });

      it('stops at the first entry learned since, whatever a stepped clock wrote after it', async () => {
        await appendAll(learned(1, 9, 2));
        await floor(5);
        expect(journal.earliest()).toBe(1);
      });

      it('never goes back', async () => {
        await appendAll(learned(1, 2, 3));
        await floor(4);
        await floor(1);
        expect(journal.earliest()).toBe(3);
      });

      it('passes more entries than a batch', async () => {
        await appendAll(learned(...Array.from({ length: 1_100 }, () => 1)));
        await floor(2);
        expect(journal.earliest()).toBe(1_100);
      });

      it('is above every REFRESH that has been forgotten, also where the floor is not', async () => {
        const ended = { forgetAtMs: learnedAtMs + 1 };
        await appendAll([refreshOf({ id: 'a' }), refreshOf({ id: 'b', ...ended }), entryOf({ id: 'c', ...ended }), entryOf({ id: 'd' })]);
        await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
        expect([journal.earliest(), await revisions()]).toEqual([2, [1, 4]]);
      });

      it('is above a forgotten REVOKE that was a REFRESH too, not above one that was not', async () => {
        const ended = { forgetAtMs: learnedAtMs + 1 };
        await appendAll([entryOf({ id: 'a', ...ended, alsoRefreshes: true }), entryOf({ id: 'b', ...ended })]);
        await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
        expect(journal.earliest()).toBe(1);
      });

      it('counts what is forgotten in the same run', async () => {
        await journal.append(entryOf({ id: 'a', learnedAtMs: learnedAtMs - 10, forgetAtMs: learnedAtMs - 1 }));
        expect(await floor(0)).toBe(1);
        expect(journal.earliest()).toBe(1);
      });
    });

    it('keeps notes, the last value of each', async () => {
      await Promise.all([journal.note('a', '1'), journal.note('b', '2'), journal.note('a', '3')]);
      expect([await journal.noted('a'), await journal.noted('b'), await journal.noted('c')]).toEqual(['3', '2', undefined]);
      expect([journal.head(), journal.count()]).toEqual([0, 0]);
    });

    describe('the outbox', () => {
      const letter = (text: string): Uint8Array => Buffer.from(text, 'latin1');
      const kept = async (): Promise<string[]> =>
        (await journal.outbox.list()).map(({ id, record }) => `${id}=${Buffer.from(record).toString('latin1')}`);

      it('lists what was put, in the order of the ids, the last record of each, and neither entries nor notes', async () => {
        await Promise.all([journal.append(entryOf({ id: 'a' })), journal.note('a', 'note')]);
        await Promise.all(['b', 'a', 'c', 'a'].map((id, n) => journal.outbox.put(id, letter(`${n}`))));
        expect(await kept()).toEqual(['a=3', 'b=0', 'c=2']);
        expect([journal.head(), journal.count(), (await everything()).length]).toEqual([1, 1, 1]);
      });

      it('keeps every byte of a record, also of an empty one and a large one', async () => {
        const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
        const records = [every, new Uint8Array(), new Uint8Array(100_000).fill(0xff)];
        await Promise.all(records.map((record, n) => journal.outbox.put(`n${n}`, record)));
        expect((await journal.outbox.list()).map(({ record }) => Buffer.from(record))).toEqual(
          records.map((record) => Buffer.from(record)),
        );
      });

      it('keeps a record as it was when it was put', async () => {
        const record = letter('as it was');
        const putting = journal.outbox.put('a', record);
        record.fill(0);
        await putting;
        expect(await kept()).toEqual(['a=as it was']);
      });

      it('tells ids apart, whatever they are made of, and orders them by their bytes', async () => {
        const ids = ['', 'a', 'a/', 'a/b', 'a0', 'b', 'é', '\uffee', '\u{1f600}'];
        await Promise.all(ids.toReversed().map((id) => journal.outbox.put(id, letter(''))));
        expect((await journal.outbox.list()).map(({ id }) => id)).toEqual(ids);
      });

      it('removes one, and what is not there without a word; the last call decides of those that come together', async () => {
        await Promise.all([journal.outbox.put('a', letter('1')), journal.outbox.put('b', letter('1'))]);
        await Promise.all([journal.outbox.remove('a'), journal.outbox.remove('c')]);
        expect(await kept()).toEqual(['b=1']);
        await Promise.all([
          journal.outbox.remove('b'),
          journal.outbox.put('b', letter('2')),
          journal.outbox.put('d', letter('1')),
          journal.outbox.remove('d'),
        ]);
        expect(await kept()).toEqual(['b=2']);
      });

      it('is not touched by compaction', async () => {
        await journal.outbox.put('a', letter('1'));
        await journal.append(entryOf({ id: 'old', forgetAtMs: learnedAtMs + 1 }));
        await journal.compact({ nowMs: learnedAtMs + 10, floorMs: learnedAtMs + 10 });
        expect(await kept()).toEqual(['a=1']);
      });
    });

    it('answers a retry that came before it was closed', async () => {
      const once = { key: 'k', digest: 'd' };
      const first = await journal.append(entryOf({ id: 'first' }), once);
      const retry = journal.append(entryOf({ id: 'retry' }), once);
      await journal.close();
      expect(await retry).toEqual(first);
    });

    it('acknowledges what was appended before it was closed, and refuses everything after, twice closed too', async () => {
      const before = journal.append(entryOf({ id: 'before' }));
      await Promise.all([journal.close(), journal.close()]);
      expect((await before).revision).toBe(1);
      const refused = { code: 'UNAVAILABLE', reason: 'JOURNAL_CLOSED' };
      await expect(journal.append(entryOf({ id: 'after' }))).rejects.toMatchObject(refused);
      await expect(journal.read(revision(0), 1)).rejects.toMatchObject(refused);
      await expect(journal.find('before')).rejects.toMatchObject(refused);
      await expect(journal.note('a', 'b')).rejects.toMatchObject(refused);
      await expect(journal.noted('a')).rejects.toMatchObject(refused);
      await expect(journal.outbox.put('a', new Uint8Array())).rejects.toMatchObject(refused);
      await expect(journal.outbox.remove('a')).rejects.toMatchObject(refused);
      await expect(journal.outbox.list()).rejects.toMatchObject(refused);
      await expect(journal.compact({ nowMs: 0, floorMs: 0 })).rejects.toMatchObject(refused);
    });
  });
}
