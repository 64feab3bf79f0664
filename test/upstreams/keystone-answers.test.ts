// What each answer of Keystone means (S9): every status with every body, before and after our credential has proven itself; and of a revocation.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
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

/** What came of it in one word: `facts`, `accepted`, the reason of an inactive token, or that of an error that tells no secret. */
async function wordOf(work: Promise<Awaited<ReturnType<KeystoneStage['ask']>> | string>): Promise<string> {
  try {
    const found = await work;
    if (typeof found === 'string') return found;
    return found.kind === 'facts' ? 'facts' : found.reason;
  } catch (error) {
    // The third of the three things that can come of a question.
    expect(error).toMatchObject({ code: 'UNAVAILABLE', retryAfterMs: expect.any(Number) });
    const told = JSON.stringify([(error as Error).message, String((error as Error).cause)]);
    expect([good.token, password, 'own-token-'].filter((secret) => told.includes(secret))).toEqual([]);
    return (error as SidecarError).reason;
  }
}

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    (reading) => expect.unreachable(`it answered ${JSON.stringify(reading)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  return error as SidecarError;
}

/** The credential has proven itself on a token of somebody else. */
const proven = (): Promise<unknown> => stage.ask(good.token);

const asks = (answer: ScriptedAnswer) => {
  stage.answerGets(() => answer);
  return stage.ask(good.token);
};

const keystones = (code: number, message = 'message'): ScriptedAnswer => ({ status: code, body: { error: { code, message, title: 't' } } });
const html = '<html>not here</html>';

const bodies = {
  own: (status: number) => ({ error: { code: status, message: `Could not find token: ${good.token}.`, title: 't' } }),
  trust: (status: number) => ({ error: { code: status, message: 'You are not authorized to perform the requested action.', title: 't' } }),
  policy: (status: number) => ({
    error: { code: status, message: 'You are not authorized to perform the requested action: identity:validate_token.', title: 't' },
  }),
  'header lost': (status: number) => ({ error: { code: status, message: 'No token in the request', title: 't' } }),
  'without a message': (status: number) => ({ error: { code: status } }),
  'another code': (status: number) => ({ error: { code: status + 1, message: 'message', title: 't' } }),
  'the code in words': (status: number) => ({ error: { code: String(status), message: 'message', title: 't' } }),
  'without a code': () => ({ error: { message: 'message', title: 't' } }),
  'two codes': (status: number) => `{"error":{"code":${status + 1},"code":${status},"message":"message"}}`,
  truncated: (status: number) => `{"error":{"code":${status},"message":"mess`,
  'a list': (status: number) => [{ error: { code: status, message: 'message' } }],
  'somebody else’s JSON': () => ({ message: 'no Route matched with those values' }),
  HTML: () => html,
  empty: () => '',
  // Last: with 200 it proves our credential.
  'a token': () => good.body,
} as const;
type BodyKind = keyof typeof bodies;
const allBodies = Object.keys(bodies) as readonly BodyKind[];
const written: ReadonlySet<BodyKind> = new Set(['own', 'trust', 'policy', 'header lost', 'without a message']);

interface Row {
  readonly status: number;
  /** What it means with a body of these kinds; with all others what `otherwise` says. */
  readonly means?: Partial<Readonly<Record<BodyKind, string>>>;
  readonly otherwise: string;
}

const noAnswer = (status: number): Row => ({ status, otherwise: 'BAD_ANSWER' });
const trouble = (status: number): Row => ({ status, otherwise: 'KEYSTONE_UNAVAILABLE' });
const refused = { own: 'REFUSED', trust: 'REFUSED', policy: 'REFUSED', 'without a message': 'REFUSED' } as const;
const everyStatus = {
  /** Whoever asks. */
  always: [
    ...[
      201, 202, 203, 206, 300, 301, 302, 303, 307, 308, 400, 402, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 418, 421, 431, 451, 499,
    ].map(noAnswer),
    ...[429, 500, 501, 502, 503, 504, 507, 511, 520, 599].map(trouble),
    // Twice: to our token and to the next one. Whoever says it, it is about us.
    { status: 401, otherwise: 'OUR_CREDENTIAL_REFUSED' },
    { status: 404, means: refused, otherwise: 'BAD_ANSWER' },
    { status: 200, means: { 'a token': 'facts' }, otherwise: 'BAD_ANSWER' },
  ] satisfies readonly Row[],
  unproven: [
    {
      status: 403,
      means: Object.fromEntries([...written].map((kind) => [kind, 'OUR_CREDENTIAL_FORBIDDEN'])),
      otherwise: 'BAD_ANSWER',
    },
  ] satisfies readonly Row[],
  proven: [
    {
      status: 403,
      means: {
        own: 'REFUSED',
        trust: 'REFUSED',
        'without a message': 'REFUSED',
        'header lost': 'REFUSED',
        policy: 'OUR_CREDENTIAL_FORBIDDEN',
      },
      otherwise: 'BAD_ANSWER',
    },
  ] satisfies readonly Row[],
};
const rows: readonly (readonly [number, string, Row])[] = [
  ...[...everyStatus.always, ...everyStatus.unproven].map((row) => [row.status, 'that has proven nothing', row] as const),
  ...[...everyStatus.always, ...everyStatus.proven].map((row) => [row.status, 'that has validated a stranger’s token', row] as const),
];

describe('S9', () => {
  it.each(rows)('%d to a credential %s, with every body', async (status, credential, { means = {}, otherwise }) => {
    const words: Record<string, string> = {};
    if (credential !== 'that has proven nothing') await proven();
    for (const kind of allBodies) {
      // What was refused may be tried again.
      await stage.clock.advance(60_000);
      words[kind] = await wordOf(asks({ status, body: bodies[kind](status) }));
    }
    const expected: Readonly<Record<string, string>> = means;
    expect(words).toEqual(Object.fromEntries(allBodies.map((kind) => [kind, expected[kind] ?? otherwise])));
  });

  it('204 is no answer', async () => {
    expect(await wordOf(asks({ status: 204 }))).toBe('BAD_ANSWER');
  });

  it.each([429, 500, 503])('%d with a Retry-After is asked again when it says', async (status) => {
    expect((await failure(asks({ status, headers: { 'retry-after': '7' }, body: html }))).retryAfterMs).toBe(7_000);
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

  it('403 is about the token also after a renewal: the credential is the same', async () => {
    await proven();
    stage.revokeOurs();
    await stage.ask(good.token);
    expect(await asks(keystones(403))).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
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

  it.each([400, 413, 414, 431])('%d to a token of 20 kB is no answer that names what a header has to hold', async (status) => {
    await proven();
    stage.answerGets(() => ({ status, body: html }));
    const error = await failure(stage.ask('x'.repeat(20_000)));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    expect(error.message).toMatch(/headers.*20000 bytes/);
    expect((await failure(stage.ask(good.token))).message).not.toContain('header');
  });

  it('the echo of another token is no answer: somebody mixed up two', async () => {
    stage.answerGets(() => ({ status: 200, headers: { 'x-subject-token': 'another' }, body: good.body }));
    const error = await failure(stage.ask(good.token));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    expect(error.message).toContain('another token');
    // And it proved nothing about our roles.
    expect(await wordOf(asks(keystones(403)))).toBe('OUR_CREDENTIAL_FORBIDDEN');
  });

  it.each<[string, Readonly<Record<string, string>>]>([
    ['its own echo', { 'x-subject-token': good.token }],
    ['no echo', {}],
  ])('200 with %s is facts', async (_what, headers) => {
    expect(await wordOf(asks({ status: 200, headers, body: good.body }))).toBe('facts');
  });

  it('a message that quotes the token is not passed on', async () => {
    const error = await failure(asks(keystones(410, `Could not find token: ${good.token}`)));
    expect(error.message).not.toContain(good.token);
  });
});

describe('a revocation', () => {
  const tells = (onDelete: ScriptedAnswer, onGet?: ScriptedAnswer): Promise<string> => {
    stage.answerDeletes(() => onDelete);
    if (onGet !== undefined) stage.answerGets(() => onGet);
    return wordOf(stage.revoke(good.token));
  };

  it('is a DELETE by the token of itself, and needs no login of ours', async () => {
    expect(await stage.revoke(good.token)).toBe('accepted');
    expect(stage.authority.requests).toHaveLength(1);
    expect(stage.authority.requests[0]).toMatchObject({
      method: 'DELETE',
      path: '/v3/auth/tokens',
      headers: { 'x-auth-token': good.token, 'x-subject-token': good.token, 'openstack-identity-access-rules': '1.0' },
      body: '',
    });
  });

  it('of a token that is dead there is accepted, after a look', async () => {
    expect(await stage.revoke('nobody-knows')).toBe('accepted');
    expect(stage.authority.requests.map(({ method, path, headers }) => [method, path, headers['x-auth-token']])).toEqual([
      ['DELETE', '/v3/auth/tokens', 'nobody-knows'],
      ['GET', '/v3/auth/tokens?nocatalog', 'nobody-knows'],
    ]);
  });

  it.each([401, 404])('refused with %d is rejected where the token lives on', async (status) => {
    expect(await tells(keystones(status), { status: 200, body: good.body })).toBe('rejected');
    expect(await tells(keystones(status), keystones(403))).toBe('rejected');
  });

  it.each([401, 404])('refused with %d is accepted where the token is refused, too', async (status) => {
    expect(await tells(keystones(status), keystones(401))).toBe('accepted');
    expect(await tells(keystones(status), keystones(404))).toBe('accepted');
  });

  it.each<[ScriptedAnswer, string]>([
    [{ status: 503 }, 'KEYSTONE_UNAVAILABLE'],
    [{ status: 404, body: html }, 'BAD_ANSWER'],
    [{ status: 401, body: html }, 'BAD_ANSWER'],
    [{ kind: 'cut' }, 'KEYSTONE_UNREACHABLE'],
  ])('refused has not been told while nobody says whether the token lives (%j)', async (answer, reason) => {
    expect(await tells(keystones(404), answer)).toBe(reason);
  });

  it.each(Object.keys(bodies) as BodyKind[])('answered with %s means it by its status', async (kind) => {
    const word = (status: number) => tells({ status, body: bodies[kind](status) }, keystones(401));
    const isWritten = written.has(kind);
    const isRefusal = isWritten && kind !== 'header lost';
    const words = {
      200: await word(200),
      401: await word(401),
      403: await word(403),
      404: await word(404),
      405: await word(405),
      503: await word(503),
    };
    expect(words).toEqual({
      200: kind === 'empty' ? 'accepted' : 'BAD_ANSWER',
      401: isRefusal ? 'accepted' : 'BAD_ANSWER',
      403: isWritten ? 'rejected' : 'BAD_ANSWER',
      404: isRefusal ? 'accepted' : 'BAD_ANSWER',
      405: 'BAD_ANSWER',
      503: 'KEYSTONE_UNAVAILABLE',
    });
  });

  it('has the pause that Keystone asks for', async () => {
    stage.answerDeletes(() => ({ status: 503, headers: { 'retry-after': '9' } }));
    expect(await failure(stage.revoke(good.token))).toMatchObject({ reason: 'KEYSTONE_UNAVAILABLE', retryAfterMs: 9_000 });
  });

  it('is sent again where the connection broke: the second time the token is dead', async () => {
    await restage({ attempts: 2, deadlineMs: 20_000 });
    let sent = 0;
    stage.answerDeletes(() => {
      sent += 1;
      return sent === 1 ? { kind: 'cut' } : keystones(401);
    });
    stage.answerGets(() => keystones(401));
    const telling = stage.revoke(good.token);
    await expect.poll(() => stage.clock.waiting()).toBe(1);
    await stage.clock.advance(1_000);
    expect([await telling, sent]).toEqual(['accepted', 2]);
  });

  it('of 20 kB is sent whole, twice', async () => {
    const token = 'x'.repeat(20_000);
    stage.answerDeletes(() => ({ status: 204 }));
    expect(await stage.revoke(token)).toBe('accepted');
    expect(stage.authority.requests[0]?.headers).toMatchObject({ 'x-auth-token': token, 'x-subject-token': token });
  });

  it.each([[''], ['a b'], ['a\r\nx: y'], ['é']])('of %j is never sent', async (token) => {
    expect(await failure(stage.revoke(token))).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'TOKEN_NOT_SENDABLE' });
    expect(stage.authority.requests).toHaveLength(0);
  });

  it('that fails says nothing about our credential and nothing about questions', async () => {
    await proven();
    const before = stage.loginCount();
    await tells({ status: 503 });
    await tells(keystones(403));
    expect(stage.upstream.health().reachable).toBe(true);
    expect(stage.loginCount()).toBe(before);
  });
});
