// What comes out of a pool's queue over one connection. Whatever comes first tells whoever reads on what the one before has left.

import type { Delivery } from '../../amqp/amqp-link.ts';
import type { Continuity } from './continuity.ts';
import { InOrder } from './in-order.ts';
import { Incoming, type IncomingParts } from './incoming.ts';
import { type Markers, type Sent, signatureIn } from './markers.ts';
import { isMarkerKey } from './queue.ts';
import { mostMoments } from './reader.ts';

/** What it needs. */
export interface PoolReaderParts extends IncomingParts {
  readonly markers: Markers;
  readonly continuity: Continuity;
  /** What keys begin with that prove bindings as we want them. */
  readonly keyPrefix: string;
  /** Whether what a sidecar with that journal has told is in the log that we read. */
  readonly isKnown: (journal: string) => boolean;
  /**
   * The first message is a marker that says `whole`. `isProven`: with that key the present bindings can be proven; else whoever is served it
   * after us must not take it for one that is.
   */
  readonly found: (first: { readonly markerKey: string; readonly isProven: boolean }) => void;
  /** A marker of ours has come; answers whether it was sent for the present bindings. */
  readonly arrived: (sent: Sent) => boolean;
  /** Everything from before this marker is told, and everybody may know. */
  readonly proven: (sent: Sent) => void;
}

interface Moment {
  readonly sent: Sent;
  readonly acknowledge: () => void;
}

const keepIt = (): void => undefined;

/**
 * Reads one connection's deliveries. The first message of the queue is never acknowledged before another one may stand in its place: it is
 * the newest proven marker, or else what shows that something was missed, until everybody has been told of that.
 */
export class PoolReader {
  readonly #parts: PoolReaderParts;
  readonly #incoming: Incoming;
  readonly #order = new InOrder<Moment>((moment) => this.#reached(moment));
  /** Of what stands first in the queue. */
  #acknowledgeFirst: (() => void) | undefined;
  #count = 0;

  constructor(parts: PoolReaderParts) {
    this.#parts = parts;
    this.#incoming = new Incoming(parts);
  }

  /** Whether anything has come: then RabbitMQ has chosen us, for as long as this connection stands. */
  get hasRead(): boolean {
    return this.#acknowledgeFirst !== undefined;
  }

  /** How many have come since this was last asked. */
  takeCount(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }

  take(delivery: Delivery, acknowledge: () => void): void {
    this.#count += 1;
    const isFirst = !this.hasRead;
    if (isFirst) this.#takeFirst(delivery, acknowledge);
    const done = isFirst ? keepIt : acknowledge;
    if (!isMarkerKey(delivery.fields.routingKey)) this.#takeMessage(delivery, done);
    else this.#takeMarker(this.#parts.markers.find(delivery.properties.messageId), done);
  }

  #takeFirst({ fields: { routingKey }, properties: { messageId } }: Delivery, acknowledge: () => void): void {
    const { keyPrefix, isKnown, found, continuity } = this.#parts;
    this.#acknowledgeFirst = acknowledge;
    const signature = routingKey.startsWith(keyPrefix) ? signatureIn(messageId) : undefined;
    const isProven = signature?.isWhole === true && isKnown(signature.by);
    if (signature?.isWhole) found({ markerKey: routingKey, isProven });
    if (!isProven) continuity.break('its queue was made anew, emptied, or overflowed, while nobody read it');
  }

  #takeMessage({ content }: Delivery, acknowledge: () => void): void {
    if (!this.#incoming.hasRoom) return;
    const position = this.#order.begin();
    this.#incoming.take(content, () => {
      acknowledge();
      this.#order.done(position);
    });
  }

  /** Those of others are of who has read before us, or of who asks whether anybody does. */
  #takeMarker(sent: Sent | undefined, acknowledge: () => void): void {
    const isPresent = sent !== undefined && this.#parts.arrived(sent);
    if (isPresent && this.#order.marks < mostMoments) this.#order.mark({ sent, acknowledge });
    else acknowledge();
  }

  #reached({ sent, acknowledge }: Moment): void {
    const { sink, continuity, proven } = this.#parts;
    if (!continuity.isBroken) sink.proven(sent.atMs);
    // As long as something is missed, or not everybody has been told, what stands first must go on to show it.
    if (!signatureIn(sent.id)?.isWhole || !continuity.isWhole) {
      acknowledge();
      return;
    }
    proven(sent);
    this.#acknowledgeFirst?.();
    this.#acknowledgeFirst = acknowledge;
  }
}
