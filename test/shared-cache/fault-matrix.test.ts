// Every fault that memjs was found to have, as it ships and with our servers: the same scenario, run against both.

import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'memjs';
import { afterEach, describe, expect, it } from 'vitest';
import type { MemcachedOptions } from '../../src/shared-cache/memcached.ts';
import { createRing } from '../../src/shared-cache/ring.ts';
import { type Memcached, startMemcached, whyNoMemcached } from '../fakes/memcached.ts';
import { answer, type Hostile, startHostile, startHostileStore } from '../fakes/memcached-hostile.ts';
import { tlsPair } from '../fakes/tls-pair.ts';
import { tierOver } from './fixtures.ts';

/** What a scenario does with either of the two. Both reject where there is no good answer. */
interface Subject {
  get(name: string): Promise<string | undefined>;
  /** Whether it says that it stored it. */
  set(name: string, value: string, lifeMs?: number): Promise<boolean>;
  close(): void;
}

/** What memjs has beyond what we use. */
interface StockServer {
  readonly responseBuffer: Buffer;
  readonly connected: boolean;
}
interface StockClient extends Client {
  readonly servers: readonly StockServer[];
}
type Address = { readonly host: string; readonly port: number };

const quick = { timeout: 0.05, conntimeout: 0.05 };
const quiet = { logger: { log: () => undefined } };

function stockClient(servers: readonly Address[], options: object = quick): StockClient {
  const { create } = Client as unknown as { create(servers: string, options: object): StockClient };
  return create(servers.map(({ host, port }) => `${host}:${port}`).join(), { ...quiet, ...options });
}

function stock(servers: readonly Address[], options: object = quick): Subject {
  const client = stockClient(servers, options);
  return closing({
    get: async (name) => (await client.get(name)).value?.toString(),
    set: (name, value, lifeMs = 60_000) => client.set(name, Buffer.from(value), { expires: lifeMs / 1_000 }),
    close: () => client.close(),
  });
}

function ours(servers: readonly Address[], options: Partial<MemcachedOptions> = {}): Subject {
  const cache = tierOver(servers, { deadlineMs: 200, breaker: { failures: 1_000, retryAfterMs: 1_000 }, ...options });
  return closing({
    async get(name) {
      const found = await cache.get(name);
      if (found.kind === 'found') return Buffer.from(found.value).toString();
      if (found.kind === 'missing') return undefined;
      throw new Error(found.kind);
    },
    set: (name, value, lifeMs = 60_000) => cache.set(name, Buffer.from(value), lifeMs),
    close: () => void cache.close(),
  });
}

/** How a question ended, or that it had not after `waitMs`. */
async function said(question: Promise<unknown>, waitMs = 1_000): Promise<string> {
  const timer = new AbortController();
  const outcome = question.then(String, (error: unknown) =>
    error instanceof Error && error.message === 'unreadable' ? 'unreadable' : 'failed',
  );
  const result = await Promise.race([outcome, pause(waitMs, 'pending', { signal: timer.signal }).catch(() => 'aborted')]);
  timer.abort();
  return result;
}

const toClose: { close(): unknown }[] = [];
function closing<Closable extends { close(): unknown }>(one: Closable): Closable {
  toClose.push(one);
  return one;
}
afterEach(async () => {
  for (const one of toClose.splice(0).reverse()) await one.close();
});

/** Runs `scenario` against memjs as it ships, then against ours, each with a server of its own. */
async function both<Outcome>(
  start: () => Promise<Hostile>,
  scenario: (subject: Subject, server: Hostile) => Promise<Outcome>,
  options: { readonly stock?: object; readonly ours?: Partial<MemcachedOptions> } = {},
): Promise<{ stock: Outcome; ours: Outcome }> {
  const one = closing(await start());
  const withStock = await scenario(stock([one], options.stock), one);
  const other = closing(await start());
  return { stock: withStock, ours: await scenario(ours([other], options.ours), other) };
}

