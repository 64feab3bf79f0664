// What runs beside the calls: stopped by one signal, and a failure is seen.

import { expect, it } from 'vitest';
import { Background } from '../src/background.ts';
import { createFakeTelemetry } from './fakes/telemetry.ts';

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

it('is sound while everything runs, and what a stop breaks off is no failure', async () => {
  const { log, lines } = createFakeTelemetry();
  const background = new Background(log);
  background.run('waits', untilAborted);
  background.run('is done already', async () => undefined);
  await Promise.resolve();
  expect(background.isSound).toBe(true);
  await background.close();
  expect([background.isSound, lines]).toEqual([true, []]);
});

it.each([
  [
    'at once',
    () => {
      throw new Error('broken');
    },
  ],
  ['later', () => Promise.reject(new Error('broken'))],
])('is not sound once something has failed %s: it is said, and nothing is left unhandled', async (_, work) => {
  const { log, lines } = createFakeTelemetry();
  const background = new Background(log);
  background.run('keys', work);
  background.run('waits', untilAborted);
  await new Promise((resolve) => setImmediate(resolve));
  expect(background.isSound).toBe(false);
  expect(lines.map(({ level, fields }) => [level, fields['task']])).toEqual([['error', 'keys']]);
  await background.close();
});
