// The numbers of requests: past 2^32, and never one that may still be answered.

import { afterEach, expect, it } from 'vitest';
import { createClient } from '../../src/shared-cache/client.ts';
import { createServer, type Server } from '../../src/shared-cache/server.ts';
import { goodAnswer, type Hostile, startHostile } from '../fakes/memcached-hostile.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { createRunningClock, serverOptions } from './fixtures.ts';

let hostile: Hostile | undefined;
let server: Server | undefined;
afterEach(async () => {
  server?.close();
  await hostile?.close();
});

function serverOf(address: Hostile): Server {
  return createServer(address, serverOptions(), { clock: createRunningClock(), telemetry: createFakeTelemetry() });
}

it.each([2 ** 31 - 3, 2 ** 32 - 3])('the numbers go on past %i, and every request is answered', async (first) => {
  hostile = await startHostile((request) => void request.socket.write(goodAnswer(request)));
  server = serverOf(hostile);
  const client = createClient([server], first);
  const answers = await Promise.all(Array.from({ length: 6 }, (_, n) => client.get(`key ${n}`)));

  expect(answers.map((answer) => Buffer.from(answer ?? []).toString())).toEqual(Array.from({ length: 6 }, () => 'value'));
  expect(hostile.requests.map(({ opaque }) => opaque)).toEqual([1, 2, 3, 4, 5, 6].map((n) => (first + n) % 2 ** 32));
});

it('a number that may still be answered is passed over', async () => {
  hostile = await startHostile((request) => {
    if (request.key !== 'slow') request.socket.write(goodAnswer(request));
  });
  server = serverOf(hostile);
  const before = createClient([server], 6);
  const slow = before.get('slow').catch(() => 'failed');
  await expect.poll(() => server?.owes(7)).toBe(true);
  // As after 2^32 requests: the numbers come round again.
  const after = createClient([server], 5);
  await Promise.all([after.get('a'), after.get('b')]);

  expect(hostile.requests.map(({ opaque }) => opaque).sort()).toEqual([6, 7, 8]);
  server.close();
  expect(await slow).toBe('failed');
});
