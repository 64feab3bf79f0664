// RFC 7662 introspection as an authority: what counts as an answer, and how we authenticate.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { Upstream } from '../../src/ports.ts';
import type { ClientAuth } from '../../src/upstreams/client-auth.ts';
import { createIntrospection, type IntrospectionOptions } from '../../src/upstreams/introspection.ts';
import { type UpstreamHarness, upstreamConformance } from '../conformance/upstream.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

const good = 'ptr_good-token-1';
const disposable = 'ptr_good-token-2';
const issued: ReadonlySet<string | null> = new Set([good, disposable]);
const unknown = 'ptr_nobody-knows';
const goodClaims = {
  active: true,
  sub: 'u-17',
  client_id: 'shop',
  jti: 'j-1',
  sid: 's-1',
  scope: 'read write',
  aud: 'api',
  exp: 1_795_262_400,
  iat: 1_795_258_800,
  nbf: 1_795_258_800,
  token_type: 'Bearer',
};

type StageOptions = Partial<IntrospectionOptions> & { readonly kind?: 'basic' | 'post'; readonly revokes?: boolean };

/** `revokes`: the same server takes revocations, and refuses the token after. */
async function createStage({ kind = 'basic', revokes = false, ...options }: StageOptions = {}) {
  const authority = await createHttpAuthority();
  const clock = createFakeClock();
  const telemetry = createFakeTelemetry();
  let secret = 'first-secret';
  let taken = 'first-secret';
  let reads = 0;
  const dead = new Set<string | null>();
  let script: ((request: ReceivedRequest) => ScriptedAnswer) | undefined;

  function introspect({ path, headers, body }: ReceivedRequest): ScriptedAnswer {
    const form = new URLSearchParams(body);
    const basic = Buffer.from(headers['authorization']?.slice('Basic '.length) ?? '', 'base64').toString();
    if (basic !== `sidegate:${taken}` && form.get('client_secret') !== taken) return { status: 401, body: { error: 'invalid_client' } };
    const token = form.get('token');
    if (path === '/revoke') dead.add(token);
    return { status: 200, body: path === '/introspect' && issued.has(token) && !dead.has(token) ? goodClaims : { active: false } };
  }

  authority.script((request) => (script ?? introspect)(request));
  const auth: ClientAuth = {
    kind,
    clientId: 'sidegate',
    secret: async () => {
      reads += 1;
      return secret;
    },
  };
  const upstream = createIntrospection(
    {
      name: 'partner',
      url: `${authority.url}/introspect`,
      auth,
      ...(revokes && { revocation: { url: `${authority.url}/revoke`, auth } }),
      deadlineMs: 5_000,
      attempts: 1,
      maxBodyBytes: 65_536,
      ...options,
    },
    { clock, log: telemetry.log, random: () => 0.5 },
  );
  return {
    authority,
    clock,
    telemetry,
    upstream,
    reads: () => reads,
    ask: (token = good) => upstream.ask(token, new AbortController().signal),
    answer: (next: ScriptedAnswer) => {
      script = () => next;
    },
    behave: () => {
      script = undefined;
    },
    setSecret: (next: string) => {
      secret = next;
    },
    setTaken: (next: string) => {
      taken = next;
    },
    async close() {
      await upstream.close();
      await authority.close();
    },
  };
}

let stage: Awaited<ReturnType<typeof createStage>>;
beforeEach(async () => {
  stage = await createStage();
});
afterEach(() => stage.close());

async function restage(options: Parameters<typeof createStage>[0]): Promise<void> {
  await stage.close();
  stage = await createStage(options);
}

