// The last so many things, by revision: a ring that remembers from where it can be read without a gap.

/** What a ring holds: things with a revision, in ascending order; several may share one. */
export interface Dated {
  readonly revision: number;
}

/**
 * A bounded ring of what happened. When it is full the oldest makes room, and `since` moves on: a reader that stands before
 * `since` has to get the older ones elsewhere.
 */
export class History<Item extends Dated> {
  readonly #items: (Item | undefined)[];
  #next = 0;
  #count = 0;
  #since: number;

  /** `since`: everything above this revision will be told to the ring. */
  constructor(capacity: number, since: number) {
    this.#items = new Array<Item | undefined>(capacity);
    this.#since = since;
  }

  /** Everything above this revision is in the ring. */
  get since(): number {
    return this.#since;
  }

  push(item: Item): void {
    const dropped = this.#items[this.#next];
    if (dropped && this.#count === this.#items.length) this.#since = Math.max(this.#since, dropped.revision);
    this.#items[this.#next] = item;
    this.#next = (this.#next + 1) % this.#items.length;
    if (this.#count < this.#items.length) this.#count += 1;
  }

  /** Forgets all; what is above `since` will be told again. */
  clear(since: number): void {
    this.#items.fill(undefined);
    this.#next = 0;
    this.#count = 0;
    this.#since = since;
  }

  /** Those above `revision`, oldest first, at most `limit` but never part of a revision; undefined where the ring has a gap. */
  after(revision: number, limit: number = Infinity): Item[] | undefined {
    if (revision < this.#since) return undefined;
    const found: Item[] = [];
    for (let n = this.#firstAbove(revision); n < this.#count; n += 1) {
      const item = this.#at(n);
      if (!item) break;
      if (found.length >= limit && found.at(-1)?.revision !== item.revision) break;
      found.push(item);
    }
    return found;
  }

  /**
   * Whether `test` holds for one of those above `revision`; undefined where the ring has a gap, or there are more than `limit`.
   * Allocates nothing: it stands on the path of every hit.
   */
  someAfter(revision: number, limit: number, test: (item: Item) => boolean): boolean | undefined {
    if (revision < this.#since) return undefined;
    const first = this.#firstAbove(revision);
    if (this.#count - first > limit) return undefined;
    for (let n = first; n < this.#count; n += 1) {
      const item = this.#at(n);
      if (item && test(item)) return true;
    }
    return false;
  }

  #at(n: number): Item | undefined {
    return this.#items[(this.#next - this.#count + n + this.#items.length) % this.#items.length];
  }

  #firstAbove(revision: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#at(middle)?.revision ?? Infinity) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
