// What operations and the faces share of HTTP: the end of connections, bodies nobody reads, and replies that fail.

import { once } from 'node:events';
import { Agent, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type HttpLimits, leaveBody, startHttpListener } from '../../src/rpc/http-listener.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { atEnd, send } from './face-stage.ts';

const limits: HttpLimits = { connections: 8, headerBytes: 8_192, requestMs: 5_000, idleMs: 60_000, drainMs: 5_000 };

async function start(serve: (request: IncomingMessage, response: ServerResponse) => void, more: Partial<HttpLimits> = {}) {
  const stop = new AbortController();
  const { log } = createFakeTelemetry();
  const options = { name: 'test', address: '127.0.0.1:0', limits: { ...limits, ...more }, serve, log };
  const listener = await startHttpListener(options, stop.signal);
  atEnd(async () => {
    stop.abort();
    await listener.closed;
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(() => agent.destroy());
  return { listener, stop, send: () => send(listener.port, { path: '/' }, agent), port: listener.port };
}

describe('the end', () => {
  it('ends a connection with the answer it waited for, long before the drain is over', async () => {
    const waiting: ServerResponse[] = [];
    let begun: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const rig = await start((_, response) => {
      waiting.push(response);
      begun?.();
    });
    const answer = rig.send();
    await asked;

    rig.stop.abort();
    waiting[0]?.end('last');

    expect((await answer).body).toBe('last');
    const startedMs = performance.now();
    await rig.listener.closed;
    expect(performance.now() - startedMs).toBeLessThan(1_000);
  });

  it('tells the client of a later request on the same connection that it was the last', async () => {
    const waiting: ServerResponse[] = [];
    const asked: (() => void)[] = [];
    const next = () => new Promise<void>((resolve) => asked.push(resolve));
    const rig = await start((_, response) => {
      waiting.push(response);
      asked.shift()?.();
    });
    const socket = connect(rig.port, '127.0.0.1');
    atEnd(() => void socket.destroy());
    let got = '';
    socket.setEncoding('latin1').on('data', (part: string) => {
      got += part;
    });
    const first = next();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await first;
    rig.stop.abort();
    const second = next();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await second;

    for (const response of waiting) response.end('ok');

    await once(socket, 'close');
    expect(got.match(/connection: (keep-alive|close)/gi)).toEqual(['Connection: keep-alive', 'Connection: close']);
  });

  it('is given up after the drain', async () => {
    let begun: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const rig = await start(() => begun?.(), { drainMs: 30 });
    const cut = expect(rig.send()).rejects.toThrow();
    await asked;

    rig.stop.abort();

    await rig.listener.closed;
    await cut;
  });
});

describe('a body that nobody reads', () => {
  it.each([
    ['a length', 'Content-Length: 5\r\n\r\nhello', 'close'],
    ['a broken length', 'Content-Length: 1000000000\r\n\r\nhello', 'close'],
    ['chunks', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', 'close'],
    ['a length of nothing', 'Content-Length: 0\r\n\r\n', 'keep-alive'],
    ['nothing', '\r\n', 'keep-alive'],
  ])('with %s: the connection is "%s"', async (_, rest, connection) => {
    const rig = await start((request, response) => {
      leaveBody(request, response);
      response.end('ok');
    });
    const socket = connect(rig.port, '127.0.0.1');
    atEnd(() => void socket.destroy());
    socket.setEncoding('latin1').write(`POST / HTTP/1.1\r\nHost: x\r\n${rest}`);

    const [got] = await once(socket, 'data');

    expect(got).toMatch(new RegExp(`connection: ${connection}\r\n`, 'i'));
  });
});

it('a limit on connections is a limit', async () => {
  const rig = await start((_, response) => void response.end('ok'), { connections: 1 });
  await rig.send();

  const surplus = connect(rig.port, '127.0.0.1');
  atEnd(() => void surplus.destroy());
  await once(surplus, 'close');

  expect((await rig.send()).status).toBe(200);
});
