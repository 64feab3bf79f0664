// The lab itself: a real Keystone answers, issues every kind of token, and can be stopped, frozen and counted.
import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { eventOf, type Recorder, startRecorder } from '../oracle/recorder.ts';
import { keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';

describeWithKeystone('the Keystone lab', () => {
  let lab: Lab;
  let validator: string;

  beforeAll(async () => {
    lab = await startKeystone();
    validator = await lab.token('validator');
  }, 240_000);
  afterAll(() => lab?.close());
  afterEach(() => {
    lab?.proxy.behave();
    lab?.proxy.forget();
  });

  const validate = (token: string, url = lab.url) =>
    keystoneRequest(url, 'GET', '/auth/tokens', { token: validator, headers: { 'x-subject-token': token } });
  const facts = async (kind: TokenKind) => {
    const reply = await validate(await lab.token(kind));
    expect(reply.status).toBe(200);
    return (reply.body as { readonly token: Readonly<Record<string, unknown>> }).token;
  };

  test('every kind of token is valid and says what it is', async () => {
    const { seed } = lab;
    const { alice, bob } = seed.users;
    const unscoped = await facts('unscoped');
    expect([unscoped['project'], unscoped['roles']]).toEqual([undefined, undefined]);
    expect(await facts('project')).toMatchObject({ user: { id: alice.id }, project: { id: seed.projects.web } });
    expect(await facts('domain')).toMatchObject({ user: { id: alice.id }, domain: { id: seed.domains.acme } });
    expect(await facts('system')).toMatchObject({ user: { id: alice.id }, system: { all: true } });
    expect(await facts('trust')).toMatchObject({ user: { id: bob.id }, 'OS-TRUST:trust': { id: seed.trusts.plain } });
    expect(await facts('trust_impersonating')).toMatchObject({ user: { id: alice.id }, 'OS-TRUST:trust': { impersonation: true } });
    expect(await facts('application_credential')).toMatchObject({ application_credential: { id: seed.applicationCredentials.plain.id } });
    expect(await facts('admin')).toMatchObject({ user: { id: seed.admin.userId } });
    expect(await facts('validator')).toMatchObject({ project: { id: seed.projects.service } });
    expect(await facts('nova')).toMatchObject({ user: { name: 'nova' }, roles: [{ name: 'service' }] });
    expect(await facts('oauth1')).toMatchObject({ 'OS-OAUTH1': { consumer_id: seed.oauth1.consumer.id } });
    expect(await facts('federated')).toMatchObject({ user: { name: 'erin' }, project: { id: seed.projects.web } });
    expect((await facts('federated_unscoped'))['project']).toBe(undefined);
    expect(await facts('dave')).toMatchObject({ project: { id: seed.projects.db } });
  });

  test('a token with access rules is refused to a validator that does not know them', async () => {
    const token = await lab.token('application_credential_access_rules');
    expect((await validate(token)).status).toBe(404);
    const reply = await keystoneRequest(lab.url, 'GET', '/auth/tokens', {
      token: validator,
      headers: { 'x-subject-token': token, 'openstack-identity-access-rules': '1' },
    });
    expect(reply.body).toMatchObject({ token: { application_credential: { access_rules: [{ method: 'GET', path: '/v2.1/servers' }] } } });
  });

  test('a revoked token is not found, and another of the same user stays', async () => {
    const [gone, stays] = [await lab.token('project'), await lab.token('project')];
    await lab.revoke(gone);
    expect([(await validate(gone)).status, (await validate(stays)).status]).toEqual([404, 200]);
  });

  test("a disabled user's tokens are not found", async () => {
    const token = await lab.token('dave');
    await lab.disableUser(lab.seed.users.dave.id);
    expect((await validate(token)).status).toBe(404);
    await lab.enableUser(lab.seed.users.dave.id);
    expect((await validate(await lab.token('dave'))).status).toBe(200);
  });

  test('the proxy counts what passes it and nothing else', async () => {
    const token = await lab.token('project');
    expect((await validate(token, lab.proxy.url)).status).toBe(200);
    expect([lab.logins(), lab.proxy.count('GET', '/v3/auth/tokens')]).toEqual([0, 1]);
    const login = await keystoneRequest(lab.proxy.url, 'POST', '/auth/tokens', { body: {} });
    expect([login.status, lab.logins()]).toEqual([400, 1]);
  });

  test('the proxy answers, cuts and hangs as told, and only then', async () => {
    const get = (signal: AbortSignal) => fetch(`${lab.proxy.url}/auth/tokens`, { signal });
    const noHurry = AbortSignal.timeout(30_000);
    lab.proxy.misbehave(({ method }) =>
      method === 'GET' ? { kind: 'answer', status: 502, contentType: 'text/html', body: '<p>' } : undefined,
    );
    const answer = await get(noHurry);
    expect([answer.status, await answer.text()]).toEqual([502, '<p>']);
    lab.proxy.misbehave(() => ({ kind: 'cut' }));
    await expect(get(noHurry)).rejects.toThrow('fetch failed');
    lab.proxy.misbehave(() => ({ kind: 'hang' }));
    await expect(get(AbortSignal.timeout(200))).rejects.toThrow('timeout');
    lab.proxy.misbehave(() => ({ kind: 'delay', delayMs: 5 }));
    expect((await get(noHurry)).status).toBe(401);
    lab?.proxy.behave();
    expect((await get(noHurry)).status).toBe(401);
  });

  test('a frozen Keystone answers nothing, and all when it goes on', async () => {
    await lab.pause();
    await expect(fetch(lab.url, { signal: AbortSignal.timeout(300) })).rejects.toThrow('timeout');
    await lab.resume();
    expect((await fetch(lab.url)).status).toBe(200);
  });

  test('a stopped Keystone refuses connections, and knows its tokens when it is back', async () => {
    const token = await lab.token('project');
    await lab.stopServer();
    await expect(fetch(lab.url)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
    await expect(validate(token, lab.proxy.url)).rejects.toThrow('fetch failed');
    await lab.startServer();
    expect((await validate(token)).status).toBe(200);
  });
});

describeWithKeystone('the Keystone lab that tells', () => {
  describeWithRabbitmq('on a broker', () => {
    let rabbitmq: Rabbitmq;
    let recorder: Recorder;
    let lab: Lab;

    beforeAll(async () => {
      rabbitmq = await startRabbitmq();
      recorder = await startRecorder(rabbitmq.transportUrl);
    }, 240_000);
    afterEach(() => lab?.close());
    afterAll(async () => {
      await recorder?.close();
      await rabbitmq?.close();
    });

    /** Starts Keystone, and answers what renames dave. */
    const startTelling = async (notifications: { readonly format: 'basic' | 'cadf'; readonly optOut?: 'none' }, provider?: 'jws') => {
      lab = await startKeystone({ notifications: { url: rabbitmq.transportUrl, ...notifications }, ...(provider && { provider }) });
      const admin = await lab.token('admin');
      recorder.take();
      return () => lab.request('PATCH', `/users/${lab.seed.users.dave.id}`, admin, { user: { email: 'dave@example.org' } });
    };
    /** The types of all messages until one of type `last`, and what that one is about. */
    const heardUntil = async (last: string) => {
      const heard: ReturnType<typeof eventOf>[] = [];
      await vi.waitFor(
        () => {
          heard.push(...recorder.take().map(eventOf));
          expect(heard.at(-1)?.type).toBe(last);
        },
        { timeout: 30_000, interval: 50 },
      );
      return { types: heard.map(({ type }) => type), payload: heard.at(-1)?.payload, atMs: heard.at(-1)?.atMs ?? 0 };
    };

    test('in the basic format, where its tokens are JWS that its public key verifies', async () => {
      const rename = await startTelling({ format: 'basic' }, 'jws');
      expect((await lab.token('project')).split('.')).toHaveLength(3);
      expect([readdirSync(lab.jwsKeys), readdirSync(lab.fernetKeys).sort()]).toEqual([['public.pem'], ['0', '1']]);
      await rename();
      const { types, payload } = await heardUntil('identity.user.updated');
      expect(types).toEqual(['identity.user.updated']);
      expect(Object.keys(payload ?? {}).sort()).toEqual(['request_id', 'resource_info']);
      expect(payload).toMatchObject({ resource_info: lab.seed.users.dave.id });
    });

    test('in CADF, also of logins where it is told to; and it can be slow between a message and the rest of what it does', async () => {
      const rename = await startTelling({ format: 'cadf', optOut: 'none' });
      await lab.token('dave');
      await heardUntil('identity.authenticate');
      await lab.lagAfterMessages(1500);
      await rename();
      const repliedMs = Date.now();
      const { payload, atMs } = await heardUntil('identity.user.updated');
      expect(payload?.['target']).toMatchObject({ id: lab.seed.users.dave.id });
      expect(repliedMs - atMs).toBeGreaterThan(1490);
      await lab.lagAfterMessages(0);
      recorder.take();
      await rename();
      await heardUntil('identity.user.updated');
    });
  });
});
