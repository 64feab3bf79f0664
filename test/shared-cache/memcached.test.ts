// The shared tier over real memcached: held to the port's contract in clear, with TLS, over three servers and while keys are changed.

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { SharedCache } from '../../src/ports.ts';
import type { MemcachedOptions } from '../../src/shared-cache/memcached.ts';
import { createRing } from '../../src/shared-cache/ring.ts';
import { createPlaces } from '../../src/shared-cache/sealing.ts';
import { sharedCacheConformance } from '../conformance/shared-cache.ts';
import { describeWithMemcached, type Memcached, startMemcached } from '../fakes/memcached.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { tlsPair } from '../fakes/tls-pair.ts';
import { createRunningClock, keyOf, tierOver } from './fixtures.ts';

const life = 60_000;
const pem = (text: string) => ({ read: async () => text });
const trusting = { caFile: pem(tlsPair.cert), certFile: undefined, keyFile: undefined, serverName: undefined };
/** Enough for a machine that does much else; nothing here waits for it but what is frozen on purpose. */
const deadlineMs = 2_000;

function conformance(title: string, count: number, more: Partial<MemcachedOptions> = {}): void {
  describeWithMemcached(title, () => {
    let servers: Memcached[] = [];
    beforeAll(async () => {
      servers = await Promise.all(Array.from({ length: count }, () => startMemcached({ tls: more.tls !== undefined })));
    });
    afterAll(async () => {
      await Promise.all(servers.map((server) => server.close()));
    });
    sharedCacheConformance(title, async () => {
      const clock = createRunningClock();
      const stopped: Memcached[] = [];
      return {
        open: () => tierOver(servers, { deadlineMs, clock, ...more }),
        stepWall: (ms) => clock.stepWall(ms),
        forgetAll: async () => void (await Promise.all(servers.map((server) => server.restart()))),
        stop: async () => {
          stopped.push(...servers);
          await Promise.all(servers.map((server) => server.kill()));
        },
        close: async () => void (await Promise.all(stopped.map((server) => server.restart()))),
      };
    });
  });
}

conformance('memcached in clear', 1);
conformance('memcached with TLS', 1, { tls: trusting });
conformance('three memcached, under two keys', 3, { keys: [keyOf('b'), keyOf('a')] });

