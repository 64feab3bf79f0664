// Keystone as an authority: each row of S9, all captured answers, and what goes over the wire.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { upstreamConformance } from '../conformance/upstream.ts';
import type { ScriptedAnswer } from '../fakes/http-authority.ts';
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { createKeystoneStage, type KeystoneStage, ourUserId, password } from './keystone-stage.ts';

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

  it('takes what Keystone echoes for nothing', async () => {
    const reading = await asks({ status: 200, headers: { 'x-subject-token': 'another' }, body: good.body });
    expect(reading).toMatchObject({ kind: 'facts' });
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

describe('S9', () => {
  const keystones = (code: number, message = 'message'): ScriptedAnswer => ({
    status: code,
    body: { error: { code, message, title: 't' } },
  });
  const html = '<html>not here</html>';

  it.each<[string, ScriptedAnswer]>([
    ['HTML', { status: 404, headers: { 'content-type': 'text/html' }, body: html }],
    ['nothing', { status: 404 }],
    ['JSON of somebody else', { status: 404, body: { message: 'no Route matched' } }],
    ['an error without a code', { status: 404, body: { error: { message: 'x' } } }],
    ['a code in words', { status: 404, body: { error: { code: '404', message: 'x' } } }],
    ['another code', { status: 404, body: { error: { code: 503, message: 'x' } } }],
    ['two codes', { status: 404, body: '{"error":{"code":503,"code":404,"message":"x"}}' }],
    ['half of its JSON', { status: 404, body: '{"error":{"code":404,' }],
    ['a list', { status: 404, body: [{ error: { code: 404 } }] }],
  ])('404 with %s is no answer', async (_what, answer) => {
    expect(await failure(asks(answer))).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
  });

  it('404 in Keystone’s own words is a refusal', async () => {
    expect(await asks(keystones(404))).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
  });

  it('403 is about us as long as this credential has never validated the token of another', async () => {
    expect(await failure(asks(keystones(403, 'You are not authorized to perform the requested action.')))).toMatchObject({
      reason: 'OUR_CREDENTIAL_FORBIDDEN',
    });
  });

  it.each([
    ['our own', { user: { ...good.body.token.user, id: ourUserId } }],
    [
      'of a trust to us',
      { 'OS-TRUST:trust': { id: 't', impersonation: true, trustor_user: { id: 'x' }, trustee_user: { id: ourUserId } } },
    ],
  ])('403 is about us when all that it has validated was %s', async (_whose, fields) => {
    stage.answerGets(() => ({ status: 200, body: { token: { ...good.body.token, ...fields } } }));
    await stage.ask(good.token);
    expect((await failure(asks(keystones(403)))).reason).toBe('OUR_CREDENTIAL_FORBIDDEN');
  });

  it('403 is about the token once the credential is proven', async () => {
    await proven();
    expect(await asks(keystones(403, 'You are not authorized to perform the requested action.'))).toMatchObject({
      kind: 'inactive',
      reason: 'REFUSED',
    });
  });

  it('403 is about the token also after a renewal: the credential is the same', async () => {
    await proven();
    stage.revokeOurs();
    await stage.ask(good.token);
    expect(await asks(keystones(403))).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
  });

  it('403 is about us when it names a policy, proven or not', async () => {
    await proven();
    const said = 'You are not authorized to perform the requested action: identity:validate_token.';
    expect((await failure(asks(keystones(403, said)))).reason).toBe('OUR_CREDENTIAL_FORBIDDEN');
  });

  it('403 of a proxy is no answer, proven or not', async () => {
    await proven();
    expect((await failure(asks({ status: 403, body: html }))).reason).toBe('BAD_ANSWER');
  });

  it.each([201, 204, 300, 301, 302, 307, 400, 402, 405, 406, 408, 410, 413, 414, 418, 431])('%d is no answer', async (status) => {
    await proven();
    const error = await failure(asks(status === 204 ? { status } : { status, body: { error: { code: status, message: 'x' } } }));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    expect(error.retryAfterMs).toBeGreaterThan(0);
  });

  it.each([429, 500, 501, 502, 503, 504, 599])('%d is no answer, and Keystone’s trouble', async (status) => {
    const error = await failure(asks({ status, headers: { 'retry-after': '7' }, body: html }));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_UNAVAILABLE', retryAfterMs: 7_000 });
  });

  it.each<[string, ScriptedAnswer, string]>([
    ['nothing', { status: 200 }, 'BAD_ANSWER'],
    ['HTML', { status: 200, body: html }, 'BAD_ANSWER'],
    ['an empty object', { status: 200, body: {} }, 'BAD_ANSWER'],
    ['half a token', { status: 200, body: JSON.stringify(good.body).slice(0, 200) }, 'BAD_ANSWER'],
    ['an error', { status: 200, body: { error: { code: 404, message: 'x' } } }, 'BAD_ANSWER'],
    [
      'two tokens',
      { status: 200, body: `{"token":${JSON.stringify(good.body.token)},"token":${JSON.stringify(good.body.token)}}` },
      'BAD_ANSWER',
    ],
    ['what is not UTF-8', { status: 200, body: Buffer.from([0x7b, 0xff, 0x7d]) }, 'BAD_ANSWER'],
    ['too much', { status: 200, body: ' '.repeat(70_000) }, 'BAD_ANSWER'],
    ['no end', { kind: 'endless', status: 200 }, 'BAD_ANSWER'],
    ['what is not HTTP', { kind: 'bytes', bytes: 'garbage\r\n\r\n' }, 'BAD_ANSWER'],
    ['half of what was promised', { kind: 'half', status: 200, body: JSON.stringify(good.body) }, 'KEYSTONE_UNREACHABLE'],
    ['the end of the connection', { kind: 'cut' }, 'KEYSTONE_UNREACHABLE'],
  ])('200 or less with %s is no answer: never inactive, never facts', async (_what, answer, reason) => {
    await proven();
    expect(await failure(asks(answer))).toMatchObject({ code: 'UNAVAILABLE', reason });
  });

  it.each<ScriptedAnswer>([{ kind: 'hang' }, { kind: 'stall', status: 200, body: JSON.stringify(good.body) }])(
    'a Keystone that does not end ($kind) is no answer by the deadline',
    async (answer) => {
      await restage({ deadlineMs: 150 });
      expect(await failure(asks(answer))).toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_TIMEOUT' });
    },
  );

  it('a message that quotes the token is not passed on', async () => {
    const error = await failure(asks(keystones(410, `Could not find token: ${good.token}`)));
    expect(error.message).not.toContain(good.token);
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

upstreamConformance('a scripted Keystone', async (deadlineMs) => {
  const unknown = 'gAAAAABnobody-knows-this-one';
  const it = await createKeystoneStage({ deadlineMs });
  let before = 0;
  return {
    upstream: it.upstream,
    good: { token: good.token, userId: good.body.token.user.id },
    unknown,
    secrets: [good.token, unknown, password, 'own-token-'],
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
});
