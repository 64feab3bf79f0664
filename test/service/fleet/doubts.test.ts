// What is never said too soon: that the whole fleet has an entry, while records come twice, processes begin, and connections end.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Presence, recordKeyOf, sealRecord } from '../../../src/core/fleet-record.ts';
import type { Revision } from '../../../src/core/invalidation.ts';
import { revision } from '../../../src/core/invalidation.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Journal } from '../../../src/ports.ts';
import type { Reached } from '../../../src/service/fleet/reaching.ts';
import { usualKey } from '../road.ts';
import { createStage, maxLagMs, type Sidecar, type Stage, wideWindowMs } from './stage.ts';

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

const isEntry = ({ bytes }: { readonly bytes: Uint8Array }): boolean => Buffer.from(bytes).includes('"kind":"entry"');

/** A journal with a hand on what is read from it. */
function watched(more: (inner: Journal) => Partial<Journal>): Journal {
  const inner = createMemoryJournal({ clock: stage.clock });
  const mine = more(inner);
  return new Proxy(inner, {
    get: (target, name: keyof Journal) => {
      const value: unknown = mine[name] ?? target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('who has missed something, S13', () => {
  /** Two that are sound, the second with a place behind which the log is trimmed, and with what it has missed. */
  const trimmedBehind = async (): Promise<readonly [Sidecar, Sidecar]> => {
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
    return [one, again];
  };

  it('says so after a restart too', async () => {
    const [, two] = await trimmedBehind();
    stage.log.stop();
    await stage.clock.advance(2_000);
    await two.stop();
    stage.log.start();
    const again = await stage.start('two', { journal: two.journal });
    await stage.until(() => again.fleet.isCaughtUp);
    expect(again.reasons()).toContain('GAP');
    await sound(again);
    expect(await again.hasKilled('alice')).toBe(true);
  });

  it('says so until those who are to tell what is theirs could hear of it', async () => {
    const [, two] = await trimmedBehind();
    stage.log.stop();
    await stage.clock.advance(6 * wideWindowMs);
    stage.log.start();
    await stage.until(() => !two.reasons().includes('FLEET_BEHIND'));
    expect(two.reasons()).toEqual(['GAP']);
    await sound(two);
    expect(await two.hasKilled('alice')).toBe(true);
  });

  it('is told what only others hold, of a sidecar that is gone for ever, and once', async () => {
    const [gone, one, two, late] = [
      await stage.start('gone'),
      await stage.start('one'),
      await stage.start('two'),
      await stage.start('late'),
    ];
    await sound(gone, one, two, late);
    await stage.clock.advance(2_000);
    await late.stop();
    await gone.revoke('alice');
    await stage.until(async () => (await one.hasKilled('alice')) && (await two.hasKilled('alice')));
    await gone.stop();
    await stage.clock.advance(2_000);
    stage.log.trim((stage.log.records.at(-1)?.position ?? 0) + 1);
    await stage.clock.advance(5_000);
    const again = await stage.start('late', { journal: late.journal });
    await stage.until(() => again.telemetry.count('sidegate_fleet_gaps_total', { how: 'trimmed' }) === 1);
    await stage.until(() => again.hasKilled('alice'), 10_000);
    expect(again.reasons()).toEqual(['GAP']);
    await sound(again);
  });

  it('notices it also where its connection stood all the time, and is told', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    two.engine.freeze();
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    stage.log.trim((stage.log.records.at(-1)?.position ?? 0) + 1);
    await stage.clock.advance(1_500);
    two.engine.thaw();
    await stage.until(() => two.telemetry.count('sidegate_fleet_gaps_total', { how: 'trimmed' }) === 1, 5_000);
    expect(two.reasons()).toContain('GAP');
    await sound(two);
    expect(await two.hasKilled('alice')).toBe(true);
    expect(two.telemetry.count('sidegate_fleet_gaps_total')).toBe(1);
  });

  it('says so for as long as its journal does not take that everything is asked about', async () => {
    let isFull = true;
    const journal = watched((inner) => ({
      append: (entry, once) => (isFull && entry.origin.source === 'fleet' ? Promise.reject(new Error('full')) : inner.append(entry, once)),
    }));
    const two = await stage.start('two', { journal });
    await sound(two);
    await stage.clock.advance(2_000);
    stage.log.recreate();
    await stage.until(() => two.reasons().includes('GAP'), 20_000);
    await stage.clock.advance(60_000);
    expect(two.reasons()).toEqual(['GAP']);
    isFull = false;
    await sound(two);
  });

  it('has missed nothing where the log never took it', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    stage.log.stop();
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    stage.log.start();
    await stage.until(() => two.hasKilled('alice'));
    await sound(one, two);
    expect([one, two].map(({ telemetry }) => telemetry.count('sidegate_fleet_gaps_total'))).toEqual([0, 0]);
  });

  it('is told what a log has forgotten before it was there at all', async () => {
    const one = await stage.start('one');
    await sound(one);
    await one.revoke('alice');
    await stage.clock.advance(10_000);
    stage.log.trim(stage.log.records.at(-1)?.position ?? 0);
    const two = await stage.start('two');
    await stage.until(() => two.fleet.isCaughtUp);
    expect(two.reasons()).toEqual(['GAP']);
    await sound(two);
    expect(await two.hasKilled('alice')).toBe(true);
  });

  it('has missed nothing in a log that is as old as anything that still matters, nor in one that has just begun', async () => {
    const young = await stage.start('young');
    await sound(young);
    stage.log.append(sealed({ atMs: stage.clock.nowMs() - 86_390_000 }));
    stage.log.trim(stage.log.records.at(-1)?.position ?? 0);
    const two = await stage.start('two');
    await sound(two);
    expect([young, two].map(({ telemetry }) => telemetry.count('sidegate_fleet_gaps_total', { how: 'trimmed' }))).toEqual([0, 0]);
  });

  it('is told also where the connection ends in the middle of that', async () => {
    let isArmed = false;
    const journal = watched((inner) => ({
      read: (after, limit) => {
        if (after === 0 && isArmed) stage.log.hang();
        return inner.read(after, limit);
      },
    }));
    const one = await stage.start('one', { journal });
    await sound(one);
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    isArmed = true;
    stage.log.append(sealed({ asks: 'q' }));
    await stage.clock.advance(3_000);
    expect(stage.log.records.filter(isEntry)).toHaveLength(1);
    isArmed = false;
    stage.log.start();
    await stage.until(() => stage.log.records.filter(isEntry).length === 2, 5_000);
  });

  it('is told by one that was restarted meanwhile', async () => {
    let isArmed = false;
    const journal = watched((inner) => ({
      read: (after, limit) => {
        if (after === 0 && isArmed) stage.log.hang();
        return inner.read(after, limit);
      },
    }));
    const one = await stage.start('one', { journal });
    await sound(one);
    await one.revoke('alice');
    await stage.clock.advance(2_000);
    isArmed = true;
    stage.log.append(sealed({ asks: 'q' }));
    await stage.clock.advance(1_000);
    isArmed = false;
    await one.stop();
    // The question is not there to be read any more.
    stage.log.trim((stage.log.records.at(-1)?.position ?? 0) + 1);
    stage.log.start();
    await stage.start('one', { journal });
    await stage.until(() => stage.log.records.filter(isEntry).length === 1, 5_000);
  });

  it('holds up nobody who ends', async () => {
    let end: (() => void) | undefined;
    const journal = watched((inner) => ({
      read: (after, limit) => {
        if (after === 0) end?.();
        return inner.read(after, limit);
      },
    }));
    const one = await stage.start('one', { journal });
    await sound(one);
    await Promise.all(Array.from({ length: 1_000 }, (_, n) => one.revoke(`user ${n}`)));
    await stage.clock.advance(3_000);
    const told = stage.log.records.filter(isEntry).length;
    let stopping: Promise<void> | undefined;
    end = () => {
      stopping ??= one.stop();
    };
    stage.log.append(sealed({ asks: 'q' }));
    await stage.clock.advance(1_000);
    expect(stopping).toBeDefined();
    expect(stage.log.records.filter(isEntry).length - told).toBeLessThan(300);
  });
});

describe('a hole in the log, S13', () => {
  it('is still there for a process that was stopped, before its first answer', async () => {
    const one = await stage.start('one');
    await sound(one);
    stage.log.append(Buffer.concat([Buffer.from('SGF1'), Buffer.alloc(100, 7)]));
    await stage.until(() => one.reasons().includes('GAP'));
    await stage.clock.advance(maxLagMs);
    // As SIGSTOP: no timer is called, and both clocks go on.
    stage.clock.jump(maxLagMs / 2);
    expect(one.reasons()).toContain('GAP');
  });
});

describe('a sign of life', () => {
  it('that stood beside entries when the connection ended is looked at over the next one', async () => {
    let held: Promise<void> | undefined;
    const journal = watched((inner) => ({
      find: async (id) => {
        await held;
        return await inner.find(id);
      },
    }));
    const one = await stage.start('one', { journal });
    await sound(one);
    await one.revoke('alice');
    await stage.clock.advance(1_000);
    const [entry] = stage.log.records.filter(isEntry);
    let letGo = (): void => undefined;
    held = new Promise((resolve) => {
      letGo = resolve;
    });
    stage.log.append(sealed());
    stage.log.append(entry?.bytes ?? Buffer.alloc(0));
    await stage.clock.advance(20);
    stage.log.cut();
    await stage.clock.advance(0);
    letGo();
    await stage.clock.advance(3_000);
    expect(one.fleet.status().members.map(({ name }) => name)).toEqual(['other']);
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

describe('how far an entry has gone where the journal ends above it', () => {
  it.each(['restored', 'compacted'])('%s: it is told when it is told', async (how) => {
    const first = await stage.start('one');
    await sound(first);
    const { asOf } = await first.revoke('alice');
    if (how === 'restored') await first.journal.skipTo(revision(asOf.revision + 1_000_000));
    else {
      stage.log.stop();
      await first.revoke('bob', { lifeMs: 1_000 });
      await stage.clock.advance(3_000);
      await first.journal.compact({ nowMs: stage.clock.nowMs(), floorMs: 0 });
    }
    await stage.clock.advance(3_000);
    await first.stop();
    stage.log.start();
    const one = await stage.start('one', { journal: first.journal });
    await sound(one);
    const leaving = new AbortController();
    let reached: Reached | undefined;
    // As the cursor of whoever asks for the same once more.
    void one.fleet.reach(one.invalidations.applied, 'shared', leaving.signal).then((it) => {
      reached = it;
    });
    await stage.clock.advance(1_000);
    expect(reached).toMatchObject({ reach: 'shared' });
    expect(one.fleet.status().outbox.count).toBe(0);
  });
});

describe('a REFRESH by news that all hear, S6', () => {
  it('stands for what was heard after another sidecar had told the first of them', async () => {
    const [one, two] = [await stage.start('one'), await stage.start('two')];
    await sound(one, two);
    const selector = { kind: 'fit' as const, issuer: 'central', conditions: [{ dimension: 'user' as const, value: 'alice' }] };
    const common = { effect: 'REFRESH' as const, selector, lifeMs: 602_000, origin: { source: 'central/bus' } };
    const { signal } = new AbortController();
    const announce = (sidecar: Sidecar, message: number) => {
      const naming = { caller: 'news/central', requestId: `message ${message} 0` };
      return sidecar.invalidations.announce({ ...common, atMs: message }, signal, naming);
    };
    void announce(two, 1);
    await stage.clock.advance(200);
    void announce(one, 2);
    void announce(two, 2);
    // The first of them has told the second message by now.
    await stage.clock.advance(1_000);
    const before = two.invalidations.applied;
    const third = announce(two, 3);
    await stage.clock.advance(2_000);
    expect((await third).asOf.revision).toBeGreaterThan(before);
  });
});

describe('an entry of another version, S3', () => {
  it('is told once more as it was written, also by who understands only a part of it', async () => {
    const one = await stage.start('one');
    await sound(one);
    const selector = { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: 'alice' }] };
    const times = { learnedAtMs: stage.clock.nowMs(), forgetAtMs: stage.clock.nowMs() + 86_400_000 };
    const entry = { v: 2, id: 'e', effect: 'UNHEARD_OF', selector, ...times, keyId: 'k1', origin: { source: 'rpc' }, from: 'other' };
    stage.log.append(sealRecord(recordKeyOf(usualKey), { kind: 'entry', entry: entry as never }));
    await stage.until(() => one.invalidations.inPart === 1);
    await one.revoke('bob');
    await stage.clock.advance(1_000);
    await one.stop();
    stage.log.recreate();
    const again = await stage.start('one', { journal: one.journal });
    await sound(again);
    await stage.until(() => again.telemetry.count('sidegate_fleet_gaps_total', { how: 'anew' }) === 1);
    await sound(again);
    const told = stage.log.records.filter(isEntry).map(({ bytes }) => Buffer.from(bytes).toString('latin1'));
    expect([told.length, told.some((text) => text.includes('bob'))]).toEqual([2, true]);
    expect(told.some((text) => text.includes('"effect":"UNHEARD_OF"') && text.includes('"v":2'))).toBe(true);
  });
});
