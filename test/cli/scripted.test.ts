// What the commands send and print where a sidecar does what a test says: handles, service tokens, access, catalogs, forwarding, find.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  FindTokenResponse,
  Forward,
  Forwarding,
  GetStatusResponse,
  InactiveReason,
  Invalidation,
  Provenance,
  Reach,
  RefreshResponse,
  RevokeResponse,
  Token,
  ValidateResponse,
  WatchOpened,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { Refusal, ScriptedSidecar } from '../fakes/scripted-sidecar.ts';
import { misfits } from './json-mapping.ts';
import { allOutput, endAll, type RunOptions, sidegate } from './program.ts';

let sidecar: ScriptedSidecar;
/** Every request, in its order. */
const requests: unknown[] = [];
const folder = mkdtempSync(join(tmpdir(), 'sidegate-scripted-'));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const [user, service, handle] = ['tok-of-the-user-4711', 'tok-of-the-service-0815', 'a0'.repeat(32)];
const userFile = file('user', `${user}\n`);
const serviceFile = file('service', `${service}\n`);

const asOf = { journal: 'J', revision: 5n };
const answer = ValidateResponse.fromPartial({
  active: true,
  asOf,
  fingerprint: 'f1',
  provenance: Provenance.SHARED,
  maxAge: { seconds: 1n },
  token: Token.fromPartial({
    issuer: 'central',
    format: 'fernet',
    user: { id: 'u1', name: 'alice' },
    applicationCredential: { id: 'c', accessRules: [{ id: 'r', service: 'compute', method: 'GET', path: '/v2.1/**' }] },
    catalog: [
      {
        id: 's',
        type: 'compute',
        name: 'nova',
        endpoints: [
          { id: 'e', interface: 'public', regionId: 'R1', url: 'https://nova.r1' },
          { id: 'e', interface: 'internal', regionId: 'R1', url: 'http://nova.r1' },
        ],
      },
    ],
  }),
  service: Token.fromPartial({
    issuer: 'central',
    format: 'fernet',
    user: { id: 'u2', name: 'glance' },
    roles: [{ id: 'x', name: 'service' }],
  }),
});

beforeAll(async () => {
  sidecar = await ScriptedSidecar.start();
});
beforeEach(() => {
  requests.length = 0;
  sidecar.on.validate = (request) => said(request, answer);
  sidecar.on.revoke = (request) => said(request, RevokeResponse.fromPartial({ asOf, entryId: 'e1' }));
  sidecar.on.findToken = (request) => said(request, FindTokenResponse.create());
});
afterAll(async () => {
  await endAll();
  sidecar.stop();
  rmSync(folder, { recursive: true });
});

function said<Response>(request: unknown, response: Response): Response {
  requests.push(request);
  return response;
}

const ask = (args: readonly string[], options: RunOptions = {}) =>
  sidegate(args, { ...options, env: { SIDEGATE_ADDRESS: sidecar.address, ...options.env } });

test('validate sends the service token, the request at hand, and what a stale answer may be', async () => {
  const { code, stdout } = await ask([
    ...['validate', '--token-file', userFile, '--service-token-file', serviceFile, '--stale', '90s'],
    ...['--access', 'compute:get:/v2.1/servers/a:b', '--role', 'member'],
  ]);
  expect(code).toBe(0);
  expect(requests).toMatchObject([
    {
      credential: { $case: 'token', value: user },
      serviceToken: service,
      staleIfUnavailable: { seconds: 90n },
      demand: { access: { service: 'compute', method: 'GET', path: '/v2.1/servers/a:b' }, anyOfRoles: ['member'] },
      include: { catalog: false, handle: false },
    },
  ]);
  expect(stdout).toMatch(/^active {3}alice /);
  expect(stdout).toContain('\n         service token of glance   roles service\n');
  expect(stdout).toContain(' shared tier · ');
});

