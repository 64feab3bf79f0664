// The journal on disk: the contract, its syncs, its failures, and what opening finds.

import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BatchOperation, type BatchOptions, ClassicLevel } from 'classic-level';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Entry, type PlacedEntry, revision } from '../../src/core/invalidation.ts';
import type { Database } from '../../src/journal/level-database.ts';
import { maxBatch, maxWaiting } from '../../src/journal/level-journal.ts';
import { type LevelJournalOptions, openLevelJournal } from '../../src/journal/leveldb.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { keys } from '../../src/journal/records.ts';
import type { Journal } from '../../src/ports.ts';
import { journalConformance } from '../conformance/journal.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { entryOf, learnedAtMs, refreshOf } from './entries.ts';

let root: string;
let dir: string;
let made = 0;
const clock = createFakeClock(learnedAtMs);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sidegate-journal-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => {
  dir = freshDir();
});

function freshDir(): string {
  made += 1;
  return join(root, String(made));
}

const open = (options: Partial<LevelJournalOptions> = {}): Promise<Journal> => openLevelJournal({ dir, clock, ...options });
const everything = (journal: Journal): Promise<PlacedEntry[]> => journal.read(revision(0), 100_000);
const appendMany = (journal: Journal, count: number, entry: Partial<Entry> = {}): Promise<PlacedEntry[]> =>
  Promise.all(Array.from({ length: count }, (_, n) => journal.append(entryOf({ id: `n${n}`, ...entry }))));

/** Does `work` on the database as it is, without a journal. */
async function raw(work: (database: Database) => Promise<unknown>): Promise<void> {
  const database: Database = new ClassicLevel(dir);
  await database.open();
  await work(database);
  await database.close();
}

/**
 * A database whose batches go through the hands of a test: each waits for what `gate` gives, is counted by its new entries, and
 * waits again, written and not yet told, for what `told` gives.
 */
function watched(
  gate: () => Promise<void> | undefined,
  told: () => Promise<void> | undefined = () => undefined,
): { readonly database: (at: string) => Database; readonly writes: number[] } {
  const writes: number[] = [];
  const database = (at: string): Database => {
    const level: Database = new ClassicLevel(at);
    const write: (operations: BatchOperation<Database, string, string>[], options: BatchOptions<string, string>) => Promise<void> =
      level.batch;
    const batch = async (operations: BatchOperation<Database, string, string>[], options: BatchOptions<string, string>): Promise<void> => {
      writes.push(operations.filter((operation) => operation.type === 'put' && operation.key.startsWith('e/')).length);
      expect(options).toMatchObject({ sync: true });
      await gate();
      await write.call(level, operations, options);
      await told();
    };
    return Object.assign(level, { batch });
  };
  return { database, writes };
}

/** A gate that, once `hold` is set, opens when told. `reached` resolves when somebody waits at it. */
function heldGate(): { hold: boolean; readonly gate: () => Promise<void>; readonly reached: Promise<void>; readonly release: () => void } {
  let release = (): void => undefined;
  let reach = (): void => undefined;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const held = {
    hold: false,
    reached,
    gate: async (): Promise<void> => {
      if (!held.hold) return;
      reach();
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    },
    release: (): void => {
      held.hold = false;
      release();
    },
  };
  return held;
}

journalConformance('the journal on disk', async (fakeClock) => openLevelJournal({ dir: freshDir(), clock: fakeClock }));

