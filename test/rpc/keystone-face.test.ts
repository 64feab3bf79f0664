// Keystone's own API over HTTP: what it asks the validator, and in which words it answers.

import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { InactiveReason } from '../../src/core/decision.ts';
import { type ErrorCode, SidecarError } from '../../src/core/errors.ts';
import type { FaceOptions } from '../../src/rpc/face.ts';
import { type KeystoneFaceOptions, startKeystoneFace } from '../../src/rpc/keystone-face.ts';
import type { Answer } from '../../src/service/question.ts';
import catalogs from '../vectors/keystone-catalogs.json' with { type: 'json' };
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { type Answers, active, inactive, knownFor, startStage } from './face-stage.ts';

const tokens = '/v3/auth/tokens';
const secret = 'gAAAAAB-the-secret-string';
const subject = { 'x-subject-token': secret };
const claims = '{"methods": ["password"], "is_domain": false}';
const alice = knownFor('central', {}, claims);

const start = (
  answers: Answers,
  more: Partial<FaceOptions> = {},
  own: Partial<Pick<KeystoneFaceOptions, 'issuers' | 'allowExpired'>> = {},
) => startStage(startKeystoneFace, { issuers: ['central'], allowExpired: true, ...own }, more, answers);

const refused = (code: number, title: string, message: string): string => JSON.stringify({ error: { code, message, title } });

describe('a good token', () => {
  it('is Keystone’s own bytes, with the headers that Keystone sends', async () => {
    const { send } = await start(() => active(alice));

    const { status, headers, body } = await send({ path: `${tokens}?nocatalog`, headers: subject });

    expect(status).toBe(200);
    expect(body).toBe(`{"token": ${claims}}`);
    expect(headers).toMatchObject({ 'x-subject-token': secret, vary: 'X-Auth-Token', 'content-type': 'application/json' });
    expect(headers['x-openstack-request-id']).toMatch(/^req-[0-9a-f-]{36}$/);
  });

  it.each(Object.entries(vectors.tokens).filter(([, { status }]) => status === 200))(
    'of the kind %s comes with its catalog where that stood',
    async (kind, { body }) => {
      const { [kind as keyof typeof catalogs.tokens]: place } = catalogs.tokens;
      const { send } = await start(({ more }) => {
        const catalog = place && catalogs.catalogs[place.catalog as keyof typeof catalogs.catalogs];
        return active(knownFor('central', {}, JSON.stringify(body.token)), more?.catalog && catalog ? JSON.stringify(catalog) : '');
      });

      const whole = await send({ path: tokens, headers: subject });
      const bare = await send({ path: `${tokens}?nocatalog`, headers: subject });

      const { catalog, ...rest } = JSON.parse(whole.body).token;
      expect(rest).toEqual(body.token);
      expect(catalog).toEqual(place && catalogs.catalogs[place.catalog as keyof typeof catalogs.catalogs]);
      expect(JSON.parse(bare.body)).toEqual(body);
    },
  );

  it('is told to HEAD by the headers of GET alone, and the connection is kept', async () => {
    const { send } = await start(() => active(alice));

    const head = await send({ method: 'HEAD', path: tokens, headers: subject });
    const get = await send({ path: tokens, headers: subject });

    expect([head.status, head.body]).toEqual([200, '']);
    const steady = ({ headers }: typeof head) => ({ ...headers, date: '', 'x-openstack-request-id': '' });
    expect(steady(head)).toEqual(steady(get));
  });

  it('that needs asking is the same, and every answer has an id of its own', async () => {
    const { send } = await start(async () => active(alice));

    const answers = [await send({ path: tokens, headers: subject }), await send({ path: tokens, headers: subject })];

    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(new Set(answers.map(({ headers }) => headers['x-openstack-request-id'])).size).toBe(2);
  });
});