async function failure(work: ReturnType<Upstream['ask']>): Promise<SidecarError> {
  const error = await work.then(
    (reading) => expect.unreachable(`it answered ${JSON.stringify(reading)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  expect(JSON.stringify([(error as Error).message, stage.telemetry.everything()])).not.toMatch(/ptr_|-secret/);
  return error as SidecarError;
}

describe('a question', () => {
  it('is a form with the token, authenticated by basic', async () => {
    await stage.ask();
    expect(stage.authority.requests[0]).toMatchObject({
      method: 'POST',
      path: '/introspect',
      headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
      body: `token=${good}&token_type_hint=access_token`,
    });
  });

  it('or by post', async () => {
    await restage({ kind: 'post' });
    await stage.ask();
    const { headers, body } = stage.authority.requests[0] ?? expect.unreachable();
    expect(headers['authorization']).toBeUndefined();
    expect(body).toBe(`token=${good}&token_type_hint=access_token&client_id=sidegate&client_secret=first-secret`);
  });

  it('encodes id and secret before joining them (RFC 6749 §2.3.1)', async () => {
    await restage({ auth: { kind: 'basic', clientId: 'a:b c', secret: async () => 'p%:+é' } });
    stage.answer({ status: 200, body: { active: false } });
    await stage.ask();
    const sent = stage.authority.requests[0]?.headers['authorization'] ?? '';
    expect(Buffer.from(sent.slice('Basic '.length), 'base64').toString()).toBe('a%3Ab+c:p%25%3A%2B%C3%A9');
  });

  it('may be about any string', async () => {
    const token = 'a b&token=c\r\né\u{1f600}';
    await stage.ask(token);
    expect(new URLSearchParams(stage.authority.requests[0]?.body).getAll('token')).toEqual([token]);
  });

  it('is sent again after a 503', async () => {
    await restage({ attempts: 2 });
    stage.answer({ status: 503 });
    const asking = stage.ask();
    await expect.poll(() => stage.clock.waiting()).toBe(1);
    stage.behave();
    await stage.clock.advance(1_000);
    expect(await asking).toMatchObject({ kind: 'facts' });
  });
});

describe('an active token', () => {
  it('has the facts that its claims tell', async () => {
    expect(await stage.ask()).toMatchObject({
      kind: 'facts',
      provenance: 'authority',
      facts: {
        identity: 'j-1',
        token: {
          issuer: 'partner',
          format: 'opaque',
          user: { id: 'u-17' },
          clientId: 'shop',
          tokenId: 'j-1',
          sessionId: 's-1',
          scopes: ['read', 'write'],
          audiences: ['api'],
          issuedAtMs: 1_795_258_800_000,
          expiresAtMs: 1_795_262_400_000,
        },
        notBeforeMs: 1_795_258_800_000,
      },
    });
  });

  it('of which nothing is told has all of that unknown (S2)', async () => {
    stage.answer({ status: 200, body: { active: true } });
    const reading = await stage.ask();
    expect(reading).toMatchObject({ kind: 'facts' });
    const { unknown } = reading.kind === 'facts' ? reading.facts : expect.unreachable();
    expect(unknown).toEqual(expect.arrayContaining(['user', 'client', 'session', 'identity', 'group']));
  });

  it('whose id is told has a known identity', async () => {
    const reading = await stage.ask();
    const { unknown } = reading.kind === 'facts' ? reading.facts : expect.unreachable();
    expect(unknown).not.toContain('identity');
  });

  it('of any issuer is active: who is asked is the authority for all that it knows', async () => {
    stage.answer({ status: 200, body: { ...goodClaims, iss: 'https://other.example' } });
    expect(await stage.ask()).toMatchObject({ kind: 'facts' });
  });

  it('bound to a certificate keeps its thumbprint', async () => {
    const thumbprint = 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0';
    stage.answer({ status: 200, body: { ...goodClaims, cnf: { 'x5t#S256': thumbprint } } });
    expect(await stage.ask()).toMatchObject({ facts: { token: { certificateThumbprint: thumbprint } } });
  });

  it.each([
    ['cnf.jkt', { token_type: 'DPoP', cnf: { jkt: 'x' } }],
    ['cnf.jkt, called a bearer token', { cnf: { jkt: 'x' } }],
    ['its type alone', { token_type: 'DPoP' }],
    ['a binding that nobody knows', { cnf: { novel: 'x' } }],
  ])('bound to a key by %s fails closed', async (_how, claims) => {
    stage.answer({ status: 200, body: { ...goodClaims, ...claims } });
    expect(await stage.ask()).toMatchObject({ kind: 'inactive', reason: 'WRONG_CERTIFICATE' });
  });
});

describe('an answer', () => {
  it('with active: false is a refusal', async () => {
    expect(await stage.ask(unknown)).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
  });

  it.each<[string, ScriptedAnswer]>([
    ['a string', { status: 200, body: { active: 'true' } }],
    ['the string "false"', { status: 200, body: { active: 'false' } }],
    ['1', { status: 200, body: { active: 1 } }],
    ['0', { status: 200, body: { active: 0 } }],
    ['null', { status: 200, body: { active: null } }],
    ['missing', { status: 200, body: {} }],
    ['spelt otherwise', { status: 200, body: { Active: true } }],
    ['in a list', { status: 200, body: [{ active: true }] }],
    ['said twice', { status: 200, body: '{"active":false,"active":true}' }],
    ['in half a document', { status: 200, body: '{"active":true' }],
    ['in HTML', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>active: false</html>' }],
    ['in nothing', { status: 200 }],
    ['in what is not UTF-8', { status: 200, body: Buffer.from([0xff]) }],
    ['in an answer too long', { status: 200, body: { active: false, padding: 'x'.repeat(70_000) } }],
    ['with status 204', { status: 204 }],
    ['with status 201', { status: 201, body: { active: false } }],
    ['with status 302', { status: 302, headers: { location: '/' }, body: { active: false } }],
    ['with status 400', { status: 400, body: { active: false } }],
    ['with status 404', { status: 404, body: { active: false } }],
  ])('whose `active` is %s is none', async (_what, answer) => {
    stage.answer(answer);
    expect(await failure(stage.ask())).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
  });

  it.each([{ exp: 'tomorrow' }, { iat: -1 }, { sub: 7 }, { scope: 7 }, { cnf: 'x' }])('with the claim %j is none', async (claim) => {
    stage.answer({ status: 200, body: { ...goodClaims, ...claim } });
    expect(await failure(stage.ask())).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
  });

  it.each([429, 500, 502, 503])('of %d is none, with the pause it asks for', async (status) => {
    stage.answer({ status, headers: { 'retry-after': '9' }, body: { active: false } });
    expect(await failure(stage.ask())).toMatchObject({ code: 'UNAVAILABLE', reason: 'INTROSPECTION_UNAVAILABLE', retryAfterMs: 9_000 });
  });

  it.each<[ScriptedAnswer, string]>([
    [{ kind: 'cut' }, 'INTROSPECTION_UNREACHABLE'],
    [{ kind: 'half', status: 200, body: JSON.stringify(goodClaims) }, 'INTROSPECTION_UNREACHABLE'],
    [{ kind: 'bytes', bytes: 'x\r\n\r\n' }, 'BAD_ANSWER'],
    [{ kind: 'endless', status: 200 }, 'BAD_ANSWER'],
  ])('that is %j is none', async (answer, reason) => {
    stage.answer(answer);
    expect(await failure(stage.ask())).toMatchObject({ code: 'UNAVAILABLE', reason });
  });
});

describe('our credential', () => {
  it('is read once for many questions', async () => {
    await Promise.all([stage.ask(), stage.ask(), stage.ask()]);
    await stage.ask();
    expect(stage.reads()).toBe(1);
  });

  it.each<ScriptedAnswer>([{ status: 401 }, { status: 400, body: { error: 'invalid_client' } }])(
    'refused by %o is read again, and then said to be refused',
    async (answer) => {
      stage.answer(answer);
      const error = await failure(stage.ask());
      expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
      expect(error.message).toContain('OUR credential');
      expect(stage.reads()).toBe(2);
    },
  );

  it('replaced is used for the same question', async () => {
    await stage.ask();
    stage.setSecret('second-secret');
    stage.setTaken('second-secret');
    expect(await stage.ask()).toMatchObject({ kind: 'facts' });
    expect(stage.authority.requests).toHaveLength(3);
  });

  it('refused is left alone for 1 s, then 2 s', async () => {
    stage.setTaken('another');
    await Promise.all(Array.from({ length: 20 }, () => failure(stage.ask())));
    const sent = stage.authority.requests.length;
    expect(await failure(stage.ask())).toMatchObject({ reason: 'OUR_CREDENTIAL_REFUSED', retryAfterMs: 1_000 });
    expect(stage.authority.requests).toHaveLength(sent);
    await stage.clock.advance(1_000);
    await failure(stage.ask());
    expect((await failure(stage.ask())).retryAfterMs).toBe(2_000);
  });

  it('without the right is told apart', async () => {
    stage.answer({ status: 403, body: { active: false } });
    expect((await failure(stage.ask())).reason).toBe('OUR_CREDENTIAL_FORBIDDEN');
  });

  it('that cannot be read asks nothing', async () => {
    await restage({ auth: { kind: 'basic', clientId: 'x', secret: () => Promise.reject(new Error('ENOENT')) } });
    expect(await failure(stage.ask())).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_UNREADABLE' });
    expect(stage.authority.requests).toHaveLength(0);
  });
});

describe('told of revocations', () => {
  const endpoint = async (secret: () => Promise<string>) => {
    const revocation = await createHttpAuthority();
    revocation.script(() => ({ status: 200 }));
    await restage({ revocation: { url: `${revocation.url}/revoke`, auth: { kind: 'post', clientId: 'other', secret } } });
    return revocation;
  };

  it('it has an address and a credential of their own', async () => {
    const revocation = await endpoint(async () => 'third-secret');
    expect(await stage.upstream.revoke?.(good, new AbortController().signal)).toBe('accepted');
    expect(stage.authority.requests).toHaveLength(0);
    expect(revocation.requests[0]).toMatchObject({
      path: '/revoke',
      body: `token=${good}&token_type_hint=access_token&client_id=other&client_secret=third-secret`,
    });
    await revocation.close();
  });

  it('its trouble there says nothing about questions', async () => {
    const revocation = await endpoint(() => Promise.reject(new Error('ENOENT')));
    await stage.ask();
    await expect(stage.upstream.revoke?.(good, new AbortController().signal)).rejects.toMatchObject({
      reason: 'OUR_CREDENTIAL_UNREADABLE',
    });
    expect(stage.upstream.health().reachable).toBe(true);
    expect(await stage.ask()).toMatchObject({ kind: 'facts' });
    await revocation.close();
  });
});

const harness = async (deadlineMs: number, revokes: boolean): Promise<UpstreamHarness> => {
  const it = await createStage({ deadlineMs, revokes });
  let before = 0;
  return {
    upstream: it.upstream,
    good: { token: good, userId: 'u-17' },
    unknown,
    disposable,
    secrets: [good, disposable, unknown, 'first-secret', 'second-secret'],
    stop: () => it.authority.stop(),
    resume: () => it.authority.resume(),
    async hang() {
      before = it.authority.requests.length;
      it.answer({ kind: 'hang' });
    },
    hanging: () => it.authority.received(before + 1),
    async revokeOurCredential() {
      it.setSecret('second-secret');
      it.setTaken('second-secret');
    },
    renewals: it.reads,
    logged: () => it.telemetry.everything(),
    close: it.close,
  };
};

upstreamConformance('introspection', (deadlineMs) => harness(deadlineMs, false));
upstreamConformance('introspection that is told of revocations', (deadlineMs) => harness(deadlineMs, true), { revokes: true });
