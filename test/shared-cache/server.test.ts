// One server and its connection: deadlines, limits, what breaks a connection and what does not, and what is said of it.

import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type Client, createClient } from '../../src/shared-cache/client.ts';
import type { ConnectionLimits } from '../../src/shared-cache/connection.ts';
import type { Dialled } from '../../src/shared-cache/dial.ts';
import { createServer, nameOf, type Server, type ServerOptions } from '../../src/shared-cache/server.ts';
import { answer, goodAnswer, type Hostile, type HostileRequest, startHostile } from '../fakes/memcached-hostile.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { createRunningClock, serverOptions } from './fixtures.ts';

interface Scene {
  readonly hostile: Hostile;
  readonly server: Server;
  readonly client: Client;
  readonly telemetry: ReturnType<typeof createFakeTelemetry>;
}

const toClose: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of toClose.splice(0).reverse()) await one.close();
});

async function scene(
  onRequest: (request: HostileRequest) => void,
  limits: Partial<ConnectionLimits> = {},
  more: Partial<ServerOptions> = {},
  onConnect?: (socket: Socket, connection: number) => void,
): Promise<Scene> {
  const hostile = await startHostile(onRequest, onConnect);
  const telemetry = createFakeTelemetry();
  const server = createServer(hostile, serverOptions(limits, more), { clock: createRunningClock(), telemetry });
  toClose.push(hostile, server);
  return { hostile, server, client: createClient([server]), telemetry };
}

const text = (call: Promise<Uint8Array | undefined>): Promise<string> =>
  call.then(
    (value) => (value === undefined ? 'missing' : Buffer.from(value).toString()),
    (error: Error) => error.message,
  );
const good = (request: HostileRequest): void => void request.socket.write(goodAnswer(request, Buffer.from(request.key)));
const tooLate = 'no answer within the deadline';

