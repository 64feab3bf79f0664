// S11: the poll of Keystone's revocation events: from when on it asks, what it tells and proves, and what it does when nobody answers.

import { afterEach, describe, expect, test } from 'vitest';
import type { SidecarError } from '../../src/core/errors.ts';
import { createPollStage, isoOf, type PollStage, type PollStageOptions } from './poll-stage.ts';

const stages: PollStage[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

async function staged(options: PollStageOptions = {}): Promise<PollStage> {
  const stage = await createPollStage(options);
  stages.push(stage);
  return stage;
}

/** It has polled once, and its sweep, which goes with the first poll where there is no note, is far away. */
async function polled(options: PollStageOptions = {}): Promise<PollStage> {
  const stage = await staged(options);
  stage.start();
  await stage.untilProven(1);
  return stage;
}

const toldUsers = ({ sink }: PollStage): readonly string[] => sink.told.flatMap(({ about }) => about);
const linesOf = ({ telemetry }: PollStage, level: string) =>
  telemetry.lines.filter((line) => line.level === level).map(({ message }) => message);

function outcome(work: Promise<void>): { said: 'nothing' | 'done' | SidecarError } {
  const seen: { said: 'nothing' | 'done' | SidecarError } = { said: 'nothing' };
  work.then(
    () => {
      seen.said = 'done';
    },
    (error: SidecarError) => {
      seen.said = error;
    },
  );
  return seen;
}

describe('from when on it asks', () => {
  test('S11 the first poll without a note reaches back over a token’s whole life', async () => {
    const stage = await polled();
    const beganMs = stage.clock.nowMs();
    expect(stage.sinces()).toEqual([beganMs - 3_600_000 - 60_000]);
  });

  test('S11 each goes on from the Date of the reply before, less the overlap', async () => {
    const stage = await polled();
    const firstMs = stage.clock.nowMs();
    await stage.nextPoll();
    await stage.nextPoll();
    expect(stage.sinces().slice(1)).toEqual([firstMs - 60_000, firstMs + 2_000 - 60_000]);
  });

  test('S11 whole seconds, and none twice: also when it looks often within one', async () => {
    const stage = await polled();
    const firstMs = stage.clock.nowMs();
    for (let n = 0; n < 4; n += 1) await stage.source.look?.(never);
    expect(stage.sinces().slice(1)).toEqual([60, 61, 62, 63].map((s) => firstMs - s * 1_000));
    expect(new Set(stage.sinces()).size).toBe(5);
  });

  test('a Keystone whose clock is ahead is asked from when it was by ours, and how far it is ahead is told', async () => {
    const stage = await staged();
    stage.setAhead(30_000);
    stage.start();
    await stage.untilProven(1);
    const firstMs = stage.clock.nowMs();
    await stage.nextPoll();
    expect(stage.sinces()[1]).toBe(firstMs - 60_000);
    expect(stage.sink.offsetsMs).toEqual([30_000, 30_000]);
  });

  test('a Keystone whose clock is behind is asked by its own', async () => {
    const stage = await staged();
    stage.setAhead(-30_000);
    stage.start();
    await stage.untilProven(1);
    const firstMs = stage.clock.nowMs();
    await stage.nextPoll();
    expect(stage.sinces()[1]).toBe(firstMs - 90_000);
    // Dates have whole seconds: this much is certain.
    expect(stage.sink.offsetsMs[0]).toBe(-29_000);
  });

  test('S11 clocks that are set back hide nothing from the next poll, which is asked from by then', async () => {
    const stage = await polled();
    stage.clock.stepWall(-3_000_000);
    stage.revoke({ user_id: 'u' });
    await stage.nextPoll();
    expect(toldUsers(stage)).toEqual(['u']);
  });

  test('a reply that tells no time counts as of now', async () => {
    const stage = await staged();
    stage.answerLists(() => ({ status: 200, headers: { date: '' }, body: { events: [{ user_id: 'u' }] } }));
    stage.start();
    await stage.untilProven(1);
    const firstMs = stage.clock.nowMs();
    expect(stage.sink.told.map(({ atMs }) => atMs)).toEqual([firstMs]);
    await stage.nextPoll();
    expect(stage.sinces()[1]).toBe(firstMs - 60_000);
  });

  test('the pause between two is `every`, less up to a fifth at random, from the beginning of the one before', async () => {
    const stage = await polled({ random: () => 0.5 });
    await stage.clock.advance(1_799);
    expect(stage.asked()).toBe(1);
    await stage.nextPoll(1);
    expect(stage.asked()).toBe(2);
  });

  test('a Keystone that takes longer than `every` gets a quarter of it as a rest', async () => {
    const stage = await polled();
    let answer = (): void => undefined;
    const slow = new Promise<void>((resolve) => {
      answer = resolve;
    });
    stage.answerLists(async (_request, list) => {
      await slow;
      return list();
    });
    await stage.clock.advance(2_000);
    await stage.until(() => stage.asked() === 2);
    await stage.clock.advance(4_000);
    answer();
    await stage.untilProven(2);
    await stage.clock.advance(499);
    expect(stage.asked()).toBe(2);
    await stage.nextPoll(1);
    expect(stage.asked()).toBe(3);
  });
});

describe('what it tells', () => {
  test('each row once, however often it is listed', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'u' });
    stage.revoke({ audit_id: 'a' });
    for (let n = 0; n < 5; n += 1) await stage.nextPoll();
    expect(stage.sink.told.map(({ event }) => event)).toEqual(['OS-REVOKE user_id', 'OS-REVOKE audit_id']);
    expect(stage.sink.told[0]).toMatchObject({ about: ['u'], invalidations: [{ effect: 'REVOKE' }] });
    expect(stage.sink.ignoredWhy).toEqual([]);
  });

  test('S11 a row that was written late, within the overlap', async () => {
    const stage = await polled();
    await stage.nextPoll();
    stage.revoke({ user_id: 'late' }, stage.clock.nowMs() - 58_000);
    await stage.nextPoll();
    expect(toldUsers(stage)).toEqual(['late']);
  });

  test('S11 a row that was written later than that, with the next sweep', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'very late' }, stage.clock.nowMs() - 90_000);
    await stage.nextPoll();
    expect(toldUsers(stage)).toEqual([]);
    await stage.clock.advance(598_000);
    await stage.until(() => toldUsers(stage).length > 0);
    expect(toldUsers(stage)).toEqual(['very late']);
  });

  test('rows that mean the same spelt in two ways are one', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'u' });
    await stage.nextPoll();
    const [row] = stage.rows;
    stage.rows.splice(0, 1, { ...Object.fromEntries(Object.entries(row ?? {}).reverse()), project_id: null });
    await stage.nextPoll();
    expect(stage.sink.told).toHaveLength(1);
  });

  test('10,000 rows at once, at most 64 of them at a time, and others have their turn meanwhile', async () => {
    const stage = await staged({ maxBodyBytes: 8_388_608 });
    for (let n = 0; n < 10_000; n += 1) stage.revoke({ user_id: `u${n}` });
    let underWay = 0;
    let most = 0;
    stage.sink.answerTells(async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await Promise.resolve();
      underWay -= 1;
    });
    // What the loop does meanwhile. It is not rows but their reading that takes time: another turn after each 256.
    const seenAtTurns = new Set<number>();
    let isDone = false;
    const turn = (): void => {
      seenAtTurns.add(stage.sink.told.length);
      if (!isDone) setImmediate(turn);
    };
    turn();
    stage.start();
    await stage.untilProven(1);
    isDone = true;
    expect(new Set(toldUsers(stage)).size).toBe(10_000);
    expect(most).toBe(64);
    expect(seenAtTurns.size).toBeGreaterThan(10_000 / 256 / 2);
  });
});

