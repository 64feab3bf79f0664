// The commands that ask a sidecar, run as programs against `sidegate dev`: their exit codes, what they print, and what they never print.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { misfits } from './json-mapping.ts';
import { allOutput, type DevProgram, endAll, type RunOptions, sidegate, start, startDevProgram } from './program.ts';

let dev: DevProgram;
const folder = mkdtempSync(join(tmpdir(), 'sidegate-cli-'));
const given = new Set<string>();

beforeAll(async () => {
  dev = await startDevProgram();
});

afterAll(async () => {
  dev.child.kill('SIGTERM');
  await dev.ended;
  await endAll();
  rmSync(folder, { recursive: true });
});

/** Over the socket, which may do everything. */
function ask(args: readonly string[], options: RunOptions = {}) {
  if (options.stdin && options.stdin !== 'open') given.add(options.stdin.trim());
  return sidegate(args, { ...options, env: { SIDEGATE_ADDRESS: dev.socket, ...options.env } });
}

const token = (name: string) => dev.tokens.get(name) ?? '';
const garbage = 'this-is-nobodys-token-0123456789';

test('dev --json prints exactly one line: where it serves, and three tokens', async () => {
  expect(dev.grpc).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(dev.socket).toMatch(/^unix:\/\/\/.+\.sock$/);
  expect(dev.operations).toMatch(/^127\.0\.0\.1:\d+$/);
  expect([...dev.tokens.keys()]).toEqual(['alice', 'bob', 'robot']);
});

test('an active token is exit code 0, told by words that name its holder', async () => {
  const { code, stdout, stderr } = await ask(['validate'], { stdin: `${token('alice')}\n` });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^active +alice +roles member +scopes read +expires in (59|60) min +issuer dev\n/);
  expect(stdout).toMatch(/fingerprint [0-9a-f]{6}…/);
});

test('an inactive token is exit code 1, told by its reason', async () => {
  const { code, stdout } = await ask(['validate', '-'], { stdin: garbage });
  expect(code).toBe(1);
  expect(stdout).toMatch(/^inactive MALFORMED\n/);
});

test('what is demanded decides: a missing role, scope, audience and issuer are each exit code 1', async () => {
  const reasons = [];
  for (const demand of [
    ['--role', 'admin'],
    ['--scope', 'read', '--scope', 'write'],
    ['--audience', 'https://elsewhere.test'],
    ['--issuer', 'dev-opaque'],
    ['--project', 'p1'],
    ['--system'],
  ]) {
    const { code, stdout } = await ask(['validate', ...demand, '--json'], { stdin: token('alice') });
    reasons.push([code, (JSON.parse(stdout) as { reason: string }).reason]);
  }
  expect(reasons).toEqual([
    [1, 'INACTIVE_REASON_MISSING_ROLE'],
    [1, 'INACTIVE_REASON_MISSING_SCOPE'],
    [1, 'INACTIVE_REASON_WRONG_AUDIENCE'],
    [1, 'INACTIVE_REASON_WRONG_ISSUER'],
    [1, 'INACTIVE_REASON_WRONG_SCOPE'],
    [1, 'INACTIVE_REASON_WRONG_SCOPE'],
  ]);
});

test('a token that is known here is found by its user, and never told itself; who has no identity may not ask', async () => {
  const told = JSON.parse((await ask(['validate', '--json'], { stdin: token('alice') })).stdout) as { fingerprint: string };
  const words = await ask(['find', '--issuer', 'dev', '--user', 'alice', '--claims']);
  const json = await ask(['find', '--issuer', 'dev', '--user', 'alice', '--json']);
  const [nobody, elsewhere] = [
    await ask(['find', '--issuer', 'dev', '--user', 'nobody']),
    await ask(['find', '--issuer', 'dev', '--user', 'alice', '--project', 'p']),
  ];
  const ambiguous = await ask(['find', '--user', 'alice']);
  const unnamed = await ask(['find', '--address', dev.grpc, '--issuer', 'dev', '--user', 'alice']);
  expect([words, json, nobody, elsewhere, ambiguous, unnamed].map(({ code }) => code)).toEqual([0, 0, 1, 1, 2, 3]);
  expect(words.stdout).toMatch(/^active +alice +/);
  expect(misfits(JSON.parse(json.stdout), 'FindTokenResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    found: { active: true, fingerprint: told.fingerprint, token: { user: { id: 'alice' } } },
  });
  expect(unnamed.stderr).toContain('CALLER_UNKNOWN');
});

