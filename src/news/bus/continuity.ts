// Whether everything that Keystone said since some moment has come to our queue (S10: the mark "unbroken since").

import type { NewsSink } from '../../ports.ts';

/** Unbroken, or broken by the first thing that broke it. It begins unbroken: whoever finds a queue of ours asks it for its proof. */
export class Continuity {
  readonly #sink: Pick<NewsSink, 'gap' | 'missing'>;
  #noted: Promise<void> = Promise.resolve();
  #isNoted = true;
  #brokenBy: string | undefined;
  /** Gaps that a restart, or whoever reads on, may not know of yet. */
  #untold = 0;

  constructor(sink: Pick<NewsSink, 'gap' | 'missing'>) {
    this.#sink = sink;
  }

  get isBroken(): boolean {
    return this.#brokenBy !== undefined;
  }

  /** It is not broken, and of everything that was missed a restart, or whoever reads on, would know. */
  get isWhole(): boolean {
    return !this.isBroken && this.#untold === 0;
  }

  /** Resolves when a restart would know that it is broken: what else shows that, as bindings that are gone, must not be mended sooner. */
  get noted(): Promise<void> {
    return this.#noted;
  }

  /** `why`: for people. The gap is not told before it is mended: what is missed until then is missed too. */
  break(why: string): void {
    if (this.#brokenBy !== undefined) return;
    this.#brokenBy = why;
    this.#isNoted = false;
    this.#noted = this.#sink.missing().then(() => {
      this.#isNoted = true;
    });
  }

  /** From now on everything comes again: what may have been missed until now is told. Not before it is noted that something was. */
  mend(): void {
    if (this.#brokenBy === undefined || !this.#isNoted) return;
    const why = this.#brokenBy;
    this.#brokenBy = undefined;
    this.tell(why);
  }

  /** Something may have been missed, and nothing has to be mended. */
  tell(why: string): void {
    this.#untold += 1;
    void this.#sink.gap(why).then(() => {
      this.#untold -= 1;
    });
  }
}
