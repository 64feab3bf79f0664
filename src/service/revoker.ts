// Revoke and Refresh: what may be said, what it means in whole seconds, and how long it has to be remembered (S4, S12).

import { hash } from 'node:crypto';
import { dispatch } from '../core/dispatch.ts';
import { SidecarError } from '../core/errors.ts';
import type { Cursor } from '../core/invalidation.ts';
import { canonical, digestOf, shapeOf, signedContentOf } from '../core/raw.ts';
import type { Condition, Selector } from '../core/selector.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { FactsStore, Wanted } from './facts.ts';
import type { Appended, Invalidations } from './invalidations.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import type { Known } from './known.ts';
import { orAborted } from './wakeup.ts';

/** Who asks, under which id, and why. */
export interface Asked {
  /** Whom a retry is told apart by, and whom the entry names. */
  readonly actor: string;
  /** The same for every call of this caller: what its retries are told apart by (S14). */
  readonly caller: string;
  /** Empty: a retry is a second entry. */
  readonly requestId: string;
  readonly reason: string;
}

/** Done: durable here, and applied. `entryId` is empty where there was nothing to kill (RFC 7009 §2.2). */
export interface Done {
  readonly asOf: Cursor;
  readonly entryId: string;
  readonly atMs: number;
}

/** What the revoker needs. */
export interface RevokerParts {
  readonly issuers: readonly Issuer[];
  readonly facts: FactsStore;
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Between our hosts. */
  readonly skewMs: number;
  /** How long facts serve: what a REFRESH has to outlive. */
  readonly factsTimeMs: number;
  readonly tokenSizeBytes: number;
  /** By possession, of tokens of which only the shape is known: a second and listener, and alive at once. */
  readonly unverified: { readonly perSecond: number; readonly alive: number };
}

/** How long a signed token that is to be killed may wait for its issuer's keys. */
const verificationWaitMs = 1000;

type Target =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'shape'; readonly issuer: Issuer }
  | { readonly kind: 'known'; readonly known: Known };

/** Kills tokens and has facts fetched again. */
export class Revoker {
  readonly #parts: RevokerParts;
  readonly #budgets = new Map<string, UnverifiedBudget>();
  /** When the unverified ones end, oldest first. */
  #aliveUntilMs: number[] = [];

  constructor(parts: RevokerParts) {
    this.#parts = parts;
  }

  /**
   * By possession: having the token is enough. The entry by fingerprint comes first and needs no authority; its identity is added
   * where it is known. What no issuer's is, is wrongly signed or has ended is done without an entry.
   * Throws INVALID_ARGUMENT / TOKEN_MISSING, RESOURCE_EXHAUSTED / TOO_MANY_UNVERIFIED, and as `Invalidations.append`.
   */
  async revokeToken(raw: string, asked: Asked, listener: string, signal: AbortSignal): Promise<Done> {
    const { tagger, invalidations, clock } = this.#parts;
    const text = canonical(raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    if (raw.length > this.#parts.tokenSizeBytes) return this.#nothing();
    const digest = digestOf(text);
    const target = await this.#target(digest, text);
    if (target.kind === 'nothing') return this.#nothing();
    const [fingerprint = ''] = tagger.fingerprints(digest);
    const body = hash('sha256', JSON.stringify(['token', fingerprint]), 'hex');
    const issuer = target.kind === 'known' ? target.known.issuer : target.issuer;
    const lifeMs = this.#lifeMs(target, issuer);
    if (target.kind === 'shape') this.#spend(listener, clock.nowMs() + lifeMs);
    // The identity is an entry of its own: under a caller's name that nobody has, so that no request id can mean both.
    const append = (condition: Condition, caller: string): Promise<Appended> =>
      invalidations.append(
        {
          effect: 'REVOKE',
          selector: { kind: 'fit', issuer: issuer.name, conditions: [condition] },
          lifeMs,
          origin: originOf(asked),
        },
        { caller, requestId: asked.requestId, body },
      );
    const andIdentity = (identity: string): Promise<Appended> =>
      append({ dimension: 'identity', value: identity }, `${asked.caller} ${identity}`);
    const killing = (async (): Promise<Done> => {
      const first = await append({ dimension: 'fingerprint', value: fingerprint }, asked.caller);
      if (target.kind === 'known') return { ...(await andIdentity(target.known.identity)), entryId: first.entryId };
      void this.#learnIdentity({ digest, raw: text, issuer }, andIdentity);
      // Nobody has verified it yet, so nothing that it says of itself may be believed. But what was signed can be named as it is.
      const content = signedContentOf(text);
      return content === undefined ? first : { ...(await andIdentity(content)), entryId: first.entryId };
    })();
    // Who leaves between the two entries must not leave the token half dead: both are appended all the same.
    killing.catch(() => undefined);
    return orAborted(killing, signal);
  }

  /** Adds the identity as soon as it is known. What cannot be learned now is not: what has been written kills every spelling of it. */
  async #learnIdentity(wanted: Wanted, append: (identity: string) => Promise<Appended>): Promise<void> {
    const { issuer } = wanted;
    try {
      const fetched = await this.#parts.facts.fetch(wanted, AbortSignal.timeout(issuer.calls.deadlineMs));
      if (fetched.kind === 'known') await append(fetched.known.identity);
    } catch (error) {
      this.#parts.telemetry.log.debug({ issuer: issuer.name, error }, 'the identity of a revoked token could not be learned');
    }
  }

  /** All that fit. The caller has been authorised. Throws INVALID_ARGUMENT for a cut-off that is not allowed, and as above. */
  async revokeSelector(selector: Selector, issuedBeforeMs: number | undefined, asked: Asked, signal: AbortSignal): Promise<Done> {
    const { invalidations, clock } = this.#parts;
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
    const draft = { effect: 'REVOKE' as const, selector: named, ...cutOff, lifeMs, origin: originOf(asked) };
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
    const { factsTimeMs, issuers, skewMs } = this.#parts;
    return (Number.isFinite(factsTimeMs) ? factsTimeMs : longestLifeMs(issuers)) + skewMs;
  }

  /** What is known of the token without asking anybody but its own signature. */
  async #target(digest: string, text: string): Promise<Target> {
    const { facts, issuers } = this.#parts;
    const known = facts.find(digest);
    if (known) return this.#unlessEnded(known);
    const to = dispatch(issuers, text, shapeOf(text));
    if (to.kind === 'nobody') return { kind: 'nothing' };
    if (to.issuer.canAsk) return { kind: 'shape', issuer: to.issuer };
    // Its keys are at hand, or it is killed without them: nobody waits for an authority to have a token revoked.
    const patience = AbortSignal.timeout(verificationWaitMs);
    try {
      const fetched = await facts.fetch({ digest, raw: text, issuer: to.issuer }, patience);
      return fetched.kind === 'inactive' ? { kind: 'nothing' } : this.#unlessEnded(fetched.known);
    } catch (error) {
      // Its keys cannot be had just now. To kill it needs no authority: the shape is enough.
      const noKeys = error instanceof SidecarError && (error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED');
      if (noKeys) return { kind: 'shape', issuer: to.issuer };
      throw error;
    }
  }

  #unlessEnded(known: Known): Target {
    const comesBackMs = known.standing.endsAtMs + known.issuer.expiredWithinMs + this.#parts.skewMs;
    return this.#parts.clock.nowMs() >= comesBackMs ? { kind: 'nothing' } : { kind: 'known', known };
  }

