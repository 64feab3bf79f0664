// Journals that exchange their entries: what one has told everybody has, whatever happens to the log, and what nobody knows is said.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { revision } from '../../../src/core/invalidation.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import { createStage, maxLagMs, retentionMs, type Sidecar, type Stage } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = createStage();
});
afterEach(() => stage.close());

const all = (sidecars: readonly Sidecar[], user: string) => async (): Promise<boolean> =>
  (await Promise.all(sidecars.map((sidecar) => sidecar.hasKilled(user)))).every(Boolean);
const sound = (...sidecars: readonly Sidecar[]) => stage.until(() => sidecars.every((sidecar) => sidecar.reasons().length === 0));
const idsIn = async ({ journal }: Sidecar): Promise<readonly string[]> =>
  (await journal.read(0 as never, 100_000)).map(({ entry }) => entry.id);

describe('entries of a fleet', () => {
  it('S14 what is revoked on one is dead on all, under one id, and goes round once', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    const [one] = sidecars;
    const done = await one?.revoke('alice');
    await stage.until(all(sidecars, 'alice'), 1_000);
    await stage.clock.advance(5_000);
    for (const sidecar of sidecars) expect(await idsIn(sidecar)).toEqual([done?.entryId]);
    const told = stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'));
    expect(told).toHaveLength(1);
  });

  it('S13 nobody is relied on before it has read what is there', async () => {
    const one = await stage.start('one');
    await sound(one);
    stage.log.hang();
    const two = await stage.start('two');
    await stage.clock.advance(3_000);
    expect([two.reasons(), two.fleet.isCaughtUp]).toEqual([['FLEET_BEHIND'], false]);
    stage.log.start();
    await sound(two);
    expect(two.fleet.isCaughtUp).toBe(true);
  });

  it('S13 the log is away for longer than max_lag: all are behind; what was revoked meanwhile works here at once, and everywhere afterwards', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    stage.log.stop();
    await stage.clock.advance(maxLagMs + 1_500);
    for (const sidecar of sidecars) expect(sidecar.reasons()).toEqual(['FLEET_BEHIND']);
    for (const sidecar of sidecars) {
      await sidecar.revoke(`user of ${sidecar.name}`);
      expect(await sidecar.hasKilled(`user of ${sidecar.name}`)).toBe(true);
    }
    const madeMs = stage.clock.nowMs();
    await stage.clock.advance(60_000);
    await sidecars[0]?.revoke('a later one');
    expect(sidecars[0]?.fleet.status().outbox).toEqual({ count: 2, oldestAtMs: madeMs });
    stage.log.start();
    await sound(...sidecars);
    for (const { name } of sidecars) expect(await all(sidecars, `user of ${name}`)()).toBe(true);
    expect(sidecars[0]?.fleet.status().outbox.count).toBe(0);
    expect(stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'))).toHaveLength(4);
  });

  it('a sidecar that was away goes on where it was, and has what was told meanwhile before it is relied on', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    await one.revoke('before');
    await stage.until(all([two], 'before'));
    await stage.clock.advance(2_000);
    await two.stop();
    await one.revoke('meanwhile');
    const again = await stage.start('two', { journal: two.journal });
    await sound(again);
    expect(await all([again], 'meanwhile')()).toBe(true);
    expect(again.telemetry.count('sidegate_fleet_gaps_total')).toBe(0);
  });

  it('a lost journal volume is brought back by the others', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    const done = await one.revoke('alice');
    await stage.until(all([two], 'alice'));
    await one.stop();
    const fresh = await stage.start('one', { journal: createMemoryJournal({ clock: stage.clock }) });
    await sound(fresh);
    expect(await idsIn(fresh)).toEqual([done.entryId]);
  });
});

