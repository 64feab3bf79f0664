// HTTP towards an authority: deadlines, bodies, repetitions, redirects, TLS, clocks.

import { getEventListeners, setMaxListeners } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createHttp, type Http, type HttpOptions, type HttpReply, type HttpRequest } from '../../src/upstreams/http.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type HttpAuthority, type ScriptedAnswer } from '../fakes/http-authority.ts';
import tls from '../vectors/upstream-tls.json' with { type: 'json' };

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const maxBodyBytes = 1_000;
let authority: HttpAuthority;
let clock: FakeClock;
const opened: Http[] = [];

beforeEach(async () => {
  authority = await createHttpAuthority();
  clock = createFakeClock();
});
afterEach(async () => {
  for (const http of opened.splice(0)) await http.close();
  await authority.close();
});

function make(options: Partial<HttpOptions> = {}): Http {
  const http = createHttp(
    { authority: 'the authority', reasonPrefix: 'TEST', deadlineMs: 5_000, attempts: 1, maxBodyBytes, ...options },
    { clock, random: () => 0.5 },
  );
  opened.push(http);
  return http;
}

const get = (request: Partial<HttpRequest> = {}): HttpRequest => ({
  method: 'GET',
  url: `${authority.url}/x?y`,
  headers: {},
  repeatable: true,
  ...request,
});

async function send(http: Http, request: Partial<HttpRequest> = {}): Promise<HttpReply> {
  return http.send(get(request), http.deadline());
}

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    () => expect.unreachable('it answered'),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  return error as SidecarError;
}

async function whileAdvancing<T>(work: Promise<T>): Promise<T> {
  let ended = false;
  const ending = work.finally(() => {
    ended = true;
  });
  ending.catch((cause: unknown) => cause);
  while (!ended) {
    await new Promise((resolve) => setImmediate(resolve));
    if (clock.waiting() > 0) await clock.advance(10);
  }
  return ending;
}

describe('a reply', () => {
  it('is given with its status, headers and body, whatever the status', async () => {
    authority.script(() => ({ status: 418, headers: { 'X-One': 'a', 'retry-after': '7' }, body: 'tea' }));
    const reply = await send(make());
    expect(reply).toMatchObject({ status: 418, headers: { 'x-one': 'a' }, retryAfterMs: 7_000 });
    expect(reply.body.toString()).toBe('tea');
    expect(authority.requests[0]).toMatchObject({ method: 'GET', path: '/x?y' });
  });

  it('is not followed where it redirects', async () => {
    authority.script(() => ({ status: 302, headers: { location: `${authority.url}/other` } }));
    expect((await send(make())).status).toBe(302);
    expect(authority.requests).toHaveLength(1);
  });

  it.each([maxBodyBytes - 1, maxBodyBytes])('of %d bytes is within the limit', async (length) => {
    authority.script(() => ({ status: 200, body: 'x'.repeat(length) }));
    expect((await send(make())).body).toHaveLength(length);
  });

  it('one byte above the limit is no answer', async () => {
    authority.script(() => ({ status: 200, body: 'x'.repeat(maxBodyBytes + 1) }));
    expect(await failure(send(make({ attempts: 3 })))).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    expect(authority.requests).toHaveLength(1);
  });

  it('with headers of 128 kB is no answer, with a little less is one', async () => {
    // The limit counts the other headers, too.
    const echo = (length: number) => authority.script(() => ({ status: 200, headers: { 'x-echo': 'x'.repeat(length) } }));
    echo(130_000);
    expect((await send(make())).headers['x-echo']).toHaveLength(130_000);
    echo(131_072);
    expect(await failure(send(make()))).toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
  });

  it('to a DELETE is one without a body', async () => {
    authority.script(() => ({ status: 204 }));
    const reply = await send(make(), { method: 'DELETE' });
    expect([reply.status, reply.body.length, authority.requests[0]?.method]).toEqual([204, 0, 'DELETE']);
  });

  it('without end is cut off at the limit, with its connection', async () => {
    authority.script(() => ({ kind: 'endless', status: 200 }));
    expect((await failure(send(make()))).reason).toBe('BAD_ANSWER');
    await expect.poll(() => authority.connectionCount()).toBe(0);
  });

  it('that is cut in the middle is no answer', async () => {
    authority.script(() => ({ kind: 'half', status: 200, body: '{"token": {}}' }));
    expect(await failure(send(make()))).toMatchObject({ code: 'UNAVAILABLE', reason: 'TEST_UNREACHABLE' });
  });

  it('that is not HTTP is no answer, and what it was is not told', async () => {
    authority.script(() => ({ kind: 'bytes', bytes: 'secret-garbage\r\n\r\n' }));
    const error = await failure(send(make()));
    expect(error.reason).toBe('BAD_ANSWER');
    expect(JSON.stringify([error.message, error.cause, { ...(error.cause as object) }])).not.toContain('secret-garbage');
  });

  it.each(['0', '1'])('may ask for a pause of %s s', async (seconds) => {
    authority.script(() => ({ status: 429, headers: { 'retry-after': seconds } }));
    expect((await send(make())).retryAfterMs).toBe(Number(seconds) * 1_000);
  });

  it.each(['soon', '-1', '1.5', 'Sat, 21 Nov 2026 10:00:00 GMT', '99999999999'])(
    'that asks for a pause of "%s" asks for none',
    async (value) => {
      authority.script(() => ({ status: 429, headers: { 'retry-after': value } }));
      expect((await send(make())).retryAfterMs).toBeUndefined();
    },
  );

  it('may not ask for more than five minutes', async () => {
    authority.script(() => ({ status: 429, headers: { 'retry-after': '86400' } }));
    expect((await send(make())).retryAfterMs).toBe(300_000);
  });
});

