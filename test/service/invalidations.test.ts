// The one road: what is appended is durable and applied, in order, also after a restart, a failure and a compaction.

import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { attributesOf } from '../../src/core/attributes.ts';
import { appendedAtMsOf } from '../../src/core/entry-id.ts';
import { SidecarError } from '../../src/core/errors.ts';
import { revision } from '../../src/core/invalidation.ts';
import { type Coverable, residualLimit } from '../../src/core/invalidation-index.ts';
import type { Selector } from '../../src/core/selector.ts';
import { createTagger, type DeploymentKey } from '../../src/core/tag.ts';
import type { Facts } from '../../src/core/token.ts';
import { openLevelJournal } from '../../src/journal/leveldb.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Journal } from '../../src/ports.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { entryOf } from '../journal/entries.ts';
import { journalWith } from '../rpc/watch-stage.ts';
import { refreshOf, revokeOf, startRoad, user, usualKey } from './road.ts';

const dirs: string[] = [];
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-road-'));
  dirs.push(dir);
  return dir;
}

const signal = new AbortController().signal;
setMaxListeners(0, signal);
const secondKey: DeploymentKey = { id: 'k2', secret: Buffer.alloc(32, 2) };
const digest = 'd'.repeat(32);

/** A token of `userId` of `central`, issued an hour before the clock's beginning, as a road with `keys` sees it. */
function tokenOf(userId: string, keys: readonly [DeploymentKey, ...DeploymentKey[]] = [usualKey]): Coverable {
  const tagger = createTagger(keys);
  const issuedAtMs = Date.UTC(2026, 10, 21, 9, 0, 0);
  const facts: Facts = {
    token: {
      issuer: 'central',
      format: 'jwt',
      issuedAtMs,
      user: { id: userId },
      scope: { kind: 'unscoped' },
      roles: [],
      methods: [],
      auditIds: [],
      audiences: [],
      scopes: [],
      isAdminProject: false,
    },
    hasAccessRules: false,
    unknown: [],
  };
  return { attributes: tagger.attributes('central', attributesOf(facts, 'id'), tagger.fingerprints(digest)), issuedAtMs, canAsk: false };
}

const fingerprintOf = (key: DeploymentKey): Selector => {
  const [value = ''] = createTagger([key]).fingerprints(digest);
  return { kind: 'fit', conditions: [{ dimension: 'fingerprint', value }] };
};

