// What goes wrong in a history, one thing after the other: lines to the log, the shared tier, a sidecar that is started again.

import { setTimeout as pause } from 'node:timers/promises';
import type { Memcached } from '../fakes/memcached.ts';
import type { Chance } from './chance.ts';
import type { Happening } from './happening.ts';
import type { Member } from './member.ts';

/** Where things go wrong. */
export interface Scene {
  readonly members: readonly Member[];
  readonly memcached: Memcached;
  note(happening: Happening): void;
}

const weights = { line: 8, restart: 1, 'restart without a goodbye': 1, flush: 2, memcached: 1, freeze: 1 };
/** Whoever has not recovered by then will not. */
const recoveryMs = 60_000;

/** One after the other until `signal` aborts, each mended; what they were, in words. */
export async function disturb(scene: Scene, chance: Chance, signal: AbortSignal): Promise<readonly string[]> {
  const done: string[] = [];
  while (!signal.aborted) {
    await pause(200 + chance.nat(600));
    done.push(await once(scene, chance, chance.weighed(weights)));
  }
  return done;
}

async function once({ members, memcached, note }: Scene, chance: Chance, what: keyof typeof weights): Promise<string> {
  const member = chance.of(members);
  const lastsMs = chance.of([200, 1_000, 4_500]);
  switch (what) {
    case 'line':
    case 'restart':
    case 'restart without a goodbye': {
      const fromMs = performance.now();
      const how = what === 'line' ? chance.of(['cut', 'mute', 'deaf', 'hanging'] as const) : what === 'restart' ? 'open' : 'cut';
      member.line.become(how);
      if (what === 'line') await pause(lastsMs);
      else await member.stop();
      if (what === 'restart without a goodbye') await pause(lastsMs);
      member.line.become('open');
      if (what !== 'line') await member.start();
      await allSound([member]);
      note({ kind: 'severed', sidecar: member.name, fromMs, toMs: performance.now() });
      return `${what} ${how} ${member.name}`;
    }
    case 'flush':
      await memcached.command('flush_all');
      return what;
    case 'memcached':
      await memcached.kill();
      await pause(lastsMs);
      await memcached.restart();
      return what;
    case 'freeze':
      await memcached.freeze();
      await pause(lastsMs);
      memcached.thaw();
      return what;
  }
}

/** Resolves when they are as they should be. */
export async function allSound(members: readonly Member[]): Promise<void> {
  const untilMs = performance.now() + recoveryMs;
  for (const member of members) {
    for (let why = await member.unsound(); why !== undefined; why = await member.unsound()) {
      if (performance.now() > untilMs) throw new Error(`${member.name} has not recovered within ${recoveryMs} ms: ${why}`);
      await pause(20);
    }
  }
}
