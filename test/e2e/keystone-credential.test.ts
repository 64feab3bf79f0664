// Our own credential at a real Keystone: both kinds of login, renewal, revocation under load, and what is said when it is not good enough.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { NoAnswerError } from '../../src/client/index.ts';
import { keystoneCall } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { forged, type LabSidecar, noAnswer, type SidecarOptions, startSidecar, verdict, wordOf } from './sidecar.ts';

describeWithKeystone('our own credential at a real Keystone', () => {
  let lab: Lab;
  let admin: string;
  let token: string;
  let sidecar: LabSidecar;

  beforeAll(async () => {
    lab = await startKeystone();
    [admin, token] = [await lab.token('admin'), await lab.token('project')];
    // The lab's own login as admin, so that what it does later is done at once.
    await lab.revoke(await lab.token('project'));
  }, 240_000);
  afterAll(() => lab?.close());
  afterEach(async () => {
    lab?.proxy.behave();
    await sidecar?.close();
  });

  const start = async (options?: SidecarOptions) => {
    sidecar = await startSidecar(lab, options);
    lab.proxy.forget();
  };
  const asAdmin = (method: string, path: string, body?: unknown) => keystoneCall(lab.url, method, path, admin, body);
  const asked = () => lab.proxy.count('GET', '/v3/auth/tokens');
  const daveLogin = '{ password: { username: dave, user_domain: acme, project: db, project_domain: acme, password_file: SECRET_FILE } }';
  const dependency = async () => (await sidecar.client.status()).dependencies.find(({ name }) => name === 'issuer/central');
  const noAnswers = (count: number, subject = token) =>
    Promise.all(Array.from({ length: count }, () => noAnswer(sidecar.client.validate(subject))));
  /** The token that the sidecar uses: taken from a question to Keystone about `subject`. */
  const ourToken = async (subject: string) => {
    let raw = '';
    lab.proxy.misbehave(({ headers }) => {
      raw = String(headers['x-auth-token'] ?? raw);
      return undefined;
    });
    await sidecar.client.validate(subject, { maxStalenessMs: 0 });
    lab.proxy.behave();
    return raw;
  };

  test('a login by password, and by application credential, is made once and validates', async () => {
    const { id, secret } = lab.seed.applicationCredentials.validator;
    const password = { login: '{ password: { username: validator, project: service, password_file: SECRET_FILE } }' };
    const credential = { login: `{ application_credential: { id: ${id}, secret_file: SECRET_FILE } }`, secret };
    await start(password);
    expect([await verdict(sidecar.client, token), lab.logins()]).toEqual(['active', 1]);
    await sidecar.close();
    await start(credential);
    expect([await verdict(sidecar.client, token), await verdict(sidecar.client, forged(token, 1))]).toEqual(['active', 'REFUSED']);
    expect(lab.logins()).toBe(1);
    expect(await dependency()).toMatchObject({ reachable: true });
    expect([secret, token].filter((it) => sidecar.logged().includes(it))).toEqual([]);
  });

  test('our token is renewed before its end, beside the calls, and once', async () => {
    await start();
    const first = await ourToken(token);
    sidecar.elapse(3_600_000 - 110_000);
    expect(await verdict(sidecar.client, token)).toBe('active');
    await expect.poll(() => lab.logins(), { timeout: 30_000 }).toBe(2);
    await expect.poll(() => ourToken(token), { timeout: 30_000 }).not.toBe(first);
    expect(await verdict(sidecar.client, token, { maxStalenessMs: 0 })).toBe('active');
    sidecar.elapse(3_600_000);
    expect(await verdict(sidecar.client, token)).toBe('active');
    expect(lab.logins()).toBe(3);
  });

  test('our token revoked under a hundred concurrent calls about unknown tokens: one renewal, and no wrong answer', async () => {
    await start();
    const ours = await ourToken(token);
    const real: string[] = [];
    while (real.length < 50) real.push(...(await Promise.all(Array.from({ length: 10 }, () => lab.token('project')))));
    const tokens = real.flatMap((good, n) => [good, forged(good, n)]);
    // Some find out late, when the others have a new token already: they must not throw that one away.
    let late = 0;
    lab.proxy.misbehave(({ method, headers }) => {
      const isLate = method === 'GET' && headers['x-auth-token'] === ours && asked() % 8 === 0;
      late += isLate ? 1 : 0;
      return isLate ? { kind: 'delay', delayMs: 5000 } : undefined;
    });
    lab.proxy.forget();

    const answering = Promise.all(tokens.map((one) => verdict(sidecar.client, one)));
    await expect.poll(asked, { timeout: 30_000, interval: 5 }).toBeGreaterThanOrEqual(20);
    const before = asked();
    await lab.revoke(ours);
    const answers = await answering;

    expect(before).toBeLessThan(100);
    expect(late).toBeGreaterThan(0);
    expect(answers).toEqual(real.flatMap(() => ['active', 'REFUSED']));
    expect(lab.logins()).toBe(1);
    // Each was asked once, and once more only those that met the dead token: at most all that were under way.
    expect(asked()).toBeGreaterThan(100);
    expect(asked()).toBeLessThanOrEqual(100 + 2 * 16);
  });

  test('our user without the service role: no token is judged, OUR credential is named, and it passes when the role is granted', async () => {
    const { dave } = lab.seed.users;
    const grant = `/projects/${lab.seed.projects.db}/users/${dave.id}/roles/${lab.seed.roles.service}`;
    await start({ login: daveLogin, secret: dave.password });
    for (const error of await noAnswers(3)) {
      expect(error).toMatchObject({
        code: 'UNAVAILABLE',
        reason: 'OUR_CREDENTIAL_FORBIDDEN',
        message: expect.stringContaining('OUR credential'),
      });
      expect(error.retryAfterMs).toBeGreaterThan(0);
    }
    expect(await dependency()).toMatchObject({ reachable: false, problem: expect.stringMatching(/OUR credential.*"service"/) });
    expect(lab.logins()).toBe(1);

    await asAdmin('PUT', grant);
    // Each process of Keystone may judge one more request of ours by what it knew at the one before.
    await expect.poll(() => verdict(sidecar.client, token).catch((error: Error) => error.name), { timeout: 30_000 }).toBe('active');
    expect(await dependency()).toMatchObject({ reachable: true });
    await asAdmin('DELETE', grant);
    expect(await verdict(sidecar.client, token)).toBe('active');
    const fresh = () => sidecar.client.validate(token, { maxStalenessMs: 0 }).then(wordOf, (error: NoAnswerError) => error.reason);
    await expect.poll(fresh, { timeout: 30_000 }).toBe('OUR_CREDENTIAL_FORBIDDEN');
    expect(lab.logins()).toBe(1);
  });

  test('a wrong password: no token is judged, few logins are tried, and it passes when the file is mended', async () => {
    await start({ secret: 'not-the-password' });
    const errors = [...(await noAnswers(50)), ...(await noAnswers(1, forged(token, 1)))];
    for (let n = 0; n < 20; n += 1) errors.push(...(await noAnswers(1)));
    expect(new Set(errors.map(({ code, reason }) => `${code} ${reason}`))).toEqual(new Set(['UNAVAILABLE OUR_CREDENTIAL_REFUSED']));
    expect(errors.filter(({ retryAfterMs }) => !(retryAfterMs !== undefined && retryAfterMs > 0))).toEqual([]);
    expect(errors.filter(({ message }) => !message.includes('OUR credential') || message.includes('not-the-password'))).toEqual([]);
    expect(lab.logins()).toBeLessThanOrEqual(3);
    expect(asked()).toBe(0);
    expect(await dependency()).toMatchObject({ reachable: false, problem: expect.stringContaining('OUR credential') });
    expect(sidecar.logged()).not.toContain('not-the-password');

    await sidecar.replaceSecret(lab.seed.users.validator.password);
    sidecar.elapse(30_000);
    expect(await verdict(sidecar.client, token)).toBe('active');
  });

  test('our password changed at Keystone: no token is judged until the file says the new one', async () => {
    const { acme } = lab.seed.domains;
    const { db } = lab.seed.projects;
    const made = await asAdmin('POST', '/users', { user: { name: 'rotating', domain_id: acme, password: 'first-pw' } });
    const { id } = (made as { readonly user: { readonly id: string } }).user;
    await asAdmin('PUT', `/projects/${db}/users/${id}/roles/${lab.seed.roles.service}`);
    await start({ login: daveLogin.replace('dave', 'rotating'), secret: 'first-pw' });
    expect(await verdict(sidecar.client, token)).toBe('active');

    await asAdmin('PATCH', `/users/${id}`, { user: { password: 'second-pw' } });
    await lab.nextSecond();
    expect(await verdict(sidecar.client, token)).toBe('active');
    expect(await noAnswer(sidecar.client.validate(forged(token, 1)))).toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'OUR_CREDENTIAL_REFUSED',
    });
    await sidecar.replaceSecret('second-pw');
    sidecar.elapse(30_000);
    expect([await verdict(sidecar.client, forged(token, 1)), await verdict(sidecar.client, token)]).toEqual(['REFUSED', 'active']);
    expect(lab.logins()).toBe(3);
  });

  test('an application credential that is not there is our credential refused, and not a token', async () => {
    const login = `{ application_credential: { id: "${'0'.repeat(32)}", secret_file: SECRET_FILE } }`;
    await start({ login, secret: 'whatever' });
    const [error] = await noAnswers(1);
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'OUR_CREDENTIAL_REFUSED' });
    expect(asked()).toBe(0);
    expect(await dependency()).toMatchObject({ reachable: false, problem: expect.stringContaining('OUR credential') });
  });

  test('an application credential that ends soon is a good login until then', async () => {
    const { validator } = lab.seed.users;
    const expires_at = new Date(Date.now() + 600_000).toISOString().replace(/\.\d+Z$/, '.000000');
    const path = `/users/${validator.id}/application_credentials`;
    const fields = { name: 'ends-soon', secret: 'soon-secret', roles: [{ id: lab.seed.roles.service }], expires_at };
    const made = await keystoneCall(lab.url, 'POST', path, await lab.token('validator'), { application_credential: fields });
    const { id } = (made as { readonly application_credential: { readonly id: string } }).application_credential;
    await start({ login: `{ application_credential: { id: ${id}, secret_file: SECRET_FILE } }`, secret: 'soon-secret' });
    expect([await verdict(sidecar.client, token), lab.logins()]).toEqual(['active', 1]);
  });
});
