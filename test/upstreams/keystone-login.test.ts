// Our own credential: how it logs in, when it is renewed, and that nobody hammers Keystone with it.

import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { ScriptedAnswer } from '../fakes/http-authority.ts';
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { createKeystoneStage, type KeystoneStage, ourUserId, password } from './keystone-stage.ts';

const good = vectors.tokens.project.token;
let stage: KeystoneStage;

beforeEach(async () => {
  stage = await createKeystoneStage();
});
afterEach(() => stage.close());

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    () => expect.unreachable('it answered'),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  expect(JSON.stringify([(error as Error).message, stage.telemetry.everything()])).not.toMatch(/own-token-|correct-horse|gAAAA/);
  return error as SidecarError;
}

const hundred = (): Promise<unknown>[] => Array.from({ length: 100 }, () => stage.ask(good));
const sentAuth = (): unknown => JSON.parse(stage.requestsOf('POST')[0]?.body ?? '').auth;
const usedTokens = (): unknown[] => stage.requestsOf('GET').map((request) => request.headers['x-auth-token']);

describe('the login', () => {
  it('by password names user and project within their domains', async () => {
    await stage.ask(good);
    expect(stage.requestsOf('POST')[0]).toMatchObject({
      path: '/v3/auth/tokens?nocatalog',
      headers: { 'content-type': 'application/json' },
    });
    expect(sentAuth()).toEqual({
      identity: { methods: ['password'], password: { user: { name: 'sidegate', domain: { name: 'Default' }, password } } },
      scope: { project: { name: 'service', domain: { name: 'Default' } } },
    });
  });

  it('by password may name both by id, or leave the project to Keystone', async () => {
    await stage.close();
    stage = await createKeystoneStage({ login: { kind: 'password', user: { id: 'u1' }, password: async () => password } });
    await stage.ask(good);
    expect(sentAuth()).toEqual({ identity: { methods: ['password'], password: { user: { id: 'u1', password } } } });
  });

  it('by application credential has no scope', async () => {
    await stage.close();
    stage = await createKeystoneStage({ login: { kind: 'application_credential', id: 'ac1', secret: async () => password } });
    await stage.ask(good);
    expect(sentAuth()).toEqual({
      identity: { methods: ['application_credential'], application_credential: { id: 'ac1', secret: password } },
    });
  });

  it('is one for a hundred calls that come at once', async () => {
    await Promise.all(hundred());
    expect(stage.loginCount()).toBe(1);
  });

  it('serves those who stay when the one who began it leaves', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    stage.answerLogins(async (request) => {
      await held;
      return stage.logIn(request);
    });
    const first = new AbortController();
    const leaving = stage.ask(good, first.signal);
    const staying = stage.ask(good);
    await stage.authority.received(1);
    first.abort();
    expect((await failure(leaving)).code).toBe('CANCELLED');
    release();
    expect(await staying).toMatchObject({ kind: 'facts' });
    expect(stage.loginCount()).toBe(1);
  });

  it('takes a replaced secret when Keystone refuses the one it has read', async () => {
    stage.answerLogins((request) => {
      stage.setTaken('new-secret');
      stage.setSecret('new-secret');
      return stage.logIn(request);
    });
    expect(await stage.ask(good)).toMatchObject({ kind: 'facts' });
    expect(stage.loginCount()).toBe(2);
  });

  it('does not try the same secret twice', async () => {
    stage.setTaken('another');
    expect((await failure(stage.ask(good))).reason).toBe('OUR_CREDENTIAL_REFUSED');
    expect(stage.loginCount()).toBe(1);
  });

  it('without a secret that can be read says so', async () => {
    await stage.close();
    stage = await createKeystoneStage({
      login: { kind: 'application_credential', id: 'ac1', secret: () => Promise.reject(new Error('ENOENT')) },
    });
    expect(await failure(stage.ask(good))).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_UNREADABLE' });
    expect(stage.authority.requests).toHaveLength(0);
  });

  const token = { issued_at: '2026-11-21T10:00:00.000000Z', expires_at: '2026-11-21T11:00:00.000000Z', user: { id: ourUserId } };
  const header = { 'x-subject-token': 'own-token-x' };
  it.each<[string, ScriptedAnswer, string]>([
    ['without a token in its header', { status: 201, body: { token } }, 'BAD_ANSWER'],
    ['without a body', { status: 201, headers: header }, 'BAD_ANSWER'],
    ['without an end', { status: 201, headers: header, body: { token: { ...token, expires_at: undefined } } }, 'BAD_ANSWER'],
    ['that has ended already', { status: 201, headers: header, body: { token: { ...token, expires_at: token.issued_at } } }, 'BAD_ANSWER'],
    ['with 200', { status: 200, headers: header, body: { token } }, 'BAD_ANSWER'],
    ['at a wrong url', { status: 404, body: { error: { code: 404, message: 'x' } } }, 'BAD_ANSWER'],
    [
      'by an application credential that is gone',
      { status: 404, body: { error: { code: 404, message: 'Could not find Application Credential: ac1.', title: 'Not Found' } } },
      'OUR_CREDENTIAL_REFUSED',
    ],
    ['that is redirected', { status: 302, headers: { location: 'http://127.0.0.1:1/' } }, 'BAD_ANSWER'],
    ['that Keystone does not understand', { status: 400, body: { error: { code: 400, message: 'x' } } }, 'OUR_CREDENTIAL_REFUSED'],
    ['that is forbidden', { status: 403 }, 'OUR_CREDENTIAL_REFUSED'],
    ['while Keystone is ill', { status: 500 }, 'KEYSTONE_UNAVAILABLE'],
    ['while Keystone is busy', { status: 429 }, 'KEYSTONE_UNAVAILABLE'],
    ['that is cut', { kind: 'cut' }, 'KEYSTONE_UNREACHABLE'],
  ])('answered %s is no login', async (_what, answer, reason) => {
    stage.answerLogins(() => answer);
    expect(await failure(stage.ask(good))).toMatchObject({ code: 'UNAVAILABLE', reason, retryAfterMs: expect.any(Number) });
    expect(stage.requestsOf('GET')).toHaveLength(0);
  });
});

