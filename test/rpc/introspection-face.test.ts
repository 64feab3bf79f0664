// RFC 7662 over HTTP: what is asked, what is said of a token, and what is no answer.

import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { InactiveReason } from '../../src/core/decision.ts';
import { type ErrorCode, SidecarError } from '../../src/core/errors.ts';
import { readKeystoneToken } from '../../src/keystone/token-body.ts';
import type { FaceOptions } from '../../src/rpc/face.ts';
import { startIntrospectionFace } from '../../src/rpc/introspection-face.ts';
import type { Known } from '../../src/service/known.ts';
import type { Answer } from '../../src/service/question.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { startSidecar } from '../fakes/sidecar.ts';
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { type Answers, active, atEnd, inactive, knownFor, type Sent, startStage } from './face-stage.ts';

const form = 'application/x-www-form-urlencoded';
const secret = 'the-secret-string';
const issuedAtMs = Date.UTC(2026, 10, 21, 9);
const alice = knownFor('login', { token: { user: { id: 'alice' } } }, '{"sub":"alice"}');

const start = (answers: Answers, more: Partial<FaceOptions> = {}) => startStage(startIntrospectionFace, {}, more, answers);

const post = (body: string | Buffer, headers: Readonly<Record<string, string>> = { 'content-type': form }): Sent => ({
  method: 'POST',
  path: '/introspect',
  headers,
  body,
});

/** What is said of a token of a captured kind. */
async function saidOf(kind: keyof typeof vectors.tokens): Promise<Readonly<Record<string, unknown>>> {
  const reading = readKeystoneToken(Buffer.from(JSON.stringify(vectors.tokens[kind].body)), 'central');
  if (reading.kind !== 'facts') throw new Error('the vector is a good token');
  return saidAbout(knownFor('central', reading.facts, reading.facts.token.claimsJson));
}

async function saidAbout(known: Known): Promise<Readonly<Record<string, unknown>>> {
  const { send } = await start(() => active(known));
  const { status, body } = await send(post(`token=${secret}`));
  expect(status).toBe(200);
  return JSON.parse(body);
}

describe('a good token', () => {
  it('of OAuth says what RFC 7662 names and its own verified claims', async () => {
    const claims = {
      iss: 'https://login.example',
      sub: 'alice',
      aud: ['api', 'web'],
      exp: issuedAtMs / 1000 + 3600,
      iat: issuedAtMs / 1000,
      nbf: issuedAtMs / 1000,
      jti: 'j1',
      scope: 'read write',
      client_id: 'app',
      preferred_username: 'alice@example',
      tenant: { id: 't1' },
    };
    const known = knownFor(
      'login',
      {
        token: {
          user: { id: 'alice', name: 'alice@example' },
          issuedAtMs,
          expiresAtMs: issuedAtMs + 3_600_000,
          clientId: 'app',
          audiences: ['api', 'web'],
          scopes: ['read', 'write'],
          tokenId: 'j1',
        },
      },
      JSON.stringify(claims),
    );

    expect(await saidAbout(known)).toEqual({ ...claims, username: 'alice@example', active: true, token_type: 'Bearer' });
  });

  it('is active and a Bearer whatever its own claims say of that', async () => {
    const claims = '{"active":false,"token_type":"N_A","exp":1,"sub":"mallory","__proto__":{"active":false}}';
    const known = knownFor('login', { token: { user: { id: 'alice' }, issuedAtMs, expiresAtMs: issuedAtMs + 1000 } }, claims);

    expect(await saidAbout(known)).toMatchObject({ active: true, token_type: 'Bearer', sub: 'alice', exp: issuedAtMs / 1000 + 1 });
  });

  it('without claims of its own has the name of its issuer as iss, and one audience as a string', async () => {
    const { issuer, token } = { issuer: 'login', token: { user: { id: 'alice' }, audiences: ['api'], issuedAtMs } };

    expect(await saidAbout(knownFor(issuer, { token }))).toMatchObject({ iss: 'login', aud: 'api', sub: 'alice' });
  });

  it('is not kept by anybody on the way', async () => {
    const { send } = await start(() => active(alice));

    const { headers } = await send(post(`token=${secret}`));

    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/json' });
  });
});

