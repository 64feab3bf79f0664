// Which issuers are degraded, since when and why, by two clocks that a test moves.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { causeOf, Degradations } from '../../src/service/degradation.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';

const startMs = Date.UTC(2026, 10, 21, 10, 0, 0);

function stage(): { readonly clock: FakeClock; readonly telemetry: FakeTelemetry; readonly degradations: Degradations } {
  const clock = createFakeClock(startMs);
  const telemetry = createFakeTelemetry();
  return { clock, telemetry, degradations: new Degradations({ clock, telemetry, maxLagMs: 10_000 }) };
}

const bus = { issuer: 'central', name: 'bus' };
const poll = { issuer: 'central', name: 'poll' };

describe('S13 CLOCK', () => {
  it('nobody is degraded at first', () => {
    const { degradations } = stage();

    expect([degradations.by('central'), degradations.all(), degradations.sources()]).toEqual([[], [], []]);
  });

  it('an issuer is degraded since the first time that it was said, and others are not', async () => {
    const { clock, degradations } = stage();
    degradations.clockDiffers('central', 'authority', true);
    await clock.advance(1000);
    degradations.clockDiffers('central', 'authority', true);

    expect(degradations.by('central')).toEqual(['CLOCK']);
    expect(degradations.by('corp')).toEqual([]);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['CLOCK'], sinceMs: startMs }]);
  });

  it('it ends when the last reason does, and begins anew', async () => {
    const { clock, degradations } = stage();
    degradations.clockDiffers('central', 'authority', true);
    degradations.clockDiffers('central', 'authority', false);
    expect(degradations.all()).toEqual([]);

    await clock.advance(4000);
    degradations.clockDiffers('central', 'authority', true);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['CLOCK'], sinceMs: startMs + 4000 }]);
  });

  it('holds as long as the authority or the fleet says so, since the first of them did', async () => {
    const { clock, telemetry, degradations } = stage();
    degradations.clockDiffers('central', 'authority', true);
    await clock.advance(1000);
    degradations.clockDiffers('central', 'fleet', true);
    degradations.clockDiffers('central', 'authority', false);
    expect(degradations.by('central')).toEqual(['CLOCK']);
    degradations.clockDiffers('central', 'fleet', false);
    expect(degradations.by('central')).toEqual([]);
    expect(telemetry.lines).toHaveLength(2);
  });

  it('an operator sees one line when it begins and one when it ends, with by how much', async () => {
    const { clock, telemetry, degradations } = stage();
    for (const off of [true, true, false, false]) {
      degradations.clockDiffers('central', 'authority', off, { offsetMs: 7000 });
      await clock.advance(1000);
    }

    expect(telemetry.lines).toEqual([
      {
        level: 'warn',
        fields: { issuer: 'central', reason: 'CLOCK', from: 'authority', offsetMs: 7000 },
        message: expect.stringContaining('degraded'),
      },
      {
        level: 'info',
        fields: { issuer: 'central', reason: 'CLOCK', from: 'authority', offsetMs: 7000, forMs: 2000 },
        message: expect.stringContaining('no longer'),
      },
    ]);
  });
});