describe('renewal before the end', () => {
  it('counts to the end of an application credential, which Keystone writes without a zone', async () => {
    const body = { issued_at: '2026-11-21T10:00:00.000000Z', expires_at: '2026-11-21T10:05:00', user: { id: ourUserId } };
    stage.answerLogins((request) => ({ ...stage.logIn(request), body: { token: body } }) as ScriptedAnswer);
    await stage.ask(good);
    await stage.clock.advance(240_000 - 1);
    await stage.ask(good);
    expect(stage.loginCount()).toBe(1);
    await stage.clock.advance(1);
    await stage.ask(good);
    await expect.poll(() => stage.loginCount()).toBe(2);
  });

  it.each([
    [3_600_000, 3_600_000 - 120_000],
    [300_000, 240_000],
    [10_000, 8_000],
  ])('of a life of %d ms comes after %d ms', async (lifeMs, renewAfterMs) => {
    stage.setLife(lifeMs);
    await stage.ask(good);
    await stage.clock.advance(renewAfterMs - 1);
    await stage.ask(good);
    expect(stage.loginCount()).toBe(1);
    await stage.clock.advance(1);
    await Promise.all(hundred());
    await expect.poll(() => stage.loginCount()).toBe(2);
    const nextToken = async (): Promise<unknown> => {
      await stage.ask(good);
      return usedTokens().at(-1);
    };
    await expect.poll(nextToken).toBe('own-token-2');
    expect(stage.loginCount()).toBe(2);
  });

  it('keeps nobody waiting: the old token serves until the new one is there', async () => {
    await stage.ask(good);
    await stage.clock.advance(3_600_000 - 1_000);
    stage.answerLogins(() => ({ kind: 'hang' }));
    expect(await stage.ask(good)).toMatchObject({ kind: 'facts' });
    expect(usedTokens()).toEqual(['own-token-1', 'own-token-1']);
  });

  it('that fails leaves the old token in use until its end, and is not tried at every call', async () => {
    await stage.ask(good);
    await stage.clock.advance(3_600_000 - 60_000);
    stage.answerLogins(() => ({ status: 401 }));
    await Promise.all(hundred());
    await expect.poll(() => stage.telemetry.lines.filter((line) => line.message.includes('could not be renewed'))).toHaveLength(1);
    for (let n = 0; n < 20; n += 1) expect(await stage.ask(good)).toMatchObject({ kind: 'facts' });
    expect(stage.requestsOf('POST')).toHaveLength(2);
    await stage.clock.advance(60_000);
    expect((await failure(stage.ask(good))).reason).toBe('OUR_CREDENTIAL_REFUSED');
  });

  it('follows the monotonic clock: a wall clock that steps renews nothing', async () => {
    await stage.ask(good);
    stage.clock.stepWall(86_400_000);
    await stage.ask(good);
    expect(stage.loginCount()).toBe(1);
  });

  it('is done before the question when the token has ended', async () => {
    await stage.ask(good);
    await stage.clock.advance(3_600_000);
    await stage.ask(good);
    expect(usedTokens()).toEqual(['own-token-1', 'own-token-2']);
  });
});

