// The load on a fleet while a fault comes and goes: tokens are revoked here and there, and at Keystone, and asked about everywhere.

import { randomUUID } from 'node:crypto';
import type { Reached } from '../fleet/calls.ts';
import type { FleetStage } from '../fleet/stage.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { EndingKind, Scene } from './scene.ts';

/** How much. */
export interface LoadPlan {
  /** Of each sidecar. */
  readonly questionsPerSecond: number;
  /** Over all of them. */
  readonly revocationsPerSecond: number;
  /** How many can be revoked: three of four are known to every sidecar before the load begins. */
  readonly tokens: number;
  /** At Keystone; and how many can be ended there, each of a user of its own and known to every sidecar. 0 where there is no bus. */
  readonly endingsPerSecond: number;
  readonly endings: number;
}

/** The load, under way. */
export interface Load {
  /** Tokens whose revocation was acknowledged, the oldest first. */
  readonly revoked: readonly string[];
  /** Those that Keystone has ended. */
  readonly ended: readonly string[];
  /** So many revocations at once, over all sidecars, and a third as many at Keystone; resolves when the first is acknowledged, or none is. */
  burst(count: number): Promise<void>;
  /** Resolves when nothing is under way any more. */
  end(): Promise<void>;
}

const tickMs = 5;
/** Questions of one sidecar that wait: one that hangs is not buried, and on a machine that is too busy for all of this there are fewer. */
const mostUnderWay = 32;
/** Revoked last: asked about most. */
const recently = 64;
const lastingTokens = 32;
const atOnce = 32;
const reaches: readonly Reached[] = ['sidecar', 'shared', 'fleet'];

/** Begins it. */
export async function startLoad(plan: LoadPlan, { keystone, members }: FleetStage, scene: Scene): Promise<Load> {
  const sidecars = members.map(({ sidecar }) => sidecar);
  let issued = 0;
  const issue = (): string => {
    issued += 1;
    return keystone.issue(`user-${issued % 50}`, 3_600_000).token;
  };
  const lasting = Array.from({ length: lastingTokens }, issue);
  const fresh = Array.from({ length: plan.tokens }, issue);
  // The others are asked about, or revoked, by somebody who has never seen them.
  const seen = fresh.filter((_, at) => at % 4 !== 0);
  const ends = Array.from({ length: plan.endings }, (_, at): Ending => {
    const userId = `leaver-${randomUUID()}`;
    return { userId, how: at % 2 === 0 ? 'user' : 'role', token: keystone.issue(userId, 3_600_000).token };
  });
  await known([...lasting, ...seen, ...ends.map(({ token }) => token)], sidecars, scene);

  const revoked: string[] = [];
  const ended: string[] = [];
  const dying: string[] = [];
  const underWay = new Map<SidecarProcess, Set<Promise<unknown>>>(sidecars.map((one) => [one, new Set()]));
  const revocations = new Set<Promise<unknown>>();
  const keep = (set: Set<Promise<unknown>>, work: Promise<unknown>): void => {
    set.add(work);
    void work.finally(() => set.delete(work));
  };

  async function revoke(turn: number): Promise<void> {
    const sidecar = sidecars[turn % sidecars.length];
    const waitFor = reaches[Math.floor(turn / sidecars.length) % reaches.length] ?? 'sidecar';
    if (!sidecar?.isServing) throw new Error('it does not serve');
    const token = fresh.shift();
    const entryId = token && (await scene.revoke(sidecar, token, waitFor));
    if (!token || !entryId) throw new Error('it was not acknowledged');
    revoked.push(token);
    // At once, where it matters most; and everybody is asked to know of it.
    for (const one of sidecars) ask(one, token);
    for (const one of sidecars) ask(one, token, entryId);
  }
  async function endOne(): Promise<void> {
    const ending = ends.shift();
    if (ending === undefined) return;
    const { token, how, userId } = ending;
    const published = scene.end(token, how, userId);
    // From now on, as the list may tell it before the bus does.
    dying.push(token);
    await published;
    // What is listed is told all the same.
    ended.push(token);
    for (const one of sidecars) ask(one, token);
  }
  function ask(sidecar: SidecarProcess, token: string, entryId?: string): void {
    const set = underWay.get(sidecar);
    if (set && set.size < mostUnderWay) keep(set, scene.ask(sidecar, token, entryId));
  }
  function drawn(): string | undefined {
    const draw = Math.random();
    if (draw < 0.4 && revoked.length > 0) return pick(revoked.slice(-recently));
    if (draw < 0.6 && dying.length > 0) return pick(dying.slice(-recently));
    return draw < 0.8 && fresh.length > 0 ? fresh[0] : pick(lasting);
  }

  let asked = 0;
  let told = 0;
  let left = 0;
  const beganAtMs = performance.now();
  const ticking = setInterval(() => {
    const seconds = (performance.now() - beganAtMs) / 1000;
    // What was not asked in time is not asked later in one burst.
    asked = Math.max(asked, Math.floor((seconds - 0.1) * plan.questionsPerSecond));
    for (; asked < seconds * plan.questionsPerSecond; asked += 1) {
      for (const sidecar of sidecars) {
        const token = drawn();
        if (token !== undefined) ask(sidecar, token);
      }
    }
    for (; told < seconds * plan.revocationsPerSecond; told += 1) keep(revocations, revoke(told).catch(unacknowledged));
    for (; left < seconds * plan.endingsPerSecond; left += 1) keep(revocations, endOne());
  }, tickMs);

  return {
    revoked,
    ended,
    async burst(count) {
      const all = Array.from({ length: count }, (_, at) => revoke(told + at));
      told += count;
      if (plan.endingsPerSecond > 0) for (let at = 0; at < count / 3; at += 1) keep(revocations, endOne());
      for (const one of all) keep(revocations, one.catch(unacknowledged));
      await Promise.any(all).catch(unacknowledged);
    },
    async end() {
      clearInterval(ticking);
      while (revocations.size > 0) await Promise.all(revocations);
      for (const set of underWay.values()) while (set.size > 0) await Promise.all(set);
    },
  };
}

/** A token that Keystone will end. */
interface Ending {
  readonly token: string;
  readonly how: EndingKind;
  readonly userId: string;
}

/** The scene has noted it. */
const unacknowledged = (): void => undefined;

/** Asks everybody, so that no authority is needed for them any more. */
async function known(tokens: readonly string[], sidecars: readonly SidecarProcess[], scene: Scene): Promise<void> {
  for (const sidecar of sidecars) {
    const left = [...tokens];
    const worker = async (): Promise<void> => {
      for (let token = left.pop(); token !== undefined; token = left.pop()) await scene.ask(sidecar, token);
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }
}

function pick<Value>(from: readonly Value[]): Value | undefined {
  return from[Math.floor(Math.random() * from.length)];
}
