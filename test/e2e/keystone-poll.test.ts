// The poll before a real Keystone: what dies there dies here, a restart goes on where it ended, and a user without the role is said.
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../src/sidecar.ts';
import { createKeystone } from '../../src/upstreams/keystone.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import type { SeenRequest } from './lab/counting-proxy.ts';
import { byPassword, keystoneCall, keystoneLogin, keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { type LabSidecar, type SidecarOptions, startSidecar, verdict } from './sidecar.ts';

const listPath = '/v3/OS-REVOKE/events';
const poll = '{ bus: null, poll: { every: 500ms, overlap: 60s, sweep: 10m } }';

describeWithKeystone('the poll before a real Keystone', () => {
  let lab: Lab;
  let admin: string;
  const sidecars: LabSidecar[] = [];

  beforeAll(async () => {
    lab = await startKeystone();
    admin = await lab.token('admin');
  }, 240_000);
  afterEach(async () => {
    lab.proxy.behave();
    await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.close()));
  });
  afterAll(async () => lab?.close());

  async function started(options: SidecarOptions = {}): Promise<LabSidecar> {
    const sidecar = await startSidecar(lab, { news: poll, ...options });
    sidecars.push(sidecar);
    return sidecar;
  }
  const until = (condition: () => Promise<void>): Promise<void> => vi.waitFor(condition, { timeout: 120_000, interval: 20 });
  const serving = (sidecar: LabSidecar) => until(async () => expect((await sidecar.client.status()).serving).toBe(true));
  const polls = (): number => lab.proxy.count('GET', listPath);
  /** Polls follow one another: when a second one has begun, one that began after now has ended, and all it listed is applied. */
  const afterOnePoll = async (): Promise<void> => {
    const before = polls();
    await until(async () => expect(polls()).toBeGreaterThanOrEqual(before + 2));
  };
  /** A user of the lab's domain with role member on the project web, and a token of it. */
  async function person(name: string) {
    const { domains, projects, roles } = lab.seed;
    const fields = { user: { name, domain_id: domains.acme, password: `${name}-pw` } };
    const { user } = (await keystoneCall(lab.url, 'POST', '/users', admin, fields)) as { readonly user: { readonly id: string } };
    await keystoneCall(lab.url, 'PUT', `/projects/${projects.web}/users/${user.id}/roles/${roles.member}`, admin);
    const logIn = (): Promise<string> => keystoneLogin(lab.url, byPassword(user.id, `${name}-pw`), { project: { id: projects.web } });
    return { id: user.id, password: `${name}-pw`, logIn };
  }
  const entriesOf = async ({ client }: LabSidecar): Promise<number> => (await client.status()).entryCount;

  describe('S11 dies here within one poll', () => {
    const ways = ['revoked', 'disabled', 'password changed', 'password reset', 'removed from a group', 'deleted', 'nothing'] as const;
    let sidecar: LabSidecar;
    /** After one poll, of a token to whose user that was done; and how often Keystone was asked about tokens meanwhile. */
    let verdicts: ReadonlyMap<(typeof ways)[number], string>;
    let questions: number;

    beforeAll(async () => {
      sidecar = await startSidecar(lab, { news: poll });
      await serving(sidecar);
      const { groups } = lab.seed;
      const people = await Promise.all(
        ways.map(async (way) => {
          const who = await person(`poll-${way.replaceAll(' ', '-')}`);
          // A change of membership touches the tokens from before it: first of all.
          if (way === 'removed from a group') await keystoneCall(lab.url, 'PUT', `/groups/${groups.devs}/users/${who.id}`, admin);
          const token = await who.logIn();
          expect(await verdict(sidecar.client, token)).toBe('active');
          return { ...who, way, token };
        }),
      );
      const ours = await people[ways.indexOf('password changed')]?.logIn();
      // A revocation is of whole seconds, and inclusive.
      await lab.nextSecond();
      lab.proxy.forget();
      await Promise.all(people.map((who) => done(who, ours ?? '')));
      await afterOnePoll();
      const said = await Promise.all(people.map(async ({ way, token }) => [way, await verdict(sidecar.client, token)] as const));
      verdicts = new Map(said);
      questions = lab.proxy.count('GET', '/v3/auth/tokens');
    }, 240_000);
    afterAll(async () => sidecar?.close());

    async function done(
      { way, id, token, password }: { way: string; id: string; token: string; password: string },
      own: string,
    ): Promise<void> {
      const { groups } = lab.seed;
      if (way === 'revoked') await lab.revoke(token);
      if (way === 'disabled') await lab.disableUser(id);
      if (way === 'password reset') await keystoneCall(lab.url, 'PATCH', `/users/${id}`, admin, { user: { password: 'another' } });
      if (way === 'removed from a group') await keystoneCall(lab.url, 'DELETE', `/groups/${groups.devs}/users/${id}`, admin);
      if (way === 'deleted') await keystoneCall(lab.url, 'DELETE', `/users/${id}`, admin);
      if (way !== 'password changed') return;
      const body = { user: { original_password: password, password: 'another' } };
      expect((await keystoneRequest(lab.url, 'POST', `/users/${id}/password`, { token: own, body })).status).toBe(204);
    }

    test.each(ways.slice(0, -1))('a token that is, or whose user is, %s', (way) => {
      expect(verdicts.get(way)).toBe('REVOKED');
    });

    test('by what the poll has told: no question was asked about any of them; and nobody else’s', () => {
      expect([verdicts.get('nothing'), questions]).toEqual(['active', 0]);
    });

    test('a token of before the cut-off, and not one of after it', async () => {
      const who = await person('poll-again');
      const before = await who.logIn();
      expect(await verdict(sidecar.client, before)).toBe('active');
      await lab.nextSecond();
      await keystoneCall(lab.url, 'PATCH', `/users/${who.id}`, admin, { user: { password: who.password } });
      await lab.nextSecond();
      const after = await who.logIn();
      await afterOnePoll();
      expect([await verdict(sidecar.client, before), await verdict(sidecar.client, after)]).toEqual(['REVOKED', 'active']);
    });

    test('a token that was revoked, and not those that came of it or beside it', async () => {
      const who = await person('poll-beside');
      const [one, other] = [await who.logIn(), await who.logIn()];
      const child = await keystoneLogin(lab.url, { methods: ['token'], token: { id: one } }, { project: { id: lab.seed.projects.web } });
      for (const token of [one, other, child]) expect(await verdict(sidecar.client, token)).toBe('active');
      await lab.revoke(one);
      await afterOnePoll();
      const verdicts = await Promise.all([one, other, child].map((token) => verdict(sidecar.client, token)));
      expect(verdicts).toEqual(['REVOKED', 'active', 'active']);
    });
  });

  test('S11 after a restart it goes on where it ended, and what died meanwhile is in its journal', async () => {
    const seen: SeenRequest[] = [];
    lab.proxy.misbehave((request) => {
      if (request.path === listPath) seen.push(request);
      return undefined;
    });
    const sinceOf = ({ query }: SeenRequest): number => Date.parse(new URLSearchParams(query).get('since') ?? '');
    const sidecar = await started();
    await serving(sidecar);
    await afterOnePoll();
    const stoppedAtMs = Date.now();
    const before = await entriesOf(sidecar);
    const token = await lab.token('dave');
    seen.length = 0;
    await sidecar.restart(async () => {
      seen.length = 0;
      await lab.revoke(token);
    });
    await serving(sidecar);
    await afterOnePoll();
    // The first is the poll, from 60 s before the end of the last run, which is noted each 10 s; the sweep is the other that reaches far back.
    const first = Math.max(...seen.slice(0, 2).map(sinceOf));
    expect(first).toBeGreaterThanOrEqual(stoppedAtMs - 60_000 - 30_000);
    expect(first).toBeLessThanOrEqual(stoppedAtMs - 60_000 + 1_000);
    expect(Math.min(...seen.slice(0, 3).map(sinceOf))).toBeLessThan(stoppedAtMs - 24 * 3_600_000);
    expect(await entriesOf(sidecar)).toBe(before + 1);
    expect(await verdict(sidecar.client, token)).not.toBe('active');
    // And what was told before is not told again.
    await sidecar.restart();
    await serving(sidecar);
    await afterOnePoll();
    expect(await entriesOf(sidecar)).toBe(before + 1);
  });

  test('S13 a Keystone that is stopped: facts go on, degraded; back again, what died in between dies', async () => {
    const sidecar = await started();
    await serving(sidecar);
    const who = await person('poll-stopped');
    const token = await who.logIn();
    expect(await verdict(sidecar.client, token)).toBe('active');
    const entries = await entriesOf(sidecar);
    await lab.nextSecond();
    lab.proxy.misbehave(() => ({ kind: 'cut' }));
    await lab.disableUser(who.id);
    sidecar.elapse(11_000);
    await until(async () => expect((await sidecar.client.status()).degraded).toBe(true));
    const answer = await sidecar.client.validate(token);
    expect([answer.active, answer.degradedBy]).toEqual([true, expect.arrayContaining(['SOURCE_BEHIND(poll)'])]);
    expect((await sidecar.client.status()).serving).toBe(true);
    lab.proxy.behave();
    // REVOKED by what the poll told, or REFUSED: while the issuer is degraded facts are confirmed first, where Keystone answers.
    await until(async () => expect(['REVOKED', 'REFUSED']).toContain(await verdict(sidecar.client, token)));
    await until(async () => expect(await entriesOf(sidecar)).toBe(entries + 1));
    await until(async () => expect((await sidecar.client.status()).degraded).toBe(false));
  });

  test('a user without the role: what it needs is said, the issuer is degraded, and what was asked for is answered', async () => {
    const { dave } = lab.seed.users;
    const sidecar = await started({
      login: `{ password: { username: ${dave.name}, user_domain: acme, project: db, project_domain: acme, password_file: SECRET_FILE } }`,
      secret: dave.password,
    });
    await until(async () => {
      const { dependencies } = await sidecar.client.status();
      expect(dependencies.find(({ name }) => name === 'news/central/poll')).toMatchObject({
        reachable: false,
        problem: expect.stringContaining('our user needs the role "service"'),
      });
    });
    sidecar.elapse(11_000);
    const { degradations } = await sidecar.client.status();
    expect(degradations).toMatchObject([{ issuer: 'central', reasons: ['SOURCE_BEHIND(poll)'] }]);
    expect(sidecar.logged().match(/our user needs the role \\"service\\"/g)).toHaveLength(1);
    // Its own tokens it may ask about.
    expect(await verdict(sidecar.client, await lab.token('dave'))).toBe('active');
  });

  describe('a project, asked about', () => {
    const upstreamAs = (who: { readonly id: string; readonly password: string }, projectId: string) =>
      createKeystone(
        {
          name: 'central',
          url: lab.proxy.url,
          login: { kind: 'password', user: { id: who.id }, project: { id: projectId }, password: async () => who.password },
          deadlineMs: 60_000,
          attempts: 1,
          maxBodyBytes: 1_048_576,
        },
        { clock: systemClock, log: createFakeTelemetry().log },
      );
    const never = new AbortController().signal;

    test('by a user with the role service alone is unknown: Keystone’s default policy does not let it', async () => {
      const upstream = upstreamAs(lab.seed.users.validator, lab.seed.projects.service);
      const standing = await upstream.project(lab.seed.projects.web, never);
      expect(standing).toEqual({ kind: 'unknown', problem: expect.stringContaining('does not let OUR credential read projects') });
      await upstream.close();
    });

    test('by one who may is enabled, disabled or not there', async () => {
      const { admin: root, projects, domains } = lab.seed;
      const upstream = upstreamAs({ id: root.userId, password: root.password }, root.projectId);
      expect(await upstream.project(projects.web, never)).toEqual({ kind: 'enabled', domainId: domains.acme });
      await keystoneCall(lab.url, 'PATCH', `/projects/${projects.db}`, admin, { project: { enabled: false } });
      expect(await upstream.project(projects.db, never)).toEqual({ kind: 'disabled', domainId: domains.acme });
      await keystoneCall(lab.url, 'PATCH', `/projects/${projects.db}`, admin, { project: { enabled: true } });
      expect(await upstream.project('0'.repeat(32), never)).toEqual({ kind: 'refused' });
      await upstream.close();
    });
  });
});