describe('the question', () => {
  it.each([
    ['', { catalog: true }],
    ['?nocatalog', {}],
    ['?nocatalog=false', {}],
    ['?nocatalog&allow_expired=1', { allowExpired: true }],
    ['?allow_expired=1', { allowExpired: true, catalog: true }],
    ['?allow_expired=T', { allowExpired: true, catalog: true }],
    ['?allow_expired=true', { allowExpired: true, catalog: true }],
    ['?allow_expired=On', { allowExpired: true, catalog: true }],
    ['?allow_expired=y', { allowExpired: true, catalog: true }],
    ['?allow_expired=%20YES%20', { allowExpired: true, catalog: true }],
    ['?allow_expired=0', { catalog: true }],
    ['?allow_expired=2', { catalog: true }],
    ['?allow_expired', { catalog: true }],
    ['?allow_expired=no&allow_expired=1', { catalog: true }],
    ['?something=else', { catalog: true }],
  ])('of the query "%s" is %j', async (query, more) => {
    const { send, questions } = await start(() => active(alice));

    await send({ path: `${tokens}${query}`, headers: subject });

    expect(questions).toEqual([{ raw: secret, demand: { anyOfIssuers: ['central'] }, more }]);
  });

  it('never allows an expired token where that is switched off', async () => {
    const { send, questions } = await start(() => active(alice), {}, { allowExpired: false });

    await send({ path: `${tokens}?allow_expired=1&nocatalog`, headers: subject });

    expect(questions).toMatchObject([{ more: {} }]);
    expect(questions[0]?.more).not.toHaveProperty('allowExpired');
  });

  it.each([
    ['1', true],
    ['1.0', true],
    ['2', true],
    ['0.9', false],
    ['', false],
    ['yes', false],
  ])('with OpenStack-Identity-Access-Rules: "%s" says that its caller enforces access rules: %s', async (value, enforces) => {
    const { send, questions } = await start(() => active(alice));

    await send({ path: tokens, headers: { ...subject, 'openstack-identity-access-rules': value } });

    expect(questions[0]?.demand).toEqual({ anyOfIssuers: ['central'], ...(enforces && { access: 'enforced-by-caller' }) });
  });

  it('is of the token with its spaces cut off, and X-Auth-Token is not looked at', async () => {
    const { bytes, questions } = await start(() => active(alice));
    const request = `GET ${tokens} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Auth-Token: anything\r\nX-Subject-Token:  \t${secret} \t \r\n\r\n`;

    expect(await bytes(request)).toMatch(/^HTTP\/1\.1 200 /);
    expect(questions.map(({ raw }) => raw)).toEqual([secret]);
  });

  it('of a token as long as the limit is asked, and one header longer is 431', async () => {
    const { sendAlone, questions } = await start(() => inactive('REFUSED'), { tokenSizeBytes: 20_000 });
    const long = 'x'.repeat(20_000);

    expect((await sendAlone({ path: tokens, headers: { 'x-subject-token': long } })).status).toBe(404);
    expect(questions[0]?.raw).toBe(long);
    expect((await sendAlone({ path: tokens, headers: { 'x-subject-token': 'x'.repeat(28_200) } })).status).toBe(431);
  });
});

describe('an inactive token', () => {
  const reasons: readonly InactiveReason[] = ['EXPIRED', 'REVOKED', 'REFUSED', 'MALFORMED', 'WRONG_ISSUER', 'ACCESS_DENIED', 'WRONG_SCOPE'];

  it.each(reasons)('that is %s is 404 in Keystone’s words, and the connection is kept', async (reason) => {
    const { send } = await start(() => inactive(reason, alice));

    const { status, headers, body } = await send({ path: tokens, headers: subject });

    expect([status, body]).toEqual([404, refused(404, 'Not Found', 'Failed to validate token')]);
    expect(headers).toMatchObject({ vary: 'X-Auth-Token', 'content-type': 'application/json', connection: 'keep-alive' });
    expect(headers).not.toHaveProperty('www-authenticate');
    expect(headers).not.toHaveProperty('x-subject-token');
  });

  it('is told to HEAD without a body', async () => {
    const { send } = await start(() => inactive('REVOKED', alice));

    expect(await send({ method: 'HEAD', path: tokens, headers: subject })).toMatchObject({ status: 404, body: '' });
  });

  it.each([{}, { 'x-subject-token': '' }, { 'x-subject-token': '  ' }])(
    'that is not there (%j) is 404 and is no question',
    async (headers) => {
      const { send, questions } = await start(() => active(alice));

      const { status, body } = await send({ path: tokens, headers });

      expect(status).toBe(404);
      expect(JSON.parse(body)).toEqual(vectors.errors.subject_header_missing.body);
      expect(questions).toEqual([]);
    },
  );

  it('of spaces that only the validator takes for such is 404 as well', async () => {
    const missing = new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    const { send } = await start(() => Promise.reject(missing));

    expect(await send({ path: tokens, headers: { 'x-subject-token': '\u00a0' } })).toMatchObject({
      status: 404,
      body: refused(404, 'Not Found', 'No token in the request'),
    });
  });

  it('active without facts is no good token', async () => {
    const { send } = await start((): Answer => ({ ...active(alice), known: undefined }));

    expect((await send({ path: tokens, headers: subject })).status).toBe(404);
  });
});

