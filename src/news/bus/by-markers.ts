// How the bus is heard where we may write to Keystone's exchange: a queue that outlives connections, and a marker each second that proves it.

import { AmqpError } from '../../amqp/amqp-error.ts';
import type { AmqpLink } from '../../amqp/amqp-link.ts';
import { within } from '../../amqp/deadline.ts';
import type { Publisher } from '../../amqp/publisher.ts';
import type { Sent } from './markers.ts';
import { bindQueue, durableQueue, type FoundQueue, isMissing, markerKeyOf, waitingIn } from './queue.ts';
import { BusReader } from './reader.ts';
import { lostAfterMs, prefetch, proofEveryMs, type SessionParts } from './session.ts';

/** The journal may hang: then the bus is not bound again, and says so. */
const longestNoteMs = 10_000;

/** Until `link` ends. */
export async function hearByMarkers(link: AmqpLink, parts: SessionParts): Promise<void> {
  const { clock, log, place, queueName, continuity, known } = parts;
  const queue = await durableQueue(link, queueName, place.longestQueue);
  // What it shows of itself is of the time before we left it.
  if (known.queue !== undefined && known.queue !== queue.name) continuity.break('it is another queue than the last');
  known.queue = queue.name;
  if (!queue.wasThere) continuity.break('its queue was made anew');
  // Nobody has read it since: as full as it was at most, it still is.
  else if (queue.ready >= place.longestQueue) continuity.break('its queue was full');
  const session = new MarkedSession(link, parts, queue);
  await link.consume(queue.name, prefetch, (delivery, acknowledge) => session.reader.take(delivery, acknowledge));
  log.info({ server: link.server, queue: queue.name, exchange: place.exchange }, 'reading Keystone’s bus');
  for (;;) {
    await session.round();
    await clock.delay(proofEveryMs, link.signal);
  }
}

class MarkedSession {
  readonly reader: BusReader;
  readonly #link: AmqpLink;
  readonly #parts: SessionParts;
  readonly #queue: string;
  readonly #markerKey: string;
  /** Markers that were sent over this connection and have not come back. */
  readonly #underWay = new Map<number, Sent>();
  #publisher: Promise<Publisher> | undefined;
  /** What a marker must have been sent for to show that the present bindings are there. */
  #bindings: number;
  #mustBind: boolean;
  /** What the next look will find has been told. */
  #isKnownFull: boolean;

  constructor(link: AmqpLink, parts: SessionParts, { name, wasThere, ready }: FoundQueue) {
    this.#link = link;
    this.#parts = parts;
    this.#queue = name;
    this.#markerKey = markerKeyOf(name, parts.place);
    this.#bindings = parts.markers.newBindings();
    // Those of a queue that was there are not made again before a marker has shown whether they were: afterwards nobody could tell.
    this.#mustBind = !wasThere;
    this.#isKnownFull = ready >= parts.place.longestQueue;
    this.reader = new BusReader({
      ...parts,
      markerKey: this.#markerKey,
      comesBack: wasThere,
      arrived: (sent) => this.#arrived(sent),
      fail: (error) => link.fail(error),
    });
  }

  /** One marker; and what follows from what has become of those before it. */
  async round(): Promise<void> {
    const { place, say } = this.#parts;
    // Keystone is blocked as we are, so nothing comes that a marker could prove.
    if (this.#link.isBlocked) return;
    try {
      if (this.#mustBind) await this.#bind();
      if ((await this.#send()) === 'returned') {
        this.#lose('its bindings were gone');
        await this.#bind();
        await this.#send();
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
      // Keystone makes it when it has something to say.
      this.#lose('the exchange was gone');
      say(`the exchange ${place.exchange} is not there`);
      return;
    }
    await this.#look();
    say(
      this.reader.hasRead || this.#underWay.size < 3
        ? undefined
        : 'another connection reads its queue: one of ours that is dead, or another sidecar with its journal',
    );
  }

  async #bind(): Promise<void> {
    const { clock, continuity } = this.#parts;
    // Until then the bindings that are gone are all that shows a restart that something was missed.
    await within({ clock, ms: longestNoteMs }, this.#link.signal, continuity.noted).catch((cause: unknown) => {
      throw new AmqpError('that something is missed could not be noted', { cause });
    });
    await bindQueue(this.#link, this.#queue, this.#parts.place, this.#markerKey);
    this.#mustBind = false;
  }

  async #send(): Promise<'routed' | 'returned'> {
    const { clock, place, markers } = this.#parts;
    this.#publisher ??= this.#link.publisher();
    const sent = markers.next(clock.monotonicMs(), this.#bindings);
    // It may come back before we hear that it was taken.
    this.#underWay.set(sent.number, sent);
    try {
      const outcome = await (await this.#publisher).publish(place.exchange, this.#markerKey, sent.id);
      if (outcome === 'returned') this.#underWay.delete(sent.number);
      return outcome;
    } catch (error) {
      this.#underWay.delete(sent.number);
      this.#publisher = undefined;
      if (error instanceof AmqpError && error.replyCode === 403) await this.#giveUp();
      throw error;
    }
  }

  /** The next connection hears it in the other way; the queue that waits for us would wait for nobody. */
  async #giveUp(): Promise<void> {
    this.#parts.known.mayWrite = false;
    // Its end is the end of this connection. Where it cannot be deleted, it ends by itself.
    await this.#link.ask((channel) => channel.deleteQueue(this.#queue)).catch(() => undefined);
  }

  #arrived(sent: Sent): void {
    this.#underWay.delete(sent.number);
    if (sent.bindings !== this.#bindings) return;
    this.#parts.continuity.mend();
    this.#link.works();
  }

  async #look(): Promise<void> {
    const { clock, sink, place, maxLagMs } = this.#parts;
    const waiting = await waitingIn(this.#link, this.#queue);
    // It had at most what waits now and what we have taken since the last look: if that is less than it holds, it has dropped nothing.
    const wasFull = waiting + this.reader.takeCount() >= place.longestQueue;
    if (wasFull && !this.#isKnownFull) void sink.gap('its queue was full');
    this.#isKnownFull = false;
    const [oldest] = this.#underWay.values();
    if (oldest === undefined || waiting > 0) return;
    // Where nothing has come at all, another connection may still be the one that reads.
    const limitMs = this.reader.hasRead ? lostAfterMs : Math.max(lostAfterMs, maxLagMs);
    // Taken by somebody else's queue, or by an alternate exchange; or removed from ours.
    if (clock.monotonicMs() - oldest.atMs >= limitMs) this.#lose('its markers did not come back');
  }

  #lose(why: string): void {
    const { continuity, markers } = this.#parts;
    continuity.break(why);
    this.#bindings = markers.newBindings();
    this.#underWay.clear();
    this.#mustBind = true;
  }
}
