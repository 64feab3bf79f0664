// RFC 7009 revocation: what counts as told, what will never be, and what has to be told again.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createRevocation, type Revocation, type RevocationOptions } from '../../src/upstreams/revocation.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type HttpAuthority, type ScriptedAnswer } from '../fakes/http-authority.ts';

const token = 'eyJ-the-token';
let authority: HttpAuthority;
let clock: FakeClock;
let revocation: Revocation;
let secret: string;
let reads: number;

function restage(options: Partial<RevocationOptions> = {}): void {
  revocation = createRevocation(
    {
      name: 'partner',
      url: `${authority.url}/revoke?realm=a`,
      auth: {
        kind: 'basic',
        clientId: 'sidegate',
        secret: async () => {
          reads += 1;
          return secret;
        },
      },
      deadlineMs: 5_000,
      attempts: 1,
      maxBodyBytes: 1_000,
      ...options,
    },
    { clock, random: () => 0.5 },
  );
}

beforeEach(async () => {
  authority = await createHttpAuthority();
  clock = createFakeClock();
  [secret, reads] = ['first-secret', 0];
  restage();
});
afterEach(async () => {
  await revocation.close();
  await authority.close();
});

const revoke = (signal = new AbortController().signal): Promise<string> => revocation.revoke(token, signal);
const answered = (answer: ScriptedAnswer): Promise<string> => {
  authority.script(() => answer);
  return revoke();
};

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    (word) => expect.unreachable(`it was ${String(word)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  expect(JSON.stringify([(error as Error).message, String((error as Error).cause)])).not.toMatch(/eyJ-|-secret|quoted/);
  return error as SidecarError;
}

describe('a revocation', () => {
  it('is a form with the token, authenticated by basic', async () => {
    expect(await answered({ status: 200 })).toBe('accepted');
    expect(authority.requests).toHaveLength(1);
    const { headers, ...request } = authority.requests[0] ?? expect.unreachable();
    expect(request).toEqual({ method: 'POST', path: '/revoke?realm=a', body: `token=${token}&token_type_hint=access_token` });
    expect(headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(Buffer.from(headers['authorization']?.slice('Basic '.length) ?? '', 'base64').toString()).toBe('sidegate:first-secret');
  });

  it('or by post', async () => {
    await revocation.close();
    restage({ auth: { kind: 'post', clientId: 'sidegate', secret: async () => secret } });
    expect(await answered({ status: 200 })).toBe('accepted');
    expect(authority.requests[0]?.headers['authorization']).toBeUndefined();
    expect(authority.requests[0]?.body).toBe(`token=${token}&token_type_hint=access_token&client_id=sidegate&client_secret=first-secret`);
  });

  it.each<[string, ScriptedAnswer]>([
    ['200', { status: 200 }],
    ['200 with any body: it means nothing (§2.2)', { status: 200, body: '<html>' }],
    ['204', { status: 204 }],
  ])('is accepted by %s', async (_what, answer) => {
    expect(await answered(answer)).toBe('accepted');
  });

  it.each(['unsupported_token_type', 'invalid_request'])('is rejected by 400 %s', async (error) => {
    expect(await answered({ status: 400, body: { error, error_description: 'quoted' } })).toBe('rejected');
  });

  it.each<[string, ScriptedAnswer, string]>([
    ['400 unauthorized_client', { status: 400, body: { error: 'unauthorized_client' } }, 'OUR_CREDENTIAL_FORBIDDEN'],
    ['403', { status: 403, body: { error: 'access_denied' } }, 'OUR_CREDENTIAL_FORBIDDEN'],
    ['400 with an error that nobody knows', { status: 400, body: { error: 'quoted' } }, 'BAD_ANSWER'],
    ['400 in HTML', { status: 400, body: '<html>unsupported_token_type</html>' }, 'BAD_ANSWER'],
    ['400 that says two things', { status: 400, body: '{"error":"quoted","error":"invalid_request"}' }, 'BAD_ANSWER'],
    ['400 with half of its JSON', { status: 400, body: '{"error":"unsupported_token_type"' }, 'BAD_ANSWER'],
    ['201', { status: 201 }, 'BAD_ANSWER'],
    ['302', { status: 302, headers: { location: '/' } }, 'BAD_ANSWER'],
    ['404', { status: 404, body: { error: 'unsupported_token_type' } }, 'BAD_ANSWER'],
    ['405', { status: 405 }, 'BAD_ANSWER'],
    ['429', { status: 429 }, 'REVOCATION_UNAVAILABLE'],
    ['500', { status: 500, body: { error: 'invalid_request' } }, 'REVOCATION_UNAVAILABLE'],
    ['503', { status: 503 }, 'REVOCATION_UNAVAILABLE'],
    ['the end of the connection', { kind: 'cut' }, 'REVOCATION_UNREACHABLE'],
    ['half of a reply', { kind: 'half', status: 200, body: '{"a": 1}' }, 'REVOCATION_UNREACHABLE'],
    ['too much', { kind: 'endless', status: 200 }, 'BAD_ANSWER'],
    ['what is not HTTP', { kind: 'bytes', bytes: 'quoted\r\n\r\n' }, 'BAD_ANSWER'],
  ])('has not been told by %s', async (_what, answer, reason) => {
    const error = await failure(answered(answer));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason });
    expect(error.retryAfterMs).toBeGreaterThan(0);
  });

  it.each([429, 503])('has the pause that a %d asks for', async (status) => {
    expect((await failure(answered({ status, headers: { 'retry-after': '11' } }))).retryAfterMs).toBe(11_000);
  });

  it('is sent again after a 503, as often as one may', async () => {
    await revocation.close();
    restage({ attempts: 2 });
    authority.script(() => ({ status: authority.requests.length === 1 ? 503 : 200 }));
    const telling = revoke();
    await expect.poll(() => clock.waiting()).toBe(1);
    await clock.advance(1_000);
    expect([await telling, authority.requests.length]).toEqual(['accepted', 2]);
  });

  it('that hangs ends by its deadline', async () => {
    await revocation.close();
    restage({ deadlineMs: 150 });
    expect((await failure(answered({ kind: 'hang' }))).reason).toBe('REVOCATION_TIMEOUT');
  });

  it('ends when its caller leaves', async () => {
    authority.script(() => ({ kind: 'hang' }));
    const caller = new AbortController();
    const telling = revoke(caller.signal);
    await authority.received(1);
    caller.abort();
    expect((await failure(telling)).code).toBe('CANCELLED');
  });
});

describe('our credential', () => {
  const invalid: readonly ScriptedAnswer[] = [{ status: 401 }, { status: 400, body: { error: 'invalid_client' } }];

  it.each(invalid)('refused by %o is read once more, and then said to be refused', async (answer) => {
    const error = await failure(answered(answer));
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
    expect(error.message).toContain('OUR credential');
    expect([reads, authority.requests.length]).toEqual([2, 1]);
  });

  it('replaced is used for the same token', async () => {
    authority.script(({ headers }) => {
      const pair = Buffer.from(headers['authorization']?.slice('Basic '.length) ?? '', 'base64').toString();
      return { status: pair === 'sidegate:second-secret' ? 200 : 401 };
    });
    expect((await failure(revoke())).reason).toBe('OUR_CREDENTIAL_REFUSED');
    secret = 'second-secret';
    await clock.advance(1_000);
    expect([await revoke(), authority.requests.length]).toEqual(['accepted', 3]);
  });

  it('refused is left alone for a while', async () => {
    await failure(answered({ status: 401 }));
    expect(await failure(revoke())).toMatchObject({ reason: 'OUR_CREDENTIAL_REFUSED', retryAfterMs: 1_000 });
    expect(authority.requests).toHaveLength(1);
  });
});
