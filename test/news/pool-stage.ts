// Sidecars of one fleet that share one queue at a real broker: the log between them is in memory, everything else is real, and so is time.

import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Channel } from 'amqplib';
import { vi } from 'vitest';
import { revision } from '../../src/core/invalidation.ts';
import { createTagger } from '../../src/core/tag.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { poolQueueName } from '../../src/news/bus/queue.ts';
import { createKeystoneBus } from '../../src/news/keystone-bus.ts';
import type { Journal, NewsSource } from '../../src/ports.ts';
import { Degradations, type DegradedReason } from '../../src/service/degradation.ts';
import { Fleet } from '../../src/service/fleet/fleet.ts';
import { SharedQuestions } from '../../src/service/fleet/shared-questions.ts';
import { Invalidations } from '../../src/service/invalidations.ts';
import { NewsRoom } from '../../src/service/news/news-room.ts';
import { systemClock as clock } from '../../src/sidecar.ts';
import { inClear, text } from '../fakes/amqp.ts';
import { createFakeLog, type FakeEngine, type FakeLog } from '../fakes/engine.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { basicMessage, enveloped } from '../fakes/keystone-messages.ts';
import { createKeystonePublisher, type KeystonePublisher } from '../fakes/keystone-publisher.ts';
import type { Rabbitmq } from '../fakes/rabbitmq.ts';
import { type Relay, startRelay } from '../fakes/relay.ts';
import { createFakeTelemetry, type FakeTelemetry } from '../fakes/telemetry.ts';
import { usualKey } from '../service/road.ts';
import { createBusStage } from './bus-stage.ts';

/** A sidecar that hears the bus for all, or waits to. */
export interface Member {
  readonly name: string;
  readonly bus: NewsSource;
  readonly journal: Journal;
  readonly engine: FakeEngine;
  readonly telemetry: FakeTelemetry;
  /** Its way to the broker. */
  readonly relay: Relay;
  /** Whether RabbitMQ has chosen it. */
  hears(): boolean;
  /** Users whose tokens are dead here by the bus, each as often as an entry says so. */
  killed(): Promise<readonly string[]>;
  /** Entries by which everything is asked about again. */
  gaps(): Promise<readonly string[]>;
  reasons(): readonly DegradedReason[];
  /** Wall clock: everything from before then that the bus had is here; undefined: nothing is known. */
  provenMs(): number | undefined;
  /** As SIGTERM. */
  stop(): Promise<void>;
  /** As SIGKILL: nobody is told anything. */
  kill(): Promise<void>;
  /** As SIGSTOP, seen from outside: nothing comes from it, nothing reaches it, and its connections stand. */
  freeze(): void;
  thaw(): void;
}

/** What a test has. */
export interface PoolStage {
  readonly log: FakeLog;
  readonly queueName: string;
  readonly exchange: string;
  readonly keystone: KeystonePublisher;
  readonly maxLagMs: number;
  start(name: string, options?: { readonly journal?: Journal; readonly user?: string; readonly password?: string }): Promise<Member>;
  /** Those that run. */
  members(): readonly Member[];
  /** Waits until RabbitMQ has chosen one, and all are proven from a moment that is to come. */
  heard(): Promise<Member>;
  /** Users are deleted; answers their ids. */
  deleted(count?: number): Promise<string[]>;
  /** Waits until each of these is dead on all that run. */
  dead(users: readonly string[]): Promise<void>;
  until(condition: () => boolean | Promise<boolean>, what: string): Promise<void>;
  operator(): Promise<Channel>;
  /** Messages that wait in the queue, unread. */
  ready(): Promise<number>;
  close(): Promise<void>;
}

const patienceMs = 120_000;

