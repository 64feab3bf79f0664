// Keystone's notifications out of RabbitMQ (S10).

import { type AmqpOptions, createAmqp } from '../amqp/amqp.ts';
import type { Clock, DependencyHealth, Logger, NewsSink, NewsSource, SharedQuestion } from '../ports.ts';
import { hearByLooks } from './bus/by-looks.ts';
import { hearByMarkers } from './bus/by-markers.ts';
import { hearInPool } from './bus/by-pool.ts';
import { Continuity } from './bus/continuity.ts';
import { Keeping } from './bus/keeping.ts';
import { Markers } from './bus/markers.ts';
import { Pool } from './bus/pool.ts';
import type { BusPlace } from './bus/queue.ts';
import type { SessionParts } from './bus/session.ts';

/** Where the bus is, and whose ear this is. */
export interface KeystoneBusOptions extends Omit<AmqpOptions, 'connectionName'>, Omit<BusPlace, 'longestQueue'> {
  /** Its issuer, for people. */
  readonly issuer: string;
  /** As `busQueueName` makes it, or `poolQueueName`. */
  readonly queueName: string;
  /** Lag beyond this is degraded. */
  readonly maxLagMs: number;
  /** Messages that may wait in our queue; absent: an hour of fourteen a second, at the broker 100 MB at most. */
  readonly longestQueue?: number;
}

/** What it needs of the world. */
export interface KeystoneBusDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1. */
  readonly random?: () => number;
  /** Where the queue is one of a pool: how who reads it tells the others; and our journal's id. */
  readonly pool?: { readonly shared: SharedQuestion; readonly journalId: string } | undefined;
}

const longestQueue = 50_000;

/** The bus of one Keystone. Opens nothing before it runs. */
export function createKeystoneBus(options: KeystoneBusOptions, deps: KeystoneBusDeps): NewsSource {
  const { clock, random = Math.random } = deps;
  const { issuer, exchange, topics, declareExchange, queueName, maxLagMs } = options;
  const log = withIssuer(deps.log, issuer);
  const amqp = createAmqp({ ...options, connectionName: `sidegate ${issuer}` }, { clock, random, changed: () => tellChange() });
  let keeping: Keeping | undefined;
  /** Of the session that runs. */
  let problem: string | undefined;
  let told: string | undefined;
  const known: SessionParts['known'] = { mayWrite: true, queue: undefined, hears: () => false };
  const pool = deps.pool && new Pool({ clock, random, ...deps.pool });

  function health(): DependencyHealth {
    const { reachable, problem: ofAmqp, ...rest } = amqp.health();
    const worst = problem ?? keeping?.problem ?? ofAmqp;
    return { ...rest, reachable: reachable && problem === undefined, ...(worst !== undefined && { problem: worst }) };
  }

  /** One line a change. */
  function tellChange(): void {
    const now = health().problem;
    if (now === told) return;
    told = now;
    if (now === undefined) log.info({}, 'Keystone’s bus is heard');
    else log.warn({ problem: now }, 'Keystone’s bus is not heard');
  }

  async function run(sink: NewsSink, signal: AbortSignal): Promise<void> {
    const place = { exchange, topics, declareExchange, longestQueue: options.longestQueue ?? longestQueue };
    keeping = new Keeping({ clock, sink, signal, random });
    pool?.shared.listen((question) => {
      pool.heard(question);
      if (question.provenMs !== undefined) sink.proven(question.provenMs, question);
    }, signal);
    const parts: SessionParts = {
      clock,
      log,
      sink,
      place,
      queueName,
      maxLagMs,
      keeping,
      markers: new Markers(),
      continuity: new Continuity(sink),
      known,
      say(now) {
        problem = now;
        tellChange();
      },
    };
    await amqp.run(async (link) => {
      try {
        if (pool) await hearInPool(link, { ...parts, pool });
        else await (known.mayWrite ? hearByMarkers : hearByLooks)(link, parts);
      } finally {
        problem = undefined;
      }
    }, signal);
  }

  return { name: 'bus', run, health, ...(pool && { hearsForAll: () => known.hears() }) };
}

function withIssuer(log: Logger, issuer: string): Logger {
  return {
    debug: (fields, message) => log.debug({ issuer, ...fields }, message),
    info: (fields, message) => log.info({ issuer, ...fields }, message),
    warn: (fields, message) => log.warn({ issuer, ...fields }, message),
    error: (fields, message) => log.error({ issuer, ...fields }, message),
  };
}
