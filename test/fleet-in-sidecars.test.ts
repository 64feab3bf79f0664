// Three whole sidecars and a real log: what one is told all do, what a Revoke says of how far it has gone, and what is said while the log is away.

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { secretFile } from '../src/config/secrets.ts';
import type { FleetConfig, IssuerConfig } from '../src/config/types.ts';
import { InactiveReason, Reach } from '../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import type { Journal } from '../src/ports.ts';
import { systemClock } from '../src/sidecar.ts';
import { createHttpAuthority } from './fakes/http-authority.ts';
import { createFakeIssuer } from './fakes/issuer.ts';
import { keystoneIssuer } from './fakes/keystone-issuer.ts';
import { describeWithNats, type Nats, startNats } from './fakes/nats.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from './fakes/rabbitmq.ts';
import { startSidecar, type TestSidecar } from './fakes/sidecar.ts';
import { isoOf } from './news/poll-stage.ts';

const patience = { timeout: 60_000, interval: 20 };
const maxLagMs = 6_000;

/** A server that carries a log. */
interface Server {
  readonly config: FleetConfig;
  stop(): Promise<void>;
  start(): Promise<void>;
}

describeWithRabbitmq('RabbitMQ', () => {
  let rabbitmq: Rabbitmq;
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-fleet-'));
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
    writeFileSync(join(dir, 'transport-url'), rabbitmq.transportUrl);
  }, 240_000);
  afterAll(async () => {
    await rabbitmq?.close();
    rmSync(dir, { recursive: true, force: true });
  }, 60_000);

  const none = { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined };
  fleetOver('a RabbitMQ stream', () => ({
    config: { kind: 'rabbitmq', transportUrl: secretFile(join(dir, 'transport-url')), stream: randomBytes(6).toString('hex'), tls: none },
    stop: () => rabbitmq.stopApp(),
    start: () => rabbitmq.startApp(),
  }));
});

describeWithNats('NATS', () => {
  let nats: Nats;
  beforeAll(async () => {
    nats = await startNats();
  }, 60_000);
  afterAll(() => nats?.close());

  fleetOver('a JetStream stream', () => ({
    config: {
      kind: 'jetstream',
      servers: [{ host: nats.host, port: nats.port }],
      stream: randomBytes(6).toString('hex'),
      replicas: 1,
      credentials: undefined,
      tls: undefined,
    },
    stop: () => nats.kill(),
    start: () => nats.start(),
  }));
});

