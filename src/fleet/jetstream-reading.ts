// Reading a stream from a position on: pulled, so that no more comes than there is room for.

import type { Message } from '@nats-io/transport-node';
import type { Clock, LogRecord } from '../ports.ts';
import type { JetstreamConnection } from './jetstream-connection.ts';
import { noLog } from './jetstream-error.ts';

/** What is read, and by whom. */
export interface ReadingParts {
  readonly connection: JetstreamConnection;
  readonly clock: Clock;
  readonly stream: string;
  /** Somebody has answered. */
  readonly heard: () => void;
}

/** One pull: twice as much may be held, with what is being taken. */
const mostRecords = 500;
const mostBytes = 4 << 20;
/** Then the server says that there was no more, and we ask again. */
const pullMs = 30_000;
const heartbeatMs = 1_000;
/** Looks, one each heartbeat, that find nothing: counted, as a process that was stopped is late and not deaf. */
const mostSilentLooks = 4;
/** The server forgets who has asked nothing for so long. */
const forgottenMs = 30_000;
const nanosecondsPerMs = 1_000_000;

/** Statuses in place of a record, by NATS' own numbers. */
const heartbeat = 100;
const nothing = 404;
const over = 408;
const conflict = 409;

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
  const pullSubject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;

  let arrived: LogRecord[] = [];
  let delivered = 0;
  let pull: { records: number; bytes: number; isFresh: boolean } | undefined;
  let isAlone = false;
  let silentLooks = 0;
  let wake = (): void => undefined;

  const status = (code: number, words: string): void => {
    if (code === heartbeat) return;
    const isTooLarge = code === conflict && words.includes('maxbytes');
    if (code !== nothing && code !== over && !isTooLarge) {
      connection.fail(noLog(`${server} has ended the reading (${code}): the stream was deleted, or is kept elsewhere now`));
      return;
    }
    // What is larger than a whole pull is asked for alone.
    isAlone = isTooLarge && (pull?.isFresh ?? false);
    pull = undefined;
    wake();
  };
  const receive = (message: Message): void => {
    silentLooks = 0;
    heard();
    if (message.subject === inbox) {
      status(message.headers?.code ?? 0, message.headers?.description.toLowerCase() ?? '');
      return;
    }
    const { position, delivery } = placeOf(message.reply ?? '');
    delivered += 1;
    if (delivery !== delivered || !Number.isSafeInteger(position)) {
      connection.fail(noLog(`a record of ${server} was lost on its way`));
      return;
    }
    // The server begins with the next one where nothing is at `from` yet.
    if (position >= (from ?? 0)) arrived.push({ position, bytes: message.data });
    if (pull !== undefined) {
      pull.isFresh = false;
      pull.records -= 1;
      pull.bytes -= message.size();
      if (pull.records === 0 || pull.bytes <= 0) pull = undefined;
    }
    wake();
  };
  const ask = (): void => {
    pull = isAlone
      ? { records: 1, bytes: Number.POSITIVE_INFINITY, isFresh: true }
      : { records: mostRecords, bytes: mostBytes, isFresh: true };
    silentLooks = 0;
    const request = {
      batch: pull.records,
      ...(!isAlone && { max_bytes: mostBytes }),
      expires: pullMs * nanosecondsPerMs,
      idle_heartbeat: heartbeatMs * nanosecondsPerMs,
    };
    isAlone = false;
    nats.publish(pullSubject, JSON.stringify(request), { reply: inbox });
  };
  const listen = async (): Promise<void> => {
    while (!ended.aborted) {
      // Rejects at the end, which the loop sees.
      await clock.delay(heartbeatMs, ended).catch(() => undefined);
      if (pull === undefined || ended.aborted) continue;
      silentLooks += 1;
      if (silentLooks > mostSilentLooks) connection.fail(noLog(`${server} gives no records, and no sign of life, to who reads`));
    }
  };
  const awoken = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      if (ended.aborted) resolve();
    });

  const end = (): void => wake();
  ended.addEventListener('abort', end, { once: true });
  const subscription = nats.subscribe(inbox, { callback: (error, message) => (error ? undefined : receive(message)) });
  try {
    ended.throwIfAborted();
    const config = {
      name: consumer,
      ack_policy: 'none',
      replay_policy: 'instant',
      inactive_threshold: forgottenMs * nanosecondsPerMs,
      mem_storage: true,
      num_replicas: 1,
      ...(from === undefined || from === 0
        ? { deliver_policy: 'all' as const }
        : { deliver_policy: 'by_start_sequence' as const, opt_start_seq: from }),
    } as const;
    await connection.ask(manager.consumers.add(stream, config));
    listen();
    while (!ended.aborted) {
      if (pull === undefined) ask();
      if (arrived.length === 0) {
        await awoken();
        continue;
      }
      const batch = arrived;
      arrived = [];
      if (pull === undefined) ask();
      await take(batch);
    }
    ended.throwIfAborted();
  } catch (error) {
    if (stop.aborted) return;
    throw connection.signal.aborted ? connection.signal.reason : error;
  } finally {
    ended.removeEventListener('abort', end);
    if (!connection.signal.aborted) {
      subscription.unsubscribe();
      // Nobody waits for it: where it fails the server forgets it by itself.
      manager.consumers.delete(stream, consumer).catch((_error: unknown) => undefined);
    }
  }
}

/** A record comes with the subject that it would be acknowledged on, `$JS.ACK.….<position>.<delivery>.<time>.<pending>`, in two forms. */
function placeOf(reply: string): { readonly position: number; readonly delivery: number } {
  const parts = reply.split('.');
  const at = parts.length < 11 ? 5 : 7;
  return { position: Number(parts[at]), delivery: Number(parts[at + 1]) };
}