/** Nobody is there yet. */
export function createPoolStage(rabbitmq: Rabbitmq, { maxLagMs = 6_000, longestQueue = 50_000, vhost = '/' } = {}): PoolStage {
  const exchange = `keystone-${randomBytes(4).toString('hex')}`;
  const queueName = poolQueueName({ pool: `test-${randomBytes(4).toString('hex')}`, issuer: 'central' });
  const keystone = createKeystonePublisher(rabbitmq, { exchange, vhost });
  const own = createBusStage(rabbitmq, { vhost });
  const log = createFakeLog(clock);
  const { issuer } = createFakeIssuer({ name: 'central' });
  const members = new Set<Member>();
  let users = 0;

  const start: PoolStage['start'] = async (name, options = {}) => {
    const { journal = createMemoryJournal({ clock }), user, password } = { user: rabbitmq.user, password: rabbitmq.password, ...options };
    const telemetry = createFakeTelemetry();
    const relay = await startRelay(rabbitmq.port);
    const tagger = createTagger([usualKey]);
    const times = { settleMs: 200, wideWindowMs: 1_000, factsLifeMs: 302_000, refreshLifeMs: 602_000 };
    const invalidations = new Invalidations({ journal, tagger, clock, telemetry, ...times, ring: 64 });
    await invalidations.load();
    const degradations = new Degradations({ clock, telemetry, maxLagMs });
    const questions = new SharedQuestions({ clock, skewMs: 2_000, maxLagMs });
    const transportUrl = text(`rabbit://${user}:${password}@127.0.0.1:${relay.port}/${encodeURIComponent(vhost)}`);
    const place = { exchange, topics: ['notifications'], declareExchange: 'never' as const, longestQueue };
    const pool = { shared: questions.of('central', 'bus'), journalId: journal.id };
    const bus = createKeystoneBus(
      { issuer: 'central', transportUrl, tls: inClear, ...place, queueName, maxLagMs },
      { clock, log: telemetry.log, pool },
    );
    const end = new AbortController();
    setMaxListeners(0, end.signal);
    const news = new NewsRoom([{ issuer, sources: [bus] }], {
      invalidations,
      degradations,
      notes: journal,
      clock,
      telemetry,
      random: Math.random,
      ...times,
      skewMs: 2_000,
      clockRead: () => undefined,
      toldAll: (signal) => questions.told(signal),
      stop: end.signal,
    });
    const engine = log.engine();
    const fleet = new Fleet({
      engine,
      name,
      journal,
      invalidations,
      degradations,
      issuers: [issuer],
      tagger,
      keys: [usualKey],
      skewMs: 2_000,
      ignoredKeys: [],
      clock,
      telemetry,
      random: Math.random,
      maxLagMs,
      wideWindowMs: times.wideWindowMs,
      refreshLifeMs: times.refreshLifeMs,
      questions,
      heard: (entry) => news.heardOf(entry),
      retentionMs: 86_400_000,
      stop: end.signal,
    });
    await fleet.load();
    const following = new AbortController();
    const running = Promise.all([fleet.run(end.signal), news.run(), invalidations.run(following.signal)]);
    const over = async (): Promise<void> => {
      members.delete(member);
      end.abort();
      following.abort();
      await running;
      await relay.close();
    };
    const entries = async () => (await journal.read(revision(0), 100_000)).map(({ entry }) => entry);
    const member: Member = {
      name,
      bus,
      journal,
      engine,
      telemetry,
      relay,
      hears: () => bus.hearsForAll?.() ?? false,
      async killed() {
        const killing = (await entries()).filter(({ effect, origin }) => effect === 'REVOKE' && origin.source === 'central/bus');
        return killing.flatMap(({ selector }) => (selector.kind === 'fit' ? selector.conditions.map(({ value }) => value) : []));
      },
      async gaps() {
        return (await entries()).flatMap(({ origin: { event } }) => (event?.startsWith('gap: ') ? [event.slice('gap: '.length)] : []));
      },
      reasons: () => degradations.by('central'),
      provenMs: () => degradations.sources().find((source) => source.name === 'bus')?.lastAliveAtMs,
      async stop() {
        engine.thaw();
        relay.thaw();
        await over();
      },
      async kill() {
        engine.freeze();
        relay.cut();
        relay.refuse();
        const ended = over();
        // It is not there any more, and writes nothing: what waits for the log in vain is only let go.
        engine.thaw();
        await ended;
      },
      freeze() {
        engine.freeze();
        relay.freeze();
      },
      thaw() {
        engine.thaw();
        relay.thaw();
      },
    };
    members.add(member);
    return member;
  };

  const until: PoolStage['until'] = (condition, what) =>
    vi.waitFor(
      async () => {
        if (!(await condition())) {
          const states = [...members].map(
            (one) => `${one.name}${one.hears() ? ' reads' : ''}: ${one.reasons().join(' ')} ${one.bus.health().problem ?? ''}`,
          );
          throw new Error(`it has not come to this: ${what}; ${states.join('; ')}`);
        }
      },
      { timeout: patienceMs, interval: 20 },
    );

  return {
    log,
    queueName,
    exchange,
    keystone,
    maxLagMs,
    start,
    members: () => [...members],
    async heard() {
      const fromMs = clock.nowMs();
      await until(() => [...members].every((one) => (one.provenMs() ?? 0) > fromMs), 'all are proven');
      const reading = [...members].filter((one) => one.hears());
      const [only, more] = reading;
      if (only === undefined || more !== undefined) throw new Error(`${reading.length} read the queue`);
      return only;
    },
    async deleted(count = 1) {
      const ids = Array.from({ length: count }, () => {
        users += 1;
        return `user-${users}`;
      });
      await keystone.publish(...ids.map((id) => enveloped(basicMessage('identity.user.deleted', id))));
      return ids;
    },
    async dead(ids) {
      const all = async (one: Member): Promise<boolean> => {
        const killed = new Set(await one.killed());
        return ids.every((id) => killed.has(id));
      };
      await until(async () => (await Promise.all([...members].map(all))).every(Boolean), 'all are dead everywhere');
    },
    until,
    operator: () => own.operator(),
    ready: async () => (await (await own.operator()).checkQueue(queueName)).messageCount,
    async close() {
      log.start();
      await Promise.all([...members].map((one) => one.stop()));
      await keystone.close();
      await own.close();
    },
  };
}
