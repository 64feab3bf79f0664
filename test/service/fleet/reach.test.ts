// How far an entry has gone: whoever says that it is dead everywhere is right about those who stand still, begin, end, or are cut off.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRecord, type Presence, recordKeyOf, sealRecord } from '../../../src/core/fleet-record.ts';
import { Members } from '../../../src/service/fleet/members.ts';
import type { Reached } from '../../../src/service/fleet/reaching.ts';
import { RollCalls } from '../../../src/service/fleet/roll-calls.ts';
import type { Appended } from '../../../src/service/invalidations.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { usualKey } from '../road.ts';
import { createStage, maxLagMs, type Sidecar, type Stage } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = createStage();
});
afterEach(() => stage.close());

const sound = (...sidecars: readonly Sidecar[]) => stage.until(() => sidecars.every((sidecar) => sidecar.reasons().length === 0));
const begin = async <const Names extends readonly string[]>(...names: Names): Promise<{ [at in keyof Names]: Sidecar }> => {
  const sidecars = await Promise.all(names.map((name) => stage.start(name)));
  await sound(...sidecars);
  return sidecars as { [at in keyof Names]: Sidecar };
};

/** Somebody who waits for it. */
interface Caller {
  /** What was answered; undefined: nothing yet. */
  readonly reached: Reached | undefined;
  /** What each of the others that were named said of itself at the moment of the answer. */
  readonly reasonsThen: readonly (readonly string[])[];
  leave(): void;
}

function calling(sidecar: Sidecar, { asOf }: Appended, others: readonly Sidecar[] = []): Caller {
  const leaving = new AbortController();
  const caller = { reached: undefined as Reached | undefined, reasonsThen: [] as (readonly string[])[], leave: () => leaving.abort() };
  void sidecar.fleet.reach(asOf.revision, 'fleet', leaving.signal).then((reached) => {
    caller.reached = reached;
    caller.reasonsThen = others.map((other) => other.reasons());
  });
  return caller;
}

const answered = (...callers: readonly Caller[]) => stage.until(() => callers.every(({ reached }) => reached !== undefined), 2_000);

/** Signs of life in the log, of one sidecar. */
function presencesOf({ journal }: Sidecar): readonly Presence[] {
  const opened = stage.log.records.map(({ bytes }) => openRecord([recordKeyOf(usualKey)], bytes));
  return opened.flatMap((record) => (record.kind === 'presence' && record.presence.journal === journal.id ? [record.presence] : []));
}
const callsOf = (sidecar: Sidecar): readonly string[] => presencesOf(sidecar).flatMap(({ calls }) => calls);

describe('a call of very many', () => {
  it('is answered by as many signs of life as it takes', async () => {
    const [one] = await begin('one');
    const calls = Array.from({ length: 2_500 }, (_, n) => `call ${n}`);
    const common = { journal: 'other', name: 'other', run: 'r', turn: 1, atMs: stage.clock.nowMs(), head: 0, isWhole: true, answers: [] };
    stage.log.append(sealRecord(recordKeyOf(usualKey), { kind: 'presence', presence: { ...common, calls } }));
    await stage.until(() => presencesOf(one).flatMap(({ answers }) => answers).length >= 2_500, 2_000);
    const answers = presencesOf(one).map(({ answers }) => answers);
    expect([answers.flat(), Math.max(...answers.map(({ length }) => length))]).toEqual([calls, 1_000]);
  });
});

