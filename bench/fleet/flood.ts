// Invalidations at a steady rate, and how long each takes to every sidecar of a fleet, told by Watch.

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Client, connect } from '../../src/client/index.ts';
import { cpuSecondsOf, residentBytesOf } from '../servers/sidecar-process.ts';
import type { FleetStage } from './stage.ts';
import { watchSidecar } from './watching.ts';

/** How much, for how long. */
export interface FloodPlan {
  /** Over all sidecars, each in turn. */
  readonly perSecond: number;
  readonly ms: number;
}

/** What came of it. Milliseconds from when a revocation was acknowledged until each of the others had applied it. */
export interface FloodResult {
  /** In the order of the revocations. */
  readonly lagsMs: readonly number[];
  readonly revocations: number;
  /** How many a second were acknowledged in fact. */
  readonly perSecond: number;
  /** (revocation, sidecar) that were not told within the patience after the end. */
  readonly missing: number;
  /** Of one processor, per sidecar (mean), and of the server that carries the log. */
  readonly sidecarCpu: number;
  readonly engineCpu: number;
  /** The largest sidecar at the end, and the server. */
  readonly sidecarBytes: number;
  readonly engineBytes: number;
}

const patienceMs = 30_000;
const tickMs = 10;

/** Runs it on a fleet that is well. */
export async function flood({ members, engine }: FleetStage, { perSecond, ms }: FloodPlan): Promise<FloodResult> {
  const acknowledgedMs = new Map<string, number>();
  const toldMs = new Map<string, number>();
  const watchings = members.map(({ sidecar }) =>
    watchSidecar(sidecar, {
      entry: (name, entryId) => void toldMs.set(`${entryId} ${name}`, performance.now()),
      reset: () => undefined,
    }),
  );
  const clients: readonly Client[] = members.map(({ socket }) => connect({ address: socket, timeoutMs: patienceMs }));
  try {
    await Promise.all(watchings.map(({ opened }) => opened));
    const cpu = (): readonly number[] => [...members.map(({ sidecar }) => sidecar.cpuSeconds()), cpuSecondsOf(engine.pid)];
    const before = cpu();
    const beganMs = performance.now();
    const running: Promise<void>[] = [];
    let sent = 0;
    while (performance.now() - beganMs < ms) {
      const due = Math.floor(((performance.now() - beganMs) / 1000) * perSecond);
      for (; sent < due; sent += 1) {
        const client = clients[sent % clients.length];
        if (client === undefined) break;
        const user = randomBytes(16).toString('hex');
        running.push(
          client.revoke({ selector: { issuer: 'central', userId: user } }).then(({ entryId }) => {
            acknowledgedMs.set(entryId, performance.now());
          }),
        );
      }
      await pause(tickMs);
    }
    await Promise.all(running);
    const tookSeconds = (performance.now() - beganMs) / 1000;
    const used = cpu().map((seconds, at) => (seconds - (before[at] ?? 0)) / tookSeconds);
    const pairs = [...acknowledgedMs.keys()].flatMap((id) => members.map(({ sidecar }) => `${id} ${sidecar.name}`));
    const untilMs = performance.now() + patienceMs;
    while (pairs.some((pair) => !toldMs.has(pair)) && performance.now() < untilMs) await pause(100);
    const lagsMs = [...acknowledgedMs].map(([id, atMs]) => {
      const told = members.map(({ sidecar }) => toldMs.get(`${id} ${sidecar.name}`) ?? Number.NaN);
      return Math.max(0, ...told.filter((one) => !Number.isNaN(one)).map((one) => one - atMs));
    });
    const sidecarUse = used.slice(0, members.length);
    return {
      lagsMs,
      revocations: acknowledgedMs.size,
      perSecond: acknowledgedMs.size / tookSeconds,
      missing: pairs.filter((pair) => !toldMs.has(pair)).length,
      sidecarCpu: sidecarUse.reduce((sum, one) => sum + one, 0) / sidecarUse.length,
      engineCpu: used.at(-1) ?? Number.NaN,
      sidecarBytes: Math.max(...members.map(({ sidecar }) => sidecar.residentBytes() ?? 0)),
      engineBytes: residentBytesOf(engine.pid) ?? Number.NaN,
    };
  } finally {
    for (const client of clients) client.close();
    await Promise.all(watchings.map((watching) => watching.end()));
  }
}
