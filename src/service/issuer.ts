// An issuer at run time: what its tokens look like, who reads them, and the rules for their lives.

import type { LifeRules } from '../core/decision.ts';
import type { Claimant } from '../core/dispatch.ts';
import type { TokenFormat, Upstream } from '../ports.ts';

/** One issuer of the configuration, ready to be asked. */
export interface Issuer extends Claimant {
  readonly format: TokenFormat;
  readonly life: LifeRules;
  /** How long past its end a token may still come back (S4, S12). */
  readonly expiredWithinMs: number;
  /** A token with one of these roles is a service token (S16). */
  readonly serviceRoles: readonly string[];
  /** Its tokens may carry a service catalog. */
  readonly hasCatalogs: boolean;
  /** Tells it of a revocation; absent: it cannot be told. */
  readonly revoke?: NonNullable<Upstream['revoke']>;
  /** Whether it is told where a Revoke does not say. */
  readonly revokeUpstream: boolean;
  /** An authority can be asked about a token again; false where every token itself says all (S2). See `asksAbout`. */
  readonly canAsk: boolean;
  /** It may move the end of a token that it has given: an end that facts tell is not the last word. */
  readonly movesEnds: boolean;
  /** What one question to it may cost. */
  readonly calls: CallLimits;
}

/** Limits of the calls to one authority. Where none is asked, only the deadline holds. */
export interface CallLimits {
  /** For one question, retries included, in milliseconds. */
  readonly deadlineMs: number;
  readonly concurrency: number;
  /** Questions that wait for their turn; beyond it they are turned away. */
  readonly queue: number;
}

/** Whether an authority is asked about a token of this issuer that is spelt so: not where the token tells all of itself. */
export function asksAbout({ canAsk, format }: Issuer, canonicalRaw: string): boolean {
  return canAsk && format.tellsAll?.(canonicalRaw) !== true;
}

/**
 * The longest time an entry about tokens of these issuers has to be kept after its appending; `Infinity`: for ever. A token may have been
 * issued later than now by our clock, as far as its skew goes (S4), and it is let in beyond its end, as far as its leeway goes.
 */
export function longestLifeMs(issuers: readonly Issuer[]): number {
  return Math.max(0, ...issuers.map(lifeMs));
}

function lifeMs({ life, expiredWithinMs }: Issuer): number {
  return life.endless ? Infinity : life.maxTokenLifeMs + life.skewMs + life.leewayMs + expiredWithinMs;
}
