// S10, S13: what may have been missed: the poll is asked, everything is refreshed once, spread, and until then it is said.

import { afterEach, describe, expect, test } from 'vitest';
import type { Journal } from '../../../src/ports.ts';
import { newsOf } from '../../fakes/news-source.ts';
import { createNewsStage, type NewsStage, type NewsStageOptions } from './news-stage.ts';

const stages: NewsStage[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

async function staged(options: NewsStageOptions = {}): Promise<NewsStage> {
  const stage = await createNewsStage(options);
  stages.push(stage);
  return stage;
}

/** Both sources are current, as long as this is called. */
async function pass(stage: NewsStage, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1_000) {
    stage.bus.sink.proven(stage.clock.monotonicMs());
    stage.poll.sink.proven(stage.clock.monotonicMs());
    await stage.clock.advance(Math.min(1_000, ms - passed));
  }
}

const hasGap = (stage: NewsStage): boolean => stage.degradations.by('central').includes('GAP');
const wideEverything = { effect: 'REFRESH', spreadMs: 30_000, selector: { kind: 'everything', issuer: 'central' } };

describe('S10 a gap', () => {
  test('has the poll asked, then everything of the issuer refreshed, spread; it is said from at once until that has taken effect', async () => {
    const stage = await staged();
    let isAnswered = (): void => undefined;
    stage.poll.onLook(() => new Promise((resolve) => (isAnswered = resolve)));
    stage.bus.sink.gap('the binding was gone');
    expect(hasGap(stage)).toBe(true);
    await pass(stage, 1_000);
    expect([stage.poll.looks.length, await stage.entries()]).toEqual([1, []]);
    isAnswered();
    await pass(stage, 1_000);
    expect(await stage.entries()).toMatchObject([
      { ...wideEverything, origin: { source: 'central/bus', event: 'gap: the binding was gone' } },
    ]);
    await pass(stage, 28_999);
    expect(hasGap(stage)).toBe(true);
    await pass(stage, 1_001);
    expect(hasGap(stage)).toBe(false);
    expect(stage.telemetry.count('sidegate_news_gaps_total', { source: 'central/bus' })).toBe(1);
  });

  test('is closed without the poll where there is none, or where it does not answer within 5 s', async () => {
    const alone = await staged({ hasPoll: false });
    alone.bus.sink.gap('the queue was full');
    await alone.clock.advance(0);
    expect(await alone.entries()).toMatchObject([wideEverything]);
    const hanging = await staged();
    hanging.poll.onLook(() => new Promise(() => undefined));
    hanging.bus.sink.gap('the queue was full');
    await pass(hanging, 4_999);
    expect(await hanging.entries()).toEqual([]);
    await pass(hanging, 1);
    expect(await hanging.entries()).toMatchObject([wideEverything]);
  });

  test('of the poll is closed like one of the bus', async () => {
    const stage = await staged();
    stage.poll.sink.gap('the list was too long');
    await pass(stage, 1_000);
    expect(await stage.entries()).toMatchObject([{ ...wideEverything, origin: { source: 'central/poll' } }]);
    expect(stage.telemetry.count('sidegate_news_gaps_total', { source: 'central/poll' })).toBe(1);
  });

  test('S10 and others within its window are closed together, by one more after it: what had its slot already knows nothing of them', async () => {
    const stage = await staged();
    stage.bus.sink.gap('one');
    await pass(stage, 5_000);
    for (const why of ['two', 'three', 'four']) {
      stage.bus.sink.gap(why);
      await pass(stage, 5_000);
    }
    expect(await stage.entries()).toHaveLength(1);
    await pass(stage, 10_000);
    expect((await stage.entries()).map(({ origin }) => origin.event)).toEqual(['gap: one', 'gap: four']);
    // The poll is asked for each of the two.
    expect(stage.poll.looks).toHaveLength(2);
    await pass(stage, 29_000);
    expect(hasGap(stage)).toBe(true);
    await pass(stage, 2_000);
    expect(hasGap(stage)).toBe(false);
    await pass(stage, 60_000);
    expect(await stage.entries()).toHaveLength(2);
  });

  test('is said for as long as the one that trails another refresh of everything takes', async () => {
    const stage = await staged();
    const unknown = newsOf({
      event: 'identity.shoe.deleted',
      atMs: stage.clock.nowMs(),
      invalidations: [{ effect: 'REFRESH', conditions: [], isWide: true }],
    });
    await stage.bus.sink.tell(unknown);
    await pass(stage, 10_000);
    expect(hasGap(stage)).toBe(false);
    stage.bus.sink.gap('the binding was gone');
    // The first one runs until 30 s; this one has its own 30 s after that.
    await pass(stage, 49_000);
    expect(hasGap(stage)).toBe(true);
    await pass(stage, 2_000);
    expect(hasGap(stage)).toBe(false);
  });
});

function noted(): Pick<Journal, 'note' | 'noted'> & { readonly kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return { kept, note: async (name, value) => void kept.set(name, value), noted: async (name) => kept.get(name) };
}

