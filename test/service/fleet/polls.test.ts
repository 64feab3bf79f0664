// One poll for a whole fleet: about one question an interval, whoever dies, and nothing is missed or proven that is not so (S11).

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRecord, type Polled, recordKeyOf, sealRecord } from '../../../src/core/fleet-record.ts';
import type { LogRecord } from '../../../src/ports.ts';
import { refreshing } from '../../fakes/news-source.ts';
import { usualKey } from '../road.ts';
import { createPollsStage, everyMs, type PollsStage } from './polls-stage.ts';
import { maxLagMs, type Sidecar } from './stage.ts';

let stage: PollsStage;
beforeEach(() => {
  stage = createPollsStage();
});
afterEach(() => stage.close());

const names = ['one', 'two', 'three'];
const sound = (...sidecars: readonly Sidecar[]): Promise<void> =>
  stage.until(() => sidecars.every(({ reasons }) => reasons().length === 0));
const begin = async (...which: readonly string[]): Promise<readonly Sidecar[]> => {
  const sidecars = await Promise.all(which.map((name) => stage.start(name)));
  await sound(...sidecars);
  await stage.clock.advance(5_000);
  return sidecars;
};
const entriesOf = async ({ journal }: Sidecar): Promise<number> => (await journal.read(0 as never, 100_000)).length;
/** Lets so much time pass, and says which reasons were given meanwhile, each second. */
const reasonsWithin = async (ms: number, ...sidecars: readonly Sidecar[]): Promise<readonly string[]> => {
  const said = new Set<string>();
  for (let passedMs = 0; passedMs < ms; passedMs += 1_000) {
    await stage.clock.advance(1_000);
    for (const { reasons } of sidecars) for (const reason of reasons()) said.add(reason);
  }
  return [...said];
};

const polledIn = (records: readonly LogRecord[]): readonly Polled[] =>
  records.flatMap(({ bytes }) => {
    const record = openRecord([recordKeyOf(usualKey)], bytes);
    return record.kind === 'polled' ? [record.polled] : [];
  });