describe('no answer', () => {
  const codes: readonly ErrorCode[] = [
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
    'RESOURCE_EXHAUSTED',
    'FAILED_PRECONDITION',
    'CANCELLED',
    'ALREADY_EXISTS',
    'INTERNAL',
  ];

  it.each(codes)('by %s is 503 with Retry-After, and never 401 or 404', async (code) => {
    const { send } = await start(() => {
      throw new SidecarError(code, 'nobody answers', { reason: 'X', retryAfterMs: 2_001 });
    });

    const { status, headers, body } = await send({ path: tokens, headers: subject });

    expect([status, headers['retry-after']]).toEqual([503, '3']);
    expect(body).toBe(refused(503, 'Service Unavailable', 'nobody answers'));
  });

  it.each([
    [undefined, '1'],
    [0, '1'],
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
  ])('that is worth asking again in %s ms says Retry-After: %s', async (retryAfterMs, said) => {
    const facts = retryAfterMs === undefined ? { reason: 'X' } : { reason: 'X', retryAfterMs };
    const { send } = await start(() => Promise.reject(new SidecarError('UNAVAILABLE', 'no', facts)));

    expect((await send({ path: tokens, headers: subject })).headers['retry-after']).toBe(said);
  });

  it.each([
    ['INVALID_ARGUMENT', 400, 'Bad Request'],
    ['PERMISSION_DENIED', 403, 'Forbidden'],
    ['UNAUTHENTICATED', 403, 'Forbidden'],
  ] as const)('by %s is %i', async (code, status, title) => {
    const { send } = await start(() => Promise.reject(new SidecarError(code, 'words', { reason: 'X' })));

    expect(await send({ path: tokens, headers: subject })).toMatchObject({ status, body: refused(status, title, 'words') });
  });

  it('that nobody planned is 503 without its words, which are logged', async () => {
    const { send, telemetry } = await start(() => Promise.reject(new TypeError('inner detail')));

    const { status, body } = await send({ path: tokens, headers: subject });

    expect(status).toBe(503);
    expect(body).not.toContain('inner detail');
    expect(telemetry.lines).toMatchObject([{ level: 'error', fields: { error: { message: 'inner detail' } } }]);
  });

  it.each([
    ['at once', (answer: Answer): Answer | Promise<Answer> => answer],
    ['later', async (answer: Answer): Promise<Answer> => answer],
  ])('where an answer that comes %s cannot be written: the connection ends, it is logged, and others are served', async (_, given) => {
    const broken = {
      ...alice,
      get claims(): Uint8Array {
        throw new TypeError('inner detail');
      },
    };
    const { sendAlone, telemetry } = await start(({ raw }) => given(active(raw === 'broken' ? broken : alice)));

    await expect(sendAlone({ path: tokens, headers: { 'x-subject-token': 'broken' } })).rejects.toThrow();

    expect(telemetry.lines).toMatchObject([{ level: 'error', fields: { error: { message: 'inner detail' } } }]);
    expect((await sendAlone({ path: tokens, headers: subject })).status).toBe(200);
  });

  it('in time is 503, and the question ends', async () => {
    let ended = false;
    const { send } = await start(
      (_, signal) =>
        new Promise((_resolve, reject) => {
          signal().addEventListener('abort', () => {
            ended = true;
            reject(new SidecarError('DEADLINE_EXCEEDED', 'no answer before the deadline', { reason: 'DEADLINE' }));
          });
        }),
      { deadlineMs: 20 },
    );

    expect((await send({ path: tokens, headers: subject })).status).toBe(503);
    expect(ended).toBe(true);
  });

  it('is waited for by a client that has left', async () => {
    let leave: (() => void) | undefined;
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const begun: (() => void)[] = [];
    const asked = new Promise<void>((resolve) => begun.push(resolve));
    const { port } = await start((_, signal) => {
      signal().addEventListener('abort', () => leave?.());
      begun[0]?.();
      return new Promise(() => undefined);
    });
    const asking = request({ port, host: '127.0.0.1', path: tokens, headers: subject, agent: false });
    asking.on('error', () => undefined).end();
    await asked;

    asking.destroy();

    await left;
  });

  it('comes at once for one question more than may be under way; hits are answered on', async () => {
    const waiting: ((answer: Answer) => void)[] = [];
    const begun: (() => void)[] = [];
    const { sendAlone, telemetry } = await start(
      ({ raw }) => {
        if (raw === 'hit') return active(alice);
        begun.shift()?.();
        return new Promise((resolve) => waiting.push(resolve));
      },
      { callsInFlight: 2 },
    );
    const ask = (raw: string) => sendAlone({ path: tokens, headers: { 'x-subject-token': raw } });
    const bothAsked = [0, 1].map(() => new Promise<void>((resolve) => begun.push(resolve)));
    const held = [ask('a'), ask('b')];
    await Promise.all(bothAsked);

    const surplus = await ask('c');

    expect([surplus.status, surplus.headers['retry-after']]).toEqual([503, '1']);
    expect(telemetry.count('sidegate_calls_rejected_total', { why: 'limit' })).toBe(1);
    for (const land of waiting) land(active(alice));
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await ask('hit')).status).toBe(200);
  });
});