test('a part of the catalog is asked for by naming it, and told endpoint by endpoint', async () => {
  const { stdout } = await ask([
    'validate',
    '--token-file',
    userFile,
    '--catalog-region',
    'R1',
    '--catalog-region',
    'R2',
    '--catalog-service',
    'compute',
  ]);
  await ask(['validate', '--token-file', userFile, '--catalog']);
  expect(requests).toMatchObject([
    { include: { catalog: true, catalogRegions: ['R1', 'R2'], catalogServices: ['compute'] } },
    { include: { catalog: true, catalogRegions: [], catalogServices: [] } },
  ]);
  expect(stdout).toContain(
    '\n         compute (nova)  R1  public  https://nova.r1\n         compute (nova)  R1  internal  http://nova.r1\n',
  );
});

test('--json of validate is ValidateResponse with the catalog, the handle, the access rules and the service token', async () => {
  sidecar.on.validate = (request) => said(request, { ...answer, handle });
  const { stdout } = await ask(['validate', '--token-file', userFile, '--catalog', '--print-handle', '--json']);
  const words = await ask(['validate', '--token-file', userFile, '--print-handle']);
  expect(requests).toMatchObject([{ include: { handle: true, catalog: true } }, { include: { handle: true } }]);
  expect(misfits(JSON.parse(stdout), 'ValidateResponse')).toEqual([]);
  expect(JSON.parse(stdout)).toMatchObject({
    handle,
    provenance: 'PROVENANCE_SHARED',
    service: { user: { name: 'glance' } },
    token: { catalog: [{ endpoints: [{ regionId: 'R1' }, {}] }], applicationCredential: { accessRules: [{ method: 'GET' }] } },
  });
  expect(words.stdout).toContain(`\n         handle ${handle}\n`);
});

test('what is read is a handle where that is said', async () => {
  await ask(['validate', '--handle'], { stdin: `${handle}\n` });
  await ask(['revoke', '--handle', '-'], { stdin: handle });
  expect(requests).toMatchObject([{ credential: { $case: 'handle', value: handle } }, { target: { $case: 'handle', value: handle } }]);
});

test.each([
  ['UNKNOWN_HANDLE', 'present the token itself'],
  ['BAD_SERVICE_TOKEN', 'service_roles'],
  ['ACCESS_DENIED', '--access'],
] as const)('%s is told with what may help', async (reason, help) => {
  sidecar.on.validate = () => ValidateResponse.fromPartial({ reason: InactiveReason[reason], asOf });
  const { code, stdout } = await ask(['validate', '--token-file', userFile]);
  expect(code).toBe(1);
  expect(stdout).toMatch(new RegExp(`^inactive ${reason}\n {9}.*${help}`));
});

test.each([
  ['accepted', Forwarding.ACCEPTED, 'has revoked it too'],
  ['pending', Forwarding.PENDING, 'is told as soon as it can be reached'],
  ['rejected', Forwarding.REJECTED, 'refuses to revoke it: it is dead here'],
])('a revocation that the authority has %s is exit code 0, in words and in JSON', async (_, forwarding, words) => {
  sidecar.on.revoke = (request) => said(request, RevokeResponse.fromPartial({ asOf, entryId: 'e1', forwarding }));
  const [told, json] = [
    await ask(['revoke', '--token-file', userFile, '--forward']),
    await ask(['revoke', '--token-file', userFile, '--no-forward', '--json']),
  ];
  expect(requests).toMatchObject([{ forward: Forward.ALWAYS }, { forward: Forward.NEVER }]);
  expect([told.code, json.code]).toEqual([0, 0]);
  expect(told.stdout).toMatch(new RegExp(`^REVOKE .*entry e1\n {9}its authority .*${words}.*\n$`));
  expect(misfits(JSON.parse(json.stdout), 'RevokeResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    forwarding: `FORWARDING_${Object.entries(Forwarding).find(([, it]) => it === forwarding)?.[0]}`,
  });
});

