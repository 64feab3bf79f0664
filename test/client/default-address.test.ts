// Where a sidecar is looked for: a socket counts only when somebody answers there whom we may ask.

import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { addressThatListens } from '../../src/client/default-address.ts';
import { connect } from '../../src/client/index.ts';
import { withoutRoot } from '../fakes/nobody.ts';
import { ScriptedSidecar } from '../fakes/scripted-sidecar.ts';
import { leaveSocketAt, listenOn } from '../fakes/sockets.ts';

const port = '127.0.0.1:8471';
let dir: string;
let path: string;
const closing: (() => void)[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sidegate-address-'));
  path = join(dir, 's.sock');
});
afterEach(() => {
  for (const close of closing.splice(0)) close();
  rmSync(dir, { recursive: true, force: true });
});

it('is the socket where somebody listens on it', async () => {
  const server = await listenOn(path);
  closing.push(() => server.close());
  expect(await addressThatListens(path, port)).toBe(`unix://${path}`);
});

it('is the port where there is no socket', async () => {
  expect(await addressThatListens(path, port)).toBe(port);
});

it('is the port where the socket is a leftover', async () => {
  await leaveSocketAt(path);
  expect(existsSync(path)).toBe(true);
  expect(await addressThatListens(path, port)).toBe(port);
});

it('is the port where something else is in the place of the socket', async () => {
  writeFileSync(path, '');
  expect(await addressThatListens(path, port)).toBe(port);
});

it('is the port where the socket is not for us', async () => {
  const server = await listenOn(path);
  closing.push(() => server.close());
  chmodSync(path, 0o000);
  expect(await withoutRoot([dir], () => addressThatListens(path, port))).toBe(port);
});

it('is not looked for where the environment names it', async () => {
  const sidecar = await ScriptedSidecar.start();
  const before = process.env['SIDEGATE_ADDRESS'];
  process.env['SIDEGATE_ADDRESS'] = sidecar.address;
  closing.push(() => {
    if (before === undefined) delete process.env['SIDEGATE_ADDRESS'];
    else process.env['SIDEGATE_ADDRESS'] = before;
    sidecar.stop();
  });
  const client = connect();
  closing.push(() => client.close());
  expect((await client.status()).serving).toBe(false);
});
