// A robot that logs in by federation again and again: each time Keystone tells that its user has changed.

import { setTimeout as sleep } from 'node:timers/promises';
import type { StormStage } from './stage.ts';

/** How it goes on. */
export interface RobotPlan {
  readonly perSecond: number;
  readonly lastsMs: number;
  /** Tokens of the robot, and of as many others, which are asked about all the time at every sidecar. */
  readonly tokens: number;
  readonly settleMs: number;
}

/** What came of it. */
export interface RobotResult {
  readonly messages: number;
  /** Settle windows that there was room for while it lasted, the last one's end included. */
  readonly windows: number;
  /** The most validations of one token of the robot by one sidecar; and by all of them, of all of its tokens, a window and token. */
  readonly mostOfRobot: number;
  readonly perWindowAndToken: number;
  /** The most of one token of the others. */
  readonly mostOfOthers: number;
  /** Questions for the list of revocation events, by all sidecars. */
  readonly polls: number;
  readonly answers: number;
  /** Answers other than active, and what was no answer, in words. */
  readonly wrong: readonly string[];
}

/** Runs it. */
export async function runRobot({ keystone, sidecars, tell }: StormStage, plan: RobotPlan): Promise<RobotResult> {
  const issue = (user: string): string[] => Array.from({ length: plan.tokens }, () => keystone.issue(user, 3_600_000).token);
  const [robot, others] = [issue('robot'), issue('somebody')];
  for (const { client } of sidecars) for (const token of [...robot, ...others]) await client.validate(token);

  /** By the sidecar's own token and the robot's or another's. */
  const counts = new Map<string, number>();
  keystone.onValidation = (token, caller) => counts.set(`${caller} ${token}`, (counts.get(`${caller} ${token}`) ?? 0) + 1);
  const pollsBefore = keystone.polls;
  const wrong: string[] = [];
  let answers = 0;
  let isOver = false;
  const askers = sidecars.flatMap(({ client }) =>
    [...robot, ...others].map(async (token) => {
      while (!isOver) {
        const said = await client.validate(token).then(
          (answer) => (answer.active ? undefined : answer.reason),
          (error: unknown) => String(error),
        );
        answers += 1;
        if (said !== undefined) wrong.push(said);
        await sleep(50);
      }
    }),
  );
  const beganMs = performance.now();
  let messages = 0;
  while (performance.now() - beganMs < plan.lastsMs) {
    await tell('identity.user.updated', 'robot');
    messages += 1;
    // Later ones do not wait for one that was late.
    await sleep(Math.max(0, beganMs + (messages * 1000) / plan.perSecond - performance.now()));
  }
  const endedMs = performance.now();
  // What the last one has begun.
  await sleep(3 * plan.settleMs);
  isOver = true;
  await Promise.all(askers);
  keystone.onValidation = () => undefined;

  const windows = Math.ceil((endedMs - beganMs) / plan.settleMs) + 2;
  const of = (tokens: readonly string[]): number[] =>
    [...counts].flatMap(([name, count]) => (tokens.includes(name.split(' ')[1] ?? '') ? [count] : []));
  const ofRobot = of(robot);
  return {
    messages,
    windows,
    mostOfRobot: Math.max(0, ...ofRobot),
    perWindowAndToken: ofRobot.reduce((sum, count) => sum + count, 0) / windows / plan.tokens,
    mostOfOthers: Math.max(0, ...of(others)),
    polls: keystone.polls - pollsBefore,
    answers,
    wrong: [...new Set(wrong)],
  };
}