describe('memjs as it ships, and with our servers', () => {
  it('B: the server closes with a request in flight: never an answer, against an error at once and the next one good', async () => {
    const start = () =>
      startHostileStore(({ socket, opcode, connection }) => {
        const closes = opcode === 0 && connection === 1;
        if (closes) socket.end();
        return closes;
      });
    const outcome = await both(
      start,
      async (subject) => {
        await subject.set('a', '1');
        return [await said(subject.get('a')), await said(subject.get('a'), 500)];
      },
      // Not the deadline, but the end of the connection is what we answer to.
      { ours: { deadlineMs: 60_000 } },
    );

    expect(outcome.stock[0]).toBe('pending');
    expect(outcome.ours).toEqual(['failed', '1']);
  });

  it('C: a server that hangs: half-open sockets pile up, against none', async () => {
    const outcome = await both(
      () => startHostile(() => undefined),
      async (subject, server) => {
        for (let n = 0; n < 4; n++) await said(subject.get(`key ${n}`));
        return server.stillOpen();
      },
    );

    expect(outcome.stock).toBeGreaterThanOrEqual(4);
    expect(outcome.ours).toBe(0);
  });

  it('D: half a reply, then silence: every later call fails, against that one', async () => {
    const start = () =>
      startHostileStore(({ opcode, socket, connection }, right) => {
        const stalls = opcode === 0 && connection === 1;
        if (stalls) socket.write(right.subarray(0, right.length / 2));
        return stalls;
      });
    const outcome = await both(start, async (subject) => {
      await subject.set('large', 'x'.repeat(50_000));
      await subject.set('small', '1');
      await said(subject.get('large'));
      return [await said(subject.get('small')), await said(subject.get('small')), await said(subject.get('small'))];
    });

    expect(outcome.stock).toEqual(['failed', 'failed', 'failed']);
    expect(outcome.ours).toEqual(['1', '1', '1']);
  });

  it('E: bytes that come late, on a connection that was given up: later calls fail, against none', async () => {
    const start = () => {
      let late: (() => void) | undefined;
      return startHostileStore(({ opcode, socket, connection }, right) => {
        if (opcode !== 0) return false;
        if (connection === 1) {
          late = () => socket.write(right.subarray(0, right.length - 10));
          return true;
        }
        late?.();
        late = undefined;
        // After what was late, as the network may well bring it.
        setTimeout(() => socket.write(right), 20);
        return true;
      });
    };
    const outcome = await both(start, async (subject) => {
      await subject.set('large', 'x'.repeat(5_000));
      await subject.set('small', '1');
      await said(subject.get('large'));
      return [await said(subject.get('small')), await said(subject.get('small')), await said(subject.get('small'))];
    });

    expect(outcome.stock.filter((text) => text !== '1').length).toBeGreaterThan(0);
    expect(outcome.ours).toEqual(['1', '1', '1']);
  });

  it('F: a length that cannot be: the buffer grows with all that comes, against an end at the header', async () => {
    const start = () =>
      startHostile(({ socket, opaque, opcode }) => {
        socket.write(answer({ opaque, opcode, bodyLength: 0xffffffff }));
        socket.write(Buffer.alloc(2 * 1024 ** 2));
      });
    const one = closing(await start());
    const client = closing(stockClient([one], { timeout: 0.5, retries: 1 }));
    const asked = said(client.get('a'));
    await expect.poll(() => client.servers[0]?.responseBuffer.length, { timeout: 2_000 }).toBeGreaterThan(2 * 1024 ** 2);
    await asked;
    const other = closing(await start());

    expect(await said(ours([other], { deadlineMs: 60_000 }).get('a'))).toBe('failed');
    await expect.poll(() => other.stillOpen()).toBe(0);
  });

  it('F: an answer of another protocol is taken for one, against refused', async () => {
    const start = () =>
      startHostileStore(({ opcode, socket }, right) => {
        right[0] = 0x42;
        if (opcode === 0) socket.write(right);
        return opcode === 0;
      });
    const outcome = await both(start, async (subject) => {
      await subject.set('a', '1');
      return said(subject.get('a'));
    });

    expect(outcome).toEqual({ stock: '1', ours: 'failed' });
  });

  it('a server that is away: two connections for every call for ever, against as many as the breaker allows', async () => {
    const outcome = await both(
      () =>
        startHostile(
          () => undefined,
          (socket) => void socket.resetAndDestroy(),
        ),
      async (subject, server) => {
        for (let n = 0; n < 5; n++) await said(subject.get('a'));
        return server.connections;
      },
      { ours: { breaker: { failures: 3, retryAfterMs: 60_000 } } },
    );

    expect(outcome).toEqual({ stock: 10, ours: 3 });
  });

  it('a server that hangs under a steady flow: no error as long as it flows, against one for each', async () => {
    const outcome = await both(
      () => startHostile(() => undefined),
      async (subject) => {
        let settled = 0;
        for (let n = 0; n < 40; n++) {
          void said(subject.get(`key ${n}`), 10_000).then(() => {
            settled += 1;
          });
          await pause(20);
        }
        return settled;
      },
      { stock: { timeout: 0.1 } },
    );

    expect(outcome.stock).toBe(0);
    expect(outcome.ours).toBeGreaterThan(20);
  });

  it('a server that hangs, one call: a second and more with the settings as they come, against the deadline', async () => {
    const outcome = await both(
      () => startHostile(() => undefined),
      (subject) => said(subject.get('a'), 1_000),
      { stock: {} },
    );

    expect(outcome).toEqual({ stock: 'pending', ours: 'failed' });
  });

  it('a reply that is cut, and the next connection: a wrong value as a success, against none', async () => {
    const start = () =>
      startHostileStore(({ opcode, socket, connection }, right) => {
        const cuts = opcode === 0 && connection === 1;
        if (cuts) socket.end(right.subarray(0, 60));
        return cuts;
      });
    const outcome = await both(start, async (subject) => {
      await subject.set('a', 'a'.repeat(100));
      await subject.set('b', 'b'.repeat(100));
      await subject.set('c', 'c'.repeat(100));
      const first = subject.get('a');
      await said(first, 200);
      const others = [said(subject.get('b'), 300), said(subject.get('c'), 300)];
      return [await said(first, 300), ...(await Promise.all(others))];
    });

    expect(outcome.stock[0]).toMatch(/^a+[^a]/);
    expect(outcome.ours).toEqual(['failed', 'b'.repeat(100), 'c'.repeat(100)]);
  });

  it("another key's value in the answer, the transport being fooled: a success, against unreadable", async () => {
    const start = () => {
      let first: Buffer | undefined;
      return startHostileStore(({ opcode, opaque, socket }, right) => {
        if (opcode !== 0) return false;
        first ??= right;
        const swapped = Buffer.from(first);
        swapped.writeUInt32BE(opaque, 12);
        socket.write(swapped);
        return true;
      });
    };
    const outcome = await both(start, async (subject) => {
      await subject.set('a', 'of a');
      await subject.set('b', 'of b');
      return [await said(subject.get('a')), await said(subject.get('b'))];
    });

    expect(outcome).toEqual({ stock: ['of a', 'of a'], ours: ['of a', 'unreadable'] });
  });

  it('a server that is lost and returns: its old value although a new one was said to be stored, against said not to be', async () => {
    const run = async (subjectOf: (servers: readonly Address[]) => Subject): Promise<string[]> => {
      let lost: number | undefined;
      const servers = await Promise.all(
        [0, 1, 2].map(async (at) => {
          const loses = (socket: Socket): boolean => lost === at && socket.resetAndDestroy() === socket;
          return closing(await startHostileStore(({ socket }) => loses(socket), loses));
        }),
      );
      const subject = subjectOf(servers);
      await subject.set('a', 'old');
      lost = servers.findIndex(({ requests }) => requests.length > 0);
      const stored = await said(subject.set('a', 'new'));
      lost = undefined;
      await pause(250);
      return [stored, await said(subject.get('a'))];
    };

    expect(await run((servers) => stock(servers, { ...quick, failover: true, failoverTime: 0.2 }))).toEqual(['true', 'old']);
    expect(await run(ours)).toEqual(['false', 'old']);
  });

  it('a fourth server: three quarters of the keys move, against a quarter', () => {
    const servers = Array.from({ length: 4 }, (_, n) => ({ host: `10.0.0.${n}`, port: 11_211 }));
    const names = servers.map(({ host, port }) => `${host}:${port}`);
    const keys = Array.from({ length: 5_000 }, (_, n) => `sg1:${n * 7_919}`);
    const moved = (before: (key: string) => number, after: (key: string) => number): number =>
      keys.filter((key) => before(key) !== after(key)).length / keys.length;
    const [three, four] = [stockClient(servers.slice(0, 3)), stockClient(servers)];

    expect(
      moved(
        (key) => three.getServer(key),
        (key) => four.getServer(key),
      ),
    ).toBeGreaterThan(0.7);
    expect(moved(createRing(names.slice(0, 3)), createRing(names))).toBeLessThan(0.35);
  });
});