describe('a good token of Keystone', () => {
  it('with a project says who, where and as what, and has no scope', async () => {
    expect(await saidOf('project')).toEqual({
      active: true,
      token_type: 'Bearer',
      iss: 'central',
      sub: '03f0bcd4e3024d96bb8462f2af8950ce',
      username: 'alice',
      exp: Date.UTC(2026, 10, 21, 19, 2, 5) / 1000,
      iat: Date.UTC(2026, 10, 21, 18, 2, 5) / 1000,
      jti: 'U67At0q5TcOVagckct4XCQ',
      openstack: {
        user_domain: { id: '834fc2b68d9942e8a85818a144a67ee1', name: 'acme' },
        project: {
          id: '1e245548ae2442f1bd4eb5870d68064a',
          name: 'web',
          domain: { id: '834fc2b68d9942e8a85818a144a67ee1', name: 'acme' },
        },
        is_admin_project: true,
        roles: ['reader', 'member', 'auditor'],
        methods: ['password'],
        audit_ids: ['U67At0q5TcOVagckct4XCQ'],
      },
    });
  });

  it('without one says nothing of where', async () => {
    const { openstack } = await saidOf('unscoped');

    expect(Object.keys(openstack ?? {}).sort()).toEqual(['audit_ids', 'methods', 'roles', 'user_domain']);
  });

  it.each([
    ['domain', { domain: { name: 'acme' } }],
    ['system', { system: { all: true } }],
    ['trust', { trust: { impersonation: false } }],
    ['trust_impersonating', { trust: { impersonation: true } }],
    ['federated_project', { project: { name: 'web' } }],
  ] as const)('of the kind %s says %j', async (kind, openstack) => {
    expect(await saidOf(kind)).toMatchObject({ active: true, openstack });
  });

  it('of an application credential names that as the client', async () => {
    expect(await saidOf('application_credential')).toMatchObject({
      client_id: 'b03391c6ad6e405fa2b73dee05377cb9',
      openstack: { application_credential: { id: 'b03391c6ad6e405fa2b73dee05377cb9' } },
    });
  });
});

describe('an inactive token', () => {
  const reasons: readonly InactiveReason[] = ['EXPIRED', 'REVOKED', 'REFUSED', 'MALFORMED', 'WRONG_CERTIFICATE', 'ACCESS_DENIED'];

  it.each(reasons)('that is %s is {"active":false} and nothing else', async (reason) => {
    const { send } = await start(() => inactive(reason, alice));

    const { status, headers, body } = await send(post(`token=${secret}`));

    expect([status, body, headers['cache-control']]).toEqual([200, '{"active":false}', 'no-store']);
  });

  it('active without facts is not active', async () => {
    const { send } = await start((): Answer => ({ ...active(alice), known: undefined }));

    expect((await send(post('token=a'))).body).toBe('{"active":false}');
  });
});

describe('the question', () => {
  it.each([
    ['token=abc', 'abc'],
    ['token=abc&token_type_hint=refresh_token&client_id=x&client_secret=y', 'abc'],
    ['token_type_hint=access_token&token=a%2Bb%2Fc%3D%3D', 'a+b/c=='],
  ])('in %s is of %s, of any issuer', async (body, raw) => {
    const { send, questions } = await start(() => inactive('REFUSED'));

    await send(post(body));

    expect(questions).toEqual([{ raw }]);
  });

  it.each([form, `${form};charset=UTF-8`, `${form.toUpperCase()} ; charset=utf-8`])('comes as %s', async (type) => {
    const { send } = await start(() => active(alice));

    expect((await send(post('token=a', { 'content-type': type }))).status).toBe(200);
  });

  it.each([
    ['without a token', 'token_type_hint=access_token', form],
    ['with an empty token', 'token=', form],
    ['with two tokens', 'token=a&token=b', form],
    ['with the same token twice', 'token=a&token=a', form],
    ['without a body', '', form],
    ['in JSON', '{"token":"a"}', 'application/json'],
    ['of a type that only begins alike', 'token=a', `${form}x`],
  ])('%s is invalid_request', async (_, body, type) => {
    const { send, questions } = await start(() => active(alice));

    const answer = await send(post(body, { 'content-type': type }));

    expect([answer.status, JSON.parse(answer.body).error, answer.headers['cache-control']]).toEqual([400, 'invalid_request', 'no-store']);
    expect(questions).toEqual([]);
  });

  it('without a content type is invalid_request', async () => {
    const { send } = await start(() => active(alice));

    expect((await send(post('token=a', {}))).status).toBe(400);
  });

  it('of a token of spaces is invalid_request', async () => {
    const missing = new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    const { send } = await start(() => Promise.reject(missing));

    expect((await send(post('token=+'))).status).toBe(400);
  });

  it.each([
    ['as long as the limit', 1_000 + 8_192, 200],
    ['one byte longer', 1_000 + 8_192 + 1, 413],
  ])('%s (%i bytes) is %i, told by its length or not', async (_, bytes, status) => {
    const { sendAlone } = await start(() => active(alice), { tokenSizeBytes: 1_000 });
    const body = `token=${'x'.repeat(bytes - 'token='.length)}`;

    const told = await sendAlone(post(body, { 'content-type': form, 'content-length': String(bytes) }));
    const chunked = await sendAlone(post(body, { 'content-type': form, 'transfer-encoding': 'chunked' }));

    expect([told.status, chunked.status]).toEqual([status, status]);
  });

  it('whose body breaks off is not asked, and nobody is alarmed', async () => {
    const { port, questions, telemetry, stop, listener } = await start(() => active(alice));
    const socket = connect(port, '127.0.0.1');
    const head = `POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Type: ${form}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n`;
    socket.write(`${head}token=a`);
    // The server waits for the body from now on.
    await once(socket, 'data');

    socket.destroy();
    stop.abort();
    await listener.closed;
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));

    expect(questions).toEqual([]);
    expect(telemetry.lines).toEqual([]);
  });
});