test('a revocation is forwarded as configured where nothing is said, and says nothing of it', async () => {
  const { stdout } = await ask(['revoke', '--token-file', userFile]);
  await ask(['revoke', '--user', 'u', '--no-forward', '--yes']);
  expect(requests).toMatchObject([{ forward: Forward.UNSPECIFIED }, { forward: Forward.NEVER, target: { $case: 'selector' } }]);
  expect(stdout.trim().split('\n')).toHaveLength(1);
});

test('--dry-run says what would be forwarded, shows no handle and sends nothing', async () => {
  const words = await ask(['revoke', '--token-file', userFile, '--forward', '--dry-run']);
  const json = await ask(['revoke', '--handle', '--no-forward', '--dry-run', '--json'], { stdin: handle });
  expect(words.stdout).toBe('would revoke the given token, and tell its authority; nothing was sent\n');
  expect(JSON.parse(json.stdout)).toEqual({ dryRun: true, handle: '(not shown)', waitFor: 'REACH_SIDECAR', forward: 'FORWARD_NEVER' });
  expect(requests).toEqual([]);
});

const at = new Date(2026, 10, 30, 10, 4, 7, 412);
type Told = { readonly reach: Reach; readonly reachedAt?: Date; readonly laggingSidecars?: string[] };

test.each<readonly [string, Told, number, RegExp]>([
  ['fleet', { reach: Reach.FLEET, reachedAt: at }, 0, /^dead everywhere since 10:04:07\.412, in \d+(\.\d+)? ms$/],
  ['shared', { reach: Reach.SHARED, reachedAt: at }, 0, /^in the fleet's log since 10:04:07\.412, in \d+(\.\d+)? ms$/],
  ['shared', { reach: Reach.FLEET, reachedAt: at }, 0, /^dead everywhere since /],
  ['fleet', { reach: Reach.SHARED, laggingSidecars: ['nova-3'] }, 4, /^in the fleet's log; nova-3 has not said that it applies it$/],
  [
    'fleet',
    { reach: Reach.SHARED, laggingSidecars: ['nova-2', 'nova-3'] },
    4,
    /^in the fleet's log; nova-2 and nova-3 have not said that they apply it$/,
  ],
  ['fleet', { reach: Reach.SHARED }, 4, /^in the fleet's log; who applies it is not known yet$/],
  ['fleet', { reach: Reach.SIDECAR, laggingSidecars: ['nova-3'] }, 4, /^applied here, and not .* log: .*; nova-3 has not said/],
  ['shared', { reach: Reach.SIDECAR, laggingSidecars: [] }, 4, /^applied here, and not known to be in the fleet's log: [^;]*$/],
  ['shared', { reach: 9 as Reach }, 4, /newer than this program$/],
])('revoke --wait %s, which has come to %o, is exit code %i, and says so', async (wait, told, code, words) => {
  sidecar.on.revoke = (request) => said(request, RevokeResponse.fromPartial({ asOf, entryId: 'e1', ...told }));
  const inWords = await ask(['revoke', '--token-file', userFile, '--wait', wait]);
  const inJson = await ask(['revoke', '--token-file', userFile, '--wait', wait, '--json']);
  expect([inWords.code, inJson.code]).toEqual([code, code]);
  expect(requests).toMatchObject([
    { waitFor: wait === 'fleet' ? Reach.FLEET : Reach.SHARED },
    { waitFor: wait === 'fleet' ? Reach.FLEET : Reach.SHARED },
  ]);
  const [first, second, ...more] = inWords.stdout.split('\n');
  expect([first, more]).toEqual(['REVOKE   applied · as of J:5 · entry e1', ['']]);
  expect(second?.slice(0, 9)).toBe(' '.repeat(9));
  expect(second?.slice(9)).toMatch(words);
  const answered = JSON.parse(inJson.stdout) as object;
  expect(misfits(answered, 'RevokeResponse')).toEqual([]);
  const reached = Object.entries(Reach).find(([, value]) => value === told.reach)?.[0] ?? 'UNSPECIFIED';
  expect(answered).toMatchObject({ reach: `REACH_${reached}` });
  const lagging = told.laggingSidecars ?? [];
  expect('laggingSidecars' in answered ? answered.laggingSidecars : []).toEqual(lagging);
});

test('a revocation is applied here where nothing is said, and how far else it has gone is not told', async () => {
  sidecar.on.revoke = (request) => said(request, RevokeResponse.fromPartial({ asOf, entryId: 'e1', reach: Reach.SIDECAR }));
  const { code, stdout } = await ask(['revoke', '--token-file', userFile]);
  expect(requests).toMatchObject([{ waitFor: Reach.SIDECAR }]);
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^REVOKE {3}applied in .* · entry e1\n$/)]);
});

test('where there was nothing to kill, nothing is said to have gone anywhere', async () => {
  sidecar.on.revoke = (request) => said(request, RevokeResponse.fromPartial({ asOf, reach: Reach.SIDECAR }));
  const { code, stdout } = await ask(['revoke', '--token-file', userFile, '--wait', 'fleet']);
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^REVOKE {3}nothing to do: .*\n$/)]);
});

