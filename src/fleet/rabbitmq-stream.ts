// A fleet's log as a RabbitMQ stream, over AMQP 0.9.1.

import { type AmqpOptions, createAmqp } from '../amqp/amqp.ts';
import type { AmqpLink } from '../amqp/amqp-link.ts';
import type { Clock, DependencyHealth, Engine, Logger, LogLink } from '../ports.ts';
import { Appends } from './rabbitmq-appends.ts';
import { ensureStream, ensureUse } from './rabbitmq-place.ts';
import { readStream } from './rabbitmq-reading.ts';

/** Where the stream is, and how it is made where it is not. */
export interface RabbitmqStreamOptions extends AmqpOptions {
  /** Its name: all sidecars of a fleet have the same one. */
  readonly stream: string;
  /** For at least so long each record is kept; in whole seconds, rounded up. */
  readonly retentionMs: number;
  /** RabbitMQ drops whole segments, and only when the next one begins: so much more may be kept. Absent: 16 MiB. */
  readonly segmentBytes?: number;
}

/** What it needs of the world. */
export interface RabbitmqStreamDeps {
  readonly clock: Clock;
  readonly log?: Logger;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

/** Small enough that what is old is dropped soon, large enough that a busy fleet's day is some thousand files. */
const usualSegmentBytes = 16 * 1_024 * 1_024;

/** A log in RabbitMQ. Opens nothing before it runs. */
export function createRabbitmqStream(options: RabbitmqStreamOptions, deps: RabbitmqStreamDeps): Engine {
  const { clock, log, random = Math.random } = deps;
  const { stream } = options;
  const place = { stream, retentionMs: options.retentionMs, segmentBytes: options.segmentBytes ?? usualSegmentBytes };
  const amqp = createAmqp(options, { clock, random, changed: () => tellChange() });
  /** The connection that is published over; undefined: none stands. */
  let publishing: AmqpLink | undefined;
  /** What is not as wanted of a stream that can be used. */
  let flaw: string | undefined;
  let told: string | undefined;
  let wanted: AbortSignal | undefined;

  function health(): DependencyHealth {
    const { reachable, problem: ofAmqp, ...rest } = amqp.health();
    const ofBlock = publishing?.isBlocked ? 'RabbitMQ has blocked who publishes: it is short of memory or disk' : undefined;
    const problem = ofAmqp ?? ofBlock ?? flaw;
    return { ...rest, reachable: reachable && ofBlock === undefined, ...(problem !== undefined && { problem }) };
  }

  /** One line a change; none about the end that is wanted. */
  function tellChange(): void {
    if (wanted?.aborted) return;
    const { reachable, problem } = health();
    const now = problem ?? '';
    if (now === told) return;
    told = now;
    if (problem === undefined) log?.info({ stream }, 'the fleet’s log is at hand');
    else log?.warn({ stream, problem }, reachable ? 'the fleet’s log is not as it should be' : 'the fleet’s log is away');
  }

  /** Two connections: one that is read from slowly, or that is blocked, must not hold up the other. */
  async function once(reading: AmqpLink, session: (link: LogLink) => Promise<void>): Promise<void> {
    const link = await reading.another('publishing');
    const followed = (): void => reading.fail(link.signal.reason);
    try {
      link.signal.addEventListener('abort', followed, { once: true });
      link.signal.throwIfAborted();
      const found = await ensureStream(reading, place);
      const publisher = await link.publisher();
      await ensureUse({ reading, publishing: link, publisher, stream });
      publishing = link;
      flaw = found;
      reading.works();
      const appends = new Appends({ clock, link, publisher, stream, signal: reading.signal });
      await session({
        signal: reading.signal,
        async append(bytes) {
          await appends.append(bytes);
          if (!reading.signal.aborted) reading.works();
        },
        read: (from, take, signal) => readStream(reading, { stream, from }, take, signal),
      });
    } finally {
      publishing = undefined;
      flaw = undefined;
      // Whatever the session ended for is why this one ends, and not the other way round.
      link.signal.removeEventListener('abort', followed);
      await link.close();
    }
  }

  return {
    name: 'rabbitmq',
    run(session, signal) {
      wanted = signal;
      return amqp.run((reading) => once(reading, session), signal);
    },
    health,
  };
}
