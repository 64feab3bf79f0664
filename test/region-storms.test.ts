// Storms of news: a robot that logs in all the time, a message that concerns every token; Keystone is asked little, and answers go on.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everybodys, roleIdOf } from '../bench/servers/keystone-body.ts';
import { runRobot } from '../bench/storm/robot.ts';
import { runSpread } from '../bench/storm/spread.ts';
import { type StormStage, startStorm } from '../bench/storm/stage.ts';
import { builtPackage } from './cli/program.ts';
import { describeWithMemcached } from './fakes/memcached.ts';
import { describeWithRabbitmq } from './fakes/rabbitmq.ts';

const cli = (): string => join(builtPackage(), 'dist', 'cli.js');

describeWithRabbitmq('storms', () => {
  describeWithMemcached('of news', () => {
    describe('a federated robot that logs in twenty times a second', () => {
      const settleMs = 2000;
      let stage: StormStage;
      beforeAll(async () => {
        stage = await startStorm({ cli: cli(), sidecars: 2, settleMs, wideWindowMs: 4000, concurrency: 16, queue: 256 });
      }, 240_000);
      afterAll(() => stage?.close());

      it('S6 costs one provisional validation and one settled one of its token by a sidecar in a settle window, and others none', {
        timeout: 120_000,
      }, async () => {
        const result = await runRobot(stage, { perSecond: 20, lastsMs: 10_000, tokens: 2, settleMs });
        const { messages, windows, mostOfRobot, perWindowAndToken, mostOfOthers, polls, wrong, answers } = result;
        expect(wrong).toEqual([]);
        // A machine that is slow tells less often; the storm is one all the same.
        expect({ isStorm: messages > 3 * windows, isAsked: answers > 100, isTold: mostOfRobot > 2 }).toEqual({
          isStorm: true,
          isAsked: true,
          isTold: true,
        });
        expect(mostOfRobot).toBeLessThanOrEqual(2 * windows);
        // By both together: a provisional one each, and a settled one that the other finds in the tier.
        expect(perWindowAndToken).toBeLessThanOrEqual(3);
        expect(mostOfOthers).toBe(0);
        // By each sidecar one a poll interval of 2 s, and in each window one look at once and one after settling.
        expect(polls).toBeLessThanOrEqual(2 * 3 * (windows + 4));
      });
    });

    describe('a message that concerns every token', () => {
      const [settleMs, wideWindowMs, queue, concurrency, keystoneMs] = [1000, 10_000, 64, 8, 40];
      // Keystone answers 200 a second, they are asked about 400 times, and an even spread would be 111.
      const [tokens, questionsPerSecond] = [1000, 400];
      let stage: StormStage;
      beforeAll(async () => {
        stage = await startStorm({ cli: cli(), sidecars: 1, settleMs, wideWindowMs, concurrency, queue });
      }, 240_000);
      afterAll(() => stage?.close());

      it.each([
        ['a role is deleted that all of them have', { eventType: 'identity.role.deleted', id: roleIdOf('member') }],
        ['the domain of everybody is changed', { eventType: 'identity.domain.updated', id: everybodys.domainId }],
      ])(
        'S7 %s: Keystone is asked about them over the window, hits go on, and nobody is without an answer',
        {
          timeout: 180_000,
        },
        async (_, happening) => {
          const plan = { tokens, questionsPerSecond, wideWindowMs, settleMs, keystoneMs };
          const { wrong, renewed, mostOfOne, hits, after } = await runSpread(stage, plan, happening);
          expect(wrong).toEqual([]);
          expect(renewed).toBe(tokens);
          expect(mostOfOne).toBeLessThanOrEqual(2);
          // Whose slot has not come is answered from what is there, unmarked. If all were due at once, few would be.
          expect(hits).toBeGreaterThan((2 * after.length) / 5);
        },
      );
    });
  });
});
