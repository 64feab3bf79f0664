import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { orAborted, Wakeup } from '../../src/service/wakeup.ts';

const reason = new Error('left');

describe('Wakeup', () => {
  it('wakes everybody who waits, once', async () => {
    const wakeup = new Wakeup();
    const woken: number[] = [];
    const waits = [1, 2, 3].map((n) => wakeup.wait(wakeup.version).then(() => woken.push(n)));
    wakeup.wake();
    await Promise.all(waits);
    expect(woken).toEqual([1, 2, 3]);
  });

  it('misses nothing that happens between looking and waiting', async () => {
    const wakeup = new Wakeup();
    const seen = wakeup.version;
    wakeup.wake();
    await wakeup.wait(seen);
    expect(wakeup.version).not.toBe(seen);
  });

  it('rejects with the signal’s reason, before and while it waits, and the others wait on', async () => {
    const wakeup = new Wakeup();
    const leaving = new AbortController();
    const other = wakeup.wait(wakeup.version);
    const wait = wakeup.wait(wakeup.version, leaving.signal);
    leaving.abort(reason);
    await expect(wait).rejects.toBe(reason);
    await expect(wakeup.wait(wakeup.version, leaving.signal)).rejects.toBe(reason);
    wakeup.wake();
    await other;
  });

  it('leaves nothing on the signal, however a wait ends', async () => {
    const wakeup = new Wakeup();
    const { signal } = new AbortController();
    for (let n = 0; n < 1000; n += 1) {
      const wait = wakeup.wait(wakeup.version, signal);
      wakeup.wake();
      await wait;
      await wakeup.wait(wakeup.version - 1, signal);
    }
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('somebody who waits again while being woken is woken by the next wake, not by this one', async () => {
    const wakeup = new Wakeup();
    let second = 0;
    const first = wakeup.wait(wakeup.version).then(() => wakeup.wait(wakeup.version).then(() => (second += 1)));
    wakeup.wake();
    await new Promise((resolve) => setImmediate(resolve));
    expect(second).toBe(0);
    wakeup.wake();
    await first;
    expect(second).toBe(1);
  });
});

describe('orAborted', () => {
  it('gives what the promise gives, and leaves nothing on the signal', async () => {
    const { signal } = new AbortController();
    expect(await orAborted(Promise.resolve(7), signal)).toBe(7);
    await expect(orAborted(Promise.reject(reason), signal)).rejects.toBe(reason);
    await new Promise((resolve) => setImmediate(resolve));
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('rejects with the signal’s reason when that comes first', async () => {
    const leaving = new AbortController();
    const waiting = orAborted(new Promise(() => undefined), leaving.signal);
    leaving.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(orAborted(Promise.resolve(7), leaving.signal)).rejects.toBe(reason);
  });
});
