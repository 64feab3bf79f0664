// What happens to the news on their way: cut, lost, doubled, misaddressed; nothing is missed beyond what `degraded` says, and nothing counts twice.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { Answer, WatchEvent } from '../../src/client/index.ts';
import { describeWithMemcached } from '../fakes/memcached.ts';
import { describeWithRabbitmq } from '../fakes/rabbitmq.ts';
import { actionNamed } from '../oracle/actions.ts';
import { eventOf, type RecordedMessage, startRecorder } from '../oracle/recorder.ts';
import type { Things } from '../oracle/things.ts';
import { describeWithKeystone } from './lab.ts';
import { caughtUp, issued, maxLagMs, patience, type Region, settleMs, startRegion, untilAll, wideWindowMs, wordsOf } from './region.ts';
import { type LabSidecar, wordOf } from './sidecar.ts';

describeWithKeystone('news that do not come as they should', () => {
  describeWithRabbitmq('from Keystone’s bus', () => {
    describeWithMemcached('to sidecars that share a tier', () => {
      let region: Region;
      let one: LabSidecar;
      let other: LabSidecar;
      let bystander: string;

      beforeAll(async () => {
        region = await startRegion('basic');
        [one, other] = await Promise.all([region.start('one'), region.start('other')]);
        bystander = await region.lab.token('project');
      }, 240_000);
      afterAll(() => region?.close());

      const perform = async (name: string, things: Things): Promise<void> => {
        const { status, body } = await actionNamed(name).perform(things);
        expect(status, JSON.stringify(body)).toBeLessThan(300);
      };
      /** A token of things of its own, known to both. */
      const known = async (kind: Parameters<Things['issue']>[0]): Promise<readonly [Things, string]> => {
        const things = await region.things();
        const token = await issued(things, kind);
        expect(await wordsOf([one, other], token, bystander)).toEqual(['active']);
        return [things, token];
      };
      const isSound = (sidecar: LabSidecar = one) =>
        expect.poll(async () => (await sidecar.client.validate(bystander)).degradedBy, patience).toEqual([]);
      const gapsOf = (sidecar: LabSidecar): number => sidecar.logged().split('news may have been missed').length - 1;
      /** Asks again and again, until told; every answer, with what Keystone itself said right before the question. */
      const watching = (sidecar: LabSidecar, token: string) => {
        const answers: { readonly askedMs: number; readonly answer: Answer }[] = [];
        let isOver = false;
        const asking = (async () => {
          while (!isOver) {
            const askedMs = performance.now();
            answers.push({ askedMs, answer: await sidecar.client.validate(token) });
            await sleep(50);
          }
        })();
        const end = async (): Promise<void> => {
          isOver = true;
          await asking;
        };
        onTestFinished(end);
        return { answers, end };
      };

      test('S13 the bus is cut for half a minute while tokens die: what is still let in is younger than max_lag, or marked, or confirmed', async () => {
        await isSound();
        const [things, token] = await known('group_project');
        const [trusting, trusted] = await known('trust');
        // What their own making has announced is told, and its windows are over: nothing but this death has them asked about.
        await sleep(settleMs + wideWindowMs);
        await region.busLink.become('shut');
        const openAgainMs = performance.now() + 30_000;
        const watched = watching(one, token);
        const beside = watching(one, bystander);
        // Of this one the bus alone tells.
        await perform('role_revoke_group_project_last', things);
        const diedMs = performance.now();
        await expect.poll(async () => wordOf(await one.client.validate(token)), patience).toBe('REFUSED');
        await watched.end();
        // Past max_lag every answer is confirmed within five seconds or marked; the bus says nothing yet.
        const unmarked = watched.answers.filter(({ askedMs, answer }) => answer.active && !answer.degraded && askedMs > diedMs);
        const lastMs = Math.max(...unmarked.map(({ askedMs }) => askedMs)) - diedMs;
        // The link may have been idle for as long as a marker takes when it was cut; the rest is the machine's.
        expect(lastMs).toBeLessThan(maxLagMs + 2000);
        await expect.poll(async () => (await one.client.validate(bystander)).degradedBy, patience).toEqual(['SOURCE_BEHIND(bus)']);
        // What Keystone also lists is told by the poll, as ever.
        await perform('trust_delete', trusting);
        await untilAll('dead', [one, other], trusted);
        await sleep(Math.max(0, openAgainMs - performance.now()));
        await region.busLink.become('open');
        await isSound();
        await beside.end();
        expect(beside.answers.filter(({ answer }) => !answer.active)).toEqual([]);
        await untilAll('dead', [one, other], token, trusted);
      });

      test('S10 a link that comes back to a queue that was kept has missed nothing, and says so: no gap, and what lay there is told', async () => {
        await isSound();
        const [things, token] = await known('project');
        const before = gapsOf(one);
        await region.busLink.become('hanging');
        await perform('project_disable', things);
        await region.busLink.become('open');
        await untilAll('dead', [one, other], token);
        await isSound();
        expect(gapsOf(one)).toBe(before);
      });

      test('S10 the broker is restarted and every binding with it: what is announced before ours is there again is found all the same', async () => {
        await isSound();
        const [things, token] = await known('group_project');
        const before = gapsOf(one);
        await region.rabbitmq.stopApp();
        const acting = perform('role_revoke_group_project_last', things);
        await region.rabbitmq.startApp();
        await acting;
        await untilAll('dead', [one, other], token);
        // The message itself may have come first, over the new bindings.
        await expect.poll(() => gapsOf(one), { timeout: 30_000 }).toBeGreaterThan(before);
        await isSound();
        expect(await wordsOf([one, other], bystander)).toEqual(['active']);
      });

      test('S10 a sidecar that is away meanwhile hears what lies in its queue before it is relied on', async () => {
        await isSound();
        const [things, token] = await known('trust');
        await other.restart(() => perform('trust_delete', things));
        await caughtUp(other);
        // The tier still has the facts of before.
        expect(await wordsOf([other], token, bystander)).toEqual(['dead', 'active']);
        await untilAll('dead', [one], token);
      });

      test('S10 one that is away while the broker is restarted finds what was announced to nobody', async () => {
        await isSound();
        const [things, token] = await known('group_project');
        const before = gapsOf(other);
        await other.restart(async () => {
          await region.rabbitmq.stopApp();
          await region.rabbitmq.startApp();
          await perform('role_revoke_group_project_last', things);
        });
        await untilAll('dead', [one, other], token);
        await expect.poll(() => gapsOf(other), { timeout: 30_000 }).toBeGreaterThan(before);
        await Promise.all([one, other].map(isSound));
        expect(await wordsOf([one, other], bystander)).toEqual(['active']);
      });

      test('S14 messages that come again, in another order and doubled are no new revocations: nothing that was issued since dies', async () => {
        await isSound();
        const [things, token] = await known('project');
        const heard = await recordedWhile(region, async () => {
          await perform('user_disable', things);
          await perform('user_enable', things);
          // A token that is issued in the second of the revocation is dead.
          await region.lab.nextSecond();
          await perform('trust_delete', things);
        });
        const [later, trusted] = [await issued(things, 'project'), await issued(things, 'trust_impersonating')];
        await untilAll('dead', [one, other], token);
        await untilAll('active', [one, other], later, trusted);
        const [last, lastToken] = await known('group_project');
        // One of them knows what it has been told by its memory, the other by its journal alone.
        await other.restart();
        await caughtUp(other);
        await Promise.all([one, other].map(isSound));
        await Promise.all([one, other].map(untilSettled));

        const entries = await entriesWhile([one, other], async () => {
          await publish(region, [...heard.toReversed(), ...heard, ...heard]);
          // The bus alone tells of it. What comes last is told last: then all of it has been.
          await perform('role_revoke_group_project_last', last);
          await untilAll('dead', [one, other], lastToken);
          await Promise.all([one, other].map(untilSettled));
        });
        expect(entries.map((its) => its.length > 0)).toEqual([true, true]);
        expect(entries.flat().filter(({ effect }) => effect === 'REVOKE')).toEqual([]);
        expect(await wordsOf([one, other], later, trusted, bystander)).toEqual(['active']);
        expect(await wordsOf([one, other], token)).toEqual(['dead']);
      });

      test('S9 Keystone is restarted: what it told before it went is heard, and nothing is called inactive because it was away', async () => {
        await isSound();
        const [things, token] = await known('application_credential');
        await perform('application_credential_delete', things);
        await region.lab.stopServer();
        const watched = watching(one, bystander);
        // What is revoked by name needs no question.
        await untilAll('dead', [one, other], token);
        await region.lab.startServer();
        await untilAll('dead', [one, other], token);
        await watched.end();
        expect(watched.answers.filter(({ answer }) => !answer.active)).toEqual([]);
        await isSound();
      });

      test('S10 an exchange that is not Keystone’s is said, and the poll and the confirmations still find what has died', async () => {
        const bus = `{ transport_url_file: TRANSPORT_URL_FILE, exchange: keystone-${randomBytes(3).toString('hex')} }`;
        const lost = await region.open('lost', { news: `{ bus: ${bus}, poll: { every: 1s } }` });
        const [things, token] = await known('group_project');
        expect(await wordsOf([lost], token, bystander)).toEqual(['active']);
        await expect.poll(async () => (await lost.client.validate(bystander)).degradedBy, patience).toContain('SOURCE_BEHIND(bus)');
        const { dependencies } = await lost.client.status();
        expect(dependencies.filter(({ reachable }) => !reachable).map(({ problem }) => problem)).toEqual([
          expect.stringContaining('exchange'),
        ]);
        await perform('role_revoke_group_project_last', things);
        await untilAll('dead', [lost], token);
        expect(await wordsOf([lost], bystander)).toEqual(['active']);
      });
    });
  });
});

