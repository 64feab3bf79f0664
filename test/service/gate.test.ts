// The gate before an authority: concurrency, queue, turns.

import { describe, expect, it } from 'vitest';
import { Gate } from '../../src/service/gate.ts';
import { always, settled } from './validation-stage.ts';

/** Tasks that end when they are told to. */
function createTasks(gate: Gate) {
  const ends: (() => void)[] = [];
  const started: number[] = [];
  let made = 0;
  return {
    started,
    ends,
    run(signal: AbortSignal = always) {
      const number = made++;
      return gate.run(signal, async () => {
        started.push(number);
        await new Promise<void>((resolve) => ends.push(resolve));
        return number;
      });
    },
  };
}

describe('Gate', () => {
  it.each([
    { asked: 1, runs: 1, queued: 0 },
    { asked: 2, runs: 2, queued: 0 },
    { asked: 3, runs: 2, queued: 1 },
  ])('of two at once, $asked asked: $runs run and $queued wait', async ({ asked, runs, queued }) => {
    const gate = new Gate('x', { concurrency: 2, queue: 8 });
    const tasks = createTasks(gate);
    for (let n = 0; n < asked; n += 1) void tasks.run();
    await settled();

    expect(tasks.started).toHaveLength(runs);
    expect(gate.queued).toBe(queued);
  });

  it('the queue takes one below and at its limit, and turns away the one above with UPSTREAM_BUSY', async () => {
    const gate = new Gate('x', { concurrency: 1, queue: 2 });
    const tasks = createTasks(gate);
    void tasks.run();
    void tasks.run();
    void tasks.run();
    await settled();
    expect(gate.queued).toBe(2);

    await expect(tasks.run()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'UPSTREAM_BUSY', retryAfterMs: 250 });
    expect(gate.queued).toBe(2);
  });

  it('a place is handed on in the order of arrival, also by a task that fails', async () => {
    const gate = new Gate('x', { concurrency: 1, queue: 8 });
    const tasks = createTasks(gate);
    const failing = gate.run(always, async () => {
      await settled();
      throw new Error('planned');
    });
    const first = tasks.run();
    void tasks.run();

    await expect(failing).rejects.toThrow('planned');
    await settled();
    expect(tasks.started).toEqual([0]);
    tasks.ends.shift()?.();
    await first;
    await settled();
    expect(tasks.started).toEqual([0, 1]);
  });

  it('who leaves the queue frees its place there, and nobody’s turn is lost', async () => {
    const gate = new Gate('x', { concurrency: 1, queue: 2 });
    const tasks = createTasks(gate);
    void tasks.run();
    const leaves = new AbortController();
    const gone = tasks.run(leaves.signal);
    void tasks.run();
    leaves.abort();

    await expect(gone).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'UPSTREAM_TIMEOUT' });
    expect(gate.queued).toBe(1);
    tasks.ends.shift()?.();
    await settled();
    expect(tasks.started).toEqual([0, 2]);
  });

  it('a signal that has aborted already does not wait', async () => {
    const gate = new Gate('x', { concurrency: 1, queue: 2 });
    const tasks = createTasks(gate);
    void tasks.run();

    await expect(tasks.run(AbortSignal.abort())).rejects.toMatchObject({ reason: 'UPSTREAM_TIMEOUT' });
    expect(gate.queued).toBe(0);
  });

  it('all places are free again when everything has ended, and no more than there are', async () => {
    const gate = new Gate('x', { concurrency: 2, queue: 8 });
    await Promise.all(Array.from({ length: 10 }, () => gate.run(always, async () => settled())));
    const tasks = createTasks(gate);
    for (let n = 0; n < 3; n += 1) void tasks.run();
    await settled();

    expect(tasks.started).toEqual([0, 1]);
    expect(gate.queued).toBe(1);
  });
});
