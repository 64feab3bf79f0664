// What is read from a JetStream that does what a real one does seldom.

import { afterEach, describe, expect, it } from 'vitest';
import { type Given, type ScriptedNats, startScriptedNats } from '../fakes/nats-scripted.ts';
import { engineAt, type Holder, hold, patience, stream } from './jetstream-stage.ts';

let nats: ScriptedNats;
let reader: Holder;
const scripted = async (pulled: (pull: number) => readonly Given[] | undefined, from?: number): Promise<void> => {
  nats = await startScriptedNats({ name: stream, subjects: [`${stream}.entries`] }, pulled);
  reader = hold(engineAt(nats.url), from === undefined ? {} : { from });
};
afterEach(async () => {
  await reader.stop();
  await nats.close();
});

describe('Reading a stream', () => {
  it.each(['short', 'long'] as const)('takes positions from reply subjects of the %s form', async (form) => {
    await scripted((pull) =>
      pull === 0 ? [7, 9].map((position, n) => ({ position, delivery: n + 1, text: `at ${position}`, form })) : [],
    );
    await expect.poll(reader.texts, patience).toEqual(['at 7', 'at 9']);
    expect(reader.read.map(({ position }) => position)).toEqual([7, 9]);
  });

  it('ends the connection where a record got lost on its way, and the next one begins with the last that came', async () => {
    await scripted((pull) => {
      if (pull > 0) return [5, 6, 7].map((position, n) => ({ position, delivery: n + 1, text: `at ${position}` }));
      return [
        { position: 5, delivery: 1, text: 'at 5' },
        { position: 7, delivery: 3, text: 'at 7' },
      ];
    });
    await expect.poll(() => reader.texts().at(-1), patience).toBe('at 7');
    expect(reader.texts()).toEqual(['at 5', 'at 5', 'at 6', 'at 7']);
    expect(nats.starts).toEqual([undefined, 5]);
    expect(String(reader.links[0]?.signal.reason)).toContain('lost on its way');
  });

  it('gives nothing up from below its position', async () => {
    await scripted(
      (pull) => (pull === 0 ? [3, 4, 5].map((position, n) => ({ position, delivery: n + 1, text: `at ${position}` })) : []),
      5,
    );
    await expect.poll(reader.texts, patience).toEqual(['at 5']);
    expect(nats.starts).toEqual([5]);
  });

  it('is given up where JetStream says nothing, although the server answers', async () => {
    await scripted(() => undefined);
    const link = await reader.link();
    await expect.poll(() => link.signal.aborted, patience).toBe(true);
    expect(String(link.signal.reason)).toContain('no sign of life, to who reads');
  });
});
