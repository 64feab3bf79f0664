// What happens while a token is looked at: keys come, directories go and come back.

import { renameSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeyReader } from '../../src/formats/key-reader.ts';
import { fernetTokens } from '../../src/formats/keystone-fernet.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { fernetToken, type KeyFolder, keyFolder, newFernetKey } from '../fakes/keystone-keys.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

let folder: KeyFolder;
beforeEach(() => {
  folder = keyFolder();
});
afterEach(() => folder.remove());

function readerWith(held: () => string | undefined) {
  const clock = createFakeClock();
  const { log } = createFakeTelemetry();
  const options = { issuer: 'central', dir: folder.dir, tokens: fernetTokens, leewayMs: 0, skewMs: 2_000 };
  return { clock, reader: new KeyReader(options, { clock, log, held }) };
}
const life = (nowMs: number) => ({ issuedAtMs: Math.floor(nowMs / 1000) * 1000 - 10_000, expiresAtMs: nowMs + 3_600_000 });

it('a key that comes between the look at a token and its judgement kills nothing', async () => {
  const [first, second] = [newFernetKey(), newFernetKey()];
  folder.put('1', first);
  let own = '';
  const { clock, reader } = readerWith(() => own);
  const old = fernetToken(first, life(clock.nowMs()));
  const young = fernetToken(second, life(clock.nowMs()));
  own = fernetToken(first, { ...life(clock.nowMs()), issuedAtMs: clock.nowMs() });
  const look = reader.look.bind(reader);
  reader.look = async (raw) => {
    const found = await look(raw);
    if (raw !== young) return found;
    // Somebody else's look finds the other key before this one is judged.
    folder.put('2', second);
    await look(fernetToken(newFernetKey(), life(clock.nowMs())));
    return found;
  };

  expect((await reader.glance(old, false))?.kind).toBe('part');
  expect(await reader.glance(young, false)).toBeUndefined();
  expect((await reader.glance(young, false))?.kind).toBe('part');
});

it('our own token is held against the keys once more when their directory can be read again', async () => {
  folder.put('1', newFernetKey());
  let own: string | undefined;
  const { clock, reader } = readerWith(() => own);
  await reader.glance(fernetToken(newFernetKey(), life(clock.nowMs())), false);
  renameSync(folder.dir, `${folder.dir}-away`);
  own = fernetToken(newFernetKey(), life(clock.nowMs()));
  await reader.glance(fernetToken(newFernetKey(), life(clock.nowMs())), false);
  expect([reader.isOutOfStep, reader.health().reachable]).toEqual([false, false]);

  renameSync(`${folder.dir}-away`, folder.dir);
  await reader.glance(fernetToken(newFernetKey(), life(clock.nowMs())), false);
  expect(reader.isOutOfStep).toBe(true);
});