describe('group commit', () => {
  it('writes what comes together with one sync, up to a batch', async () => {
    const { database, writes } = watched(() => undefined);
    const journal = await open({ database });
    writes.length = 0;
    await appendMany(journal, maxBatch);
    await appendMany(journal, maxBatch + 1);
    expect(writes).toEqual([maxBatch, maxBatch, 1]);
    await journal.close();
  });

  it('gathers what comes while a sync is under way, and acknowledges nothing before its own', async () => {
    const held = heldGate();
    const { database, writes } = watched(held.gate);
    const journal = await open({ database });
    writes.length = 0;
    held.hold = true;
    const first = journal.append(entryOf({ id: 'first' }));
    await held.reached;
    const later = appendMany(journal, 10);
    expect([writes, journal.head(), await everything(journal)]).toEqual([[1], 0, []]);
    held.release();
    expect([(await first).revision, (await later).map((placed) => placed.revision)]).toEqual([1, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]);
    expect(writes).toEqual([1, 10]);
    await journal.close();
  });

  it('shows nothing that is written and not acknowledged yet', async () => {
    const held = heldGate();
    const { database } = watched(() => undefined, held.gate);
    const journal = await open({ database });
    held.hold = true;
    const appended = journal.append(entryOf({ id: 'first' }));
    await held.reached;
    expect([await everything(journal), await journal.at(revision(1)), await journal.find('first')]).toEqual([[], undefined, undefined]);
    held.release();
    const placed = await appended;
    expect(await everything(journal)).toEqual([placed]);
    await journal.close();
  });

  it('tells where it can be resumed from before a forgotten REFRESH is gone', async () => {
    const held = heldGate();
    const { database } = watched(held.gate);
    const journal = await open({ database });
    await journal.append(refreshOf({ id: 'a', forgetAtMs: learnedAtMs }));
    held.hold = true;
    const compacted = journal.compact({ nowMs: learnedAtMs + 1, floorMs: 0 });
    await held.reached;
    expect([journal.earliest(), journal.count()]).toEqual([1, 1]);
    held.release();
    expect([await compacted, journal.count()]).toEqual([1, 0]);
    await journal.close();
  });

  it('lets a bounded number wait for the disk, and refuses the next', async () => {
    const held = heldGate();
    const { database } = watched(held.gate);
    const journal = await open({ database });
    held.hold = true;
    const first = journal.append(entryOf({ id: 'first' }));
    await held.reached;
    const waiting = appendMany(journal, maxWaiting);
    await expect(journal.append(entryOf({ id: 'more' }))).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    held.release();
    await Promise.all([first, waiting]);
    expect((await journal.append(entryOf({ id: 'more' }))).revision).toBe(maxWaiting + 2);
    await journal.close();
  });
});

describe('a write that fails', () => {
  it('acknowledges nothing of its batch, nor anything after, and says so', async () => {
    let full = false;
    const { database } = watched(() => (full ? Promise.reject(new Error('No space left on device')) : undefined));
    const journal = await open({ database });
    await journal.append(entryOf({ id: 'kept' }), { key: 'k', digest: 'd' });
    full = true;
    const failed = { code: 'UNAVAILABLE', reason: 'JOURNAL_FAILED' };
    const results = await Promise.allSettled([...Array(3).keys()].map((n) => journal.append(entryOf({ id: `n${n}` }))));
    expect(results).toMatchObject(Array(3).fill({ status: 'rejected', reason: failed }));
    full = false;
    await expect(journal.append(entryOf({ id: 'after' }))).rejects.toMatchObject(failed);
    await expect(journal.append(entryOf({ id: 'retry' }), { key: 'k', digest: 'd' })).rejects.toMatchObject(failed);
    await expect(journal.note('a', 'b')).rejects.toMatchObject(failed);
    await expect(journal.outbox.put('a', new Uint8Array(1))).rejects.toMatchObject(failed);
    await expect(journal.outbox.remove('a')).rejects.toMatchObject(failed);
    await expect(journal.compact({ nowMs: 0, floorMs: 0 })).rejects.toMatchObject(failed);
    expect(journal.failure()).toBe('a write failed: No space left on device');
    expect([journal.head(), (await everything(journal)).map((placed) => placed.entry.id)]).toEqual([1, ['kept']]);
    await journal.close();
  });

  it('rejects what waited behind it', async () => {
    const held = heldGate();
    const { database } = watched(async () => {
      const breaks = held.hold;
      await held.gate();
      if (breaks) throw new Error('EIO');
    });
    const journal = await open({ database });
    held.hold = true;
    const first = journal.append(entryOf({ id: 'first' }));
    await held.reached;
    const behind = journal.append(entryOf({ id: 'behind' }));
    held.release();
    expect(await Promise.allSettled([first, behind])).toMatchObject(
      Array(2).fill({ status: 'rejected', reason: { reason: 'JOURNAL_FAILED' } }),
    );
    await journal.close();
  });

  it('in compaction stops the journal too', async () => {
    let full = false;
    const { database } = watched(() => (full ? Promise.reject(new Error('EIO')) : undefined));
    const journal = await open({ database });
    await journal.append(refreshOf({ id: 'a', forgetAtMs: learnedAtMs }));
    full = true;
    await expect(journal.compact({ nowMs: learnedAtMs + 1, floorMs: 0 })).rejects.toMatchObject({ reason: 'JOURNAL_FAILED' });
    await expect(journal.append(entryOf({ id: 'b' }))).rejects.toMatchObject({ reason: 'JOURNAL_FAILED' });
    await journal.close();
  });
});

