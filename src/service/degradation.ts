// Per issuer, why answers about its tokens may rest on missed news (S13).

/** A closed list. CLOCK: this sidecar's clock against the authority's; of an issuer. STALE_FACTS: past their time; of one answer. */
export const degradedReasons = ['CLOCK', 'STALE_FACTS'] as const;

export type DegradedReason = (typeof degradedReasons)[number];

/** An issuer that is degraded. */
export interface Degraded {
  readonly issuer: string;
  readonly reasons: readonly DegradedReason[];
  readonly sinceMs: number;
}

const none: readonly DegradedReason[] = [];

/** Who is degraded, since when and why. A read costs one map lookup. */
export class Degradations {
  readonly #byIssuer = new Map<string, Degraded>();

  by(issuer: string): readonly DegradedReason[] {
    return this.#byIssuer.size === 0 ? none : (this.#byIssuer.get(issuer)?.reasons ?? none);
  }

  all(): readonly Degraded[] {
    return [...this.#byIssuer.values()];
  }

  /** Says whether that changed anything. */
  set(issuer: string, reason: DegradedReason, holds: boolean, nowMs: number): boolean {
    const before = this.#byIssuer.get(issuer);
    if (holds === (before?.reasons.includes(reason) ?? false)) return false;
    const reasons = holds ? [...(before?.reasons ?? []), reason] : (before?.reasons ?? []).filter((one) => one !== reason);
    if (reasons.length === 0) this.#byIssuer.delete(issuer);
    else this.#byIssuer.set(issuer, { issuer, reasons, sinceMs: before?.sinceMs ?? nowMs });
    return true;
  }
}