describe.skipIf(whyNoMemcached)(`the same over a real memcached${whyNoMemcached ? ` (skipped: ${whyNoMemcached})` : ''}`, () => {
  const starting = async (options?: { readonly tls: boolean }): Promise<Memcached> => closing(await startMemcached(options));

  it('A: after 2^31 requests every call throws', async () => {
    const client = closing(stockClient([await starting()]));
    client.seq = 2 ** 31 - 2;
    const before = await said(client.get('a').then(({ value }) => value));

    // That ours goes on, also past 2^32: client.test.ts.
    expect(before).toBe('null');
    expect([await said(client.get('a')), await said(client.get('a'))]).toEqual(['failed', 'failed']);
    await expect(client.get('a')).rejects.toThrow(RangeError);
  });

  it('a name of 251 bytes: refused, and the connection with it, against any name', async () => {
    const server = await starting();
    const client = closing(stockClient([server], {}));
    await client.set('short', Buffer.from('1'), { expires: 60 });
    const refused = await said(client.set('n'.repeat(251), Buffer.from('2'), { expires: 60 }));
    const subject = ours([server], { deadlineMs: 2_000 });

    expect(refused).toBe('failed');
    // What was in flight beside it is lost as in B.
    await expect.poll(() => client.servers[0]?.connected).toBe(false);
    expect(await said(subject.set('n'.repeat(251), '2'))).toBe('true');
    expect(await said(subject.get('n'.repeat(251)))).toBe('2');
  });

  it.each([
    ['more than 30 days is gone at once, against kept', 31 * 86_400_000, ['true', 'undefined'], ['true', '1']],
    ['no number is for ever, against not stored', Number.NaN, ['true', '1'], ['false', 'undefined']],
    ['less than nothing throws, against not stored', -1_000, ['failed', 'undefined'], ['false', 'undefined']],
  ])('a life of %s', async (_, lifeMs, withStock, withOurs) => {
    const server = await starting();
    const run = async (subject: Subject): Promise<string[]> => [await said(subject.set('a', '1', lifeMs)), await said(subject.get('a'))];

    expect(await run(stock([server], {}))).toEqual(withStock);
    expect(await run(ours([server], { deadlineMs: 2_000 }))).toEqual(withOurs);
  });

  it('TLS: none, against an answer', async () => {
    const server = await starting({ tls: true });
    const run = async (subject: Subject): Promise<string[]> => [await said(subject.set('a', '1')), await said(subject.get('a'))];
    const tls = { caFile: { read: async () => tlsPair.cert }, certFile: undefined, keyFile: undefined, serverName: undefined };

    expect((await run(stock([server], { timeout: 0.2 }))).filter((text) => text === 'true' || text === '1')).toEqual([]);
    expect(await run(ours([server], { tls, deadlineMs: 2_000 }))).toEqual(['true', '1']);
  });
});