describe('a 401 to a question', () => {
  it('is answered by one login and one more question', async () => {
    await stage.ask(good);
    stage.revokeOurs();
    expect(await stage.ask(good)).toMatchObject({ kind: 'facts' });
    expect(usedTokens()).toEqual(['own-token-1', 'own-token-1', 'own-token-2']);
  });

  it('to a hundred questions at once is answered by one login', async () => {
    await stage.ask(good);
    stage.revokeOurs();
    const readings = await Promise.all(hundred());
    expect(readings.every((reading) => (reading as { kind: string }).kind === 'facts')).toBe(true);
    expect(stage.loginCount()).toBe(2);
  });

  it('that comes late, about a token that has been replaced, costs no login', async () => {
    await stage.ask(good);
    let answerLate = (_answer: ScriptedAnswer): void => {};
    const late = new Promise<ScriptedAnswer>((resolve) => {
      answerLate = resolve;
    });
    stage.answerGets((request) => (request.headers['x-auth-token'] === 'own-token-1' ? late : stage.get(request)));
    const slow = stage.ask(good);
    await stage.authority.received(3);
    await stage.clock.advance(3_600_000);
    await stage.ask(good);
    answerLate({ status: 401 });
    expect(await slow).toMatchObject({ kind: 'facts' });
    expect(stage.loginCount()).toBe(2);
    expect(usedTokens().at(-1)).toBe('own-token-2');
  });

  it('twice in a row is about OUR credential, and not tried again at once', async () => {
    await stage.ask(good);
    stage.answerGets(() => ({ status: 401, body: vectors.errors.service_token_garbage.body }));
    for (const error of await Promise.all(hundred().map(failure))) {
      expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
      expect(error.message).toContain('OUR credential');
    }
    expect(stage.loginCount()).toBe(2);
    const sent = stage.authority.requests.length;
    expect((await failure(stage.ask(good))).retryAfterMs).toBe(1_000);
    expect(stage.authority.requests).toHaveLength(sent);
  });
});

describe('after a refused login', () => {
  it('calls fail at once and say when to come again, 1 s first and 30 s at most', async () => {
    stage.setTaken('another');
    for (const [n, waitMs] of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].entries()) {
      expect((await failure(stage.ask(good))).reason).toBe('OUR_CREDENTIAL_REFUSED');
      expect(stage.loginCount()).toBe(n + 1);
      expect(await failure(stage.ask(good))).toMatchObject({ reason: 'OUR_CREDENTIAL_REFUSED', retryAfterMs: waitMs });
      await stage.clock.advance(waitMs - 1);
      expect((await failure(stage.ask(good))).retryAfterMs).toBe(1);
      expect(stage.loginCount()).toBe(n + 1);
      await stage.clock.advance(1);
    }
  });

  it('one that works begins anew', async () => {
    stage.setTaken('another');
    await failure(stage.ask(good));
    await stage.clock.advance(1_000);
    await failure(stage.ask(good));
    await stage.clock.advance(2_000);
    stage.setTaken(password);
    await stage.ask(good);
    stage.revokeOurs();
    stage.setTaken('another');
    await failure(stage.ask(good));
    expect((await failure(stage.ask(good))).retryAfterMs).toBe(1_000);
  });

  it('that nobody refused, 1 s or what Keystone asks for is enough', async () => {
    stage.answerLogins(() => ({ status: 503, headers: { 'retry-after': '3' } }));
    await failure(stage.ask(good));
    expect(await failure(stage.ask(good))).toMatchObject({ reason: 'KEYSTONE_UNAVAILABLE', retryAfterMs: 3_000 });
    stage.answerLogins(undefined);
    await stage.clock.advance(3_000);
    expect(await stage.ask(good)).toMatchObject({ kind: 'facts' });
  });
});

describe('the token that Keystone is asked with', () => {
  const signal = new AbortController().signal;
  setMaxListeners(0, signal);
  const { wanted, held } = { wanted: () => stage.upstream.own.wanted(signal), held: () => stage.upstream.own.held() };

  it('is none before the first login, which needs no question', async () => {
    expect(held()).toBeUndefined();
    await Promise.all([wanted(), wanted(), stage.ask(good)]);

    expect([stage.loginCount(), held()]).toEqual([1, 'own-token-1']);
    expect(usedTokens()).toEqual(['own-token-1']);
  });

  it('is renewed before it ends, and is none once it has ended or was refused', async () => {
    await wanted();
    await stage.clock.advance(3_600_000 - 120_000);
    await wanted();
    // Nobody waits for the new one: the old one still lives.
    await vi.waitFor(() => expect(held()).toBe('own-token-2'), 20_000);
    expect(stage.loginCount()).toBe(2);
    await stage.clock.advance(3_600_000);
    expect(held()).toBeUndefined();
    await stage.ask(good);
    stage.revokeOurs();
    stage.answerLogins(() => ({ status: 503 }));
    await failure(stage.ask(good));
    expect(held()).toBeUndefined();
  });

  it('is not asked for again and again where Keystone refuses it', async () => {
    stage.setTaken('another');
    for (let n = 0; n < 20; n += 1) await failure(wanted());
    expect(stage.loginCount()).toBe(1);
  });

  it('tells by the health of its Keystone why it cannot be had, before anybody asks about a token', async () => {
    stage.answerLogins(() => ({ status: 503 }));
    for (let n = 0; n < 3; n += 1) await failure(wanted());
    expect(stage.upstream.health()).toMatchObject({ reachable: false, problem: expect.stringContaining('did not take our login (503)') });
    expect(stage.telemetry.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);

    stage.answerLogins(undefined);
    await stage.clock.advance(1_000);
    await wanted();
    expect(stage.upstream.health()).toEqual({ reachable: true, lastAnswerAtMs: stage.clock.nowMs() });
    // One that is at hand says nothing of how it is now.
    await stage.clock.advance(1_000);
    await wanted();
    expect(stage.upstream.health().lastAnswerAtMs).toBe(stage.clock.nowMs() - 1_000);
  });
});