describe('the outbox on disk', () => {
  it('a put or a remove that cannot be synced is an error, and stops the journal', async () => {
    let full = false;
    const { database } = watched(() => (full ? Promise.reject(new Error('EIO')) : undefined));
    const journal = await open({ database });
    await journal.outbox.put('kept', Buffer.from('1'));
    full = true;
    const results = await Promise.allSettled([journal.outbox.put('lost', Buffer.from('2')), journal.outbox.remove('kept')]);
    expect(results).toMatchObject(Array(2).fill({ status: 'rejected', reason: { reason: 'JOURNAL_FAILED' } }));
    full = false;
    await expect(journal.append(entryOf({ id: 'after' }))).rejects.toMatchObject({ reason: 'JOURNAL_FAILED' });
    expect((await journal.outbox.list()).map(({ id }) => id)).toEqual(['kept']);
    await journal.close();
  });

  it('waits for the sync: a put that has not been written has not resolved', async () => {
    const held = heldGate();
    const { database } = watched(held.gate);
    const journal = await open({ database });
    held.hold = true;
    let isKept = false;
    const putting = journal.outbox.put('a', Buffer.from('1')).then(() => {
      isKept = true;
    });
    await held.reached;
    expect([isKept, await journal.outbox.list()]).toEqual([false, []]);
    held.release();
    await putting;
    expect((await journal.outbox.list()).length).toBe(1);
    await journal.close();
  });

  it('is there after a restart, and is no corruption', async () => {
    const first = await open();
    await Promise.all([
      first.append(entryOf({ id: 'a' })),
      first.outbox.put('a', Buffer.from([0, 255])),
      first.outbox.put('b', Buffer.from('b')),
    ]);
    await first.outbox.remove('b');
    await first.close();
    const second = await open();
    expect([second.corruption, second.count(), second.head()]).toEqual([undefined, 1, 1]);
    expect((await second.outbox.list()).map(({ id, record }) => [id, [...record]])).toEqual([['a', [0, 255]]]);
    await second.close();
  });
});

