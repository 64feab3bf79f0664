// Keys that have left their set: somebody is told of each, again where that failed, and none is forgotten.

import type { Logger } from '../ports.ts';

/** Appends a REFRESH of the tokens that a key has signed; resolves when that is durable. As TokenFormat.run is given it. */
export type Invalidate = (keyId: string) => Promise<void>;

/**
 * Keys that have left and of which nobody has been told durably. Grows by what one set holds for each change of the set, and only while
 * the journal fails: nothing may be dropped here, or tokens of a withdrawn key would live on.
 */
export class DepartedKeys {
  readonly #issuer: string;
  readonly #log: Logger;
  readonly #waiting = new Set<string>();
  #invalidate: Invalidate | undefined;
  #isTelling = false;

  constructor(issuer: string, log: Logger) {
    this.#issuer = issuer;
    this.#log = log;
  }

  add(keyId: string): void {
    this.#waiting.add(keyId);
  }

  /** Who is told from now on; undefined: nobody, and they wait. */
  listener(invalidate: Invalidate | undefined): void {
    this.#invalidate = invalidate;
  }

  /** Tells of each that waits, beside the caller; to be called again, for those where that failed. */
  tell(): void {
    const invalidate = this.#invalidate;
    if (invalidate === undefined || this.#isTelling || this.#waiting.size === 0) return;
    this.#isTelling = true;
    void this.#tellAll(invalidate).finally(() => {
      this.#isTelling = false;
    });
  }

  async #tellAll(invalidate: Invalidate): Promise<void> {
    for (const keyId of [...this.#waiting]) {
      // Taken out first: should it leave once more while this one is written, that is told too.
      this.#waiting.delete(keyId);
      try {
        await invalidate(keyId);
      } catch (error) {
        this.#waiting.add(keyId);
        this.#log.error(
          { issuer: this.#issuer, keyId, error },
          'a key has left its set, and its tokens could not be invalidated: to be done again',
        );
      }
    }
  }
}
