// Keystone's bus: a RabbitMQ of its own, and who publishes there as Keystone does, for as long as it takes.

import { setTimeout as pause } from 'node:timers/promises';
import { type ConfirmChannel, connect } from 'amqplib';
import { entryIdOf } from '../../src/core/entry-id.ts';
import { readKeystoneMessage } from '../../src/news/keystone-envelope.ts';
import { readRevocationEvent } from '../../src/news/revocation-event.ts';
import { basicMessage, captured, enveloped, innerOf, published } from '../../test/fakes/keystone-messages.ts';
import { type RabbitmqProcess, startRabbitmqProcess } from '../../test/fakes/rabbitmq-process.ts';
import { everybodys } from '../servers/keystone-body.ts';

/** The running bus. */
export interface Bus {
  readonly broker: RabbitmqProcess;
  /**
   * Publishes a body, after those before it; resolves when the broker has confirmed it. Where it does not, the same is published again, as
   * Keystone does with `retry = -1`. Rejects when it has not within a minute and a half, or the bus is closed first.
   */
  publish(body: string): Promise<void>;
  close(): Promise<void>;
}

/** Of one try: a broker that hangs is asked again over another connection. */
const tryMs = 2_000;
const pauseMs = 100;
const giveUpMs = 90_000;

/** Starts it, with the exchange that Keystone makes. */
export async function startBus(): Promise<Bus> {
  const broker = await startRabbitmqProcess();
  const over = new AbortController();
  let open: { readonly channel: ConfirmChannel; close(): void } | undefined;
  let last: Promise<unknown> = Promise.resolve();

  async function channel(): Promise<ConfirmChannel> {
    if (open !== undefined) return open.channel;
    const model = await connect(broker.transportUrl.replace(/^rabbit:/, 'amqp:'), { noDelay: true });
    const mine = { channel: await model.createConfirmChannel(), close: () => void model.close().catch(() => undefined) };
    const forget = (): void => {
      if (open === mine) open = undefined;
    };
    for (const one of [model, mine.channel]) {
      // Its close follows.
      one.on('error', () => undefined);
      one.on('close', forget);
    }
    open = mine;
    return mine.channel;
  }

  async function once(body: string | undefined): Promise<void> {
    const at = await channel();
    // For each message, as oslo.messaging does: it may have gone with the broker.
    await at.assertExchange(published.exchange, 'topic', { durable: false });
    if (body === undefined) return;
    const { content_type: contentType, content_encoding: contentEncoding, delivery_mode: deliveryMode } = published.properties;
    await new Promise<void>((resolve, reject) => {
      const done = (error: unknown): void => (error ? reject(error) : resolve());
      at.publish(published.exchange, published.routingKey, Buffer.from(body), { contentType, contentEncoding, deliveryMode }, done);
    });
  }

  async function surely(body: string | undefined): Promise<void> {
    const untilMs = performance.now() + giveUpMs;
    while (!over.signal.aborted && performance.now() < untilMs) {
      try {
        return await inTime(once(body), over.signal);
      } catch (_notThere) {
        // Whatever it was: the broker is away, or hangs.
        open?.close();
        open = undefined;
        await pause(pauseMs);
      }
    }
    throw new Error('the bus has not taken the message');
  }

  try {
    await surely(undefined);
  } catch (error) {
    await broker.close();
    throw error;
  }
  return {
    broker,
    publish(body) {
      const mine = last.then(() => surely(body));
      last = mine.catch(() => undefined);
      return mine;
    },
    async close() {
      over.abort();
      await last;
      open?.close();
      await broker.close();
    },
  };
}

/** As `work`, which is left alone where it takes too long or `signal` aborts. */
async function inTime(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(tryMs)]);
  let left = (): void => undefined;
  const late = new Promise<never>((_, reject) => {
    left = () => reject(new Error(`the bus has not answered within ${tryMs} ms`));
    limit.addEventListener('abort', left);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    limit.removeEventListener('abort', left);
  }
}

/** What Keystone tells of the end of a user's tokens. */
export interface Announcement {
  /** As it publishes it. */
  readonly body: string;
  /** As it lists it; absent: the message alone tells. */
  readonly row?: Readonly<Record<string, unknown>>;
  /** By which of them ends here is known: whichever comes first. None where there is nothing but a question to be asked again. */
  readonly entryIds: readonly string[];
}

/** The user is deleted, at `atMs`: announced and listed, by name, so that nobody has to be asked. */
export function userDeleted(issuer: string, userId: string, atMs: number): Announcement {
  const body = enveloped(basicMessage('identity.user.deleted', userId, atMs));
  const second = new Date(Math.floor(atMs / 1000) * 1000).toISOString().replace('.000Z', '.000000Z');
  const row = { user_id: userId, issued_before: second, revoked_at: second };
  const told = [readKeystoneMessage(Buffer.from(body)), readRevocationEvent(row, atMs)];
  const entryIds = told.flatMap((one) =>
    one === undefined ? [] : [entryIdOf({ caller: `news/${issuer}`, requestId: `${one.id} 0` }, one.atMs)],
  );
  return { body, row, entryIds };
}

/** Everybody's project has lost the user, at `atMs`: that is announced alone, and says no more than that Keystone is to be asked. */
export function roleTaken(userId: string, atMs: number): Announcement {
  const [sent = ''] = captured('basic', 'role_revoke_user_project_last').bodies;
  const { payload, ...message } = innerOf(sent);
  const { message_id, _unique_id, timestamp } = basicMessage('', userId, atMs);
  const told = { ...(payload as object), user: userId, project: everybodys.projectId };
  return { body: enveloped({ ...message, message_id, _unique_id, timestamp, payload: told }), entryIds: [] };
}