describe('no answer', () => {
  const codes: readonly ErrorCode[] = [
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
    'RESOURCE_EXHAUSTED',
    'FAILED_PRECONDITION',
    'CANCELLED',
    'INTERNAL',
  ];

  it.each(codes)('by %s is 503 with Retry-After, and never inactive', async (code) => {
    const { send } = await start(() => Promise.reject(new SidecarError(code, 'nobody answers', { reason: 'X', retryAfterMs: 1_500 })));

    const { status, headers, body } = await send(post('token=a'));

    expect([status, headers['retry-after'], JSON.parse(body).error]).toEqual([503, '2', 'temporarily_unavailable']);
  });

  it('is for callers that the configuration does not let validate: 403', async () => {
    const { send, questions } = await start(() => active(alice), { mayValidate: () => false });

    expect(await send(post('token=a'))).toMatchObject({ status: 403 });
    expect(questions).toEqual([]);
  });
});

describe('other requests', () => {
  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])('%s is 405', async (method) => {
    const { send } = await start(() => active(alice));

    const { status, headers } = await send({ method, path: '/introspect?token=a' });

    expect([status, headers.allow]).toEqual([405, 'POST']);
  });

  it.each(['/', '/introspect/', '/revoke', '/introspect2'])('POST %s is 404', async (path) => {
    const { send } = await start(() => active(alice));

    expect((await send({ ...post('token=a'), path })).status).toBe(404);
  });

  it('the token is nowhere but in the question', async () => {
    const outcomes = [() => active(alice), () => inactive('REFUSED')];
    const { send, telemetry } = await start(() => outcomes.shift()?.() ?? inactive('REFUSED'));

    const said = [await send(post(`token=${secret}`)), await send(post(`token=${secret}`)), await send(post(`token=${secret}&token=b`))];

    expect(JSON.stringify(said) + telemetry.everything()).not.toContain(secret);
  });
});

it('a sidecar serves it: a token is active until it is revoked there', async () => {
  const central = createFakeIssuer({ hasCatalogs: false });
  const nowMs = Math.floor(Date.now() / 1000) * 1000;
  central.knows(secret, { token: { user: { id: 'alice' }, issuedAtMs: nowMs - 60_000, expiresAtMs: nowMs + 3_600_000 } });
  const introspection = { host: '127.0.0.1', port: 0 };
  const sidecar = await startSidecar({
    fakes: [central],
    config: (base) => ({ ...base, listen: { ...base.listen, keystone: undefined, introspection } }),
  });
  atEnd(() => sidecar.stop());
  const ask = async (): Promise<unknown> => {
    const body = new URLSearchParams({ token: secret });
    return (await fetch(`http://${sidecar.introspection}/introspect`, { method: 'POST', body })).json();
  };

  expect(await ask()).toMatchObject({ active: true, sub: 'alice', iss: 'central', exp: nowMs / 1000 + 3600 });
  await sidecar.revoke({ target: { $case: 'token', value: secret } });

  expect(await ask()).toEqual({ active: false });
});
