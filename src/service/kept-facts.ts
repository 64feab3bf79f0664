// Facts that are kept: the memory tier and the remembered refusals, by digest.

import { LRUCache } from 'lru-cache';
import { type Fetched, isOvertaken } from '../core/currentness.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { Invalidations } from './invalidations.ts';
import type { Issuer } from './issuer.ts';
import { type FactsTimes, type Known, sizeOf } from './known.ts';
import { type RefusalLimits, Refusals } from './refusals.ts';

/** How facts are kept. */
export interface CachingLimits extends FactsTimes {
  /** Facts are kept at all. */
  readonly enabled: boolean;
  readonly memoryBytes: number;
  readonly refusals: RefusalLimits;
}

/** What keeping needs. */
export interface KeptFactsParts {
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly limits: CachingLimits;
  /** For so long an authority may answer from before what it has announced. */
  readonly settleMs: number;
}

/** A token that an authority was asked about, and how. */
export interface AskedToken {
  readonly digest: string;
  readonly issuer: Issuer;
  /** Also where the token has ended. */
  readonly allowExpired?: boolean;
}

/** lru-cache makes an object of options for every call that brings none. */
const asItIs = {};

/** What this sidecar remembers of tokens. */
export class KeptFacts {
  readonly #parts: KeptFactsParts;
  readonly #memory: LRUCache<string, Known>;
  readonly #refusals: Refusals;
  #silentUntilMs = -Infinity;

  constructor(parts: KeptFactsParts) {
    this.#parts = parts;
    this.#memory = new LRUCache({
      maxSize: parts.limits.memoryBytes,
      // What is larger than a hundredth of the tier would push out too much that is good.
      maxEntrySize: Math.max(65_536, Math.floor(parts.limits.memoryBytes / 100)),
      sizeCalculation: sizeOf,
      dispose: (_known, _digest, why) => {
        if (why === 'evict') this.#evictions.add();
      },
    });
    this.#refusals = new Refusals(parts.limits.refusals);
  }

  entries(tier: 'memory' | 'unknown'): number {
    return tier === 'memory' ? this.#memory.size : this.#refusals.size;
  }

  get bytes(): number {
    return this.#memory.calculatedSize;
  }

  /** Facts in memory, however old. */
  find(digest: string): Known | undefined {
    return this.#memory.get(digest, asItIs);
  }

  /** Facts that were fetched before their token was refused here are no better for coming from another sidecar. */
  isOutdated({ fingerprint, began }: Known): boolean {
    return began.monotonicMs <= this.#refusals.refusedAtMs(fingerprint);
  }

  /** A refusal that still holds: not older than its time, and not overtaken by a REFRESH about what the token was. */
  refused({ digest, issuer, allowExpired }: AskedToken): boolean {
    const { clock, invalidations, settleMs } = this.#parts;
    const nowMs = clock.monotonicMs();
    const refusal = this.#refusals.find(digest, refusedBy(issuer, allowExpired), nowMs);
    if (!refusal) return false;
    if (!refusal.formerly) return true;
    return !isOvertaken(refusal.began, invalidations.coveringOf(refusal.formerly), { nowMs, settleMs });
  }

  /**
   * Keeps what an authority has just said, or a signature proved. Says whether it does: what was asked before another question that was
   * refused is old news, however late it comes.
   */
  learn({ digest, issuer }: AskedToken, known: Known): boolean {
    if (known.began.monotonicMs < this.#refusals.refusedAtMs(known.fingerprint)) return false;
    const before = this.#memory.peek(digest);
    if (before && this.#wasAlive(before)) this.#refusals.witness(false, this.#parts.clock.monotonicMs());
    for (const allowExpired of [false, true]) this.#refusals.forget(digest, refusedBy(issuer, allowExpired));
    this.#set(digest, known, false);
    return true;
  }

  /** Keeps facts out of the shared tier, unless their token has been refused here since. */
  remember(digest: string, known: Known): void {
    if (!this.isOutdated(known)) this.#set(digest, known, true);
  }

  /** A slow fetch must not put older facts over newer ones, nor a copy over its original: what is kept with that would begin again. */
  #set(digest: string, known: Known, isCopy: boolean): void {
    const before = this.#memory.peek(digest);
    const newer = before && (before.began.monotonicMs > known.began.monotonicMs || (isCopy && before.began.wallMs === known.began.wallMs));
    if (this.#parts.limits.enabled && !newer) this.#memory.set(digest, known);
  }

  /** Most tokens that were active are refused now: it may be the authority that is wrong (S9). */
  get inMassRefusal(): boolean {
    return this.#refusals.inMassRefusal(this.#parts.clock.monotonicMs());
  }

  /** Forgets the facts of a token that is refused, and remembers that it is: `began`, when it was asked. */
  refuse({ digest, issuer, allowExpired }: AskedToken, isRefusal: boolean, began: Fetched): void {
    const { clock, telemetry, tagger } = this.#parts;
    const before = this.#memory.peek(digest);
    this.#refusals.noteRefused(tagger.fingerprints(digest), began.monotonicMs);
    const nowMs = clock.monotonicMs();
    if (before) {
      if (this.#wasAlive(before)) this.#refusals.witness(isRefusal, nowMs);
      // A slow answer must not put out newer facts.
      if (before.began.monotonicMs <= began.monotonicMs) this.#memory.delete(digest);
    }
    if (!isRefusal) return;
    const kept = this.#refusals.remember(digest, refusedBy(issuer, allowExpired), { began, formerly: before }, nowMs);
    if (!kept && this.#refusals.inMassRefusal(nowMs)) {
      telemetry.counter('sidegate_refusals_forgotten_total', { issuer: issuer.name }).add();
      this.#sayMassRefusal(issuer, nowMs);
    }
  }

  /** A token that has ended by itself is refused as a matter of course: it says nothing about the authority (S9). */
  #wasAlive(before: Known): boolean {
    return this.#parts.clock.nowMs() < before.standing.endsAtMs;
  }

  /** One line in ten seconds: there is one such refusal for every call. */
  #sayMassRefusal(issuer: Issuer, nowMs: number): void {
    if (nowMs < this.#silentUntilMs) return;
    this.#silentUntilMs = nowMs + 10_000;
    this.#parts.telemetry.log.warn({ issuer: issuer.name }, 'most tokens that were active are refused now: refusals are not remembered');
  }

  get #evictions(): { add(n?: number): void } {
    return this.#parts.telemetry.counter('sidegate_cache_evictions_total', { tier: 'memory' });
  }
}

/** What is refused as it is may be good beyond its end, so the two are remembered apart (S9). */
function refusedBy(issuer: Issuer, allowExpired: boolean | undefined): string {
  return allowExpired ? `${issuer.name} expired` : issuer.name;
}
