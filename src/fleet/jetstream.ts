// NATS JetStream as a fleet's log: one stream with one subject, on file, kept by age.

import { lookup as systemLookup } from 'node:dns';
import { oneAtATime } from '../amqp/amqp.ts';
import { backoff } from '../core/backoff.ts';
import type { Clock, DependencyHealth, Engine, LogLink } from '../ports.ts';
import { connectToNats, type JetstreamConnection, type NatsIdentity } from './jetstream-connection.ts';
import { noLog } from './jetstream-error.ts';
import { createJetstreamLink } from './jetstream-link.ts';
import { findStream } from './jetstream-stream.ts';

/** Where the log is, and how it is to be kept. */
export interface JetstreamOptions extends NatsIdentity {
  /** `nats://host:port` or `tls://host:port`, at least one; port 4222 where none is named. Of one cluster. */
  readonly servers: readonly string[];
  /** Its name, without spaces, dots and wildcards. Its one subject is `<stream>.entries`. */
  readonly stream: string;
  readonly retentionMs: number;
  /** More than one needs a cluster. */
  readonly replicas: number;
}

/** What it needs of the world. */
export interface JetstreamDeps {
  readonly clock: Clock;
  /** From 0 to below 1: which server is first, and how long is waited. */
  readonly random?: () => number;
}

/** Short, as nothing is heard meanwhile; a thousand sidecars that come back within it are a hundred connections a second. */
const pauses = { firstMs: 500, longestMs: 10_000 } as const;

/**
 * The log in a stream, which is made where it is missing. One that is there is used as it is; where it is kept otherwise than configured,
 * `health` says so. Positions are the stream's sequence numbers.
 *
 * JetStream confirms a record before its disk has it for sure (it syncs every two minutes). Where a power cut must not take confirmed
 * records along, have three replicas in zones that do not fail together, or, from server 2.10 on, `sync_interval: always` in its
 * configuration. What is lost all the same is noticed by who reads, and published again from the journals.
 *
 * Its user needs to publish to `<stream>.entries` and `$JS.API.>` (of the stream: STREAM.INFO and STREAM.CREATE, CONSUMER.CREATE,
 * CONSUMER.MSG.NEXT and CONSUMER.DELETE), and to subscribe to `_INBOX.>`. Connects to nothing before `run`.
 */
export function createJetstream(options: JetstreamOptions, deps: JetstreamDeps): Engine {
  const { clock, random = Math.random } = deps;
  const subject = `${options.stream}.entries`;
  let isStanding = false;
  let problem: string | undefined = 'not connected yet';
  /** Why records are not taken, as the server says. */
  let refusal: string | undefined;
  let lastAnswerAtMs: number | undefined;
  /** Which server is next, whatever their number. */
  let turn = Math.floor(random() * 0x10000);
  let failures = 0;
  const lookup = oneAtATime(systemLookup);

  const heard = (): void => {
    lastAnswerAtMs = clock.nowMs();
  };

  async function once(session: (link: LogLink) => Promise<void>, signal: AbortSignal): Promise<void> {
    const connection = await connectSomewhere(signal);
    const leave = (): void => connection.leave();
    signal.addEventListener('abort', leave, { once: true });
    try {
      if (signal.aborted) return;
      const remark = await findStream(connection, { ...options, name: options.stream, subject });
      heard();
      problem = remark;
      refusal = undefined;
      isStanding = true;
      // As the connection is over when somebody notices, so is its log.
      connection.signal.addEventListener('abort', () => ended(connection.signal.reason), { once: true });
      const stoodSinceMs = clock.monotonicMs();
      await session(createJetstreamLink(partsOf(connection))).finally(() => {
        if (clock.monotonicMs() - stoodSinceMs >= pauses.longestMs) failures = 0;
      });
      connection.signal.throwIfAborted();
    } catch (error) {
      // Whatever failed because the connection had ended says less than why it had.
      throw connection.signal.aborted ? connection.signal.reason : error;
    } finally {
      signal.removeEventListener('abort', leave);
      connection.leave();
    }
  }

  const ended = (reason: unknown): void => {
    isStanding = false;
    refusal = undefined;
    problem = reason instanceof Error ? reason.message : 'unknown';
  };
  const partsOf = (connection: JetstreamConnection) => ({
    connection,
    clock,
    stream: options.stream,
    subject,
    heard,
    taken: (words: string | undefined): void => {
      refusal = words;
    },
  });

  async function connectSomewhere(signal: AbortSignal): Promise<JetstreamConnection> {
    const { servers } = options;
    for (let left = servers.length; ; left -= 1) {
      const server = servers[turn % servers.length];
      turn += 1;
      if (server === undefined) throw noLog('no NATS server is named');
      try {
        return await connectToNats(server, options, { clock, lookup, signal });
      } catch (error) {
        if (left <= 1 || signal.aborted) throw error;
      }
    }
  }

  return {
    name: 'jetstream',
    async run(session, signal) {
      while (!signal.aborted) {
        try {
          await once(session, signal);
          ended(noLog('the log was left'));
        } catch (error) {
          ended(error);
        }
        failures += 1;
        // Rejects at the end, which the loop sees.
        await clock.delay(backoff(pauses, failures, random), signal).catch(() => undefined);
      }
    },
    health(): DependencyHealth {
      const said = refusal ?? problem;
      return {
        reachable: isStanding && refusal === undefined,
        ...(said !== undefined && { problem: said }),
        ...(lastAnswerAtMs !== undefined && { lastAnswerAtMs }),
      };
    },
  };
}
