// Reading a stream from a position on: pulled, so that no more comes than there is room for.

import type { ConsumerConfig } from '@nats-io/jetstream';
import type { Clock, LogRecord } from '../ports.ts';
import type { JetstreamConnection } from './jetstream-connection.ts';
import { noLog } from './jetstream-error.ts';
import { heartbeatMs, Pulling } from './jetstream-pulling.ts';

/** What is read, and by whom. */
export interface ReadingParts {
  readonly connection: JetstreamConnection;
  readonly clock: Clock;
  readonly stream: string;
  /** Somebody has answered. */
  readonly heard: () => void;
}

/** The server forgets who has asked nothing for so long. */
const forgottenMs = 30_000;
const nanosecondsPerMs = 1_000_000;

/**
 * Reads until `stop` aborts, and resolves then; rejects with the reason of the connection's end, or of `take`.
 *
 * The server's side of it is made for this connection and begins at `from`: one that outlives a connection was seen to go on giving nothing
 * after the server had been started again. Nothing is acknowledged; records are counted, and a missing one is the end of the connection.
 */
export async function readStream(
  { connection, clock, stream, heard }: ReadingParts,
  from: number | undefined,
  take: (batch: readonly LogRecord[]) => Promise<void>,
  stop: AbortSignal,
): Promise<void> {
  const { nats, manager, server } = connection;
  const { createInbox, nuid } = await import('@nats-io/transport-node');
  const ended = AbortSignal.any([stop, connection.signal]);
  const consumer = `sidegate-${nuid.next()}`;
  const inbox = createInbox();
  const pulling = new Pulling(inbox, from ?? 0);

  let wake = (): void => undefined;
  const awoken = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      if (ended.aborted) resolve();
    });
  const end = (): void => wake();
  ended.addEventListener('abort', end, { once: true });

  const judge = (fault: string | undefined): void => {
    if (fault !== undefined) connection.fail(noLog(`${server} ${fault}`));
  };
  const ask = (): void => {
    const request = pulling.next();
    if (request !== undefined) nats.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, request, { reply: inbox });
  };
  const look = async (): Promise<void> => {
    while (!ended.aborted) {
      // Rejects at the end, which the loop sees.
      await clock.delay(heartbeatMs, ended).catch(() => undefined);
      judge(pulling.look());
    }
  };

  let subscription: { unsubscribe(): void } | undefined;
  try {
    ended.throwIfAborted();
    subscription = nats.subscribe(inbox, {
      callback: (error, message) => {
        // What is refused is the end of the connection, which says so itself.
        if (error) return;
        heard();
        judge(pulling.receive(message));
        wake();
      },
    });
    await connection.ask(manager.consumers.add(stream, consumerOf(consumer, from)));
    look();
    await take([]);
    while (!ended.aborted) {
      const batch = pulling.arrived();
      // The next ones come while these are taken.
      ask();
      if (batch.length === 0) await awoken();
      else await take(batch);
    }
    ended.throwIfAborted();
  } catch (error) {
    if (stop.aborted) return;
    throw connection.signal.aborted ? connection.signal.reason : error;
  } finally {
    ended.removeEventListener('abort', end);
    if (!connection.signal.aborted) {
      subscription?.unsubscribe();
      // Nobody waits for it: where it fails the server forgets it by itself.
      manager.consumers.delete(stream, consumer).catch((_error: unknown) => undefined);
    }
  }
}

function consumerOf(name: string, from: number | undefined): ConsumerConfig {
  return {
    name,
    ack_policy: 'none',
    replay_policy: 'instant',
    inactive_threshold: forgottenMs * nanosecondsPerMs,
    mem_storage: true,
    num_replicas: 1,
    ...(from === undefined || from === 0 ? { deliver_policy: 'all' } : { deliver_policy: 'by_start_sequence', opt_start_seq: from }),
  };
}
