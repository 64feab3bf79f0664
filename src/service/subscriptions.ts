// Streams of Watch that are open: whose each is, up to where it was sent, and how far its subscriber says that it has come.

import { randomBytes } from 'node:crypto';
import { SidecarError } from '../core/errors.ts';
import type { Cursor, Revision } from '../core/invalidation.ts';

/** How far a subscriber says that it has come. */
export interface Acknowledged {
  readonly subscription: string;
  readonly cursor: Cursor;
  readonly atMs: number;
}

/** A stream that is open. */
export interface OpenSubscription {
  readonly name: string;
  /** Everything up to here has been sent. */
  sent: Revision;
}

interface Open extends OpenSubscription {
  readonly owner: string | undefined;
  acknowledged: Acknowledged | undefined;
}

/** Of those that acknowledge, so many are told about. */
const mostAcknowledged = 1_000;

/** Those of one sidecar. */
export class Subscriptions {
  readonly #parts: { readonly journal: string; readonly nowMs: () => number };
  readonly #open = new Map<string, Open>();
  /** Of this process: who acknowledges by a name of the last one must not be taken for whoever has that number now. */
  readonly #run = randomBytes(4).toString('hex');
  #made = 0;

  constructor(parts: { readonly journal: string; readonly nowMs: () => number }) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Of those that have told. */
  get acknowledged(): readonly Acknowledged[] {
    return [...this.#open.values()].flatMap(({ acknowledged }) => acknowledged ?? []).slice(0, mostAcknowledged);
  }

  /** One more, of which `owner` may acknowledge. */
  open(owner: string | undefined, sent: Revision): OpenSubscription {
    this.#made += 1;
    const open: Open = { name: `w${this.#made}-${this.#run}`, owner, sent, acknowledged: undefined };
    this.#open.set(open.name, open);
    return open;
  }

  close({ name }: OpenSubscription): void {
    this.#open.delete(name);
  }

  /**
   * Notes that the subscriber is done with everything up to `cursor`. Throws FAILED_PRECONDITION / NO_SUCH_SUBSCRIPTION where no such stream of
   * its owner is open, INVALID_ARGUMENT / CURSOR_NOT_SENT where it is of another journal, or beyond what was sent.
   */
  acknowledge(subscription: string, cursor: Cursor, owner: string): void {
    const { journal, nowMs } = this.#parts;
    const open = this.#open.get(subscription);
    if (open === undefined || open.owner !== owner) {
      throw new SidecarError('FAILED_PRECONDITION', 'no such subscription of this caller is open', { reason: 'NO_SUCH_SUBSCRIPTION' });
    }
    if (cursor.journal !== journal || cursor.revision > open.sent) {
      throw new SidecarError('INVALID_ARGUMENT', 'the stream has not sent so far yet', { reason: 'CURSOR_NOT_SENT' });
    }
    if (open.acknowledged && cursor.revision < open.acknowledged.cursor.revision) return;
    open.acknowledged = { subscription, cursor, atMs: nowMs() };
  }
}