describe('S13 a sidecar that stands still', () => {
  it('is named while it may be relied on; after that it is dead everywhere without any word of it, for it says that it is behind', async () => {
    const [one, two, three] = await begin('one', 'two', 'three');
    two.engine.freeze();
    const done = await one.revoke('alice');
    const early = calling(one, done);
    await stage.clock.advance(3_000);
    expect(early.reached).toBeUndefined();
    early.leave();
    await answered(early);
    expect(early.reached).toMatchObject({ reach: 'shared', lagging: ['two'] });
    expect([two.reasons(), await two.hasKilled('alice')]).toEqual([[], false]);

    const late = calling(one, done, [two]);
    await stage.until(() => late.reached !== undefined, maxLagMs);
    expect(late.reached).toMatchObject({ reach: 'fleet', lagging: [] });
    expect(late.reasonsThen).toEqual([['FLEET_BEHIND']]);
    expect([await two.hasKilled('alice'), await three.hasKilled('alice')]).toEqual([false, true]);
  });

  it('is behind at its first judgement when it goes on, and has the entry when it is sound again', async () => {
    const [one, two] = await begin('one', 'two');
    two.engine.freeze();
    await one.revoke('alice');
    await stage.clock.advance(maxLagMs + 1_000);
    two.engine.thaw();
    expect([two.reasons(), await two.hasKilled('alice')]).toEqual([['FLEET_BEHIND'], false]);
    await sound(two);
    expect(await two.hasKilled('alice')).toBe(true);
  });

  it('and goes on within its lease answers, and then it is dead everywhere', async () => {
    const [one, two] = await begin('one', 'two');
    two.engine.freeze();
    const caller = calling(one, await one.revoke('alice'));
    await stage.clock.advance(maxLagMs / 2);
    expect(caller.reached).toBeUndefined();
    two.engine.thaw();
    await answered(caller);
    expect(caller.reached).toMatchObject({ reach: 'fleet', lagging: [] });
    expect([two.reasons(), await two.hasKilled('alice')]).toEqual([[], true]);
  });

  it('is named by the one that asks also where that was not there for as long as a lease', async () => {
    const [one, two] = await begin('one', 'two');
    await stage.clock.advance(2_000);
    two.engine.freeze();
    await stage.clock.advance(3_000);
    await one.stop();
    const again = await stage.start('one', { journal: one.journal });
    await sound(again);
    const caller = calling(again, await again.revoke('alice'), [two]);
    await stage.until(() => caller.reached !== undefined, 2 * maxLagMs);
    expect(caller.reached).toMatchObject({ reach: 'fleet' });
    expect(caller.reasonsThen).toEqual([['FLEET_BEHIND']]);
  });
});

describe('a roll call', () => {
  it('is one for all who ask at once', async () => {
    const [one, two] = await begin('one', 'two');
    const done = await one.revoke('alice');
    await stage.clock.advance(100);
    const callers = Array.from({ length: 20 }, () => calling(one, done));
    await answered(...callers);
    expect(callers.map(({ reached }) => reached?.reach)).toEqual(callers.map(() => 'fleet'));
    expect(callsOf(one)).toHaveLength(1);
    expect(presencesOf(two).flatMap(({ answers }) => answers)).toEqual(callsOf(one));
  });

  it('costs nothing where nobody asks', async () => {
    const [one, two] = await begin('one', 'two');
    const done = await one.revoke('alice');
    const leaving = new AbortController();
    expect(await one.fleet.reach(done.asOf.revision, 'shared', leaving.signal)).toMatchObject({ reach: 'shared', lagging: [] });
    await stage.clock.advance(5_000);
    expect([...callsOf(one), ...callsOf(two)]).toEqual([]);
  });

  it('whose only caller leaves before it is called is never called', async () => {
    const [one] = await begin('one', 'two');
    const done = await one.revoke('alice');
    await stage.clock.advance(100);
    const caller = calling(one, done);
    await stage.clock.advance(1);
    caller.leave();
    await answered(caller);
    expect(caller.reached).toMatchObject({ reach: 'shared', lagging: ['two'] });
    await stage.clock.advance(5_000);
    expect(callsOf(one)).toEqual([]);
  });

  it('whose only caller has left is not called again over another connection', async () => {
    const [one] = await begin('one', 'two');
    const done = await one.revoke('alice');
    await stage.clock.advance(100);
    one.engine.freeze();
    const caller = calling(one, done);
    await stage.clock.advance(100);
    caller.leave();
    await answered(caller);
    stage.log.cut();
    one.engine.thaw();
    await stage.clock.advance(5_000);
    expect(callsOf(one)).toEqual([]);
  });

  it('goes on for those who stay when one leaves', async () => {
    const [one, two] = await begin('one', 'two');
    two.engine.freeze();
    const done = await one.revoke('alice');
    const [leaves, stays] = [calling(one, done), calling(one, done)];
    await stage.clock.advance(500);
    leaves.leave();
    await answered(leaves);
    expect([leaves.reached?.lagging, stays.reached]).toEqual([['two'], undefined]);
    two.engine.thaw();
    await answered(stays);
    expect(stays.reached).toMatchObject({ reach: 'fleet' });
    expect(callsOf(one)).toHaveLength(1);
  });

  it('counts one that is started anew in the middle as having applied it, for it relies on nothing before it has', async () => {
    const [one, two] = await begin('one', 'two');
    two.engine.freeze();
    const caller = calling(one, await one.revoke('alice'));
    await stage.clock.advance(2_000);
    expect(caller.reached).toBeUndefined();
    const again = await stage.start('two', { journal: two.journal });
    const relied: boolean[] = [];
    await stage.until(async () => {
      if (again.reasons().length === 0) relied.push(await again.hasKilled('alice'));
      return caller.reached !== undefined && relied.length > 0;
    }, 2_000);
    expect(caller.reached).toMatchObject({ reach: 'fleet', lagging: [] });
    expect(relied).toEqual([true]);
  });

  it('does not wait for the answer of one that had read the call and ended before it answered', async () => {
    const [one, two] = await begin('one', 'two');
    const caller = calling(one, await one.revoke('alice'));
    for (let ms = 0; callsOf(one).length === 0 && ms < 100; ms += 1) await stage.clock.advance(1);
    // A start begins with the record that was read last: the call is not to be that one.
    stage.log.append(Buffer.from('rubbish'));
    await stage.clock.advance(1);
    two.engine.freeze();
    await stage.clock.advance(3_000);
    expect([callsOf(one).length, presencesOf(two).flatMap(({ answers }) => answers), caller.reached]).toEqual([1, [], undefined]);
    const again = await stage.start('two', { journal: two.journal });
    await answered(caller);
    expect(caller.reached).toMatchObject({ reach: 'fleet', lagging: [] });
    expect(presencesOf(again).flatMap(({ answers }) => answers)).toEqual([]);
    expect(await again.hasKilled('alice')).toBe(true);
  });

  it('does not wait for one that says goodbye', async () => {
    const [one, two] = await begin('one', 'two');
    one.engine.freeze();
    const caller = calling(one, await one.revoke('alice'));
    await stage.clock.advance(100);
    await two.stop();
    one.engine.thaw();
    await answered(caller);
    expect(caller.reached).toMatchObject({ reach: 'fleet', lagging: [] });
  });
});

