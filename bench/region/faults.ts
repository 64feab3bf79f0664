// What happens to the region while it is asked: each fault comes, stays for its time, and goes.

import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Mood, ScriptedKeystone } from '../servers/scripted-keystone.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { Bend, BendingProxy } from './bending-proxy.ts';
import type { Judge } from './judge.ts';
import type { Memcached, Stored } from './memcached.ts';

/** What can be hurt. */
export interface Victims {
  readonly memcached: readonly Memcached[];
  /** In front of the last memcached: the sidecars reach that one through it. */
  readonly proxy: BendingProxy;
  readonly sidecars: readonly SidecarProcess[];
  readonly keystone: ScriptedKeystone;
  readonly judge: Judge;
  readonly keyDir: string;
  /** What another deployment has stored. */
  readonly foreign: readonly Stored[];
}

/** One fault. `of`: what it is about, since not every fault is held against the same promise. */
export interface Fault {
  readonly name: string;
  readonly of: 'tier' | 'restart' | 'authority';
  /** Resolves when it is over and everything is as before. `signal` aborts when its time is over. */
  happen(victims: Victims, signal: AbortSignal): Promise<void>;
}

/** Every fault. Those that restart each sidecar come first: afterwards two of them run undisturbed to the end, and can be weighed. */
export const faults: readonly Fault[] = [
  { name: 'the deployment key is rotated', of: 'restart', happen: rotateKeys },
  { name: 'one memcached is killed', of: 'tier', happen: ({ memcached }, signal) => killed(memcached.slice(0, 1), signal) },
  { name: 'one memcached is stopped', of: 'tier', happen: ({ memcached }, signal) => stopped(memcached.slice(1, 2), signal) },
  { name: 'every memcached is stopped', of: 'tier', happen: ({ memcached }, signal) => stopped(memcached, signal) },
  { name: 'a sidecar is killed', of: 'restart', happen: killSidecar },
  { name: 'every memcached is killed', of: 'tier', happen: ({ memcached }, signal) => killed(memcached, signal) },
  { name: 'one memcached flaps', of: 'tier', happen: flap },
  { name: 'memcached answers by half', of: 'tier', happen: bent('half') },
  { name: 'memcached is cut in its answers', of: 'tier', happen: bent('cut') },
  { name: 'memcached gives the answers of others', of: 'tier', happen: bent('anothers') },
  { name: 'everything in memcached is flushed', of: 'tier', happen: rewritten(() => [], 'flush') },
  { name: 'values are tampered with', of: 'tier', happen: rewritten(tampered) },
  { name: 'values are swapped', of: 'tier', happen: rewritten(swapped) },
  { name: 'values are cut short', of: 'tier', happen: rewritten((them) => them.map(halved)) },
  { name: 'another deployment writes', of: 'tier', happen: rewritten(replaced) },
  { name: 'Keystone is slow', of: 'authority', happen: mood('slow') },
  { name: 'Keystone hangs', of: 'authority', happen: mood('hanging') },
  { name: 'Keystone fails', of: 'authority', happen: mood('failing') },
  { name: 'Keystone is down', of: 'authority', happen: mood('down') },
];

/** Resolves when `ms` are over or `signal` has aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Only the signal rejects it, and that is its other way to end.
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

async function untilOver(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

async function killed(them: readonly Memcached[], signal: AbortSignal): Promise<void> {
  await Promise.all(them.map((one) => one.kill()));
  await untilOver(signal);
  await Promise.all(them.map((one) => one.restart()));
}

async function stopped(them: readonly Memcached[], signal: AbortSignal): Promise<void> {
  await Promise.all(them.map((one) => one.freeze()));
  await untilOver(signal);
  for (const one of them) one.thaw();
}

async function flap({ memcached: [one] }: Victims, signal: AbortSignal): Promise<void> {
  while (one && !signal.aborted) {
    await one.kill();
    await pause(200, signal);
    await one.restart();
    await pause(200, signal);
  }
}

function bent(how: Bend): Fault['happen'] {
  return async ({ proxy }, signal) => {
    proxy.bend(how);
    await untilOver(signal);
    proxy.bend('none');
  };
}

/** Again and again: the sidecars mend what they find unreadable. */
function rewritten(
  rewrite: (them: readonly Stored[], foreign: readonly Stored[]) => readonly Stored[],
  alsoFlush?: 'flush',
): Fault['happen'] {
  return async ({ memcached, foreign }, signal) => {
    while (!signal.aborted) {
      for (const one of memcached) {
        if (alsoFlush) await one.flush();
        else await one.write(rewrite(await one.records(200), foreign));
      }
      await pause(500, signal);
    }
  };
}

function tampered(them: readonly Stored[]): readonly Stored[] {
  return them.map(({ key, flags, value }) => {
    const other = Buffer.from(value);
    const at = Math.floor(Math.random() * other.length);
    other[at] = (other[at] ?? 0) ^ (1 << Math.floor(Math.random() * 8));
    return { key, flags, value: other };
  });
}

function swapped(them: readonly Stored[]): readonly Stored[] {
  return them.map((one, at) => ({ ...one, value: them[(at + 1) % them.length]?.value ?? one.value }));
}

function halved({ key, flags, value }: Stored): Stored {
  return { key, flags, value: value.subarray(0, value.length >> 1) };
}

function replaced(them: readonly Stored[], foreign: readonly Stored[]): readonly Stored[] {
  return them.map((one, at) => ({ ...one, value: foreign[at % foreign.length]?.value ?? one.value }));
}

/** A new key in the directory, then each sidecar restarted, one after the other: the others go on, with the old one. */
async function rotateKeys(victims: Victims): Promise<void> {
  // The name that sorts last is the newest.
  writeFileSync(join(victims.keyDir, `key-${Date.now()}`), randomBytes(32).toString('base64url'));
  // All of them, however long it takes: a rotation that ends half way is none.
  for (const sidecar of victims.sidecars) await restarted(victims, sidecar, 'SIGTERM');
}

/** Always the last one: the others are weighed. */
async function killSidecar(victims: Victims, signal: AbortSignal): Promise<void> {
  const last = victims.sidecars.at(-1);
  if (last) await restarted(victims, last, 'SIGKILL');
  await untilOver(signal);
}

async function restarted({ judge }: Victims, sidecar: SidecarProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  judge.sidecarLeft(sidecar.name, performance.now());
  await sidecar.end(signal);
  await sidecar.start();
  judge.sidecarCame(sidecar.name, performance.now());
}

function mood(which: Mood): Fault['happen'] {
  return async ({ keystone, judge }, signal) => {
    if (which !== 'slow') judge.authorityLeft(performance.now());
    await keystone.become(which);
    await untilOver(signal);
    await keystone.become('well');
    if (which !== 'slow') judge.authorityCame(performance.now());
  };
}
