// What else is asked of Keystone: its revocation events and projects, what each answer means, and under whose token.

import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { ReceivedRequest, ScriptedAnswer } from '../fakes/http-authority.ts';
import vectors from '../vectors/keystone-tokens.json' with { type: 'json' };
import { createKeystoneStage, type KeystoneStage, password } from './keystone-stage.ts';

const never = new AbortController().signal;
setMaxListeners(0, never);
const row = { user_id: 'u', issued_before: '2026-11-21T17:58:42.000000Z', revoked_at: '2026-11-21T17:58:42.000000Z' };
const list = (...events: unknown[]) => ({ events, links: { next: null, self: 'http://keystone.test', previous: null } });
const sinceMs = Date.UTC(2026, 10, 21, 9, 59, 0, 730);

let stage: KeystoneStage;

beforeEach(async () => {
  stage = await createKeystoneStage();
});
afterEach(async () => {
  const logged = stage.telemetry.everything();
  expect([password, 'own-token-'].filter((secret) => logged.includes(secret))).toEqual([]);
  await stage.close();
});

const answers = (script: ScriptedAnswer | ((request: ReceivedRequest) => ScriptedAnswer)): void =>
  stage.answerGets(typeof script === 'function' ? script : () => script);
const events = (signal = never) => stage.upstream.revocationEvents(sinceMs, signal);
const project = (id: string, signal = never) => stage.upstream.project(id, signal);

