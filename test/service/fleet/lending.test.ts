// The log of our fleet, lent to those who follow: what they get, and when they are sent away.

import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock, Engine, LogLink, LogRecord } from '../../../src/ports.ts';
import { Lending } from '../../../src/service/fleet/lending.ts';
import { systemClock } from '../../../src/sidecar.ts';
import { createFakeLog, type FakeLog } from '../../fakes/engine.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

const over = new Set<AbortController>();
afterEach(() => {
  for (const one of over) one.abort();
  over.clear();
});

const ending = (): AbortController => {
  const one = new AbortController();
  over.add(one);
  return one;
};

/** Our own fleet runs the log until the end of the test. */
function lent(log: FakeLog): { readonly lending: Lending; readonly draining: AbortController } {
  const draining = ending();
  const engine: Engine = { ...log.engine(), another: () => log.engine() };
  const lending = new Lending({ engine, clock: systemClock, telemetry: createFakeTelemetry(), draining: draining.signal });
  const { signal } = ending();
  void lending.engine?.run((link) => link.read(undefined, async () => undefined, signal), signal);
  return { lending, draining };
}

const textsOf = (batch: readonly LogRecord[]): readonly string[] => batch.map(({ bytes }) => Buffer.from(bytes).toString());
const next = async (reading: AsyncGenerator<readonly LogRecord[], void, void>): Promise<readonly string[]> =>
  textsOf((await reading.next()).value ?? []);

