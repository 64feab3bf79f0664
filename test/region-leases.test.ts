// S15 between processes: many sidecars asked for one new token at once make one call to Keystone, and one more where its caller is killed.

import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ScriptedKeystone, startScriptedKeystone } from '../bench/servers/scripted-keystone.ts';
import { newKeyDir, type SidecarProcess, sidecarProcess } from '../bench/servers/sidecar-process.ts';
import { type Answer, type Client, connect } from '../src/client/index.ts';
import { formatProblems, loadConfig } from '../src/config/load.ts';
import { createSidecar } from '../src/sidecar.ts';
import { builtPackage } from './cli/program.ts';
import { describeWithMemcached, type Memcached, startMemcached } from './fakes/memcached.ts';

const password = 'the-password';
const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-leases-'));
const keyDir = newKeyDir(dir, 'keys');
const stopping = new AbortController();
// Each of the twenty listens to it more than once.
setMaxListeners(1000, stopping.signal);
const patient = { timeoutMs: 30_000 };
let keystone: ScriptedKeystone;
let memcached: Memcached;
/** Twenty in this process: each has all of a sidecar but the process. */
const clients: Client[] = [];
const stopped: Promise<void>[] = [];
/** One that can be killed. */
let mortal: SidecarProcess;

function configOf(number: number) {
  const text = `
name: sidecar-${number}
deployment_key_dir: ${keyDir}
listen: { socket: null, tcp: "127.0.0.1:0", operations: null }
issuers:
  - name: central
    kind: keystone
    url: ${keystone.url}
    login: { password: { username: validator, project: service, password_file: ${join(dir, 'password')} } }
    calls: { deadline: 20s }
    max_token_life: 24h
caching:
  # Twenty sidecars in one process, on a machine that is busy: what is slow must not be taken for what is away.
  shared: { servers: ["${memcached.address}"], deadline: 2s }
journal: { dir: ${join(dir, `journal-${number}`)} }
logging: { level: error }
shutdown: { drain: 100ms }
`;
  const loaded = loadConfig({ text, env: {} });
  if (!loaded.ok) throw new Error(formatProblems(loaded.problems, 'sidegate.yaml'));
  return loaded.config;
}

const askAll = (token: string): Promise<Answer[]> => Promise.all(clients.map((client) => client.validate(token, patient)));

describeWithMemcached('twenty sidecars on one memcached', () => {
  beforeAll(async () => {
    [keystone, memcached] = await Promise.all([startScriptedKeystone({ password }), startMemcached()]);
    writeFileSync(join(dir, 'password'), password);
    for (let made = 0; made < 20; made += 1) {
      const { tcp, stopped: ended } = await createSidecar({ config: configOf(made), destination: { write: () => undefined } }).start(
        stopping.signal,
      );
      clients.push(connect({ address: tcp ?? '' }));
      stopped.push(ended);
    }
    mortal = sidecarProcess({
      name: 'mortal',
      cli: join(builtPackage(), 'dist', 'cli.js'),
      dir: join(dir, 'mortal'),
      keyDir,
      keystoneUrl: keystone.url,
      password,
      servers: [memcached.address],
      caching: '',
      calls: '{ deadline: 20s }',
    });
    await mortal.start();
    // Everybody has logged in and found memcached: what is counted below is validations alone. And everybody has seen Keystone slower
    // than it will be, so nobody takes it for dead: a holder is waited for twice as long as 99 of 100 answers took (S15).
    keystone.slowMs = 1_000;
    await keystone.become('slow');
    const everybody = [...clients, mortal.client].map((client, at) =>
      client.validate(keystone.issue(`warm-${at}`, 3_600_000).token, patient),
    );
    await Promise.all(everybody);
    keystone.slowMs = 300;
    // What was fetched until `limits.skew` after the birth of its journal no sidecar takes from another.
    await sleep(2_100);
  });

  afterAll(async () => {
    for (const client of clients) client.close();
    stopping.abort();
    await Promise.all([...stopped, mortal?.end('SIGKILL'), memcached?.close(), keystone?.close()]);
    rmSync(dir, { recursive: true, force: true });
  });

  it('that are asked for one new token at once ask Keystone once', async () => {
    const { token } = keystone.issue('alice', 3_600_000);
    const answers = await askAll(token);

    expect(answers.map(({ active }) => active)).toEqual(Array.from({ length: 20 }, () => true));
    expect(keystone.validations(token)).toBe(1);
  });

  it('ask once more where the one that asks is killed in the middle of it', async () => {
    await keystone.become('hanging');
    const { token } = keystone.issue('bob', 3_600_000);
    const lost = mortal.client.validate(token, patient).catch((error: unknown) => error);
    await keystone.asked(token, 1);
    await mortal.end('SIGKILL');
    // What hangs belongs to the dead one: whoever asks from now on is answered, slowly enough that all the others come meanwhile.
    await keystone.become('slow');
    const answers = await askAll(token);

    expect(await lost).toBeInstanceOf(Error);
    expect(answers.map(({ active }) => active)).toEqual(Array.from({ length: 20 }, () => true));
    expect(keystone.validations(token)).toBe(2);
  });
});