async function failure(work: Promise<unknown>): Promise<SidecarError> {
  const error = await work.then(
    (answer) => expect.unreachable(`it answered ${JSON.stringify(answer)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(SidecarError);
  return error as SidecarError;
}

describe('revocation events', () => {
  it('are asked for from whole seconds on, under our own token', async () => {
    answers({ status: 200, body: list(row) });
    await events();
    expect(stage.requestsOf('GET')).toHaveLength(1);
    expect(stage.requestsOf('GET')[0]).toMatchObject({
      path: '/v3/OS-REVOKE/events?since=2026-11-21T09:59:00Z',
      headers: { 'x-auth-token': 'own-token-1' },
    });
  });

  it('come as they stand there, with the time by Keystone’s clock and how that stands to ours', async () => {
    const date = new Date(stage.clock.nowMs() + 60_000).toUTCString();
    answers({ status: 200, headers: { date }, body: list(row, { odd: [1] }) });
    expect(await events()).toEqual({
      kind: 'events',
      events: [row, { odd: [1] }],
      dateMs: stage.clock.nowMs() + 60_000,
      clockOffsetMs: 60_000,
    });
  });

  it('come without a time where Keystone tells none that can be read', async () => {
    answers({ status: 200, headers: { date: 'yesterday' }, body: list() });
    expect(await events()).toEqual({ kind: 'events', events: [] });
  });

  it('that are more than a body may hold are too large, and not a failure', async () => {
    await stage.close();
    stage = await createKeystoneStage({ maxBodyBytes: 2_000 });
    const full = list(...Array.from({ length: 40 }, () => row));
    answers({ status: 200, body: full });
    expect(JSON.stringify(full).length).toBeGreaterThan(2_000);
    expect(await events()).toEqual({ kind: 'too-large' });
  });

  it('are asked for once more under a new token after a 401', async () => {
    answers({ status: 200, body: list() });
    await events();
    stage.revokeOurs();
    answers((request) => (request.headers['x-auth-token'] === 'own-token-2' ? { status: 200, body: list(row) } : stage.get(request)));
    expect(await events()).toMatchObject({ kind: 'events', events: [row] });
    expect(stage.loginCount()).toBe(2);
  });

  it('after a second 401 are our credential’s failure, and it is left alone for a while', async () => {
    answers({ status: 401, body: vectors.errors.service_token_revoked.body });
    expect(await failure(events())).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
    const asked = stage.authority.requests.length;
    expect(await failure(events())).toMatchObject({ reason: 'OUR_CREDENTIAL_REFUSED' });
    expect(stage.authority.requests).toHaveLength(asked);
  });

  it('that our user may not read are said with the role it needs', async () => {
    answers(stage.error(403, 'You are not authorized to perform the requested action: identity:list_revoke_events.'));
    const error = await failure(events());
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_FORBIDDEN' });
    expect(error.message).toContain('our user needs the role "service"');
  });

  it.each([404, 410])('that are not there (%d) are said with what to do', async (status) => {
    answers(stage.error(status, 'gone'));
    const error = await failure(events());
    expect(error).toMatchObject({ reason: 'NO_REVOCATION_EVENTS' });
    expect(error.message).toMatch(/\/v3.*news\.poll/);
  });

  it.each([
    ['a proxy’s 403', { status: 403, body: '<html>no</html>' }, 'BAD_ANSWER'],
    ['HTML', { status: 200, body: '<html></html>' }, 'BAD_ANSWER'],
    ['JSON without a list', { status: 200, body: { events: {} } }, 'BAD_ANSWER'],
    ['half a body', { kind: 'half', status: 200, body: JSON.stringify(list(row)) }, 'KEYSTONE_UNREACHABLE'],
    ['a redirect', { status: 302, headers: { location: '/elsewhere' } }, 'BAD_ANSWER'],
    ['a bad request', { status: 400, body: '{}' }, 'BAD_ANSWER'],
    ['503', { status: 503 }, 'KEYSTONE_UNAVAILABLE'],
    ['429', { status: 429, headers: { 'retry-after': '7' } }, 'KEYSTONE_UNAVAILABLE'],
  ] as const)('%s is no list', async (_what, answer, reason) => {
    answers(answer);
    expect(await failure(events())).toMatchObject({ code: 'UNAVAILABLE', reason });
  });

  it('keep to what Keystone asks to wait', async () => {
    answers({ status: 503, headers: { 'retry-after': '7' } });
    expect(await failure(events())).toMatchObject({ retryAfterMs: 7_000 });
  });

  it('that hang end with whoever waited for them', async () => {
    answers({ kind: 'hang' });
    const stop = new AbortController();
    const asked = failure(events(stop.signal));
    await stage.authority.received(2);
    stop.abort();
    expect(await asked).toMatchObject({ code: 'CANCELLED' });
  });

  it('that cannot be had say nothing of whether tokens can be asked about', async () => {
    const token = vectors.tokens.project.token;
    await stage.ask(token);
    answers({ status: 503 });
    await failure(events());
    expect(stage.upstream.health()).toMatchObject({ reachable: true });
  });
});

describe('a project', () => {
  const one = (fields: object) => ({ project: { id: 'p/1', name: 'web', domain_id: 'd', ...fields } });

  it('is asked for by its id, whatever that holds', async () => {
    answers({ status: 200, body: one({ enabled: true }) });
    await project('p/1');
    expect(stage.requestsOf('GET').map(({ path }) => path)).toEqual(['/v3/projects/p%2F1']);
  });

  it.each([
    ['is enabled', { status: 200, body: one({ enabled: true }) }, { kind: 'enabled', domainId: 'd' }],
    ['is disabled', { status: 200, body: one({ enabled: false }) }, { kind: 'disabled', domainId: 'd' }],
    ['is disabled, in no domain', { status: 200, body: one({ enabled: false, domain_id: null }) }, { kind: 'disabled' }],
    ['is not there', { status: 404, body: { error: { code: 404, message: 'Could not find project: p.' } } }, { kind: 'refused' }],
  ] as const)('%s', async (_what, answer, standing) => {
    answers(answer);
    expect(await project('p/1')).toEqual(standing);
  });

  it.each([
    ['our user may not ask', { status: 403, body: { error: { code: 403, message: 'identity:get_project.' } } }],
    ['a proxy says 404', { status: 404, body: '<html></html>' }],
    ['a proxy says 403', { status: 403 }],
    ['it is another one', { status: 200, body: { project: { id: 'other', enabled: true, domain_id: 'd' } } }],
    ['it does not say whether it is enabled', { status: 200, body: { project: { id: 'p/1' } } }],
    ['Keystone fails', { status: 500 }],
    ['our token is refused twice', { status: 401, body: vectors.errors.service_token_revoked.body }],
  ] as const)('is unknown where %s', async (_what, answer) => {
    answers(answer);
    expect(await project('p/1')).toEqual({ kind: 'unknown', problem: expect.stringContaining('Keystone "central"') });
  });

  it('is unknown where nobody answers', async () => {
    answers({ status: 200, body: one({ enabled: true }) });
    await project('p/1');
    await stage.authority.stop();
    expect(await project('p/1')).toMatchObject({ kind: 'unknown', problem: expect.stringContaining('cannot be reached') });
    await stage.authority.resume();
  });

  it('that nobody waits for any more is not told', async () => {
    answers({ kind: 'hang' });
    const stop = new AbortController();
    const asked = failure(project('p/1', stop.signal));
    await stage.authority.received(2);
    stop.abort();
    expect(await asked).toMatchObject({ code: 'CANCELLED' });
  });
});
