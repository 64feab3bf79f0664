// Revoke by possession: who has the token may kill it, and no authority has to be there (S4).

import { hash } from 'node:crypto';
import { dispatch } from '../core/dispatch.ts';
import { SidecarError } from '../core/errors.ts';
import { revision as revisionOf } from '../core/invalidation.ts';
import type { Revoked } from '../core/invalidation-index.ts';
import { canonical, digestOf, shapeOf, signedContentOf } from '../core/raw.ts';
import type { Condition } from '../core/selector.ts';
import { type Asked, type Done, originOf, type RevokerParts } from './asked.ts';
import type { Wanted } from './facts.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import type { Known } from './known.ts';
import { UnverifiedBudget } from './unverified-budget.ts';
import { orAborted } from './wakeup.ts';

/** How long a signed token that is to be killed may wait for its issuer's keys. */
const verificationWaitMs = 1000;

type Target =
  | { readonly kind: 'shape'; readonly issuer: Issuer }
  | { readonly kind: 'known'; readonly issuer: Issuer; readonly known: Known };

/** One revocation on its way. */
interface Killing {
  readonly wanted: Wanted;
  readonly target: Target;
  readonly asked: Asked;
  readonly lifeMs: number;
}

/** Kills tokens that are in somebody's hand. */
export class Possession {
  readonly #parts: RevokerParts;
  readonly #budget: UnverifiedBudget;

  constructor(parts: RevokerParts) {
    this.#parts = parts;
    this.#budget = new UnverifiedBudget(parts.unverified, parts.clock);
  }

  /**
   * The entry by fingerprint comes first and needs no authority; what else names the token is added where it is known. What no issuer's
   * is, is wrongly signed or has ended is done without an entry (RFC 7009 §2.2); so is what is dead already.
   * Throws INVALID_ARGUMENT / TOKEN_MISSING, RESOURCE_EXHAUSTED / TOO_MANY_UNVERIFIED, and as `Invalidations.append`.
   */
  async revoke(raw: string, asked: Asked, listener: string, signal: AbortSignal): Promise<Done> {
    const text = canonical(raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    if (text.length > this.#parts.tokenSizeBytes) return this.#nothing();
    const digest = digestOf(text);
    const target = await this.#target(digest, text);
    if (!target) return this.#nothing();
    const wanted = { digest, raw: text, issuer: target.issuer };
    const lifeMs = target.kind === 'known' ? this.#lifeOf(target.known) : longestLifeMs([target.issuer]) + this.#parts.skewMs;
    const before = await this.#alreadyDead(wanted, target, lifeMs);
    if (before) return before;
    const spent = target.kind === 'shape' ? this.#budget.spend(listener, this.#parts.clock.nowMs() + lifeMs) : undefined;
    const killing = this.#kill({ wanted, target, asked, lifeMs }, () => spent && this.#budget.giveBack(spent));
    // Who leaves between the entries must not leave the token half dead: all are appended.
    killing.catch(() => undefined);
    return orAborted(killing, signal);
  }

  /** What is known of the token without asking anybody but its own signature; undefined where there is nothing to kill. */
  async #target(digest: string, text: string): Promise<Target | undefined> {
    const { facts, issuers, clock } = this.#parts;
    const known = facts.find(digest);
    // Facts past their time may tell an end that the authority has moved since.
    const isCurrent = known && (!known.issuer.canAsk || clock.monotonicMs() < known.freshUntilMs);
    if (known) return isCurrent ? this.#unlessEnded(known) : { kind: 'shape', issuer: known.issuer };
    const to = dispatch(issuers, text, shapeOf(text));
    if (to.kind === 'nobody') return undefined;
    const { issuer } = to;
    if (issuer.canAsk) return { kind: 'shape', issuer };
    try {
      // Its keys are at hand, or it is killed without them: nobody waits for an authority to have a token revoked.
      const fetched = await facts.fetch({ digest, raw: text, issuer }, AbortSignal.timeout(verificationWaitMs));
      if (fetched.kind === 'known') return this.#unlessEnded(fetched.known);
      // By keys that may be old now it is wrongly signed; by the issuer's next ones it may be good.
      return fetched.byOldKeys ? { kind: 'shape', issuer } : undefined;
    } catch (error) {
      const noKeys = error instanceof SidecarError && (error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED');
      if (noKeys) return { kind: 'shape', issuer };
      throw error;
    }
  }

  #unlessEnded(known: Known): Target | undefined {
    const comesBackMs = known.standing.endsAtMs + known.issuer.expiredWithinMs + this.#parts.skewMs;
    // Not by the wall clock alone: one that is ahead for a while would call a living token ended.
    return this.#parts.invalidations.steadyNowMs() >= comesBackMs ? undefined : { kind: 'known', issuer: known.issuer, known };
  }

  /**
   * S12: to the token's own end where that is known. It may be later than the longest life from now on: a token that begins in the
   * future ends later too. One that says itself that it lives too long is inactive in any case, and need not be kept until year 9999.
   * An end that the authority may move is none.
   */
  #lifeOf({ issuer, standing, issuedAtMs }: Known): number {
    const { clock, skewMs } = this.#parts;
    const longest = longestLifeMs([issuer]);
    const leftMs = Math.max(0, standing.endsAtMs + issuer.expiredWithinMs - clock.nowMs());
    if (standing.livesTooLong && issuedAtMs !== undefined) return Math.min(longest, leftMs) + skewMs;
    return (issuer.movesEnds ? Math.max(longest, leftMs) : leftMs) + skewMs;
  }