  /**
   * S12: to the token's own end where that is known. It may be later than the longest life from now on: a token that begins in the
   * future ends later too. One that says itself that it lives too long is inactive in any case, and need not be kept until year 9999.
   */
  #lifeMs(target: Target, issuer: Issuer): number {
    const { clock, skewMs } = this.#parts;
    const longest = longestLifeMs([issuer]);
    if (target.kind !== 'known') return longest + skewMs;
    const { standing, issuedAtMs } = target.known;
    const leftMs = Math.max(0, standing.endsAtMs + issuer.expiredWithinMs - clock.nowMs());
    return (standing.livesTooLong && issuedAtMs !== undefined ? Math.min(longest, leftMs) : leftMs) + skewMs;
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

  #nothing(): Done {
    return { asOf: this.#parts.invalidations.cursor(), entryId: '', atMs: this.#parts.clock.nowMs() };
  }

  /** Strangers can make up strings of the right shape: they may fill neither the journal nor the index (S4). */
  #spend(listener: string, untilMs: number): void {
    const { clock, unverified } = this.#parts;
    const nowMs = clock.nowMs();
    this.#aliveUntilMs = this.#aliveUntilMs.filter((endMs) => endMs > nowMs);
    const budget = this.#budgets.get(listener) ?? new UnverifiedBudget(unverified.perSecond);
    this.#budgets.set(listener, budget);
    if (this.#aliveUntilMs.length >= unverified.alive || !budget.spend(clock.monotonicMs())) {
      throw new SidecarError('RESOURCE_EXHAUSTED', 'too many revocations of tokens of which only the shape is known', {
        reason: 'TOO_MANY_UNVERIFIED',
        retryAfterMs: 1000,
      });
    }
    this.#aliveUntilMs.push(untilMs);
  }
}

/** So many in any second, refilled evenly. */
class UnverifiedBudget {
  readonly #perSecond: number;
  #left: number;
  #atMs = -Infinity;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  spend(nowMs: number): boolean {
    const refill = this.#atMs === -Infinity ? 0 : ((nowMs - this.#atMs) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#perSecond, this.#left + refill);
    this.#atMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

function originOf(asked: Asked): { source: string; actor: string; requestId?: string; reason?: string } {
  return {
    source: 'rpc',
    actor: asked.actor,
    ...(asked.requestId ? { requestId: asked.requestId } : {}),
    ...(asked.reason ? { reason: asked.reason } : {}),
  };
}

function namesOneToken(selector: Selector): boolean {
  return (
    selector.kind === 'fit' &&
    selector.conditions.some((condition) => condition.dimension === 'fingerprint' || condition.dimension === 'identity')
  );
}

function wholeSecond(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

function invalid(reason: string, message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason });
}
