// One record per selector, found by 64-bit key: open addressing over typed arrays, in shards, so that a million live
// invalidations cost no garbage and no long pause.

const shardCount = 256;
const minCapacity = 8;

interface Shard {
  /** Low and high half of each key; 0,0 is free, so a key of 0,0 is stored as 0,1: one selector in 2^64 shares its record. */
  keys: Uint32Array;
  fields: Float64Array;
  size: number;
}

/** A record's place; valid until the next `upsert` or `sweep`. -1: none. */
export type Place = number;

/**
 * Records of numbers: the `fields`, and with them `forgetAtMs`, after which a record concerns no token. One that is made holds 0 in each,
 * or what `empty` says. Cost: `find` one probe sequence of a quarter- to three-quarter-full table; growth is one shard at a time.
 */
export class SelectorTable<Field extends string> {
  /** The place of each field in a record. */
  readonly #places: Readonly<Record<Field | 'forgetAtMs', number>>;
  /** A record as it is made. */
  readonly #empty: readonly number[];
  #shards: Shard[];
  #nextSwept = 0;
  #size = 0;

  constructor(fields: readonly Field[], empty: { readonly [name in Field]?: number }) {
    const names: readonly (Field | 'forgetAtMs')[] = [...new Set([...fields, 'forgetAtMs' as const])];
    this.#places = Object.fromEntries(names.map((name, place) => [name, place])) as Record<Field | 'forgetAtMs', number>;
    this.#empty = names.map((name) => (name === 'forgetAtMs' ? 0 : (empty[name] ?? 0)));
    this.#shards = Array.from({ length: shardCount }, () => emptyShard(minCapacity, this.#empty.length));
  }

  get size(): number {
    return this.#size;
  }

  find(low: number, high: number): Place {
    const shardNumber = high >>> 24;
    const shard = this.#shards[shardNumber];
    if (shard === undefined || shard.size === 0) return -1;
    const at = probe(shard, low, storedHigh(low, high));
    return shard.keys[2 * at] === 0 && shard.keys[2 * at + 1] === 0 ? -1 : shardNumber * 2 ** 32 + at;
  }

  /** The record of this key, made empty where there was none. */
  upsert(low: number, high: number): Place {
    const shardNumber = high >>> 24;
    let shard = this.#shard(shardNumber);
    const stored = storedHigh(low, high);
    let at = probe(shard, low, stored);
    if (shard.keys[2 * at] === 0 && shard.keys[2 * at + 1] === 0) {
      if (4 * (shard.size + 1) > 3 * (shard.keys.length / 2)) {
        shard = rebuilt(shard, this.#empty.length, { capacity: shard.keys.length, keep: () => true });
        this.#shards[shardNumber] = shard;
        at = probe(shard, low, stored);
      }
      shard.keys[2 * at] = low;
      shard.keys[2 * at + 1] = stored;
      shard.fields.set(this.#empty, at * this.#empty.length);
      shard.size += 1;
      this.#size += 1;
    }
    return shardNumber * 2 ** 32 + at;
  }

  get(place: Place, name: Field | 'forgetAtMs'): number {
    const at = place % 2 ** 32;
    return this.#shard((place - at) / 2 ** 32).fields[at * this.#empty.length + this.#places[name]] ?? 0;
  }

  set(place: Place, name: Field | 'forgetAtMs', value: number): void {
    const at = place % 2 ** 32;
    this.#shard((place - at) / 2 ** 32).fields[at * this.#empty.length + this.#places[name]] = value;
  }

  /** Drops the records whose time is over from the next few shards. Called now and then it passes over all. */
  sweep(nowMs: number, shards = 16): void {
    for (let n = 0; n < shards; n += 1) {
      const number = this.#nextSwept;
      this.#nextSwept = (number + 1) % shardCount;
      const shard = this.#shard(number);
      const fieldCount = this.#empty.length;
      const live = (at: number): boolean => (shard.fields[at * fieldCount + this.#places.forgetAtMs] ?? 0) >= nowMs;
      let dead = 0;
      for (let at = 0; at < shard.keys.length / 2; at += 1) if (taken(shard, at) && !live(at)) dead += 1;
      if (dead === 0) continue;
      this.#size -= dead;
      const capacity = Math.max(minCapacity, 2 ** Math.ceil(Math.log2(2 * (shard.size - dead) + 1)));
      this.#shards[number] = rebuilt(shard, fieldCount, { capacity, keep: live });
    }
  }

  #shard(number: number): Shard {
    const shard = this.#shards[number];
    if (shard === undefined) throw new RangeError(`no shard ${number}`);
    return shard;
  }
}

function emptyShard(capacity: number, fieldCount: number): Shard {
  return { keys: new Uint32Array(2 * capacity), fields: new Float64Array(capacity * fieldCount), size: 0 };
}

function storedHigh(low: number, high: number): number {
  return low === 0 && high === 0 ? 1 : high;
}

function taken(shard: Shard, at: number): boolean {
  return shard.keys[2 * at] !== 0 || shard.keys[2 * at + 1] !== 0;
}

/** Where this key is, or the free place where it belongs. There is always a free one. */
function probe(shard: Shard, low: number, high: number): number {
  const mask = shard.keys.length / 2 - 1;
  let at = low & mask;
  while (taken(shard, at) && (shard.keys[2 * at] !== low || shard.keys[2 * at + 1] !== high)) at = (at + 1) & mask;
  return at;
}

function rebuilt(
  old: Shard,
  fieldCount: number,
  { capacity, keep }: { readonly capacity: number; readonly keep: (at: number) => boolean },
): Shard {
  const shard = emptyShard(capacity, fieldCount);
  for (let at = 0; at < old.keys.length / 2; at += 1) {
    if (!taken(old, at) || !keep(at)) continue;
    const low = old.keys[2 * at] ?? 0;
    const high = old.keys[2 * at + 1] ?? 0;
    const to = probe(shard, low, high);
    shard.keys[2 * to] = low;
    shard.keys[2 * to + 1] = high;
    shard.fields.set(old.fields.subarray(at * fieldCount, (at + 1) * fieldCount), to * fieldCount);
    shard.size += 1;
  }
  return shard;
}