describe('a connection that is lost in the middle', () => {
  it('two who wait, of whom one was called and not heard, are answered over the next one', async () => {
    const [one, two] = await begin('one', 'two');
    const done = await one.revoke('alice');
    await stage.clock.advance(100);
    one.engine.freeze();
    const first = calling(one, done);
    await stage.clock.advance(100);
    const second = calling(one, done);
    stage.log.cut();
    one.engine.thaw();
    await answered(first, second);
    expect([first.reached?.reach, second.reached?.reach]).toEqual(['fleet', 'fleet']);
    expect(await two.hasKilled('alice')).toBe(true);
  });

  it('two who wait for an answer get it over the next one, and nobody is asked twice', async () => {
    const [one, two] = await begin('one', 'two');
    two.engine.freeze();
    const done = await one.revoke('alice');
    const first = calling(one, done);
    await stage.clock.advance(100);
    const second = calling(one, done);
    await stage.clock.advance(100);
    stage.log.cut();
    await stage.clock.advance(1_000);
    expect([first.reached, second.reached]).toEqual([undefined, undefined]);
    two.engine.thaw();
    await answered(first, second);
    expect([first.reached?.reach, second.reached?.reach]).toEqual(['fleet', 'fleet']);
    expect(callsOf(one)).toHaveLength(2);
  });

  it('what was answered to a call over the old one says nothing of what was told since', async () => {
    const clock = createFakeClock();
    const members = new Members({ clock, leaseMs: maxLagMs });
    const common = { journal: 'j2', name: 'two', run: 'r', turn: 1, atMs: 0, head: 1, isWhole: true, answers: [], calls: [] };
    members.saw(common);
    const calls = new RollCalls({ members, clock, hurry: () => undefined });
    const leaving = new AbortController();
    void calls.roll(leaving.signal);
    const before = calls.take();
    calls.lost();
    // It is in the log, and answered there: before what the second caller asks about.
    let left: readonly string[] | undefined;
    void calls.roll(leaving.signal).then((names) => {
      left = names;
    });
    const after = calls.take();
    calls.cameBack(before);
    calls.answered({ journal: 'j2', run: 'r' }, before);
    await clock.advance(100);
    expect(left).toBeUndefined();
    calls.cameBack(after);
    calls.answered({ journal: 'j2', run: 'r' }, after);
    await clock.advance(100);
    expect(left).toEqual([]);
  });
});

describe('S14 a log that is made again in the middle', () => {
  it('an entry is neither in the log nor dead everywhere before it has been told once more', async () => {
    const [one, two] = await begin('one', 'two');
    await stage.clock.advance(20_000);
    two.engine.freeze();
    const done = await one.revoke('alice');
    await stage.clock.advance(100);
    stage.log.recreate();
    two.engine.thaw();
    const caller = calling(one, done, [two]);
    await stage.until(() => caller.reached !== undefined, 60_000);
    expect(caller.reached).toMatchObject({ reach: 'fleet' });
    // Everything up to here is one promise: were this sidecar lost now, nobody would know of the entry.
    expect(stage.log.records.filter(({ bytes }) => Buffer.from(bytes).includes('"kind":"entry"'))).toHaveLength(1);
  });
});