describe('S13 a source of news', () => {
  it('is behind from its first moment on, until it proves a moment that is not so long ago', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['SOURCE_BEHIND(bus)'], sinceMs: startMs }]);
    await clock.advance(20_000);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['SOURCE_BEHIND(bus)'], sinceMs: startMs }]);

    source.proven(clock.monotonicMs() - 10_001);
    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);
    source.proven(clock.monotonicMs() - 10_000);
    expect(degradations.by('central')).toEqual([]);
    await clock.advance(1);
    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);
  });

  it('degrades its issuer alone, and each source is judged by itself', async () => {
    const { clock, degradations } = stage();
    degradations.addSource(bus).proven(clock.monotonicMs());
    degradations.addSource({ issuer: 'other', name: 'poll' }).proven(clock.monotonicMs());
    const current = degradations.addSource(poll);
    await clock.advance(9000);
    current.proven(clock.monotonicMs());
    await clock.advance(2000);

    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);
    expect(degradations.by('other')).toEqual(['SOURCE_BEHIND(poll)']);
    expect(degradations.by('third')).toEqual([]);
    expect(degradations.all()).toEqual([
      { issuer: 'central', reasons: ['SOURCE_BEHIND(bus)'], sinceMs: startMs + 10_000 },
      { issuer: 'other', reasons: ['SOURCE_BEHIND(poll)'], sinceMs: startMs + 10_000 },
    ]);
  });

  it('an older proof takes nothing back', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    source.proven(clock.monotonicMs());
    source.proven(clock.monotonicMs() - 60_000);

    expect(degradations.by('central')).toEqual([]);
  });

  it('a machine that slept finds itself behind before its first answer, though its monotonic clock stood still', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    await clock.advance(5000);
    source.proven(clock.monotonicMs());
    expect(degradations.by('central')).toEqual([]);
    clock.stepWall(3_600_000);

    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);
    expect(degradations.sources()).toMatchObject([{ isBehind: true }]);
  });

  it('what was sent before the machine slept and is read after it proves only until then', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    await clock.advance(5000);
    degradations.sources();
    const sentMs = clock.monotonicMs() + 300;
    await clock.advance(400);
    clock.stepWall(3_600_000);
    await clock.advance(100);
    source.proven(sentMs);
    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);

    await clock.advance(100);
    source.proven(clock.monotonicMs() - 50);
    expect(degradations.by('central')).toEqual([]);
  });

  it('a clock that was set long ago makes nothing of one that is corrected a little today', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    clock.stepWall(3_600_000);
    for (let second = 0; second < 30; second += 1) {
      await clock.advance(1000);
      source.proven(clock.monotonicMs());
    }
    expect(degradations.by('central')).toEqual([]);
    await clock.advance(10);
    clock.stepWall(60);
    source.proven(clock.monotonicMs() - 5);

    expect(degradations.by('central')).toEqual([]);
  });

  it('no source is current that is behind by either clock, however the machine has slept, for random histories', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 8000 }) }),
      fc.record({ do: fc.constant('sleep' as const), ms: fc.integer({ min: 51, max: 20_000 }) }),
      fc.record({ do: fc.constant('proven' as const), ago: fc.integer({ min: 0, max: 15_000 }) }),
      fc.record({ do: fc.constant('look' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { clock, degradations } = stage();
        const source = degradations.addSource(bus);
        const beganMs = clock.monotonicMs();
        let throughMs = beganMs;
        const sleeps: { readonly atMs: number; readonly ms: number }[] = [];
        for (const one of steps) {
          const nowMs = clock.monotonicMs();
          if (one.do === 'advance') await clock.advance(one.ms);
          if (one.do === 'sleep') {
            clock.stepWall(one.ms);
            sleeps.push({ atMs: nowMs, ms: one.ms });
          }
          const provenMs = one.do === 'proven' ? nowMs - one.ago : beganMs;
          if (provenMs > beganMs) {
            source.proven(provenMs);
            throughMs = Math.max(throughMs, provenMs);
          }
          const sleptMs = sleeps.reduce((ms, sleep) => ms + (sleep.atMs > throughMs ? sleep.ms : 0), 0);
          const isBehind = clock.monotonicMs() - throughMs + sleptMs > 10_000;
          const says = one.do === 'look' && degradations.by('central').length === 0;
          expect(says && isBehind).toBe(false);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('a wall clock that is set back hides no lag', async () => {
    const { clock, degradations } = stage();
    degradations.addSource(bus);
    clock.stepWall(-3_600_000);
    await clock.advance(10_001);

    expect(degradations.by('central')).toEqual(['SOURCE_BEHIND(bus)']);
  });

  it('a gap holds until its end; later ones extend it, and none shortens it', async () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    const nowMs = clock.monotonicMs();
    source.proven(nowMs + 60_000);
    source.gapUntil(nowMs + 3000);
    source.gapUntil(nowMs + 2000);
    await clock.advance(2999);
    expect(degradations.by('central')).toEqual(['GAP']);
    source.gapUntil(nowMs + 5000);
    await clock.advance(2000);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['GAP'], sinceMs: startMs }]);
    await clock.advance(1);
    expect(degradations.by('central')).toEqual([]);
    source.gapUntil(nowMs + 4000);
    expect(degradations.by('central')).toEqual([]);
  });

  it('is suspect until that is taken back', () => {
    const { clock, degradations } = stage();
    const source = degradations.addSource(bus);
    source.proven(clock.monotonicMs());
    source.suspect(true);
    source.suspect(true);
    expect(degradations.by('central')).toEqual(['SOURCE_SUSPECT(bus)']);
    source.suspect(false);
    expect(degradations.by('central')).toEqual([]);
  });

  it('tells when it was last proven, when it brought news, and since when it cannot be relied on', async () => {
    const { clock, telemetry, degradations } = stage();
    const source = degradations.addSource(bus);
    expect(degradations.sources()).toEqual([{ ...bus, degradedSinceMs: startMs, isBehind: true }]);
    expect(telemetry.gaugeValue('sidegate_news_last_alive_timestamp_seconds', { source: 'central/bus' })).toBeNaN();
    await clock.advance(1000);
    source.proven(clock.monotonicMs() - 200);
    source.broughtNews(startMs + 700);
    source.broughtNews(startMs + 500);
    expect(degradations.sources()).toEqual([{ ...bus, lastAliveAtMs: startMs + 800, lastNewsAtMs: startMs + 700, isBehind: false }]);
    expect(telemetry.gaugeValue('sidegate_news_last_alive_timestamp_seconds', { source: 'central/bus' })).toBe((startMs + 800) / 1000);

    source.suspect(true);
    await clock.advance(60_000);
    expect(degradations.sources()).toMatchObject([{ degradedSinceMs: startMs + 1000, isBehind: true }]);
  });

  it('W7 what all have proven is as old as the oldest proof of those that are not behind', async () => {
    const { clock, degradations } = stage();
    expect(degradations.provenThroughMs()).toBe(Infinity);
    degradations.addSource(bus).proven(clock.monotonicMs());
    const source = degradations.addSource(poll);
    await clock.advance(4000);
    source.proven(clock.monotonicMs() - 1000);
    expect(degradations.provenThroughMs()).toBe(startMs);
    await clock.advance(6001);
    expect(degradations.provenThroughMs()).toBe(startMs + 3000);
    // By the wall clock as it is now.
    clock.stepWall(-500);
    expect(degradations.provenThroughMs()).toBe(startMs + 2500);
  });

  it('an operator sees each reason begin and end, once, also where nobody asks in between', async () => {
    const { clock, telemetry, degradations } = stage();
    const source = degradations.addSource(bus);
    source.proven(clock.monotonicMs());
    // Behind from the start on, and then not: a line each.
    expect(telemetry.lines).toHaveLength(2);
    await clock.advance(30_000);
    for (let n = 0; n < 3; n += 1) degradations.all();
    source.gapUntil(clock.monotonicMs() + 5000);
    source.proven(clock.monotonicMs());
    await clock.advance(6000);
    degradations.all();

    expect(telemetry.lines.slice(2).map(({ level, fields }) => [level, fields['issuer'], fields['reason'], fields['forMs']])).toEqual([
      ['warn', 'central', 'SOURCE_BEHIND(bus)', undefined],
      ['warn', 'central', 'GAP', undefined],
      ['info', 'central', 'SOURCE_BEHIND(bus)', 20_000],
      ['info', 'central', 'GAP', 6000],
    ]);
  });

  it('every reason has its cause', () => {
    const reasons = ['CLOCK', 'STALE_FACTS', 'GAP', 'SOURCE_BEHIND(bus)', 'SOURCE_SUSPECT(poll)'] as const;
    expect(reasons.map(causeOf)).toEqual(['CLOCK', 'STALE_FACTS', 'GAP', 'SOURCE_BEHIND', 'SOURCE_SUSPECT']);
  });

  it('S13 is judged at each read as if it had been judged at no other, for random histories', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 6000 }) }),
      fc.record({ do: fc.constant('proven' as const), source: fc.nat(2), ago: fc.integer({ min: 0, max: 4000 }) }),
      fc.record({ do: fc.constant('gap' as const), source: fc.nat(2), ms: fc.integer({ min: -10, max: 6000 }) }),
      fc.record({ do: fc.constant('suspect' as const), source: fc.nat(2), is: fc.boolean() }),
      fc.record({ do: fc.constant('clock' as const), is: fc.boolean() }),
      fc.record({ do: fc.constant('look' as const) }),
    );
    const names = ['a/x', 'a/y', 'b/x'];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { clock, degradations } = stage();
        const sources = names.map((at) => degradations.addSource({ issuer: at.slice(0, 1), name: at.slice(2) }));
        const through = names.map(() => -Infinity);
        const gaps = names.map(() => -Infinity);
        const suspects = names.map(() => false);
        let off = false;
        const model = (issuer: string): string[] => {
          const nowMs = clock.monotonicMs();
          const own = names.flatMap((name, at) => (name.startsWith(issuer) ? [at] : []));
          return [
            ...(off && issuer === 'a' ? ['CLOCK'] : []),
            ...own.flatMap((at) => (nowMs - (through[at] ?? -Infinity) > 10_000 ? [`SOURCE_BEHIND(${names[at]?.slice(2)})`] : [])),
            ...own.flatMap((at) => (suspects[at] ? [`SOURCE_SUSPECT(${names[at]?.slice(2)})`] : [])),
            ...(own.some((at) => nowMs < (gaps[at] ?? 0)) ? ['GAP'] : []),
          ].sort();
        };
        for (const one of steps) {
          const nowMs = clock.monotonicMs();
          if (one.do === 'advance') await clock.advance(one.ms);
          if (one.do === 'proven') {
            sources[one.source]?.proven(nowMs - one.ago);
            through[one.source] = Math.max(through[one.source] ?? -Infinity, nowMs - one.ago);
          }
          if (one.do === 'gap') {
            sources[one.source]?.gapUntil(nowMs + one.ms);
            gaps[one.source] = Math.max(gaps[one.source] ?? 0, nowMs + one.ms);
          }
          if (one.do === 'suspect') {
            sources[one.source]?.suspect(one.is);
            suspects[one.source] = one.is;
          }
          if (one.do === 'clock') {
            degradations.clockDiffers('a', 'authority', one.is);
            off = one.is;
          }
          if (one.do === 'look') {
            for (const issuer of ['a', 'b', 'c']) expect([...degradations.by(issuer)].sort()).toEqual(model(issuer));
          }
        }
        for (const issuer of ['a', 'b', 'c']) expect([...degradations.by(issuer)].sort()).toEqual(model(issuer));
      }),
      { numRuns: 200 },
    );
  });
});