describe('append', () => {
  it('resolves only when the entry is durable and applied', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    let write = (): void => undefined;
    let read = (): void => undefined;
    const written = new Promise<void>((resolve) => {
      write = resolve;
    });
    const readable = new Promise<void>((resolve) => {
      read = resolve;
    });
    let holds = false;
    const journal = journalWith(inner, {
      append: (...given) => written.then(() => inner.append(...given)),
      read: async (...given) => {
        if (holds) await readable;
        return inner.read(...given);
      },
    });
    const road = await startRoad({ clock, journal });
    holds = true;
    let resolved = false;
    const appended = road.invalidations.append(revokeOf(user('u1'))).then((answer) => {
      resolved = true;
      return answer;
    });
    await clock.advance(0);
    expect([resolved, road.journal.head()]).toEqual([false, 0]);
    write();
    await clock.advance(0);
    // Durable, and not yet applied.
    expect([resolved, road.journal.head(), road.invalidations.applied]).toEqual([false, 1, 0]);
    expect(road.invalidations.coveringOf(tokenOf('u1')).revoked).toBeUndefined();
    read();
    expect(await appended).toMatchObject({ asOf: { journal: journal.id, revision: 1 } });
    expect(road.invalidations.coveringOf(tokenOf('u1')).revoked).toMatchObject({ revision: 1 });
    await road.stop();
  });

  it('gives each of 2,000 concurrent ones its own revision, in the order of the calls, and everyone sees its own applied', async () => {
    const dir = newDir();
    const clock = createFakeClock();
    const journal = await openLevelJournal({ dir, clock });
    const road = await startRoad({ clock, journal, ring: 16 });
    const answers = await Promise.all(
      Array.from({ length: 2000 }, async (_, n) => {
        const { asOf, entryId } = await road.invalidations.append(revokeOf(user(`u${n}`)));
        expect(asOf.revision).toBeLessThanOrEqual(road.invalidations.applied);
        expect(road.invalidations.coveringOf(tokenOf(`u${n}`)).revoked).toBeDefined();
        return entryId;
      }),
    );
    const placed = await journal.read(revision(0), 3000);
    expect(placed.map((one) => one.entry.id)).toEqual(answers);
    expect(placed.map((one) => one.revision)).toEqual(Array.from({ length: 2000 }, (_, n) => n + 1));
    await road.stop();
    await journal.close();
  });

  it('rejects after the journal has failed, applies nothing of it, and what was applied still kills', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    let fails = false;
    const journal = journalWith(inner, {
      append: async (...given) => {
        if (fails) throw new SidecarError('UNAVAILABLE', 'no room', { reason: 'JOURNAL_FAILED' });
        return inner.append(...given);
      },
    });
    const road = await startRoad({ clock, journal });
    await road.invalidations.append(revokeOf(user('u1')));
    fails = true;
    await expect(road.invalidations.append(revokeOf(user('u2')))).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'JOURNAL_FAILED' });
    expect(road.invalidations.coveringOf(tokenOf('u2')).revoked).toBeUndefined();
    expect(road.invalidations.coveringOf(tokenOf('u1')).revoked).toBeDefined();
    await road.stop();
  });

  it('goes on by itself when the journal could not be read for a while, and says so', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    let fails = false;
    const journal = journalWith(inner, {
      read: async (...given) => {
        if (fails) throw new SidecarError('UNAVAILABLE', 'the journal could not be read', { reason: 'JOURNAL_UNREADABLE' });
        return inner.read(...given);
      },
    });
    const road = await startRoad({ clock, journal });
    fails = true;
    const appended = road.invalidations.append(revokeOf(user('u1')));
    await clock.advance(1500);
    fails = false;
    await clock.advance(1000);
    expect((await appended).asOf.revision).toBe(1);
    expect(road.telemetry.lines.filter((line) => line.level === 'error').length).toBeGreaterThanOrEqual(2);
    await road.stop();
  });

  it('whose caller leaves meanwhile is durable and will be applied, and that is said', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    let fails = false;
    const journal = journalWith(inner, {
      read: async (...given) => {
        if (fails) throw new SidecarError('UNAVAILABLE', 'the journal could not be read', { reason: 'JOURNAL_UNREADABLE' });
        return inner.read(...given);
      },
    });
    const road = await startRoad({ clock, journal });
    fails = true;
    const leaving = new AbortController();
    const appended = road.invalidations.append(revokeOf(user('u1')), undefined, leaving.signal);
    await clock.advance(500);
    leaving.abort();
    await expect(appended).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', reason: 'NOT_APPLIED_YET' });
    fails = false;
    await clock.advance(1000);
    expect(road.invalidations.applied).toBe(1);
    await road.stop();
  });

  it('S14 a retry under the same request id is the first entry; another body is ALREADY_EXISTS', async () => {
    const road = await startRoad();
    const request = { caller: 'admin', requestId: 'r1', body: 'b1' };
    const first = await road.invalidations.append(revokeOf(user('u1')), request);
    await road.invalidations.append(revokeOf(user('u2')));
    const again = await road.invalidations.append(revokeOf(user('u1')), request);
    expect([again.entryId, road.journal.head()]).toEqual([first.entryId, 2]);
    await expect(road.invalidations.append(revokeOf(user('u3')), { ...request, body: 'b2' })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await road.stop();
  });

  it('S14 news are the same entry wherever and however often they are told, and their id begins with the second that they happened in', async () => {
    const happenedAtMs = Date.UTC(2026, 10, 21, 9, 59, 57, 400);
    const told = { caller: 'news/central', requestId: 'message-1 0', body: '' };
    const draft = revokeOf(user('u1'), { atMs: happenedAtMs, alsoRefreshes: true, spreadMs: 30_000, origin: { source: 'central/bus' } });
    const road = await startRoad();
    const other = await startRoad({ clock: road.clock });
    await road.clock.advance(60_000);
    const ids = [];
    for (const one of [road, road, other]) {
      ids.push((await one.invalidations.append(draft, told)).entryId);
      await road.clock.advance(5000);
    }
    expect(new Set(ids).size).toBe(1);
    expect(appendedAtMsOf(ids[0] ?? '')).toBe(Date.UTC(2026, 10, 21, 9, 59, 57));
    expect([road.journal.head(), other.journal.head()]).toEqual([1, 1]);
    expect(road.telemetry.count('sidegate_invalidations_total', { source: 'central/bus' })).toBe(1);
    const [placed] = await road.invalidations.after(revision(0), 1);
    expect(placed?.entry).toMatchObject({ effect: 'REVOKE', alsoRefreshes: true, spreadMs: 30_000, learnedAtMs: happenedAtMs + 62_600 });
    await road.stop();
    await other.stop();
  });

  it('is counted by source and effect, and timed', async () => {
    const road = await startRoad();
    await road.invalidations.append(revokeOf(user('u1')));
    await road.invalidations.append(refreshOf(user('u1')));
    await road.invalidations.append(refreshOf(user('u2')));
    expect(road.telemetry.count('sidegate_invalidations_total', { source: 'rpc', effect: 'revoke' })).toBe(1);
    expect(road.telemetry.count('sidegate_invalidations_total', { source: 'rpc', effect: 'refresh' })).toBe(2);
    expect(road.telemetry.observed('sidegate_revoke_applied_seconds').length).toBe(3);
    await road.stop();
  });
});

