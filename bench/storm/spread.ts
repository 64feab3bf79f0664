// One message that concerns every token there is: Keystone is asked about them little by little, and answers go on.

import { setTimeout as sleep } from 'node:timers/promises';
import { NoAnswerError } from '../../src/client/index.ts';
import { quantile } from '../report.ts';
import type { StormStage } from './stage.ts';

/** How many, and how they are asked about. */
export interface SpreadPlan {
  readonly tokens: number;
  readonly questionsPerSecond: number;
  readonly wideWindowMs: number;
  readonly settleMs: number;
  /** How long Keystone takes for an answer. */
  readonly keystoneMs: number;
}

/** What happens. */
export interface Happening {
  readonly eventType: string;
  readonly id: string;
}

/** What came of it. */
export interface SpreadResult {
  /** By second since the message. */
  readonly validationsPerSecond: readonly number[];
  /** Of one token, the most; tokens that were asked about again. */
  readonly mostOfOne: number;
  readonly renewed: number;
  /** Milliseconds: answers right before the message, and after it. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** Of the answers after it: unmarked and without a question to anybody; and marked. */
  readonly hits: number;
  readonly degraded: number;
  /** Answers other than active, and what was no answer, in words. */
  readonly wrong: readonly string[];
}

/** Knows all tokens at the first sidecar, tells, and asks on until every token has been asked about again. */
export async function runSpread({ keystone, sidecars, tell }: StormStage, plan: SpreadPlan, happening: Happening): Promise<SpreadResult> {
  const [sidecar] = sidecars;
  if (!sidecar) throw new Error('there is no sidecar');
  const tokens = Array.from({ length: plan.tokens }, (_, at) => keystone.issue(`user-${at}`, 3_600_000).token);
  await inTurns(tokens, 64, async (token) => void (await sidecar.client.validate(token)));

  const wrong: string[] = [];
  const took: { readonly atMs: number; readonly ms: number; readonly isHit: boolean; readonly degraded: boolean }[] = [];
  const ask = async (token: string): Promise<void> => {
    const askedMs = performance.now();
    try {
      const answer = await sidecar.client.validate(token);
      const { degraded, provenance } = answer;
      took.push({ atMs: askedMs, ms: performance.now() - askedMs, isHit: provenance === 'memory', degraded });
      if (!answer.active) wrong.push(answer.reason);
    } catch (error) {
      wrong.push(error instanceof NoAnswerError ? `${error.code} ${error.reason}` : String(error));
    }
  };
  let isOver = false;
  const load = (async () => {
    const beganMs = performance.now();
    const underWay = new Set<Promise<void>>();
    for (let at = 0; !isOver; at += 1) {
      const asking: Promise<void> = ask(tokens[at % tokens.length] ?? '').finally(() => underWay.delete(asking));
      underWay.add(asking);
      if (at % 10 === 9) await sleep(Math.max(0, beganMs + (at * 1000) / plan.questionsPerSecond - performance.now()));
    }
    await Promise.all(underWay);
  })();

  // One round without any news.
  await sleep(Math.min(10_000, (tokens.length * 1000) / plan.questionsPerSecond));
  keystone.slowMs = plan.keystoneMs;
  await keystone.become('slow');
  const asked = new Map<string, number>();
  const seconds: number[] = [];
  const toldMs = performance.now();
  keystone.onValidation = (token) => {
    asked.set(token, (asked.get(token) ?? 0) + 1);
    const second = Math.floor((performance.now() - toldMs) / 1000);
    seconds[second] = (seconds[second] ?? 0) + 1;
  };
  await tell(happening.eventType, happening.id);
  // Each has had its slot in two windows at the latest; then it is asked about once more. A machine that is busy asks more slowly than planned.
  const plannedMs = 2 * plan.wideWindowMs + plan.settleMs + (2 * tokens.length * 1000) / plan.questionsPerSecond;
  const untilMs = performance.now() + 4 * plannedMs;
  while (asked.size < tokens.length && performance.now() < untilMs) await sleep(100);
  isOver = true;
  await load;
  keystone.onValidation = () => undefined;
  await keystone.become('well');
  const after = took.filter(({ atMs }) => atMs >= toldMs);
  return {
    validationsPerSecond: Array.from(seconds, (count) => count ?? 0),
    mostOfOne: Math.max(0, ...asked.values()),
    renewed: asked.size,
    before: took.filter(({ atMs }) => atMs < toldMs).map(({ ms }) => ms),
    after: after.map(({ ms }) => ms),
    hits: after.filter(({ isHit, degraded }) => isHit && !degraded).length,
    degraded: after.filter(({ degraded }) => degraded).length,
    wrong: [...new Set(wrong)],
  };
}

/** In a line for people. */
export function toldOf({ validationsPerSecond, mostOfOne, renewed, before, after, hits, degraded, wrong }: SpreadResult): string {
  const times = (ms: readonly number[]): string =>
    `p50 ${quantile(ms, 0.5).toFixed(1)} ms, p99 ${quantile(ms, 0.99).toFixed(1)} ms of ${ms.length}`;
  return (
    `${renewed} tokens asked about again, each at most ${mostOfOne} times, by second ${validationsPerSecond.join(' ')}; answers before ${times(before)}, ` +
    `after ${times(after)}, ${hits} of them hits, ${degraded} degraded; wrong: ${wrong.length === 0 ? 'none' : wrong.join(', ')}`
  );
}

async function inTurns<Thing>(things: readonly Thing[], width: number, act: (thing: Thing) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < things.length; at = next++) await act(things[at] as Thing);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