test('to wait for a fleet where there is none is exit code 2, told in words', async () => {
  sidecar.on.revoke = () => {
    throw new Refusal(status.FAILED_PRECONDITION, { reason: 'NO_FLEET' });
  };
  const words = await ask(['revoke', '--token-file', userFile, '--wait', 'fleet']);
  const json = await ask(['revoke', '--token-file', userFile, '--wait', 'fleet', '--json']);
  expect([words.code, words.stdout, json.code, json.stdout]).toEqual([2, '', 2, '']);
  expect(words.stderr).toMatch(/^sidegate: nothing was revoked: this sidecar is in no fleet.* leave --wait out/);
  expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'FAILED_PRECONDITION', reason: 'NO_FLEET' } });
});

test.each([
  ['shared', "and wait until it is in the fleet's log"],
  ['fleet', 'and wait until it is dead everywhere'],
])('--dry-run says what --wait %s would wait for, and sends nothing', async (wait, words) => {
  const told = await ask(['revoke', '--token-file', userFile, '--wait', wait, '--reason', 'r', '--dry-run']);
  const json = await ask(['revoke', '--token-file', userFile, '--wait', wait, '--dry-run', '--json']);
  expect(told).toMatchObject({ code: 0, stdout: `would revoke the given token, ${words}, because "r"; nothing was sent\n` });
  expect(JSON.parse(json.stdout)).toMatchObject({ waitFor: `REACH_${wait.toUpperCase()}` });
  expect(requests).toEqual([]);
});