describe('opening again', () => {
  it('finds everything as it was', async () => {
    const before = await open();
    await before.append(refreshOf({ id: 'gone', forgetAtMs: learnedAtMs + 1 }));
    await before.append(entryOf({ id: 'once', forgetAtMs: Number.POSITIVE_INFINITY }), { key: 'k', digest: 'd' });
    await before.append(entryOf({ id: 'last' }));
    await before.note('a', 'b');
    await before.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
    const state = async (journal: Journal): Promise<unknown> => ({
      identity: [journal.id, journal.bornAtMs, journal.corruption],
      places: [journal.head(), journal.earliest(), journal.count()],
      entries: await everything(journal),
      note: await journal.noted('a'),
      retry: await journal.append(entryOf({ id: 'retry' }), { key: 'k', digest: 'd' }),
    });
    const was = await state(before);
    await before.close();
    const after = await open({ clock: createFakeClock(learnedAtMs + 99_000) });
    expect(await state(after)).toEqual(was);
    expect(was).toMatchObject({ identity: [after.id, learnedAtMs, undefined], places: [3, 1, 2], note: 'b', retry: { revision: 2 } });
    await after.close();
  });

  it('from an older copy is clean, with a smaller head', async () => {
    const older = await open();
    await appendMany(older, 5);
    await older.close();
    const copy = freshDir();
    await cp(dir, copy, { recursive: true });
    const newer = await open();
    await appendMany(newer, 5);
    await newer.close();
    const restored = await open({ dir: copy });
    expect([restored.id, restored.corruption, restored.head(), restored.count()]).toEqual([older.id, undefined, 5, 5]);
    await restored.close();
  });

  it('agrees with the journal in memory, after any appends, retries and compactions', async () => {
    const offset = fc.integer({ min: 0, max: 20 });
    const append = fc.record({
      kind: fc.constant('append' as const),
      effect: fc.constantFrom('REVOKE' as const, 'REFRESH' as const),
      learned: offset,
      end: offset,
      once: fc.nat(3),
      digest: fc.nat(1),
    });
    const compact = fc.record({ kind: fc.constant('compact' as const), now: offset, floor: offset });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof({ weight: 4, arbitrary: append }, compact), { maxLength: 40 }), async (acts) => {
        const at = freshDir();
        const disk = await open({ dir: at });
        const memory = createMemoryJournal({ clock });
        for (const [n, act] of acts.entries()) {
          const done = await Promise.allSettled(
            [disk, memory].map((journal): Promise<unknown> => {
              if (act.kind === 'compact') return journal.compact({ nowMs: learnedAtMs + act.now, floorMs: learnedAtMs + act.floor });
              const entry = entryOf({
                id: `n${n}`,
                effect: act.effect,
                learnedAtMs: learnedAtMs + act.learned,
                forgetAtMs: learnedAtMs + act.end,
              });
              return journal.append(entry, act.once === 0 ? undefined : { key: `k${act.once}`, digest: `d${act.digest}` });
            }),
          );
          expect(done[0]).toEqual(done[1]);
        }
        const state = async (journal: Journal): Promise<unknown> => [
          journal.head(),
          journal.earliest(),
          journal.count(),
          await everything(journal),
        ];
        const expected = await state(memory);
        expect(await state(disk)).toEqual(expected);
        await disk.close();
        const again = await open({ dir: at });
        expect([again.corruption, await state(again)]).toEqual([undefined, expected]);
        await again.close();
      }),
      { numRuns: 30 },
    );
  });

  it('leaves nothing behind of what was forgotten', async () => {
    const journal = await open();
    await Promise.all(
      [...Array(20).keys()].map((n) =>
        journal.append(entryOf({ id: `n${n}`, forgetAtMs: learnedAtMs + 1 }), { key: `k${n}`, digest: 'd' }),
      ),
    );
    await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
    await journal.close();
    await raw(async (database) => expect(await database.keys().all()).toEqual([keys.journal, keys.proof]));
  });

  it('tells its size on disk', async () => {
    const journal = await open();
    await appendMany(journal, 1_000);
    expect(await journal.sizeBytes()).toBeGreaterThan(1_000 * 200);
    await journal.close();
  });

  it('makes the directory for its user alone', async () => {
    dir = join(dir, 'deep', 'down');
    await (await open()).close();
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
  });
});