/** What Keystone says on its bus while `acting`, which ends with a trust that is deleted. */
async function recordedWhile({ rabbitmq }: Region, acting: () => Promise<void>): Promise<readonly RecordedMessage[]> {
  const recorder = await startRecorder(rabbitmq.transportUrl);
  try {
    await acting();
    const heard: RecordedMessage[] = [];
    const isAllThere = (): boolean => {
      heard.push(...recorder.take());
      return heard.some((message) => eventOf(message).type === 'identity.OS-TRUST:trust.deleted');
    };
    // Keystone has said it when it replies; it is on its way to us.
    await expect.poll(isAllThere, patience).toBe(true);
    return heard;
  } finally {
    await recorder.close();
  }
}

/** Puts the messages on Keystone's exchange, byte for byte. */
async function publish({ rabbitmq }: Region, messages: readonly RecordedMessage[]): Promise<void> {
  const connection = await connect(rabbitmq.transportUrl.replace(/^rabbit:/, 'amqp:'));
  try {
    const channel = await connection.createConfirmChannel();
    for (const { routingKey, body } of messages) {
      channel.publish('keystone', routingKey, Buffer.from(body), { contentType: 'application/json', contentEncoding: 'utf-8' });
    }
    await channel.waitForConfirms();
  } finally {
    await connection.close();
  }
}

