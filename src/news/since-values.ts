// From when on a list is asked for: whole seconds, none of them twice.

// Keystone remembers what it has answered about a value for [revoke] cache_time, an hour, until something is revoked in a process that
// shares its cache. Where that is not shared, a value that is asked about again may get a list from before.
const rememberedMs = 3_600_000;

/** Gives out each second once. */
export class SinceValues {
  /** In the order in which they were given out: with the moment of that, monotonic. */
  readonly #given = new Map<number, number>();

  /** Another sidecar has asked about this one, in milliseconds. */
  spend(atMs: number, monotonicMs: number): void {
    this.#forgetOld(monotonicMs);
    this.#given.delete(Math.floor(atMs / 1000));
    this.#given.set(Math.floor(atMs / 1000), monotonicMs);
  }

  /** The latest second at or before `atMs` that has not been given out within the last hour, in milliseconds. */
  take(atMs: number, monotonicMs: number): number {
    this.#forgetOld(monotonicMs);
    let second = Math.floor(atMs / 1000);
    while (this.#given.has(second)) second -= 1;
    this.#given.set(second, monotonicMs);
    return second * 1000;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#given.size;
  }

  #forgetOld(monotonicMs: number): void {
    for (const [second, givenAtMs] of this.#given) {
      if (monotonicMs - givenAtMs <= rememberedMs) return;
      this.#given.delete(second);
    }
  }
}
