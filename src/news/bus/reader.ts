// What comes out of our queue over one connection: Keystone's messages, and our own markers between them.

import type { Delivery } from '../../amqp/amqp-link.ts';
import type { Continuity } from './continuity.ts';
import { InOrder } from './in-order.ts';
import { Incoming, type IncomingParts } from './incoming.ts';
import type { Markers, Sent } from './markers.ts';

/** What a reader needs. */
export interface ReaderParts extends IncomingParts {
  readonly markers: Markers;
  readonly continuity: Continuity;
  /** Routes markers to our queue, and nothing else; undefined: there are none. */
  readonly markerKey: string | undefined;
  /** The queue was there before this connection: what we left in it must come first. */
  readonly comesBack: boolean;
  /** A marker of ours has come. */
  readonly arrived: (sent: Sent) => void;
}

/** A moment until when everything has come. */
interface Moment {
  readonly atMs: number;
  readonly marker?: { readonly sent: Sent; readonly acknowledge: () => void };
}

/** Markers whose turn to prove has not come: more are acknowledged and prove nothing, so that they leave room for what they wait for. */
export const mostMoments = 16;

/** Reads one connection's deliveries. */
export class BusReader {
  readonly #parts: ReaderParts;
  readonly #order = new InOrder<Moment>((moment) => this.#reached(moment));
  /** Of the newest proven marker, which stays in the queue for as long as there is no newer one (`Markers.isFirstOfAll`). */
  #acknowledgeLast: (() => void) | undefined;
  #hasRead = false;
  #count = 0;
  readonly #incoming: Incoming;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#incoming = new Incoming(parts);
  }

  /** Whether anything has come: then this connection is the one that the queue is read by. */
  get hasRead(): boolean {
    return this.#hasRead;
  }

  /** How many have come since this was last asked. */
  takeCount(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }

  /** Everything from before `atMs` (monotonic) has come, who knows how: it is proven once that is told. */
  mark(atMs: number): void {
    if (this.#order.marks < mostMoments) this.#order.mark({ atMs });
  }

  take(delivery: Delivery, acknowledge: () => void): void {
    const { markers, markerKey, continuity, comesBack } = this.#parts;
    const isMarker = delivery.fields.routingKey === markerKey;
    const sent = isMarker ? markers.find(delivery.properties.messageId) : undefined;
    const isFirst = !this.#hasRead;
    this.#hasRead = true;
    this.#count += 1;
    if (isFirst && comesBack && !(isMarker && markers.isFirstOfAll(sent))) {
      continuity.break('its queue was emptied, or overflowed, while nobody read it');
    }
    if (!isMarker) this.#takeMessage(delivery, acknowledge);
    else if (sent !== undefined) this.#takeMarker(sent, acknowledge);
    else this.#takeForeign(acknowledge);
  }

  #takeMessage({ content }: Delivery, acknowledge: () => void): void {
    if (!this.#incoming.hasRoom) return;
    const position = this.#order.begin();
    this.#incoming.take(content, () => {
      acknowledge();
      this.#order.done(position);
    });
  }

  #takeMarker(sent: Sent, acknowledge: () => void): void {
    this.#parts.arrived(sent);
    if (this.#order.marks < mostMoments) this.#order.mark({ atMs: sent.atMs, marker: { sent, acknowledge } });
    else acknowledge();
  }

  /** Of the process before us, or of who shares our queue: the first of them is the last that was proven. */
  #takeForeign(acknowledge: () => void): void {
    if (this.#acknowledgeLast === undefined && !this.#parts.continuity.isBroken) this.#acknowledgeLast = acknowledge;
    else acknowledge();
  }

  #reached({ atMs, marker }: Moment): void {
    const { sink, markers, continuity } = this.#parts;
    // While it is broken nobody knows what was missed before it, nor may the next process take the marker for a proven one.
    if (continuity.isBroken) {
      marker?.acknowledge();
      return;
    }
    sink.proven(atMs);
    if (marker === undefined) return;
    markers.proved(marker.sent);
    this.#acknowledgeLast?.();
    this.#acknowledgeLast = marker.acknowledge;
  }
}