describe('what is lent', () => {
  it('is the log itself: an empty batch at once, then what there is from a position on, then what is appended by anybody', async () => {
    const log = createFakeLog(systemClock);
    for (const text of ['a', 'b']) log.append(Buffer.from(text));
    const { lending } = lent(log);
    const signal = ending();
    const reading = lending.read(1, signal.signal);
    expect(await next(reading)).toEqual([]);
    expect(await next(reading)).toEqual(['b']);
    await expect.poll(() => lending.append([Buffer.from('c'), Buffer.from('d')]).then(() => true)).toBe(true);
    const appended: string[] = [];
    while (appended.length < 2) appended.push(...(await next(reading)));
    expect(appended).toEqual(['c', 'd']);
    const left = reading.next();
    signal.abort();
    expect(await left).toEqual({ done: true, value: undefined });
  });

  it('ends where the sidecar drains, and where the log ends', async () => {
    const log = createFakeLog(systemClock);
    const { lending, draining } = lent(log);
    const [cut, drained] = [lending.read(undefined, ending().signal), lending.read(undefined, ending().signal)];
    await next(cut);
    const gone = cut.next();
    log.cut();
    await expect(gone).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
    await next(drained);
    const left = drained.next();
    draining.abort();
    await expect(left).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'DRAINING' });
  });

  it('is away where the log is, and nothing where there is none', async () => {
    const log = createFakeLog(systemClock);
    const { lending } = lent(log);
    await expect.poll(() => lending.append([]).then(() => true)).toBe(true);
    log.stop();
    await expect(lending.append([])).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });

    const parts = { clock: systemClock, telemetry: createFakeTelemetry(), draining: ending().signal };
    const alone = new Lending({ ...parts, engine: undefined });
    const unshared = new Lending({ ...parts, engine: log.engine() });
    for (const none of [alone, unshared]) {
      await expect(none.append([])).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'NO_FLEET' });
      await expect(none.read(undefined, ending().signal).next()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'NO_FLEET' });
    }
    expect(alone.engine).toBeUndefined();
  });

  it('says of a log that is away no more than that, to whoever follows', async () => {
    const secret = new Error('rabbit.internal refuses the user sidegate');
    const refusing: LogLink = {
      signal: new AbortController().signal,
      append: () => Promise.reject(secret),
      async read(_from, take) {
        await take([]);
        throw secret;
      },
    };
    const engine = (): Engine => ({
      name: 'refusing',
      run: (session) => session(refusing),
      health: () => ({ reachable: false, problem: secret.message }),
    });
    const parts = { clock: systemClock, telemetry: createFakeTelemetry(), draining: ending().signal };
    const lending = new Lending({ ...parts, engine: { ...engine(), another: engine } });
    const said = { code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE', message: 'the log of its fleet is away' };
    await expect(lending.append([])).rejects.toMatchObject(said);
    const session = ending();
    void lending.engine?.run(() => new Promise((resolve) => session.signal.addEventListener('abort', () => resolve())), session.signal);
    await expect(lending.append([Buffer.from('a')])).rejects.toMatchObject(said);
    const reading = lending.read(undefined, ending().signal);
    expect(await next(reading)).toEqual([]);
    await expect(reading.next()).rejects.toMatchObject(said);
  });

  it('is read no further than who follows has taken', async () => {
    let begun = 0;
    const link: LogLink = {
      signal: ending().signal,
      append: async () => undefined,
      async read(_from, take, stop) {
        await new Promise((resolve) => setImmediate(resolve));
        while (!stop.aborted) {
          begun += 1;
          await take([]);
        }
      },
    };
    const engine: Engine = { name: 'endless', run: (session) => session(link), health: () => ({ reachable: true }) };
    const parts = { clock: systemClock, telemetry: createFakeTelemetry(), draining: ending().signal };
    const reading = new Lending({ ...parts, engine: { ...engine, another: () => engine } }).read(undefined, ending().signal);
    for (let n = 1; n <= 3; n += 1) {
      await next(reading);
      await new Promise((resolve) => setImmediate(resolve));
      expect(begun).toBe(n);
    }
    await reading.return();
  });

  it('holds so many records of followers, and so many bytes of them, and no more', async () => {
    let take: () => void = () => undefined;
    let taken = Promise.resolve();
    const hang = (): void => {
      taken = new Promise((resolve) => {
        take = resolve;
      });
    };
    const never = new Promise<void>(() => undefined);
    const link: LogLink = { signal: ending().signal, append: () => taken, read: () => never };
    const engine: Engine = { name: 'slow', run: (session) => session(link), health: () => ({ reachable: true }) };
    const parts = { clock: systemClock, telemetry: createFakeTelemetry(), draining: ending().signal };
    const lending = new Lending({ ...parts, engine: { ...engine, another: () => engine } });
    void lending.engine?.run(() => never, ending().signal);
    const [one, large] = [Buffer.alloc(1), Buffer.alloc(262_144)];
    for (const most of [Array.from({ length: 32_768 }, () => one), Array.from({ length: 256 }, () => large)]) {
      hang();
      const held = lending.append(most);
      await expect(lending.append([one])).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'LOG_BUSY' });
      take();
      await held;
      await lending.append([one]);
    }
  });

  it('is lent to 256 at the cost of one listener, and to another one when one of them has gone', async () => {
    const { lending, draining } = lent(createFakeLog(systemClock));
    const readings = Array.from({ length: 256 }, () => lending.read(undefined, ending().signal));
    for (const reading of readings) expect(await next(reading)).toEqual([]);
    expect(getEventListeners(draining.signal, 'abort')).toHaveLength(1);
    const one = lending.read(undefined, ending().signal);
    await expect(one.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'TOO_MANY_FOLLOWERS', retryAfterMs: 5_000 });
    await readings[0]?.return();
    expect(await next(lending.read(undefined, ending().signal))).toEqual([]);
  });
});