describe('one connection', () => {
  it('a slow request runs out alone: its neighbours are answered, on the same connection', async () => {
    const { client, hostile } = await scene(
      (request) => {
        if (request.key !== 'slow') good(request);
      },
      // Long enough for a busy machine to answer in between.
      { deadlineMs: 800 },
    );
    const slow = text(client.get('slow'));
    let neighbours = 0;
    for (let ended = false; !ended; ) {
      expect(await text(client.get('quick'))).toBe('quick');
      neighbours += 1;
      ended = await Promise.race([slow.then(() => true), pause(5, false)]);
    }

    expect(await slow).toBe(tooLate);
    expect(await text(client.get('quick'))).toBe('quick');
    expect(neighbours).toBeGreaterThan(3);
    expect(hostile.connections).toBe(1);
  });

  it('an answer that comes late is passed over, and the next is right', async () => {
    let late: HostileRequest | undefined;
    const { client, hostile } = await scene(
      (request) => {
        if (request.key === 'slow') late = request;
        else good(request);
      },
      { deadlineMs: 800 },
    );
    const slow = text(client.get('slow'));
    while ((await Promise.race([slow, pause(10, '')])) === '') await client.get('quick');
    if (late !== undefined) good(late);

    expect(await text(client.get('quick'))).toBe('quick');
    expect(hostile.connections).toBe(1);
  });

  it('a server that answers everything late is given up like one that is silent', async () => {
    const { client, hostile } = await scene(
      (request) => {
        if (request.key === 'first') good(request);
        else setTimeout(() => good(request), 400);
      },
      { deadlineMs: 100 },
    );
    await text(client.get('first'));
    const answers: string[] = [];
    for (let n = 0; n < 6; n++) answers.push(await text(client.get(`key ${n}`)));

    expect(new Set(answers)).toEqual(new Set([tooLate]));
    expect(hostile.connections).toBeGreaterThan(1);
  });

  it('answers may come in any order', async () => {
    const held: HostileRequest[] = [];
    const { client } = await scene((request) => {
      held.push(request);
      if (held.length === 5) for (const one of held.reverse()) good(one);
    });
    const answers = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((key) => text(client.get(key))));

    expect(answers).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it.each([
    ['an answer to nobody', ({ opcode, opaque }: HostileRequest) => answer({ opcode, opaque: opaque + 1 })],
    ['an answer of another operation', ({ opaque }: HostileRequest) => answer({ opcode: 1, opaque })],
    ['a second answer', (request: HostileRequest) => Buffer.concat([goodAnswer(request), goodAnswer(request)])],
    ['bytes that are no protocol', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ])('%s ends it, and what waits on it fails at once', async (_, bytes) => {
    const { client, hostile } = await scene(
      (request) => {
        if (request.key === 'bad' && request.connection === 1) request.socket.write(bytes(request));
        else if (request.connection > 1) good(request);
      },
      { deadlineMs: 60_000 },
    );
    const neighbour = text(client.get('neighbour'));
    await text(client.get('bad'));

    expect(await neighbour).not.toBe('neighbour');
    expect(await text(client.get('next'))).toBe('next');
    expect(hostile.connections).toBe(2);
  });

  it.each([
    ['connects and says nothing more', 'FIN', (socket: Socket) => void socket.end()],
    ['resets', 'RST', (socket: Socket) => void socket.resetAndDestroy()],
  ])('a server that %s (%s) fails what waits at once', async (_title, _flag, close) => {
    const { client } = await scene(({ socket }) => close(socket), { deadlineMs: 60_000 });
    const answers = await Promise.all(['a', 'b', 'c'].map((key) => text(client.get(key))));

    expect(answers.every((said) => /clos|reset|ECONN/i.test(said))).toBe(true);
  });

  it('one that is closed while nobody waits is no failure', async () => {
    const { client, hostile, server } = await scene(good, {}, { breaker: { failures: 1, retryAfterMs: 60_000 } }, (socket, connection) => {
      if (connection === 1) setTimeout(() => socket.end(), 60);
    });
    await client.get('a');
    await expect.poll(() => hostile.stillOpen()).toBe(0);

    expect(server.health().reachable).toBe(true);
    expect(await text(client.get('b'))).toBe('b');
  });

  it.each([
    { maxInFlight: 4, asked: 3, refused: 0 },
    { maxInFlight: 4, asked: 4, refused: 0 },
    { maxInFlight: 4, asked: 5, refused: 1 },
  ])('of $asked requests with room for $maxInFlight, $refused is refused at once', async ({ maxInFlight, asked, refused }) => {
    const { client, server } = await scene(() => undefined, { maxInFlight, deadlineMs: 60_000 });
    const answers = Array.from({ length: asked }, (_, n) => text(client.get(`key ${n}`)));
    const early = await Promise.all(answers.map((one) => Promise.race([one, pause(50, 'waits')])));
    server.close();

    expect(early.filter((said) => said === 'too many requests in flight')).toHaveLength(refused);
    expect(early.filter((said) => said === 'waits')).toHaveLength(asked - refused);
    expect(new Set(await Promise.all(answers)).has('waits')).toBe(false);
  });

  it.each([
    { over: -1, refused: 0 },
    { over: 0, refused: 0 },
    { over: 1, refused: 1 },
  ])('bytes that wait for a connection are bounded: with $over over the bound, $refused is refused', async ({ over, refused }) => {
    // Header, extras and key of a set.
    const around = 24 + 8 + 1;
    const { client } = await scene(good, { maxQueuedBytes: 2 * (around + 1_000), deadlineMs: 2_000 });
    const set = (key: string, bytes: number) =>
      client.set(key, Buffer.alloc(bytes), 60).then(
        () => 'stored',
        (error: Error) => error.message,
      );
    const answers = await Promise.all([set('a', 1_000), set('b', 1_000 + over)]);

    expect(answers.filter((said) => said === 'too many bytes on their way')).toHaveLength(refused);
    expect(answers.filter((said) => said === 'stored')).toHaveLength(2 - refused);
  });

  it('one that owes too many answers is given up, though it gives others', async () => {
    const { client, hostile } = await scene(
      (request) => {
        if (!request.key.startsWith('never')) good(request);
      },
      { maxOwed: 3, deadlineMs: 300 },
    );
    for (let n = 0; n < 4; n++) {
      const never = text(client.get(`never ${n}`));
      while ((await Promise.race([never, pause(5, '')])) === '') await text(client.get('quick'));
    }

    expect(await text(client.get('quick'))).toBe('quick');
    expect(hostile.connections).toBe(2);
  });

  it('closed, it lets go of its socket, also of one that was still being dialled', async () => {
    const { client, hostile, server } = await scene(() => undefined);
    const asked = text(client.get('a'));
    server.close();

    expect(await asked).toBe('the tier is closed');
    await expect.poll(() => hostile.stillOpen()).toBe(0);
    expect(await text(client.get('b'))).toBe('the tier is closed');
    expect(hostile.connections).toBeLessThan(2);
  });
});

describe('a connection that does not come to stand', () => {
  const never = (): Promise<Dialled> => new Promise(() => undefined);
  const serverDialling = (dial: () => Promise<Dialled>, options: ServerOptions) => {
    const telemetry = createFakeTelemetry();
    const server = createServer({ host: 'x.test', port: 1 }, options, { clock: createRunningClock(), telemetry, dial });
    toClose.push(server);
    return { server, telemetry, client: createClient([server]) };
  };

  it('the first request waits its deadline, the next do not wait at all', async () => {
    const { client } = serverDialling(never, serverOptions({ deadlineMs: 40, connectMs: 60_000 }));

    expect(await text(client.get('a'))).toBe(tooLate);
    expect(await text(client.get('b'))).toBe('still connecting');
  });

  it('a handshake that takes longer than a deadline is not begun again and again', async () => {
    const hostile = await startHostile(good);
    toClose.push(hostile);
    let dialled = 0;
    const { client } = serverDialling(
      async () => {
        dialled += 1;
        await pause(120);
        return { socket: new Socket().connect(hostile.port, hostile.host), ready: 'connect' };
      },
      serverOptions({ deadlineMs: 30 }),
    );

    expect(await text(client.get('a'))).toBe(tooLate);
    await expect.poll(() => text(client.get('b'))).toBe('b');
    expect(dialled).toBe(1);
  });

  it('after its time it is a failure of the server', async () => {
    const { client, server } = serverDialling(
      never,
      serverOptions({ deadlineMs: 20, connectMs: 60 }, { breaker: { failures: 1, retryAfterMs: 60_000 } }),
    );
    await text(client.get('a'));

    await expect.poll(() => server.health()).toEqual({ reachable: false, problem: 'no connection within its time' });
    expect(await text(client.get('b'))).toBe('x.test:1 is out');
  });

  it('a file that cannot be read is a failure of the server, by its own words', async () => {
    const { client, server } = serverDialling(
      () => Promise.reject(new Error('the file /ca.pem cannot be read: there is none')),
      serverOptions({}, { breaker: { failures: 1, retryAfterMs: 60_000 } }),
    );
    await text(client.get('a'));

    expect(server.health().problem).toContain('/ca.pem');
  });
});

describe('what is said of a server', () => {
  it('its going and its coming are a line each, however many requests there were, and the gauge follows', async () => {
    let isDown = true;
    const { client, server, telemetry, hostile } = await scene(
      (request) => (isDown ? request.socket.resetAndDestroy() : good(request)),
      {},
      { breaker: { failures: 2, retryAfterMs: 50 } },
    );
    const name = `${hostile.host}:${hostile.port}`;
    const up = (): number | undefined => telemetry.gaugeValue('sidegate_shared_server_up', { server: name });
    expect([up(), server.health()]).toEqual([1, { reachable: true }]);
    for (let n = 0; n < 20; n++) {
      await text(client.get('a'));
      await pause(10);
    }

    expect(telemetry.lines.map(({ level, fields }) => [level, fields['server']])).toEqual([['warn', name]]);
    expect([up(), server.health().reachable]).toEqual([0, false]);
    isDown = false;
    await expect.poll(() => text(client.get('a'))).toBe('a');
    for (let n = 0; n < 5; n++) await client.get('a');
    expect(telemetry.lines.map(({ level }) => level)).toEqual(['warn', 'info']);
    expect([up(), server.health()]).toEqual([1, { reachable: true, lastAnswerAtMs: expect.any(Number) }]);
  });

  it('while it is out one request in a while goes to it, and no other waits', async () => {
    const { client, hostile } = await scene(() => undefined, { deadlineMs: 30 }, { breaker: { failures: 1, retryAfterMs: 100 } });
    await text(client.get('a'));
    const before = hostile.requests.length;
    await pause(120);
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => text(client.get(`key ${n}`))));

    expect(hostile.requests.length - before).toBe(1);
    expect(answers.filter((said) => said === tooLate)).toHaveLength(1);
    expect(answers.filter((said) => said.endsWith('is out'))).toHaveLength(9);
  });

  it('many requests lost with one connection are one failure', async () => {
    const { client, server } = await scene(
      ({ socket }) => void socket.resetAndDestroy(),
      {},
      { breaker: { failures: 2, retryAfterMs: 60_000 } },
    );
    await Promise.all(Array.from({ length: 20 }, (_, n) => text(client.get(`key ${n}`))));

    expect(server.health().reachable).toBe(true);
  });

  it.each([
    { status: 0x20, counts: true },
    { status: 0x81, counts: true },
    { status: 0x82, counts: false },
    { status: 0x03, counts: false },
  ])('an answer with status $status counts as a failure: $counts', async ({ status, counts }) => {
    const { client, server } = await scene(
      ({ socket, opcode, opaque }) => void socket.write(answer({ opcode, opaque, status })),
      {},
      { breaker: { failures: 1, retryAfterMs: 60_000 } },
    );
    await text(client.get('a'));

    expect(server.health().reachable).toBe(!counts);
  });

  it('every request is measured, by operation, in seconds', async () => {
    const { client, telemetry, hostile } = await scene(good, { deadlineMs: 5_000 });
    await client.get('a');
    await client.set('a', Buffer.from('x'), 60);
    await client.add('a', Buffer.from('x'), 60);
    await client.delete('a');
    const server = `${hostile.host}:${hostile.port}`;
    const counts = ['get', 'set', 'add', 'remove'].map(
      (operation) => telemetry.observed('sidegate_shared_duration_seconds', { server, operation }).filter((s) => s >= 0 && s < 5).length,
    );

    expect(counts).toEqual([1, 1, 1, 1]);
  });

  it.each([
    ['10.0.0.1:11211', { host: '10.0.0.1', port: 11_211 }],
    ['[::1]:11211', { host: '::1', port: 11_211 }],
  ])('its name is %s', (name, address) => {
    expect(nameOf(address)).toBe(name);
  });
});