describe('who may ask', () => {
  it('is nobody where the configuration does not let loopback validate: 403, written down, and no question', async () => {
    const { send, questions, telemetry } = await start(() => active(alice), { mayValidate: () => false });

    const { status, headers } = await send({ path: tokens, headers: subject });

    expect(status).toBe(403);
    expect(headers).not.toHaveProperty('www-authenticate');
    expect(questions).toEqual([]);
    expect(telemetry.audits).toEqual([{ act: 'refused', actor: 'loopback', outcome: 'validate: CALLER_UNKNOWN' }]);
    expect(telemetry.count('sidegate_calls_rejected_total', { why: 'unauthorised' })).toBe(1);
  });

  it('needs a Keystone: without one the face does not start', async () => {
    await expect(start(() => active(alice), {}, { issuers: [] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      reason: 'NO_KEYSTONE',
    });
  });
});

describe('what is counted', () => {
  it('is as by gRPC: answers by issuer and reason, and the absence of one', async () => {
    const answers: (() => Answer)[] = [
      () => active(alice),
      () => inactive('EXPIRED', alice),
      () => {
        throw new SidecarError('UNAVAILABLE', 'no', { reason: 'KEYSTONE_UNREACHABLE' });
      },
    ];
    const { send, telemetry } = await start(() => answers.shift()?.() ?? active(alice));

    for (let turn = 0; turn < 3; turn += 1) await send({ path: tokens, headers: subject });

    const total = (labels: Record<string, string>) => telemetry.count('sidegate_validate_total', labels);
    expect(total({ issuer: 'central', result: 'active' })).toBe(1);
    expect(total({ issuer: 'central', result: 'inactive', reason: 'EXPIRED' })).toBe(1);
    expect(total({ result: 'no_answer', reason: 'KEYSTONE_UNREACHABLE' })).toBe(1);
    expect(telemetry.observed('sidegate_validate_duration_seconds', { provenance: 'memory' })).toHaveLength(2);
  });
});

describe('other requests', () => {
  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('%s is 405, and says what is allowed', async (method) => {
    const { send, questions } = await start(() => active(alice));

    const { status, headers, body } = await send({ method, path: tokens, headers: subject });

    expect([status, headers.allow, JSON.parse(body).error.title]).toEqual([405, 'GET, HEAD', 'Method Not Allowed']);
    expect(questions).toEqual([]);
  });

  it.each(['/v3/users', '/v2.0', '/v3/auth', '/auth/tokens', '/v3/auth/tokens/x', '//v3/auth/tokens', '/constructor', '/v3//auth/tokens'])(
    '%s is 404 in JSON',
    async (path) => {
      const { send, questions } = await start(() => active(alice));

      const { status, headers, body } = await send({ path, headers: subject });

      expect([status, headers['content-type'], JSON.parse(body).error.code]).toEqual([404, 'application/json', 404]);
      expect(questions).toEqual([]);
    },
  );

  it('a body is not read: the connection ends with the answer', async () => {
    const { bytes } = await start(() => active(alice));

    const said = await bytes(`GET ${tokens} HTTP/1.1\r\nHost: localhost\r\nX-Subject-Token: a\r\nContent-Length: 1000000000\r\n\r\nstart`);

    expect(said).toMatch(/^HTTP\/1\.1 200 [\s\S]*Connection: close/);
  });

  it('a token sent twice is one that does not exist', async () => {
    const { bytes, questions } = await start(({ raw }) => (raw === 'a' ? active(alice) : inactive('MALFORMED')));

    const said = await bytes(
      `GET ${tokens} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Subject-Token: a\r\nX-Subject-Token: a\r\n\r\n`,
    );

    expect(said).toMatch(/^HTTP\/1\.1 404 /);
    expect(questions.map(({ raw }) => raw)).toEqual(['a, a']);
  });

  it('an obsolete spelling of the path, with a slash at its end, is the same', async () => {
    const { send } = await start(() => active(alice));

    expect((await send({ path: `${tokens}/?nocatalog`, headers: subject })).status).toBe(200);
  });

  it('requests that do not wait for answers get them in their order, whichever is there first', async () => {
    const waiting: (() => void)[] = [];
    const { bytes } = await start(({ raw }) => {
      const answer = active(knownFor('central', {}, `{"n": "${raw}"}`));
      if (raw !== 'first') {
        waiting.shift()?.();
        return answer;
      }
      return new Promise((resolve) => waiting.push(() => resolve(answer)));
    });
    const get = (raw: string, more = '') => `GET ${tokens} HTTP/1.1\r\nHost: localhost\r\nX-Subject-Token: ${raw}\r\n${more}\r\n`;

    const said = await bytes(get('first') + get('second') + get('third', 'Connection: close\r\n'));

    expect([...said.matchAll(/"n": "(\w+)"/g)].map(([, raw]) => raw)).toEqual(['first', 'second', 'third']);
  });
});

describe('discovery', () => {
  const versionOf = (href: string) => ({
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: [{ rel: 'self', href }],
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
  });

  it.each(['/v3', '/v3/'])('%s is the version', async (path) => {
    const { send, port } = await start(() => active(alice));

    const { status, body } = await send({ path });

    expect(status).toBe(200);
    expect(JSON.parse(body)).toEqual({ version: versionOf(`http://127.0.0.1:${port}/v3/`) });
  });

  it('/ is the choice of versions, with 300 as by Keystone', async () => {
    const { send, port } = await start(() => active(alice));

    const { status, headers, body } = await send({ path: '/' });

    expect([status, headers.location]).toEqual([300, `http://127.0.0.1:${port}/v3/`]);
    expect(JSON.parse(body)).toEqual({ versions: { values: [versionOf(`http://127.0.0.1:${port}/v3/`)] } });
  });

  it.each(['localhost', 'localhost:1234', '127.0.0.1', '127.1.2.3:99', '[::1]:5000'])('links to %s, as it is called', async (host) => {
    const { send } = await start(() => active(alice));

    expect(JSON.parse((await send({ path: '/v3', headers: { host } })).body).version.links[0].href).toBe(`http://${host}/v3/`);
  });

  it.each(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', 'localhost@evil.example', '10.0.0.1:80', '127.0.0.1:80/x'])(
    'is not for who calls it %s',
    async (host) => {
      const { send } = await start(() => active(alice));

      expect((await send({ path: '/v3', headers: { host } })).status).toBe(403);
    },
  );
});

describe('secrets', () => {
  it('the token is in the header that echoes it and nowhere else', async () => {
    const outcomes: (() => Answer)[] = [
      () => active(alice),
      () => inactive('REFUSED'),
      () => {
        throw new SidecarError('UNAVAILABLE', 'no', { reason: 'X' });
      },
    ];
    const { send, telemetry } = await start(() => outcomes.shift()?.() ?? active(alice));

    const said = [];
    for (const path of [tokens, tokens, tokens, '/v3/x', '/v3']) said.push(await send({ path, headers: subject }));

    expect(said.map(({ headers }) => Object.values(headers).filter((value) => String(value).includes(secret)).length)).toEqual([
      1, 0, 0, 0, 0,
    ]);
    expect(said.map(({ body }) => body).join()).not.toContain(secret);
    expect(telemetry.everything()).not.toContain(secret);
  });
});

describe('the end', () => {
  it('lets a question under way be answered, and its connection goes', async () => {
    const waiting: ((answer: Answer) => void)[] = [];
    let begun: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const { send, stop, listener } = await start(() => {
      begun?.();
      return new Promise((resolve) => waiting.push(resolve));
    });
    const answer = send({ path: tokens, headers: subject });
    await asked;

    stop.abort();
    waiting[0]?.(active(alice));

    expect((await answer).status).toBe(200);
    const startedMs = performance.now();
    await listener.closed;
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    await expect(send({ path: tokens, headers: subject })).rejects.toThrow();
  });

  it('cuts what has not ended in its time', async () => {
    let begun: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const { send, stop, listener } = await start(
      () => {
        begun?.();
        return new Promise(() => undefined);
      },
      { drainMs: 50 },
    );
    const cut = expect(send({ path: tokens, headers: subject })).rejects.toThrow();
    await asked;

    stop.abort();

    await listener.closed;
    await cut;
  });
});
