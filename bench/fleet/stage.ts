// Three sidecars of one fleet, each a process of its own, with all that they need, and a way of its own to the log.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type MemcachedProcess, startMemcachedProcess } from '../../test/fakes/memcached-process.ts';
import { type ScriptedKeystone, startScriptedKeystone } from '../servers/scripted-keystone.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess, socketOf } from '../servers/sidecar-process.ts';
import { type Bus, startBus } from './bus.ts';
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
  /** They hear Keystone's bus, at a broker of its own, and read its list. Absent: nobody tells them news. */
  readonly news?: NewsPlan;
}

/** How news are heard. */
export interface NewsPlan {
  readonly pollEveryMs: number;
  readonly settleMs: number;
  /** More of `news.bus`, members of a flow mapping: how the queues are shared out. Absent: each sidecar has one of its own. */
  readonly bus?: string;
}

/** One sidecar, and what lies between it and the log. */
export interface Member {
  readonly sidecar: SidecarProcess;
  /** `unix:///path`: whoever comes this way may revoke by selector. */
  readonly socket: string;
  readonly toEngine: Way;
  /** Undefined where there is no bus. */
  readonly toBus: Way | undefined;
}

/** The running fleet. Keystone is not told of revocations: who denies a revoked token has heard of it from the fleet. */
export interface FleetStage {
  readonly engine: EngineServer;
  readonly memcached: MemcachedProcess;
  readonly keystone: ScriptedKeystone;
  /** Undefined where there are no news. */
  readonly bus: Bus | undefined;
  readonly toMemcached: Way;
  readonly toKeystone: Way;
  readonly members: readonly Member[];
  /** Of the deployment. */
  readonly keyDir: string;
  close(): Promise<void>;
}

/** Their one Keystone, as they call it. */
export const issuerName = 'central';

const password = 'the-password-of-the-fleet';
/** Until nothing of the start of the news is left. */
const soundMs = 120_000;

/** Starts it; resolves when each sidecar serves and, where there are news, is not degraded. Throws where something of it cannot be started. */
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
    const memcached = kept(await startMemcachedProcess());
    const keystone = kept(await startScriptedKeystone({ password }));
    const { news } = plan;
    const bus = news && kept(await startBus());
    const toMemcached = kept(await openWay(memcached.port));
    const toKeystone = kept(await openWay(keystone.port));
    const keyDir = newKeyDir(dir, 'keys');
    const alike = {
      cli: plan.cli,
      keyDir,
      keystoneUrl: `http://${toKeystone.address}/v3`,
      password,
      servers: [toMemcached.address],
      caching: [
        '  token: { time: 300s, jitter: 0 }',
        '  unknown: { time: 1s }',
        '  wide_window: 1s',
        ...(news ? [`  settle: ${news.settleMs}ms`] : []),
      ].join('\n'),
      calls: `{ deadline: ${plan.deadlineMs * 0.8}ms, concurrency: 32, queue: 1024, attempts: 1 }`,
      tellsKeystone: false,
      settings: `max_lag: ${plan.maxLagMs}ms`,
    };
    const engine = kept(await startEngine(plan.engine, { ...alike, dir: join(dir, 'hub') }));
    const members: Member[] = [];
    for (const name of plan.names ?? ['red', 'green', 'blue']) {
      const toEngine = kept(await openWay(engine.port));
      const toBus = bus && kept(await openWay(bus.broker.port));
      const own = join(dir, name);
      mkdirSync(own);
      const sidecar = sidecarProcess({
        ...alike,
        name,
        dir: own,
        ...(news && bus && toBus && { news: newsOf(own, bus, toBus, news) }),
        hasSocket: true,
        settings: `${alike.settings}\n${engine.settings(own, toEngine.port)}`,
      });
      cleanup.push(() => sidecar.end('SIGKILL'));
      members.push({ sidecar, socket: `unix://${socketOf({ dir: own })}`, toEngine, toBus });
    }
    await Promise.all(members.map(({ sidecar }) => sidecar.start()));
    if (bus) await Promise.all(members.map(({ sidecar }) => sound(sidecar)));
    return { engine, memcached, keystone, bus, toMemcached, toKeystone, members, keyDir, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Flow mapping for `news`. */
function newsOf(dir: string, { broker }: Bus, { port }: Way, { bus, pollEveryMs }: NewsPlan): string {
  const file = join(dir, 'bus-url');
  writeFileSync(file, broker.transportUrl.replace(`:${broker.port}/`, `:${port}/`));
  const more = bus === undefined ? '' : `, ${bus}`;
  return `{ bus: { transport_url_file: ${file}${more} }, poll: { every: ${pollEveryMs}ms } }`;
}

/** Resolves when its news have caught up, and everything that may have been missed before has been asked about. */
async function sound({ name, client }: SidecarProcess): Promise<void> {
  const untilMs = performance.now() + soundMs;
  for (;;) {
    const { degradations } = await client.status();
    if (degradations.length === 0) return;
    if (performance.now() > untilMs) throw new Error(`${name} is degraded at its start: ${JSON.stringify(degradations)}`);
    await sleep(50);
  }
}
