// The load on a fleet while a fault comes and goes: tokens are revoked here and there, and asked about everywhere.

import type { Reached } from '../fleet/calls.ts';
import type { FleetStage } from '../fleet/stage.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { Scene } from './scene.ts';

/** How much. */
export interface LoadPlan {
  /** Of each sidecar. */
  readonly questionsPerSecond: number;
  /** Over all of them. */
  readonly revocationsPerSecond: number;
  /** How many can be revoked: three of four are known to every sidecar before the load begins. */
  readonly tokens: number;
}

/** The load, under way. */
export interface Load {
  /** Tokens whose revocation was acknowledged, the oldest first. */
  readonly revoked: readonly string[];
  /** So many revocations at once, over all sidecars; resolves when the first of them is acknowledged, or none is. */
  burst(count: number): Promise<void>;
  /** Resolves when nothing is under way any more. */
  end(): Promise<void>;
}

const tickMs = 5;
/** Questions of one sidecar that wait: a sidecar that hangs is not buried. */
const mostUnderWay = 100;
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
  await known([...lasting, ...seen], sidecars, scene);

  const revoked: string[] = [];
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
  function ask(sidecar: SidecarProcess, token: string, entryId?: string): void {
    const set = underWay.get(sidecar);
    if (set && set.size < mostUnderWay) keep(set, scene.ask(sidecar, token, entryId));
  }
  function drawn(): string | undefined {
    const draw = Math.random();
    if (draw < 0.6 && revoked.length > 0) return pick(revoked.slice(-recently));
    return draw < 0.8 && fresh.length > 0 ? fresh[0] : pick(lasting);
  }

  let asked = 0;
  let told = 0;
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
  }, tickMs);

  return {
    revoked,
    async burst(count) {
      const all = Array.from({ length: count }, (_, at) => revoke(told + at));
      told += count;
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
