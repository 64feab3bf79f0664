// Keystone as an authority: what goes over the wire, all captured answers, health; what each answer means is in keystone-answers.test.ts.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { upstreamConformance } from '../conformance/upstream.ts';
import type { ScriptedAnswer } from '../fakes/http-authority.ts';
import whole from '../vectors/keystone-bodies.json' with { type: 'json' };
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { createKeystoneStage, ended, type KeystoneStage, password } from './keystone-stage.ts';

const good = vectors.tokens.project;
let stage: KeystoneStage;

beforeEach(async () => {
  stage = await createKeystoneStage();
});
afterEach(async () => {
  const logged = stage.telemetry.everything();
  expect([good.token, password, 'own-token-'].filter((secret) => logged.includes(secret))).toEqual([]);
  await stage.close();
});

async function restage(options: Parameters<typeof createKeystoneStage>[0]): Promise<void> {
  await stage.close();
  stage = await createKeystoneStage(options);
}

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    (reading) => expect.unreachable(`it answered ${JSON.stringify(reading)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  const told = JSON.stringify([(error as Error).message, String((error as Error).cause)]);
  expect([good.token, password, 'own-token-'].filter((secret) => told.includes(secret))).toEqual([]);
  return error as SidecarError;
}

/** The credential has proven itself on a token of somebody else. */
const proven = (): Promise<unknown> => stage.ask(good.token);

const asks = (answer: ScriptedAnswer): Promise<unknown> => {
  stage.answerGets(() => answer);
  return stage.ask(good.token);
};

describe('a question', () => {
  it('is a GET without the catalog, that says that we know access rules', async () => {
    await stage.ask(good.token);
    expect(stage.requestsOf('GET')).toHaveLength(1);
    expect(stage.requestsOf('GET')[0]).toMatchObject({
      path: '/v3/auth/tokens?nocatalog',
      headers: { 'x-auth-token': 'own-token-1', 'x-subject-token': good.token, 'openstack-identity-access-rules': '1.0' },
    });
  });

  it('goes to a url with a slash at its end, too', async () => {
    await restage({ path: '/v3/' });
    await stage.ask(good.token);
    expect(stage.authority.requests.map((request) => request.path)).toEqual(['/v3/auth/tokens?nocatalog', '/v3/auth/tokens?nocatalog']);
  });

  it.each(Object.entries(vectors.tokens))('about a captured token (%s) gives facts', async (_kind, { token, body }) => {
    expect(await stage.ask(token)).toMatchObject({
      kind: 'facts',
      provenance: 'authority',
      facts: { identity: body.token.audit_ids[0], token: { issuer: 'central', format: 'opaque', user: { id: body.token.user.id } } },
    });
  });

  it.each([
    [{}, '?nocatalog'],
    [{ catalog: false, allowExpired: false }, '?nocatalog'],
    [{ catalog: true }, ''],
    [{ allowExpired: true }, '?nocatalog&allow_expired=1'],
    [{ catalog: true, allowExpired: true }, '?allow_expired=1'],
  ])('with %j is asked with the query "%s"', async (options, query) => {
    await stage.ask(good.token, undefined, options);
    expect(stage.requestsOf('GET').map(({ path }) => path)).toEqual([`/v3/auth/tokens${query}`]);
  });

  it('for the catalog gets it, byte for byte, beside the same facts', async () => {
    const { token, withCatalog } = whole.bodies.oauth1;
    const without = await stage.ask(token);
    const reading = await stage.ask(token, undefined, { catalog: true });
    const { facts, catalog } = reading.kind === 'facts' ? reading : expect.unreachable(reading.reason);
    expect(without).toMatchObject({ kind: 'facts', facts: { token: facts.token } });
    expect(without).not.toHaveProperty('catalog');
    expect(withCatalog).toContain(`"catalog": ${catalog}, "OS-OAUTH1"`);
  });

  it.each([311, 4_096, 20_000, 40_000])('about a token of %d bytes is sent whole, and its echo is read', async (length) => {
    const token = `MII${'x'.repeat(length - 3)}`;
    stage.answerGets((request) => ({
      status: 200,
      headers: { 'x-subject-token': request.headers['x-subject-token'] ?? '' },
      body: whole.bodies.project.withCatalog,
    }));
    expect(await stage.ask(token)).toMatchObject({ kind: 'facts' });
    expect(stage.requestsOf('GET')[0]?.headers['x-subject-token']).toBe(token);
  });

  it('tells how Keystone’s clock stands to ours, also with a refusal', async () => {
    const date = new Date(stage.clock.nowMs() + 60_000).toUTCString();
    stage.answerGets((request) => ({ ...stage.get(request), headers: { date } }) as ScriptedAnswer);
    expect(await stage.ask(good.token)).toMatchObject({ clockOffsetMs: 60_000 });
    expect(await stage.ask('nobody-knows')).toMatchObject({ kind: 'inactive', clockOffsetMs: 60_000 });
  });

  it.each([[''], ['a b'], ['a\r\nx: y'], ['a\0'], ['é'], ['\u{1f600}']])('with %j is never sent', async (token) => {
    expect(await failure(stage.ask(token))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(stage.authority.requests).toHaveLength(0);
  });
});

describe('a captured answer', () => {
  const errors = vectors.errors;
  const answered = (it: { status: number; headers: object; body: unknown }): ScriptedAnswer => ({
    status: it.status,
    headers: it.headers as Record<string, string>,
    ...(it.body !== null && { body: it.body as object }),
  });

  it.each([
    'expired',
    'revoked',
    'revoked_allow_expired',
    'garbage',
    'garbage_fernet_like',
    'one_character_changed',
    'access_rules_without_header',
  ] as const)('%s: the token is refused', async (name) => {
    expect(await asks(answered(errors[name]))).toEqual(expect.objectContaining({ kind: 'inactive', reason: 'REFUSED' }));
  });

  it.each(['expired_allow_expired', 'token_validates_itself', 'other_token_of_the_same_user', 'access_rules_with_header'] as const)(
    '%s: facts',
    async (name) => {
      expect(await asks(answered(errors[name]))).toMatchObject({ kind: 'facts' });
    },
  );

  it.each([
    'service_token_garbage',
    'service_token_expired',
    'service_token_revoked',
    'service_token_missing',
    'revoked_token_validates_itself',
  ] as const)('%s: it is about our credential', async (name) => {
    const error = await failure(asks(answered(errors[name])));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
    expect(error.message).toContain('OUR credential');
  });

  it.each(['service_token_without_service_role', 'revoke_by_service_role'] as const)('%s: our credential lacks its role', async (name) => {
    await proven();
    const error = await failure(asks(answered(errors[name])));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_FORBIDDEN' });
    expect(error.message).toContain('OUR credential');
  });

  it.each(['subject_header_empty', 'subject_header_missing'] as const)('%s: somebody dropped our header; no answer', async (name) => {
    expect(await failure(asks(answered(errors[name])))).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
  });

  it.each(['head_valid', 'head_revoked', 'head_valid_by_admin', 'head_revoked_by_admin', 'revoke_by_itself'] as const)(
    '%s: without a body there is no answer',
    async (name) => {
      await proven();
      expect(await failure(asks(answered(errors[name])))).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    },
  );

  it.each(['login_wrong_password', 'login_scope_without_role'] as const)('%s: our credential is refused', async (name) => {
    stage.answerLogins(() => answered(errors[name]));
    expect(await failure(stage.ask(good.token))).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
    expect(stage.requestsOf('GET')).toHaveLength(0);
  });
});

describe('health', () => {
  it('is not known before the first question', () => {
    expect(stage.upstream.health()).toEqual({ reachable: false, problem: 'not asked yet' });
  });

  it('follows the last question, and a refusal is an answer', async () => {
    await stage.ask('nobody-knows');
    expect(stage.upstream.health()).toEqual({ reachable: true, lastAnswerAtMs: stage.clock.nowMs() });
    await failure(asks({ status: 503 }));
    expect(stage.upstream.health()).toMatchObject({
      reachable: false,
      problem: expect.stringContaining('503'),
      lastAnswerAtMs: stage.clock.nowMs(),
    });
  });

  it('is logged when it changes, not with each question', async () => {
    stage.answerGets(() => ({ status: 503 }));
    for (let n = 0; n < 3; n += 1) await failure(stage.ask(good.token));
    stage.answerGets(undefined);
    await stage.ask(good.token);
    expect(stage.telemetry.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
    expect(stage.telemetry.lines.at(-1)?.message).toBe('the authority answers again');
  });

  it('does not suffer from callers that leave', async () => {
    await stage.ask(good.token);
    await failure(stage.ask(good.token, AbortSignal.abort()));
    expect(stage.upstream.health().reachable).toBe(true);
  });
});

upstreamConformance(
  'a scripted Keystone',
  async (deadlineMs) => {
    const unknown = 'gAAAAABnobody-knows-this-one';
    const it = await createKeystoneStage({ deadlineMs });
    let before = 0;
    return {
      upstream: it.upstream,
      good: { token: good.token, userId: good.body.token.user.id },
      unknown,
      disposable: vectors.tokens.trust.token,
      ended: ended.token,
      catalogOf: { token: whole.bodies.project.token, catalog: JSON.parse(whole.bodies.project.withCatalog).token.catalog },
      secrets: [good.token, unknown, password, 'own-token-', vectors.tokens.trust.token],
      stop: () => it.authority.stop(),
      resume: () => it.authority.resume(),
      async hang() {
        before = it.authority.requests.length;
        it.answerGets(() => ({ kind: 'hang' }));
      },
      hanging: () => it.authority.received(before + 1),
      revokeOurCredential: async () => it.revokeOurs(),
      renewals: it.loginCount,
      logged: () => it.telemetry.everything(),
      close: it.close,
    };
  },
  { hasCatalogs: true, speaksOfEnded: true, revokes: true },
);
