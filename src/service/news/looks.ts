// Looks at what another source alone can name: at once, and once after settling, however many messages want one (S7).

import type { Clock, NewsSource, Telemetry } from '../../ports.ts';
import { within } from '../telling/deadline.ts';
import { SpacedRuns } from './spaced-runs.ts';

/** What looking needs. */
export interface LooksParts {
  readonly issuer: string;
  /** Who can be asked; absent: nobody. */
  readonly source: NewsSource | undefined;
  readonly settleMs: number;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly stop: AbortSignal;
}

/** The longest that one look is waited for, in milliseconds; it goes on without those who waited. */
const longestLookMs = 5_000;

/** At most one look in a settle window, and one more is planned. */
export class Looks {
  readonly #parts: LooksParts;
  readonly #runs: SpacedRuns<void>;
  /** News that name somebody, told so far. */
  #named = 0;

  constructor(parts: LooksParts) {
    this.#parts = parts;
    const { clock, settleMs: spacingMs, stop } = parts;
    this.#runs = new SpacedRuns({ clock, spacingMs, stop, work: () => this.#look() });
  }

  /** Whether anybody can be asked. */
  get arePossible(): boolean {
    return this.#parts.source?.look !== undefined;
  }

  /**
   * One at once, and one after settling: each resolves when its look is over, well or not, or when we stop. Under a storm the first may
   * begin up to one settle window later, and the second up to two.
   */
  pair(): readonly [first: Promise<void>, second: Promise<void>] {
    const { clock, settleMs } = this.#parts;
    const nowMs = clock.monotonicMs();
    return [this.#from(nowMs), this.#from(nowMs + settleMs)];
  }

  /** One at once. */
  one(): Promise<void> {
    return this.#from(this.#parts.clock.monotonicMs());
  }

  /** The source has told something that names somebody. */
  told(): void {
    this.#named += 1;
  }

  #from(notBeforeMs: number): Promise<void> {
    return this.arePossible ? this.#runs.from(notBeforeMs).catch(() => undefined) : Promise.resolve();
  }

  async #look(): Promise<void> {
    const { source, clock, stop, telemetry, issuer } = this.#parts;
    const before = this.#named;
    let outcome = 'failed';
    try {
      await within(clock, longestLookMs, stop, async (signal) => source?.look?.(signal));
      outcome = this.#named > before ? 'named' : 'nobody';
    } catch (error) {
      // Its health says why, and it is asked again by itself. What wanted the look holds all the same.
      telemetry.log.debug({ issuer, error }, 'a look was not answered');
    }
    telemetry.counter('sidegate_news_looks_total', { issuer, outcome }).add();
  }
}
