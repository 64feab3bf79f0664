// What storms blow over: a scripted Keystone with a real RabbitMQ, sidecars that hear it, and the memcached that they share.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { basicMessage, enveloped, published } from '../../test/fakes/keystone-messages.ts';
import { startMemcachedProcess } from '../../test/fakes/memcached-process.ts';
import { startRabbitmqProcess } from '../../test/fakes/rabbitmq-process.ts';
import { type ScriptedKeystone, startScriptedKeystone } from '../servers/scripted-keystone.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess } from '../servers/sidecar-process.ts';

/** Everything that runs. */
export interface StormStage {
  readonly keystone: ScriptedKeystone;
  readonly sidecars: readonly SidecarProcess[];
  /** Tells on Keystone's exchange that something has happened to `id`, for example `identity.user.updated`. */
  tell(eventType: string, id: string): Promise<void>;
  close(): Promise<void>;
}

/** How the sidecars are configured. */
export interface StormPlan {
  /** `dist/cli.js` of the build under test. */
  readonly cli: string;
  readonly sidecars: number;
  readonly settleMs: number;
  readonly wideWindowMs: number;
  /** Questions to Keystone at once, and those that wait. */
  readonly concurrency: number;
  readonly queue: number;
}

const password = 'the-password-of-the-storm';
const startMs = 60_000;

/** Starts it; the sidecars' news have caught up when it resolves. */
export async function startStorm(plan: StormPlan): Promise<StormStage> {
  const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-storm-'));
  const cleanup: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const end of cleanup.splice(0).reverse()) await end();
  };
  try {
    const rabbitmq = await startRabbitmqProcess();
    cleanup.push(() => rabbitmq.close());
    const connection = await connect(rabbitmq.transportUrl.replace(/^rabbit:/, 'amqp:'));
    cleanup.push(() => connection.close());
    const channel = await connection.createConfirmChannel();
    // As oslo.messaging does for whoever publishes.
    await channel.assertExchange(published.exchange, 'topic', { durable: false });
    const keystone = await startScriptedKeystone({ password });
    cleanup.push(() => keystone.close());
    const memcached = await startMemcachedProcess();
    cleanup.push(() => memcached.close());
    const transportUrl = join(dir, 'transport-url');
    writeFileSync(transportUrl, rabbitmq.transportUrl);
    const keyDir = newKeyDir(dir, 'keys');
    const sidecars = Array.from({ length: plan.sidecars }, (_, at) =>
      sidecarProcess({
        name: `sidecar-${at}`,
        cli: plan.cli,
        dir: join(dir, `sidecar-${at}`),
        keyDir,
        keystoneUrl: keystone.url,
        password,
        servers: [memcached.address],
        sharedDeadlineMs: 1000,
        news: `{ bus: { transport_url_file: ${transportUrl} }, poll: { every: 2s } }`,
        caching: [`  token: { jitter: 0 }`, `  settle: ${plan.settleMs}ms`, `  wide_window: ${plan.wideWindowMs}ms`].join('\n'),
        calls: `{ deadline: 20s, concurrency: ${plan.concurrency}, queue: ${plan.queue} }`,
        timeoutMs: 30_000,
      }),
    );
    cleanup.push(() => Promise.all(sidecars.map((one) => one.end('SIGKILL'))));
    await Promise.all(sidecars.map((one) => one.start()));
    await Promise.all(sidecars.map(soundness));
    return {
      keystone,
      sidecars,
      async tell(eventType, id) {
        channel.publish(published.exchange, published.routingKey, Buffer.from(enveloped(basicMessage(eventType, id))));
        await channel.waitForConfirms();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Resolves when nothing of the start is left: the news have caught up, and everything that may have been missed before has been asked about. */
async function soundness({ client }: SidecarProcess): Promise<void> {
  const untilMs = performance.now() + startMs;
  for (;;) {
    const { serving, degradations } = await client.status();
    if (serving && degradations.length === 0) return;
    if (performance.now() > untilMs) throw new Error(`the news of a sidecar have not caught up: ${JSON.stringify(degradations)}`);
    await sleep(100);
  }
}
