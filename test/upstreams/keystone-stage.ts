// A scripted Keystone and an upstream that asks it, for the tests of this room.

import type { ReadOptions } from '../../src/ports.ts';
import { createKeystone, type KeystoneOptions } from '../../src/upstreams/keystone.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import whole from '../vectors/keystone-bodies.json' with { type: 'json' };
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };

/** The password that the scripted Keystone takes. */
export const password = 'correct-horse-battery';

/** A token that has ended: good for `allow_expired` alone. */
export const ended = whole.bodies.dave;

/** Whose token the logins give. */
export const ourUserId = '0647358f99e44d00bf9b53f5bfbdc276';

/** A stage: what Keystone answers about tokens and logins can be replaced by a test. */
export type KeystoneStage = Awaited<ReturnType<typeof createKeystoneStage>>;

/**
 * Sets the stage: nobody has logged in, every captured token is known until it revokes itself, `ended` is good only beyond its end,
 * tokens of ours live for an hour. `path`: of the configured url.
 */
export async function createKeystoneStage({ path = '/v3', ...overrides }: Partial<KeystoneOptions> & { readonly path?: string } = {}) {
  const authority = await createHttpAuthority();
  const clock = createFakeClock();
  const telemetry = createFakeTelemetry();
  const valid = new Set<string>();
  const captured = new Map<string, { readonly with: object | string; readonly without: object | string }>([
    ...Object.values(vectors.tokens).map((it) => [it.token, { with: it.body, without: it.body }] as const),
    ...Object.values(whole.bodies).map((it) => [it.token, { with: it.withCatalog, without: it.withoutCatalog }] as const),
  ]);
  let lifeMs = 3_600_000;
  let logins = 0;
  let secret = password;
  let taken = password;
  let onLogin: ((request: ReceivedRequest) => ScriptedAnswer | Promise<ScriptedAnswer>) | undefined;
  let onDelete: typeof onGet;
  let onGet: ((request: ReceivedRequest) => ScriptedAnswer | Promise<ScriptedAnswer>) | undefined;

  const isoOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
  const error = (code: number, message: string): ScriptedAnswer => ({ status: code, body: { error: { code, message, title: 'title' } } });

  function logIn(request: ReceivedRequest): ScriptedAnswer {
    logins += 1;
    if (!request.body.includes(JSON.stringify(taken))) return { status: 401, body: vectors.errors.login_wrong_password.body };
    const raw = `own-token-${logins}`;
    valid.add(raw);
    const nowMs = clock.nowMs();
    return {
      status: 201,
      headers: { 'x-subject-token': raw },
      body: { token: { issued_at: isoOf(nowMs), expires_at: isoOf(nowMs + lifeMs), user: { id: ourUserId }, methods: ['password'] } },
    };
  }

  function get(request: ReceivedRequest): ScriptedAnswer {
    const { 'x-auth-token': asker = '', 'x-subject-token': token = '' } = request.headers;
    if (!valid.has(asker) && !captured.has(asker)) return { status: 401, body: vectors.errors.service_token_revoked.body };
    const body = captured.get(token)?.[request.path.includes('nocatalog') ? 'without' : 'with'];
    const isOver = token === ended.token && !request.path.includes('allow_expired=1');
    if (body === undefined || isOver) return error(404, `Could not find token: ${token}.`);
    return { status: 200, headers: { 'x-subject-token': token }, body };
  }

  /** As any user's token may do with itself. */
  function revoke(request: ReceivedRequest): ScriptedAnswer {
    const { 'x-auth-token': asker = '', 'x-subject-token': token = '' } = request.headers;
    if (!captured.has(asker)) return { status: 401, body: vectors.errors.service_token_revoked.body };
    if (asker !== token) return { status: 403, body: vectors.errors.revoke_by_service_role.body };
    captured.delete(token);
    return { status: 204 };
  }

  authority.script((request) => {
    if (request.method === 'POST') return onLogin === undefined ? logIn(request) : onLogin(request);
    if (request.method === 'DELETE') return onDelete === undefined ? revoke(request) : onDelete(request);
    return onGet === undefined ? get(request) : onGet(request);
  });

  const upstream = createKeystone(
    {
      name: 'central',
      url: authority.url + path,
      login: {
        kind: 'password',
        user: { name: 'sidegate', domain: { name: 'Default' } },
        project: { name: 'service', domain: { name: 'Default' } },
        password: async () => secret,
      },
      deadlineMs: 5_000,
      attempts: 1,
      maxBodyBytes: 65_536,
      ...overrides,
    },
    { clock, log: telemetry.log, random: () => 0.5 },
  );

  return {
    authority,
    clock,
    telemetry,
    upstream,
    logIn,
    get,
    error,
    ask: (token: string, signal = new AbortController().signal, options?: ReadOptions) => upstream.ask(token, signal, options),
    revoke: (token: string, signal = new AbortController().signal) => upstream.revoke(token, signal),
    loginCount: () => logins,
    requestsOf: (method: string) => authority.requests.filter((request) => request.method === method),
    /** Every token of ours is dead from now on. */
    revokeOurs: () => valid.clear(),
    setLife(ms: number): void {
      lifeMs = ms;
    },
    setSecret(next: string): void {
      secret = next;
    },
    setTaken(next: string): void {
      taken = next;
    },
    answerLogins(script: typeof onLogin): void {
      onLogin = script;
    },
    answerDeletes(script: typeof onGet): void {
      onDelete = script;
    },
    answerGets(script: typeof onGet): void {
      onGet = script;
    },
    async close() {
      await upstream.close();
      await authority.close();
    },
  };
}