describe('what was read last', () => {
  /** A log of some records, lent, with the readings of it that run now, and all that there have been, but for our own. */
  async function near(parts: { readonly recentBytes?: number; readonly others?: FakeLog; readonly clock?: Clock } = {}) {
    const log = createFakeLog(systemClock);
    for (const text of ['a', 'b', 'c']) log.append(Buffer.from(text));
    const readings = { now: 0, all: 0 };
    const another = (): Engine => {
      const engine = (parts.others ?? log).engine();
      return {
        ...engine,
        async run(session, signal) {
          readings.now += 1;
          readings.all += 1;
          await engine.run(session, signal);
          readings.now -= 1;
        },
      };
    };
    const telemetry = createFakeTelemetry();
    const engine: Engine = { ...log.engine(), another };
    const { recentBytes = 16_777_216, clock = systemClock } = parts;
    const lending = new Lending({ engine, clock, telemetry, draining: ending().signal, recentBytes });
    const { signal } = ending();
    let readTo = -1;
    let ours = ending();
    let begin = (): void => undefined;
    let rest: Promise<void> | undefined;
    const take = async (batch: readonly LogRecord[]): Promise<void> => {
      readTo = batch.at(-1)?.position ?? readTo;
    };
    const reads = async (link: LogLink): Promise<void> => {
      while (!signal.aborted) {
        await link.read(readTo < 0 ? undefined : readTo, take, ours.signal);
        ours = ending();
        await rest;
      }
    };
    void lending.engine?.run(reads, signal);
    await expect.poll(() => readTo).toBe(2);
    /** All that a follower is told from `from` on, until there are so many. */
    const told = async (reading: AsyncGenerator<readonly LogRecord[], void, void>, count: number): Promise<readonly string[]> => {
      const texts: string[] = [];
      while (texts.length < count) {
        const { value, done } = await reading.next();
        if (done) throw new Error(`the reading has ended after ${texts.join()}`);
        texts.push(...textsOf(value));
      }
      return texts;
    };
    const add = async (...texts: readonly string[]): Promise<void> => {
      for (const text of texts) log.append(Buffer.from(text));
      await expect.poll(() => readTo).toBe(log.records.at(-1)?.position ?? 0);
    };
    return {
      log,
      lending,
      readings,
      told,
      add,
      endOurs: () => {
        rest = new Promise((resolve) => {
          begin = resolve;
        });
        ours.abort();
      },
      beginOurs: () => begin(),
    };
  }

  it('is given to who has come to it: from then on the log has one reader', async () => {
    const { lending, readings, told, add } = await near();
    const whole = lending.read(undefined, ending().signal);
    expect(await told(whole, 3)).toEqual(['a', 'b', 'c']);
    expect(readings).toEqual({ now: 1, all: 1 });
    await add('d');
    expect(await told(whole, 1)).toEqual(['d']);
    const waits = told(whole, 2);
    await expect.poll(() => readings.now).toBe(0);

    const within = lending.read(3, ending().signal);
    expect(await next(within)).toEqual([]);
    expect(await told(within, 1)).toEqual(['d']);
    await add('e', 'f');
    expect([await waits, await told(within, 2)]).toEqual([
      ['e', 'f'],
      ['e', 'f'],
    ]);
    expect(readings).toEqual({ now: 0, all: 1 });
  });

  it('is not waited for by who is ahead of it', async () => {
    const { log, lending, readings, told } = await near();
    const beyond = lending.read(5, ending().signal);
    expect(await next(beyond)).toEqual([]);
    const later = told(beyond, 1);
    expect(readings.now).toBe(1);
    for (const text of ['d', 'e', 'f']) log.append(Buffer.from(text));
    expect(await later).toEqual(['f']);
  });

  it('makes room: who is too slow for it reads the log itself, and misses nothing', async () => {
    const { lending, readings, told, add } = await near({ recentBytes: 1 });
    const slow = lending.read(undefined, ending().signal);
    expect(await told(slow, 3)).toEqual(['a', 'b', 'c']);
    await add('d');
    expect(await told(slow, 1)).toEqual(['d']);
    const waits = told(slow, 1);
    await expect.poll(() => readings.now).toBe(0);
    await add('e');
    expect(await waits).toEqual(['e']);
    await add('f', 'g', 'h', 'i');
    expect(await told(slow, 4)).toEqual(['f', 'g', 'h', 'i']);
    expect(readings).toEqual({ now: 1, all: 2 });
  });

  it('is over with our own reading, though the log stands: who was given it reads on, itself, until there is another one', async () => {
    const { log, lending, readings, told, add, endOurs, beginOurs } = await near();
    const reading = lending.read(undefined, ending().signal);
    await told(reading, 3);
    await add('d');
    expect(await told(reading, 1)).toEqual(['d']);
    const waits = told(reading, 1);
    await expect.poll(() => readings.now).toBe(0);
    endOurs();
    await expect.poll(() => readings.now).toBe(1);
    log.append(Buffer.from('e'));
    expect(await waits).toEqual(['e']);
    beginOurs();
    await add('f');
    expect(await told(reading, 1)).toEqual(['f']);
    const later = told(reading, 1);
    await expect.poll(() => readings.now).toBe(0);
    await add('g');
    expect([await later, readings.all]).toEqual([['g'], 2]);
  });

  it('is not given to who reads another log, under the same positions', async () => {
    const others = createFakeLog(systemClock);
    for (const text of ['A', 'B', 'C']) others.append(Buffer.from(text));
    const { lending, readings, told, add } = await near({ others });
    const reading = lending.read(undefined, ending().signal);
    expect(await told(reading, 3)).toEqual(['A', 'B', 'C']);
    await add('d', 'e');
    for (const text of ['D', 'E']) others.append(Buffer.from(text));
    expect(await told(reading, 2)).toEqual(['D', 'E']);
    const waits = told(reading, 1);
    others.append(Buffer.from('F'));
    expect(await waits).toEqual(['F']);
    expect(readings).toEqual({ now: 1, all: 1 });
  });

  it('is not gone on with where the two logs part behind what stands in both', async () => {
    const others = createFakeLog(systemClock);
    for (const text of ['a', 'b', 'c']) others.append(Buffer.from(text));
    const { lending, readings, told, add } = await near({ others });
    const reading = lending.read(undefined, ending().signal);
    expect(await told(reading, 3)).toEqual(['a', 'b', 'c']);
    for (const text of ['d', 'E']) {
      others.append(Buffer.from(text));
      expect(await told(reading, 1)).toEqual([text]);
    }
    await add('d');
    const later = told(reading, 1);
    await expect.poll(() => readings.now).toBe(0);
    const refused = expect(later).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
    await add('e', 'f');
    await refused;
  });

  it('ends where the log does not go on from it', async () => {
    const others = createFakeLog(systemClock);
    for (const text of ['a', 'b', 'c']) others.append(Buffer.from(text));
    const { lending, readings, told, add, endOurs } = await near({ others });
    const reading = lending.read(undefined, ending().signal);
    expect(await told(reading, 3)).toEqual(['a', 'b', 'c']);
    await add('d');
    others.append(Buffer.from('d'));
    expect(await told(reading, 1)).toEqual(['d']);
    const waits = told(reading, 1);
    await expect.poll(() => readings.now).toBe(0);
    others.recreate();
    for (const text of ['A', 'B', 'C', 'D', 'E']) others.append(Buffer.from(text));
    endOurs();
    await expect(waits).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
  });

  it('ends where the log that it would go on with says nothing, as it ends before it', async () => {
    const others = createFakeLog(systemClock);
    for (const text of ['a', 'b', 'c']) others.append(Buffer.from(text));
    const clock: Clock = { ...systemClock, delay: (ms, signal) => systemClock.delay(ms / 100, signal) };
    const { lending, readings, told, add, endOurs } = await near({ others, clock });
    const reading = lending.read(undefined, ending().signal);
    await told(reading, 3);
    await add('d');
    others.append(Buffer.from('d'));
    await told(reading, 1);
    const waits = told(reading, 1);
    await expect.poll(() => readings.now).toBe(0);
    others.recreate();
    endOurs();
    await expect(waits).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
  });
});