describe('S14 a journal that is not what it was', () => {
  /** As the volume of `journal` was before anything was written. */
  const emptyCopyOf = (journal: Sidecar['journal']): Sidecar['journal'] =>
    createMemoryJournal({ clock: stage.clock, identity: { id: journal.id, bornAtMs: journal.bornAtMs } });

  it('restored from a copy, it gets back what it had told, and never gives a revision twice', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    const revoked = [await one.revoke('alice'), await one.revoke('bob'), await one.revoke('carol')];
    await stage.clock.advance(5_000);
    await one.stop();
    const again = await stage.start('one', { journal: emptyCopyOf(one.journal) });
    await sound(again);
    await stage.clock.advance(1_000);
    expect(await idsIn(again)).toEqual(revoked.map(({ entryId }) => entryId));
    // A cursor of before is behind whatever comes now.
    const next = await again.revoke('dave');
    expect(next.asOf.revision).toBeGreaterThan(revoked[2]?.asOf.revision ?? Infinity);
    expect(again.telemetry.lines.map(({ message }) => message)).toContain('the journal was restored from a copy');
    await stage.until(all([two], 'dave'));
    // What came back is not told a second time.
    const told = stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'));
    expect(told).toHaveLength(4);
  });

  it('restored from a copy, it notices it also where its clock was ahead before', async () => {
    const one = await stage.start('one', { aheadMs: 3_600_000 });
    await sound(one);
    await one.revoke('alice');
    await stage.clock.advance(5_000);
    await one.stop();
    const again = await stage.start('one', { journal: emptyCopyOf(one.journal) });
    await stage.until(() => again.fleet.isCaughtUp);
    await stage.clock.advance(1_000);
    expect(again.telemetry.lines.map(({ message }) => message)).toContain('the journal was restored from a copy');
    const next = await again.revoke('bob');
    expect(next.asOf.revision).toBeGreaterThan(1_000_000);
    await stage.clock.advance(30_000);
    expect(again.telemetry.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('what it told itself before is nobody else’s, also where the log is read from the oldest once more', async () => {
    const one = await stage.start('one');
    await sound(one);
    await stage.clock.advance(5_000);
    await one.stop();
    const again = await stage.start('one', { journal: one.journal });
    await sound(again);
    await stage.clock.advance(30_000);
    // It loses what was read last: another record stands there.
    stage.log.lose(5);
    await stage.until(() => again.telemetry.count('sidegate_fleet_gaps_total', { how: 'anew' }) === 1);
    await sound(again);
    expect(again.telemetry.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('two that run with copies of one journal are told apart, and it is said', async () => {
    const one = await stage.start('one');
    await sound(one);
    await stage.clock.advance(70_000);
    const twin = await stage.start('one', { journal: emptyCopyOf(one.journal) });
    await sound(twin);
    await stage.clock.advance(70_000);
    const said = 'another sidecar runs with a copy of this journal: give each a volume of its own';
    expect([one, twin].flatMap(({ telemetry }) => telemetry.lines.map(({ message }) => message))).toContain(said);
  });
});

it('revisions that nobody has wait for nobody', async () => {
  const one = await stage.start('one');
  await sound(one);
  await one.revoke('alice');
  await stage.clock.advance(2_000);
  await one.stop();
  // As after a copy that was restored, or when the newest entries have been forgotten.
  await one.journal.skipTo(revision(1_000_000));
  const again = await stage.start('one', { journal: one.journal });
  await sound(again);
  expect([again.invalidations.applied, again.fleet.status().outbox.count]).toEqual([1_000_000, 0]);
  const { reach } = await again.fleet.reach(again.invalidations.applied, 'shared', AbortSignal.timeout(10_000));
  expect(reach).toBe('shared');
});

describe('S10 news that all members hear', () => {
  const news = { atMs: 0, origin: { source: 'central/bus' } };

  it('are told to the fleet once, and are one entry everywhere', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    const request = { caller: 'news/central', requestId: 'message 1 0', body: 'b' };
    for (const [n, { invalidations }] of sidecars.entries()) {
      const selector = { kind: 'fit' as const, issuer: 'central', conditions: [{ dimension: 'user' as const, value: 'alice' }] };
      const common = { effect: 'REVOKE' as const, selector, lifeMs: 86_400_000, ...news, atMs: stage.clock.nowMs() };
      const waits = invalidations.append(common, request);
      await waits;
      if (n === 0) await stage.clock.advance(700);
    }
    await stage.clock.advance(3_000);
    const told = stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'));
    expect(told).toHaveLength(1);
    for (const sidecar of sidecars) expect(await idsIn(sidecar)).toHaveLength(1);
  });
});

describe('S14 a REFRESH', () => {
  it('that its own journal has forgotten, and one that heard of it later tells again, proves nothing of that journal', async () => {
    const one = await stage.start('one');
    await sound(one);
    await one.revoke('alice', { effect: 'REFRESH', lifeMs: 602_000 });
    await stage.clock.advance(300_000);
    const late = await stage.start('late');
    await sound(late);
    expect(await idsIn(late)).toHaveLength(1);
    await stage.clock.advance(310_000);
    await one.journal.compact({ nowMs: stage.clock.nowMs(), floorMs: 0 });
    expect(await idsIn(one)).toEqual([]);
    stage.log.recreate();
    await stage.until(() => one.reasons().includes('GAP'), 20_000);
    await sound(one, late);
    expect(stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'))).toHaveLength(1);
    expect(one.telemetry.lines.map(({ message }) => message)).not.toContain('the journal was restored from a copy');
  });
});

describe('S14 news that two understand differently', () => {
  it('hold as both say, everywhere: one had no room for their form', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    const [one, two] = sidecars;
    const request = { caller: 'news/central', requestId: 'message 1 0', body: 'b' };
    const news = { lifeMs: 86_400_000, atMs: stage.clock.nowMs(), origin: { source: 'central/poll' } };
    const selector = { kind: 'fit' as const, issuer: 'central', conditions: [{ dimension: 'user' as const, value: 'alice' }] };
    await Promise.all([
      one?.invalidations.append({ ...news, effect: 'REFRESH', selector }, request),
      two?.invalidations.append({ ...news, effect: 'REVOKE', selector, alsoRefreshes: true }, request),
    ]);
    await stage.until(all(sidecars, 'alice'), 5_000);
    await stage.clock.advance(2_000);
    for (const sidecar of sidecars) expect((await idsIn(sidecar)).length).toBe(2);
    expect(stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'))).toHaveLength(2);
    // Who reads both in one batch has neither of them when they come.
    const late = await stage.start('late');
    await sound(late);
    expect((await idsIn(late)).length).toBe(2);
    expect(await late.hasKilled('alice')).toBe(true);
    // Told again they are nobody's who has them under the other id.
    stage.log.recreate();
    await stage.until(() => sidecars.every((sidecar) => sidecar.reasons().includes('GAP')), 20_000);
    await sound(late, ...sidecars);
    for (const { telemetry } of sidecars)
      expect(telemetry.lines.map(({ message }) => message)).not.toContain('the journal was restored from a copy');
  });
});

describe('S14 a log that is not what it was', () => {
  it('made again while all are there: what the journals hold is told once more, and until then it is said', async () => {
    const sidecars = await Promise.all(['one', 'two'].map((name) => stage.start(name)));
    await sound(...sidecars);
    await sidecars[0]?.revoke('alice');
    await stage.until(all(sidecars, 'alice'));
    stage.log.recreate();
    await stage.until(() => sidecars.every((sidecar) => sidecar.reasons().includes('GAP')), 20_000);
    const late = await stage.start('late');
    await sound(late, ...sidecars);
    expect(await all([late], 'alice')()).toBe(true);
  });

  it('made again, and longer than it was, while one is away', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    await one.revoke('alice');
    await stage.until(all([two], 'alice'));
    await stage.clock.advance(2_000);
    await two.stop();
    stage.log.recreate();
    await stage.clock.advance(30_000);
    await one.revoke('bob');
    expect(stage.log.records.length).toBeGreaterThan(10);
    const again = await stage.start('two', { journal: two.journal });
    await sound(again);
    expect(await all([again], 'bob')()).toBe(true);
    expect(again.telemetry.count('sidegate_fleet_gaps_total', { how: 'anew' })).toBe(1);
  });

  it('it ends before what was read of it: a position beyond its end is nothing that it tells', async () => {
    const one = await stage.start('one');
    await sound(one);
    await stage.clock.advance(120_000);
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    await one.stop();
    stage.log.recreate();
    const again = await stage.start('one', { journal: one.journal });
    await stage.until(() => again.telemetry.count('sidegate_fleet_gaps_total', { how: 'anew' }) === 1, 10_000);
    const late = await stage.start('late');
    await sound(again, late);
    expect(await all([late], 'alice')()).toBe(true);
  });

  it('is the same for who comes late to reading it, as behind another sidecar', async () => {
    const one = await stage.start('one');
    await sound(one);
    stage.log.readLate(9_000);
    stage.log.cut();
    await stage.clock.advance(15_000);
    await sound(one);
    expect(one.telemetry.count('sidegate_fleet_gaps_total', { how: 'anew' })).toBe(0);
  });

  it('trimmed beyond what one has read: it is asked about, and the others tell again what is theirs', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    await stage.clock.advance(2_000);
    await two.stop();
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    stage.log.trim((stage.log.records.at(-1)?.position ?? 0) + 1);
    await stage.clock.advance(5_000);
    const again = await stage.start('two', { journal: two.journal });
    await stage.until(() => again.telemetry.count('sidegate_fleet_gaps_total', { how: 'trimmed' }) === 1);
    expect(again.reasons()).toContain('GAP');
    await sound(again);
    expect(await all([again], 'alice')()).toBe(true);
    expect(again.telemetry.count('sidegate_fleet_gaps_total', { how: 'trimmed' })).toBe(1);
  });
});

describe('S14 what is not authentic, or not understood', () => {
  const other = { id: 'k2', secret: Buffer.alloc(32, 2) };
  const usual = { id: 'k1', secret: Buffer.alloc(32, 1) };

  it('rubbish is counted, and nothing else', async () => {
    const one = await stage.start('one');
    await sound(one);
    const [genuine] = stage.log.records;
    const forged = Buffer.from(genuine?.bytes ?? []);
    forged[forged.length - 3] = (forged.at(-3) ?? 0) ^ 1;
    for (const bytes of [Buffer.from('rubbish'), Buffer.alloc(0), Buffer.alloc(300_000), forged]) stage.log.append(bytes);
    await stage.until(() => one.telemetry.count('sidegate_fleet_ignored_total', { why: 'unauthenticated' }) === 4);
    expect([one.reasons(), one.journal.count()]).toEqual([[], 0]);
  });

  it('a key that is not here is a hole, which is said until a start with the key has read what it holds', async () => {
    const one = await stage.start('one');
    await sound(one);
    const rotated = await stage.start('rotated', { keys: [other, usual] });
    await rotated.revoke('alice');
    await stage.until(() => one.reasons().includes('GAP'));
    await stage.clock.advance(30_000);
    expect(one.reasons()).toContain('GAP');
    expect(await one.hasKilled('alice')).toBe(false);
    await one.stop();
    const again = await stage.start('one', { journal: one.journal, keys: [usual, other] });
    await sound(again);
    expect(await again.hasKilled('alice')).toBe(true);
  });

  describe('a record under a key that nobody has', () => {
    const nobodys = Buffer.concat([Buffer.from('SGF1'), Buffer.alloc(100, 7)]);
    const label = '07'.repeat(8);

    it('holds a sidecar until an operator has said so', async () => {
      const one = await stage.start('one');
      await sound(one);
      stage.log.append(nobodys);
      await stage.until(() => one.reasons().includes('GAP'));
      expect(one.telemetry.lines).toContainEqual(expect.objectContaining({ level: 'error', fields: expect.objectContaining({ label }) }));
      await one.stop();
      const again = await stage.start('one', { journal: one.journal, ignoredKeys: [label] });
      await sound(again);
      await stage.clock.advance(30_000);
      expect([again.reasons(), again.telemetry.count('sidegate_fleet_ignored_total', { why: 'unknown_key' })]).toEqual([[], 1]);
    });

    it('or until the log was made anew: the journals tell it again what they hold', async () => {
      const [one, two] = [await stage.start('one'), await stage.start('two')];
      await sound(one, two);
      await one.revoke('alice');
      stage.log.append(nobodys);
      await stage.until(() => one.reasons().includes('GAP') && two.reasons().includes('GAP'));
      await stage.clock.advance(60_000);
      expect(one.reasons()).toContain('GAP');
      stage.log.recreate();
      await sound(one, two);
      const late = await stage.start('late');
      await sound(late);
      expect(await late.hasKilled('alice')).toBe(true);
    });

    it('or until nothing that was told then can matter any more', async () => {
      const one = await stage.start('one');
      await sound(one);
      stage.log.append(nobodys);
      await stage.until(() => one.reasons().includes('GAP'));
      stage.clock.jump(retentionMs - 60_000);
      await stage.clock.advance(60_000);
      expect(one.reasons()).toContain('GAP');
      await stage.clock.advance(120_000);
      expect(one.reasons()).toEqual([]);
      // And a start does not begin before it.
      await stage.clock.advance(60_000);
      stage.log.trim(stage.log.records.find(({ bytes }) => Buffer.from(bytes).equals(nobodys))?.position ?? 0);
      await one.stop();
      stage.log.trim((stage.log.records.at(-1)?.position ?? 0) - 40);
      const again = await stage.start('one', { journal: one.journal });
      await sound(again);
      expect(again.telemetry.count('sidegate_fleet_gaps_total')).toBe(0);
    });
  });
});

describe('how far an entry has gone', () => {
  it('the whole fleet: everybody has said that it is applied there', async () => {
    const sidecars = await Promise.all(['one', 'two', 'three'].map((name) => stage.start(name)));
    await sound(...sidecars);
    const [one] = sidecars;
    const done = await one?.revoke('alice');
    const wanted = done?.asOf.revision ?? (0 as never);
    let reached: unknown;
    void one?.fleet.reach(wanted, 'fleet', new AbortController().signal).then((it) => {
      reached = it;
    });
    await stage.until(() => reached !== undefined, 2_000);
    expect(reached).toMatchObject({ reach: 'fleet', lagging: [] });
    expect(await all(sidecars, 'alice')()).toBe(true);
  });

  it('who is gone without a word is named, until it does not let itself be relied on any more', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    // As one that is stopped: it reads nothing, and writes nothing.
    const records = stage.log.records.length;
    await two.stop();
    expect(stage.log.records.length).toBeGreaterThan(records);
    await stage.until(() => one.fleet.status().members.length === 0, 2_000);
  });

  it('the log is away: here, and no further', async () => {
    const one = await stage.start('one');
    await sound(one);
    stage.log.stop();
    await stage.clock.advance(100);
    const done = await one.revoke('alice');
    const leave = new AbortController();
    const reaching = one.fleet.reach(done.asOf.revision, 'shared', leave.signal);
    await stage.clock.advance(1_000);
    leave.abort();
    expect(await reaching).toMatchObject({ reach: 'sidecar' });
  });
});
