// Service catalogs in memory: records of their own beside the facts, shared by the tokens of one user and scope (S1).

import { LRUCache } from 'lru-cache';
import { type Currentness, currentnessOf, currentUntilMs, newestRefreshOf } from '../core/currentness.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock } from '../ports.ts';
import { CatalogSubjects } from './catalog-subject.ts';
import type { Invalidations, Looked } from './invalidations.ts';
import type { FetchBegin, Known } from './known.ts';

/** A catalog, and when it was fetched. */
export interface FetchedCatalog {
  readonly catalog: Uint8Array;
  readonly began: FetchBegin;
}

/** A catalog in memory, how it stands, and for how much longer it may be believed. */
export interface CatalogAtHand {
  readonly catalog: Uint8Array;
  readonly currentness: Exclude<Currentness, 'stale'>;
  readonly servesMs: number;
}

/** How catalogs are kept. */
export interface CatalogLimits {
  readonly enabled: boolean;
  /** How long one serves after its fetch began. */
  readonly timeMs: number;
  readonly memoryBytes: number;
}

/** What catalogs need. */
export interface CatalogsParts {
  readonly clock: Clock;
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly settleMs: number;
  readonly limits: CatalogLimits;
}

/** Catalogs by issuer and name. A token without one has an empty one. */
export class Catalogs {
  readonly #parts: CatalogsParts;
  readonly #memory: LRUCache<string, FetchedCatalog & { readonly subject: Looked }>;
  readonly #subjects: CatalogSubjects;

  constructor(parts: CatalogsParts) {
    this.#parts = parts;
    this.#subjects = new CatalogSubjects(parts.tagger);
    this.#memory = new LRUCache({
      maxSize: parts.limits.memoryBytes,
      // About 700 bytes of objects around each (`npm run bench -- memory`).
      sizeCalculation: ({ catalog }) => catalog.byteLength + 700,
    });
  }

  get size(): number {
    return this.#memory.size;
  }

  get bytes(): number {
    return this.#memory.calculatedSize;
  }

  /**
   * Young enough, and fetched after every REFRESH that concerns the token or the issuer's catalogs: its roles or its project may be others
   * since. One that was fetched while such a REFRESH settled serves until that is over, as facts do (S6).
   */
  find(known: Known): Uint8Array | undefined {
    const there = this.look(known);
    return there?.currentness === 'current' ? there.catalog : undefined;
  }

  /** The same, also where it has to be fetched first as far as that can be (S7). A precise REFRESH of the token leaves nothing. */
  look(known: Known): CatalogAtHand | undefined {
    const { catalogName } = known;
    if (catalogName === undefined) return none;
    const { clock, invalidations, limits, settleMs } = this.#parts;
    const kept = this.#memory.get(keyOf(known, catalogName));
    const nowMs = clock.monotonicMs();
    if (!kept || nowMs >= kept.began.monotonicMs + limits.timeMs) return undefined;
    const coverings = [invalidations.covering(known), invalidations.covering(kept.subject)];
    const found = coverings.map((covering) => currentnessOf(kept.began, covering, { nowMs, settleMs }));
    if (found.includes('stale')) return undefined;
    const currentness = worstFirst.find((one) => found.includes(one)) ?? 'current';
    const untilMs = Math.min(...coverings.map((covering) => currentUntilMs(kept.began, covering, settleMs)));
    const endsAtMs = Math.min(kept.began.monotonicMs + limits.timeMs, untilMs);
    return { catalog: kept.catalog, currentness, servesMs: Math.max(0, Math.floor(endsAtMs - nowMs)) };
  }

  /**
   * For how much longer `catalog` may be believed, in milliseconds: what an answer with it may be repeated for. Not at all where it is not
   * the one that is kept: a newer one has come meanwhile, or a REFRESH while it was fetched.
   */
  servesMs(known: Known, catalog: Uint8Array): number {
    if (known.catalogName === undefined) return Infinity;
    const there = this.look(known);
    return there?.currentness === 'current' && there.catalog === catalog ? there.servesMs : 0;
  }

  /** The newest REFRESH of the issuer's catalogs that has been applied: what was under way before then is old news; 0: there is none. */
  newestRefresh({ issuer, catalogName }: Known): number {
    if (catalogName === undefined) return 0;
    return newestRefreshOf(this.#parts.invalidations.coveringOf(this.#subjects.of(issuer.name, catalogName)));
  }

  /** An older one does not replace a newer one. */
  keep(known: Known, fetched: FetchedCatalog): void {
    if (known.catalogName === undefined || !this.#parts.limits.enabled) return;
    const key = keyOf(known, known.catalogName);
    const before = this.#memory.peek(key);
    if (before && before.began.monotonicMs > fetched.began.monotonicMs) return;
    this.#memory.set(key, { ...fetched, subject: this.#subjects.of(known.issuer.name, known.catalogName) });
  }
}

const worstFirst = ['overdue', 'due', 'yielding', 'current'] as const;

const none: CatalogAtHand = { catalog: new Uint8Array(), currentness: 'current', servesMs: Infinity };

function keyOf(known: Known, catalogName: string): string {
  return `${catalogName} ${known.issuer.name}`;
}