test('what a token does not have is no reason against it: no access rules, no catalog', async () => {
  const { code, stdout } = await ask(['validate', '--access', 'compute:GET:/v2.1/servers', '--catalog', '--json'], {
    stdin: token('alice'),
  });
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ active: true });
  expect(JSON.parse(stdout)).not.toHaveProperty('token.catalog');
});

test('a token that is no service token is told as such where it was presented as one', async () => {
  const path = join(folder, 'no-service');
  writeFileSync(path, garbage);
  given.add(garbage);
  const { code, stdout } = await ask(['validate', '--service-token-file', path], { stdin: token('alice') });
  expect(code).toBe(1);
  expect(stdout).toMatch(/^inactive BAD_SERVICE_TOKEN/);
});

test('one of several roles is enough', async () => {
  const { code } = await ask(['validate', '--role', 'admin', '--role', 'member'], { stdin: token('alice') });
  expect(code).toBe(0);
});

test('the token comes from a file or from the environment too', async () => {
  const path = join(folder, 'token');
  writeFileSync(path, `${token('bob')}\n`);
  const fromFile = await ask(['validate', '--token-file', path, '--json']);
  const fromEnvironment = await ask(['validate', '--json'], { env: { SIDEGATE_TOKEN: token('bob') }, stdin: 'open' });
  const names = [fromFile, fromEnvironment].map(
    ({ stdout }) => (JSON.parse(stdout) as { token: { user: { name: string } } }).token.user.name,
  );
  expect(names).toEqual(['bob', 'bob']);
});

test('standard input wins over the environment where it is asked for', async () => {
  const { stdout } = await ask(['validate', '-', '--json'], { env: { SIDEGATE_TOKEN: token('bob') }, stdin: token('alice') });
  expect(JSON.parse(stdout)).toMatchObject({ token: { user: { name: 'alice' } } });
});

test('a token as an argument is refused with the reason, and not repeated', async () => {
  for (const args of [
    ['validate', token('alice')],
    ['revoke', token('alice')],
    ['validate', '-', token('alice')],
    [token('alice')],
    ['validate', `--token=${token('alice')}`],
    ['validate', `-${token('alice')}`],
    ['validate', '--timeout', token('alice')],
    ['revoke', '--scope-kind', token('alice')],
    ['watch', '--after', token('alice')],
    ['status', token('alice')],
    ['validate', '--address', token('alice')],
  ]) {
    const { code, stdout, stderr } = await ask(args, { stdin: 'x' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^sidegate: .+\n$/);
    expect(stderr).not.toContain(token('alice'));
  }
  const { stderr } = await ask(['validate', token('alice')]);
  expect(stderr).toContain('never given as an argument');
});

test('no token, two sources of a token and an empty file are exit code 2', async () => {
  const empty = join(folder, 'empty');
  writeFileSync(empty, '\n');
  const runs = [
    ask(['validate'], { stdin: ' \n' }),
    ask(['validate', '-', '--token-file', empty], { stdin: token('alice') }),
    ask(['validate', '--token-file', empty]),
    ask(['validate', '--token-file', join(folder, 'absent')]),
    ask(['validate'], { stdin: 'x'.repeat(1024 ** 2 + 1) }),
  ];
  for (const run of runs) expect(await run).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^sidegate: .+\n$/) });
});

test('where no sidecar answers the exit code is 3, and --json tells it as an object on standard error', async () => {
  const words = await ask(['validate', '--address', '127.0.0.1:1'], { stdin: token('alice') });
  const json = await ask(['validate', '--address', '127.0.0.1:1', '--json'], { stdin: token('alice') });
  expect([words.code, words.stdout, json.code, json.stdout]).toEqual([3, '', 3, '']);
  expect(words.stderr).toMatch(/^sidegate: no answer: UNAVAILABLE: /);
  expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'UNAVAILABLE' } });
});

test('what is called wrongly is told in our own words, and what the sidecar refuses is not called "no answer"', async () => {
  const stderrs = [];
  for (const args of [
    ['serve'],
    ['watch', '--after'],
    ['watch', '--after', 'foo'],
    ['revoke', '--issuer', 'dev', '--everything', '--user', 'u', '--yes'],
    ['refresh', '--everything'],
  ])
    stderrs.push((await ask(args)).stderr);
  expect(stderrs).toEqual([
    'sidegate: --config is missing; see --help\n',
    'sidegate: --after needs a value; see --help\n',
    'sidegate: --after: It is JOURNAL:REVISION, as it was printed.\n',
    expect.stringMatching(/^sidegate: the sidecar refuses what was asked: SELECTOR_EVERYTHING_WITH_MORE: .+\n$/),
    'sidegate: every token will be fetched again: add --yes, as there is no terminal to ask at\n',
  ]);
});