  /** The entry that killed it, where one names it and lives long enough: whoever has one token may not fill the journal with it. */
  async #alreadyDead(wanted: Wanted, target: Target, lifeMs: number): Promise<Done | undefined> {
    const { facts, invalidations, clock } = this.#parts;
    const covering = target.kind === 'known' ? invalidations.covering(target.known) : facts.coveringUnseen(wanted);
    const { revoked } = covering;
    if (!revoked || revoked.issuedBeforeMs !== Infinity) return undefined;
    // What existed when it was first revoked has ended by the end of that entry; only a token that has told more of itself may not have.
    if (target.kind === 'known' && revoked.forgetAtMs < clock.nowMs() + lifeMs - 1000) return undefined;
    return this.#doneBy(revoked);
  }

  async #doneBy({ revision }: Revoked): Promise<Done | undefined> {
    const { invalidations, clock } = this.#parts;
    const placed = await invalidations.journal.at(revisionOf(revision));
    return placed && { asOf: invalidations.cursor(), entryId: placed.entry.id, atMs: clock.nowMs() };
  }

  async #kill(killing: Killing, verified: () => void): Promise<Done> {
    const { wanted, target } = killing;
    const [fingerprint = ''] = this.#parts.tagger.fingerprints(wanted.digest);
    const first = await this.#append(killing, { dimension: 'fingerprint', value: fingerprint });
    const also = this.#otherName(target, wanted.raw);
    const last = also ? await this.#append(killing, also) : first;
    if (target.kind === 'shape') void this.#learn(killing, verified);
    return { ...last, entryId: first.entryId };
  }

  /** What names the token besides its fingerprint. Of one that nobody has verified nothing that it says of itself may be believed. */
  #otherName(target: Target, raw: string): Condition | undefined {
    const identity = target.kind === 'known' ? target.known.identity : undefined;
    if (identity !== undefined) return { dimension: 'identity', value: identity };
    const content = signedContentOf(raw);
    return content === undefined ? undefined : { dimension: 'signed_content', value: content };
  }

  /** Adds the identity as soon as it is known, and keeps the token dead for as long as it lives. What cannot be learned now is not. */
  async #learn(killing: Killing, verified: () => void): Promise<void> {
    const { issuer } = killing.wanted;
    try {
      const fetched = await this.#parts.facts.fetch(killing.wanted, AbortSignal.timeout(issuer.calls.deadlineMs));
      if (fetched.kind !== 'known') return;
      verified();
      const { known } = fetched;
      const learned = { ...killing, target: { kind: 'known' as const, issuer, known }, lifeMs: this.#lifeOf(known) };
      if (learned.lifeMs > killing.lifeMs) {
        await this.#append(learned, { dimension: 'fingerprint', value: known.fingerprint }, 'for its whole life');
      }
      const also = this.#otherName(learned.target, killing.wanted.raw);
      if (also) await this.#append(learned, also, 'as it is known now');
    } catch (error) {
      this.#parts.telemetry.log.debug({ issuer: issuer.name, error }, 'what else names a revoked token could not be learned');
    }
  }

  /** Each name is an entry of its own, under a caller that nobody else is, so that no request id can mean two of them. */
  #append({ wanted, asked, lifeMs }: Killing, condition: Condition, part: string = condition.dimension): Promise<Done> {
    const [fingerprint = ''] = this.#parts.tagger.fingerprints(wanted.digest);
    return this.#parts.invalidations.append(
      {
        effect: 'REVOKE',
        selector: { kind: 'fit', issuer: wanted.issuer.name, conditions: [condition] },
        lifeMs,
        origin: originOf(asked),
      },
      {
        caller: part === 'fingerprint' ? asked.caller : `${asked.caller} ${part}`,
        requestId: asked.requestId,
        body: hash('sha256', JSON.stringify(['token', fingerprint]), 'hex'),
      },
    );
  }

  #nothing(): Done {
    return { asOf: this.#parts.invalidations.cursor(), entryId: '', atMs: this.#parts.clock.nowMs() };
  }
}
