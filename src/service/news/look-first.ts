// Messages that hide whom they are about: what they mean holds only where the other source names nobody (S7).

import type { Clock, News } from '../../ports.ts';
import type { Heard } from './heard.ts';
import type { Looks } from './looks.ts';

/** What it needs. */
export interface LookFirstParts {
  readonly looks: Looks;
  readonly heard: Heard;
  readonly settleMs: number;
  readonly clock: Clock;
}

interface Naming {
  readonly userId: string;
  readonly atMs: number;
  /** Monotonic. */
  readonly toldMs: number;
}

/** A message may be so much younger than the revocation that it goes with, in milliseconds. */
const youngerByMs = 60_000;
const mostNamings = 1_000;
/** Beyond so many that wait, the others hold at once. */
const mostWaiting = 1_000;

/** Whom looks have named, and which messages that explains. */
export class LookFirst {
  readonly #parts: LookFirstParts;
  #namings: Naming[] = [];
  #waiting = 0;

  constructor(parts: LookFirstParts) {
    this.#parts = parts;
  }

  /** The other source has told this, and it is applied. */
  told(news: News): void {
    const userId = userIn(news);
    if (userId === undefined) return;
    this.#parts.looks.told();
    this.#namings.push({ userId, atMs: news.atMs, toldMs: this.#parts.clock.monotonicMs() });
    if (this.#namings.length > mostNamings) this.#namings = this.#namings.slice(-mostNamings / 2);
  }

  /**
   * Looks at once and after settling. Answers whether what `news` mean holds: nobody was named whom this message may have meant. Each
   * that is named explains one message; those whom a message of their own has named explain none.
   */
  async holds(news: News): Promise<boolean> {
    const { looks, clock } = this.#parts;
    const arrivedMs = clock.monotonicMs();
    if (!looks.arePossible || this.#waiting >= mostWaiting) return true;
    this.#waiting += 1;
    try {
      const [first, second] = looks.pair();
      await first;
      if (this.#isExplained(news, arrivedMs)) return false;
      await second;
      return !this.#isExplained(news, arrivedMs);
    } finally {
      this.#waiting -= 1;
    }
  }

  #isExplained({ atMs }: News, arrivedMs: number): boolean {
    const { heard, settleMs } = this.#parts;
    // The list may have been read between the change and its message: then it named somebody a moment before that came.
    const fits = (naming: Naming): boolean =>
      naming.toldMs >= arrivedMs - settleMs && naming.atMs > atMs - youngerByMs && !heard.hasNamed(naming.userId, naming.atMs);
    const found = this.#namings.find(fits);
    if (found === undefined) return false;
    this.#namings = this.#namings.filter((naming) => naming !== found);
    return true;
  }
}

function userIn({ invalidations }: News): string | undefined {
  const conditions = invalidations.flatMap((one) => (one.effect === 'REVOKE' ? one.conditions : []));
  return conditions.find(({ dimension }) => dimension === 'user')?.value;
}
