// Service catalogs in memory: records of their own beside the facts, shared by the tokens of one user and scope (S1).

import { LRUCache } from 'lru-cache';
import type { Clock } from '../ports.ts';
import type { Invalidations } from './invalidations.ts';
import type { FetchBegin, Known } from './known.ts';

/** A catalog, and when it was fetched. */
export interface FetchedCatalog {
  readonly catalog: Uint8Array;
  readonly began: FetchBegin;
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
  readonly settleMs: number;
  readonly limits: CatalogLimits;
}

/** Catalogs by issuer and name. A token without one has an empty one. */
export class Catalogs {
  readonly #parts: CatalogsParts;
  readonly #memory: LRUCache<string, FetchedCatalog>;

  constructor(parts: CatalogsParts) {
    this.#parts = parts;
    this.#memory = new LRUCache({
      maxSize: parts.limits.memoryBytes,
      // About 300 bytes of objects around each (`npm run bench -- memory`).
      sizeCalculation: ({ catalog }) => catalog.byteLength + 300,
    });
  }

  get size(): number {
    return this.#memory.size;
  }

  get bytes(): number {
    return this.#memory.calculatedSize;
  }

  /**
   * Young enough, and fetched after every REFRESH that concerns the token: its roles or its project may be others since. One that was
   * fetched while such a REFRESH settled serves until that is over, as facts do (S6).
   */
  find(known: Known): Uint8Array | undefined {
    if (known.catalogName === undefined) return none;
    return this.servesMs(known) > 0 ? this.#memory.get(keyOf(known, known.catalogName))?.catalog : undefined;
  }

  /** For how much longer `find` gives it, in milliseconds: what an answer with it may be repeated for. */
  servesMs(known: Known): number {
    if (known.catalogName === undefined) return Infinity;
    const { clock, invalidations, limits, settleMs } = this.#parts;
    const kept = this.#memory.peek(keyOf(known, known.catalogName));
    const covering = invalidations.covering(known);
    if (!kept || kept.began.revision < covering.refreshRevision) return 0;
    const settledFromMs = covering.refreshAppliedMs + settleMs;
    const endsAtMs = Math.min(kept.began.monotonicMs + limits.timeMs, kept.began.monotonicMs < settledFromMs ? settledFromMs : Infinity);
    return Math.max(0, Math.floor(endsAtMs - clock.monotonicMs()));
  }

  /** An older one does not replace a newer one. */
  keep(known: Known, fetched: FetchedCatalog): void {
    if (known.catalogName === undefined || !this.#parts.limits.enabled) return;
    const key = keyOf(known, known.catalogName);
    const before = this.#memory.peek(key);
    if (!before || before.began.monotonicMs <= fetched.began.monotonicMs) this.#memory.set(key, fetched);
  }
}

const none: Uint8Array = new Uint8Array();

function keyOf(known: Known, catalogName: string): string {
  return `${catalogName} ${known.issuer.name}`;
}
