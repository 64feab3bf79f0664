// Whole sidecars of which some have no broker: they follow one that has a log, by mutual TLS, and are members like the others.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { secretFile } from '../src/config/secrets.ts';
import type { FleetConfig } from '../src/config/types.ts';
import { InactiveReason, Reach } from '../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import type { Journal } from '../src/ports.ts';
import { systemClock } from '../src/sidecar.ts';
import { type CertificateFiles, callerPair, certificateFiles, createCa } from './fakes/certificates.ts';
import { createFakeIssuer } from './fakes/issuer.ts';
import { describeWithNats, type Nats, startNats } from './fakes/nats.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from './fakes/rabbitmq.ts';
import { startSidecar, type TestSidecar, testCallers } from './fakes/sidecar.ts';
import { journalWith } from './rpc/watch-stage.ts';

const patience = { timeout: 60_000, interval: 20 };
const maxLagMs = 6_000;
const follower = 'edge.example.org';

let files: CertificateFiles;
let keyDir: string;
const sidecars: TestSidecar[] = [];
beforeAll(() => {
  const ca = createCa();
  files = certificateFiles(ca);
  const pair = callerPair(ca, ['dns', follower]);
  files.put('edge.crt', pair.cert);
  files.put('edge.key', pair.key);
  keyDir = join(files.directory, 'keys');
  mkdirSync(keyDir);
  writeFileSync(join(keyDir, 'one'), randomBytes(32));
});
afterEach(async () => {
  await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.stop()));
}, 60_000);
afterAll(() => files.remove());

interface Plan {
  readonly journal?: Journal;
  /** Where a log of its own is. */
  readonly dir?: string;
  /** Of its remote listener. */
  readonly port?: number;
}

async function start(called: string, fleet: FleetConfig, { journal, dir, port = 0 }: Plan = {}): Promise<TestSidecar> {
  const central = createFakeIssuer();
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000;
  const life = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };
  for (const token of ['t', 'u', 'v']) central.knows(token, { token: { user: { id: `user of ${token}` }, ...life } });
  const remote = { ...files.remote, address: { host: '127.0.0.1', port } };
  const sidecar = await startSidecar({
    fakes: [central],
    callers: [...testCallers, { who: { kind: 'certificate-name', name: follower }, may: ['fleet'] }],
    config: (config) => ({
      ...config,
      name: called,
      deploymentKeyDir: keyDir,
      fleet,
      maxLagMs,
      whenDegraded: 'serve-marked',
      journal: { dir },
      listen: { ...config.listen, remote },
    }),
    journal: journal ?? createMemoryJournal({ clock: systemClock }),
  });
  sidecars.push(sidecar);
  return sidecar;
}

const portOf = ({ remote }: TestSidecar): number => Number(remote?.split(':').at(-1));
function following(port: number): FleetConfig {
  const file = (name: string): ReturnType<typeof secretFile> => secretFile(join(files.directory, name));
  const tls = { caFile: file('ca.crt'), certFile: file('edge.crt'), keyFile: file('edge.key'), serverName: undefined };
  return { kind: 'follow', address: { host: '127.0.0.1', port }, tls };
}
const serves = (...those: readonly TestSidecar[]): Promise<void> =>
  expect
    .poll(async () => (await Promise.all(those.map((one) => one.getStatus()))).every(({ response }) => response?.serving), patience)
    .toBe(true);
const reasonOf = async (sidecar: TestSidecar, token: string): Promise<InactiveReason | undefined> =>
  (await sidecar.validate({ token })).response?.reason;
const degradedBy = async (sidecar: TestSidecar): Promise<readonly string[] | undefined> =>
  (await sidecar.validate({ token: 'v' })).response?.degradedBy;
const membersOf = async (sidecar: TestSidecar): Promise<readonly string[]> =>
  ((await sidecar.getStatus()).response?.fleet?.members ?? []).toSorted();

