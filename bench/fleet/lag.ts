// How long a revocation takes from one sidecar to each: told by Watch, and held against one Validate.

import { setTimeout as sleep } from 'node:timers/promises';
import { ValidateRequest } from '../../src/gen/sidegate/v1/token_service.ts';
import { open } from '../load.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import { revokeAt } from './calls.ts';
import type { FleetStage } from './stage.ts';
import { watchSidecar } from './watching.ts';

/** How much. */
export interface LagPlan {
  readonly revocations: number;
  /** Over all sidecars, one at a time. */
  readonly revocationsPerSecond: number;
  /** Of each sidecar, of a token that it knows. */
  readonly validationsPerSecond: number;
  /** These wait until the fleet has applied them. */
  readonly waiting: number;
}

/** Milliseconds from when the Revoke was sent; `wrong` in words for people. */
export interface LagResult {
  /** Until the sidecar that acknowledged it had denied the token. */
  readonly hereMs: readonly number[];
  /** Until each other had. */
  readonly othersMs: readonly number[];
  /** Until it was acknowledged as dead everywhere. */
  readonly fleetMs: readonly number[];
  readonly wrong: readonly string[];
  readonly validations: number;
}

const validatePath = '/sidegate.v1.TokenService/Validate';
const patienceMs = 10_000;
const tickMs = 20;
const warmUps = 60;

/** Runs it on a fleet that is well. */
export async function measureLag(stage: FleetStage, plan: LagPlan): Promise<LagResult> {
  const sidecars = stage.members.map(({ sidecar }) => sidecar);
  const heard = sidecars.map((sidecar) => hear(sidecar));
  await Promise.all(heard.map(({ opened }) => opened));
  const issue = (): string => stage.keystone.issue('somebody', 3_600_000).token;
  const lasting = issue();
  for (const { client } of sidecars) await client.validate(lasting, { timeoutMs: 30_000 });
  const load = startLoad(sidecars, lasting, plan.validationsPerSecond);

  const result = { hereMs: [] as number[], othersMs: [] as number[], fleetMs: [] as number[], wrong: [] as string[] };
  const dead: string[] = [];
  /** One revocation at one of them; noted unless code is still being compiled. */
  async function one(turn: number, waitFor: 'sidecar' | 'fleet', isNoted: boolean): Promise<void> {
    const at = turn % sidecars.length;
    const token = issue();
    const here = sidecars[at];
    if (here === undefined) return;
    await Promise.all(sidecars.map(({ client }) => client.validate(token)));
    const sentMs = performance.now();
    const { entryId, reach } = await revokeAt(here.tcp, token, waitFor, patienceMs);
    const ackMs = performance.now() - sentMs;
    dead.push(token);
    if (reach !== 'fleet' && waitFor === 'fleet') result.wrong.push(`a Revoke that waits for the fleet has reached ${reach}`);
    const took = await Promise.all(
      sidecars.map(async ({ client, name }, which) => {
        if (which !== at) await heard[which]?.until(entryId);
        const answer = await client.validate(token);
        if (answer.active) result.wrong.push(`${name} calls a token active after its Watch has told of ${entryId}`);
        return performance.now() - sentMs;
      }),
    );
    if (!isNoted) return;
    if (waitFor === 'fleet') result.fleetMs.push(ackMs);
    else for (const [which, ms] of took.entries()) (which === at ? result.hereMs : result.othersMs).push(ms);
  }
  try {
    for (let turn = 0; turn < warmUps; turn += 1) await one(turn, turn % 2 === 0 ? 'sidecar' : 'fleet', false);
    for (let turn = 0; turn < plan.revocations + plan.waiting; turn += 1) {
      const nextMs = performance.now() + 1000 / plan.revocationsPerSecond;
      await one(turn, turn < plan.revocations ? 'sidecar' : 'fleet', true);
      await sleep(Math.max(0, nextMs - performance.now()));
    }
  } finally {
    await load.end();
    for (const { end } of heard) await end();
  }
  for (const token of dead) {
    for (const { client, name } of sidecars) {
      const answer = await client.validate(token);
      if (answer.active || answer.reason !== 'REVOKED')
        result.wrong.push(`${name} says at the end: ${answer.active ? 'active' : answer.reason}`);
    }
  }
  return { ...result, validations: load.sent() };
}

interface Heard {
  readonly opened: Promise<void>;
  /** Resolves when the entry has been told; rejects where it is not within its time. */
  until(entryId: string): Promise<void>;
  end(): Promise<void>;
}

function hear(sidecar: SidecarProcess): Heard {
  const told = new Set<string>();
  const waiting = new Map<string, () => void>();
  const entry = (_: string, entryId: string): void => {
    told.add(entryId);
    waiting.get(entryId)?.();
  };
  const watching = watchSidecar(sidecar, { entry, reset: () => undefined });
  return {
    opened: watching.opened,
    end: () => watching.end(),
    until: (entryId) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${sidecar.name} has not told of ${entryId} within ${patienceMs} ms`)), patienceMs);
        const done = (): void => {
          clearTimeout(timer);
          waiting.delete(entryId);
          resolve();
        };
        waiting.set(entryId, done);
        if (told.has(entryId)) done();
      }),
  };
}

interface Load {
  sent(): number;
  end(): Promise<void>;
}

/** The bytes of one request again and again, so that whoever measures is not busy with them. */
function startLoad(sidecars: readonly SidecarProcess[], token: string, perSecond: number): Load {
  const body = ValidateRequest.encode(ValidateRequest.fromPartial({ credential: { $case: 'token', value: token } })).finish();
  const loaders = sidecars.map(({ tcp }) => open({ address: tcp, path: validatePath, body }));
  let isOver = false;
  let sent = 0;
  const running = loaders.map(async (loader) => {
    const beganAtMs = performance.now();
    for (let own = 0; !isOver; ) {
      const due = Math.min(perSecond, Math.floor(((performance.now() - beganAtMs) / 1000) * perSecond) - own);
      if (due > 0) await loader.send(due, due);
      own += Math.max(0, due);
      sent += Math.max(0, due);
      await sleep(tickMs);
    }
  });
  // One that fails is told at the end.
  const all = Promise.all(running);
  all.catch(() => undefined);
  return {
    sent: () => sent,
    async end() {
      isOver = true;
      await all.finally(() => {
        for (const loader of loaders) loader.close();
      });
    },
  };
}