describe('a deadline', () => {
  it.each<ScriptedAnswer>([{ kind: 'hang' }, { kind: 'stall', status: 200, body: 'x'.repeat(100) }])(
    'ends a request to $kind',
    async (answer) => {
      authority.script(() => answer);
      const error = await failure(send(make({ deadlineMs: 60, attempts: 3 })));
      expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'TEST_TIMEOUT', retryAfterMs: 1_000 });
      expect(authority.requests).toHaveLength(1);
    },
  );

  it('ends a connection that is never accepted', async () => {
    // A server that listens but never accepts is not to be had portably: an address of documentation (RFC 5737) swallows packets or
    // is refused at once by the network; either way there is no answer in time.
    const error = await failure(send(make({ deadlineMs: 60 }), { url: 'http://192.0.2.1:9/' }));
    expect(error.code).toBe('UNAVAILABLE');
  });

  it('is kept although the garbage is collected meanwhile', async () => {
    // Node's AbortSignal.any holds its sources weakly: a timeout that nobody else holds is collected and never ends anything.
    authority.script(() => ({ kind: 'hang' }));
    const http = make({ deadlineMs: 300 });
    const sending = failure(http.send(get(), http.deadline(new AbortController().signal)));
    await authority.received(1);
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect((await sending).reason).toBe('TEST_TIMEOUT');
  }, 5_000);

  it('is over at once for a caller that leaves', async () => {
    authority.script(() => ({ kind: 'hang' }));
    const http = make();
    const caller = new AbortController();
    const sending = http.send(get(), http.deadline(caller.signal));
    await authority.received(1);
    caller.abort();
    expect((await failure(sending)).code).toBe('CANCELLED');
    await expect.poll(() => authority.connectionCount()).toBe(0);
  });

  it('leaves nothing in a signal that lives on: that of what asks each second as long as the process runs', async () => {
    const http = make({ deadlineMs: 20 });
    const living = new AbortController().signal;
    setMaxListeners(0, living);
    for (let n = 0; n < 20; n += 1) await http.within(Promise.resolve(n), http.deadline(living));

    // Node keeps in a set of its own what AbortSignal.any has made of a signal.
    const sizes = (): readonly number[] =>
      Object.getOwnPropertySymbols(living)
        .map((symbol): unknown => Reflect.get(living, symbol))
        .flatMap((value) => (typeof value === 'object' && value !== null && 'size' in value ? Number(value.size) : []));
    await vi.waitFor(() => expect(getEventListeners(living, 'abort')).toEqual([]));
    expect(sizes().filter((size) => size >= 20)).toEqual([]);
  });

  it("keeps the caller's reason", async () => {
    const http = make();
    const own = new SidecarError('RESOURCE_EXHAUSTED', 'shed', { reason: 'SHED' });
    expect(await failure(http.send(get(), http.deadline(AbortSignal.abort(own))))).toBe(own);
    const late = AbortSignal.abort(new DOMException('late', 'TimeoutError'));
    expect((await failure(http.send(get(), http.deadline(late)))).code).toBe('DEADLINE_EXCEEDED');
    expect(authority.requests).toHaveLength(0);
  });

  it('frees a pause between attempts', async () => {
    authority.script(() => ({ kind: 'cut' }));
    const http = make({ attempts: 5 });
    const caller = new AbortController();
    const sending = http.send(get(), http.deadline(caller.signal));
    await expect.poll(() => clock.waiting()).toBe(1);
    caller.abort();
    expect((await failure(sending)).code).toBe('CANCELLED');
    expect(clock.waiting()).toBe(0);
  });
});

