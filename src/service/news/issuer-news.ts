// The news of one issuer: its sources, and what is done with what they tell.

import type { Entry } from '../../core/invalidation.ts';
import type { Clock, DependencyHealth, Journal, News, NewsSource, ProjectStanding, Telemetry } from '../../ports.ts';
import type { Degradations } from '../degradation.ts';
import type { Invalidations } from '../invalidations.ts';
import { type Issuer, longestLifeMs } from '../issuer.ts';
import type { Known } from '../known.ts';
import { Cascades } from './cascades.ts';
import { CrossCheck } from './cross-check.ts';
import { Gaps } from './gaps.ts';
import { Heard } from './heard.ts';
import { hearForAll } from './heard-for-all.ts';
import { Ingest } from './ingest.ts';
import { LookFirst } from './look-first.ts';
import { Looks } from './looks.ts';
import { Named } from './named.ts';
import { Writing } from './writing.ts';

/** Who tells of what happens at an issuer, and what else can be asked of it. */
export interface NewsOrigin {
  readonly issuer: Issuer;
  readonly sources: readonly NewsSource[];
  readonly project?: ((id: string, signal: AbortSignal) => Promise<ProjectStanding>) | undefined;
}

/** What news need. */
export interface NewsParts {
  readonly invalidations: Pick<Invalidations, 'append' | 'announce'>;
  readonly degradations: Pick<Degradations, 'addSource'>;
  readonly notes: Pick<Journal, 'note' | 'noted'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** From 0 to below 1, for jitter. */
  readonly random: () => number;
  readonly settleMs: number;
  readonly wideWindowMs: number;
  /** Between our hosts. */
  readonly skewMs: number;
  /** How long a REFRESH has to be kept (S12). */
  readonly refreshLifeMs: number;
  /** How an issuer's clock stands to ours, where a source has seen it. */
  readonly clockRead: (issuer: Issuer, offsetMs: number) => void;
  /** Resolves when all that is applied here is in the log of the fleet; rejects with the signal's reason. */
  readonly toldAll: (signal: AbortSignal) => Promise<void>;
  /** Whatever runs or waits then ends. Many listen to it. */
  readonly stop: AbortSignal;
}

/** One issuer's. */
export class IssuerNews {
  readonly issuer: string;
  readonly #ingests: readonly Ingest[];
  readonly #cascades: Cascades;
  readonly #gaps: Gaps;
  readonly #named: Named | undefined;
  /** Takes what others have heard for all of us; absent: each hears its own. */
  readonly #hearForAll: ((entry: Entry) => void) | undefined;
  readonly #parts: NewsParts;

  /** `caughtUp` is called once for each source. */
  constructor({ issuer, sources, project }: NewsOrigin, parts: NewsParts, caughtUp: () => void) {
    const { clock, telemetry, settleMs, wideWindowMs, random, stop } = parts;
    const { name } = issuer;
    this.issuer = name;
    this.#parts = parts;
    const times = {
      revokeLifeMs: longestLifeMs([issuer]) + parts.skewMs,
      refreshLifeMs: parts.refreshLifeMs,
      wideWindowMs,
      settleMs,
    };
    const common = { issuer: name, clock, telemetry, settleMs, stop };
    const writing = new Writing({
      ...common,
      invalidations: parts.invalidations,
      times,
      log: telemetry.log,
      random,
      everythingIsRefreshed: () => this.#gaps.everythingIsRefreshed(),
    });
    const heard = new Heard();
    const asked = sources.find((source) => source.look !== undefined);
    const looks = new Looks({ ...common, source: asked });
    this.#cascades = new Cascades({ ...common, project });
    const write = (...[news, source]: Parameters<ConstructorParameters<typeof Gaps>[0]['write']>): Promise<void> =>
      writing.writeForSure(news, news.invalidations, source);
    this.#gaps = new Gaps({ ...common, looks, wideWindowMs, notes: parts.notes, write });
    const standings = sources.map((source) => parts.degradations.addSource({ issuer: name, name: source.name }));
    const announcing = asked && standings.find((_, at) => sources[at] !== asked);
    const lookFirst = new LookFirst({ looks, heard, settleMs, clock });
    const crossCheck = announcing && new CrossCheck({ issuer: name, heard, standing: announcing, clock, telemetry });
    const told = (news: News): void => {
      lookFirst.told(news);
      crossCheck?.told(news);
    };
    this.#named = asked && new Named({ issuer: name, source: asked.name, told });
    const shared = {
      issuer: name,
      writing,
      heard,
      looks,
      lookFirst,
      cascades: this.#cascades,
      gaps: this.#gaps,
      crossCheck,
      named: this.#named,
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      telemetry,
      clockRead: (offsetMs: number) => parts.clockRead(issuer, offsetMs),
      toldAll: () => parts.toldAll(stop),
    };
    this.#ingests = sources.flatMap((source, at) => {
      const standing = standings[at];
      return standing ? [new Ingest(source, standing, shared, caughtUp)] : [];
    });
    const pooled = this.#ingests.find(({ hearsForAll }) => hearsForAll);
    this.#hearForAll = pooled && ((entry) => hearForAll(entry, { ...shared, source: pooled }));
  }

  /** Runs all sources until we stop. */
  async run(): Promise<void> {
    const { stop } = this.#parts;
    await Promise.all(
      this.#ingests.map(async (ingest) => {
        await this.#takeUp(ingest);
        await ingest.source.run(ingest, stop);
      }),
    );
  }

  health(): readonly { readonly name: string; readonly health: DependencyHealth }[] {
    return this.#ingests.map(({ name, source }) => ({ name, health: source.health() }));
  }

  /** Another sidecar of the fleet has made this entry, and it is applied here: its source may have named somebody for us too. */
  heardOf(entry: Entry): void {
    const { selector, spreadMs, forgetAtMs } = entry;
    const isOfAll = selector.kind === 'everything' && selector.issuer === this.issuer && spreadMs !== undefined;
    if (isOfAll && forgetAtMs > this.#parts.clock.nowMs()) this.#gaps.everythingIsRefreshed();
    this.#named?.heard(entry);
    this.#hearForAll?.(entry);
  }

  /** Facts of a token of this issuer have been learned. Cheap where nothing waits for that. */
  learned(known: Known): void {
    this.#cascades.accepted(() => {
      const { scope } = known.token();
      return scope.kind === 'project' ? scope.project.id : undefined;
    }, known.began.monotonicMs);
  }

  async #takeUp(ingest: Ingest): Promise<void> {
    const { clock, telemetry, stop } = this.#parts;
    while (!stop.aborted) {
      try {
        return await this.#gaps.takeUp(ingest);
      } catch (error) {
        telemetry.log.error({ issuer: this.issuer, source: ingest.name, error }, 'what was missed before cannot be read; trying again');
        await clock.delay(1000, stop).catch(() => undefined);
      }
    }
  }
}
