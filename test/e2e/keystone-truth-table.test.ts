// Twelve things that an administrator does, live, one for each way in which tokens die, change or come back: afterwards every answer is Keystone's.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NearCache } from '../../src/client/index.ts';
import { describeWithMemcached, type Memcached, startMemcached } from '../fakes/memcached.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { rowsFor } from '../oracle/actions.ts';
import { type Administrator, administratorOf } from '../oracle/administrator.ts';
import { memoryOf, nearOf, type Place, sharedOf } from '../oracle/places.ts';
import { forgetDead, playRow, prepare, type Row, type Timing } from '../oracle/row.ts';
import { makeThings, type Things } from '../oracle/things.ts';
import { type Truth, truthOf } from '../oracle/truth.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { type LabSidecar, startSidecar } from './sidecar.ts';

/** With what some of them follow; `npm run bench:staleness` plays all 65, and others, in four settings. */
const rows = rowsFor([
  'user_update_name',
  'role_revoke_user_project_one_of_two',
  'role_regrant_user_project',
  'role_revoke_group_project_last',
  'group_remove_member',
  'domain_enable',
  'user_password_change_by_self',
  'user_enable',
  'token_revoke_project',
  'trust_delete',
  'project_delete',
  'role_delete_held',
]);

const timing: Timing = { settleMs: 1000, pollEveryMs: 1000, wideWindowMs: 3000, factsTimeMs: 300_000, refusalTimeMs: 5000 };
/** A machine may be slow; what has to wait for its facts' time would take far longer. */
const slackMs = 30_000;

describeWithKeystone('what Keystone says, live', () => {
  describeWithRabbitmq('told by its bus and its list of revocations', () => {
    describeWithMemcached('in memory, in a shared tier and in a near cache', () => {
      let rabbitmq: Rabbitmq;
      let memcached: Memcached;
      let lab: Lab;
      let keystone: Administrator;
      let truth: Truth;
      let keyDir: string;
      let sidecars: readonly LabSidecar[] = [];
      let near: NearCache;
      let places: readonly Place[];
      let things: Things | undefined;

      beforeAll(async () => {
        [rabbitmq, memcached, keyDir] = await Promise.all([
          startRabbitmq(),
          startMemcached(),
          mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-keys-')),
        ]);
        await writeFile(join(keyDir, 'one'), randomBytes(32));
        lab = await startKeystone({ notifications: { url: rabbitmq.transportUrl, format: 'cadf' } });
        [keystone, truth] = await Promise.all([administratorOf(lab), truthOf(lab)]);
        const { settleMs, pollEveryMs, wideWindowMs } = timing;
        const shared = `shared: { servers: ["${memcached.address}"], deadline: 2s }`;
        sidecars = await Promise.all(
          ['first', 'second'].map((name) =>
            startSidecar(lab, {
              name,
              deploymentKeyDir: keyDir,
              caching: `{ ${shared}, settle: ${settleMs}ms, wide_window: ${wideWindowMs}ms, token: { jitter: 0 } }`,
              keys: `{ fernet: ${lab.fernetKeys} }`,
              news: `{ bus: { transport_url_file: TRANSPORT_URL_FILE }, poll: { every: ${pollEveryMs}ms } }`,
              transportUrl: rabbitmq.transportUrl,
            }),
          ),
        );
        const [first, second] = sidecars as [LabSidecar, LabSidecar];
        near = first.client.nearCache();
        places = [memoryOf(first.client), sharedOf(second.client), nearOf(near)];
      }, 240_000);
      afterAll(async () => {
        near?.close();
        await Promise.all(sidecars.map((sidecar) => sidecar.close()));
        await lab?.close();
        await Promise.all([memcached?.close(), rabbitmq?.close()]);
        if (keyDir !== undefined) await rm(keyDir, { recursive: true });
      });

      /** What was wrong, so that a failure can be read. */
      const brokenIn = (row: Row) =>
        row.cells.flatMap(({ kind, place, broken }) => broken.map(({ what, note }) => `${what} ${kind} in ${place}: ${note}`));

      test.each(rows.map((action, at) => [action.name, action, rows[at + 1]] as const))(
        'S8 %s: every answer becomes what Keystone says, and nothing that it accepts is called inactive',
        async (name, action, next) => {
          // A row that has failed leaves things in whatever state; what it was to leave for this one is then not there.
          const before = things;
          things = undefined;
          const its = before === undefined || action.onFreshThings ? await makeThings(keystone) : before;
          if (action.follows !== undefined) expect(its.done).toContain(action.follows);
          await prepare(action, its);
          const row = await playRow(action, its, { truth, places, timing, intervalMs: 100, slackMs });
          expect(row.reply.status, JSON.stringify(row.reply.body)).toBeLessThan(300);
          expect(brokenIn(row)).toEqual([]);
          // It was worth it: something had to change, or to come back to life in vain.
          const changed = row.cells.filter(({ changedAfterMs }) => changedAfterMs !== undefined);
          expect([name, changed.length > 0]).toEqual([name, name !== 'user_enable']);
          if (next?.follows !== name) forgetDead(row, its);
          things = its;
        },
        240_000,
      );
    });
  });
});
