// Random histories of a fleet that polls: whatever happens to members, the log and Keystone, nobody says of its poll that it is proven
// through a moment without every revocation from before it, and in the end all have all, each as one entry.

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import { createPollsStage, type MemberOptions } from './polls-stage.ts';
import { maxLagMs, type Sidecar } from './stage.ts';

/** Their wall clocks differ: within the skew, or by twenty minutes, which is less than the first list reaches back. */
const aheads = { one: 0, two: 1_500, three: -1_500, four: 1_200_000 } as const;
const names = ['one', 'two', 'three', 'four'] as const;
type Name = (typeof names)[number];

type Step =
  | { readonly kind: 'start' | 'stop' | 'kill' | 'lose' | 'freeze' | 'thaw' | 'cutOff' | 'back' | 'look'; readonly name: Name }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'slow'; readonly ms: number }
  | { readonly kind: 'revoke' | 'cut' | 'hang' | 'down' | 'up' | 'recreate' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Step>({ kind: 'revoke' }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(10, 40, 300, 1_900, 7_000, 14_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('start', 'stop', 'kill', 'lose', 'freeze', 'thaw', 'cutOff', 'back', 'look'),
      name: fc.constantFrom(...names),
    }),
  },
  { weight: 3, arbitrary: fc.constantFrom('cut', 'hang', 'down', 'up', 'up', 'recreate').map((kind) => ({ kind }) as Step) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow' as const), ms: fc.constantFrom(1, 30, 2_500) }) },
);

class World {
  /** A short overlap: what one poll leaves out is not listed to the next. */
  readonly stage = createPollsStage({ overlapMs: 3_000 });
  readonly members = new Map<Name, Sidecar>();
  readonly #journals = new Map<Name, Sidecar['journal']>();
  readonly #revoked: { readonly user: string; readonly atMs: number }[] = [];

  async start(name: Name): Promise<void> {
    if (this.members.has(name)) return;
    const journal = this.#journals.get(name) ?? createMemoryJournal({ clock: this.stage.clock });
    this.#journals.set(name, journal);
    const options: MemberOptions = { journal, aheadMs: aheads[name] };
    this.members.set(name, await this.stage.start(name, options));
  }

  async stop(name: Name): Promise<void> {
    await this.members.get(name)?.stop();
    this.members.delete(name);
  }

  async step(one: Step): Promise<void> {
    const { log } = this.stage;
    switch (one.kind) {
      case 'revoke': {
        const user = `user ${this.#revoked.length}`;
        this.#revoked.push({ user, atMs: this.stage.clock.nowMs() });
        return this.stage.revokeThere(user);
      }
      case 'wait':
        return await this.wait(one.ms);
      case 'slow':
        return this.stage.slowDown(one.ms);
      case 'start':
        return await this.start(one.name);
      case 'stop':
        return await this.stop(one.name);
      case 'kill':
        // Without a word to the others.
        this.members.get(one.name)?.engine.freeze();
        return await this.stop(one.name);
      case 'lose':
        await this.stop(one.name);
        return void this.#journals.delete(one.name);
      case 'freeze':
        return this.members.get(one.name)?.engine.freeze();
      case 'thaw':
        return this.members.get(one.name)?.engine.thaw();
      case 'cutOff':
        return this.stage.cutOff(one.name);
      case 'back':
        return this.stage.back(one.name);
      case 'look':
        return this.members.has(one.name) ? void this.stage.look(one.name) : undefined;
      case 'cut':
        return log.cut();
      case 'hang':
        return log.hang();
      case 'down':
        return log.stop();
      case 'up':
        return log.start();
      case 'recreate':
        return log.recreate();
    }
  }

  async wait(ms: number): Promise<void> {
    for (let passedMs = 0; passedMs < ms; passedMs += 400) {
      await this.stage.clock.advance(Math.min(400, ms - passedMs));
      await this.judge();
    }
  }

  async judge(): Promise<void> {
    for (const [name, member] of this.members) {
      const provenMs = member.provenMs('poll') ?? Number.NEGATIVE_INFINITY;
      for (const { user, atMs } of this.#revoked) {
        if (atMs < provenMs) expect(await member.hasKilled(user), `${name} says so of ${atMs}, proven through ${provenMs}`).toBe(true);
      }
    }
  }

  async end(): Promise<void> {
    this.stage.log.start();
    this.stage.slowDown(30);
    for (const name of names) {
      this.stage.back(name);
      await this.start(name);
      this.members.get(name)?.engine.thaw();
    }
    const members = [...this.members.values()];
    await this.wait(2 * maxLagMs);
    // Whose clock is off says so for good.
    await this.stage.until(() => members.every(({ reasons }) => reasons().every((reason) => reason === 'CLOCK')), 240_000);
    for (const member of members) {
      const entries = await member.journal.read(0 as never, 100_000);
      const killed = entries.flatMap(({ entry: { effect, selector } }) =>
        effect === 'REVOKE' && selector.kind === 'fit' ? selector.conditions.map(({ value }) => value) : [],
      );
      expect(killed.toSorted()).toEqual(this.#revoked.map(({ user }) => user).toSorted());
    }
    await this.stage.close();
  }
}

async function play(steps: readonly Step[]): Promise<void> {
  const world = new World();
  for (const name of names) await world.start(name);
  await world.wait(3_000);
  for (const one of steps) {
    await world.step(one);
    await world.judge();
  }
  await world.end();
}

it('S11 what is said to be proven by a poll is known, and in the end all have all, once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), (steps) => play(steps)),
    { numRuns: 40, seed: 1 },
  );
}, 300_000);