describeWithMemcached('a tier whose servers come and go', () => {
  let servers: Memcached[] = [];
  const tiers: SharedCache[] = [];
  const open = (...more: Parameters<typeof tierOver>): SharedCache => {
    const tier = tierOver(...more);
    tiers.push(tier);
    return tier;
  };
  beforeAll(async () => {
    servers = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
  });
  afterEach(async () => {
    await Promise.all(tiers.splice(0).map((tier) => tier.close()));
    for (const server of servers) await server.restart();
  });

  it('what cannot be read in one place and cannot be asked about in another is unreachable: nobody can tell that it is missing', async () => {
    const [alive, dead] = servers.slice(0, 2);
    if (!alive || !dead) throw new Error('two servers are needed');
    const keys = [keyOf('b'), keyOf('a')] as const;
    const ring = createRing([alive, dead].map(({ host, port }) => `${host}:${port}`));
    const names = Array.from({ length: 40 }, (_, n) => `torn ${n}`);
    const placesOf = createPlaces(keys);
    const torn = names.filter((name) => new Set(placesOf(name).map(({ key }) => ring(key))).size === 2);
    for (const { key } of names.flatMap(placesOf)) await alive.command(`set ${key} 0 60 4\r\nnone`);
    await dead.kill();
    const tier = open([alive, dead], { keys });
    const kinds = new Set(await Promise.all(torn.map(async (name) => (await tier.get(name)).kind)));
    await dead.restart();

    expect(torn.length).toBeGreaterThan(5);
    expect([...kinds]).toEqual(['unreachable']);
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.close()));
  });
  const one = (): Memcached => servers[0] as Memcached;

  it('a server that is killed and started again is used again, and what it kept is missing', async () => {
    const tier = open([one()]);
    await tier.set('a', Buffer.from('1'), life);
    await one().kill();
    const during = await Promise.all([tier.get('a'), tier.get('a'), tier.set('a', Buffer.from('2'), life)]);
    await one().restart();

    expect(during).toEqual([{ kind: 'unreachable' }, { kind: 'unreachable' }, false]);
    await expect.poll(async () => (await tier.get('a')).kind, { timeout: 10_000 }).toBe('missing');
    expect(await tier.set('a', Buffer.from('3'), life)).toBe(true);
  });

  it('a server that is frozen holds nobody longer than the deadline, then nobody at all, and is used again when it thaws', async () => {
    const telemetry = createFakeTelemetry();
    const tier = open([one()], { telemetry, deadlineMs: 250 });
    await tier.set('a', Buffer.from('1'), life);
    await one().freeze();
    const startedAtMs = performance.now();
    const kinds = new Set<string>();
    for (let n = 0; n < 30; n++) kinds.add((await tier.get('a')).kind);
    const tookMs = performance.now() - startedAtMs;
    one().thaw();

    expect([...kinds]).toEqual(['unreachable']);
    // One after the other they would be 7,500 ms; three until the breaker opens are 750.
    expect(tookMs).toBeLessThan(4_000);
    expect(telemetry.lines.map(({ level }) => level)).toEqual(['warn']);
    await expect.poll(async () => (await tier.get('a')).kind, { timeout: 10_000 }).toBe('found');
    expect(telemetry.lines.map(({ level }) => level)).toEqual(['warn', 'info']);
  });

  it('a server that is flushed keeps its connection, and nothing else', async () => {
    const tier = open([one()], { deadlineMs });
    await tier.set('a', Buffer.from('1'), life);
    expect(await one().command('flush_all')).toBe('OK');

    expect(await tier.get('a')).toEqual({ kind: 'missing' });
    expect(tier.health()[0]?.health.reachable).toBe(true);
  });

  it('of three servers one is lost: its third is unreachable, the rest is found, and nothing is kept in its place', async () => {
    const tier = open(servers, { deadlineMs, breaker: { failures: 1, retryAfterMs: 60_000 } });
    const names = Array.from({ length: 90 }, (_, n) => `record ${n}`);
    for (const name of names) expect(await tier.set(name, Buffer.from(name), life)).toBe(true);
    await one().kill();
    const first = await Promise.all(names.map((name) => tier.get(name)));
    const lost = names.filter((_, at) => first[at]?.kind === 'unreachable');
    const stored = await Promise.all(lost.map((name) => tier.set(name, Buffer.from('elsewhere'), life)));

    expect(first.filter(({ kind }) => kind === 'found')).toHaveLength(names.length - lost.length);
    expect(lost.length).toBeGreaterThan(10);
    expect(lost.length).toBeLessThan(60);
    expect(new Set(stored)).toEqual(new Set([false]));
    await expect.poll(() => tier.health().map(({ health }) => health.reachable)).toEqual([false, true, true]);
    await one().restart();
    const later = await Promise.all(names.map((name) => open(servers, { deadlineMs }).get(name)));
    expect(later.filter(({ kind }) => kind === 'missing')).toHaveLength(lost.length);
  });

  it('what somebody else wrote under our key is unreadable, until it is replaced', async () => {
    const tier = open([one()], { deadlineMs });
    await tier.set('a', Buffer.from('1'), life);
    const dump = await one().command('lru_crawler metadump all');
    const key = decodeURIComponent(/^key=(\S+)/.exec(dump)?.[1] ?? '');
    await one().command(`set ${key} 0 0 6\r\nforged`);

    expect(key).toMatch(/^sg1:/);
    expect(await tier.get('a')).toEqual({ kind: 'unreadable' });
    expect(await tier.add('a', Buffer.from('2'), life)).toBe('exists');
    expect(await tier.set('a', Buffer.from('3'), life)).toBe(true);
    expect((await tier.get('a')).kind).toBe('found');
  });

  it('another deployment on the same servers sees nothing, and disturbs nothing', async () => {
    const ours = open([one()], { deadlineMs });
    const others = open([one()], { deadlineMs, keys: [keyOf('z')] });
    await ours.set('a', Buffer.from('ours'), life);

    expect(await others.get('a')).toEqual({ kind: 'missing' });
    expect(await others.add('a', Buffer.from('theirs'), life)).toBe('added');
    expect(await others.remove('a')).toBe(true);
    expect((await ours.get('a')).kind).toBe('found');
  });

  it('what was added ends by itself, within three seconds of its end, and not before its time', async () => {
    const tier = open([one()], { deadlineMs });
    const startedAtMs = performance.now();
    expect(await tier.add('lease', Buffer.from('1'), 1_000)).toBe('added');
    expect(await tier.add('lease', Buffer.from('2'), 1_000)).toBe('exists');
    await expect.poll(() => tier.add('lease', Buffer.from('3'), 1_000), { timeout: 10_000, interval: 50 }).toBe('added');

    expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(1_000);
    expect(performance.now() - startedAtMs).toBeLessThan(8_000);
  });

  it('one server that is named twice is one', async () => {
    const tier = open([one(), one()], { deadlineMs });

    expect(await tier.set('a', Buffer.from('1'), life)).toBe(true);
    expect(tier.health()).toHaveLength(1);
  });

  it('nothing of it keeps the process alive', async () => {
    const held = (kind: RegExp): number => process.getActiveResourcesInfo().filter((name) => kind.test(name)).length;
    const tier = open([one()], { deadlineMs: 60_000 });
    await tier.set('a', Buffer.from('1'), life);
    /** What a get that hangs holds. The runner has timers of its own, which may end meanwhile: what is ours is there each time. */
    const heldByGet = async () => {
      const timers = held(/Timeout/);
      await one().freeze();
      await new Promise((resolve) => setImmediate(resolve));
      const got = tier.get('a');
      const during = { sockets: held(/TCP/), timers: held(/Timeout/) - timers };
      one().thaw();
      await got;
      return during;
    };

    await expect.poll(heldByGet, { timeout: 20_000 }).toEqual({ sockets: 0, timers: 0 });
  });
});

