// `sidegate serve` and `sidegate config`, run as programs: what is wrong is said at once, what is right serves and drains.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { allOutput, endAll, sidegate, start } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'sidegate-serve-'));
const secret = 'correct-horse-battery-staple';
writeFileSync(join(folder, 'secret'), secret);

afterAll(async () => {
  await endAll();
  rmSync(folder, { recursive: true });
});

/** A configuration that serves from `name`'s own places in the folder; `authority` answers its introspection. */
function configuration(name: string, { authority = 'http://127.0.0.1:1/introspect', group = 'null' } = {}): string {
  const path = join(folder, `${name}.yaml`);
  writeFileSync(
    path,
    `name: ${name}
listen:
  socket: { path: ${name}.sock, group: ${group} }
  tcp: 127.0.0.1:0
  operations: 127.0.0.1:0
issuers:
  - name: partner
    kind: introspection
    url: ${authority}
    auth: { client_secret_basic: { client_id: sidegate, secret_file: secret } }
    max_token_life: 1h
journal: { dir: ${name}-journal }
shutdown: { drain: 3s }
`,
  );
  return path;
}

async function serving(name: string, authority?: string) {
  const program = start(['serve', '--config', configuration(name, authority === undefined ? {} : { authority })]);
  const line = JSON.parse(await program.line(/"message":"serving"/)) as { tcp: string; socket: string; operations: string };
  return { ...program, ...line };
}

test('it serves what the file says, and drains at SIGTERM and at SIGINT with exit code 0', async () => {
  const codes = [];
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const program = await serving(`serves-${signal.toLowerCase()}`);
    const status = await sidegate(['status', '--json'], { env: { SIDEGATE_ADDRESS: program.socket } });
    expect(JSON.parse(status.stdout)).toMatchObject({ serving: true, sidecar: `serves-${signal.toLowerCase()}` });
    program.child.kill(signal);
    codes.push((await program.ended).code);
  }
  expect(codes).toEqual([0, 0]);
});

test('status --wait serving waits for a sidecar that is not there yet', async () => {
  const socket = `unix://${join(folder, 'late.sock')}`;
  const waiting = sidegate(['status', '--wait', 'serving', '--timeout', '20s', '--quiet'], { env: { SIDEGATE_ADDRESS: socket } });
  const program = await serving('late');
  expect(program.socket).toBe(socket);
  expect((await waiting).code).toBe(0);
  program.child.kill('SIGTERM');
  await program.ended;
});

test('a second signal ends it at once while a call still runs', async () => {
  const authority = createServer().listen(0, '127.0.0.1');
  // It never answers: the call waits for it.
  const asked = new Promise((done) => authority.once('request', done));
  await new Promise((done) => authority.once('listening', done));
  const program = await serving('twice', `http://127.0.0.1:${(authority.address() as AddressInfo).port}/introspect`);
  const call = sidegate(['validate', '--address', program.tcp], { stdin: 'an-opaque-token-of-some-length' });
  await asked;
  const startedMs = performance.now();
  program.child.kill('SIGTERM');
  await program.line(/"message":"draining"/);
  program.child.kill('SIGTERM');
  const { code } = await program.ended;
  expect(code).toBe(143);
  expect(performance.now() - startedMs).toBeLessThan(2_500);
  expect((await call).code).toBe(3);
  authority.closeAllConnections();
  authority.close();
});

test('all that is wrong with a file is said at once, with line, column and field, and exit code 2', async () => {
  const path = join(folder, 'wrong.yaml');
  writeFileSync(path, 'limits:\n  token_size: huge\nlissten: {}\nissuers:\n  - name: a\n    kind: jwt\n');
  const check = await sidegate(['serve', '--config', path, '--check']);
  const serve = await sidegate(['serve', '--config', path]);
  const print = await sidegate(['config', 'print', '--config', path]);
  expect([check, serve, print].map(({ code, stdout }) => [code, stdout])).toEqual(Array(3).fill([2, '']));
  const lines = check.stderr.trim().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(4);
  expect(lines.filter((line) => !/^.+\/wrong\.yaml:\d+:\d+ (\S+: )?\S.*$/.test(line))).toEqual([]);
  expect(check.stderr).toMatch(/wrong\.yaml:2:\d+ limits\.token_size: /);
  expect(check.stderr).toMatch(/wrong\.yaml:3:1 lissten: .*listen/);
  expect(serve.stderr).toBe(check.stderr);
});

test('a file that is not there is exit code 2', async () => {
  const { code, stderr } = await sidegate(['serve', '--config', join(folder, 'absent.yaml')]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: `${join(folder, 'absent.yaml')}:1:1 cannot be read (ENOENT)\n` });
});

test('--check of a good file says so and starts nothing', async () => {
  const { code, stdout } = await sidegate(['serve', '--config', configuration('checked'), '--check']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/checked\.yaml: nothing is wrong\n$/);
});

test('what is configured but cannot be had is one line and exit code 2', async () => {
  const { code, stderr } = await sidegate(['serve', '--config', configuration('groupless', { group: 'no-such-group' })]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/^sidegate: cannot start: .*no-such-group.*\n$/);
});

test('config print says where each value came from, and shows the path of a secret instead of it', async () => {
  const path = configuration('printed');
  const { code, stdout } = await sidegate(['config', 'print', '--config', path]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^name: printed +# .*printed\.yaml:1$/m);
  expect(stdout).toMatch(/secret_file: <from file .*\/secret> +# .*printed\.yaml:\d+$/m);
  expect(stdout).toMatch(/max_lag: 10s +# default$/m);
});

test('config print without a file prints the defaults', async () => {
  const { code, stdout, stderr } = await sidegate(['config', 'print']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout.split('\n').filter((line) => line.includes('#') && !line.endsWith('# default'))).toEqual([]);
});

test('config schema is JSON Schema', async () => {
  const { code, stdout } = await sidegate(['config', 'schema']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object' });
});

test('no secret of a file stands in any output of any command', () => {
  expect(allOutput().length).toBeGreaterThan(3_000);
  expect(allOutput()).not.toContain(secret);
});