describe('S11 the poll of a fleet', () => {
  it('is one question an interval, for three of them', async () => {
    const sidecars = await begin(...names);
    const fromMs = stage.clock.monotonicMs();
    expect(await reasonsWithin(180_000, ...sidecars)).toEqual([]);
    const count = stage.polls(fromMs).length;
    expect(count).toBeGreaterThan(180_000 / everyMs - 5);
    expect(count).toBeLessThan((180_000 / everyMs) * 1.25);
  });

  it('asks for nothing twice, and each time goes on where the one before has ended', async () => {
    await begin(...names);
    const fromMs = stage.clock.monotonicMs();
    await stage.clock.advance(60_000);
    const polls = stage.polls(fromMs);
    expect(new Set(polls.map(({ sinceMs }) => sinceMs)).size).toBe(polls.length);
    for (const { atMs, sinceMs } of polls) expect(stage.clock.nowMs() - (stage.clock.monotonicMs() - atMs) - sinceMs).toBeLessThan(67_000);
  });

  it('tells all, within an interval, what one of them was told, as one entry', async () => {
    const sidecars = await begin(...names);
    const asked = stage.asked.length;
    stage.revokeThere('alice');
    await stage.until(async () => (await Promise.all(sidecars.map((one) => one.hasKilled('alice')))).every(Boolean), everyMs + 200);
    expect(stage.asked.length).toBe(asked + 1);
    await stage.clock.advance(70_000);
    for (const sidecar of sidecars) expect(await entriesOf(sidecar)).toBe(1);
    expect(stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'))).toHaveLength(1);
  });

  it('is told of behind everything that it was told, and not sooner', async () => {
    await begin(...names);
    for (let n = 0; n < 5; n += 1) {
      const [from, asked] = [stage.log.records.length, stage.asked.length];
      stage.revokeThere(`user ${n}`);
      await stage.until(() => stage.asked.length > asked, everyMs + 200);
      const sinceMs = stage.asked[asked]?.sinceMs;
      await stage.clock.advance(1_500);
      const since = stage.log.records.slice(from);
      const entry = since.findIndex(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'));
      const told = since.findIndex((record) => polledIn([record]).some((polled) => polled.sinceMs === sinceMs));
      expect(entry).toBeGreaterThanOrEqual(0);
      expect(told).toBeGreaterThan(entry);
    }
  });

  it('goes on within interval and jitter when the one that asks dies, and misses nothing', async () => {
    const sidecars = await begin(...names);
    for (let n = 0; n < 2; n += 1) {
      const last = stage.polls().at(-1);
      const poller = sidecars.find(({ name }) => name === last?.by);
      const others = sidecars.filter(({ name, engine }) => name !== last?.by && engine.health().reachable);
      await poller?.stop();
      const diedMs = stage.clock.monotonicMs();
      stage.revokeThere(`user ${n}`);
      await stage.until(
        async () => (await Promise.all(others.map((one) => one.hasKilled(`user ${n}`)))).every(Boolean),
        1.5 * everyMs + 200,
      );
      const [first] = stage.polls(diedMs);
      expect(others.map(({ name }) => name)).toContain(first?.by);
      // It asks for what came since the last one, not for an hour.
      expect(stage.sweeps(diedMs)).toEqual([]);
      expect(others.flatMap(({ reasons }) => reasons())).toEqual([]);
      await stage.clock.advance(10_000);
    }
    const left = sidecars.find(({ engine }) => engine.health().reachable);
    expect(left && (await entriesOf(left))).toBe(2);
  });

  it('each asks for itself while the log is away, and all of them are one again afterwards', async () => {
    const sidecars = await begin(...names);
    stage.log.stop();
    await stage.clock.advance(everyMs * 2);
    const fromMs = stage.clock.monotonicMs();
    expect(await reasonsWithin(60_000, ...sidecars)).toEqual(['FLEET_BEHIND']);
    for (const name of names) expect(stage.polls(fromMs).filter(({ by }) => by === name).length).toBeGreaterThan(25);
    stage.log.start();
    await sound(...sidecars);
    await stage.clock.advance(10_000);
    const againMs = stage.clock.monotonicMs();
    expect(await reasonsWithin(60_000, ...sidecars)).toEqual([]);
    expect(stage.polls(againMs).length).toBeLessThan(38);
  });

  it('is told to nobody while the log is not whole', async () => {
    const sidecars = await begin(...names);
    stage.revokeThere('alice');
    await stage.clock.advance(10_000);
    stage.log.recreate();
    await stage.until(() => sidecars.every(({ reasons }) => reasons().includes('GAP')));
    const fromMs = stage.clock.monotonicMs();
    for (const name of names) stage.look(name);
    await sound(...sidecars);
    for (const name of names) expect(stage.polls(fromMs).map(({ by }) => by)).toContain(name);
    const written = stage.log.records.map(({ bytes }) => Buffer.from(bytes).toString('latin1'));
    const notWhole = written.findLastIndex((text) => text.includes('"isWhole":false'));
    const first = written.findIndex((text) => text.includes('"kind":"polled"'));
    expect(notWhole).toBeGreaterThan(0);
    expect(first).toBeGreaterThan(notWhole);
    expect(written.slice(0, first).filter((text) => text.includes('"kind":"entry"'))).not.toEqual([]);
  });

  it('one that reads the log late asks for itself', async () => {
    const sidecars = await begin('one', 'two');
    const [, two] = sidecars;
    two?.engine.freeze();
    await stage.clock.advance(maxLagMs);
    const fromMs = stage.clock.monotonicMs();
    await stage.clock.advance(20_000);
    expect(stage.polls(fromMs).filter(({ by }) => by === 'two').length).toBeGreaterThan(8);
    two?.engine.thaw();
    await sound(...sidecars);
  });

  it('is heard of by one that has no way to Keystone, which is not behind', async () => {
    const sidecars = await begin(...names);
    stage.cutOff('two');
    expect(await reasonsWithin(60_000, ...sidecars)).toEqual([]);
    expect(stage.healthOf('two')).toMatchObject({ reachable: true });
  });

  it('that nobody can ask leaves all of them behind', async () => {
    const sidecars = await begin(...names);
    for (const name of names) stage.cutOff(name);
    await stage.clock.advance(maxLagMs + 2_000);
    for (const { reasons } of sidecars) expect(reasons()).toEqual(['SOURCE_BEHIND(poll)']);
    for (const name of names) stage.back(name);
    await sound(...sidecars);
  });

  it('that takes long is not asked by all of them meanwhile', async () => {
    const sidecars = await begin(...names);
    stage.slowDown(3_000);
    await stage.clock.advance(20_000);
    const fromMs = stage.clock.monotonicMs();
    await stage.clock.advance(60_000);
    expect(stage.polls(fromMs).length).toBeLessThan(26);
    expect(sidecars.flatMap(({ reasons }) => reasons())).toEqual([]);
  });

  it.each([2, 3, 20])('S13 that takes long for one of %d is asked by another, and nobody is behind', async (count) => {
    const sidecars = await begin(...Array.from({ length: count }, (_, n) => `member ${n}`));
    const slow = stage.polls().at(-1)?.by ?? '';
    stage.slowDown(4_900, slow);
    await stage.clock.advance(20_000);
    const fromMs = stage.clock.monotonicMs();
    expect(await reasonsWithin(60_000, ...sidecars)).toEqual([]);
    const polls = stage.polls(fromMs);
    expect(polls.filter(({ by }) => by === slow)).toEqual([]);
    expect(polls.length).toBeGreaterThan(60_000 / everyMs - 5);
    expect(polls.length).toBeLessThan((60_000 / everyMs) * 1.25);
  });

  it('matters to nobody who has none configured, and who has is not kept from it', async () => {
    const [one, two] = [await stage.start('one', { polls: false }), await stage.start('two')];
    await sound(one, two);
    stage.revokeThere('alice');
    await stage.until(() => one.hasKilled('alice'), everyMs + 1_200);
    const fromMs = stage.clock.monotonicMs();
    expect(await reasonsWithin(20_000, one, two)).toEqual([]);
    expect(new Set(stage.polls(fromMs).map(({ by }) => by))).toEqual(new Set(['two']));
  });

  it('sweeps once for all of them', async () => {
    const sidecars = await begin(...names);
    const fromMs = stage.clock.monotonicMs();
    await reasonsWithin(1_800_000, ...sidecars);
    await stage.until(() => stage.sweeps().some(({ atMs }) => atMs > stage.clock.monotonicMs() - 60_000), 720_000);
    expect(stage.sweeps(fromMs).length).toBeGreaterThanOrEqual(2);
    expect(stage.sweeps(fromMs).length).toBeLessThanOrEqual(5);
    // Nor does each that is started again, as long as another has swept lately.
    const last = stage.sweeps().at(-1)?.by;
    const againMs = stage.clock.monotonicMs();
    for (const { name, journal, stop } of sidecars.filter((one) => one.name !== last)) {
      await stop();
      await sound(await stage.start(name, { journal }));
    }
    await stage.clock.advance(2_000);
    expect(stage.sweeps(againMs)).toEqual([]);
  });
});

describe('S11 what another sidecar has asked', () => {
  /** What a sidecar that nobody sees tells of a poll. */
  const tell = (changes: object): void => {
    const { clock, log } = stage;
    const nowMs = clock.nowMs();
    const after = log.records.at(-1)?.position ?? 0;
    const common = { journal: 'somebody', issuer: 'central', source: 'poll', atMs: nowMs - 40, tookMs: 30, sinceMs: nowMs - 60_500 };
    const polled = { ...common, fromMs: nowMs - 3_600_000, throughMs: nowMs - 500, after, ...changes };
    log.append(sealRecord(recordKeyOf(usualKey), { kind: 'polled', polled }));
  };
  /** Whether, told each second for half a minute, it keeps the only member from asking; and what that member says of itself. */
  const told = async (changes: () => object): Promise<{ readonly polls: number; readonly reasons: readonly string[] }> => {
    const [one] = await begin('one');
    stage.cutOff('one');
    const fromMs = stage.clock.monotonicMs();
    for (let n = 0; n < 30; n += 1) {
      tell(changes());
      await stage.clock.advance(1_000);
    }
    return { polls: stage.polls(fromMs).length, reasons: one?.reasons() ?? [] };
  };
  const behind = ['SOURCE_BEHIND(poll)'];

  it('proves what its question came after, and nobody has to ask', async () => {
    expect(await told(() => ({}))).toEqual({ polls: 0, reasons: [] });
  });

  it('by a clock that is an hour ahead proves nothing', async () => {
    const { polls, reasons } = await told(() => ({ atMs: stage.clock.nowMs() + 3_600_000 }));
    expect([polls > 3, reasons]).toEqual([true, behind]);
  });

  it('by a clock that is an hour behind keeps nobody from asking', async () => {
    const { polls } = await told(() => ({ atMs: stage.clock.nowMs() - 3_600_000 }));
    expect(polls).toBeGreaterThan(3);
  });

  it('that began before any sign of life of ours proves nothing, whatever its clock says', async () => {
    expect((await told(() => ({ after: 0 }))).reasons).toEqual(behind);
  });

  it('that leaves out what we have not asked for proves nothing', async () => {
    const { polls, reasons } = await told(() => ({ fromMs: stage.clock.nowMs() - 500 }));
    expect([polls > 3, reasons]).toEqual([true, behind]);
  });

  it('about a time that has not come is not believed', async () => {
    expect((await told(() => ({ throughMs: stage.clock.nowMs() + 60_000 }))).reasons).toEqual(behind);
  });

  it('that says it has read what stands behind it is not believed', async () => {
    expect((await told(() => ({ after: 1_000_000 }))).reasons).toEqual(behind);
  });

  it('at another issuer is none of ours', async () => {
    expect((await told(() => ({ issuer: 'elsewhere' }))).reasons).toEqual(behind);
  });

  it('and was lost to it is lost to it alone: the others ask for it themselves', async () => {
    const sidecars = await begin(...names);
    const poller = stage.polls().at(-1)?.by;
    const fromMs = stage.clock.monotonicMs();
    const lostAtMs = stage.clock.nowMs();
    const toldBefore = stage.log.records.length;
    stage.listsTooLong(({ by, atMs }) => by === poller && atMs < fromMs + 3_000);
    await stage.clock.advance(8_000);
    for (const { name, reasons } of sidecars) expect(reasons()).toEqual(name === poller ? ['GAP'] : []);
    expect(stage.polls(fromMs).filter(({ by }) => by !== poller)).not.toEqual([]);
    const journal = sidecars.find(({ name }) => name === poller)?.journal.id;
    await stage.clock.advance(20_000);
    await sound(...sidecars);
    for (let n = 0; n < 10; n += 1) {
      stage.look(poller ?? '');
      await stage.clock.advance(1_000);
    }
    const later = polledIn(stage.log.records.slice(toldBefore)).filter((one) => one.journal === journal);
    // Whoever has not asked for what was lost does not believe that it was told.
    expect(later).not.toEqual([]);
    for (const one of later) expect(one.fromMs).toBeGreaterThan(lostAtMs);
    expect(polledIn(stage.log.records).some((one) => one.journal === journal && one.fromMs < lostAtMs)).toBe(true);
  });

  it('says no more than Keystone keeps for sure: whoever was away for longer asks for itself', async () => {
    const atMs = stage.clock.nowMs();
    await begin('one');
    const [first] = polledIn(stage.log.records);
    // Its first list reached back over an hour.
    expect(stage.asked[0]?.isSweep).toBe(true);
    expect(first?.fromMs).toBeGreaterThanOrEqual(atMs - 1_801_000);
    expect(first?.fromMs).toBeLessThan(atMs - 1_700_000);
  });

  it('is not believed while something in the log cannot be read here', async () => {
    const foreign = recordKeyOf({ id: 'foreign', secret: Buffer.alloc(32, 9) });
    let isSaid = false;
    const { polls } = await told(() => {
      if (!isSaid) stage.log.append(sealRecord(foreign, { kind: 'polled' } as never));
      isSaid = true;
      return {};
    });
    expect(polls).toBeGreaterThan(3);
  });
});

describe('S7 a look of a fleet', () => {
  it('that three want at once asks once, or a little more', async () => {
    await begin(...names);
    const before = stage.asked.length;
    let looks = 0;
    for (let n = 0; n < 20; n += 1) {
      const polls = stage.polls().length;
      const seen = names.map((name) => stage.look(name));
      await stage.until(() => seen.every(({ result }) => result === 'done'), 1_000);
      looks += stage.polls().length - polls;
      await stage.clock.advance(4_000);
    }
    expect(stage.asked.length).toBeGreaterThan(before);
    expect(looks).toBeGreaterThanOrEqual(20);
    expect(looks).toBeLessThan(20 * 2.2);
  });

  it('names those whom another was told of', async () => {
    const sidecars = await begin(...names);
    stage.revokeThere('alice');
    const seen = names.map((name) => stage.look(name));
    await stage.until(() => seen.every(({ result }) => result === 'done'), 1_000);
    for (const sidecar of sidecars) expect(await sidecar.hasKilled('alice')).toBe(true);
  });

  const groupUpdated = (): Parameters<typeof stage.announce>[0] => ({
    event: 'identity.group.updated',
    atMs: stage.clock.nowMs(),
    about: ['g'],
    lookFirst: [{ ...refreshing(['group', 'g']), isWide: true }],
  });
  const hearing = async (): Promise<readonly Sidecar[]> => {
    const sidecars = await Promise.all(names.map((name) => stage.start(name, { bus: true })));
    stage.proveBuses();
    await sound(...sidecars);
    await stage.clock.advance(5_000);
    return sidecars;
  };

  it('explains a message to those who did not ask themselves', async () => {
    const sidecars = await hearing();
    stage.revokeThere('alice');
    stage.announce(groupUpdated());
    await stage.clock.advance(10_000);
    for (const sidecar of sidecars) expect([await sidecar.hasKilled('alice'), await entriesOf(sidecar)]).toEqual([true, 1]);
  });

  it('holds every bus against what one of them was told', async () => {
    const sidecars = await hearing();
    await stage.clock.advance(15_000);
    stage.revokeThere('alice');
    await stage.clock.advance(15_000);
    stage.proveBuses();
    for (const { reasons } of sidecars) expect(reasons()).toEqual(['SOURCE_SUSPECT(bus)']);
  });
});
