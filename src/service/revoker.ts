// Revoke and Refresh: what may be said, what it means in whole seconds, and how long it has to be remembered (S4, S12).

import { hash } from 'node:crypto';
import { SidecarError } from '../core/errors.ts';
import type { Selector } from '../core/selector.ts';
import type { Asked, Done, Forward } from './asked.ts';
import { originOf } from './asked.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import { Possession } from './possession.ts';
import type { RevokerParts } from './revoker-parts.ts';

/** Kills tokens and has facts fetched again. */
export class Revoker {
  readonly #parts: RevokerParts;
  readonly #possession: Possession;

  constructor(parts: RevokerParts) {
    this.#parts = parts;
    this.#possession = new Possession(parts);
  }

  /** As `Possession.revoke`. */
  revokeToken(raw: string, asked: Asked, giver: string, signal: AbortSignal, forward: Forward = 'as-configured'): Promise<Done> {
    return this.#possession.revoke(raw, asked, { giver, forward }, signal);
  }

  /** As `Possession.revokeHandle`. */
  revokeHandle(handle: string, asked: Asked, giver: string, signal: AbortSignal, forward: Forward = 'as-configured'): Promise<Done> {
    return this.#possession.revokeHandle(handle, asked, { giver, forward }, signal);
  }

  /** All that fit. The caller has been authorised. Throws INVALID_ARGUMENT for a cut-off that is not allowed, and as above. */
  async revokeSelector(selector: Selector, issuedBeforeMs: number | undefined, asked: Asked, signal: AbortSignal): Promise<Done> {
    const { invalidations, clock } = this.#parts;
    if (selector.kind === 'fit' && selector.conditions.some(({ dimension }) => dimension === 'catalog')) {
      throw invalid('SELECTOR_FORM', 'a service catalog cannot be revoked: refresh it');
    }
    const { named, issuers } = this.#scoped(selector);
    const latestMs = wholeSecond(clock.nowMs() + Math.max(...issuers.map((issuer) => issuer.life.skewMs)));
    if (namesOneToken(named) && issuedBeforeMs !== undefined) {
      throw invalid(
        'ISSUED_BEFORE_WITH_ONE_TOKEN',
        'a selector that names one token kills it whenever it was issued: leave issued_before out',
      );
    }
    if (issuedBeforeMs !== undefined && issuedBeforeMs > latestMs) {
      throw invalid('ISSUED_BEFORE_IN_FUTURE', 'issued_before is later than now plus the allowed skew');
    }
    const cutOff = namesOneToken(named) ? {} : { issuedBeforeMs: wholeSecond(issuedBeforeMs ?? latestMs) };
    const lifeMs = longestLifeMs(issuers) + this.#parts.skewMs;
    const body = hash('sha256', JSON.stringify(['revoke', named, issuedBeforeMs ?? null]), 'hex');
    // Which of the accepted keys made a fingerprint that somebody names cannot be told: none of them may go (S14).
    const keyIds = this.#parts.tagger.keyIds;
    const draft = { effect: 'REVOKE' as const, selector: named, ...cutOff, lifeMs, keyIds, origin: originOf(asked) };
    return invalidations.append(draft, { caller: asked.caller, requestId: asked.requestId, body }, signal);
  }

  /** Has the facts of all that fit fetched again. The caller has been authorised. */
  async refresh(selector: Selector, asked: Asked, signal: AbortSignal): Promise<Done> {
    const { named } = this.#scoped(selector);
    const body = hash('sha256', JSON.stringify(['refresh', named]), 'hex');
    const draft = { effect: 'REFRESH' as const, selector: named, lifeMs: this.refreshLifeMs, origin: originOf(asked) };
    return this.#parts.invalidations.append(draft, { caller: asked.caller, requestId: asked.requestId, body }, signal);
  }

  /** How long a REFRESH has to be kept (S12). */
  get refreshLifeMs(): number {
    return this.#parts.refreshLifeMs;
  }

  /** The selector with its issuer, where only one is configured, and the issuers whose tokens it can mean. */
  #scoped(selector: Selector): { readonly named: Selector; readonly issuers: readonly Issuer[] } {
    const { issuers } = this.#parts;
    const [only] = issuers;
    if (selector.issuer !== undefined) {
      const one = issuers.find((issuer) => issuer.name === selector.issuer);
      if (!one) throw invalid('ISSUER_UNKNOWN', 'the selector names an issuer that is not configured');
      return { named: selector, issuers: [one] };
    }
    const needsNone = selector.kind === 'everything' || selector.conditions.every((condition) => condition.dimension === 'fingerprint');
    if (needsNone) return { named: selector, issuers };
    if (issuers.length > 1 || !only) throw invalid('ISSUER_MISSING', 'several issuers are configured: the selector must name one');
    return { named: { ...selector, issuer: only.name }, issuers };
  }
}

function namesOneToken(selector: Selector): boolean {
  return selector.kind === 'fit' && selector.conditions.some(({ dimension }) => dimension === 'fingerprint' || dimension === 'identity');
}

function wholeSecond(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

function invalid(reason: string, message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason });
}
