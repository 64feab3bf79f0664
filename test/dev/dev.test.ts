// `sidegate dev` in this process: where it listens, what it may, and that its tour tells what happens.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import type { ListenConfig } from '../../src/config/types.ts';
import { type Dev, startDev } from '../../src/dev/dev.ts';
import { findPlaces } from '../../src/dev/places.ts';
import { playTour } from '../../src/dev/tour.ts';

const folder = mkdtempSync(join(tmpdir(), 'sidegate-devtest-'));
const ends: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true }));

const any = { host: '127.0.0.1', port: 0 };
const listenAt = (name: string, tcp = any): ListenConfig => ({
  socket: { path: join(folder, name, 'dev.sock'), mode: 0o660, group: undefined },
  tcp,
  operations: any,
  keystone: undefined,
  introspection: undefined,
  remote: undefined,
});

async function started(listen: ListenConfig): Promise<Dev> {
  const stop = new AbortController();
  const dev = await startDev({ listen, log: () => undefined }, stop.signal);
  ends.push(async () => {
    stop.abort();
    await dev.stopped;
  });
  return dev;
}

/** A port that somebody else listens on. */
async function takenPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  ends.push(() => new Promise((done) => server.close(done)));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

test('it listens where it was asked to, and has nothing to say about that', async () => {
  const dev = await started(listenAt('asked'));
  expect(dev.socket).toBe(`unix://${join(folder, 'asked', 'dev.sock')}`);
  expect(statSync(join(folder, 'asked', 'dev.sock')).mode & 0o777).toBe(0o660);
  expect(dev.notes).toEqual([]);
});

test('of two at once the second finds other places, says so, and leaves no trace of them', async () => {
  const first = await started(listenAt('twice'));
  const port = Number(first.grpc.split(':')[1]);
  const stop = new AbortController();
  const second = await startDev({ listen: listenAt('twice', { host: '127.0.0.1', port }), log: () => undefined }, stop.signal);
  const privateDir = dirname(second.socket.slice('unix://'.length));
  expect(second.notes).toHaveLength(2);
  expect(second.notes[0]).toContain('dev.sock is in use');
  expect(second.notes[1]).toContain(`127.0.0.1:${port} is taken`);
  expect(second.grpc).not.toBe(first.grpc);
  expect(statSync(privateDir).mode & 0o777).toBe(0o700);
  stop.abort();
  await second.stopped;
  expect(existsSync(privateDir)).toBe(false);
  const client = connect({ address: first.socket });
  ends.push(async () => client.close());
  expect((await client.status()).serving).toBe(true);
});

test('a place that is none for a socket is left alone, and a private directory taken', async () => {
  writeFileSync(join(folder, 'a-file'), 'mine');
  const socketAt = (path: string) => ({ ...listenAt('x'), socket: { path, mode: 0o660, group: undefined } });
  const below = await findPlaces(socketAt(join(folder, 'a-file', 'dev.sock')));
  const instead = await findPlaces(socketAt(join(folder, 'a-file')));
  expect(below.notes).toEqual([expect.stringContaining('cannot be made')]);
  expect(instead.notes).toEqual([expect.stringContaining('is no socket')]);
  expect([below, instead].map(({ listen }) => listen.socket?.path.startsWith(folder))).toEqual([false, false]);
  below.remove();
  instead.remove();
  expect(readFileSync(join(folder, 'a-file'), 'utf8')).toBe('mine');
});

test('a socket that a killed program left is replaced', async () => {
  const listen = listenAt('leftover');
  const path = listen.socket?.path ?? '';
  mkdirSync(dirname(path));
  const dies = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', dies, path]);
  expect(existsSync(path)).toBe(true);
  const dev = await started(listen);
  expect([dev.socket, dev.notes]).toEqual([`unix://${path}`, []]);
});

test('a taken port is replaced by any free one', async () => {
  const port = await takenPort();
  const places = await findPlaces({ ...listenAt('ports'), operations: { host: '127.0.0.1', port } });
  expect(places.listen.operations).toEqual({ host: '127.0.0.1', port: 0 });
  expect(places.notes).toEqual([`127.0.0.1:${port} is taken, so operations listens on another port.`]);
});

test('its tokens are active; the socket may do everything, loopback may not revoke by selector', async () => {
  const dev = await started(listenAt('may'));
  const [onSocket, onLoopback] = [connect({ address: dev.socket }), connect({ address: dev.grpc })];
  ends.push(async () => [onSocket.close(), onLoopback.close()]);
  const answers = await Promise.all(dev.issuer.tokens.map(({ token }) => onLoopback.validate(token)));
  expect(answers.map(({ active, provenance }) => [active, provenance])).toEqual([
    [true, 'signature'],
    [true, 'signature'],
    [true, 'authority'],
  ]);
  await expect(onLoopback.revoke({ selector: { issuer: 'dev', userId: 'bob' } })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  await expect(onSocket.revoke({ selector: { issuer: 'dev', userId: 'bob' } })).resolves.toMatchObject({ entryId: expect.any(String) });
  const [, bob] = dev.issuer.tokens;
  const explained = await onSocket.validate(bob?.token ?? '', { include: { details: true } });
  expect(explained).toMatchObject({ active: false, reason: 'REVOKED', revokedBy: { selector: { userId: 'bob' } } });
});

test('the tour keeps all its promises, and prints no token', async () => {
  const dev = await started(listenAt('tour'));
  const lines: string[] = [];
  const kept = await playTour(dev, (line) => lines.push(line), new AbortController().signal, { pauseMs: 0 });
  const told = lines.join('\n');
  expect(lines.filter((line) => line.includes('✗'))).toEqual([]);
  expect(kept).toBe(true);
  expect(lines.filter((line) => line.includes('✓')).length).toBeGreaterThanOrEqual(12);
  expect(told).toMatch(/the very next call: inactive REVOKED/);
  expect(told).toMatch(/never seen: no answer \(UNAVAILABLE/);
  expect(dev.issuer.tokens.filter(({ token }) => told.includes(token))).toEqual([]);
});

test('the tour does not claim what does not happen', async () => {
  const dev = await started(listenAt('liar'));
  // An authority that does not go away, and a bob who has been revoked before.
  const client = connect({ address: dev.socket });
  ends.push(async () => client.close());
  await client.revoke({ selector: { issuer: 'dev', userId: 'bob' } });
  const lines: string[] = [];
  const kept = await playTour({ ...dev, stopIssuer: async () => undefined }, (line) => lines.push(line), new AbortController().signal, {
    pauseMs: 0,
  });
  expect(kept).toBe(false);
  expect(lines.filter((line) => line.includes('✗'))).toEqual([
    expect.stringContaining('the token seen before: inactive REVOKED'),
    expect.stringContaining('a good token that was never seen: active from its authority'),
  ]);
});

test('the tour ends when it is interrupted', async () => {
  const dev = await started(listenAt('short'));
  const stop = new AbortController();
  const kept = await playTour(dev, (line) => line.startsWith('\n2.') && stop.abort(), stop.signal, { pauseMs: 0 });
  expect(kept).toBe(false);
});
