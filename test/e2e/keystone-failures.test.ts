// What Keystone does without telling us, and what becomes of answers while it is ill: never is a token called inactive without its word.
import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Fault } from './lab/counting-proxy.ts';
import { keystoneCall } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { forged, type LabSidecar, noAnswer, startSidecar, verdict, wordOf } from './sidecar.ts';

describeWithKeystone('a sidecar whose Keystone changes its mind or fails', () => {
  let lab: Lab;
  let admin: string;
  let sidecar: LabSidecar;

  beforeAll(async () => {
    lab = await startKeystone();
    admin = await lab.token('admin');
    // The lab's own login as admin, so that what it does later is done at once.
    await lab.revoke(await lab.token('project'));
  }, 240_000);
  afterAll(() => lab?.close());
  beforeEach(async () => {
    sidecar = await startSidecar(lab);
  });
  afterEach(async () => {
    lab?.proxy.behave();
    lab?.proxy.forget();
    await sidecar?.close();
  });

  const asked = () => lab.proxy.count('GET', '/v3/auth/tokens');
  const factsTimeMs = 300_000;
  const refusalTimeMs = 5000;
  const settleMs = 2000;

  describe('revoked there', () => {
    test('a token is answered from memory until its time is over, and refused from then on', async () => {
      const [gone, stays] = [await lab.token('project'), await lab.token('project')];
      expect([await verdict(sidecar.client, gone), await verdict(sidecar.client, stays)]).toEqual(['active', 'active']);
      await lab.revoke(gone);
      const cached = await sidecar.client.validate(gone);
      expect([wordOf(cached), cached.provenance]).toEqual(['active', 'memory']);
      sidecar.elapse(factsTimeMs);
      expect([await verdict(sidecar.client, gone), await verdict(sidecar.client, stays)]).toEqual(['REFUSED', 'active']);
    });

    test('by the real clock the answer turns once, and not later than its time', async () => {
      await sidecar.close();
      sidecar = await startSidecar(lab, { caching: '{ settle: 500ms, token: { time: 2s, jitter: 0 }, unknown: { time: 1s } }' });
      const token = await lab.token('project');
      const beganMs = performance.now();
      expect(await verdict(sidecar.client, token)).toBe('active');
      await lab.revoke(token);
      const revokedMs = performance.now();
      const words: { readonly word: string; readonly provenance: string; readonly askedMs: number }[] = [];
      do {
        await setTimeout(50);
        const askedMs = performance.now();
        const answer = await sidecar.client.validate(token);
        words.push({ word: wordOf(answer), provenance: answer.provenance, askedMs });
      } while (performance.now() < Math.max(beganMs + 3000, revokedMs + 1000));
      const turned = words.findIndex(({ word }) => word === 'REFUSED');
      expect(words.slice(0, turned).filter(({ word, provenance }) => word !== 'active' || provenance !== 'memory')).toEqual([]);
      expect(words.slice(turned).filter(({ word }) => word !== 'REFUSED')).toEqual([]);
      expect(words.filter(({ word, askedMs }) => word === 'active' && askedMs > revokedMs + 2000)).toEqual([]);
    });

    test('max_staleness makes Keystone be asked at once', async () => {
      const token = await lab.token('project');
      expect(await verdict(sidecar.client, token)).toBe('active');
      await lab.revoke(token);
      expect(await verdict(sidecar.client, token, { maxStalenessMs: 0 })).toBe('REFUSED');
      expect(await verdict(sidecar.client, token)).toBe('REFUSED');
    });

    test('a disabled user is served until its time is over; a Refresh of it ends that at the next call, and of no other', async () => {
      const { dave } = lab.seed.users;
      const [his, others] = [await lab.token('dave'), await lab.token('project')];
      expect([await verdict(sidecar.client, his), await verdict(sidecar.client, others)]).toEqual(['active', 'active']);
      await lab.disableUser(dave.id);
      expect(await verdict(sidecar.client, his)).toBe('active');
      lab.proxy.forget();

      await sidecar.client.refresh({ userId: dave.id });

      expect([await verdict(sidecar.client, his), await verdict(sidecar.client, others)]).toEqual(['REFUSED', 'active']);
      expect(asked()).toBe(1);
      await lab.enableUser(dave.id);
      const fresh = await lab.token('dave');
      expect([await verdict(sidecar.client, his), await verdict(sidecar.client, fresh)]).toEqual(['REFUSED', 'active']);
    });

    test('what a Refresh has fetched is fetched once more when the change has settled, and then kept', async () => {
      const token = await lab.token('project');
      await sidecar.client.validate(token);
      await sidecar.client.refresh({ userId: lab.seed.users.alice.id });
      lab.proxy.forget();
      const provisional = await sidecar.client.validate(token);
      expect([wordOf(provisional), provisional.provenance, asked()]).toEqual(['active', 'authority', 1]);
      sidecar.elapse(settleMs);
      const settled = await sidecar.client.validate(token);
      const kept = await sidecar.client.validate(token);
      expect([settled.provenance, kept.provenance, asked()]).toEqual(['authority', 'memory', 2]);
    });

    test('a role that is taken away is gone after a Refresh, and back when it is granted again: nothing is dead for ever', async () => {
      const { projects, users, roles } = lab.seed;
      const grant = `/projects/${projects.web}/users/${users.alice.id}/roles/${roles.auditor}`;
      const token = await lab.token('project');
      const demand = { anyOfRoles: ['auditor'] };
      expect(await verdict(sidecar.client, token, { demand })).toBe('active');
      await keystoneCall(lab.url, 'DELETE', grant, admin);
      await sidecar.client.refresh({ userId: users.alice.id, projectId: projects.web });
      expect([await verdict(sidecar.client, token, { demand }), await verdict(sidecar.client, token)]).toEqual(['MISSING_ROLE', 'active']);
      await keystoneCall(lab.url, 'PUT', grant, admin);
      await sidecar.client.refresh({ userId: users.alice.id, projectId: projects.web });
      expect(await verdict(sidecar.client, token, { demand })).toBe('active');
    });

    test('a trust whose giver has lost the role, or is disabled, is refused, and our credential is not blamed', async () => {
      const { projects, users, roles } = lab.seed;
      const grant = `/projects/${projects.web}/users/${users.alice.id}/roles/${roles.member}`;
      const [trust, others] = [await lab.token('trust'), await lab.token('dave')];
      expect([await verdict(sidecar.client, trust), await verdict(sidecar.client, others)]).toEqual(['active', 'active']);

      await keystoneCall(lab.url, 'DELETE', grant, admin);
      sidecar.elapse(factsTimeMs);
      expect([await verdict(sidecar.client, trust), await verdict(sidecar.client, others)]).toEqual(['REFUSED', 'active']);
      await keystoneCall(lab.url, 'PUT', grant, admin);
      sidecar.elapse(refusalTimeMs);
      expect(await verdict(sidecar.client, trust)).toBe('active');

      await lab.disableUser(users.alice.id);
      sidecar.elapse(factsTimeMs);
      expect([await verdict(sidecar.client, trust), await verdict(sidecar.client, others)]).toEqual(['REFUSED', 'active']);
      await lab.enableUser(users.alice.id);
      const { dependencies } = await sidecar.client.status();
      expect(dependencies).toContainEqual(expect.objectContaining({ name: 'issuer/central', reachable: true }));
    });
  });

  describe('Keystone away', () => {
    test('stopped: what is known is answered, the rest is UNAVAILABLE; started again: all is well without help', async () => {
      const [known, old, gone, unknown] = (await Promise.all([1, 2, 3, 4].map(() => lab.token('project')))) as [
        string,
        string,
        string,
        string,
      ];
      const stranger = forged(known, 1);
      await sidecar.client.validate(old);
      sidecar.elapse(factsTimeMs);
      await Promise.all([known, gone].map((token) => sidecar.client.validate(token)));
      await sidecar.client.revoke({ token: gone });

      await lab.stopServer();
      const cached = await sidecar.client.validate(known);
      expect([wordOf(cached), cached.provenance]).toEqual(['active', 'memory']);
      expect(await verdict(sidecar.client, gone)).toBe('REVOKED');
      for (const token of [unknown, stranger, old]) {
        const error = await noAnswer(sidecar.client.validate(token));
        expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_UNREACHABLE' });
        expect(error.retryAfterMs).toBeGreaterThan(0);
      }
      const problem = { name: 'issuer/central', reachable: false, problem: expect.stringContaining('cannot be reached') };
      expect(await sidecar.client.status()).toMatchObject({
        serving: true,
        dependencies: expect.arrayContaining([expect.objectContaining(problem)]),
      });
      await sidecar.client.refresh({ fingerprint: cached.fingerprint });
      expect(await noAnswer(sidecar.client.validate(known))).toMatchObject({ code: 'UNAVAILABLE' });

      await lab.startServer();
      const words = await Promise.all([known, old, gone, unknown, stranger].map((token) => verdict(sidecar.client, token)));
      expect(words).toEqual(['active', 'active', 'REVOKED', 'active', 'REFUSED']);
    });

    test('stopped before the first login: no token is judged until it is there', async () => {
      const token = await lab.token('project');
      await lab.stopServer();
      expect(await noAnswer(sidecar.client.validate(token))).toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_UNREACHABLE' });
      await lab.startServer();
      sidecar.elapse(30_000);
      expect(await verdict(sidecar.client, token)).toBe('active');
    });

    test('frozen: misses end by the deadline, hits go on; thawed: all is well without help', async () => {
      await sidecar.close();
      sidecar = await startSidecar(lab, { calls: '{ deadline: 3s, attempts: 2 }' });
      const [known, unknown] = [await lab.token('project'), await lab.token('project')];
      expect(await verdict(sidecar.client, known)).toBe('active');

      await lab.pause();
      const beganMs = performance.now();
      const misses = Promise.all([1, 2, 3].map(() => noAnswer(sidecar.client.validate(unknown))));
      expect(new Set(await Promise.all(Array.from({ length: 100 }, () => verdict(sidecar.client, known))))).toEqual(new Set(['active']));
      expect(performance.now() - beganMs).toBeLessThan(3000);
      for (const error of await misses) {
        expect(error.code).toBe('UNAVAILABLE');
        expect(['KEYSTONE_TIMEOUT', 'UPSTREAM_TIMEOUT']).toContain(error.reason);
        expect(error.retryAfterMs).toBeGreaterThan(0);
      }
      expect(performance.now() - beganMs).toBeLessThan(5000);
      expect(await verdict(sidecar.client, known)).toBe('active');

      await lab.resume();
      await expect.poll(() => verdict(sidecar.client, unknown).catch((error: Error) => error.name), { timeout: 30_000 }).toBe('active');
    });
  });

  describe('what is no word of Keystone is no answer', () => {
    const html = (status: number): Fault => ({ kind: 'answer', status, contentType: 'text/html', body: '<html><h1>Oops</h1></html>' });
    const json = (status: number, body: unknown): Fault => ({
      kind: 'answer',
      status,
      contentType: 'application/json',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const rows: readonly (readonly [string, Fault])[] = [
      ['a proxy’s 500', html(500)],
      ['a proxy’s 502', html(502)],
      ['a proxy’s 503 in JSON', json(503, { error: { code: 503, message: 'busy' } })],
      ['a proxy’s 404', html(404)],
      ['another service’s 404', json(404, { error: { message: 'no such route', code: 'not_found' } })],
      ['a proxy’s 403', html(403)],
      ['a 400', json(400, { error: { code: 400, message: 'bad' } })],
      ['a login page with 200', html(200)],
      ['a 200 without a body', json(200, '')],
      ['a 200 with half of its JSON', json(200, '{"token": {"methods": ["password"], "user": {"id": "x"')],
      ['a 200 with an empty token', json(200, { token: {} })],
      ['a 204', json(204, '')],
      ['a redirect', { kind: 'answer', status: 302, contentType: 'text/plain', body: '', location: '/v3/elsewhere' }],
      ['an answer that breaks off', { kind: 'truncate' }],
      ['a connection that breaks', { kind: 'cut' }],
      ['silence', { kind: 'hang' }],
      ['an answer that comes too late', { kind: 'delay', delayMs: 4000 }],
    ];

    let hasty: LabSidecar;
    let known: string;
    const settled = (token: string) =>
      vi.waitFor(async () => expect(await verdict(hasty.client, token)).toBe('active'), { timeout: 30_000, interval: 100 });
    beforeAll(async () => {
      hasty = await startSidecar(lab, { calls: '{ deadline: 1500ms, attempts: 2 }' });
      known = await lab.token('project');
      await settled(known);
    });
    afterAll(() => hasty?.close());

    test.each(rows)('%s: the unknown are not judged, the known are answered, and it passes by itself', async (_what, fault) => {
      const unknown = await lab.token('project');
      lab.proxy.forget();
      lab.proxy.misbehave(({ method }) => (method === 'GET' ? fault : undefined));

      for (const token of [unknown, forged(unknown, 1)]) {
        const error = await noAnswer(hasty.client.validate(token));
        expect(error.code).toBe('UNAVAILABLE');
        expect(error.retryAfterMs).toBeGreaterThan(0);
        expect(error.message).not.toContain('Oops');
      }
      expect(await verdict(hasty.client, known)).toBe('active');
      expect(lab.logins()).toBe(0);

      lab.proxy.behave();
      await settled(unknown);
    });

    test('a slow answer in time is an answer', async () => {
      lab.proxy.misbehave(({ method }) => (method === 'GET' ? { kind: 'delay', delayMs: 700 } : undefined));
      expect(await verdict(sidecar.client, await lab.token('project'))).toBe('active');
    });
  });
});