test('--json of validate is the JSON mapping of ValidateResponse', async () => {
  const active = JSON.parse((await ask(['validate', '--json', '--claims'], { stdin: token('bob') })).stdout) as {
    token: { claimsJson: string };
  };
  const inactive: unknown = JSON.parse((await ask(['validate', '--json'], { stdin: garbage })).stdout);
  expect([...misfits(active, 'ValidateResponse'), ...misfits(inactive, 'ValidateResponse')]).toEqual([]);
  expect(active).toMatchObject({
    active: true,
    degraded: false,
    token: { issuer: 'dev', user: { id: 'bob' }, roles: [{ name: 'admin' }] },
  });
  expect(JSON.parse(active.token.claimsJson)).toMatchObject({ sub: 'bob' });
  expect(inactive).toMatchObject({ active: false, reason: 'INACTIVE_REASON_MALFORMED' });
});

test('a revoked token is inactive from then on; watch tells it, and --explain tells by what', async () => {
  const watch = start(['watch', '--details'], { env: { SIDEGATE_ADDRESS: dev.socket } });
  await watch.line(/caught up/, 'stderr');
  const revoked = await ask(['revoke', '--reason', 'found in a log', '--json'], { stdin: token('alice') });
  const line = await watch.line(/ REVOKE +the token with fingerprint/);
  const explained = await ask(['validate', '--explain'], { stdin: token('alice') });
  const json = await ask(['validate', '--explain', '--json'], { stdin: token('alice') });
  watch.child.kill('SIGINT');

  expect(revoked.code).toBe(0);
  expect(misfits(JSON.parse(revoked.stdout), 'RevokeResponse')).toEqual([]);
  expect(JSON.parse(revoked.stdout)).toMatchObject({ reach: 'REACH_SIDECAR', asOf: { journal: expect.any(String) } });
  expect(line).toMatch(/^\d\d:\d\d:\d\d\.\d{3} {2}\S+:\d+ {2}REVOKE .+ rpc by socket "found in a log"$/);
  expect(explained.code).toBe(1);
  expect(explained.stdout).toMatch(
    /^inactive REVOKED +alice .*\n +by \S+:\d+, learned .+ ago: the token with fingerprint .+\n +from rpc by socket/,
  );
  expect(misfits(JSON.parse(json.stdout), 'ValidateResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({ revokedBy: { effect: 'EFFECT_REVOKE', origin: { reason: 'found in a log' } } });
  expect((await watch.ended).code).toBe(130);
});

test('what nobody could accept is revoked without an entry, and that is told', async () => {
  const { code, stdout } = await ask(['revoke'], { stdin: 'not.a.jwt-at-all' });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^REVOKE +nothing to do/);
});

test('many tokens are revoked only with --yes where there is no terminal, and --dry-run sends nothing', async () => {
  const before = await ask(['status', '--json']);
  const refused = await ask(['revoke', '--user', 'nobody', '--issuer', 'dev']);
  const dry = await ask([
    'revoke',
    '--user',
    'nobody',
    '--issuer',
    'dev',
    '--issued-before',
    '2026-01-02T03:04:05Z',
    '--dry-run',
    '--json',
  ]);
  const dryToken = await ask(['revoke', '--dry-run', '--json'], { stdin: token('bob') });
  const after = await ask(['status', '--json']);
  const done = await ask(['revoke', '--user', 'nobody', '--issuer', 'dev', '--issued-before', '1700000000', '--yes']);

  expect([refused.code, refused.stdout]).toEqual([2, '']);
  expect(refused.stderr).toContain('--yes');
  expect(JSON.parse(dry.stdout)).toEqual({
    dryRun: true,
    selector: { userId: 'nobody', issuer: 'dev' },
    issuedBefore: '2026-01-02T03:04:05Z',
    waitFor: 'REACH_SIDECAR',
  });
  expect(JSON.parse(dryToken.stdout)).toMatchObject({ dryRun: true, token: '(not shown)' });
  const latest = (run: { stdout: string }) => (JSON.parse(run.stdout) as { latest: object }).latest;
  expect(latest(after)).toEqual(latest(before));
  expect(done.code).toBe(0);
  expect(done.stdout).toMatch(/^REVOKE +applied in .+ as of \S+:\d+ · entry [0-9a-f]{40}\n$/);
});

test.each([
  ['an empty id: a variable that is not set must not widen what dies', ['revoke', '--user', '', '--project', 'p', '--yes']],
  ['an issuer alone', ['revoke', '--issuer', 'dev', '--yes']],
  ['a selector beside a token', ['revoke', '-', '--user', 'u', '--yes']],
  ['--issued-before with one token', ['revoke', '--issued-before', '1700000000']],
  ['a time that is none', ['revoke', '--user', 'u', '--issued-before', 'yesterday', '--yes']],
  ['a value that is too long for a selector', ['revoke', '--issuer', 'dev', '--user', 'u'.repeat(1025), '--yes']],
  ['everything with more', ['revoke', '--issuer', 'dev', '--everything', '--user', 'u', '--yes']],
  ['a fleet to wait for, where there is none', ['revoke', '--wait', 'fleet']],
  ['a reach that is none', ['revoke', '--wait', 'region']],
  ['nothing to refresh', ['refresh']],
  ['everything to refresh where nobody can be asked', ['refresh', '--everything']],
  ['two scopes', ['validate', '--project', 'p', '--domain', 'd']],
  ['a timeout that is none', ['validate', '--timeout', '5 seconds']],
  ['an unknown option', ['status', '--snapshot']],
  ['an unknown command', ['seek']],
  ['a malformed cursor', ['watch', '--after', '12']],
  ['no cursor', ['watch', '--after']],
  ['serve without a configuration', ['serve']],
  ['a tour in one line', ['dev', '--tour', '--json']],
])('exit code 2, nothing on standard output: %s', async (_, args) => {
  const { code, stdout, stderr } = await ask(args, { stdin: token('bob') });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^sidegate: .+\n$/);
  expect((await ask(['validate'], { stdin: token('bob') })).code).toBe(0);
});