describe('a fleet without a broker', () => {
  const dirs: string[] = [];
  const directory = (): string => {
    const dir = mkdtempSync(join(tmpdir(), 'sidegate-local-'));
    dirs.push(dir);
    return dir;
  };
  afterAll(() => {
    for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
  });

  it('what is revoked at an edge of an edge is dead everywhere, and a Revoke says so', async () => {
    const hub = await start('hub', { kind: 'local' }, { dir: directory() });
    const [one, two] = await Promise.all([start('one', following(portOf(hub))), start('two', following(portOf(hub)))]);
    const leaf = await start('leaf', following(portOf(one)));
    await serves(hub, one, two, leaf);
    for (const sidecar of sidecars) {
      await expect.poll(() => degradedBy(sidecar), patience).toEqual([]);
      expect((await sidecar.validate({ token: 't' })).response?.active).toBe(true);
    }
    await expect.poll(() => membersOf(hub), patience).toEqual(['leaf', 'one', 'two']);
    await expect.poll(() => membersOf(leaf), patience).toEqual(['hub', 'one', 'two']);

    const { response } = await leaf.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.FLEET });
    expect(response).toMatchObject({ reach: Reach.FLEET, laggingSidecars: [] });
    for (const sidecar of sidecars) expect(await reasonOf(sidecar, 't')).toBe(InactiveReason.REVOKED);

    const told = (await hub.revoke({ target: { $case: 'token', value: 'u' } })).response;
    const atLeastAsFresh = { $case: 'entryId' as const, value: told?.entryId ?? '' };
    expect((await leaf.validate({ token: 'u', atLeastAsFresh })).response?.reason).toBe(InactiveReason.REVOKED);
  }, 120_000);

  it('while the upstream is away its followers are FLEET_BEHIND; when it is back nothing was missed, and its log is the same', async () => {
    const dir = directory();
    const whole = createMemoryJournal({ clock: systemClock });
    // The same journal for the next process: in memory it would be gone with the first.
    const journal = journalWith(whole, { close: async () => undefined });
    const hub = await start('hub', { kind: 'local' }, { dir, journal });
    const port = portOf(hub);
    const [one, two] = await Promise.all([start('one', following(port)), start('two', following(port))]);
    await serves(hub, one, two);
    await expect.poll(() => membersOf(two), patience).toEqual(['hub', 'one']);
    sidecars.splice(sidecars.indexOf(hub), 1);
    await hub.stop();

    for (const edge of [one, two]) await expect.poll(() => degradedBy(edge), patience).toEqual(['FLEET_BEHIND']);
    const { response } = await one.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.SHARED }, { deadlineMs: 1_000 });
    expect(response?.reach).toBe(Reach.SIDECAR);
    expect(await reasonOf(two, 't')).toBe(InactiveReason.UNSPECIFIED);

    const again = await start('hub', { kind: 'local' }, { dir, journal, port });
    for (const sidecar of [again, two]) await expect.poll(() => reasonOf(sidecar, 't'), patience).toBe(InactiveReason.REVOKED);
    for (const sidecar of [again, one, two]) {
      await expect.poll(() => degradedBy(sidecar), patience).toEqual([]);
      expect(await sidecar.metrics()).not.toMatch(/^sidegate_fleet_gaps_total.* [1-9]/m);
    }
  }, 180_000);

  it('an upstream that comes back without its log, and with a new journal, is told again what its followers have', async () => {
    const hub = await start('hub', { kind: 'local' }, { dir: directory() });
    const port = portOf(hub);
    const one = await start('one', following(port));
    await serves(hub, one);
    await expect.poll(() => degradedBy(one), patience).toEqual([]);
    const { response } = await hub.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.FLEET });
    expect(response?.reach).toBe(Reach.FLEET);
    // Its place in the log is noted each second.
    await expect.poll(() => membersOf(one), patience).toEqual(['hub']);
    sidecars.splice(sidecars.indexOf(hub), 1);
    await hub.stop();

    const again = await start('hub', { kind: 'local' }, { dir: directory(), port });
    await expect.poll(() => reasonOf(again, 't'), patience).toBe(InactiveReason.REVOKED);
    expect(await one.metrics()).toMatch(/^sidegate_fleet_gaps_total\{.*how="anew".*\} 1$/m);
  }, 180_000);

  it('two that follow each other have no log, and say so in few words however long it goes on', async () => {
    const one = await start('one', following(1));
    const two = await start('two', following(portOf(one)));
    sidecars.splice(sidecars.indexOf(one), 1);
    await one.stop();
    const again = await start('one', following(portOf(two)), { port: portOf(one) });
    const said = async (sidecar: TestSidecar): Promise<string | undefined> =>
      (await sidecar.getStatus()).response?.dependencies.find(({ name }) => name === 'fleet/follow')?.problem;
    const words = /^the sidecar at 127\.0\.0\.1:\d+ is away: the log of its fleet is away$/;
    for (const sidecar of [two, again]) await expect.poll(() => said(sidecar), patience).toMatch(words);
    for (const sidecar of [two, again]) expect(await degradedBy(sidecar)).toEqual(['FLEET_BEHIND']);
  }, 180_000);
});

describeWithNats('JetStream', () => {
  let nats: Nats;
  beforeAll(async () => {
    nats = await startNats();
  }, 60_000);
  afterAll(() => nats?.close());

  edgeOf('NATS', () => {
    const servers = [{ host: nats.host, port: nats.port }];
    return { kind: 'jetstream', servers, stream: 'tree', replicas: 1, credentials: undefined, tls: undefined };
  });
});

describeWithRabbitmq('RabbitMQ', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  edgeOf('RabbitMQ', () => {
    const transportUrl = secretFile(files.put('transport-url', rabbitmq.transportUrl));
    const tls = { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined };
    return { kind: 'rabbitmq', transportUrl, stream: 'tree', tls };
  });
});

/** Of the fleet that `config` gives two sidecars. */
function edgeOf(broker: string, config: () => FleetConfig): void {
  it(`an edge without an account at ${broker} follows a member, and is one`, async () => {
    const [one, two] = await Promise.all([start('one', config()), start('two', config())]);
    const edge = await start('edge', following(portOf(one)));
    await serves(one, two, edge);
    await expect.poll(() => degradedBy(edge), patience).toEqual([]);
    await expect.poll(() => membersOf(edge), patience).toEqual(['one', 'two']);
    const { response } = await edge.revoke({ target: { $case: 'token', value: 't' }, waitFor: Reach.FLEET });
    expect(response).toMatchObject({ reach: Reach.FLEET, laggingSidecars: [] });
    expect(await reasonOf(two, 't')).toBe(InactiveReason.REVOKED);
    await two.revoke({ target: { $case: 'token', value: 'u' } });
    await expect.poll(() => reasonOf(edge, 'u'), patience).toBe(InactiveReason.REVOKED);
  }, 120_000);
}
