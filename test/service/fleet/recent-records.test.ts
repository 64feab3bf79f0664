// The newest records of a log: nothing is left out, and what is not there any more is never skipped.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LogRecord } from '../../../src/ports.ts';
import { RecentRecords } from '../../../src/service/fleet/recent-records.ts';

/** Costs 300 bytes of room. */
const record = (position: number, mark = position): LogRecord => ({ position, bytes: new Uint8Array(100).fill(mark) });
const never = new AbortController().signal;

/** What comes without waiting. */
async function readNow(records: RecentRecords, after: number): Promise<readonly number[]> {
  const over = new AbortController();
  const found: number[] = [];
  const reading = (async () => {
    for await (const batch of records.after(after, over.signal)) found.push(...batch.map(({ position }) => position));
  })();
  await new Promise((resolve) => setImmediate(resolve));
  over.abort();
  await reading;
  return found;
}

describe('records that were read last', () => {
  it('reach from the one after which everything is there to the newest', () => {
    const records = new RecentRecords(undefined, 900);
    records.add([record(2), record(5), record(6)], true);
    expect([-1, 0, 2, 3, 6, 7].map((from) => records.reaches(from))).toEqual([false, true, true, true, true, false]);
    records.add([record(9)], true);
    expect([2, 3, 9].map((from) => records.reaches(from))).toEqual([false, true, true]);
    expect([records.reaches(undefined), records.hasPassed(9), records.hasPassed(10)]).toEqual([false, true, false]);
  });

  it('begin where the reading does', () => {
    const records = new RecentRecords(5, 900);
    records.add([record(5)], true);
    expect([4, 5, 6].map((from) => records.reaches(from))).toEqual([false, true, false]);
  });

  it('are held by their bytes, not by their places alone', () => {
    const records = new RecentRecords(undefined, 900);
    records.add([record(1), record(3)], true);
    expect([record(1), record(1, 7), record(2), record(4)].map((one) => records.holds(one))).toEqual([true, false, false, false]);
  });

  it('are copies', () => {
    const records = new RecentRecords(undefined, 900);
    const given = record(1);
    records.add([given], true);
    given.bytes.fill(0);
    expect(records.holds(record(1))).toBe(true);
  });

  it('are not kept where nobody wants them, and are from then on', () => {
    const records = new RecentRecords(undefined, 900);
    records.add([record(1), record(2)], false);
    expect([1, 2, 3].map((from) => records.reaches(from))).toEqual([false, false, false]);
    records.add([record(3)], true);
    expect([2, 3].map((from) => records.reaches(from))).toEqual([false, true]);
  });

  it('keep the newest, however large it is', async () => {
    const records = new RecentRecords(undefined, 1);
    records.add([record(1), record(2)], true);
    expect(await readNow(records, 1)).toEqual([2]);
    expect(await readNow(records, 0)).toEqual([]);
  });

  it('come in batches of 512, and of 256 KiB', async () => {
    const many = new RecentRecords(undefined, 1_000_000);
    many.add(
      Array.from({ length: 513 }, (_, n) => record(n, 0)),
      true,
    );
    expect((await many.after(-1, never).next()).value).toHaveLength(512);
    const large = new RecentRecords(undefined, 1_000_000);
    large.add(
      Array.from({ length: 3 }, (_, n) => ({ position: n, bytes: new Uint8Array(131_072) })),
      true,
    );
    expect((await large.after(-1, never).next()).value).toHaveLength(2);
  });

  it('of a reading that goes back are of another log: it is over', async () => {
    const records = new RecentRecords(undefined, 9_000);
    records.add([record(5), record(5), record(4)], true);
    records.add([record(6)], true);
    expect([records.reaches(5), records.holds(record(6)), await readNow(records, 4)]).toEqual([false, false, []]);
  });

  it('end for who waits when the reading does', async () => {
    const records = new RecentRecords(undefined, 9_000);
    const waiting = records.after(-1, never).next();
    records.end();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  it('come to whoever reads at whatever pace without a gap, until they have made room', async () => {
    const steps = fc.array(fc.oneof(fc.record({ add: fc.integer({ min: 1, max: 4 }) }), fc.constant('read' as const)), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 6 }), async (all, room) => {
        const records = new RecentRecords(undefined, room * 300);
        const told: number[] = [];
        const over = new AbortController();
        const reading = records.after(-1, over.signal);
        const got: number[] = [];
        let pending: ReturnType<typeof reading.next> | undefined;
        let hasEnded = false;
        for (const one of all) {
          if (one === 'read') {
            pending ??= reading.next();
            if (told.length > got.length && !hasEnded) {
              const { value, done } = await pending;
              pending = undefined;
              hasEnded = done === true;
              got.push(...(value ?? []).map(({ position }) => position));
            }
            continue;
          }
          const batch = Array.from({ length: one.add }, (_, n) => record(3 * (told.length + n)));
          told.push(...batch.map(({ position }) => position));
          records.add(batch, true);
        }
        over.abort();
        await pending;
        // Nothing between is missing; and it ends only where more than there is room for has come since.
        expect(got).toEqual(told.slice(0, got.length));
        if (hasEnded) expect(told.length - got.length).toBeGreaterThan(room);
      }),
      { numRuns: 300 },
    );
  });
});