test('refresh by selector answers where it stands, in words and in JSON', async () => {
  const words = await ask(['refresh', '--issuer', 'dev-opaque', '--user', 'robot', '--reason', 'why not']);
  const json = await ask(['refresh', '--everything', '--yes', '--json']);
  expect([words.code, json.code]).toEqual([0, 0]);
  expect(words.stdout).toMatch(/^REFRESH +applied in /);
  expect(misfits(JSON.parse(json.stdout), 'RefreshResponse')).toEqual([]);
});

test('over loopback TCP there is no identity: revoking by selector is no answer, by possession it works', async () => {
  const bySelector = await ask(['revoke', '--address', dev.grpc, '--issuer', 'dev', '--user', 'u', '--yes']);
  const byPossession = await ask(['revoke', '--address', dev.grpc], { stdin: token('robot') });
  const after = await ask(['validate', '--address', dev.grpc], { stdin: token('robot') });
  expect([bySelector.code, byPossession.code, after.code]).toEqual([3, 0, 1]);
  expect(bySelector.stderr).toContain('CALLER_UNKNOWN');
});

test('the caller token is sent, from its file or its variable, and judged', async () => {
  const path = join(folder, 'caller');
  writeFileSync(path, `${garbage}\n`);
  given.add(garbage);
  const args = ['refresh', '--address', dev.grpc, '--everything', '--yes'];
  const fromFile = await ask([...args, '--caller-token-file', path]);
  const fromEnvironment = await ask(args, { env: { SIDEGATE_CALLER_TOKEN: garbage } });
  const absent = await ask([...args, '--caller-token-file', join(folder, 'absent')]);
  expect([fromFile.code, fromEnvironment.code, absent.code]).toEqual([3, 3, 3]);
  expect(fromFile.stderr).toContain('CALLER_TOKEN_INACTIVE');
  expect(fromEnvironment.stderr).toContain('CALLER_TOKEN_INACTIVE');
});