describe('what it proves', () => {
  test('the moment when the question was sent, once everything is told', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'u' });
    let told = (): void => undefined;
    stage.sink.answerTells(
      () =>
        new Promise((resolve) => {
          told = resolve;
        }),
    );
    await stage.clock.advance(2_000);
    const sentMs = stage.clock.monotonicMs();
    await stage.until(() => stage.answered() === 2);
    await stage.clock.advance(700);
    expect(stage.sink.provenMs).toHaveLength(1);
    told();
    await stage.untilProven(2);
    expect(stage.sink.provenMs[1]).toBe(sentMs);
    expect(stage.sink.order.slice(-2)).toEqual([`tell ${stage.sink.told[0]?.id}`, `proven ${sentMs}`]);
  });

  test('nothing while a row cannot be taken; the others are told all the same, and that one again', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'good' });
    stage.revoke({ user_id: 'bad' });
    stage.sink.answerTells(async ({ about }) => {
      if (about[0] === 'bad') throw new Error('no journal');
    });
    await stage.clock.advance(2_000);
    await stage.until(() => !stage.source.health().reachable);
    expect(toldUsers(stage)).toEqual(['good']);
    expect(stage.sink.provenMs).toHaveLength(1);
    expect(stage.source.health().problem).toBe('what was listed could not be taken');
    stage.sink.answerTells(undefined);
    await stage.nextPoll(1_000);
    expect(toldUsers(stage)).toEqual(['good', 'bad']);
    expect(stage.source.health()).toEqual({ reachable: true, lastAnswerAtMs: stage.clock.nowMs() });
  });

  test('nothing while Keystone is away; it is asked again after 1 s, 2 s, 4 s, up to 10 s, and said once', async () => {
    const stage = await polled();
    await stage.authority.stop();
    const failedAt: number[] = [];
    for (const pause of [2_000, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
      await stage.clock.advance(pause - 1);
      const before = stage.source.health();
      expect(before.reachable).toBe(failedAt.length === 0);
      await stage.clock.advance(1);
      failedAt.push(pause);
      // The connection is refused in real time, and the next pause begins then: one sleeps for the poll, one for the sweep.
      await stage.until(() => !stage.source.health().reachable);
      await stage.until(() => stage.clock.waiting() === 2);
    }
    expect(stage.sink.provenMs).toHaveLength(1);
    expect(linesOf(stage, 'warn')).toHaveLength(1);
    await stage.authority.resume();
    await stage.nextPoll(10_000);
    expect(stage.source.health().reachable).toBe(true);
    expect(linesOf(stage, 'info').at(-1)).toBe('the poll is answered again');
    expect(stage.sink.gaps).toEqual([]);
  });

  test('what Keystone did while it was not asked is told when it is', async () => {
    const stage = await polled();
    stage.answerLists(() => ({ status: 503 }));
    for (let n = 0; n < 30; n += 1) {
      await stage.clock.advance(10_000);
      stage.revoke({ user_id: `u${n}` });
    }
    stage.answerLists(undefined);
    await stage.nextPoll(10_000);
    expect(toldUsers(stage)).toEqual(Array.from({ length: 30 }, (_, n) => `u${n}`));
    expect(stage.sink.gaps).toEqual([]);
  });

  test('keeps to what Keystone asks to wait, up to 10 s', async () => {
    const stage = await polled();
    stage.answerLists(() => ({ status: 503, headers: { 'retry-after': '6' } }));
    await stage.clock.advance(2_000);
    await stage.until(() => !stage.source.health().reachable);
    await stage.clock.advance(5_999);
    expect(stage.asked()).toBe(2);
    stage.answerLists(undefined);
    await stage.nextPoll(1);
  });
});

