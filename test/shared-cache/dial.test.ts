// Dialling: a name that is not resolved holds one thread, however often the server is tried.

import { once } from 'node:events';
import { expect, it } from 'vitest';
import { createDial } from '../../src/shared-cache/dial.ts';

it('while a lookup hangs nobody begins another, and afterwards the name is resolved anew', async () => {
  const finish: (() => void)[] = [];
  const dial = createDial({ host: 'memcached.test', port: 1 }, undefined, (_host, _options, done) => {
    finish.push(() => done(new Error('no such name'), ''));
  });
  const first = await dial();
  await expect.poll(() => finish.length).toBe(1);
  first.socket.destroy();

  await expect(dial()).rejects.toThrow('still being resolved');
  finish[0]?.();
  const second = await dial();
  await expect.poll(() => finish.length).toBe(2);
  const closed = once(second.socket, 'close');
  finish[1]?.();
  await closed.catch(() => undefined);
  expect(second.socket.errored?.message).toBe('no such name');
});
