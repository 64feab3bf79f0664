// What staleness is measured on: a real Keystone that tells, a RabbitMQ, a memcached, two sidecars that share it, and a near cache.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CountingProxy, startCountingProxy } from '../../test/e2e/lab/counting-proxy.ts';
import { type Lab, startKeystone } from '../../test/e2e/lab/keystone.ts';
import { startMemcachedProcess } from '../../test/fakes/memcached-process.ts';
import { type RabbitmqProcess, startRabbitmqProcess } from '../../test/fakes/rabbitmq-process.ts';
import { type Administrator, administratorOf } from '../../test/oracle/administrator.ts';
import { type Counter, countOf } from '../../test/oracle/counts.ts';
import { memoryOf, nearOf, type Place, sharedOf } from '../../test/oracle/places.ts';
import type { Timing } from '../../test/oracle/row.ts';
import { type Truth, truthOf } from '../../test/oracle/truth.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess } from '../servers/sidecar-process.ts';

/** How Keystone is configured. */
export interface Setting {
  readonly provider: 'fernet' | 'jws';
  readonly format: 'cadf' | 'basic';
}

/** Everything that runs. */
export interface StalenessStage {
  readonly setting: Setting;
  readonly lab: Lab;
  readonly rabbitmq: RabbitmqProcess;
  readonly keystone: Administrator;
  readonly truth: Truth;
  /** Of the first sidecar, of the second, and of a near cache of the first. */
  readonly places: readonly Place[];
  readonly sidecars: readonly SidecarProcess[];
  /** Of each sidecar. */
  readonly counters: readonly Counter[];
  /** `host:port`, which auth_token may share. */
  readonly memcached: string;
  close(): Promise<void>;
}

/** As the sidecars are configured. */
/** `limits.skew`: its default. What another host has fetched sooner than settling and this after news is believed by nobody. */
export const skewMs = 2000;
export const timing: Timing = { settleMs: 2000, pollEveryMs: 2000, wideWindowMs: 4000, factsTimeMs: 20_000, refusalTimeMs: 5000 };

/** Starts it: some half a minute. `root`: of the project. */
export async function startStage(root: string, setting: Setting): Promise<StalenessStage> {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-staleness-'));
  const cleanup: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const end of cleanup.splice(0).reverse()) await end();
  };
  try {
    const rabbitmq = await startRabbitmqProcess();
    cleanup.push(() => rabbitmq.close());
    const notifications = { url: rabbitmq.transportUrl, format: setting.format };
    const scripts = join(root, 'test/e2e/lab');
    const lab = await startKeystone({ expirationSeconds: 7200, provider: setting.provider, notifications, scripts });
    cleanup.push(() => lab.close());
    const memcached = await startMemcachedProcess();
    cleanup.push(() => memcached.close());
    writeFileSync(join(dir, 'transport-url'), rabbitmq.transportUrl);

    const keyDir = newKeyDir(dir, 'keys');
    const proxies = await Promise.all([0, 1].map(() => startCountingProxy(new URL(lab.url).origin)));
    cleanup.push(() => Promise.all(proxies.map((proxy) => proxy.close())));
    const sidecars = proxies.map((proxy, at) =>
      sidecarProcess({
        name: `sidecar-${at}`,
        cli: join(root, 'dist', 'cli.js'),
        dir: join(dir, `sidecar-${at}`),
        keyDir,
        keystoneUrl: `${proxy.origin}/v3`,
        password: lab.seed.users.validator.password,
        servers: [memcached.address],
        // Two cores for all of this.
        sharedDeadlineMs: 1000,
        accepts: '[fernet, keystone-jws]',
        keys: `{ fernet: ${lab.fernetKeys}, jws: ${lab.jwsKeys} }`,
        news: `{ bus: { transport_url_file: ${join(dir, 'transport-url')} }, poll: { every: ${timing.pollEveryMs}ms } }`,
        caching: [
          `  token: { time: ${timing.factsTimeMs}ms, jitter: 0 }`,
          `  settle: ${timing.settleMs}ms`,
          `  wide_window: ${timing.wideWindowMs}ms`,
        ].join('\n'),
        // A validation takes some 110 ms on two processes: here nobody waits in vain.
        calls: '{ deadline: 30s, concurrency: 16, queue: 1024 }',
        timeoutMs: 60_000,
      }),
    );
    cleanup.push(() => Promise.all(sidecars.map((one) => one.end('SIGKILL'))));
    await Promise.all(sidecars.map((one) => one.start()));
    const [first, second] = sidecars;
    if (!first || !second) throw new Error('two sidecars were started');
    const near = first.client.nearCache({ checkpointIntervalMs: 500 });
    cleanup.push(() => near.close());
    const counters = sidecars.map((one, at) => countOf(proxies[at] as CountingProxy, one.client));
    cleanup.push(() => counters.map((one) => one.close()));
    return {
      setting,
      lab,
      rabbitmq,
      keystone: await administratorOf(lab),
      truth: await truthOf(lab),
      places: [memoryOf(first.client), sharedOf(second.client), nearOf(near)],
      sidecars,
      counters,
      memcached: memcached.address,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