describe('a look', () => {
  test('asks at once, beside the schedule, and resolves when all that was there is told', async () => {
    const stage = await polled();
    stage.revoke({ user_id: 'u' });
    await stage.source.look?.(never);
    expect(toldUsers(stage)).toEqual(['u']);
    expect(stage.asked()).toBe(2);
    // The schedule goes on from there.
    await stage.clock.advance(1_999);
    expect(stage.asked()).toBe(2);
    await stage.nextPoll(1);
  });

  test('that arrives while a poll is under way waits for the next one: that one may have been answered before', async () => {
    const stage = await polled();
    const answers: (() => void)[] = [];
    stage.answerLists(async (_request, list) => {
      const answer = list();
      await new Promise<void>((resolve) => {
        answers.push(resolve);
      });
      return answer;
    });
    const first = outcome(stage.source.look?.(never) ?? Promise.resolve());
    await stage.until(() => answers.length === 1);
    // Keystone has read its list by now.
    stage.revoke({ user_id: 'after the first' });
    const others = [0, 1, 2].map(() => outcome(stage.source.look?.(never) ?? Promise.resolve()));
    answers[0]?.();
    await stage.until(() => first.said === 'done' && answers.length === 2);
    expect(toldUsers(stage)).toEqual([]);
    answers[1]?.();
    await stage.until(() => others.every(({ said }) => said === 'done'));
    expect(toldUsers(stage)).toEqual(['after the first']);
    expect(stage.asked()).toBe(3);
  });

  test('fails as the poll does, with those that came meanwhile, and at once while that waits to be tried again', async () => {
    const stage = await polled();
    let refuse = (): void => undefined;
    stage.answerLists(async () => {
      await new Promise<void>((resolve) => {
        refuse = resolve;
      });
      return { status: 503 };
    });
    const looks = [outcome(stage.source.look?.(never) ?? Promise.resolve())];
    await stage.until(() => stage.asked() === 2);
    looks.push(outcome(stage.source.look?.(never) ?? Promise.resolve()));
    refuse();
    await stage.until(() => looks.every(({ said }) => said !== 'nothing'));
    expect(looks.map(({ said }) => said)).toEqual([
      expect.objectContaining({ reason: 'KEYSTONE_UNAVAILABLE' }),
      expect.objectContaining({ reason: 'KEYSTONE_UNAVAILABLE' }),
    ]);
    await expect(stage.source.look?.(never)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_UNAVAILABLE' });
    expect(stage.asked()).toBe(2);
  });

  test('that nobody waits for any more ends with its signal, and asks nobody by itself', async () => {
    const stage = await polled();
    const reason = new Error('left');
    await expect(stage.source.look?.(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(stage.asked()).toBe(1);
  });

  test('before it runs, and after, is answered that it does not', async () => {
    const stage = await staged();
    await expect(stage.source.look?.(never)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'NEWS_NOT_RUNNING' });
    stage.start();
    await stage.untilProven(1);
    await stage.stop();
    await expect(stage.source.look?.(never)).rejects.toMatchObject({ reason: 'NEWS_NOT_RUNNING' });
  });

  test('under way at the end fails, and the end waits for nobody', async () => {
    const stage = await polled();
    stage.answerLists(() => ({ kind: 'hang' }));
    const look = outcome(stage.source.look?.(never) ?? Promise.resolve());
    await stage.until(() => stage.asked() === 2);
    await stage.stop();
    expect(look.said).toMatchObject({ reason: 'NEWS_NOT_RUNNING' });
    expect(stage.source.health().reachable).toBe(true);
  });
});

test('the end waits for no telling: the journal may hang', async () => {
  const stage = await polled();
  stage.revoke({ user_id: 'u' });
  let telling = 0;
  stage.sink.answerTells(() => {
    telling += 1;
    return new Promise(() => undefined);
  });
  await stage.clock.advance(2_000);
  await stage.until(() => telling === 1);
  await stage.stop();
  expect([stage.sink.told, stage.sink.provenMs.length]).toEqual([[], 1]);
});

describe('a list that is too long', () => {
  const fill = (stage: PollStage, count: number): void => {
    for (let n = 0; n < count; n += 1) stage.revoke({ user_id: `u${n}` });
  };

  test('S11 of a poll proves nothing; the next one begins now, and then it is admitted that something was missed', async () => {
    const stage = await polled({ maxBodyBytes: 10_000 });
    stage.answerLists(() => ({ status: 503 }));
    await stage.clock.advance(200_000);
    fill(stage, 200);
    await stage.clock.advance(100_000);
    stage.answerLists(undefined);
    await stage.clock.advance(10_000);
    await stage.until(() => stage.source.health().problem?.includes('longer') ?? false);
    expect(stage.sink.provenMs).toHaveLength(1);
    expect(stage.sink.gaps).toEqual([]);
    stage.revoke({ user_id: 'new' });
    const missedUntilMs = stage.clock.nowMs();
    await stage.nextPoll(10_000);
    expect(stage.sinces().at(-1)).toBe(missedUntilMs - 60_000);
    expect(toldUsers(stage)).toEqual(['new']);
    expect(stage.sink.gaps).toEqual([expect.stringContaining('longer than limits.upstream_body')]);
    expect(stage.sink.order.slice(-2)).toEqual([expect.stringContaining('gap'), expect.stringContaining('proven')]);
    await stage.nextPoll();
    expect(stage.sink.gaps).toHaveLength(1);
    expect(stage.source.health()).toMatchObject({ reachable: true });
  });

  test('S11 of every poll proves nothing for as long, and says so once', async () => {
    const stage = await polled({ maxBodyBytes: 10_000 });
    for (let n = 0; n < 8; n += 1) {
      fill(stage, 200);
      await stage.clock.advance(10_000);
      await stage.until(() => stage.clock.waiting() === 2);
    }
    expect(stage.sink.provenMs).toHaveLength(1);
    expect(linesOf(stage, 'warn')).toHaveLength(1);
    expect(stage.source.health().reachable).toBe(false);
  });

  test('S11 of a sweep is skipped, and said once; polls go on', async () => {
    const stage = await polled({ maxBodyBytes: 10_000 });
    fill(stage, 20);
    for (let minute = 0; minute < 30; minute += 1) {
      await stage.nextPoll();
      await stage.clock.advance(58_000);
      fill(stage, 20);
      await stage.until(() => stage.clock.waiting() === 2);
    }
    await stage.nextPoll(10_000);
    expect(new Set(toldUsers(stage)).size).toBe(20);
    expect(stage.sink.gaps).toEqual([]);
    expect(linesOf(stage, 'warn')).toEqual([expect.stringMatching(/all revocation events is longer.*skipped/)]);
    expect(stage.source.health()).toMatchObject({ reachable: true, problem: expect.stringContaining('all revocation events') });
  });

  test('to be sent in time, three times in a row, is like one that is too long', async () => {
    const hourAgo = (stage: PollStage): number => stage.clock.nowMs() - 3_600_000;
    const stage: PollStage = await staged({ reachMs: 86_400_000, isLate: (sinceMs) => sinceMs < hourAgo(stage) });
    stage.start();
    for (const pause of [1_000, 2_000]) {
      await stage.until(() => stage.source.health().problem === 'late' && stage.clock.waiting() === 2);
      await stage.clock.advance(pause);
    }
    expect(stage.source.health().problem).toContain('does not come in time');
    await stage.nextPoll(4_000);
    expect(stage.sink.gaps).toEqual([expect.stringContaining('does not come in time')]);
    expect(stage.sinces()).toEqual([stage.clock.nowMs() - 4_000 - 60_000]);
  });

  test('that is late but short is only late', async () => {
    let isLate = false;
    const stage = await polled({ isLate: () => isLate });
    isLate = true;
    await stage.clock.advance(60_000);
    isLate = false;
    await stage.nextPoll(10_000);
    expect(stage.sink.gaps).toEqual([]);
  });
});

describe('after a restart', () => {
  test('S11 it goes on where the last run ended, and sweeps', async () => {
    const first = await polled();
    for (let n = 0; n < 10; n += 1) await first.nextPoll();
    await first.stop();
    const noted = Number(first.notes.get('polled/central'));
    // Noted each 10 s, not with each poll.
    expect(first.clock.nowMs() - noted).toBeLessThanOrEqual(10_000);
    const second = await staged({ notes: first.notes });
    second.clock.stepWall(600_000);
    second.revoke({ user_id: 'meanwhile' }, noted + 300_000);
    second.revoke({ user_id: 'long ago' }, noted - 1_800_000);
    second.start();
    await second.untilProven(1);
    expect(second.sinces()[0]).toBe(noted - 60_000);
    await second.clock.advance(0);
    await second.until(() => toldUsers(second).length === 2);
    expect(toldUsers(second)).toEqual(['meanwhile', 'long ago']);
    expect(second.sinces()[1]).toBe(second.clock.nowMs() - 3_660_000);
    expect(second.sink.gaps).toEqual([]);
  });

  test('that was longer than a token’s life it reaches back over that, and no sweep goes with it', async () => {
    const stage = await staged({ notes: new Map([['polled/central', '1000']]) });
    stage.start();
    await stage.untilProven(1);
    expect(stage.sinces()).toEqual([stage.clock.nowMs() - 3_660_000]);
    await stage.clock.advance(0);
    expect(stage.asked()).toBe(1);
  });

  test('with a note that is none it is as without', async () => {
    const stage = await polled({ notes: new Map([['polled/central', 'yesterday']]) });
    expect(stage.sinces()).toEqual([stage.clock.nowMs() - 3_660_000]);
  });

  test('S11 it goes on where the last run ended also where all clocks were set back meanwhile, as that one noted it', async () => {
    const first = await polled();
    first.clock.stepWall(-3_000_000);
    for (let n = 0; n < 10; n += 1) await first.nextPoll();
    await first.stop();
    const second = await staged({ notes: first.notes });
    second.clock.stepWall(-3_000_000 + 600_000);
    second.revoke({ user_id: 'meanwhile' }, second.clock.nowMs() - 300_000);
    second.start();
    await second.untilProven(1);
    expect(toldUsers(second)).toEqual(['meanwhile']);
  });

  test('S11 where all clocks were set back while nothing ran, a note of later than now is none', async () => {
    const notes = new Map<string, string>();
    const stage = await staged({ notes });
    notes.set('polled/central', String(stage.clock.nowMs() + 3_000_000));
    stage.revoke({ user_id: 'meanwhile' }, stage.clock.nowMs() - 300_000);
    stage.start();
    await stage.untilProven(1);
    expect(toldUsers(stage)).toEqual(['meanwhile']);
  });

  test.each([
    ['facts that are as old may serve', Number.POSITIVE_INFINITY, 1],
    ['facts are younger', 300_000, 0],
  ])('that was longer than Keystone keeps its rows: where %s, something may have been missed', async (_what, factsLifeMs, gaps) => {
    const stage = await staged({ factsLifeMs, reachMs: 86_400_000 });
    stage.notes.set('polled/central', String(stage.clock.nowMs() - 1_860_000));
    stage.start();
    await stage.untilProven(1);
    expect(stage.sink.gaps).toHaveLength(gaps);
    await stage.nextPoll();
    expect(stage.sink.gaps).toHaveLength(gaps);
  });

  test('a first run has missed nothing, however far it reaches', async () => {
    const stage = await polled({ factsLifeMs: Number.POSITIVE_INFINITY, reachMs: 86_400_000 });
    expect(stage.sink.gaps).toEqual([]);
  });
});

describe('what it says', () => {
  test.each([
    [403, /our user needs the role "service"/],
    [404, /set news\.poll to null/],
    [410, /set news\.poll to null/],
  ])('of a %d: what to do, in its health and in one line; it is asked again, and comes back', async (status, words) => {
    const stage = await staged();
    stage.answerLists(() => ({ status, body: { error: { code: status, message: 'identity:list_revoke_events' } } }));
    stage.start();
    await stage.until(() => stage.source.health().problem !== 'not asked yet');
    await stage.clock.advance(20_000);
    expect(stage.source.health()).toMatchObject({ reachable: false, problem: expect.stringMatching(words) });
    expect(linesOf(stage, 'warn')).toEqual([expect.stringMatching(words)]);
    expect(stage.sink.provenMs).toEqual([]);
    stage.answerLists(undefined);
    await stage.nextPoll(10_000);
    expect(stage.source.health()).toMatchObject({ reachable: true });
  });

  test('before it has asked: that it has not', async () => {
    const stage = await staged();
    expect(stage.source.health()).toEqual({ reachable: false, problem: 'not asked yet' });
  });

  test('its name is poll', async () => {
    expect((await staged()).source.name).toBe('poll');
  });
});

test('rows without a time are told once, and are of the moment when they were first listed', async () => {
  const stage = await polled();
  stage.rows.push({ user_id: 'u' });
  const firstMs = stage.clock.nowMs() + 2_000;
  await stage.nextPoll();
  await stage.nextPoll();
  expect(stage.sink.told).toMatchObject([{ atMs: firstMs, invalidations: [{ effect: 'REFRESH' }] }]);
  expect(isoOf(firstMs)).toContain('.000000Z');
});
