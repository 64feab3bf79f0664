// Whether everything that Keystone said since some moment has come to our queue (S10: the mark "unbroken since").

import type { NewsSink } from '../../ports.ts';

/** Unbroken, or broken by the first thing that broke it. It begins unbroken: whoever finds a queue of ours asks it for its proof. */
export class Continuity {
  readonly #sink: NewsSink;
  #brokenBy: string | undefined;

  constructor(sink: NewsSink) {
    this.#sink = sink;
  }

  get isBroken(): boolean {
    return this.#brokenBy !== undefined;
  }

  /** `why`: for people. Nothing is told before it is mended: what is missed until then is missed too. */
  break(why: string): void {
    this.#brokenBy ??= why;
  }

  /** From now on everything comes again: what may have been missed until now is told. */
  mend(): void {
    if (this.#brokenBy === undefined) return;
    const why = this.#brokenBy;
    this.#brokenBy = undefined;
    this.#sink.gap(why);
  }
}