test('find tells the facts of what is found, with exit code 0', async () => {
  sidecar.on.findToken = (request) => said(request, FindTokenResponse.fromPartial({ found: answer }));
  const words = await ask(['find', '--issuer', 'central', '--user', 'u1', '--project', 'p1']);
  const json = await ask(['find', '--user', 'u1', '--json', '--print-handle', '--claims', '--catalog-service', 'compute']);
  expect([words.code, json.code]).toEqual([0, 0]);
  expect(words.stdout).toMatch(/^active {3}alice (.*\n)+.*fingerprint f1/);
  expect(misfits(JSON.parse(json.stdout), 'FindTokenResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({ found: { active: true, fingerprint: 'f1' } });
  expect(requests).toMatchObject([
    { issuer: 'central', userId: 'u1', projectId: 'p1', include: { handle: false } },
    { issuer: '', userId: 'u1', projectId: '', include: { handle: true, claims: true, catalog: true, catalogServices: ['compute'] } },
  ]);
});

test('find with nothing found is exit code 1, and one who may not ask gets no answer', async () => {
  const words = await ask(['find', '--user', 'u1']);
  const json = await ask(['find', '--user', 'u1', '--json']);
  sidecar.on.findToken = () => {
    throw new Refusal(status.PERMISSION_DENIED, { reason: 'CALLER_UNKNOWN' });
  };
  const refused = await ask(['find', '--user', 'u1']);
  expect([words.code, json.code, refused.code]).toEqual([1, 1, 3]);
  expect(words.stdout).toMatch(/^none {5}no active token/);
  expect(JSON.parse(json.stdout)).toEqual({});
  expect(refused).toMatchObject({ stdout: '', stderr: expect.stringContaining('CALLER_UNKNOWN') });
});

test('status tells how far the subscribers have come who acknowledge, and who is furthest behind', async () => {
  const cursor = (revision: bigint) => ({ journal: 'j', revision });
  const at = (agoMs: number) => new Date(Date.now() - agoMs);
  const told = async (...acknowledgements: { subscription: string; cursor: object; acknowledgedAt: Date }[]) => {
    sidecar.on.getStatus = () =>
      GetStatusResponse.fromPartial({
        sidecar: 's',
        version: '1.0.0',
        serving: true,
        dependencies: [{ name: 'journal', reachable: true }],
        applied: cursor(1_300n),
        latest: cursor(1_300n),
        watcherCount: 1_000n,
        acknowledgements,
      });
    return (await ask(['status'])).stdout.split('\n').find((line) => line.startsWith('  watchers'));
  };
  const whole = { subscription: 'w1', cursor: cursor(1_300n), acknowledgedAt: at(1_000) };
  const late = { subscription: 'w2', cursor: cursor(66n), acknowledgedAt: at(41 * 60_000) };

  expect(await told()).toBe('  watchers                1,000');
  expect(await told(whole)).toBe('  watchers                1,000, of which 1 acknowledges: up to what is applied');
  expect(await told(late)).toBe('  watchers                1,000, of which 1 acknowledges: w2 is behind, by 1,234, said 41 min ago');
  expect(await told(whole, whole)).toBe('  watchers                1,000, of which 2 acknowledge: all up to what is applied');
  expect(await told(whole, late)).toBe(
    '  watchers                1,000, of which 2 acknowledge: w2 is furthest behind, by 1,234, said 41 min ago',
  );
});

test('status tells the servers of the shared tier and what waits for the authorities', async () => {
  const longAgo = (ms: number) => new Date(Date.now() - ms);
  sidecar.on.getStatus = () =>
    GetStatusResponse.fromPartial({
      sidecar: 's',
      version: '1.0.0',
      serving: true,
      dependencies: [
        { name: 'journal', reachable: true },
        { name: 'memcached/10.0.0.7:11211', reachable: true },
        { name: 'memcached/10.0.0.9:11211', reachable: false, problem: 'timed out', lastAnswerAt: longAgo(41 * 60_000) },
      ],
      tiers: [
        { name: 'memory', tokenCount: 3n, maxSizeBytes: 67_108_864n },
        { name: 'shared', lookupCount: 10n, hitCount: 9n },
      ],
      upstreamOutboxCount: 4n,
      forwardings: [
        { issuer: 'central', pendingCount: 3n, acceptedCount: 1234n, rejectedCount: 1n, expiredCount: 2n, oldestAt: longAgo(300_000) },
        { issuer: 'corp' },
      ],
    });
  const words = await ask(['status']);
  const json = await ask(['status', '--json']);
  expect(words.stdout.split('\n').slice(2)).toEqual([
    '  caches    memory        3 tokens, 0 of 64 MiB',
    '            shared        1 of 2 servers (10.0.0.9:11211 out: timed out, last answer 41 min ago), 90.0 % hits of 10',
    '  waiting   upstream      4',
    '            central       3 wait (the oldest for 5 min), 1,234 accepted, 1 refused, 2 ended before they could be told',
    '  watchers                0',
    '',
  ]);
  expect(misfits(JSON.parse(json.stdout), 'GetStatusResponse')).toEqual([]);
  expect(JSON.parse(json.stdout)).toMatchObject({ upstreamOutboxCount: '4', forwardings: [{ issuer: 'central', pendingCount: '3' }, {}] });
});

test('status tells each set of keys that is at hand, apart from its issuer', async () => {
  sidecar.on.getStatus = () =>
    GetStatusResponse.fromPartial({
      sidecar: 's',
      version: '1.0.0',
      serving: true,
      dependencies: [
        { name: 'issuer/central', reachable: true },
        { name: 'issuer/central/keys/fernet', reachable: true, keySetDigest: '0a1b2c' },
        { name: 'issuer/central/keys/jws', reachable: false, problem: 'there is no key in it' },
      ],
    });
  const words = await ask(['status']);
  expect(words.stdout.split('\n').slice(1, 4)).toEqual([
    '  issuer    central         ok',
    '  keys      central/fernet  ok     key set 0a1b2c',
    '            central/jws     NOT USED   there is no key in it',
  ]);
});

test('status tells the sources of news: that they live, what they brought, and what is wrong with them', async () => {
  const longAgo = (ms: number) => new Date(Date.now() - ms);
  const since = longAgo(30_000);
  sidecar.on.getStatus = () =>
    GetStatusResponse.fromPartial({
      sidecar: 's',
      version: '1.0.0',
      serving: true,
      degraded: true,
      degradations: [{ issuer: 'central', reasons: ['SOURCE_BEHIND(poll)'], since }],
      sources: [
        { name: 'central/bus', lastAliveAt: longAgo(400), lastNewsAt: longAgo(12 * 60_000) },
        { name: 'central/poll', lastAliveAt: longAgo(41_000), degradedSince: since },
        { name: 'elsewhere/poll' },
      ],
      dependencies: [
        { name: 'issuer/central', reachable: true },
        { name: 'news/central/bus', reachable: true },
        { name: 'news/central/poll', reachable: false, problem: '403: our user needs the role "service"' },
        { name: 'news/elsewhere/poll', reachable: false, problem: 'not asked yet' },
      ],
    });
  const words = await ask(['status']);
  const json = await ask(['status', '--json']);
  const clock = [since.getHours(), since.getMinutes(), since.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
  expect(words.stdout.split('\n').slice(1, 5)).toEqual([
    '  issuer    central         DEGRADED   degraded: SOURCE_BEHIND(poll)',
    expect.stringMatching(/^ {2}news {6}central\/bus {5}ok {5}last sign of life \d(\.\d)? s ago, last news 12 min ago$/),
    expect.stringContaining(
      `            central/poll    DEGRADED   since ${clock}: 403: our user needs the role "service"   last sign of life 4`,
    ),
    '            elsewhere/poll  ok     not asked yet   no sign of life yet',
  ]);
  expect(misfits(JSON.parse(json.stdout), 'GetStatusResponse')).toEqual([]);
  expect(JSON.parse(json.stdout).sources[1]).toMatchObject({
    name: 'central/poll',
    degradedSince: since.toISOString().replace('.000Z', 'Z'),
  });
});

const clockOf = (time: Date): string => time.toTimeString().slice(0, 8);

test('status tells the fleet in one row, whatever the number of issuers, and what waits to be told to it', async () => {
  const longAgo = (ms: number) => new Date(Date.now() - ms);
  sidecar.on.getStatus = () =>
    GetStatusResponse.fromPartial({
      sidecar: 's',
      version: '1.0.0',
      serving: true,
      sources: [
        { name: 'central/bus', lastAliveAt: longAgo(400) },
        { name: 'central/fleet', lastAliveAt: longAgo(3_000) },
        { name: 'a-very-long-name/fleet', lastAliveAt: longAgo(3_000) },
      ],
      dependencies: [
        { name: 'journal', reachable: true },
        { name: 'issuer/central', reachable: true },
        { name: 'fleet/rabbitmq', reachable: true },
      ],
      fleet: { members: ['nova-2', 'nova-3'] },
    });
  const words = await ask(['status']);
  const json = await ask(['status', '--json']);
  expect(words.stdout.split('\n').slice(1)).toEqual([
    '  issuer    central       ok',
    expect.stringMatching(/^ {2}news {6}central\/bus {3}ok {5}last sign of life \S+ s ago$/),
    expect.stringMatching(/^ {2}fleet {5}rabbitmq {6}ok {5}2 others: nova-2, nova-3 {3}last sign of life [345](\.\d)? s ago$/),
    '  journal                 ok     0 live entries',
    '  waiting   fleet         0',
    '  watchers                0',
    '',
  ]);
  const told = JSON.parse(json.stdout) as { sources: unknown[] };
  expect(misfits(told, 'GetStatusResponse')).toEqual([]);
  expect(told).toMatchObject({ fleet: { members: ['nova-2', 'nova-3'], outboxCount: '0' } });
  expect(told.sources).toHaveLength(3);
});

test('status tells a fleet whose log is behind, or cannot be reached, and what has to wait', async () => {
  const longAgo = (ms: number) => new Date(Date.now() - ms);
  const [first, second] = [longAgo(90_000), longAgo(50_000)];
  const scripted = (log: { reachable: boolean; problem?: string }, members: readonly string[]) =>
    GetStatusResponse.fromPartial({
      sidecar: 's',
      version: '1.0.0',
      serving: true,
      sources: [
        { name: 'one/fleet', lastAliveAt: longAgo(180_000), degradedSince: second },
        { name: 'two/fleet', degradedSince: first },
      ],
      dependencies: [{ name: 'fleet/jetstream', ...log }],
      upstreamOutboxCount: 1n,
      fleet: { members: [...members], outboxCount: 1234n, oldestAt: longAgo(300_000) },
    });
  sidecar.on.getStatus = () => scripted({ reachable: false, problem: 'it refuses the user' }, []);
  const away = await ask(['status']);
  const json = await ask(['status', '--json']);
  sidecar.on.getStatus = () => scripted({ reachable: true }, ['a', 'b', 'c', 'd', 'e', 'f']);
  const behind = await ask(['status']);
  const since = clockOf(first);
  expect(away.stdout.split('\n').slice(1)).toEqual([
    `  fleet     jetstream     AWAY   since ${since}: it refuses the user   nobody else is there   no sign of life yet`,
    '  waiting   upstream      1',
    '            fleet         1,234 (the oldest for 5 min)',
    '  watchers                0',
    '',
  ]);
  expect(misfits(JSON.parse(json.stdout), 'GetStatusResponse')).toEqual([]);
  expect(behind.stdout.split('\n')[1]).toBe(`  fleet     jetstream     DEGRADED   since ${since}   6 others   no sign of life yet`);
});

test('watch tells over how long a refresh is spread, and that it is about the catalogs', async () => {
  const cursor = { journal: 'J', revision: 6n };
  const invalidation = Invalidation.fromPartial({
    effect: 2,
    spread: { seconds: 30n },
    entryId: 'e',
    cursor,
    selector: { issuer: 'central', catalog: true },
  });
  const runs = [ask(['watch', '--details']), ask(['watch', '--details', '--json'])];
  for (const run of runs) {
    void run;
    const stream = await sidecar.subscription();
    stream.send({
      message: {
        $case: 'opened',
        value: WatchOpened.fromPartial({ latest: cursor, checkpointInterval: { seconds: 1n }, proofLifetime: { seconds: 10n } }),
      },
    });
    stream.send({ message: { $case: 'batch', value: { invalidations: [invalidation] } } });
    stream.cut(new Refusal(status.PERMISSION_DENIED));
  }
  const [words, json] = await Promise.all(runs);
  expect(words?.stdout).toMatch(/J:6 {2}REFRESH {2}the service catalogs of central {2}over 30 s\n$/);
  const told = JSON.parse(json?.stdout.split('\n').find((line) => line.includes('batch')) ?? '{}');
  expect(told).toMatchObject({ batch: { invalidations: [{ spread: '30s', selector: { issuer: 'central', catalog: true } }] } });
  expect(misfits(told, 'WatchResponse')).toEqual([]);
});

test('watch asks for a snapshot, and says where it ends; never beside a position', async () => {
  const cursor = { journal: 'J', revision: 6n };
  const runs = [ask(['watch', '--snapshot']), ask(['watch', '--snapshot', '--json'])];
  for (const run of runs) {
    void run;
    const stream = await sidecar.subscription();
    expect(stream.request.start).toEqual({ $case: 'snapshot', value: true });
    const opened = WatchOpened.fromPartial({ latest: cursor, checkpointInterval: { seconds: 1n }, proofLifetime: { seconds: 10n } });
    stream.send({ message: { $case: 'opened', value: opened } });
    stream.send({ message: { $case: 'snapshotEnd', value: { cursor } } });
    stream.cut(new Refusal(status.PERMISSION_DENIED));
  }
  const [words, json] = await Promise.all(runs);
  expect(words?.stderr).toContain('sidegate: that is everything until now, as of J:6\n');
  const told = JSON.parse(json?.stdout.split('\n').find((line) => line.includes('snapshotEnd')) ?? '{}');
  expect(told).toEqual({ snapshotEnd: { cursor: { journal: 'J', revision: '6' } } });
  expect(misfits(told, 'WatchResponse')).toEqual([]);
  expect((await ask(['watch', '--snapshot', '--after', 'J:1'])).code).toBe(2);
});

test('the service catalogs are refreshed by name, and cannot be revoked', async () => {
  sidecar.on.refresh = (request) => said(request, RefreshResponse.fromPartial({ asOf, entryId: 'e1' }));
  expect((await ask(['refresh', '--catalog', '--issuer', 'central'])).code).toBe(0);
  expect(requests).toMatchObject([{ selector: { issuer: 'central', catalog: true, everything: false } }]);
  expect((await ask(['revoke', '--catalog', '--yes'])).code).toBe(2);
  expect(requests).toHaveLength(1);
});

test.each([
  ['an access without a path', ['validate', '--access', 'compute:GET']],
  ['an access with a query', ['validate', '--access', 'compute:GET:/v2.1/servers?all=1']],
  ['an access that is a token', ['validate', '--access', user]],
  ['a stale time that is none', ['validate', '--stale', 'long']],
  ['a stale time of more than a day', ['validate', '--stale', '25h']],
  ['a service token in a file that is not there', ['validate', '--service-token-file', join(folder, 'absent')]],
  ['an empty service token', ['validate', '--service-token-file', file('empty', '\n')]],
  ['forwarding of all that fit', ['revoke', '--user', 'u', '--forward', '--yes']],
  ['a handle beside a selector', ['revoke', '--user', 'u', '--handle', '--yes']],
  ['nobody to find', ['find']],
  ['an empty user', ['find', '--user', '']],
])('exit code 2, and nothing is sent: %s', async (_, args) => {
  const { code, stdout, stderr } = await ask(args, { stdin: user });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^sidegate: .+\n$/);
  expect(requests).toEqual([]);
});

test('no token stands in any output, and a handle only where it was asked for', () => {
  expect(allOutput().length).toBeGreaterThan(2_000);
  expect([user, service].filter((secret) => allOutput().includes(secret))).toEqual([]);
  expect(allOutput().split(handle)).toHaveLength(3);
});
