// Three sidecars, each a process, that share one queue of a real RabbitMQ, which carries their log too: what Keystone says is known to all.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { newKeyDir, type SidecarProcess, sidecarProcess } from '../bench/servers/sidecar-process.ts';
import { builtPackage } from './cli/program.ts';
import { createHttpAuthority, type HttpAuthority, type ReceivedRequest, type ScriptedAnswer } from './fakes/http-authority.ts';
import { basicMessage, enveloped } from './fakes/keystone-messages.ts';
import { createKeystonePublisher, type KeystonePublisher } from './fakes/keystone-publisher.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from './fakes/rabbitmq.ts';

const patience = { timeout: 300_000 };
const waiting = { timeout: 120_000, interval: 100 };
const maxLagMs = 6_000;

/** By its look a UUID token, with the eight digits of its user in it. */
const tokenOf = (user: string): string => user + '0'.repeat(24);
const userOf = (n: number): string => n.toString(16).padStart(8, '0');

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

describeWithRabbitmq('a pool of sidecars', () => {
  let rabbitmq: Rabbitmq;
  let keystone: HttpAuthority;
  let bus: KeystonePublisher;
  let sidecars: readonly SidecarProcess[] = [];
  const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-pool-'));
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
    keystone = await createHttpAuthority();
    keystone.script(answerAs);
    bus = createKeystonePublisher(rabbitmq);
    await bus.publish();
    const file = join(dir, 'transport-url');
    writeFileSync(file, rabbitmq.transportUrl);
    const keyDir = newKeyDir(dir, 'keys');
    sidecars = ['red', 'green', 'blue'].map((name) => {
      mkdirSync(join(dir, name));
      return sidecarProcess({
        name,
        cli: join(builtPackage(), 'dist', 'cli.js'),
        dir: join(dir, name),
        keyDir,
        keystoneUrl: `${keystone.url}/v3`,
        password: 'correct-horse',
        servers: [],
        caching: '  settle: 200ms\n  wide_window: 1s',
        calls: '{ deadline: 5s }',
        accepts: '[uuid]',
        news: `{ bus: { transport_url_file: ${file}, pool: region } }`,
        tellsKeystone: false,
        hasOperations: true,
        settings: `max_lag: ${maxLagMs}ms\nwhen_degraded: serve_marked\nfleet: { engine: rabbitmq, rabbitmq: { transport_url_file: ${file} } }`,
      });
    });
    await Promise.all(sidecars.map((one) => one.start()));
  }, 300_000);
  afterAll(async () => {
    for (const { pid } of sidecars) if (pid !== 0) process.kill(pid, 'SIGCONT');
    await Promise.all(sidecars.map((one) => one.end('SIGKILL')));
    await bus?.close();
    await keystone?.close();
    await rabbitmq?.close();
    rmSync(dir, { recursive: true, force: true });
  }, 60_000);

  let users = 0;
  const deleted = async (count: number): Promise<readonly string[]> => {
    const ids = Array.from({ length: count }, () => {
      users += 1;
      return userOf(users);
    });
    await bus.publish(...ids.map((id) => enveloped(basicMessage('identity.user.deleted', id))));
    return ids;
  };
  const metric = async ({ operations }: SidecarProcess, name: string): Promise<number> => {
    const lines = (await (await fetch(`http://${operations}/metrics`)).text()).split('\n').filter((line) => line.startsWith(`${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  const there = (): readonly SidecarProcess[] => sidecars.filter(({ isServing }) => isServing);
  const readersOf = async (those = there()): Promise<readonly SidecarProcess[]> => {
    const reads = await Promise.all(those.map((one) => metric(one, 'sidegate_news_pool_reader')));
    return those.filter((_, at) => reads[at] === 1);
  };
  const areDead = async (ids: readonly string[], those = there()): Promise<void> => {
    await vi.waitFor(async () => {
      for (const one of those) {
        for (const id of ids) expect((await one.client.validate(tokenOf(id))).active, `${id} on ${one.name}`).toBe(false);
      }
    }, waiting);
  };
  const degradedOn = async (one: SidecarProcess): Promise<readonly string[]> => (await one.client.validate(tokenOf('ffffffff'))).degradedBy;
  const areWell = async (those = there()): Promise<void> => {
    await vi.waitFor(async () => {
      for (const one of those) expect(await degradedOn(one), one.name).toEqual([]);
    }, waiting);
  };
  const gaps = async (): Promise<number> => {
    const each = await Promise.all(there().map((one) => metric(one, 'sidegate_news_gaps_total')));
    return each.reduce((sum, one) => sum + one, 0);
  };

  it('S10 S13 has one that reads; killed or stopped, the next one goes on, and nothing is missed nor hidden', patience, async () => {
    await areWell();
    const [first, more] = await readersOf();
    if (first === undefined) return expect.unreachable();
    expect(more).toBeUndefined();
    // A queue that was made anew.
    expect(await gaps()).toBe(1);
    await areDead(await deleted(20));

    const whileKilled = deleted(50);
    await first.end('SIGKILL');
    await areDead(await whileKilled);
    await areWell();
    await first.start();
    await areDead(await deleted(5));
    await areWell();
    expect(await gaps()).toBeLessThanOrEqual(1);

    const [second] = await readersOf();
    if (second === undefined) return expect.unreachable();
    const others = there().filter((one) => one !== second);
    const before = await gaps();
    process.kill(second.pid, 'SIGSTOP');
    const meanwhile = await deleted(20);
    // Two heartbeats of 5 s, and the next one.
    await vi.waitFor(async () => expect(await readersOf(others)).toHaveLength(1), waiting);
    await areDead(meanwhile, others);
    await areWell(others);
    process.kill(second.pid, 'SIGCONT');
    const answer = await second.client.validate(tokenOf('ffffffff'));
    // It has been away for longer than it may be: it says so with its first answer.
    expect(answer.degradedBy).toContain('FLEET_BEHIND');
    await areDead(meanwhile, [second]);
    await areWell();
    expect(await readersOf()).toHaveLength(1);
    expect(await gaps()).toBe(before);
  });
});
