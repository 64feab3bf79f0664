// What a sidecar tells of its questions: one record at a time, and the newest says all that those before it would.

import { expect, it } from 'vitest';
import type { Polled } from '../../../src/core/fleet-record.ts';
import type { LogLink } from '../../../src/ports.ts';
import { SharedQuestions } from '../../../src/service/fleet/shared-questions.ts';
import { createFakeClock, type FakeClock } from '../../fakes/clock.ts';

const link: LogLink = { signal: new AbortController().signal, append: async () => undefined, read: async () => undefined };
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What another tells of a question that it has asked just now. */
function theirs(clock: Pick<FakeClock, 'nowMs'>, after: number): Polled {
  const common = { journal: 'theirs', issuer: 'central', source: 'poll', atMs: clock.nowMs(), tookMs: 1 };
  return { ...common, sinceMs: 0, fromMs: 0, throughMs: 0, after };
}

function stageOf(place: { readonly link: LogLink; readonly position: number } | undefined) {
  const clock = createFakeClock();
  const questions = new SharedQuestions({ clock, skewMs: 2_000, maxLagMs: 10_000 });
  const told: Polled[] = [];
  const releases: ((fails: boolean) => void)[] = [];
  questions.join({
    journal: 'ours',
    isSound: () => true,
    isCurrent: () => true,
    others: () => 2,
    place: () => place,
    told: async () => undefined,
    tell: (polled) =>
      new Promise((resolve, reject) => {
        releases.push((fails) => {
          told.push(polled());
          if (fails) reject(new Error('the connection has ended'));
          else resolve();
        });
      }),
  });
  const ask = (throughMs: number): void => questions.of('central', 'poll').begin()({ fromMs: 1, throughMs, sinceMs: 0 });
  return { clock, questions, told, releases, ask };
}

it('tells one question at a time, and of those that came meanwhile the newest', async () => {
  const { told, releases, ask } = stageOf({ link, position: 7 });
  for (const throughMs of [1_000, 2_000, 3_000]) ask(throughMs);
  expect(releases).toHaveLength(1);
  releases[0]?.(false);
  await turn();
  expect(releases).toHaveLength(2);
  releases[1]?.(true);
  await turn();
  // What a log did not take does not keep the next one from being told.
  ask(4_000);
  releases[2]?.(false);
  await turn();
  expect(told.map(({ throughMs }) => throughMs)).toEqual([1_000, 3_000, 4_000]);
  expect(told[0]).toMatchObject({ journal: 'ours', issuer: 'central', source: 'poll', after: 7, fromMs: 1 });
});

it('says how long it took until it was told', async () => {
  const { clock, told, releases, questions } = stageOf({ link, position: 7 });
  const tell = questions.of('central', 'poll').begin();
  await clock.advance(30);
  tell({ fromMs: 1, throughMs: 2, sinceMs: 0 });
  await clock.advance(12);
  releases[0]?.(false);
  expect(told[0]).toMatchObject({ tookMs: 42, atMs: clock.nowMs() - 42 });
});

it('tells nothing where nobody reads the log when it begins', () => {
  const { releases, ask } = stageOf(undefined);
  ask(1_000);
  expect(releases).toHaveLength(0);
});

it('proves the last sign of life of ours that the other had read, however many have come since', async () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  const heard: (number | undefined)[] = [];
  questions.of('central', 'poll').listen(({ provenMs }) => heard.push(provenMs), new AbortController().signal);
  const beganMs = clock.monotonicMs();
  // A hundred a second, as where many wait for everybody.
  for (let position = 0; position < 1_000; position += 1) {
    questions.proven({ position, appendedMs: clock.monotonicMs() });
    await clock.advance(10);
  }
  for (const after of [0, 333, 999]) questions.heard(theirs(clock, after), 2_000);
  expect(heard.map((provenMs) => (provenMs ?? Number.NaN) - beganMs)).toEqual([0, 3_250, 9_750]);
  questions.forget();
  questions.heard(theirs(clock, 999), 2_000);
  expect(heard.at(-1)).toBeUndefined();
});

it('knows who has told of a source in the log that is read, whether somebody listens or not, and that what is ours is there', () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  questions.heard(theirs(clock, 1), 2);
  const knows = (source: string, journal: string): boolean => questions.of('central', source).hasTold(journal);
  expect([knows('poll', 'theirs'), knows('poll', 'ours'), knows('bus', 'theirs'), knows('poll', 'nobody')]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

it('S10 looks at no clock but ours for what was heard of a queue, and says what who reads it thinks of it', () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  const heard: unknown[] = [];
  for (const source of ['bus', 'poll']) {
    questions.of('central', source).listen(({ isSuspect }) => heard.push([source, isSuspect]), new AbortController().signal);
    questions.heard({ ...theirs(clock, 1), source, atMs: clock.nowMs() + 60_000, isSuspect: true }, 2);
  }
  expect(heard).toEqual([['bus', true]]);
});

it('S10 knows by no clock but ours whether what was heard of a queue is of now', async () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  const heard: unknown[] = [];
  questions.of('central', 'bus').listen(({ isOfNow }) => heard.push(isOfNow), new AbortController().signal);
  const tell = (): void => questions.heard({ ...theirs(clock, 1), source: 'bus', atMs: clock.nowMs() - 3_600_000 }, 3);
  tell();
  questions.proven({ position: 1, appendedMs: clock.monotonicMs() });
  tell();
  await clock.advance(10_000);
  tell();
  await clock.advance(1);
  tell();
  // Before it has read a sign of life of ours nobody knows.
  expect(heard).toEqual([false, true, true, false]);
});

it('S11 takes no proof from what was told long ago, wherever it stands', () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  const heard: unknown[] = [];
  questions.of('central', 'poll').listen(({ provenMs }) => heard.push(provenMs), new AbortController().signal);
  const ownMs = clock.monotonicMs();
  questions.proven({ position: 1, appendedMs: ownMs });
  // By their clock: a skew, what it took, and the lag.
  for (const agoMs of [12_001, 12_002]) questions.heard({ ...theirs(clock, 1), atMs: clock.nowMs() - agoMs }, 3);
  expect(heard).toEqual([ownMs, undefined]);
});

it('tells what who reads it thinks of it', () => {
  const { told, releases, questions } = stageOf({ link, position: 7 });
  questions.of('central', 'bus').begin()({ fromMs: 1, throughMs: 1, sinceMs: 1, isSuspect: true });
  releases[0]?.(false);
  expect(told).toMatchObject([{ source: 'bus', isSuspect: true }]);
});

it('has told nobody where there is no fleet', async () => {
  const questions = new SharedQuestions({ clock: createFakeClock(), skewMs: 2_000, maxLagMs: 10_000 });
  const leaving = new AbortController();
  const telling = questions.told(leaving.signal);
  leaving.abort(new Error('we stop'));
  await expect(telling).rejects.toThrow('we stop');
  expect(questions.of('central', 'bus').isCurrent()).toBe(false);
});

it('gives nothing to whoever listens no more', () => {
  const { clock, questions } = stageOf({ link, position: 7 });
  const leaving = new AbortController();
  let count = 0;
  questions.of('central', 'poll').listen(() => {
    count += 1;
  }, leaving.signal);
  questions.heard(theirs(clock, 1), 2);
  leaving.abort();
  questions.heard(theirs(clock, 1), 2);
  expect(count).toBe(1);
});
