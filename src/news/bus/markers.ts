// Our own messages among Keystone's: each proves, when it comes back, that its way and everything before it were there.

import { randomBytes } from 'node:crypto';

/** A marker as it was sent. */
export interface Sent {
  readonly number: number;
  /** Its message id. Who has read none of ours cannot make it up. */
  readonly id: string;
  /** Monotonic. */
  readonly atMs: number;
  /** Which bindings it was to prove: they count up whenever they may have become others. */
  readonly bindings: number;
}

/** What the one who sends it says of itself; it stands in the marker. */
export interface Signature {
  /** Of its journal. */
  readonly by: string;
  /** Nothing was missed until then, or everybody has been told of it. */
  readonly isWhole: boolean;
}

const wholeMark = 'whole';

/** Of a pool's marker; undefined: there is none. */
export function signatureIn(id: unknown): Signature | undefined {
  const [, , by, mark] = typeof id === 'string' ? id.split('.') : [];
  return by === undefined ? undefined : { by, isWhole: mark === wholeMark };
}

/** More than can be under way: one a second, and a connection without answers ends long before. */
const longestMemory = 256;

/** The markers of this process. It outlives connections, as they do. */
export class Markers {
  readonly #process = randomBytes(12).toString('hex');
  readonly #sent = new Map<number, Sent>();
  #count = 0;
  #proven = 0;
  #bindings = 0;

  /** Whatever was sent before proves nothing about the bindings from now on. */
  newBindings(): number {
    this.#bindings += 1;
    return this.#bindings;
  }

  next(atMs: number, bindings: number, signature?: Signature): Sent {
    this.#count += 1;
    const name = [
      this.#process,
      this.#count,
      ...(signature === undefined ? [] : [signature.by, ...(signature.isWhole ? [wholeMark] : [])]),
    ];
    const sent: Sent = { number: this.#count, id: name.join('.'), atMs, bindings };
    this.#sent.set(sent.number, sent);
    this.#sent.delete(sent.number - longestMemory);
    return sent;
  }

  /** The one of ours with that message id; undefined: another process's, or one that is long forgotten. */
  find(id: unknown): Sent | undefined {
    return typeof id === 'string' ? [...this.#sent.values()].find((sent) => sent.id === id) : undefined;
  }

  /** Everything before it has been told. */
  proved({ number }: Sent): void {
    this.#proven = Math.max(this.#proven, number);
  }

  /**
   * Whether the first message of a queue that we come back to shows that nothing has left it meanwhile. We keep the newest proven marker
   * unacknowledged, so it stands before everything that is not told: a queue that was emptied, or that dropped its oldest messages as it
   * was full, has lost it first. One before it is as good, as our last acknowledgement may not have been heard. A process that has
   * proven nothing yet knows no number: any marker of the process before it will do.
   */
  isFirstOfAll(sent: Sent | undefined): boolean {
    return sent === undefined ? this.#proven === 0 : sent.number <= this.#proven;
  }
}