function fleetOver(name: string, serverOf: () => Server): void {
  describe(`a fleet over ${name}`, () => {
    const sidecars: TestSidecar[] = [];
    const keyDir = mkdtempSync(join(tmpdir(), 'sidegate-fleet-keys-'));
    writeFileSync(join(keyDir, 'one'), randomBytes(32));
    afterEach(async () => {
      await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.stop()));
    }, 60_000);
    afterAll(() => rmSync(keyDir, { recursive: true, force: true }));

    const start = async (
      called: string,
      fleet: FleetConfig,
      journal?: Journal,
      issuers: readonly IssuerConfig[] = [],
    ): Promise<TestSidecar> => {
      const central = createFakeIssuer();
      const issuedAtMs = Math.floor(Date.now() / 1000) * 1000;
      const life = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };
      for (const token of ['t', 'u', 'v']) central.knows(token, { token: { user: { id: `user of ${token}` }, ...life } });
      const sidecar = await startSidecar({
        ...(issuers.length === 0 ? { fakes: [central] } : { issuers }),
        config: (config) => ({ ...config, name: called, deploymentKeyDir: keyDir, fleet, maxLagMs, whenDegraded: 'serve-marked' }),
        journal: journal ?? createMemoryJournal({ clock: systemClock }),
      });
      sidecars.push(sidecar);
      return sidecar;
    };
    const serves = (...those: readonly TestSidecar[]): Promise<void> =>
      expect
        .poll(async () => (await Promise.all(those.map((one) => one.getStatus()))).every(({ response }) => response?.serving), patience)
        .toBe(true);
    const reasonOf = async (sidecar: TestSidecar, token: string): Promise<InactiveReason | undefined> =>
      (await sidecar.validate({ token })).response?.reason;
    const degradedBy = async (sidecar: TestSidecar): Promise<readonly string[] | undefined> =>
      (await sidecar.validate({ token: 'v' })).response?.degradedBy;

    it('what is revoked on one is dead on all, and a Revoke says so; a Validate that names the entry waits for it', async () => {
      const { config } = serverOf();
      const [one, two, three] = await Promise.all([start('one', config), start('two', config), start('three', config)]);
      await serves(one, two, three);
      for (const sidecar of sidecars) expect((await sidecar.validate({ token: 't' })).response?.active).toBe(true);

      const { response } = await one.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.FLEET });
      expect(response).toMatchObject({ reach: Reach.FLEET, laggingSidecars: [] });
      for (const sidecar of sidecars) expect(await reasonOf(sidecar, 't')).toBe(InactiveReason.REVOKED);

      const { response: other } = await two.revoke({ target: { $case: 'token', value: 'u' } });
      expect(other?.reach).toBe(Reach.SIDECAR);
      const asked = { token: 'u', atLeastAsFresh: { $case: 'entryId' as const, value: other?.entryId ?? '' } };
      expect((await three.validate(asked)).response?.reason).toBe(InactiveReason.REVOKED);
      const { fleet } = (await one.getStatus()).response ?? {};
      expect([fleet?.members.toSorted(), fleet?.outboxCount]).toEqual([['three', 'two'], 0n]);
    }, 120_000);

    it('S13 while the log is away all are FLEET_BEHIND; what is revoked works here, waits, and is told when it is back', async () => {
      const server = serverOf();
      const [one, two] = await Promise.all([start('one', server.config), start('two', server.config)]);
      await serves(one, two);
      await server.stop();
      try {
        for (const sidecar of [one, two]) await expect.poll(() => degradedBy(sidecar), patience).toEqual(['FLEET_BEHIND']);
        const { response } = await one.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.SHARED }, { deadlineMs: 3_000 });
        expect(response?.reach).toBe(Reach.SIDECAR);
        expect(await reasonOf(one, 't')).toBe(InactiveReason.REVOKED);
        expect((await one.getStatus()).response?.fleet?.outboxCount).toBeGreaterThan(0n);
        // Readiness never follows it.
        expect((await one.getStatus()).response?.serving).toBe(true);
      } finally {
        await server.start();
      }
      await expect.poll(() => reasonOf(two, 't'), patience).toBe(InactiveReason.REVOKED);
      for (const sidecar of [one, two]) await expect.poll(() => degradedBy(sidecar), patience).toEqual([]);
      // S14: appends that a broker which goes away may or may not have taken are missed by nobody.
      for (const sidecar of [one, two]) expect(await sidecar.metrics()).not.toMatch(/^sidegate_fleet_gaps_total.* [1-9]/m);
    }, 180_000);

    it('who was away has what was told meanwhile before it serves; who drains is waited for by nobody', async () => {
      const { config } = serverOf();
      const journal = createMemoryJournal({ clock: systemClock });
      const [one, two] = await Promise.all([start('one', config), start('two', config, keptOpen(journal))]);
      await serves(one, two);
      two.drain();
      await two.stopped;
      const { response } = await one.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.FLEET });
      expect(response?.reach).toBe(Reach.FLEET);
      const again = await start('two', config, keptOpen(journal));
      await serves(again);
      expect(await reasonOf(again, 't')).toBe(InactiveReason.REVOKED);
    }, 120_000);

    it('S11 one of them polls Keystone for all, another when that one ends, and none misses what is listed', async () => {
      const { config } = serverOf();
      const keystone = await createListingKeystone();
      try {
        const journals = ['one', 'two', 'three'].map(() => createMemoryJournal({ clock: systemClock }));
        const polling = keystoneIssuer(keystone.url, join(keyDir, 'one'), {
          news: { bus: undefined, poll: { everyMs: 500, overlapMs: 60_000, sweepMs: 600_000 } },
        });
        const [one, two, three] = await Promise.all(journals.map((journal, n) => start(`sidecar ${n}`, config, journal, [polling])));
        const all = [one, two, three].filter((it) => it !== undefined);
        await serves(...all);
        const countIn = async (ms: number): Promise<number> => {
          const before = keystone.asked();
          await sleep(ms);
          return keystone.asked() - before;
        };
        await sleep(2_000);
        // Each for itself they would ask at least sixty times.
        const asked = await countIn(10_000);
        expect(asked).toBeGreaterThan(12);
        expect(asked).toBeLessThan(36);
        keystone.revoke('alice');
        await expect.poll(() => journals.map((journal) => journal.count()), patience).toEqual([1, 1, 1]);
        await one?.stop();
        keystone.revoke('bob');
        await expect.poll(() => journals.slice(1).map((journal) => journal.count()), patience).toEqual([2, 2]);
        for (const sidecar of [two, three]) expect((await sidecar?.getStatus())?.response?.degraded).toBe(false);
      } finally {
        await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.stop()));
        await keystone.close();
      }
    }, 120_000);
  });
}

/** The same journal for the next process: in memory it would be gone with the first. */
function keptOpen(journal: Journal): Journal {
  return new Proxy(journal, {
    get(target, name) {
      if (name === 'close') return async () => undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A Keystone that lists revocations, and lets everybody in. */
async function createListingKeystone() {
  const authority = await createHttpAuthority();
  const rows: { readonly revoked_at: string }[] = [];
  let asked = 0;
  authority.script((request) => {
    const now = Date.now();
    if (request.method === 'POST') {
      const token = { issued_at: isoOf(now), expires_at: isoOf(now + 3_600_000), user: { id: 'us' } };
      return { status: 201, headers: { 'x-subject-token': 'ours' }, body: { token } };
    }
    asked += 1;
    const sinceMs = Date.parse(new URL(request.path, authority.url).searchParams.get('since') ?? '');
    const events = rows.filter((row) => Date.parse(row.revoked_at) > sinceMs);
    return { status: 200, headers: { date: new Date(now).toUTCString() }, body: { events } };
  });
  return {
    url: authority.url,
    asked: () => asked,
    revoke: (user: string) =>
      void rows.push(Object.assign({ user_id: user, issued_before: isoOf(Date.now()) }, { revoked_at: isoOf(Date.now()) })),
    close: () => authority.close(),
  };
}
