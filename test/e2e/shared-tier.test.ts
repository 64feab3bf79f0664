// Sidecars that share a tier, before a real Keystone and over a real memcached: what one has asked the others know, and what they do not.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ActiveAnswer, Answer } from '../../src/client/index.ts';
import { describeWithMemcached, type Memcached, startMemcached } from '../fakes/memcached.ts';
import { endedToken } from './lab/ended-token.ts';
import { keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';
import { forged, type LabSidecar, noAnswer, type SidecarOptions, startSidecar, verdict, wordOf } from './sidecar.ts';

const kinds = [
  'unscoped',
  'project',
  'domain',
  'system',
  'trust',
  'trust_impersonating',
  'application_credential',
  'oauth1',
  'federated',
  'federated_unscoped',
] as const satisfies readonly TokenKind[];

const factsTimeMs = 300_000;
/** `limits.skew`, between the clocks of our hosts. */
const skewMs = 2000;

describeWithKeystone('sidecars that share a tier', () => {
  describeWithMemcached('before Keystone', () => {
    let lab: Lab;
    let admin: string;
    let memcached: Memcached;
    let keyDir: string;
    /** Two alike, and one whose facts are over a second after their fetch began: another host's never serve it, for their age by its clock. */
    let one: LabSidecar;
    let other: LabSidecar;
    let brief: LabSidecar;

    /** A busy machine makes memcached slow; that a slow one is left alone is told elsewhere. */
    const shared = () => `shared: { servers: ["${memcached.host}:${memcached.port}"], deadline: 2s }, handles: { enabled: true }`;
    const start = (caching = '', more: SidecarOptions = {}) =>
      startSidecar(lab, { caching: `{ ${shared()}${caching} }`, deploymentKeyDir: keyDir, ...more });

    beforeAll(async () => {
      [lab, memcached, keyDir] = await Promise.all([
        startKeystone(),
        startMemcached(),
        mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-keys-')),
      ]);
      await writeFile(join(keyDir, 'one'), randomBytes(32));
      admin = await lab.token('admin');
      [one, other, brief] = await Promise.all([
        start(),
        start('', { faces: true }),
        start(', settle: 500ms, token: { time: 1s }, unknown: { time: 1s }'),
      ]);
      // What was fetched before its journal was born a sidecar does not take: it cannot know what has been invalidated until then.
      await setTimeout(skewMs + 100);
    }, 240_000);
    afterAll(async () => {
      await Promise.all([one, other, brief].map((sidecar) => sidecar?.close()));
      await memcached?.close();
      if (keyDir !== undefined) await rm(keyDir, { recursive: true });
      await lab?.close();
    });
    beforeEach(() => lab.proxy.forget());
    afterEach(() => lab.proxy.behave());

    const asked = () => lab.proxy.count('GET', '/v3/auth/tokens');
    /** What Keystone itself says of the token now. */
    const statusAtKeystone = async (token: string) =>
      (await keystoneRequest(lab.url, 'GET', '/auth/tokens', { token: admin, headers: { 'x-subject-token': token } })).status;
    const activeOf = (answer: Answer): ActiveAnswer => (answer.active ? answer : expect.unreachable(`inactive: ${answer.reason}`));
    const handleOf = async (sidecar: LabSidecar, token: string): Promise<string> =>
      activeOf(await sidecar.client.validate(token, { include: { handle: true } })).handle ?? expect.unreachable('there are no handles');
    const whereFrom = (answer: Answer) => [wordOf(answer), answer.provenance];

    describe('what one has asked', () => {
      test.each(kinds)('the other answers without Keystone, fact by fact, for a token of kind %s', async (kind) => {
        const token = await lab.token(kind);
        const include = { claims: true, catalog: true };
        const first = activeOf(await one.client.validate(token, { include }));
        const before = asked();
        const second = activeOf(await other.client.validate(token, { include }));
        expect(whereFrom(first)).toEqual(['active', 'authority']);
        expect(whereFrom(second)).toEqual(['active', 'shared']);
        expect(second.token).toEqual(first.token);
        expect([second.fingerprint, second.confirmedAtMs]).toEqual([first.fingerprint, first.confirmedAtMs]);
        // Facts of another host count as older by the skew between hosts.
        expect(second.maxAgeMs).toBeLessThanOrEqual(factsTimeMs - skewMs);
        expect(whereFrom(await other.client.validate(token))).toEqual(['active', 'memory']);
        expect([before, asked()]).toEqual([1, 1]);
      });

      test('with the catalog, narrowed to a region, to a type of service, and to both', async () => {
        const token = await lab.token('project');
        const whole = activeOf(await one.client.validate(token, { include: { catalog: true } })).token.catalog ?? [];
        const narrowed = async (catalogRegions: readonly string[], catalogServices: readonly string[]) =>
          activeOf(await other.client.validate(token, { include: { catalog: true, catalogRegions, catalogServices } })).token.catalog;
        const of = (regions: readonly string[], types: readonly string[]) =>
          whole
            .filter(({ type }) => types.includes(type))
            .map((service) => ({ ...service, endpoints: service.endpoints.filter(({ regionId }) => regions.includes(regionId ?? '')) }))
            .filter(({ endpoints }) => endpoints.length > 0);
        expect(of(['RegionTwo'], ['compute', 'block-storage']).map(({ endpoints }) => endpoints.length)).toEqual([1, 1]);
        const all = ['compute', 'block-storage', 'identity'];
        expect(await narrowed(['RegionTwo'], [])).toEqual(of(['RegionTwo'], all));
        expect(await narrowed([], ['compute'])).toEqual(of(['RegionOne', 'RegionTwo'], ['compute']));
        expect(await narrowed(['RegionOne'], ['compute'])).toEqual(of(['RegionOne'], ['compute']));
        expect(await narrowed(['Nowhere'], [])).toBe(undefined);
        expect(asked()).toBe(1);
      });

      test('the Keystone face of the other says in Keystone’s own bytes', async () => {
        const token = await lab.token('system');
        await one.client.validate(token, { include: { catalog: true } });
        for (const query of ['', '?nocatalog']) {
          const texts = [other.keystoneUrl, lab.url].map(async (url) => {
            const response = await fetch(`${url}/auth/tokens${query}`, { headers: { 'x-auth-token': admin, 'x-subject-token': token } });
            return [response.status, await response.text()] as const;
          });
          const [ours, theirs] = await Promise.all(texts);
          expect(ours?.[0]).toBe(200);
          expect(ours).toEqual(theirs);
        }
        expect(asked()).toBe(1);
      });

      test('and what all of them ask at once is asked of Keystone once', async () => {
        const token = await lab.token('project');
        const asking = [one, other].flatMap(({ client }) => Array.from({ length: 10 }, () => client.validate(token)));
        expect(new Set((await Promise.all(asking)).map(wordOf))).toEqual(new Set(['active']));
        expect(asked()).toBe(1);
      });

      test('a catalog that was fetched with one token is that of the user’s other tokens on the project, at the other too', async () => {
        const [first, second] = [await lab.token('dave'), await lab.token('dave')];
        const include = { catalog: true };
        const { catalog } = activeOf(await one.client.validate(first, { include })).token;
        await one.client.validate(second);
        const answer = activeOf(await other.client.validate(second, { include }));
        expect([answer.provenance, answer.token.catalog]).toEqual(['shared', catalog]);
        expect(catalog).toHaveLength(3);
        expect(asked()).toBe(2);
      });

      test('and no other: what lies there for two scopes does not mix', async () => {
        const both = [await lab.token('nova'), await lab.token('admin')];
        const include = { catalog: true };
        const at = async ({ client }: LabSidecar) => {
          const answers: ActiveAnswer[] = [];
          for (const token of both) answers.push(activeOf(await client.validate(token, { include })));
          return answers;
        };
        const [first, second] = [await at(one), await at(other)];
        expect(second.map(({ provenance }) => provenance)).toEqual(['shared', 'shared']);
        expect(second.map(({ token }) => token)).toEqual(first.map(({ token }) => token));
        expect(first[0]?.token.catalog).not.toEqual(first[1]?.token.catalog);
      });

      test('its refusals are its own: each asks Keystone about a token that nobody issued', async () => {
        const token = forged(await lab.token('project'), 1);
        expect([await verdict(one.client, token), await verdict(other.client, token), asked()]).toEqual(['REFUSED', 'REFUSED', 2]);
      });
    });

    describe('a handle', () => {
      test('is answered by a sidecar that has never seen the token, without Keystone, with the same facts', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(one, token);
        const answer = activeOf(await other.client.validate({ handle }, { include: { claims: true, catalog: true, handle: true } }));
        expect(answer.token.claimsJson).toBe(activeOf(await one.client.validate(token, { include: { claims: true } })).token.claimsJson);
        expect([answer.handle, answer.token.catalog?.length]).toEqual([handle, 3]);
      });

      test('survives its facts: where they are over, Keystone is asked with what it stands for', async () => {
        const handle = await handleOf(one, await lab.token('project'));
        expect(whereFrom(await other.client.validate({ handle }))).toEqual(['active', 'shared']);
        expect(asked()).toBe(1);
        expect(whereFrom(await brief.client.validate({ handle }))).toEqual(['active', 'authority']);
        expect(asked()).toBe(2);
      });

      test('of a token that Keystone has revoked since is refused when its facts are over', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(one, token);
        await lab.revoke(token);
        expect([await wordFor(other, handle), await wordFor(brief, handle)]).toEqual(['active', 'REFUSED']);
      });

      test('that no tier knows is told so, one that is none is no question, and none is accepted where they are off', async () => {
        expect(await wordFor(other, 'ab'.repeat(32))).toBe('UNKNOWN_HANDLE');
        expect(await noAnswer(other.client.validate({ handle: 'ab' }))).toMatchObject({
          code: 'INVALID_ARGUMENT',
          reason: 'HANDLE_MALFORMED',
        });
        const without = await startSidecar(lab);
        const handle = await handleOf(one, await lab.token('project'));
        expect(await noAnswer(without.client.validate({ handle }))).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'HANDLES_OFF' });
        await without.close();
      });

      const wordFor = async (sidecar: LabSidecar, handle: string) => wordOf(await sidecar.client.validate({ handle }));
    });

    describe('revoked at one', () => {
      test('it is dead there at once, by its token and by its handle; the others have not heard of it', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(one, token);
        expect(await verdict(other.client, token)).toBe('active');
        const revoked = await one.client.revoke({ handle });
        expect(revoked.forwarding).toBe(undefined);
        const atOne = await Promise.all([token, { handle }].map((credential) => one.client.validate(credential)));
        const atOther = await Promise.all([token, { handle }].map((credential) => other.client.validate(credential)));
        const atThird = await Promise.all([token, { handle }].map((credential) => brief.client.validate(credential)));
        expect(atOne.map(wordOf)).toEqual(['REVOKED', 'REVOKED']);
        expect([...atOther, ...atThird].map(wordOf)).toEqual(['active', 'active', 'active', 'active']);
        expect(await statusAtKeystone(token)).toBe(200);
      });

      test('a token that it has never seen is dead there, whatever the tier knows of it', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(other, token);
        await one.client.revoke({ token });
        expect(await verdict(one.client, token)).toBe('REVOKED');
        expect(wordOf(await one.client.validate({ handle }))).toBe('REVOKED');
      });

      test('and told to Keystone: dead there when it is accepted, and at the others when their facts are over', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(one, token);
        expect(await verdict(other.client, token)).toBe('active');
        expect(await statusAtKeystone(token)).toBe(200);
        expect((await one.client.revoke({ token }, { forward: true })).forwarding).toBe('accepted');
        expect(await statusAtKeystone(token)).toBe(404);
        expect(await verdict(one.client, token)).toBe('REVOKED');
        expect(await verdict(other.client, token)).toBe('active');
        expect(await verdict(other.client, token, { maxStalenessMs: 0 })).toBe('REFUSED');
        expect(wordOf(await brief.client.validate({ handle }))).toBe('REFUSED');
        // Told once more, it is what it was.
        expect((await one.client.revoke({ token }, { forward: true })).forwarding).toBe('accepted');
      });

      test('and told to Keystone by its handle, at a sidecar that has never seen the token', async () => {
        const token = await lab.token('project');
        const handle = await handleOf(one, token);
        // What the handle stands for is written beside the answer; until it is there, asking again is what is said to do.
        const told = async () => (await other.client.revoke({ handle }, { forward: true }).catch(() => undefined))?.forwarding;
        await expect.poll(told, { timeout: 30_000, interval: 50 }).toBe('accepted');
        expect([await statusAtKeystone(token), wordOf(await other.client.validate({ handle }))]).toEqual([404, 'REVOKED']);
      });

      test('a token that cannot revoke itself: Keystone rejects it, and it is dead here all the same', async () => {
        const token = await lab.token('trust_impersonating');
        expect(await verdict(one.client, token)).toBe('active');
        expect((await one.client.revoke({ token }, { forward: true })).forwarding).toBe('rejected');
        expect([await verdict(one.client, token), await statusAtKeystone(token)]).toEqual(['REVOKED', 200]);
      });

      test('while Keystone is away: it waits, is shown to wait, outlives a restart, and goes out when Keystone is back', async () => {
        const token = await lab.token('project');
        expect(await verdict(one.client, token)).toBe('active');
        lab.proxy.misbehave(() => ({ kind: 'cut' }));
        expect((await one.client.revoke({ token }, { forward: true })).forwarding).toBe('pending');
        expect(await verdict(one.client, token)).toBe('REVOKED');
        const waiting = await one.client.status();
        expect(waiting.upstreamOutboxCount).toBe(1);
        expect(waiting.forwardings).toMatchObject([{ issuer: 'central', pendingCount: 1 }]);
        await one.restart();
        expect([await verdict(one.client, token), (await one.client.status()).upstreamOutboxCount]).toEqual(['REVOKED', 1]);
        expect(await statusAtKeystone(token)).toBe(200);

        lab.proxy.behave();
        await vi.waitFor(async () => expect((await one.client.status()).upstreamOutboxCount).toBe(0), { timeout: 30_000, interval: 100 });
        expect((await one.client.status()).forwardings).toMatchObject([
          { pendingCount: 0, acceptedCount: 1, rejectedCount: 0, expiredCount: 0 },
        ]);
        expect(await statusAtKeystone(token)).toBe(404);
        expect((await one.client.revoke({ token }, { forward: true })).forwarding).toBe('accepted');
      });
    });

    test('a token that has ended serves beside a service token, and at the other without Keystone', async () => {
      const [serviceToken, project] = [await lab.token('nova'), await lab.token('project')];
      const { token, endsAtMs } = await endedToken(lab);
      // To the other the facts must look fetched after the end, too, although they count as older there.
      await setTimeout(Math.max(0, endsAtMs + skewMs + 100 - Date.now()));
      expect(await verdict(one.client, token)).toBe('REFUSED');
      const answer = activeOf(await one.client.validate(token, { serviceToken }));
      expect([answer.token.user?.id, answer.service?.user?.id]).toEqual([lab.seed.users.alice.id, lab.seed.users.nova.id]);
      expect(answer.service?.roles.map(({ name }) => name)).toContain('service');
      const before = asked();
      const second = activeOf(await other.client.validate(token, { serviceToken }));
      expect([whereFrom(second), second.service?.user?.id, asked() - before]).toEqual([['active', 'shared'], lab.seed.users.nova.id, 0]);
      expect(await verdict(other.client, token, { serviceToken: project })).toBe('BAD_SERVICE_TOKEN');
      expect(await verdict(other.client, token)).toBe('EXPIRED');
      await one.client.revoke({ token });
      expect(await verdict(one.client, token, { serviceToken })).toBe('REVOKED');
    });

    test('access rules are enforced by each, on the facts of the other', async () => {
      const token = await lab.token('application_credential_access_rules');
      const access = (method: string, path: string) => ({ demand: { access: { service: 'compute', method, path } } });
      for (const sidecar of [one, other]) {
        expect(await verdict(sidecar.client, token)).toBe('ACCESS_DENIED');
        expect(await verdict(sidecar.client, token, access('GET', '/v2.1/servers'))).toBe('active');
        expect(await verdict(sidecar.client, token, access('POST', '/v2.1/servers'))).toBe('ACCESS_DENIED');
        expect(await verdict(sidecar.client, token, access('GET', '/v2.1/servers/1'))).toBe('ACCESS_DENIED');
      }
      expect(asked()).toBe(1);
    });

    test('a token of a user is found at the other, never itself, and only by who may look', async () => {
      const [token, handle] = await lab.token('dave').then(async (dave) => [dave, await handleOf(one, dave)] as const);
      const target = { userId: lab.seed.users.dave.id, projectId: lab.seed.projects.db };
      const known = await one.client.validate(token);
      const newestAt = async (sidecar: LabSidecar) => (await sidecar.client.findToken(target))?.fingerprint;
      await vi.waitFor(async () => expect(await newestAt(other)).toBe(known.fingerprint), { timeout: 10_000, interval: 50 });
      const found = activeOf((await other.client.findToken(target, { include: { handle: true, claims: true } })) ?? expect.unreachable());
      expect([found.fingerprint, found.handle, found.token.user?.id]).toEqual([known.fingerprint, handle, target.userId]);
      expect(JSON.stringify(found, (_name, value) => (typeof value === 'bigint' ? `${value}` : value))).not.toContain(token);
      expect(await other.client.findToken({ userId: target.userId })).toBe(undefined);
      expect(await noAnswer(other.stranger.findToken(target) as Promise<Answer>)).toMatchObject({ code: 'UNAUTHENTICATED' });
      expect(asked()).toBe(1);

      await other.client.revoke({ handle });
      expect(await newestAt(other)).not.toBe(known.fingerprint);
      expect(await newestAt(one)).toBe(known.fingerprint);
    });

    test('memcached is killed: answers go on, and so does the tier when it is back', async () => {
      const [known, fresh, later] = [await lab.token('project'), await lab.token('project'), await lab.token('project')];
      const handle = await handleOf(one, known);
      await memcached.kill();
      expect(whereFrom(await one.client.validate(known))).toEqual(['active', 'memory']);
      expect(whereFrom(await one.client.validate({ handle }))).toEqual(['active', 'memory']);
      for (const sidecar of [one, other]) expect(whereFrom(await sidecar.client.validate(fresh))).toEqual(['active', 'authority']);
      // Nobody can say that the other does not know it.
      expect(await noAnswer(other.client.validate({ handle }))).toMatchObject({ code: 'UNAVAILABLE', reason: 'HANDLE_NOT_AT_HAND' });
      await memcached.restart();
      for (const sidecar of [one, other]) sidecar.elapse(1500);
      await vi.waitFor(
        async () => {
          expect(whereFrom(await one.client.validate(later, { maxStalenessMs: 0 }))).toEqual(['active', 'authority']);
          expect(whereFrom(await other.client.validate(later))).toEqual(['active', 'shared']);
        },
        { timeout: 10_000, interval: 200 },
      );
      expect(wordOf(await other.client.validate({ handle: await handleOf(one, later) }))).toBe('active');
    });

    test('no token and no handle is in any line of theirs', async () => {
      const token = await lab.token('project');
      const handle = await handleOf(one, token);
      await other.client.validate({ handle });
      await other.client.revoke({ handle }, { forward: true });
      const logged = [one, other, brief].map((sidecar) => sidecar.logged()).join('');
      expect(logged).toContain('"audit":true');
      expect([logged.includes(token), logged.includes(handle)]).toEqual([false, false]);
      expect(/gAAAAA[\w-]{60}/.exec(logged)).toBe(null);
    });
  });
});
