// A whole sidecar at a real RabbitMQ: what Keystone publishes there kills tokens here, also over a restart.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { secretFile } from '../src/config/secrets.ts';
import type { BusConfig, Config } from '../src/config/types.ts';
import { InactiveReason } from '../src/gen/sidegate/v1/token_service.ts';
import { openLevelJournal } from '../src/journal/leveldb.ts';
import { systemClock } from '../src/sidecar.ts';
import { createHttpAuthority, type HttpAuthority, type ReceivedRequest, type ScriptedAnswer } from './fakes/http-authority.ts';
import { keystoneIssuer } from './fakes/keystone-issuer.ts';
import { basicMessage, enveloped } from './fakes/keystone-messages.ts';
import { createKeystonePublisher, type KeystonePublisher } from './fakes/keystone-publisher.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from './fakes/rabbitmq.ts';
import { startSidecar, type TestSidecar } from './fakes/sidecar.ts';

const patience = { timeout: 300_000 };
const waiting = { timeout: 120_000, interval: 50 };

/** By its look a UUID token, with its user's name (8 of a to f) in it. */
const tokenOf = (user: string): string => user + '0'.repeat(24);

/** Every such token is good. */
function answerAs(request: ReceivedRequest): ScriptedAnswer {
  const iso = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
  const about = (id: string): object => ({
    token: {
      methods: ['password'],
      user: { id, name: id, domain: { id: 'default', name: 'Default' }, password_expires_at: null },
      audit_ids: [`audit-of-${id}-------`],
      issued_at: iso(Date.now() - 60_000),
      expires_at: iso(Date.now() + 3_600_000),
    },
  });
  if (request.method === 'POST') return { status: 201, headers: { 'x-subject-token': 'ours' }, body: about('sidegate') };
  const { 'x-subject-token': token = '' } = request.headers;
  return { status: 200, headers: { 'x-subject-token': token }, body: about(token.slice(0, 8)) };
}

describeWithRabbitmq('Keystone’s bus in a sidecar', () => {
  let rabbitmq: Rabbitmq;
  let keystone: HttpAuthority;
  let bus: KeystonePublisher;
  let directory: string;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
    keystone = await createHttpAuthority();
    keystone.script(answerAs);
    bus = createKeystonePublisher(rabbitmq);
    directory = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-bus-'));
    writeFileSync(join(directory, 'password'), 'correct-horse\n');
    writeFileSync(join(directory, 'transport-url'), `${rabbitmq.transportUrl}\n`);
  }, 240_000);
  afterAll(async () => {
    await bus?.close();
    await keystone?.close();
    await rabbitmq?.close();
    rmSync(directory, { recursive: true, force: true });
  }, 60_000);

  const sidecars: TestSidecar[] = [];
  afterEach(async () => {
    await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.stop()));
  }, 60_000);

  const start = async (): Promise<TestSidecar> => {
    const busConfig: BusConfig = {
      transportUrl: secretFile(join(directory, 'transport-url')),
      tls: { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined },
      exchange: 'keystone',
      topics: ['notifications'],
      declareExchange: 'never',
      pool: undefined,
    };
    const sidecar = await startSidecar({
      issuers: [keystoneIssuer(keystone.url, join(directory, 'password'), { news: { bus: busConfig, poll: undefined } })],
      journal: await openLevelJournal({ dir: join(directory, 'journal'), clock: systemClock }),
      config: (config: Config): Config => ({
        ...config,
        name: 'edge 1',
        caching: { ...config.caching, settleMs: 200, wideWindowMs: 1_000 },
      }),
    });
    sidecars.push(sidecar);
    return sidecar;
  };
  const deleted = (user: string): string => enveloped(basicMessage('identity.user.deleted', user));
  const ask = async (sidecar: TestSidecar, user: string) => (await sidecar.validate({ token: tokenOf(user) })).response;
  const dead = { active: false, reason: InactiveReason.REVOKED };
  const caughtUp = async (sidecar: TestSidecar): Promise<void> => {
    await vi.waitFor(async () => expect((await sidecar.getStatus()).response?.serving).toBe(true), waiting);
  };

  it(
    'S8 S10 a user who is deleted is dead within what the bus takes, and one who was deleted while the sidecar was away when it is back',
    patience,
    async () => {
      await bus.publish();
      const first = await start();
      await caughtUp(first);
      for (const user of ['aaaaaaaa', 'bbbbbbbb']) expect(await ask(first, user)).toMatchObject({ active: true });
      await bus.publish(deleted('aaaaaaaa'));
      await vi.waitFor(async () => expect(await ask(first, 'aaaaaaaa')).toMatchObject(dead), waiting);
      expect(await ask(first, 'bbbbbbbb')).toMatchObject({ active: true });
      const { dependencies = [] } = (await first.getStatus()).response ?? {};
      expect(dependencies.find(({ name }) => name === 'news/central/bus')).toMatchObject({ reachable: true, problem: '' });
      const queues = await rabbitmq.queues();
      await first.stop();
      sidecars.pop();

      await bus.publish(deleted('bbbbbbbb'));
      const second = await start();
      await caughtUp(second);
      for (const user of ['aaaaaaaa', 'bbbbbbbb']) expect(await ask(second, user)).toMatchObject(dead);
      expect(await ask(second, 'cccccccc')).toMatchObject({ active: true });
      // The same queue, and nothing of it was missed.
      expect(await rabbitmq.queues()).toEqual(queues);
      expect(queues.filter((name) => name.startsWith('sidegate.edge-1.central.'))).toHaveLength(1);
      expect(await second.metrics()).not.toMatch(/^sidegate_news_gaps_total\{[^}]*bus[^}]*\} [1-9]/m);
      const all = await second.everything();
      await second.stop();
      expect(all).not.toContain(rabbitmq.password);
    },
  );

  it('S13 while the bus cannot be had the issuer is degraded, by name, and everything is answered', patience, async () => {
    const sidecar = await start();
    await caughtUp(sidecar);
    expect(await ask(sidecar, 'dddddddd')).toMatchObject({ active: true });
    await rabbitmq.stopApp();
    try {
      await vi.waitFor(async () => {
        const { degradations = [] } = (await sidecar.getStatus()).response ?? {};
        expect(degradations).toMatchObject([{ issuer: 'central', reasons: expect.arrayContaining(['SOURCE_BEHIND(bus)']) }]);
      }, waiting);
      expect(await ask(sidecar, 'dddddddd')).toMatchObject({ active: true });
    } finally {
      await rabbitmq.startApp();
    }
    await bus.publish();
    await vi.waitFor(async () => expect((await sidecar.getStatus()).response?.degradations).toEqual([]), waiting);
  });
});
