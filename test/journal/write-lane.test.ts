// Who writes when, and how much waits.

import { describe, expect, it } from 'vitest';
import { WriteLane } from '../../src/journal/write-lane.ts';

/** A lane whose writes a test holds: `release` lets the running one end. */
function heldLane(): { lane: WriteLane<number>; batches: number[][]; release: () => void } {
  const batches: number[][] = [];
  const holds: (() => void)[] = [];
  const lane = new WriteLane<number>({ batch: 3, waiting: 5 }, (batch) => {
    batches.push([...batch]);
    return new Promise((resolve) => holds.push(resolve));
  });
  return { lane, batches, release: () => holds.shift()?.() };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the write lane', () => {
  it('gathers what comes while a write is under way, at most a batch, in order', async () => {
    const { lane, batches, release } = heldLane();
    lane.add(1);
    await turn();
    for (const work of [2, 3, 4, 5]) lane.add(work);
    await turn();
    expect(batches).toEqual([[1]]);
    for (let writes = 0; writes < 3; writes++) {
      release();
      await turn();
    }
    expect(batches).toEqual([[1], [2, 3, 4], [5]]);
  });

  it('takes what comes together into one write', async () => {
    const { lane, batches } = heldLane();
    for (const work of [1, 2, 3]) lane.add(work);
    await turn();
    expect(batches).toEqual([[1, 2, 3]]);
  });

  it('lets as many wait as its limit says, and refuses the next', async () => {
    const { lane, release } = heldLane();
    lane.add(0);
    await turn();
    for (const work of [1, 2, 3, 4, 5]) lane.add(work);
    expect(() => lane.add(6)).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED', reason: 'JOURNAL_BUSY' }));
    release();
    await turn();
    expect(() => lane.add(6)).not.toThrow();
  });

  it('gives turns between writes, and goes on after one that failed', async () => {
    const { lane, batches, release } = heldLane();
    lane.add(1);
    await turn();
    const failing = lane.inTurn(async () => {
      batches.push([]);
      throw new Error('no');
    });
    lane.add(2);
    release();
    await expect(failing).rejects.toThrow('no');
    await turn();
    expect(batches).toEqual([[1], [], [2]]);
  });

  it('is drained when the last batch is written', async () => {
    const { lane, batches, release } = heldLane();
    for (const work of [1, 2, 3, 4]) lane.add(work);
    let drained = false;
    const draining = lane.drained().then(() => {
      drained = true;
    });
    await turn();
    release();
    await turn();
    expect([drained, batches]).toEqual([false, [[1, 2, 3], [4]]]);
    release();
    await draining;
    expect(drained).toBe(true);
  });
});