describe('a journal that is not whole', () => {
  beforeEach(async () => {
    const journal = await open();
    await appendMany(journal, 9);
    await journal.append(entryOf({ id: 'ended', forgetAtMs: learnedAtMs }));
    await journal.compact({ nowMs: learnedAtMs + 1, floorMs: 0 });
    await journal.close();
    await raw((database) => database.del(keys.entry(4)));
  });

  it('says so, at each opening until something is appended, and can be used', async () => {
    const missing = '1 of 9 entries are missing between revisions 4 and 10';
    const first = await open();
    await first.note('a', 'b');
    expect([first.corruption, first.head(), first.count()]).toEqual([missing, 10, 8]);
    await first.close();
    const second = await open();
    expect(second.corruption).toBe(missing);
    expect((await second.append(refreshOf({ id: 'all', selector: { kind: 'everything' } }))).revision).toBe(11);
    await second.close();
    const third = await open();
    expect([third.corruption, third.count(), (await everything(third)).length]).toEqual([undefined, 9, 9]);
    await third.close();
  });

  it('compacts past the hole', async () => {
    const journal = await open();
    expect(await journal.compact({ nowMs: learnedAtMs + 4_000_000, floorMs: 0 })).toBe(8);
    expect(journal.count()).toBe(0);
    await journal.close();
    const again = await open();
    expect([again.corruption, again.head()]).toEqual([undefined, 10]);
    await again.close();
  });

  it('appends again what a once key promises and the hole has taken', async () => {
    const once = { key: 'k', digest: 'd' };
    const before = await open();
    const { revision: at } = await before.append(entryOf({ id: 'promised' }), once);
    await before.close();
    await raw((database) => database.del(keys.entry(at)));
    const journal = await open();
    expect((await journal.append(entryOf({ id: 'again' }), once)).revision).toBe(at + 1);
    await journal.close();
  });

  it('is noticed also when a block of the disk went bad', async () => {
    dir = freshDir();
    const journal = await open();
    for (let n = 0; n < 30; n++) await appendMany(journal, 10);
    await journal.close();
    const log = join(dir, (await readdir(dir)).find((name) => name.endsWith('.log')) ?? '');
    const bytes = await readFile(log);
    bytes.fill(0xff, 40_000, 40_010);
    await writeFile(log, bytes);
    const damaged = await open();
    expect(damaged.corruption).toMatch(/^\d+ of 300 entries are missing between revisions \d+ and \d+$/);
    expect([damaged.head(), (await everything(damaged)).length]).toEqual([300, damaged.count()]);
    await damaged.close();
  });

  it('shows a record that makes no sense as a REFRESH of everything', async () => {
    await raw((database) => database.put(keys.entry(5), 'nonsense'));
    const journal = await open();
    expect(await journal.at(revision(5))).toMatchObject({ revision: 5, entry: { effect: 'REFRESH', selector: { kind: 'everything' } } });
    await journal.close();
  });
});

describe('a journal that cannot be opened', () => {
  const begun = async (): Promise<void> => (await open()).close();

  it('is one that somebody has: UNAVAILABLE, until it is closed', async () => {
    const holder = await open();
    await expect(open()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'JOURNAL_LOCKED', message: expect.stringContaining(dir) });
    await holder.close();
    await (await open()).close();
  });

  it.each<[string, string, () => Promise<unknown>]>([
    ['is a file', 'JOURNAL_UNREADABLE', () => writeFile(dir, '')],
    [
      'has lost its manifest',
      'JOURNAL_UNREADABLE',
      async () => [await begun(), await writeFile(join(dir, 'CURRENT'), 'MANIFEST-000099\n')],
    ],
    ['has a manifest that is not one', 'JOURNAL_CORRUPT', async () => [await begun(), await writeFile(join(dir, 'CURRENT'), 'none')]],
    ['has lost its identity', 'JOURNAL_CORRUPT', async () => [await begun(), await raw((database) => database.del(keys.journal))]],
    ['has lost its proof', 'JOURNAL_CORRUPT', async () => [await begun(), await raw((database) => database.del(keys.proof))]],
    [
      'has a proof that is not one',
      'JOURNAL_CORRUPT',
      async () => [await begun(), await raw((database) => database.put(keys.proof, '{}'))],
    ],
    [
      'has an identity that is not one',
      'JOURNAL_CORRUPT',
      async () => [await begun(), await raw((database) => database.put(keys.journal, '{'))],
    ],
    ['is of something else', 'JOURNAL_CORRUPT', () => raw((database) => database.put('chrome', 'storage'))],
    [
      'is of a later version',
      'JOURNAL_NEWER',
      async () => [await begun(), await raw((database) => database.put(keys.journal, '{"layout":2}'))],
    ],
  ])('%s: FAILED_PRECONDITION / %s, with the directory, and nothing stays open', async (_what, reason, arrange) => {
    await arrange();
    const refused = { code: 'FAILED_PRECONDITION', reason, message: expect.stringContaining(dir) };
    await expect(open()).rejects.toMatchObject(refused);
    await expect(open()).rejects.toMatchObject(refused);
  });
});
