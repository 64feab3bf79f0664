// Three sidecars of one fleet, each a process of its own, with all that they need, and a way of its own to the log.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MemcachedProcess, startMemcachedProcess } from '../../test/fakes/memcached-process.ts';
import { type ScriptedKeystone, startScriptedKeystone } from '../servers/scripted-keystone.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess, socketOf } from '../servers/sidecar-process.ts';
import { type EngineName, type EngineServer, startEngine } from './engines.ts';
import { openWay, type Way } from './way.ts';

/** Which fleet. */
export interface FleetPlan {
  /** `dist/cli.js` of the build under test. */
  readonly cli: string;
  readonly engine: EngineName;
  /** `max_lag`: what the sidecars promise of each other. */
  readonly maxLagMs: number;
  /** Of a call, by its caller; a question to Keystone may take the most of it. */
  readonly deadlineMs: number;
  /** Of the sidecars; absent: three. */
  readonly names?: readonly string[];
}

/** One sidecar, and what lies between it and the log. */
export interface Member {
  readonly sidecar: SidecarProcess;
  /** `unix:///path`: whoever comes this way may revoke by selector. */
  readonly socket: string;
  readonly toEngine: Way;
}

/** The running fleet. Keystone is not told of revocations: who denies a revoked token has heard of it from the fleet. */
export interface FleetStage {
  readonly engine: EngineServer;
  readonly memcached: MemcachedProcess;
  readonly keystone: ScriptedKeystone;
  readonly toMemcached: Way;
  readonly toKeystone: Way;
  readonly members: readonly Member[];
  /** Of the deployment. */
  readonly keyDir: string;
  close(): Promise<void>;
}

const password = 'the-password-of-the-fleet';

/** Starts it; resolves when each sidecar serves. Throws where something of it cannot be started. */
export async function startFleet(plan: FleetPlan): Promise<FleetStage> {
  const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-fleet-'));
  const cleanup: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const end of cleanup.splice(0).reverse()) await end();
  };
  const kept = <Value extends { close(): unknown }>(one: Value): Value => {
    cleanup.push(() => one.close());
    return one;
  };
  try {
    const engine = kept(await startEngine(plan.engine));
    const memcached = kept(await startMemcachedProcess());
    const keystone = kept(await startScriptedKeystone({ password }));
    const toMemcached = kept(await openWay(memcached.port));
    const toKeystone = kept(await openWay(keystone.port));
    const keyDir = newKeyDir(dir, 'keys');
    const members: Member[] = [];
    for (const name of plan.names ?? ['red', 'green', 'blue']) {
      const toEngine = kept(await openWay(engine.port));
      const own = join(dir, name);
      mkdirSync(own);
      const sidecar = sidecarProcess({
        name,
        cli: plan.cli,
        dir: own,
        keyDir,
        keystoneUrl: `http://${toKeystone.address}/v3`,
        password,
        servers: [toMemcached.address],
        caching: ['  token: { time: 300s, jitter: 0 }', '  unknown: { time: 1s }', '  wide_window: 1s'].join('\n'),
        calls: `{ deadline: ${plan.deadlineMs * 0.8}ms, concurrency: 32, queue: 1024, attempts: 1 }`,
        tellsKeystone: false,
        hasSocket: true,
        settings: `max_lag: ${plan.maxLagMs}ms\n${engine.settings(own, toEngine.port)}`,
      });
      cleanup.push(() => sidecar.end('SIGKILL'));
      members.push({ sidecar, socket: `unix://${socketOf({ dir: own })}`, toEngine });
    }
    await Promise.all(members.map(({ sidecar }) => sidecar.start()));
    return { engine, memcached, keystone, toMemcached, toKeystone, members, keyDir, close };
  } catch (error) {
    await close();
    throw error;
  }
}