describe('S3 selectors of unusual forms', () => {
  const unusual = (n: number): Selector => ({
    kind: 'fit',
    issuer: 'central',
    conditions: [
      { dimension: 'client', value: `c${n}` },
      { dimension: 'session', value: 's' },
    ],
  });

  it('S3 the last that has room is taken, one more is TOO_MANY_FORMS; usual forms still are, and room comes back with time', async () => {
    const road = await startRoad();
    for (let n = 0; n < residualLimit; n += 1) await road.invalidations.append(revokeOf(unusual(n)));
    const refused = road.invalidations.append(revokeOf(unusual(residualLimit)));
    await expect(refused).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'TOO_MANY_FORMS' });
    expect(road.journal.head()).toBe(residualLimit);
    await road.invalidations.append(revokeOf(user('u1')));
    await road.clock.advance(3_600_000 + 60_000);
    await road.invalidations.append(revokeOf(unusual(residualLimit)));
    await road.stop();
  });
});

describe('S3 news of an unusual form for which there is no room', () => {
  it('S3 become a REFRESH of the condition that concerns the fewest tokens', async () => {
    const road = await startRoad();
    const odd = (n: number): Selector => ({
      kind: 'fit',
      issuer: 'central',
      conditions: [
        { dimension: 'role', value: 'r' },
        { dimension: 'trust', value: `t${n}` },
        { dimension: 'scope_kind', value: 'project' },
      ],
    });
    for (let n = 0; n < residualLimit; n += 1) await road.invalidations.append(revokeOf(odd(n)));
    const news = revokeOf(odd(residualLimit), {
      atMs: road.clock.nowMs(),
      alsoRefreshes: true,
      issuedBeforeMs: 1000,
      origin: { source: 'central/poll' },
    });
    await road.invalidations.append(news, { caller: 'news/central', requestId: 'row', body: '' });
    const [placed] = await road.invalidations.after(revision(residualLimit), 1);
    expect(placed?.entry).toMatchObject({
      effect: 'REFRESH',
      alsoRefreshes: false,
      selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'trust', value: `t${residualLimit}` }] },
    });
    expect(placed?.entry).not.toHaveProperty('issuedBeforeMs');
    await road.stop();
  });
});

