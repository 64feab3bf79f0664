// Work that nobody waits for ends by the clock, or with the process.

import { describe, expect, it } from 'vitest';
import { within } from '../../../src/service/telling/deadline.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const never = (): Promise<never> => new Promise(() => undefined);

describe('a deadline', () => {
  it('gives what the work gives in time, and leaves nothing behind', async () => {
    const clock = createFakeClock();
    const stop = new AbortController();
    expect(await within(clock, 1000, stop.signal, async (signal) => signal.aborted)).toBe(false);
    await expect(within(clock, 1000, stop.signal, async () => Promise.reject(new Error('its own')))).rejects.toThrow('its own');
    await clock.advance(0);
    expect(clock.waiting()).toBe(0);
  });

  it('breaks off what takes longer, and aborts its signal', async () => {
    const clock = createFakeClock();
    const seen: AbortSignal[] = [];
    const late = within(clock, 1000, new AbortController().signal, (signal) => {
      seen.push(signal);
      return never();
    });
    const failed = expect(late).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', reason: 'UPSTREAM_TIMEOUT' });
    await clock.advance(999);
    expect(seen.map(({ aborted }) => aborted)).toEqual([false]);
    await clock.advance(1);
    await failed;
    expect(seen.map(({ aborted }) => aborted)).toEqual([true]);
  });

  it('ends with the process, whenever that ends', async () => {
    const clock = createFakeClock();
    const stop = new AbortController();
    const during = expect(within(clock, 1000, stop.signal, never)).rejects.toThrow('stopped');
    stop.abort(new Error('stopped'));
    await during;
    let began = false;
    const after = within(clock, 1000, stop.signal, async () => {
      began = true;
    });
    await expect(after).rejects.toThrow('stopped');
    expect(began).toBe(false);
  });
});
