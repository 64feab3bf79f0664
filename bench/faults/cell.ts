// One cell of the matrix: a fault under load, its recovery, and what a judge says of the history.

import { setTimeout as sleep } from 'node:timers/promises';
import { NoAnswerError } from '../../src/client/index.ts';
import type { FleetStage } from '../fleet/stage.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { Happening, Outcome } from './history.ts';
import { judged, type Seen } from './judge.ts';
import { type Load, startLoad } from './load.ts';
import { begin, type Cell, unheardIn } from './matrix.ts';
import type { Rules, Violation } from './promises.ts';
import { openScene, type Scene } from './scene.ts';

/** How long, and how much. */
export interface CellPlan {
  /** As the fleet is configured. */
  readonly maxLagMs: number;
  /** Beside it: from a journal to the log, where nothing is wrong and the machine is busy. */
  readonly slackMs: number;
  /** Of a call, by its caller. */
  readonly deadlineMs: number;
  readonly faultMs: number;
  /** Before it, and after the recovery. */
  readonly calmMs: number;
  /** Everybody is to be well again so soon after the fault. */
  readonly recoveryWithinMs: number;
  readonly questionsPerSecond: number;
  readonly revocationsPerSecond: number;
  /** At Keystone, whose bus tells of them. */
  readonly endingsPerSecond: number;
  /** What the bus carries is known so soon where nothing is wrong with it. */
  readonly busMs: number;
}

/** What came of it. */
export interface CellResult {
  readonly violations: readonly Violation[];
  readonly seen: Seen;
  readonly history: readonly Happening[];
  /** From the end of the fault until the last sidecar was well; undefined: not within its time. */
  readonly recoveryMs: number | undefined;
}

/** Revocations at once, as the fault begins. */
const burst = 24;
/** Between two looks whether it is over. */
const lookMs = 50;
/** For what was acknowledged to come everywhere, once everything is well. */
const lastMs = 10_000;

/** As the judge is told. */
function rulesFor({ maxLagMs, slackMs, deadlineMs, busMs }: CellPlan): Rules {
  return { lagMs: maxLagMs, slackMs, answerWithinMs: deadlineMs, busMs };
}

/** Runs one on a fleet that is well. A broken promise is no error, but in the result. */
export async function runCell(cell: Cell, stage: FleetStage, plan: CellPlan): Promise<CellResult> {
  const scene = await openScene(stage, plan.deadlineMs);
  let recoveryMs: number | undefined;
  try {
    const seconds = (plan.faultMs + 2 * plan.calmMs + 5_000) / 1000;
    const some = (perSecond: number): number => (perSecond > 0 ? burst + Math.ceil(seconds * perSecond) : 0);
    const counts = { tokens: some(plan.revocationsPerSecond), endings: some(plan.endingsPerSecond) };
    const load = await startLoad({ ...plan, ...counts }, stage, scene);
    try {
      await sleep(plan.calmMs);
      // Some are in a journal, some in the log, some on their way when it begins.
      await load.burst(burst);
      const fromMs = performance.now();
      const end = await begin(cell, stage, scene);
      await sleep(Math.max(0, fromMs + plan.faultMs - performance.now()));
      await end();
      recoveryMs = await recovered(stage, scene, plan);
      const toMs = performance.now();
      scene.note({ kind: 'disturbed', fromMs, toMs });
      for (const one of unheardIn(cell, stage)) scene.note({ kind: 'unheard', ...one, fromMs, toMs });
      await sleep(plan.calmMs);
    } finally {
      await load.end();
    }
    await lastAnswers(load, stage, scene);
  } finally {
    await scene.close();
  }
  return { ...judged(scene.history, rulesFor(plan)), history: scene.history, recoveryMs };
}

/** How long until each sidecar has read what it has itself appended since now, its news have proven a moment since then, and it is not degraded. */
async function recovered({ members }: FleetStage, scene: Scene, { recoveryWithinMs }: CellPlan): Promise<number | undefined> {
  const beganAtMs = performance.now();
  const wallMs = Date.now();
  const untilMs = beganAtMs + recoveryWithinMs;
  const whys = await Promise.all(
    members.map(async ({ sidecar }) => {
      for (;;) {
        const why = await whyNotWell(sidecar, wallMs);
        if (why === undefined) return undefined;
        if (performance.now() > untilMs) return { sidecar: sidecar.name, why };
        await sleep(lookMs);
      }
    }),
  );
  const recoveryMs = performance.now() - beganAtMs;
  const unrecovered = whys.filter((one) => one !== undefined);
  for (const one of unrecovered) scene.note({ kind: 'unrecovered', ...one });
  return unrecovered.length > 0 ? undefined : recoveryMs;
}

async function whyNotWell(sidecar: SidecarProcess, sinceMs: number): Promise<string | undefined> {
  if (!sidecar.isServing) return 'it does not serve';
  try {
    const { serving, degraded, degradations, sources, dependencies } = await sidecar.client.status({ timeoutMs: 1_000 });
    const problems = dependencies.filter(({ name }) => /^(fleet|news)\//.test(name)).map(({ problem }) => problem);
    if (!serving) return 'it is not serving';
    if (degraded) return `degraded by ${degradations.flatMap(({ reasons }) => reasons).join(', ')}; ${problems.join(', ')}`;
    const silent = sources.filter(({ lastAliveAtMs }) => (lastAliveAtMs ?? 0) < sinceMs).map(({ name }) => name);
    return silent.length > 0 ? `nothing has come of ${silent.join(', ')}; ${problems.join(', ')}` : undefined;
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    return `its status: ${error.message}`;
  }
}

/** Asks everybody about everything that was revoked or ended, and waits for the watchers, each as long as it may take. */
async function lastAnswers({ revoked, ended }: Load, { members }: FleetStage, scene: Scene): Promise<void> {
  const untilMs = performance.now() + lastMs;
  // Any one of them: what Keystone ends may have an entry by the bus, or by the list.
  const ids = scene.history.flatMap((one) => (one.kind === 'revoked' ? [[one.entryId]] : one.kind === 'ended' ? [one.entryIds] : []));
  const byQuestion = new Set(scene.history.flatMap((one) => (one.kind === 'ended' && one.entryIds.length === 0 ? [one.token] : [])));
  const isKnown = (token: string, outcome: Outcome): boolean =>
    outcome.kind === 'denied' && (outcome.reason === 'REVOKED' || byQuestion.has(token));
  await Promise.all(
    members.map(async ({ sidecar }) => {
      for (const token of [...revoked, ...ended]) {
        let outcome = await scene.askOnce(sidecar, token);
        while (!isKnown(token, outcome) && performance.now() < untilMs) {
          await sleep(lookMs);
          outcome = await scene.askOnce(sidecar, token);
        }
        scene.note({ kind: 'last', sidecar: sidecar.name, token, outcome });
      }
      const told = scene.watched(sidecar.name);
      const isMissing = (any: readonly string[]): boolean => any.length > 0 && !any.some((id) => told.has(id));
      while (ids.some(isMissing) && performance.now() < untilMs) await sleep(lookMs);
    }),
  );
}