describe('a restart', () => {
  it('a REVOKE survives it: load reads 10,000 entries, every one of them kills', async () => {
    const dir = newDir();
    const clock = createFakeClock();
    const before = await startRoad({ clock, journal: await openLevelJournal({ dir, clock }) });
    await Promise.all(Array.from({ length: 10_000 }, (_, n) => before.invalidations.append(revokeOf(user(`u${n}`)))));
    await before.stop();
    await before.journal.close();

    const after = await startRoad({ clock, journal: await openLevelJournal({ dir, clock }) });
    expect([after.invalidations.applied, after.journal.id]).toEqual([10_000, before.journal.id]);
    const revoked = Array.from({ length: 10_000 }, (_, n) => after.invalidations.coveringOf(tokenOf(`u${n}`)).revoked?.revision);
    expect(revoked).toEqual(Array.from({ length: 10_000 }, (_, n) => n + 1));
    expect(after.invalidations.coveringOf(tokenOf('nobody')).revoked).toBeUndefined();
    await after.stop();
    await after.journal.close();
  });

  it('what the ring no longer has comes from the journal, without a gap between the two', async () => {
    const clock = createFakeClock();
    const journal = createMemoryJournal({ clock });
    const before = await startRoad({ clock, journal });
    for (let n = 0; n < 20; n += 1) await before.invalidations.append(revokeOf(user(`u${n}`)));
    await before.stop();
    const after = await startRoad({ clock, journal, ring: 4 });
    for (let n = 20; n < 30; n += 1) await after.invalidations.append(revokeOf(user(`u${n}`)));
    for (let from = 0; from <= 30; from += 1) {
      const all = (await after.invalidations.after(revision(from), 100)).map((one) => Number(one.revision));
      expect(all).toEqual(Array.from({ length: 30 - from }, (_, n) => from + n + 1));
    }
    await after.stop();
  });

  it('a journal that is not whole: everything is refreshed, for watchers too, and the log and the journal say so', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    await inner.append(entryOf({ id: 'e1' }));
    const journal = journalWith(inner, {});
    Object.defineProperty(inner, 'corruption', { value: '1 of 2 entries are missing between revisions 1 and 2' });
    const road = await startRoad({ clock, journal });
    const covering = road.invalidations.coveringOf(tokenOf('anybody'));
    expect([road.invalidations.applied, covering.refreshRevision, covering.revoked]).toEqual([2, 2, undefined]);
    const [entry] = await road.invalidations.after(revision(1), 10);
    expect(entry?.entry).toMatchObject({ effect: 'REFRESH', selector: { kind: 'everything' }, origin: { source: 'journal' } });
    expect(road.telemetry.lines.filter((line) => line.level === 'error').map((line) => line.fields['corruption'])).toEqual([
      '1 of 2 entries are missing between revisions 1 and 2',
    ]);
    await road.stop();
  });

  it('facts that were learned before it are not settled by it: a REFRESH is as old as the wall clock says', async () => {
    const clock = createFakeClock();
    const journal = createMemoryJournal({ clock });
    const before = await startRoad({ clock, journal });
    await before.invalidations.append(refreshOf(user('u1')));
    await before.stop();
    await clock.advance(5000);
    const after = await startRoad({ clock, journal });
    const { refreshAppliedMs } = after.invalidations.coveringOf(tokenOf('u1'));
    expect(clock.monotonicMs() - refreshAppliedMs).toBe(5000);
    // A wall clock that was set back must not put it into the future, where it would never settle.
    clock.stepWall(-60_000);
    const set = await startRoad({ clock, journal });
    expect(set.invalidations.coveringOf(tokenOf('u1')).refreshAppliedMs).toBe(clock.monotonicMs());
    await after.stop();
    await set.stop();
  });
});

