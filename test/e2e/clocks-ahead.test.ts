// Sidecars whose clocks are ahead of everybody's: the race of a user's change with its revocation is won all the same, and a doubtful clock is kept to itself.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { newKeyDir, type SidecarPlan, type SidecarProcess, sidecarProcess } from '../../bench/servers/sidecar-process.ts';
import { builtPackage } from '../cli/program.ts';
import { describeWithMemcached, type Memcached, startMemcached } from '../fakes/memcached.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { actionNamed } from '../oracle/actions.ts';
import { administratorOf } from '../oracle/administrator.ts';
import { makeThings, type Things } from '../oracle/things.ts';
import { describeWithKeystone, type Lab, startKeystone } from './lab.ts';
import { issued, patience } from './region.ts';

/** Keystone has to be asked, and to have written down what it has told, within it: the machine may be slow. */
const settleMs = 4000;
/** Nothing is told for so long that it is over by itself. */
const heldMs = 60_000;

const hasFakeTime = readdirSync('/usr/lib').some((name) => existsSync(`/usr/lib/${name}/faketime/libfaketimeMT.so.1`));
const describeWithFakeTime = hasFakeTime ? describe : describe.skip;

describeWithKeystone('sidecars whose clocks are ahead', () => {
  describeWithRabbitmq('hear Keystone’s bus', () => {
    describeWithMemcached('and share a memcached with one whose clock is right', () => {
      describeWithFakeTime(hasFakeTime ? 'by faketime' : 'by faketime (skipped: it is not installed)', () => {
        let rabbitmq: Rabbitmq;
        let lab: Lab;
        let memcached: Memcached;
        let dir: string;
        let keyDir: string;
        let sidecars: readonly SidecarProcess[] = [];
        let things: Things;

        const aheadMs = { right: 0, ahead: 1500, doubtful: 5000 } as const;
        const names = ['right', 'ahead', 'doubtful'] as const;

        beforeAll(async () => {
          rabbitmq = await startRabbitmq();
          [lab, memcached] = await Promise.all([
            startKeystone({ notifications: { url: rabbitmq.transportUrl, format: 'cadf' } }),
            startMemcached(),
          ]);
          // Before Keystone has said anything there is no exchange, and no sidecar that has heard of it.
          await makeThings(await administratorOf(lab));
          dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-clocks-'));
          keyDir = newKeyDir(dir, 'keys');
          writeFileSync(join(dir, 'transport-url'), rabbitmq.transportUrl);
          sidecars = names.map((name) => sidecarProcess(planOf(name)));
          await Promise.all(sidecars.map((one) => one.start()));
          // A queue that is new has missed whatever was before it: all of that has been asked about again.
          for (const { client } of sidecars) {
            const doubts = async () =>
              (await client.status()).degradations.flatMap(({ reasons }) => reasons).filter((why) => why !== 'CLOCK');
            await vi.waitFor(async () => expect([(await client.status()).serving, await doubts()]).toEqual([true, []]), patience);
          }
          // What was fetched before a sidecar's journal was born it takes from nobody; by the one that is ahead that is later than by the others.
          await sleep(aheadMs.ahead + 2500);
        }, 240_000);
        afterAll(async () => {
          await Promise.all(sidecars.map((one) => one.end('SIGKILL')));
          await lab?.close();
          await Promise.all([memcached?.close(), rabbitmq?.close()]);
          if (dir !== undefined) rmSync(dir, { recursive: true });
        });
        beforeEach(async () => {
          things = await makeThings(await administratorOf(lab));
        });

        /** Without the poll: who lists revocations would end the race at once. Facts serve for 300 s. */
        const planOf = (name: keyof typeof aheadMs): SidecarPlan => ({
          name,
          cli: join(builtPackage(), 'dist', 'cli.js'),
          dir: join(dir, name),
          keyDir,
          // uwsgi alone sends no `Date`.
          keystoneUrl: lab.proxy.url,
          password: lab.seed.users.validator.password,
          servers: [memcached.address],
          sharedDeadlineMs: 2000,
          news: `{ bus: { transport_url_file: ${join(dir, 'transport-url')} } }`,
          caching: `  settle: ${settleMs}ms\n  wide_window: 3s`,
          calls: '{ deadline: 60s, concurrency: 16, queue: 1024 }',
          // As long as that settle window asks for.
          settings: `max_lag: ${3 * settleMs}ms`,
          timeoutMs: 90_000,
          ...(aheadMs[name] > 0 && { aheadMs: aheadMs[name] }),
        });
        const at = (name: keyof typeof aheadMs): SidecarProcess => sidecars[names.indexOf(name)] ?? expect.unreachable(name);
        const saidAt = async (name: keyof typeof aheadMs, token: string): Promise<string> => {
          const answer = await at(name).client.validate(token);
          return answer.active ? `active by ${answer.provenance}` : answer.reason;
        };
        const whereFrom = async (name: keyof typeof aheadMs, token: string) => {
          const answer = await at(name).client.validate(token);
          return [answer.active, answer.provenance, answer.degradedBy];
        };

        /**
         * A token that `first` has asked about, and `second` has found in the tier. What was told when its things were made makes facts
         * stale for longer there than here, as far as clocks may differ: until that is over others are issued.
         */
        const sharedToken = async (kind: 'project' | 'unscoped', first: keyof typeof aheadMs, second: keyof typeof aheadMs) => {
          let token = '';
          const found = async () => {
            token = await issued(things, kind);
            return [await whereFrom(first, token), await whereFrom(second, token)];
          };
          await expect.poll(found, { timeout: 60_000, interval: 500 }).toEqual([
            [true, 'authority', []],
            [true, 'shared', []],
          ]);
          return token;
        };

        /** Whoever makes them. */
        const requestsToTheTier = async (): Promise<number> => {
          const counts = await memcached.stats();
          return ['cmd_get', 'cmd_set', 'cmd_touch', 'cmd_meta', 'delete_hits', 'delete_misses'].reduce(
            (sum, name) => sum + Number(counts.get(name)),
            0,
          );
        };

        test.each([
          ['ahead', 'right'],
          ['right', 'ahead'],
        ] as const)(
          'S6 a user is disabled, told of before it is written down: neither the one that asks first (%s) nor the other (%s) keeps what was true in between',
          async (first, second) => {
            const token = await sharedToken('project', first, second);
            await lab.lagAfterMessages(heldMs);
            const said: Record<string, string[]> = { [first]: [], [second]: [] };
            let isOver = false;
            const watching = [first, second].map(async (name) => {
              while (!isOver) {
                said[name]?.push(await saidAt(name, token));
                await sleep(20);
              }
            });
            const acting = actionNamed('user_disable').perform(things);
            // Both were told, have asked at once, and Keystone still accepts the token.
            for (const name of [first, second]) await expect.poll(() => said[name], patience).toContain('active by authority');
            await lab.lagAfterMessages(0);
            await acting;
            for (const name of [first, second]) await expect.poll(() => said[name]?.at(-1), patience).toBe('REFUSED');
            // Longer than a refusal is remembered: whoever had kept something would show it now.
            await sleep(5000 + 1000);
            isOver = true;
            await Promise.all(watching);
            for (const name of [first, second]) {
              const turned = said[name]?.indexOf('REFUSED') ?? -1;
              const [before, after] = [new Set(said[name]?.slice(0, turned)), new Set(said[name]?.slice(turned))];
              expect([...before].filter((word) => !word.startsWith('active'))).toEqual([]);
              expect(after).toEqual(new Set(['REFUSED']));
            }
          },
          180_000,
        );

        test('S1 one that is five seconds ahead neither takes from the tier nor gives to it, and says so', async () => {
          const theirs = await sharedToken('project', 'right', 'ahead');
          // A reply that was long under way does not show it.
          const doubts = async () => (await whereFrom('doubtful', await issued(things, 'unscoped')))[2];
          await expect.poll(doubts, patience).toEqual(['CLOCK']);
          const own = await issued(things, 'unscoped');
          const before = await requestsToTheTier();
          for (const provenance of ['authority', 'memory']) {
            for (const token of [theirs, own]) expect(await whereFrom('doubtful', token)).toEqual([true, provenance, ['CLOCK']]);
          }
          expect(await requestsToTheTier()).toBe(before);
          expect(await whereFrom('right', own)).toEqual([true, 'authority', []]);
          expect(await whereFrom('ahead', own)).toEqual([true, 'shared', []]);
        });
      });
    });
  });
});
