// The API over real gRPC, against a whole sidecar with scripted issuers.

import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, credentials, type GrpcObject, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterEach, describe, expect, it } from 'vitest';
import { Token, ValidateRequest, ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts';
import { validateRequestOf } from '../fakes/requests.ts';
import { type Outcome, type SidecarPlan, startSidecar, type TestSidecar } from '../fakes/sidecar.ts';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A sidecar of `central`, whose tokens are good now; the roles are what callers need. */
async function start(plan: SidecarPlan = {}): Promise<TestSidecar & { readonly central: FakeIssuer }> {
  const central = createFakeIssuer();
  const sidecar = await startSidecar({ fakes: [central], ...plan });
  ends.push(sidecar.stop);
  return { ...sidecar, central };
}

/** A token of `sidecar.central` that is good for an hour from now, with a role. */
function give(central: FakeIssuer, raw: string, role = 'member'): string {
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000 - 1000;
  central.knows(raw, {
    identity: `audit-of-${raw}`,
    token: { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000, user: { id: 'alice', name: 'Alice' }, roles: [{ id: 'r1', name: role }] },
  });
  return raw;
}

const shown = ({ status, reason }: Outcome<unknown>): string => (reason === undefined ? status : `${status} ${reason}`);

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 2000 && !holds(); n += 1) await sleep(5);
  expect(holds()).toBe(true);
}

describe('Validate', () => {
  it('1,000 concurrent calls for one unknown token are exactly one question', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const held = sidecar.central.hold();
    const calls = Array.from({ length: 1000 }, (_, n) => sidecar.validate({ token: 't' }, { over: n % 2 ? 'tcp' : 'socket' }));
    await sleep(300);
    held.all();
    const outcomes = await Promise.all(calls);

    expect(outcomes.filter((one) => one.response?.active)).toHaveLength(1000);
    expect(sidecar.central.reads).toEqual(['t']);
  });

  it('tells the facts, the cursor, when they were confirmed, and how long they may be kept', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const first = (await sidecar.validate({ token: ' t\n' })).response;
    const second = (await sidecar.validate({ token: 't', include: { tags: true } })).response;

    expect(first).toMatchObject({
      active: true,
      provenance: 3,
      token: { issuer: 'central', user: { id: 'alice' } },
      tags: [],
      degraded: false,
    });
    expect(second).toMatchObject({ active: true, provenance: 1, fingerprint: first?.fingerprint, confirmedAt: first?.confirmedAt });
    expect(second?.tags.length).toBeGreaterThan(4);
    expect(Number(first?.maxAge?.seconds)).toBeGreaterThan(200);
    expect(first?.asOf?.journal).not.toBe('');
  });

  it('an inactive token is an answer, and tells no facts', async () => {
    const sidecar = await start();
    const { status, response } = await sidecar.validate({ token: 'unknown' });

    expect(status).toBe('OK');
    expect(response).toMatchObject({ active: false, reason: 4, token: undefined, maxAge: undefined });
  });

  it('no answer is UNAVAILABLE with a reason and when to come again, and says nothing of the token', async () => {
    const sidecar = await start();
    sidecar.central.isDown();

    expect(await sidecar.validate({ token: 't' })).toMatchObject({ status: 'UNAVAILABLE', reason: 'UPSTREAM_DOWN', retryAfterMs: 1000 });
    expect(await sidecar.metrics()).toContain('sidegate_validate_total{issuer="",result="no_answer",reason="UPSTREAM_DOWN"} 1');
  });

  it('what nobody planned is INTERNAL, without a word of what it was; the line has it, without the token', async () => {
    const sidecar = await start();
    sidecar.central.isDown(new TypeError('planned, of secret-token'));
    const outcome = await sidecar.validate({ token: 'secret-token' });

    expect(outcome).toMatchObject({ status: 'INTERNAL', reason: 'INTERNAL' });
    expect(outcome.message).not.toContain('planned');
    expect(sidecar.lines().some((line) => line['level'] === 'error' && JSON.stringify(line).includes('planned'))).toBe(true);
  });

  it('a caller’s own deadline ends the call, and the flight goes on', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const held = sidecar.central.hold();

    expect((await sidecar.validate({ token: 't' }, { deadlineMs: 100 })).status).toBe('DEADLINE_EXCEEDED');
    held.all();
    await until(() => sidecar.central.running === 0);
    expect((await sidecar.validate({ token: 't' })).response?.active).toBe(true);
    expect(sidecar.central.reads).toHaveLength(1);
  });

  it('a call without a deadline gets one of 5 s', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 60_000, concurrency: 4, queue: 4 } });
    const sidecar = await start({ fakes: [central] });
    const held = central.hold();
    const startedMs = performance.now();
    const outcome = await sidecar.validate({ token: 't' }, { endless: true });
    held.all();

    expect(shown(outcome)).toBe('DEADLINE_EXCEEDED DEADLINE');
    expect(performance.now() - startedMs).toBeGreaterThan(4900);
    expect(performance.now() - startedMs).toBeLessThan(8000);
  });

  it.each([
    { underWay: 2, outcome: 'OK' },
    { underWay: 3, outcome: 'RESOURCE_EXHAUSTED TOO_MANY_CALLS' },
  ])('of three calls at once, with $underWay under way one more is $outcome', async ({ underWay, outcome }) => {
    const sidecar = await start({ config: (config) => ({ ...config, limits: { ...config.limits, callsInFlight: 3 } }) });
    give(sidecar.central, 't');
    await sidecar.validate({ token: 't' });
    const held = sidecar.central.hold();
    const waiting = Array.from({ length: underWay }, (_, n) => sidecar.validate({ token: `w${n}` }));
    await until(() => sidecar.central.running === underWay);
    // A connection of its own: over one, HTTP/2 itself lets no more streams through.
    const other = new Client(sidecar.socket ?? '', credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    ends.push(() => other.close());
    const same = (bytes: Buffer): Buffer => bytes;
    const request = Buffer.from(ValidateRequest.encode(validateRequestOf({ token: 't' })).finish());
    const code = await new Promise<string>((resolve) => {
      other.makeUnaryRequest('/sidegate.v1.TokenService/Validate', same, same, request, (error) =>
        resolve(error ? `${error.code} ${error.details}` : 'OK'),
      );
    });
    held.all();
    await Promise.all(waiting);

    expect(code).toBe({ OK: 'OK' }[outcome] ?? '8 too many calls are under way');
  });

  it('a request above request_size is RESOURCE_EXHAUSTED, and one at it is read', async () => {
    const sidecar = await start({ config: (config) => ({ ...config, limits: { ...config.limits, requestSizeBytes: 4096 } }) });

    expect((await sidecar.call('Validate', Buffer.alloc(4097))).status).toBe('RESOURCE_EXHAUSTED');
    const request = ValidateRequest.encode(validateRequestOf({ token: 'x'.repeat(4093) })).finish();
    expect(request.length).toBe(4096);
    expect((await sidecar.call('Validate', request)).status).toBe('OK');
  });
});

