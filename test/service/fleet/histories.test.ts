// Random histories of a fleet whose log and members come and go: nobody answers from before an entry of the log without saying so, and in
// the end all have all.

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openRecord, recordKeyOf } from '../../../src/core/fleet-record.ts';
import { usualKey } from '../road.ts';
import { createStage, maxLagMs, type Sidecar, type Stage } from './stage.ts';

const names = ['one', 'two', 'three'] as const;

type Step =
  | { readonly kind: 'revoke' | 'reach' | 'stop' | 'kill' | 'start' | 'freeze' | 'thaw'; readonly at: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'cut' | 'hang' | 'down' | 'up' | 'recreate' | 'trim' | 'lose' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('revoke' as const, 'reach' as const), at: fc.nat({ max: 2 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('stop' as const, 'kill' as const, 'start' as const, 'freeze' as const, 'thaw' as const),
      at: fc.nat({ max: 2 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(20, 200, 1_500, 6_000, 13_000) }) },
  {
    weight: 3,
    arbitrary: fc.constantFrom('cut', 'hang', 'down', 'up', 'up', 'recreate', 'trim', 'lose').map((kind) => ({ kind }) as Step),
  },
);

/** An entry that somebody has been told is durable. */
interface Acknowledged {
  readonly user: string;
  readonly id: string;
  readonly origin: string;
  /** Since when the log has it, and has not lost it. */
  inLogMs: number | undefined;
  /** It was said that nobody answers from before it. */
  isEverywhere: boolean;
}

class World {
  readonly stage: Stage = createStage();
  readonly members = new Map<string, Sidecar>();
  readonly journals = new Map<string, Sidecar['journal']>();
  readonly acknowledged: Acknowledged[] = [];
  #users = 0;

  async start(name: string): Promise<void> {
    if (this.members.has(name)) return;
    const journal = this.journals.get(name);
    const member = await this.stage.start(name, journal ? { journal } : {});
    this.members.set(name, member);
    this.journals.set(name, member.journal);
  }

  async stop(name: string): Promise<void> {
    await this.members.get(name)?.stop();
    this.members.delete(name);
  }

  freeze(name: string): void {
    this.members.get(name)?.engine.freeze();
  }

  thaw(name: string): void {
    this.members.get(name)?.engine.thaw();
  }

  /** Under readings that stand still too. */
  trim(): void {
    const { log } = this.stage;
    log.trim((log.records.at(-1)?.position ?? 0) - 5);
  }

  /** Without a word to the others. */
  async kill(name: string): Promise<void> {
    this.members.get(name)?.engine.freeze();
    await this.stop(name);
  }

  async revoke(name: string, isToReach = false): Promise<void> {
    const member = this.members.get(name);
    if (!member) return;
    this.#users += 1;
    const user = `user ${this.#users}`;
    const { entryId, asOf } = await member.revoke(user);
    const one = { user, id: entryId, origin: name, inLogMs: undefined, isEverywhere: false };
    this.acknowledged.push(one);
    if (!isToReach) return;
    void member.fleet.reach(asOf.revision, 'fleet', new AbortController().signal).then(({ reach }) => {
      one.isEverywhere = reach === 'fleet';
    });
  }

  /** In small turns, and after each the promise is looked at. */
  async wait(ms: number): Promise<void> {
    for (let passedMs = 0; passedMs < ms; passedMs += 500) {
      await this.stage.clock.advance(Math.min(500, ms - passedMs));
      this.#lookAtLog();
      await this.judge();
    }
  }

  async judge(): Promise<void> {
    const nowMs = this.stage.clock.monotonicMs();
    for (const { user, inLogMs, id, isEverywhere } of this.acknowledged) {
      if (!isEverywhere && (inLogMs === undefined || nowMs - inLogMs <= maxLagMs)) continue;
      for (const member of this.members.values()) {
        const isTold = member.reasons().length > 0 || (await member.hasKilled(user));
        expect(isTold, `${member.name} is sound, and does not know of ${id}`).toBe(true);
      }
    }
  }

  /** What a log that was made again has lost, and whose sidecar is away, nobody can know of until it is back. */
  lost(): void {
    for (const one of this.acknowledged) {
      one.inLogMs = undefined;
      one.isEverywhere = false;
    }
  }

  #lookAtLog(): void {
    const keys = [recordKeyOf(usualKey)];
    const ids = new Set<string>();
    for (const { bytes } of this.stage.log.records) {
      const record = openRecord(keys, bytes);
      if (record.kind === 'entry') ids.add(record.entry.id);
    }
    for (const one of this.acknowledged) if (ids.has(one.id)) one.inLogMs ??= this.stage.clock.monotonicMs();
  }
}

async function play(steps: readonly Step[]): Promise<void> {
  const world = new World();
  const { log } = world.stage;
  for (const name of names) await world.start(name);
  await world.wait(3_000);
  for (const one of steps) {
    if (one.kind === 'wait') await world.wait(one.ms);
    else if (one.kind === 'revoke') await world.revoke(names[one.at] ?? 'one');
    else if (one.kind === 'reach') await world.revoke(names[one.at] ?? 'one', true);
    else if (one.kind === 'kill') await world.kill(names[one.at] ?? 'one');
    else if (one.kind === 'freeze') world.freeze(names[one.at] ?? 'one');
    else if (one.kind === 'thaw') world.thaw(names[one.at] ?? 'one');
    else if (one.kind === 'stop') await world.stop(names[one.at] ?? 'one');
    else if (one.kind === 'start') await world.start(names[one.at] ?? 'one');
    else if (one.kind === 'cut') log.cut();
    else if (one.kind === 'hang') log.hang();
    else if (one.kind === 'down') log.stop();
    else if (one.kind === 'up') log.start();
    else if (one.kind === 'trim') world.trim();
    else {
      if (one.kind === 'lose') log.lose(3);
      else log.recreate();
      world.lost();
    }
    await world.judge();
  }
  log.start();
  for (const name of names) await world.start(name);
  const members = [...world.members.values()];
  for (const name of names) world.thaw(name);
  // What has just happened is noticed within the lag.
  await world.wait(2 * maxLagMs);
  await world.stage.until(() => members.every((member) => member.reasons().length === 0), 240_000);
  for (const { user, id } of world.acknowledged) {
    for (const member of members) expect(await member.hasKilled(user), `${member.name} has ${id}`).toBe(true);
  }
  await world.stage.close();
}

it('S13 S14 nobody is sound without what the log has held for longer than max_lag, and in the end all have all', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), (steps) => play(steps)),
    { numRuns: 40, seed: 2 },
  );
}, 300_000);
