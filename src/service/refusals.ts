// Refusals worth remembering (S9): bounded, in memory only, for a few seconds.

import { LRUCache } from 'lru-cache';
import type { Fetched } from '../core/currentness.ts';
import type { Coverable } from '../core/invalidation-index.ts';

/** What was refused, and what would end that. */
export interface Refusal {
  /** When it was asked. */
  readonly began: Fetched;
  /** Its attributes, where facts were known before: a REFRESH that matches ends the refusal. */
  readonly formerly: Coverable | undefined;
}

/** How refusals are kept. */
export interface RefusalLimits {
  readonly enabled: boolean;
  readonly timeMs: number;
  readonly maxEntries: number;
}

const windowMs = 10_000;
const fewest = 20;

/**
 * Refusals by (digest, issuer). When more than half of at least 20 fresh answers about previously active tokens within 10 s are
 * refusals, something is wrong with the authority rather than with the tokens, and none is remembered.
 */
export class Refusals {
  readonly #limits: RefusalLimits;
  /** When the question began that an authority refused, by every public name of the token: what was fetched before is not believed. */
  readonly #refusedAt: LRUCache<string, number>;
  readonly #entries: LRUCache<string, Refusal & { readonly untilMs: number }>;
  /** Fresh answers about previously active tokens, oldest first; bounded by what can matter. */
  #recent: { readonly atMs: number; readonly refused: boolean }[] = [];

  constructor(limits: RefusalLimits) {
    this.#limits = limits;
    this.#entries = new LRUCache({ max: Math.max(1, limits.maxEntries) });
    this.#refusedAt = new LRUCache({ max: Math.max(1_000, limits.maxEntries) });
  }

  get size(): number {
    return this.#entries.size;
  }

  find(digest: string, issuer: string, nowMs: number): Refusal | undefined {
    const found = this.#entries.get(digest + issuer);
    return found && nowMs < found.untilMs ? found : undefined;
  }

  /** Facts of before are those of a dead token, whoever still has them; kept whatever else is remembered. `beganMs`: monotonic. */
  noteRefused(fingerprints: readonly string[], beganMs: number): void {
    for (const fingerprint of fingerprints)
      this.#refusedAt.set(fingerprint, Math.max(beganMs, this.#refusedAt.peek(fingerprint) ?? beganMs));
  }

  /** When the newest of them began; `-Infinity`: none is known. */
  refusedAtMs(fingerprint: string): number {
    return this.#refusedAt.peek(fingerprint) ?? -Infinity;
  }

  forget(digest: string, issuer: string): void {
    this.#entries.delete(digest + issuer);
  }

  /** Says whether it was remembered; false in a mass refusal, or where that is switched off. */
  remember(digest: string, issuer: string, refusal: Refusal, nowMs: number): boolean {
    if (!this.#limits.enabled || this.inMassRefusal(nowMs)) return false;
    // What is refused again and again was known before the first time.
    const formerly = refusal.formerly ?? this.#entries.peek(digest + issuer)?.formerly;
    this.#entries.set(digest + issuer, { began: refusal.began, formerly, untilMs: nowMs + this.#limits.timeMs });
    return true;
  }

  /** A fresh answer about a token that was active before. */
  witness(refused: boolean, nowMs: number): void {
    this.#recent.push({ atMs: nowMs, refused });
    if (this.#recent.length > 2000) this.#recent = this.#recent.slice(-1000);
    if (refused && this.inMassRefusal(nowMs)) this.#entries.clear();
  }

  inMassRefusal(nowMs: number): boolean {
    const recent = this.#recent.filter((one) => nowMs - one.atMs < windowMs);
    this.#recent = recent;
    return recent.length >= fewest && 2 * recent.filter((one) => one.refused).length > recent.length;
  }
}