describe('a repetition', () => {
  const thenGood = (bad: ScriptedAnswer): void => {
    authority.script(() => (authority.requests.length < 2 ? bad : { status: 200, body: 'good' }));
  };

  it.each<ScriptedAnswer>([
    { kind: 'cut' },
    { kind: 'half', status: 200, body: 'abcd' },
    { status: 502 },
    { status: 503 },
    { status: 504 },
  ])('mends %o', async (bad) => {
    thenGood(bad);
    expect((await whileAdvancing(send(make({ attempts: 2 })))).status).toBe(200);
    expect(authority.requests).toHaveLength(2);
  });

  it.each([200, 300, 400, 401, 403, 404, 429, 500])('is not made after status %d', async (status) => {
    authority.script(() => ({ status }));
    expect((await send(make({ attempts: 3 }))).status).toBe(status);
    expect(authority.requests).toHaveLength(1);
  });

  it('is not made of what must not be sent twice', async () => {
    authority.script(() => ({ kind: 'cut' }));
    await failure(send(make({ attempts: 3 }), { method: 'POST', body: 'x', repeatable: false }));
    expect(authority.requests).toHaveLength(1);
  });

  it('is made of a POST that only asks', async () => {
    thenGood({ status: 503 });
    expect((await whileAdvancing(send(make({ attempts: 2 }), { method: 'POST', body: 'x' }))).status).toBe(200);
    expect(authority.requests.map((request) => request.body)).toEqual(['x', 'x']);
  });

  it('ends with the last reply when the attempts are used up', async () => {
    authority.script(() => ({ status: 503 }));
    expect((await whileAdvancing(send(make({ attempts: 3 })))).status).toBe(503);
    expect(authority.requests).toHaveLength(3);
  });

  it('waits as long as Retry-After asks', async () => {
    authority.script(() => (authority.requests.length < 2 ? { status: 503, headers: { 'retry-after': '2' } } : { status: 200 }));
    const sending = send(make({ attempts: 2 }));
    await expect.poll(() => clock.waiting()).toBe(1);
    await clock.advance(1_999);
    expect(authority.requests).toHaveLength(1);
    await clock.advance(1);
    expect((await sending).status).toBe(200);
  });

  it('is not begun when its pause would outlive the deadline', async () => {
    authority.script(() => ({ status: 503, headers: { 'retry-after': '5' } }));
    expect((await send(make({ attempts: 2, deadlineMs: 5_000 }))).status).toBe(503);
    expect(authority.requests).toHaveLength(1);
  });
});

describe('TLS', () => {
  let dir: string;
  let secure: HttpAuthority;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sidegate-http-'));
    await writeFile(join(dir, 'ca.pem'), tls.cert);
    secure = await createHttpAuthority(tls);
    secure.script(() => ({ status: 200 }));
  });
  afterEach(async () => {
    for (const http of opened.splice(0)) await http.close();
    await secure.close();
    await rm(dir, { recursive: true });
  });
  const ask = (options: Partial<HttpOptions>): Promise<HttpReply> => send(make(options), { url: `${secure.url}/` });

  it('trusts the configured CA and expects the configured name', async () => {
    expect((await ask({ caFile: join(dir, 'ca.pem'), serverName: 'keystone.example' })).status).toBe(200);
  });

  it('trusts nobody else', async () => {
    expect((await failure(ask({ serverName: 'keystone.example' }))).message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT');
  });

  it('expects the name of the URL where none is configured', async () => {
    expect((await failure(ask({ caFile: join(dir, 'ca.pem') }))).message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it('reads the CA again for a new connection', async () => {
    const http = make({ caFile: join(dir, 'later.pem'), serverName: 'keystone.example' });
    expect((await failure(send(http, { url: `${secure.url}/` }))).message).toContain('CA_FILE_ENOENT');
    await rename(join(dir, 'ca.pem'), join(dir, 'later.pem'));
    expect((await send(http, { url: `${secure.url}/` })).status).toBe(200);
  });
});

describe('the clock of an authority', () => {
  it('comes with a reply, by our wall clock', async () => {
    authority.script(() => ({ status: 200, headers: { date: new Date(clock.nowMs() + 60_000).toUTCString() } }));
    expect((await send(make())).clockOffsetMs).toBe(60_000);
  });

  it('does not come with a reply out of a cache', async () => {
    authority.script(() => ({ status: 200, headers: { age: '30' } }));
    expect((await send(make())).clockOffsetMs).toBeUndefined();
  });
});
