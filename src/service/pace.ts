// How long an authority takes to answer, lately.

/** Answers of this many calls are looked back upon. */
const window = 128;

/** Durations of the latest calls, in milliseconds. */
export class Pace {
  readonly #lately: number[] = [];
  #next = 0;

  observe(ms: number): void {
    this.#lately[this.#next] = ms;
    this.#next = (this.#next + 1) % window;
  }

  /** What 99 of 100 calls did not exceed; `otherwise` where none has been seen. */
  p99(otherwise: number): number {
    if (this.#lately.length === 0) return otherwise;
    const sorted = this.#lately.toSorted((a, b) => a - b);
    return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? otherwise;
  }
}