type Entry = Extract<WatchEvent, { kind: 'invalidation' }>;

/** What the journal of each of the sidecars gets while `happening`. */
async function entriesWhile(sidecars: readonly LabSidecar[], happening: () => Promise<void>): Promise<readonly (readonly Entry[])[]> {
  const ending = new AbortController();
  const listening = await Promise.all(sidecars.map((sidecar) => listen(sidecar, ending.signal)));
  await happening();
  ending.abort();
  return await Promise.all(listening.map(({ entries }) => entries));
}

/** Resolves when nothing escapes it any more; its entries, when `signal` ends it. */
async function listen({ client }: LabSidecar, signal: AbortSignal): Promise<{ readonly entries: Promise<readonly Entry[]> }> {
  let opened: () => void = () => undefined;
  const open = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const entries = (async () => {
    const heard: Entry[] = [];
    for await (const event of client.watch({ signal })) {
      if (event.kind === 'opened') opened();
      if (event.kind === 'invalidation') heard.push(event);
    }
    return heard;
  })();
  await open;
  return { entries };
}

/** Resolves when nothing new has been applied for longer than a settle window. */
async function untilSettled({ client }: LabSidecar): Promise<void> {
  let applied = -1;
  await expect
    .poll(
      async () => {
        const before = applied;
        applied = (await client.status()).applied?.revision ?? 0;
        return applied === before;
      },
      { timeout: 60_000, interval: 3000 },
    )
    .toBe(true);
}