describe('S14 deployment keys', () => {
  async function revokedUnderTheFirst(clock: FakeClock): Promise<Journal> {
    const journal = createMemoryJournal({ clock });
    const road = await startRoad({ clock, journal });
    await road.invalidations.append(revokeOf(fingerprintOf(usualKey)));
    await road.invalidations.append(revokeOf(user('u1')));
    await road.stop();
    return journal;
  }

  it('S14 a fingerprint made under an older accepted key still kills under a new newest one, and so does a selector', async () => {
    const clock = createFakeClock();
    const journal = await revokedUnderTheFirst(clock);
    const keys = [secondKey, usualKey] as const;
    const road = await startRoad({ clock, journal, keys });
    expect(road.invalidations.coveringOf(tokenOf('somebody', keys)).revoked).toMatchObject({ revision: 1 });
    expect(road.invalidations.coveringOf(tokenOf('u1', keys)).revoked).toBeDefined();
    expect(road.invalidations.keysChangedAt).toBe(3);
    await road.stop();
  });

  it('S14 a key that live revocations name and that is gone refuses the start, and says which', async () => {
    const clock = createFakeClock();
    const journal = await revokedUnderTheFirst(clock);
    await expect(startRoad({ clock, journal, keys: [secondKey] })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'DEPLOYMENT_KEY_MISSING',
      message: expect.stringContaining('"k1"'),
    });
    const back = await startRoad({ clock, journal, keys: [secondKey, usualKey] });
    await back.stop();
  });

  it('S14 one that only ended revocations name may be gone, also before they are compacted', async () => {
    const clock = createFakeClock();
    const journal = await revokedUnderTheFirst(clock);
    await clock.advance(3_600_001);
    const road = await startRoad({ clock, journal, keys: [secondKey] });
    await road.stop();
  });
});

describe('S6 a source that repeats itself', () => {
  it('S6 the first is appended at once, all others of a window merge into one at its end: two entries a window', async () => {
    const road = await startRoad({ settleMs: 2000 });
    const first = road.invalidations.announce(refreshOf(user('u1')), signal);
    expect((await first).asOf.revision).toBe(1);
    const merged: Promise<unknown>[] = [];
    for (let n = 0; n < 19; n += 1) {
      await road.clock.advance(100);
      merged.push(road.invalidations.announce(refreshOf(user('u1')), signal));
    }
    await road.clock.advance(99);
    expect(road.journal.head()).toBe(1);
    await road.clock.advance(1);
    await Promise.all(merged);
    expect(road.journal.head()).toBe(2);

    // Twenty a second for a minute: the trailing one opens the next window.
    const many: Promise<unknown>[] = [];
    for (let n = 0; n < 1200; n += 1) {
      many.push(road.invalidations.announce(refreshOf(user('u1')), signal));
      await road.clock.advance(50);
    }
    await road.clock.advance(2000);
    await Promise.all(many);
    expect(road.journal.head() - 2).toBeLessThanOrEqual(2 * 30);
    expect(road.journal.head() - 2).toBeGreaterThanOrEqual(30);
    await road.stop();
  });

  it('S6 selectors do not wait for each other', async () => {
    const road = await startRoad({ settleMs: 2000 });
    await Promise.all(Array.from({ length: 50 }, (_, n) => road.invalidations.announce(refreshOf(user(`u${n}`)), signal)));
    expect(road.journal.head()).toBe(50);
    await road.stop();
  });

  it('S6 one that is spread does not stand for one that takes effect at once, nor the other way round', async () => {
    const road = await startRoad({ settleMs: 2000 });
    const wide = refreshOf(user('u1'), { spreadMs: 30_000 });
    await Promise.all([wide, refreshOf(user('u1'))].map((draft) => road.invalidations.announce(draft, signal)));
    expect(road.journal.head()).toBe(2);
    await road.stop();
  });

  it('S6 one that comes when the trailing one is due joins it', async () => {
    const road = await startRoad({ settleMs: 2000 });
    await road.invalidations.announce(refreshOf(user('u1')), signal);
    const trailing = road.invalidations.announce(refreshOf(user('u1')), signal);
    const due = road.clock.delay(2000, signal).then(() => road.invalidations.announce(refreshOf(user('u1')), signal));
    await road.clock.advance(2000);
    expect((await trailing).asOf.revision).toBe(2);
    await road.clock.advance(2000);
    await due;
    expect(road.journal.head()).toBeLessThanOrEqual(3);
    await road.stop();
  });
});

