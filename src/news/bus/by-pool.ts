// How the bus is heard by many sidecars that share one queue: RabbitMQ gives it to one of them, who tells the log of all.

import { randomBytes } from 'node:crypto';
import { AmqpError } from '../../amqp/amqp-error.ts';
import type { AmqpLink } from '../../amqp/amqp-link.ts';
import type { Publisher } from '../../amqp/publisher.ts';
import { Continuity } from './continuity.ts';
import { Markers, type Sent } from './markers.ts';
import type { Pool } from './pool.ts';
import { PoolReader } from './pool-reader.ts';
import { bindQueue, durableQueue, type FoundQueue, isMissing, markerKeyOf, unbindQueue, waitingIn } from './queue.ts';
import { lostAfterMs, proofEveryMs, type SessionParts } from './session.ts';

/** What a session in a pool needs. */
export type PooledParts = Omit<SessionParts, 'markers' | 'continuity'> & { readonly pool: Pool };

/** Messages that are told at once: more wait in the broker, where the next one finds them. */
const pooledPrefetch = 16;
/** Between two looks of who waits, at nothing outside of this process. */
const waitMs = 250;
/** Who cannot get told what has come leaves it to others, after two `max_lag` at least: a message may wait for four settle windows. */
const longestTellingMs = 45_000;

/** Until `link` ends. */
export async function hearInPool(link: AmqpLink, parts: PooledParts): Promise<void> {
  const { clock, log, place, queueName, pool, known, say } = parts;
  // Whoever could not tell what he reads would keep it from those who can.
  for (let problem = whyNot(parts); problem !== undefined; problem = whyNot(parts)) {
    say(problem);
    await clock.delay(waitMs, link.signal);
  }
  say(undefined);
  const queue = await durableQueue(link, queueName, place.longestQueue);
  const isOther = known.queue !== undefined && known.queue !== queue.name;
  known.queue = queue.name;
  pool.begin(!queue.wasThere);
  const session = new PooledSession(link, parts, { ...queue, isOther });
  known.hears = () => session.hears && !link.signal.aborted;
  await link.consume(queue.name, pooledPrefetch, (delivery, acknowledge) => session.reader.take(delivery, acknowledge));
  link.works();
  log.info({ server: link.server, queue: queue.name, exchange: place.exchange }, 'sharing Keystone’s bus with others');
  let hasSaid = false;
  for (;;) {
    const problem = whyNot(parts);
    if (problem !== undefined) throw new AmqpError(problem);
    if (session.hears && !hasSaid) {
      log.info({ server: link.server, queue: queue.name }, 'reading Keystone’s bus for all who share it');
      hasSaid = true;
    }
    await (session.hears ? session.round() : session.wait());
    await clock.delay(session.hears ? proofEveryMs : waitMs, link.signal);
  }
}

function whyNot({ keeping, pool }: PooledParts): string | undefined {
  if (!pool.shared.isCurrent()) return 'the log of the fleet is behind: its queue is left to others';
  return keeping.problem;
}

class PooledSession {
  readonly reader: PoolReader;
  readonly #link: AmqpLink;
  readonly #parts: PooledParts;
  readonly #queue: string;
  readonly #continuity: Continuity;
  readonly #markers = new Markers();
  /** With this key anybody may ask whether anybody reads. It is bound by whoever finds it unbound, and proves nothing. */
  readonly #askKey: string;
  /** Markers that were sent and have not come back. */
  readonly #underWay = new Map<number, Sent>();
  /** How all are told of those that are not proven yet. */
  readonly #telling = new Map<number, () => void>();
  #publisher: Promise<Publisher> | undefined;
  #bindings: number;
  /** Of our markers. It is bound after the topics, and another one each time that they may have been gone: the one before shows that. */
  #markerKey: string | undefined;
  /** Of what stands first and proves nothing: it may be bound still. */
  #oldKey: string | undefined;
  /** Monotonic: when we could last tell all that it is proven; undefined: nobody could. */
  #provenMs: number | undefined;
  #isKnownFull: boolean;

  constructor(link: AmqpLink, parts: PooledParts, { name, ready, isOther }: FoundQueue & { readonly isOther: boolean }) {
    const { sink, place, pool } = parts;
    this.#link = link;
    this.#parts = parts;
    this.#queue = name;
    this.#continuity = new Continuity(sink);
    this.#askKey = markerKeyOf(name, place);
    this.#bindings = this.#markers.newBindings();
    this.#isKnownFull = ready >= place.longestQueue;
    this.reader = new PoolReader({
      ...parts,
      markers: this.#markers,
      continuity: this.#continuity,
      keyPrefix: `${this.#askKey}.`,
      isKnown: (journal) => !isOther && ready < place.longestQueue && pool.shared.hasTold(journal),
      found: ({ markerKey, isProven }) => {
        if (isProven) this.#markerKey = markerKey;
        else this.#oldKey = markerKey;
      },
      arrived: (sent) => this.#arrived(sent),
      proven: (sent) => this.#proven(sent),
      fail: (error) => link.fail(error),
    });
  }

  /** RabbitMQ has chosen us. */
  get hears(): boolean {
    return this.reader.hasRead;
  }