describe('S10 a storm of gaps', () => {
  test('is one line, one note and one refresh, and one more of each after it, however many there are', async () => {
    const written: string[] = [];
    const stage = await staged({ notes: { note: async (_name, value) => void written.push(value), noted: async () => undefined } });
    for (let at = 0; at < 10; at += 1) {
      for (let n = 0; n < 1_000; n += 1) stage.bus.sink.gap('a message could not be read');
      await pass(stage, 1_000);
    }
    const lines = stage.telemetry.lines.filter(({ message }) => message.startsWith('news may have been missed'));
    expect([lines.length, written.filter((value) => value === 'open').length]).toEqual([2, 2]);
    await pass(stage, 25_000);
    expect(await stage.entries()).toHaveLength(2);
    await pass(stage, 24_000);
    expect(hasGap(stage)).toBe(true);
    await pass(stage, 5_000);
    expect(hasGap(stage)).toBe(false);
    expect(stage.telemetry.count('sidegate_news_gaps_total', { source: 'central/bus' })).toBe(10_000);
  });

  test('S13 is open in the journal until the last of them is closed: a restart in between closes it', async () => {
    const notes = noted();
    const stage = await staged({ notes });
    let isAnswered = (): void => undefined;
    stage.poll.onLook(() => new Promise((resolve) => (isAnswered = resolve)));
    stage.bus.sink.gap('one');
    await pass(stage, 1_000);
    stage.bus.sink.gap('two');
    isAnswered();
    await pass(stage, 1_000);
    expect([(await stage.entries()).length, notes.kept.get('gap/central/bus')]).toEqual([1, 'open']);
  });
});

describe('S13 a journal that hangs', () => {
  test('ends no gap: it is said until what may have been missed has been asked about', async () => {
    const stage = await staged({ notes: { note: () => new Promise(() => undefined), noted: async () => undefined } });
    stage.bus.sink.gap('the binding was gone');
    await pass(stage, 120_000);
    expect([hasGap(stage), await stage.entries()]).toEqual([true, []]);
  });

  test('leaves open whether a restart would know of the gap; what has been noted, or refreshed, it would', async () => {
    let note = (): void => undefined;
    const stage = await staged({ notes: { note: () => new Promise((resolve) => (note = resolve)), noted: async () => undefined } });
    let isKnown = false;
    void stage.bus.sink.gap('a message could not be read').then(() => (isKnown = true));
    await pass(stage, 5_000);
    expect(isKnown).toBe(false);
    note();
    await pass(stage, 1);
    expect(isKnown).toBe(true);
    const failing = await staged({ notes: { note: () => Promise.reject(new Error('no')), noted: async () => undefined } });
    let isRefreshed = false;
    void failing.bus.sink.gap('a message could not be read').then(() => (isRefreshed = true));
    await pass(failing, 1_000);
    expect([isRefreshed, (await failing.entries()).length]).toEqual([true, 1]);
  });
});

describe('S13 a source that misses something', () => {
  test('has that noted until its gap is closed, also where another gap is closed meanwhile', async () => {
    const notes = noted();
    const stage = await staged({ notes });
    stage.bus.sink.gap('one');
    await stage.bus.sink.missing();
    await pass(stage, 40_000);
    expect([hasGap(stage), notes.kept.get('gap/central/bus')]).toEqual([false, 'open']);
    stage.bus.sink.gap('two');
    await pass(stage, 1_000);
    expect(Number(notes.kept.get('gap/central/bus'))).toBeGreaterThan(stage.clock.nowMs());
  });

  test('is not known to do so before the journal has taken it', async () => {
    let fails = true;
    const note = async (): Promise<void> => {
      if (fails) throw new Error('not now');
    };
    const stage = await staged({ notes: { note, noted: async () => undefined } });
    let isKnown = false;
    void stage.bus.sink.missing().then(() => (isKnown = true));
    await pass(stage, 3_000);
    expect(isKnown).toBe(false);
    fails = false;
    await pass(stage, 1_000);
    expect(isKnown).toBe(true);
  });
});

describe('S13 after a restart', () => {
  test('a gap that lasts is said for the rest of its time, and nothing more is refreshed', async () => {
    const notes = noted();
    const first = await staged({ notes });
    first.bus.sink.gap('the binding was gone');
    await pass(first, 10_000);
    await first.end();
    const second = await staged({ notes, before: { clock: first.clock, journal: first.journal } });
    expect(hasGap(second)).toBe(true);
    await pass(second, 19_000);
    expect(hasGap(second)).toBe(true);
    await pass(second, 2_000);
    expect(hasGap(second)).toBe(false);
    expect(await second.entries()).toHaveLength(1);
  });

  test('one that had not been written down is closed now', async () => {
    const notes = noted();
    notes.kept.set('gap/central/bus', 'open');
    const stage = await staged({ notes });
    await pass(stage, 1_000);
    expect(hasGap(stage)).toBe(true);
    expect(await stage.entries()).toMatchObject([wideEverything]);
    expect(Number(notes.kept.get('gap/central/bus'))).toBeGreaterThan(stage.clock.nowMs());
  });

  test.each([['1000'], ['nonsense'], ['NaN']])('one that is over, or that cannot be read (%s), is none', async (value) => {
    const notes = noted();
    notes.kept.set('gap/central/bus', value);
    const stage = await staged({ notes });
    await pass(stage, 1_000);
    expect([hasGap(stage), await stage.entries()]).toEqual([false, []]);
  });

  test('notes that cannot be read yet are waited for, as a source that runs without them may miss something', async () => {
    let fails = true;
    const stage = await staged({
      notes: {
        note: async () => undefined,
        noted: async () => {
          if (fails) throw new Error('not now');
          return undefined;
        },
      },
    });
    expect([stage.bus.isRunning, stage.poll.isRunning]).toEqual([false, false]);
    fails = false;
    await stage.clock.advance(1_000);
    expect([stage.bus.isRunning, stage.poll.isRunning]).toEqual([true, true]);
  });

  test('a gap is closed though it cannot be noted', async () => {
    const stage = await staged({ notes: { note: () => Promise.reject(new Error('no')), noted: async () => undefined } });
    stage.bus.sink.gap('the binding was gone');
    await pass(stage, 1_000);
    expect(await stage.entries()).toMatchObject([wideEverything]);
  });
});