test('status tells issuers, journal and caches; --json is GetStatusResponse; --quiet says it by the exit code alone', async () => {
  const [words, json, quiet, waited] = [
    await ask(['status']),
    await ask(['status', '--json']),
    await ask(['status', '--quiet']),
    await ask(['status', '--wait', 'serving', '--quiet']),
  ];
  expect([words.code, json.code, quiet.code, waited.code]).toEqual([0, 0, 0, 0]);
  expect(words.stdout).toMatch(/^sidegate \S+ · dev · up .+ · SERVING\n {2}issuer +dev +ok /);
  expect(words.stdout).toMatch(/journal +ok +applied \d+ of \d+/);
  expect(misfits(JSON.parse(json.stdout), 'GetStatusResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({ sidecar: 'dev', serving: true });
  expect([quiet.stdout, quiet.stderr]).toEqual(['', '']);
});

test('status --wait serving gives up after --timeout with exit code 3 where nobody answers', async () => {
  const { code } = await ask(['status', '--wait', 'serving', '--timeout', '600ms', '--address', '127.0.0.1:1']);
  expect(code).toBe(3);
});

test('watch --json is one WatchResponse a line, and resumes after a cursor', async () => {
  const { asOf } = JSON.parse((await ask(['refresh', '--everything', '--yes', '--json'])).stdout) as {
    asOf: { journal: string; revision: string };
  };
  const after = `${asOf.journal}:${Number(asOf.revision) - 1}`;
  const watch = start(['watch', '--json', '--after', after], { env: { SIDEGATE_ADDRESS: dev.socket } });
  await watch.line(/"checkpoint"/);
  watch.child.kill('SIGINT');
  const { code, stdout } = await watch.ended;
  const messages = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { opened?: object; batch?: { invalidations: object[] } });
  expect(code).toBe(130);
  expect(messages.flatMap((message) => misfits(message, 'WatchResponse'))).toEqual([]);
  expect(messages[0]).toHaveProperty('opened');
  expect(messages[1]?.batch?.invalidations).toMatchObject([{ cursor: asOf, effect: 'EFFECT_REFRESH' }]);
});

test('a reader that goes away ends watch quietly', async () => {
  const watch = start(['watch', '--json'], { env: { SIDEGATE_ADDRESS: dev.socket } });
  await watch.line(/"checkpoint"/);
  watch.child.stdout?.destroy();
  const { code, stderr } = await watch.ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});

test('SIGINT while a token is read ends with 130, and so does one while the sidecar is away', async () => {
  const reading = start(['validate'], { stdin: 'open', env: { SIDEGATE_ADDRESS: dev.socket } });
  // More than a pipe holds: once it is gone, the program reads, and knows what to do with the signal.
  await new Promise((written) => reading.child.stdin?.write('x'.repeat(1_000_000), written));
  reading.child.kill('SIGINT');
  const watching = start(['watch', '--address', '127.0.0.1:1']);
  await watching.line(/the stream is gone/, 'stderr');
  watching.child.kill('SIGINT');
  expect([(await reading.ended).code, (await watching.ended).code]).toEqual([130, 130]);
});

test('nothing is coloured where standard output is no terminal, and control characters never come through', async () => {
  await ask(['refresh', '--everything', '--yes', '--reason', 'red \u001b[31malert\u0007 \u202e']);
  const { latest } = JSON.parse((await ask(['status', '--json'])).stdout) as { latest: { journal: string; revision: string } };
  const watch = start(['watch', '--details', '--after', `${latest.journal}:${Number(latest.revision) - 1}`], {
    env: { SIDEGATE_ADDRESS: dev.socket },
  });
  const line = await watch.line(/REFRESH/);
  watch.child.kill('SIGINT');
  expect(line).toContain('alert');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(line).not.toMatch(/[\u0000-\u001f\u202e]/);
  await watch.ended;
});

test('--help and --version are data: exit code 0 on standard output, with examples', async () => {
  const help = await Promise.all(
    ['validate', 'revoke', 'refresh', 'watch', 'find', 'status', 'serve', 'dev'].map((command) => sidegate([command, '--help'])),
  );
  const version = await sidegate(['--version']);
  expect(help.map(({ code, stderr }) => [code, stderr])).toEqual(help.map(() => [0, '']));
  expect(help.every(({ stdout }) => /Examples?:/.test(stdout))).toBe(true);
  expect(version).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

test('no token that any command was given stands in any output of any command', () => {
  const secrets = [...dev.tokens.values(), ...given].filter((secret) => secret.length > 20 && secret.length < 10_000);
  expect(secrets.length).toBeGreaterThanOrEqual(5);
  expect(allOutput().length).toBeGreaterThan(5_000);
  expect(secrets.filter((secret) => allOutput().includes(secret))).toEqual([]);
});