describe('S12 compaction', () => {
  it('S12 the running loop forgets entries at their end, moves `earliest` with the REFRESH floor and sweeps the index', async () => {
    const road = await startRoad({ factsLifeMs: 302_000 });
    await road.invalidations.append(refreshOf(user('u1')));
    await road.invalidations.append(revokeOf(user('u2')));
    // The two users, and the unknown one.
    expect([road.journal.count(), road.invalidations.size]).toEqual([2, 3]);

    await road.clock.advance(300_000);
    expect([road.journal.count(), road.journal.earliest()]).toEqual([2, 0]);
    // The floor has passed both; the REVOKE outlives it.
    await road.clock.advance(60_000);
    expect([road.journal.count(), road.journal.earliest()]).toEqual([1, 2]);
    expect(road.invalidations.coveringOf(tokenOf('u2')).revoked).toBeDefined();

    // Sixteen of 256 shards a minute.
    await road.clock.advance(3_600_000);
    expect(road.journal.count()).toBe(0);
    await road.clock.advance(16 * 60_000);
    expect(road.invalidations.size).toBe(0);
    expect([road.journal.head(), road.invalidations.applied]).toEqual([2, 2]);
    await road.stop();
  });

  it('S12 a wall clock that jumps forward makes it forget nothing: it forgets as fast as time goes by', async () => {
    const road = await startRoad();
    await road.invalidations.append(revokeOf(user('u'), { lifeMs: 3_600_000 }));
    road.clock.stepWall(86_400_000);
    await road.clock.advance(600_000);
    expect(road.journal.count()).toBe(1);
    expect(road.invalidations.coveringOf(tokenOf('u')).revoked).toBeDefined();

    await road.clock.advance(3_600_000);
    expect(road.journal.count()).toBe(0);
    await road.stop();
  });

  it('S12 a journal that is given nothing more becomes empty by itself, and can be started from and appended to', async () => {
    const dir = newDir();
    const clock = createFakeClock();
    const journal = await openLevelJournal({ dir, clock });
    const road = await startRoad({ clock, journal });
    await Promise.all(Array.from({ length: 1500 }, (_, n) => road.invalidations.append(revokeOf(user(`u${n}`), { lifeMs: 1000 }))));
    await clock.advance(59_000);
    await clock.advance(1000);
    // LevelDB is not moved by a fake clock: the test's own limit ends this where it never comes.
    while (journal.count() > 0) await clock.advance(0);
    expect(journal.count()).toBe(0);
    await road.stop();
    await journal.close();

    const again = await startRoad({ clock, journal: await openLevelJournal({ dir, clock }) });
    expect([again.journal.corruption, again.invalidations.applied]).toEqual([undefined, 1500]);
    expect((await again.invalidations.append(revokeOf(user('next')))).asOf.revision).toBe(1501);
    await again.stop();
    await again.journal.close();
  });

  it('S12 an entry that ends before it is applied does not hold up the road', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    const journal = journalWith(inner, {
      append: async (...given) => {
        const placed = await inner.append(...given);
        await inner.compact({ nowMs: clock.nowMs() + 1, floorMs: 0 });
        return placed;
      },
    });
    const road = await startRoad({ clock, journal });
    const { asOf } = await road.invalidations.append(revokeOf(user('u1'), { lifeMs: 0 }));
    expect([asOf.revision, road.invalidations.applied, journal.count()]).toEqual([1, 1, 0]);
    await road.stop();
  });

  it('S12 a compaction that fails is said, and tried again a minute later', async () => {
    const clock = createFakeClock();
    const inner = createMemoryJournal({ clock });
    let fails = true;
    const journal = journalWith(inner, {
      compact: async (times) => {
        if (fails) throw new SidecarError('UNAVAILABLE', 'no room', { reason: 'JOURNAL_FAILED' });
        return inner.compact(times);
      },
    });
    const road = await startRoad({ clock, journal });
    await road.invalidations.append(revokeOf(user('u1'), { lifeMs: 1000 }));
    await clock.advance(59_999);
    fails = false;
    expect(journal.count()).toBe(1);
    await clock.advance(1);
    expect(journal.count()).toBe(0);
    expect(road.telemetry.lines.some((line) => line.message.includes('compaction failed'))).toBe(true);
    await road.stop();
  });
});

describe('the end of the road', () => {
  it('run ends when its signal aborts, wherever it waits, and leaves no delay behind', async () => {
    const road = await startRoad();
    await road.clock.advance(0);
    await road.stop();
    expect(road.clock.waiting()).toBe(0);
  });
});