describe('who may what', () => {
  it('loopback: Validate and Revoke by possession, and nothing else', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const over = { over: 'tcp' } as const;
    const selector = { userId: 'alice' };

    expect((await sidecar.validate({ token: 't' }, over)).response?.active).toBe(true);
    expect(shown(await sidecar.revoke({ target: { $case: 'selector', value: selector } }, over))).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect(shown(await sidecar.refresh({ selector }, over))).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect(shown(await sidecar.getStatus(over))).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect(shown(await sidecar.validate({ token: 't', include: { details: true } }, over))).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect((await sidecar.revoke({ target: { $case: 'token', value: 't' } }, over)).response?.entryId).toMatch(/^[0-9a-f]{40}$/);
    expect((await sidecar.validate({ token: 't' }, over)).response).toMatchObject({ active: false, reason: 3 });
  });

  it('over loopback a bearer token with the role may, one without may not, and one that is dead is nobody', async () => {
    const sidecar = await start();
    give(sidecar.central, 'admin-token', 'admin');
    give(sidecar.central, 'member-token');
    const refresh = (bearer: string) => sidecar.refresh({ selector: { userId: 'alice' } }, { over: 'tcp', bearer });

    expect(shown(await refresh('admin-token'))).toBe('OK');
    expect(shown(await refresh('member-token'))).toBe('PERMISSION_DENIED CALLER_NOT_ALLOWED');
    expect(shown(await refresh('dead-token'))).toBe('UNAUTHENTICATED CALLER_TOKEN_INACTIVE');
    sidecar.central.isDown();
    expect(shown(await refresh('other-token'))).toBe('UNAVAILABLE UPSTREAM_DOWN');
  });

  it('each act and each refusal is an audit line: who, what, how it went, and no token', async () => {
    const sidecar = await start();
    give(sidecar.central, 'admin-token', 'admin');
    give(sidecar.central, 'raw-token');
    await sidecar.validate({ token: 'raw-token' });
    await sidecar.revoke({ target: { $case: 'token', value: 'raw-token' }, reason: 'lost' });
    await sidecar.refresh({ selector: { userId: 'u' }, requestId: 'r1' }, { over: 'tcp', bearer: 'admin-token' });
    await sidecar.refresh({ selector: { userId: 'u' } }, { over: 'tcp' });
    await sidecar.refresh({ selector: { userId: 'v' }, requestId: 'r1' }, { over: 'tcp', bearer: 'admin-token' });

    const audits = sidecar.audits();
    expect(audits).toHaveLength(4);
    expect(audits[0]).toMatchObject({ act: 'revoke', actor: 'socket', outcome: 'done', reason: 'lost', entryId: expect.any(String) });
    expect(audits[1]).toMatchObject({ act: 'refresh', actor: expect.stringMatching(/^Alice@central \([0-9a-f]{32}\)$/), outcome: 'done' });
    expect(audits[2]).toMatchObject({ act: 'refused', actor: 'loopback', outcome: 'refresh: CALLER_UNKNOWN' });
    expect(audits[3]).toMatchObject({ act: 'refresh', outcome: expect.stringMatching(/^[A-Z_]+$/) });
    expect(audits[1]).toMatchObject({ selector: { conditions: [{ dimension: 'user', value: 'u' }] } });
    expect(JSON.stringify(audits)).not.toMatch(/raw-token|admin-token/);
  });
  it('a stranger’s long words are refused before any of them is written down', async () => {
    const sidecar = await start();
    const request = { selector: { issuer: 'central', userId: 'alice' }, reason: 'x'.repeat(100_000) };

    expect(await sidecar.refresh(request, { over: 'tcp' })).toMatchObject({ status: 'INVALID_ARGUMENT', reason: 'TEXT_TOO_LONG' });
    expect(sidecar.audits()).toEqual([]);
  });

  it('details tell the facts of a dead token and who killed it why, to who may see them', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    await sidecar.validate({ token: 't' });
    await sidecar.revoke({ target: { $case: 'token', value: 't' }, reason: 'lost', requestId: 'r1' });
    const told = (await sidecar.validate({ token: 't', include: { details: true } })).response;
    const plain = (await sidecar.validate({ token: 't' })).response;

    expect(told).toMatchObject({
      active: false,
      reason: 3,
      token: { user: { id: 'alice' } },
      revokedBy: { selector: { fingerprint: told?.fingerprint }, origin: { actor: 'socket', reason: 'lost', requestId: 'r1' } },
    });
    expect(plain).toMatchObject({ token: undefined, revokedBy: { effect: 1, selector: undefined, origin: undefined } });
  });

  it('where nobody local may validate, a bearer token of the caller is needed', async () => {
    const sidecar = await start({ callers: [{ who: { kind: 'token-role', role: 'admin', issuer: 'central' }, may: ['validate'] }] });
    give(sidecar.central, 'admin-token', 'admin');
    give(sidecar.central, 't');

    expect(shown(await sidecar.validate({ token: 't' }))).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect((await sidecar.validate({ token: 't' }, { bearer: 'admin-token' })).response?.active).toBe(true);
  });
});