describeWithMemcached('TLS', () => {
  let server: Memcached | undefined;
  beforeAll(async () => {
    server = await startMemcached({ tls: true });
  });
  afterAll(() => server?.close());

  it.each([
    ['nobody whom we trust has signed', { caFile: undefined }],
    ['has another name', { serverName: 'memcached.test' }],
  ])('a server whose certificate %s is not used, and the reason is said', async (_, more) => {
    const tier = tierOver(server ? [server] : [], {
      deadlineMs,
      tls: { ...trusting, ...more },
      breaker: { failures: 1, retryAfterMs: 60_000 },
    });

    expect(await tier.set('a', Buffer.from('1'), life)).toBe(false);
    expect(tier.health()[0]?.health).toEqual({ reachable: false, problem: expect.stringMatching(/certificate|altname/i) });
    await tier.close();
  });

  it('the files are read for every connection: what was replaced counts from the next one on', async () => {
    let read = 0;
    const caFile = {
      read: async () => {
        read += 1;
        if (read === 1) throw new Error('the file /ca.pem cannot be read: it is empty');
        return tlsPair.cert;
      },
    };
    const tier = tierOver(server ? [server] : [], { deadlineMs, tls: { ...trusting, caFile } });

    expect(await tier.set('a', Buffer.from('1'), life)).toBe(false);
    expect(await tier.set('a', Buffer.from('1'), life)).toBe(true);
    await tier.close();
  });
});
