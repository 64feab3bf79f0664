// A region without a Keystone: sidecars and a memcached here, Keystone and its RabbitMQ in the central region, two links between them.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { type Gate, startGate } from '../../bench/middleware/gate.ts';
import { type Memcached, startMemcached } from '../fakes/memcached.ts';
import { type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { type Administrator, administratorOf } from '../oracle/administrator.ts';
import { makeThings, type Things } from '../oracle/things.ts';
import { type Truth, truthOf } from '../oracle/truth.ts';
import { type Lab, startKeystone } from './lab.ts';
import { type LabSidecar, type SidecarOptions, startSidecar, verdict } from './sidecar.ts';

/** Both regions. */
export interface Region {
  readonly lab: Lab;
  readonly rabbitmq: Rabbitmq;
  readonly memcached: Memcached;
  /** The links to Keystone and to its RabbitMQ. */
  readonly keystoneLink: Gate;
  readonly busLink: Gate;
  /** `transport_url` by the link. */
  readonly transportUrl: string;
  readonly keystone: Administrator;
  readonly truth: Truth;
  /** A sidecar of this region. Ended with the region. */
  open(name: string, options?: SidecarOptions): Promise<LabSidecar>;
  /** The same, when it is to be relied on: its news have caught up. */
  start(name: string, options?: SidecarOptions): Promise<LabSidecar>;
  things(): Promise<Things>;
  close(): Promise<void>;
}

/** News count as missed after this. */
export const maxLagMs = 5000;
/** As the sidecars are configured. Facts serve for 300 s: whatever changes sooner has been told. */
export const settleMs = 1000;
export const wideWindowMs = 3000;
/** A machine may be slow; nothing here waits for less. */
export const patience = { timeout: 60_000, interval: 100 } as const;

/** Starts them. */
export async function startRegion(format: 'basic' | 'cadf', provider: 'fernet' | 'jws' = 'fernet'): Promise<Region> {
  const cleanup: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const end of cleanup.splice(0).reverse()) await end();
  };
  try {
    const keyDir = await mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-keys-'));
    cleanup.push(() => rm(keyDir, { recursive: true }));
    await writeFile(join(keyDir, 'one'), randomBytes(32));
    const rabbitmq = await startRabbitmq();
    cleanup.push(() => rabbitmq.close());
    const lab = await startKeystone({ provider, notifications: { url: rabbitmq.transportUrl, format } });
    cleanup.push(() => lab.close());
    const memcached = await startMemcached();
    cleanup.push(() => memcached.close());
    const [keystoneLink, busLink] = [await startGate(Number(new URL(lab.proxy.origin).port)), await startGate(rabbitmq.port)];
    cleanup.push(() => Promise.all([keystoneLink.close(), busLink.close()]));
    const transportUrl = rabbitmq.transportUrl.replace(`:${rabbitmq.port}/`, `:${busLink.port}/`);
    const [keystone, truth] = await Promise.all([administratorOf(lab), truthOf(lab)]);
    // Before Keystone has said anything there is no exchange, and no sidecar that has heard of it.
    await makeThings(keystone);
    // What is told of itself goes the same way as all others' requests.
    const url = `http://127.0.0.1:${keystoneLink.port}/v3`;
    const through: Lab = { ...lab, proxy: { ...lab.proxy, url } };
    const open = async (name: string, options: SidecarOptions = {}): Promise<LabSidecar> => {
      const sidecar = await startSidecar(through, {
        name,
        deploymentKeyDir: keyDir,
        caching: `{ shared: { servers: ["${memcached.address}"], deadline: 2s }, settle: ${settleMs}ms, wide_window: ${wideWindowMs}ms }`,
        keys: `{ fernet: ${lab.fernetKeys}, jws: ${lab.jwsKeys} }`,
        news: '{ bus: { transport_url_file: TRANSPORT_URL_FILE }, poll: { every: 1s } }',
        transportUrl,
        settings: `max_lag: ${maxLagMs}ms`,
        ...options,
      });
      cleanup.push(() => sidecar.close());
      return sidecar;
    };
    return {
      lab,
      rabbitmq,
      memcached,
      keystoneLink,
      busLink,
      transportUrl,
      keystone,
      truth,
      open,
      async start(name, options) {
        const sidecar = await open(name, options);
        await caughtUp(sidecar);
        return sidecar;
      },
      things: () => makeThings(keystone),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Resolves when the sidecar is to be relied on. */
export async function caughtUp(sidecar: LabSidecar): Promise<void> {
  // Outside of a test there is no `expect.poll`.
  await vi.waitFor(async () => expect((await sidecar.client.status()).serving).toBe(true), patience);
}

/** What each of the sidecars says of each token, in one word: `dead` stands for REFUSED and REVOKED. */
export async function wordsOf(sidecars: readonly LabSidecar[], ...tokens: readonly string[]): Promise<readonly string[]> {
  const said = await Promise.all(tokens.flatMap((token) => sidecars.map(({ client }) => verdict(client, token))));
  return [...new Set(said.map((word) => (word === 'REFUSED' || word === 'REVOKED' ? 'dead' : word)))];
}

/** Resolves when all of the sidecars say that of all of the tokens. */
export async function untilAll(word: 'active' | 'dead', sidecars: readonly LabSidecar[], ...tokens: readonly string[]): Promise<void> {
  await expect.poll(() => wordsOf(sidecars, ...tokens), patience).toEqual([word]);
}

/** A token that Keystone has just issued. Throws where it issues none. */
export async function issued(things: Things, kind: Parameters<Things['issue']>[0]): Promise<string> {
  const token = await things.issue(kind);
  if (token === undefined) throw new Error(`Keystone issues no ${kind}`);
  return token.token;
}
