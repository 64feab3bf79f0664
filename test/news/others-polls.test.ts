// Whoever wants a poll waits a moment whether another sidecar asks: for a question that began after the wish, and for no other.

import { expect, it } from 'vitest';
import { OthersPolls } from '../../src/news/others-polls.ts';
import type { SharedQuestion } from '../../src/ports.ts';
import { createFakeClock } from '../fakes/clock.ts';

const never = new AbortController().signal;

function among(others: number) {
  const clock = createFakeClock();
  const poll = { others: () => others } as unknown as SharedQuestion;
  const polls = new OthersPolls({ clock, random: () => 0.5, shared: { poll, sweep: poll } });
  return { clock, polls };
}

it('one that began before the wish is no answer, however late it is told of; one that began then or later is', async () => {
  for (const [beganAfterMs, hasCome] of [
    [-1, false],
    [0, true],
    [1, true],
  ] as const) {
    const { clock, polls } = among(2);
    const beganMs = clock.monotonicMs() + beganAfterMs;
    const asked = polls.ask(never);
    await clock.advance(10);
    polls.came(beganMs);
    await clock.advance(60);
    expect(await asked).toBe(hasCome);
  }
});

it.each([
  [0, 0],
  [1, 50],
  [5, 50],
  [20, 200],
  [50, 500],
  [500, 500],
])('with %i others it waits for %i ms, in the middle of what it may', async (others, ms) => {
  const { clock, polls } = among(others);
  let answer: boolean | undefined;
  void polls.ask(never).then((come) => {
    answer = come;
  });
  await clock.advance(Math.max(0, ms - 1));
  expect(answer).toBe(ms === 0 ? false : undefined);
  await clock.advance(1);
  expect(answer).toBe(false);
});
