// The operations listener over real sockets: health, metrics, limits, and how it stops.

import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type Operations, type OperationsOptions, operationsLimits, startOperations } from '../../src/rpc/operations.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Rig {
  readonly operations: Operations;
  readonly stop: AbortController;
  readonly url: string;
}

async function start(options: Partial<OperationsOptions> = {}): Promise<Rig> {
  const stop = new AbortController();
  const defaults = {
    address: '127.0.0.1:0',
    metrics: async () => 'a 1\n',
    live: () => true,
    ready: () => true,
    log: createFakeTelemetry().log,
  };
  const operations = await startOperations({ ...defaults, ...options }, stop.signal);
  ends.push(async () => {
    stop.abort();
    await operations.closed;
  });
  return { operations, stop, url: `http://127.0.0.1:${operations.port}` };
}

// Promise.withResolvers, which Node 20 does not have.
function withResolvers<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

async function open({ operations }: Rig): Promise<Socket> {
  const socket = connect(operations.port, '127.0.0.1');
  // A server may reset a connection that it has not read to the end.
  socket.on('error', () => undefined);
  ends.push(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  if (!socket.closed) await once(socket, 'close');
  return text;
}

describe('operations', () => {
  it('GET /metrics is the text of Prometheus 0.0.4', async () => {
    const { url } = await start();

    const response = await fetch(`${url}/metrics?x=1`);

    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.text()).toBe('a 1\n');
  });

  it('/healthz and /readyz follow what they are asked for, at each request', async () => {
    let live = true;
    let ready = false;
    const { url } = await start({ live: () => live, ready: () => ready });
    const ask = async (path: string): Promise<[number, string]> => {
      const response = await fetch(url + path);
      return [response.status, await response.text()];
    };

    expect(await ask('/healthz')).toEqual([200, 'ok\n']);
    expect(await ask('/readyz')).toEqual([503, 'not serving\n']);
    live = false;
    ready = true;
    expect(await ask('/healthz')).toEqual([503, 'not ok\n']);
    expect(await ask('/readyz')).toEqual([200, 'serving\n']);
  });

  it.each(['/metrics', '/healthz', '/readyz'])('HEAD %s has the headers of GET and no body', async (path) => {
    const { url } = await start();

    const [head, get] = [await fetch(url + path, { method: 'HEAD' }), await fetch(url + path)];

    expect(head.status).toBe(200);
    expect(head.headers.get('content-length')).toBe(get.headers.get('content-length'));
    expect(await head.text()).toBe('');
  });

  it.each(['/', '/metrics/', '/metrics/x', '//metrics', '/METRICS', '/healthz%00', '/constructor', '/../etc/passwd'])(
    '%s is not found',
    async (path) => {
      const rig = await start();
      const socket = await open(rig);

      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);

      expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 404 /);
    },
  );

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])('%s is not allowed, and says what is', async (method) => {
    const { url } = await start();

    const response = await fetch(`${url}/metrics`, { method });

    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, HEAD');
  });

  it('a body is not read: the connection ends with the answer', async () => {
    const rig = await start();
    const socket = await open(rig);

    socket.write('POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nstart');

    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 405 [\s\S]*Connection: close/);
  });

  it.each([
    [operationsLimits.headerBytes - 200, 200],
    [operationsLimits.headerBytes + 1, 431],
  ])('a header of %i bytes is answered %i', async (length, status) => {
    const { operations } = await start();

    const answered = await new Promise<number | undefined>((resolve, reject) => {
      const asked = request(
        { port: operations.port, host: '127.0.0.1', path: '/healthz', headers: { 'x-long': 'a'.repeat(length) }, agent: false },
        (response) => {
          response.resume();
          resolve(response.statusCode);
        },
      );
      asked.on('error', reject).end();
    });

    expect(answered).toBe(status);
  });

  it('one connection more than the limit is not served', async () => {
    const rig = await start();
    for (let at = 0; at < operationsLimits.connections; at++) await open(rig);

    const surplus = await open(rig);
    surplus.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');

    expect(await readAll(surplus)).toBe('');
  });

  it('scrapes at the same time share one collection, and the next is a new one', async () => {
    let collected = 0;
    const gate = withResolvers<void>();
    const begun = withResolvers<void>();
    const metrics = async (): Promise<string> => {
      collected++;
      begun.resolve();
      await gate.promise;
      return `n ${collected}\n`;
    };
    const { url } = await start({ metrics });

    const first = fetch(`${url}/metrics`);
    await begun.promise;
    const second = fetch(`${url}/metrics`);
    // Answered after the second scrape has been received: connections are served in the order of their coming.
    await (await fetch(`${url}/healthz`)).text();
    gate.resolve();

    expect([await (await first).text(), await (await second).text()]).toEqual(['n 1\n', 'n 1\n']);
    expect(await (await fetch(`${url}/metrics`)).text()).toBe('n 2\n');
  });

  it('metrics that fail are a 500 that says nothing of why; the log does', async () => {
    const telemetry = createFakeTelemetry();
    const { url } = await start({ log: telemetry.log, metrics: () => Promise.reject(new Error('inner detail')) });

    const response = await fetch(`${url}/metrics`);

    expect([response.status, await response.text()]).toEqual([500, 'no answer\n']);
    expect(telemetry.lines).toMatchObject([{ level: 'error', fields: { error: { message: 'inner detail' } } }]);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it('a question about health that fails is a 500, and the process lives', async () => {
    const { url } = await start({
      ready: () => {
        throw new Error('inner detail');
      },
    });

    const response = await fetch(`${url}/readyz`);

    expect([response.status, await response.text()]).toEqual([500, 'no answer\n']);
  });

  it('garbage is a 400, and others are served on', async () => {
    const rig = await start();
    const socket = await open(rig);

    socket.write('\u0016\u0003\u0001 no http\r\n\r\n');

    expect(await readAll(socket)).toMatch(/^HTTP\/1\.1 400 /);
    expect((await fetch(`${rig.url}/healthz`)).status).toBe(200);
  });

  it('its signal ends idle keep-alive connections, half-sent requests and slow answers within a second', async () => {
    const begun = withResolvers<void>();
    const metrics = (): Promise<string> => {
      begun.resolve();
      return new Promise(() => undefined);
    };
    const rig = await start({ metrics });
    const agent = new Agent({ keepAlive: true });
    ends.push(() => agent.destroy());
    await new Promise<void>((resolve, reject) => {
      const asked = request({ port: rig.operations.port, host: '127.0.0.1', path: '/healthz', agent }, (response) =>
        response.resume().on('end', resolve),
      );
      asked.on('error', reject).end();
    });
    const halfSent = await open(rig);
    halfSent.write('GET /healthz HTTP/1.1\r\nHos');
    const slow = await open(rig);
    slow.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    await begun.promise;

    const startedMs = performance.now();
    rig.stop.abort();
    await rig.operations.closed;

    expect(performance.now() - startedMs).toBeLessThan(1_000);
    await expect(fetch(`${rig.url}/healthz`)).rejects.toThrow();
  });

  it('a running answer is still given after its signal', async () => {
    const gate = withResolvers<string>();
    const begun = withResolvers<void>();
    const metrics = (): Promise<string> => {
      begun.resolve();
      return gate.promise;
    };
    const rig = await start({ metrics });
    const answer = fetch(`${rig.url}/metrics`);
    await begun.promise;

    rig.stop.abort();
    gate.resolve('last 1\n');

    expect(await (await answer).text()).toBe('last 1\n');
    await rig.operations.closed;
  });

  it('a signal that has aborted starts nothing', async () => {
    const options = {
      address: '127.0.0.1:0',
      metrics: async () => '',
      live: () => true,
      ready: () => true,
      log: createFakeTelemetry().log,
    };

    await expect(startOperations(options, AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
  });

  it('a port that is taken is said', async () => {
    const { operations } = await start();

    await expect(start({ address: `127.0.0.1:${operations.port}` })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'CANNOT_LISTEN',
      cause: { code: 'EADDRINUSE' },
    });
  });

  it.each([
    '',
    '127.0.0.1',
    ':80',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '::1:80',
    '[::1]',
    'http://127.0.0.1:80',
    '127.0.0.1:-1',
    '127.0.0.1:8x',
  ])('the address "%s" is refused', async (address) => {
    await expect(start({ address })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'LISTEN_ADDRESS' });
  });
});
