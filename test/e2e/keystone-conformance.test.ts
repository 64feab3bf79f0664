// The suite that every Upstream has to pass, over a real Keystone.
import { afterAll, beforeAll } from 'vitest';
import { systemClock } from '../../src/sidecar.ts';
import { createKeystone } from '../../src/upstreams/keystone.ts';
import { type UpstreamHarness, upstreamConformance } from '../conformance/upstream.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { endedToken } from './lab/ended-token.ts';
import { keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { forged } from './sidecar.ts';

describeWithKeystone('over the lab', () => {
  let lab: Lab;
  let good: string;
  let ended: string;
  let catalog: unknown;
  beforeAll(async () => {
    lab = await startKeystone();
    good = await lab.token('project');
    ended = (await endedToken(lab)).token;
    const headers = { 'x-subject-token': good };
    const { body } = await keystoneRequest(lab.url, 'GET', '/auth/tokens', { token: await lab.token('validator'), headers });
    catalog = (body as { readonly token: { readonly catalog: unknown } }).token.catalog;
    // The lab's own login as admin, so that `revoke` does not need one later.
    await lab.revoke(await lab.token('project'));
  }, 240_000);
  afterAll(() => lab?.close());

  async function makeHarness(deadlineMs: number): Promise<UpstreamHarness> {
    const { alice, validator } = lab.seed.users;
    const unknown = forged(good, 1);
    const disposable = await lab.token('project');
    const telemetry = createFakeTelemetry();
    const upstream = createKeystone(
      {
        name: 'central',
        url: lab.proxy.url,
        login: {
          kind: 'password',
          user: { id: validator.id },
          project: { id: lab.seed.projects.service },
          password: async () => validator.password,
        },
        deadlineMs,
        attempts: 1,
        maxBodyBytes: 8 * 1024 * 1024,
      },
      { clock: systemClock, log: telemetry.log },
    );
    let ours = '';
    let arrived = (): void => undefined;
    const watch = () =>
      lab.proxy.misbehave(({ headers }) => {
        ours = String(headers['x-auth-token'] ?? ours);
        arrived();
        return undefined;
      });
    let [stopped, frozen] = [false, false];
    let arrival = Promise.resolve();
    lab.proxy.forget();
    watch();
    return {
      upstream,
      good: { token: good, userId: alice.id },
      unknown,
      disposable,
      ended,
      catalogOf: { token: good, catalog },
      secrets: [good, unknown, disposable, ended, validator.password],
      stop: async () => {
        await lab.stopServer();
        stopped = true;
      },
      resume: async () => {
        await lab.startServer();
        stopped = false;
      },
      hang: async () => {
        arrival = new Promise((done) => {
          arrived = done;
        });
        await lab.pause();
        frozen = true;
      },
      hanging: () => arrival,
      revokeOurCredential: () => lab.revoke(ours),
      renewals: () => lab.logins(),
      logged: () => telemetry.everything(),
      close: async () => {
        await upstream.close();
        if (frozen) await lab.resume();
        if (stopped) await lab.startServer();
        [stopped, frozen] = [false, false];
        lab.proxy.behave();
      },
    };
  }

  upstreamConformance('Keystone', makeHarness, {
    healthyMs: 200_000,
    hangingMs: 5000,
    hasCatalogs: true,
    speaksOfEnded: true,
    revokes: true,
  });
});