  /** While another one is chosen, or nobody has anything to read. */
  async wait(): Promise<void> {
    const { clock, pool, place, maxLagMs, say } = this.#parts;
    const isHeard = (): boolean => clock.monotonicMs() - pool.heardMs <= maxLagMs;
    if (isHeard()) say(undefined);
    if (!pool.isSilent || this.#link.isBlocked) return;
    try {
      if ((await this.#publish(this.#askKey, `${randomBytes(12).toString('hex')}.0`)) === 'returned') {
        // Nobody is bound. What shows that to whoever reads is another key.
        await bindQueue(this.#link, this.#queue, place, this.#askKey);
        return;
      }
      pool.tried();
      say(isHeard() || this.hears ? undefined : 'nobody tells what has come to the queue that is shared');
    } catch (error) {
      if (!isMissing(error)) throw error;
      pool.begin(false);
      say(`the exchange ${place.exchange} is not there`);
    }
  }

  /** One marker; and what follows from what has become of those before it. */
  async round(): Promise<void> {
    const { clock, place, say, maxLagMs } = this.#parts;
    // Keystone is blocked as we are, so nothing comes that a marker could prove.
    if (this.#link.isBlocked) {
      this.#provenMs = undefined;
      return;
    }
    this.#provenMs ??= clock.monotonicMs();
    if (clock.monotonicMs() - this.#provenMs > Math.max(longestTellingMs, 2 * maxLagMs)) {
      throw new AmqpError('what came out of its queue is not kept: it is left to others');
    }
    try {
      if ((await this.#send()) === 'returned') {
        await this.#lose('its bindings were gone');
        await this.#send();
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
      // Keystone makes it when it has something to say.
      await this.#lose('the exchange was gone');
      this.#provenMs = undefined;
      say(`the exchange ${place.exchange} is not there`);
      return;
    }
    say(undefined);
    await this.#look();
  }

  async #send(): Promise<'routed' | 'returned'> {
    const { clock, pool, sink } = this.#parts;
    const markerKey = await this.#bound();
    const tellAll = pool.shared.begin();
    const nowMs = clock.nowMs();
    const signature = { by: pool.journalId, isWhole: this.#continuity.isWhole };
    const sent = this.#markers.next(clock.monotonicMs(), this.#bindings, signature);
    // It may come back before we hear that it was taken.
    this.#underWay.set(sent.number, sent);
    this.#telling.set(sent.number, () =>
      tellAll({ fromMs: nowMs, throughMs: nowMs, sinceMs: nowMs, isSuspect: sink.isSuspect?.() ?? false }),
    );
    let outcome: 'routed' | 'returned' | undefined;
    try {
      outcome = await this.#publish(markerKey, sent.id);
      return outcome;
    } finally {
      if (outcome !== 'routed') {
        this.#underWay.delete(sent.number);
        this.#telling.delete(sent.number);
      }
    }
  }

  async #publish(key: string, id: string): Promise<'routed' | 'returned'> {
    const { exchange } = this.#parts.place;
    this.#publisher ??= this.#link.publisher();
    try {
      return await (await this.#publisher).publish(exchange, key, id);
    } catch (error) {
      this.#publisher = undefined;
      if (!(error instanceof AmqpError) || error.replyCode !== 403) throw error;
      throw new AmqpError(`${error.message}: in a pool our user needs the right to write ${exchange}`, { replyCode: 403, cause: error });
    }
  }

  /** The key of our markers, with everything bound before it. */
  async #bound(): Promise<string> {
    if (this.#markerKey !== undefined) return this.#markerKey;
    const { place } = this.#parts;
    const markerKey = `${this.#askKey}.${randomBytes(8).toString('hex')}`;
    if (this.#oldKey !== undefined) await unbindQueue(this.#link, this.#queue, place.exchange, this.#oldKey);
    this.#oldKey = undefined;
    await bindQueue(this.#link, this.#queue, place, markerKey);
    this.#markerKey = markerKey;
    return markerKey;
  }

  #arrived(sent: Sent): boolean {
    this.#underWay.delete(sent.number);
    if (sent.bindings !== this.#bindings) return false;
    this.#continuity.mend();
    this.#link.works();
    return true;
  }

  #proven({ number }: Sent): void {
    this.#provenMs = this.#parts.clock.monotonicMs();
    this.#telling.get(number)?.();
    for (const earlier of this.#telling.keys()) if (earlier <= number) this.#telling.delete(earlier);
  }

  async #look(): Promise<void> {
    const { clock, place, pool } = this.#parts;
    const waiting = await waitingIn(this.#link, this.#queue);
    // As where a queue is one's own: what waits and was taken, below what it holds, has dropped nothing.
    const wasFull = waiting + this.reader.takeCount() >= place.longestQueue;
    if (wasFull && !this.#isKnownFull) await this.#lose('its queue was full');
    this.#isKnownFull = false;
    const [oldest] = this.#underWay.values();
    if (oldest === undefined || waiting > 0 || clock.monotonicMs() - oldest.atMs < lostAfterMs) return;
    // RabbitMQ may have chosen another one while it could not reach us: then nothing is lost, but for us.
    if (pool.heardMs > oldest.atMs) throw new AmqpError('another one has been chosen to read its queue');
    await this.#lose('its markers did not come back');
  }

  /** From now on the key of the markers that are there proves nothing, for whoever may come after us either. */
  async #lose(why: string): Promise<void> {
    this.#continuity.break(why);
    this.#bindings = this.#markers.newBindings();
    this.#underWay.clear();
    this.#telling.clear();
    if (this.#markerKey === undefined) return;
    await unbindQueue(this.#link, this.#queue, this.#parts.place.exchange, this.#markerKey);
    this.#markerKey = undefined;
  }
}
