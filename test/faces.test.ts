// The HTTP faces of a whole sidecar: who may call them, and how they end.

import { type IncomingHttpHeaders, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { createFakeIssuer } from './fakes/issuer.ts';
import { keystoneIssuer } from './fakes/keystone-issuer.ts';
import { startSidecar } from './fakes/sidecar.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const anyPort = { host: '127.0.0.1', port: 0 };
const form = { 'content-type': 'application/x-www-form-urlencoded' };

async function start() {
  const central = createFakeIssuer({ calls: { deadlineMs: 60_000, concurrency: 16, queue: 1000 } });
  // A whole sidecar has the clock of this machine.
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000;
  central.knows('t', { token: { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 } });
  const sidecar = await startSidecar({
    fakes: [central],
    config: (config) => ({
      ...config,
      issuers: [keystoneIssuer('http://127.0.0.1:9', '/nowhere')],
      listen: { ...config.listen, keystone: { address: anyPort, allowExpired: true }, introspection: anyPort },
    }),
  });
  ends.push(sidecar.stop);
  const face = (headers: IncomingHttpHeaders) => send(`http://${sidecar.keystone}/v3/auth/tokens`, { 'x-subject-token': 't', ...headers });
  const introspect = (headers: IncomingHttpHeaders) =>
    send(`http://${sidecar.introspection}/introspect`, { ...form, ...headers }, 'token=t');
  return { central, sidecar, face, introspect };
}

/** The status; 0 where there was no reply. With a body it is a POST. */
function send(url: string, headers: IncomingHttpHeaders, body?: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = request(url, { headers, method: body === undefined ? 'GET' : 'POST', agent: false }, (reply) => {
      reply.resume();
      reply.once('end', () => resolve(reply.statusCode ?? 0));
    });
    asked.once('error', () => resolve(0));
    asked.end(body);
  });
}

it.each([
  { who: 'a service', headers: {}, status: 200 },
  { who: 'a service that calls by name', headers: { host: 'localhost:8473' }, status: 200 },
  { who: 'a web page', headers: { origin: 'http://evil.example' }, status: 403 },
  { who: 'a web page without an origin that it would tell', headers: { origin: 'null' }, status: 403 },
  { who: 'a web page by a name that it has given to the loopback', headers: { host: 'evil.example' }, status: 403 },
])('$who gets $status from both faces, and what is 403 asks nobody', async ({ headers, status }) => {
  const { central, face, introspect } = await start();

  expect([await face(headers), await introspect(headers)]).toEqual([status, status]);
  expect(central.reads).toHaveLength(status === 200 ? 1 : 0);
});

it('a stop takes one drain, however many listen: all of them end at the same time', async () => {
  const { central, sidecar } = await start();
  central.hold();
  const calls: Promise<unknown>[] = [];
  const going = setInterval(() => {
    const raw = `unknown-${calls.length}`;
    calls.push(send(`http://${sidecar.keystone}/v3/auth/tokens`, { 'x-subject-token': raw }));
    calls.push(send(`http://${sidecar.introspection}/introspect`, form, `token=${raw}`));
    calls.push(sidecar.validate({ token: raw }));
  }, 50);
  await sleep(300);
  const beganMs = performance.now();
  sidecar.drain();
  await sidecar.stopped;
  const tookMs = performance.now() - beganMs;
  clearInterval(going);
  await Promise.all(calls);

  // One after the other would be three drains of 2 s.
  expect(tookMs).toBeLessThan(2 * 2000);
});
