// A region without a Keystone: what dies in the central region stops working here, because it is told of; and nothing else does.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeWithMemcached } from '../fakes/memcached.ts';
import { describeWithRabbitmq } from '../fakes/rabbitmq.ts';
import { actionNamed } from '../oracle/actions.ts';
import { type Recorder, startRecorder } from '../oracle/recorder.ts';
import type { Things } from '../oracle/things.ts';
import { describeWithKeystone } from './lab.ts';
import { caughtUp, issued, patience, type Region, startRegion, untilAll, wordsOf } from './region.ts';
import { type LabSidecar, verdict } from './sidecar.ts';

describeWithKeystone('a region without a Keystone', () => {
  describeWithRabbitmq('which hears the central one’s bus', () => {
    describeWithMemcached('and shares what it has asked', () => {
      let region: Region;
      let sidecars: readonly LabSidecar[];
      let things: Things;
      /** A token that is good from the beginning to the end, of somebody whom nothing happens to. */
      let bystander: string;

      beforeAll(async () => {
        region = await startRegion('cadf', 'jws');
        sidecars = await Promise.all(['one', 'two', 'three'].map((name) => region.start(name)));
        bystander = await region.lab.token('project');
      }, 240_000);
      afterAll(() => region?.close());

      /** Things of its own for a test, and some of its tokens known everywhere. */
      const known = async (...kinds: readonly Parameters<Things['issue']>[0][]): Promise<string[]> => {
        things = await region.things();
        const tokens: string[] = [];
        for (const kind of kinds) tokens.push(await issued(things, kind));
        expect(await wordsOf(sidecars, ...tokens, bystander)).toEqual(['active']);
        return tokens;
      };
      const act = async (name: string): Promise<void> => {
        const { status, body } = await actionNamed(name).perform(things);
        expect(status, JSON.stringify(body)).toBeLessThan(300);
      };

      test('user disabled: every token of the user is dead here, also those that were given away; what the user gets when enabled again is good', async () => {
        const tokens = await known('unscoped', 'project', 'trust', 'application_credential');
        const own = await issued(things, 'trustee_unscoped');
        await act('user_disable');
        await untilAll('dead', sidecars, ...tokens);
        expect(await wordsOf(sidecars, own, bystander)).toEqual(['active']);
        await act('user_enable');
        await region.lab.nextSecond();
        const later = await issued(things, 'project');
        await untilAll('active', sidecars, later);
        expect(await wordsOf(sidecars, ...tokens)).toEqual(['dead']);
      });

      test('password changed: the tokens of before are dead here, and those of after it are good', async () => {
        const tokens = await known('project', 'domain', 'system');
        await act('user_password_change_by_self');
        await region.lab.nextSecond();
        const later = await issued(things, 'project');
        await untilAll('dead', sidecars, ...tokens);
        await untilAll('active', sidecars, later);
        expect(await wordsOf(sidecars, bystander)).toEqual(['active']);
      });

      test('role removed: a role that is taken away is gone here, with the last one the token is dead, and granted again it is alive', async () => {
        things = await region.things();
        await act('role_grant_user_project');
        const [token, elsewhere] = [await issued(things, 'project'), await issued(things, 'group_project')];
        const demand = { anyOfRoles: [`extra-${things.name}`] };
        const words = () => Promise.all(sidecars.map(({ client }) => verdict(client, token, { demand })));
        expect([await words(), await wordsOf(sidecars, token, elsewhere)]).toEqual([['active', 'active', 'active'], ['active']]);
        await act('role_revoke_user_project_one_of_two');
        await expect.poll(words, patience).toEqual(['MISSING_ROLE', 'MISSING_ROLE', 'MISSING_ROLE']);
        expect(await wordsOf(sidecars, token)).toEqual(['active']);
        await act('role_revoke_user_project_last');
        await untilAll('dead', sidecars, token);
        expect(await wordsOf(sidecars, elsewhere, bystander)).toEqual(['active']);
        await act('role_regrant_user_project');
        await untilAll('active', sidecars, token);
      });

      test('project deleted: its tokens are dead here, whoever has them, and the others of the same user are good', async () => {
        const [unscoped, ...tokens] = (await known('unscoped', 'project', 'rescoped', 'trust', 'application_credential')) as [string];
        const others = [unscoped, await issued(things, 'group_project'), await issued(things, 'domain')];
        expect(await wordsOf(sidecars, ...others)).toEqual(['active']);
        await act('project_delete');
        await untilAll('dead', sidecars, ...tokens);
        expect(await wordsOf(sidecars, ...others, bystander)).toEqual(['active']);
      });

      describe('several listeners', () => {
        let recorder: Recorder;

        beforeAll(async () => {
          recorder = await startRecorder(region.rabbitmq.transportUrl);
        });
        afterAll(() => recorder?.close());

        test('several listeners: every sidecar and everybody else hears each message, and nobody takes one from another', async () => {
          const queues = await region.rabbitmq.queues();
          // Keystone's own, the recorder's, and one for each sidecar.
          expect(queues).toContain('notifications.info');
          expect(new Set(queues).size).toBe(2 + sidecars.length);
          const before = await waiting();
          recorder.take();
          const tokens = await known('project');
          await act('user_disable');
          await untilAll('dead', sidecars, ...tokens);
          const heard = recorder.take().length;
          expect(heard).toBeGreaterThan(5);
          expect((await waiting()) - before).toBe(heard);
          const sources = await Promise.all(sidecars.map(async ({ client }) => (await client.status()).sources.map(({ name }) => name)));
          expect(sources).toEqual(sidecars.map(() => ['central/bus', 'central/poll']));
        });

        /** Messages in Keystone's own queue, which nobody reads here: ceilometer would. */
        const waiting = async (): Promise<number> => Number(await region.rabbitmq.evaluate(lengthOf('notifications.info')));
      });

      test('restart and reconnect: what dies while a sidecar, the link or the broker is away is dead when it is there again', async () => {
        const [one] = sidecars as [LabSidecar];
        const [ofUser] = (await known('project', 'unscoped')) as [string];
        const first = things;
        const [ofRole] = (await known('group_project')) as [string];
        const second = things;
        const [ofProject] = (await known('project')) as [string];
        const third = things;

        // The sidecar is away.
        const restarting = one.restart();
        await actionNamed('user_disable').perform(first);
        await restarting;
        await caughtUp(one);
        await untilAll('dead', sidecars, ofUser);

        // The link is away: nobody here can ask, and the facts serve, marked.
        expect(await wordsOf(sidecars, bystander, ofRole, ofProject)).toEqual(['active']);
        await Promise.all([region.keystoneLink.become('shut'), region.busLink.become('shut')]);
        await actionNamed('role_revoke_group_project_last').perform(second);
        await expect.poll(async () => (await one.client.validate(bystander)).degraded, patience).toBe(true);
        expect(await wordsOf(sidecars, bystander, ofRole)).toEqual(['active']);
        await Promise.all([region.keystoneLink.become('open'), region.busLink.become('open')]);
        await untilAll('dead', sidecars, ofRole);

        // The broker is away, and with it the exchange and every binding.
        await region.rabbitmq.restart();
        await actionNamed('project_delete').perform(third);
        await untilAll('dead', sidecars, ofProject);
        await expect.poll(async () => (await one.client.validate(bystander)).degraded, patience).toBe(false);
        expect(await wordsOf(sidecars, bystander)).toEqual(['active']);
      });
    });
  });
});

/** For Erlang: how many messages lie in a queue of `/`. */
function lengthOf(queue: string): string {
  const name = `rabbit_misc:r(<<"/">>, queue, <<"${queue}">>)`;
  return `begin {ok, Q} = rabbit_amqqueue:lookup(${name}), [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N end`;
}
