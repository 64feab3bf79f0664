// All news: the sources of every issuer, run together, and whether they have caught up.

import type { Entry } from '../../core/invalidation.ts';
import type { DependencyHealth } from '../../ports.ts';
import type { Known } from '../known.ts';
import { Wakeup } from '../wakeup.ts';
import { IssuerNews, type NewsOrigin, type NewsParts } from './issuer-news.ts';

/** Where news come in. */
export class NewsRoom {
  readonly #issuers: readonly IssuerNews[];
  readonly #progress = new Wakeup();
  #behind: number;

  constructor(origins: readonly NewsOrigin[], parts: NewsParts) {
    const heard = origins.filter(({ sources }) => sources.length > 0);
    this.#behind = heard.reduce((sum, { sources }) => sum + sources.length, 0);
    const caughtUp = (): void => {
      this.#behind -= 1;
      this.#progress.wake();
    };
    this.#issuers = heard.map((origin) => new IssuerNews(origin, parts, caughtUp));
  }

  /** Every source has told once all that it had. Once so, it stays so: from then on lag is what is said of a source. */
  get isCaughtUp(): boolean {
    return this.#behind === 0;
  }

  /** Resolves when it is; rejects with the signal's reason when it aborts first. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    while (!this.isCaughtUp) await this.#progress.wait(this.#progress.version, signal);
  }

  /** Runs all sources until `stop` aborts; once. */
  async run(): Promise<void> {
    await Promise.all(this.#issuers.map((issuer) => issuer.run()));
  }

  /** Each source, by `ISSUER/NAME`. */
  health(): readonly { readonly name: string; readonly health: DependencyHealth }[] {
    return this.#issuers.flatMap((of) => of.health().map((one) => ({ ...one, name: `${of.issuer}/${one.name}` })));
  }

  /** Another sidecar of the fleet has made this entry, and it is applied here. */
  heardOf(entry: Entry): void {
    for (const issuer of this.#issuers) issuer.heardOf(entry);
  }

  /** Facts have been learned from an authority. */
  learned(known: Known): void {
    for (const issuer of this.#issuers) if (issuer.issuer === known.issuer.name) issuer.learned(known);
  }
}