describe('Revoke and Refresh', () => {
  it('a Validate that starts after the answer sees it, and the cursor and entry of the answer are had', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    await sidecar.validate({ token: 't' });
    const { response } = await sidecar.revoke({ target: { $case: 'selector', value: { userId: 'alice' } } });
    const entryId = response?.entryId ?? '';
    const asOf = response?.asOf ?? { journal: '', revision: 0n };

    expect(response).toMatchObject({ reach: 1, reachedAt: expect.any(Date) });
    for (const atLeastAsFresh of [
      { $case: 'cursor' as const, value: asOf },
      { $case: 'entryId' as const, value: entryId },
    ]) {
      expect((await sidecar.validate({ token: 't', atLeastAsFresh })).response).toMatchObject({ active: false, reason: 3, asOf });
    }
  });

  it('S4 a token of which only the shape is known: one above the budget is RESOURCE_EXHAUSTED with RetryInfo', async () => {
    const sidecar = await start();
    sidecar.central.isDown();
    const revoke = (n: number) => sidecar.revoke({ target: { $case: 'token', value: `stranger-${n}` } }, { over: 'tcp' });
    const outcomes = await Promise.all(Array.from({ length: 60 }, (_, n) => revoke(n)));
    const refused = outcomes.filter((one) => one.status !== 'OK');

    // Ten at once; how many more depends on how long the sixty took.
    expect(refused.length).toBeGreaterThanOrEqual(1);
    expect(refused.length).toBeLessThanOrEqual(50);
    expect(refused[0]).toMatchObject({ status: 'RESOURCE_EXHAUSTED', reason: 'TOO_MANY_UNVERIFIED', retryAfterMs: 1000 });
  });

  it('a journal that cannot be followed keeps nobody waiting beyond the deadline, and that is no accident of ours', async () => {
    let isStuck = false;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const journal = createMemoryJournal({ clock: systemClock });
    const stuck = new Proxy(journal, {
      get(target, name) {
        if (name === 'read' && isStuck) return () => released.then(() => []);
        const member: unknown = Reflect.get(target, name);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
    const sidecar = await start({ journal: stuck });
    give(sidecar.central, 't');
    await sidecar.validate({ token: 't' });
    isStuck = true;
    ends.push(release);
    const outcomes = await Promise.all([
      sidecar.refresh({ selector: { userId: 'alice' } }, { endless: true }),
      sidecar.revoke({ target: { $case: 'token', value: 't' } }, { endless: true }),
    ]);

    expect(outcomes.map(shown)).toEqual(['DEADLINE_EXCEEDED NOT_APPLIED_YET', 'DEADLINE_EXCEEDED DEADLINE']);
    expect(sidecar.lines().filter((line) => line['level'] === 'error')).toEqual([]);
  });

  it('S14 a retry gets the first answer’s id; another body is ALREADY_EXISTS', async () => {
    const sidecar = await start();
    const revoke = (userId: string) => sidecar.revoke({ target: { $case: 'selector', value: { userId } }, requestId: 'r1' });
    const first = await revoke('alice');

    expect((await revoke('alice')).response?.entryId).toBe(first.response?.entryId);
    expect((await revoke('bob')).status).toBe('ALREADY_EXISTS');
  });

  it('S3 other forms are taken up to a thousand, and the next one is RESOURCE_EXHAUSTED', async () => {
    const sidecar = await start();
    const refresh = (n: number) => sidecar.refresh({ selector: { userId: `u${n}`, trustId: 'x' } });
    const outcomes = await Promise.all(Array.from({ length: 999 }, (_, n) => refresh(n)));
    expect(new Set(outcomes.map(shown))).toEqual(new Set(['OK']));

    expect(shown(await refresh(1000))).toBe('OK');
    expect(shown(await refresh(1001))).toBe('RESOURCE_EXHAUSTED TOO_MANY_FORMS');
    expect(shown(await sidecar.refresh({ selector: { userId: 'u', projectId: 'p' } }))).toBe('OK');
  });
});

describe('health and reflection', () => {
  const healthProto = fileURLToPath(new URL('../../node_modules/grpc-health-check/proto/health/v1/health.proto', import.meta.url));

  function healthClient(address: string) {
    const root = loadPackageDefinition(loadSync(healthProto, { enums: String })) as unknown as {
      grpc: { health: { v1: { Health: ServiceClientConstructor } } };
    };
    const client = new root.grpc.health.v1.Health(address, credentials.createInsecure());
    ends.push(() => client.close());
    return client;
  }

  const check = (client: ReturnType<typeof healthClient>, service: string): Promise<string> =>
    new Promise((resolve) =>
      client['check']?.({ service }, (error: { code: number } | null, answer?: { status: string }) =>
        resolve(error ? `error ${error.code}` : (answer?.status ?? '')),
      ),
    );

  it('health tells the sidecar and each issuer, over both listeners', async () => {
    const sidecar = await start();
    for (const address of [sidecar.socket ?? '', sidecar.tcp ?? '']) {
      const client = healthClient(address);
      for (const service of ['', 'sidegate.v1.TokenService', 'issuer/central']) expect(await check(client, service)).toBe('SERVING');
      expect(await check(client, 'issuer/nobody')).toBe('error 5');
    }
  });

  it('the sidecar’s health does not follow an issuer’s', async () => {
    const sidecar = await start();
    const client = healthClient(sidecar.socket ?? '');
    sidecar.central.isDown();
    let told = '';
    for (let n = 0; n < 100 && told !== 'NOT_SERVING'; n += 1) {
      await sleep(50);
      told = await check(client, 'issuer/central');
    }

    expect(told).toBe('NOT_SERVING');
    expect(await check(client, '')).toBe('SERVING');
  });

  it('who watches health is told of a drain at once, while a call that runs is still answered', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const client = healthClient(sidecar.socket ?? '');
    const statuses: string[] = [];
    const watching = client['watch']?.({ service: '' });
    watching.on('data', (answer: { status: string }) => statuses.push(answer.status));
    watching.on('error', () => undefined);
    await until(() => statuses.includes('SERVING'));
    const held = sidecar.central.hold();
    const running = sidecar.validate({ token: 't' });
    await until(() => sidecar.central.running === 1);
    sidecar.drain();
    await until(() => statuses.includes('NOT_SERVING'));
    held.all();

    expect((await running).response?.active).toBe(true);
    expect(statuses).toEqual(['SERVING', 'NOT_SERVING']);
    // A new call is not served: never a false SERVING.
    expect(await check(client, '')).not.toBe('SERVING');
    watching.cancel();
    await sidecar.stopped;
  });

  it('reflection names the service', async () => {
    const sidecar = await start();
    const same = (bytes: Buffer): Buffer => bytes;
    const call = sidecar.clients.socket.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', same, same);
    const answer = new Promise<string>((resolve, reject) => {
      call.on('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
      call.on('error', reject);
    });
    // list_services: "*"
    call.write(Buffer.from([0x3a, 1, 0x2a]));

    expect(await answer).toContain('sidegate.v1.TokenService');
    call.end();
  });
});

/** A message of either generator in one spelling: texts, numbers as text, times as seconds, oneofs as their case. */
function plainOf(value: unknown): unknown {
  if (value instanceof Date) return { seconds: String(value.getTime() / 1000) };
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return String(value);
  if ('low' in value && 'high' in value) return String((BigInt(Number(value.high) >>> 0) << 32n) | BigInt(Number(value.low) >>> 0));
  const fields = Object.entries(value).flatMap(([name, inner]): [string, unknown][] => {
    // The generated code's own note of what it did not know.
    if (inner === undefined || name === '_unknownFields') return [];
    if (typeof inner === 'object' && inner !== null && '$case' in inner && 'value' in inner)
      return [[String(inner.$case), plainOf(inner.value)]];
    return [[name, plainOf(inner)]];
  });
  return Object.fromEntries(fields);
}

describe('the contract', () => {
  /** A client made from the .proto itself, without any generated code. */
  function foreignClient(address: string) {
    const file = fileURLToPath(new URL('../../proto/sidegate/v1/token_service.proto', import.meta.url));
    const options = { keepCase: true, enums: String, longs: String, defaults: true, oneofs: true, includeDirs: [] };
    const root = loadPackageDefinition(loadSync(file, options)) as GrpcObject & {
      sidegate: { v1: { TokenService: ServiceClientConstructor } };
    };
    const client = new root.sidegate.v1.TokenService(address, credentials.createInsecure());
    ends.push(() => client.close());
    return (method: string, request: object): Promise<Record<string, unknown>> =>
      new Promise((resolve, reject) =>
        client[method]?.(request, (error: Error | null, response: Record<string, unknown>) => (error ? reject(error) : resolve(response))),
      );
  }

  it('a client made from the .proto alone reads what the hand-written answer says', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const call = foreignClient(sidecar.tcp ?? '');
    const answer = await call('Validate', { token: 't', include: { tags: true }, demand: { any_of_roles: ['member'] } });
    const generated = (await sidecar.validate({ token: 't', include: { tags: true } })).response;

    expect(answer).toMatchObject({
      active: true,
      reason: 'INACTIVE_REASON_UNSPECIFIED',
      provenance: 'PROVENANCE_AUTHORITY',
      token: { issuer: 'central', user: { id: 'alice', name: 'Alice' }, roles: [{ id: 'r1', name: 'member' }] },
      fingerprint: generated?.fingerprint,
      as_of: { journal: generated?.asOf?.journal, revision: '0' },
      tags: generated?.tags.map(String),
      degraded: false,
    });
  });

  it('every field of every message has the number and type that the generated code gives it', () => {
    const file = fileURLToPath(new URL('../../proto/sidegate/v1/token_service.proto', import.meta.url));
    const definition = loadSync(file, { keepCase: false });
    const service = definition['sidegate.v1.TokenService'] as unknown as Record<string, { responseDeserialize(bytes: Buffer): unknown }>;
    const token = Token.fromPartial({
      issuer: 'i',
      format: 'f',
      issuedAt: new Date(1000),
      expiresAt: new Date(2000),
      user: {
        id: 'u',
        name: 'n',
        domain: { id: 'd', name: 'dn' },
        passwordExpiresAt: new Date(3000),
        federation: { identityProviderId: 'idp', protocolId: 'p', groupIds: ['g'] },
      },
      scope: { $case: 'project', value: { id: 'p', name: 'pn', domain: { id: 'pd', name: 'x' }, isDomain: true } },
      roles: [{ id: 'r', name: 'rn' }],
      methods: ['password'],
      auditIds: ['a'],
      tokenId: 't',
      sessionId: 's',
      clientId: 'c',
      audiences: ['aud'],
      scopes: ['sc'],
      trust: { id: 'tr', trustorUserId: 'x', trusteeUserId: 'y', impersonation: true },
      applicationCredential: {
        id: 'ac',
        name: 'acn',
        restricted: true,
        accessRules: [{ id: 'ar', service: 'compute', method: 'GET', path: '/v2.1/**' }],
      },
      accessTokenId: 'at',
      certificateThumbprint: 'ct',
      isAdminProject: true,
      claimsJson: '{}',
      catalog: [{ id: 's', type: 'compute', name: 'nova', endpoints: [{ id: 'e', interface: 'public', regionId: 'r', url: 'http://n' }] }],
    });
    const full = ValidateResponse.fromPartial({
      active: true,
      reason: 3,
      token,
      service: token,
      handle: 'h',
      fingerprint: 'fp',
      asOf: { journal: 'j', revision: 5n },
      maxAge: { seconds: 1n, nanos: 2 },
      tags: [1n, 2n ** 63n],
      confirmedAt: new Date(4000),
      provenance: 4,
      degraded: true,
      degradedBy: ['CLOCK'],
      revokedBy: {
        cursor: { journal: 'j', revision: 4n },
        effect: 1,
        tags: [3n],
        issuedBefore: new Date(5000),
        learnedAt: new Date(6000),
        forgetAt: new Date(7000),
        selector: {
          issuer: 'i',
          fingerprint: 'f',
          tokenId: 't',
          auditId: 'a',
          auditChainId: 'ac',
          sessionId: 's',
          userId: 'u',
          projectId: 'p',
          domainId: 'd',
          roleId: 'r',
          trustId: 'tr',
          applicationCredentialId: 'apc',
          clientId: 'c',
          accessTokenId: 'at',
          keyId: 'k',
          everything: true,
          userDomainId: 'ud',
          scopeDomainId: 'sd',
          projectDomainId: 'pd',
          scopeKind: 'sk',
          identityProviderId: 'idp',
          groupId: 'g',
          catalog: true,
        },
        origin: { source: 's', event: 'e', requestId: 'r', actor: 'a', reason: 'why' },
        entryId: 'e',
        spread: { seconds: 30n, nanos: 5 },
      },
    });
    const read = service['Validate']?.responseDeserialize(Buffer.from(ValidateResponse.encode(full).finish()));

    expect(plainOf(read)).toEqual(plainOf(full));
  });

  it('and its Revoke, Refresh and GetStatus are understood', async () => {
    const sidecar = await start();
    give(sidecar.central, 't');
    const call = foreignClient(sidecar.socket ?? '');

    expect(await call('Refresh', { selector: { user_id: 'alice' } })).toMatchObject({ reach: 'REACH_SIDECAR', as_of: { revision: '1' } });
    expect(await call('Revoke', { token: 't', reason: 'lost' })).toMatchObject({ reach: 'REACH_SIDECAR' });
    expect(await call('Validate', { token: 't' })).toMatchObject({
      active: false,
      reason: 'INACTIVE_REASON_REVOKED',
      revoked_by: { effect: 'EFFECT_REVOKE' },
    });
    expect(await call('GetStatus', {})).toMatchObject({ sidecar: 'test', serving: true, degraded: false });
  });
});
