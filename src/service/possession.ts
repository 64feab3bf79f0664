// Revoke by possession: who has the token, or its handle, may kill it, and no authority has to be there (S4).

import type { End } from '../core/decision.ts';
import { dispatch } from '../core/dispatch.ts';
import { SidecarError } from '../core/errors.ts';
import { revision as revisionOf } from '../core/invalidation.ts';
import type { Covering } from '../core/invalidation-index.ts';
import { canonical, digestOf, shapeOf } from '../core/raw.ts';
import type { Asked, Done, Forward } from './asked.ts';
import { type Glanced, glanceAt } from './glancing.ts';
import { asksAbout, type Issuer, longestLifeMs } from './issuer.ts';
import { type Killing, kill, lifeOf, type Victim } from './killing.ts';
import type { Known } from './known.ts';
import type { RevokerParts } from './revoker-parts.ts';
import { Telling } from './telling/telling.ts';
import { digestOfHandle } from './tier/handles.ts';
import { UnverifiedBudget } from './unverified-budget.ts';
import { orAborted } from './wakeup.ts';

/** How long a signed token that is to be killed may wait for its issuer's keys. */
const verificationWaitMs = 1000;

/** From where, and whether the authority is told too. */
export interface Manner {
  readonly giver: string;
  readonly forward: Forward;
}

/** Kills tokens that are in somebody's hand. */
export class Possession {
  readonly #parts: RevokerParts;
  readonly #budget: UnverifiedBudget;
  readonly #telling: Telling;

  constructor(parts: RevokerParts) {
    this.#parts = parts;
    this.#budget = new UnverifiedBudget(parts.unverified, parts.clock);
    this.#telling = new Telling(parts);
  }

  /**
   * The entry by fingerprint comes first and needs no authority; what else names the token is added where it is known. What no issuer's
   * is, is wrongly signed or has ended is done without an entry (RFC 7009 §2.2); so is what is dead already. Once it is dead here its
   * authority is told, where that is wanted: also by a retry, and also of a token that was dead before.
   * Throws INVALID_ARGUMENT / TOKEN_MISSING, INVALID_ARGUMENT / CANNOT_FORWARD (`always`, of an issuer that cannot be told: nothing is
   * done), RESOURCE_EXHAUSTED / TOO_MANY_UNVERIFIED, and as `Invalidations.append` and, when it is dead here, `Telling.tell`.
   */
  async revoke(raw: string, asked: Asked, manner: Manner, signal: AbortSignal): Promise<Done> {
    const text = canonical(raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    if (text.length > this.#parts.tokenSizeBytes) return this.#nothing();
    const victim = await this.#victim(digestOf(text), text);
    return victim ? this.#revoke(victim, asked, manner, signal) : this.#nothing();
  }

  /**
   * The same for the token of a handle: as its facts and the shared tier tell what that is. Where nothing is known of it, as little as
   * its fingerprint kills it, under whichever issuer. Throws INVALID_ARGUMENT / HANDLE_MALFORMED too.
   */
  async revokeHandle(handle: string, asked: Asked, manner: Manner, signal: AbortSignal): Promise<Done> {
    const { facts, handles } = this.#parts;
    const digest = digestOfHandle(handle);
    const [found, opened] = await Promise.all([facts.find(digest) ?? facts.findShared({ digest }), handles?.open(digest)]);
    if (opened?.kind === 'found') return this.revoke(opened.raw, asked, manner, signal);
    const known = typeof found === 'string' ? undefined : found;
    const current = known && this.#isCurrent(known) ? known : undefined;
    if (current && this.#hasEnded(current.issuer, current.standing)) return this.#nothing();
    const victim = { digest, raw: undefined, issuer: known?.issuer, known: current };
    this.#telling.requirePossible(victim, manner.forward);
    const done = await this.#revoke(victim, asked, { ...manner, forward: 'never' }, signal);
    if (this.#telling.isWanted(victim, manner.forward)) throw cannotTell(opened?.kind === 'unreachable');
    return done;
  }

  async #revoke(victim: Victim, asked: Asked, { giver, forward }: Manner, signal: AbortSignal): Promise<Done> {
    const { clock, issuers, skewMs } = this.#parts;
    this.#telling.requirePossible(victim, forward);
    const { known, seen, issuer } = victim;
    const told = known ?? (issuer && seen && { issuer, issuedAtMs: seen.issuedAtMs, standing: seen });
    const lifeMs = told ? lifeOf(this.#parts, told) : longestLifeMs(issuer ? [issuer] : issuers) + skewMs;
    const before = await this.#alreadyDead(victim, lifeMs);
    const killing = { victim, asked, lifeMs };
    const tells = this.#telling.isWanted(victim, forward);
    if (before && !(tells && this.#telling.isNews(victim))) return { ...before, ...(tells && { forwarding: 'accepted' as const }) };
    // A made-up string that is dead already must not be told without end either; it is not alive a second time.
    const spent = told ? undefined : this.#budget.spend(giver, clock.nowMs() + (before ? 0 : lifeMs));
    const verified = (): void => spent && this.#budget.giveBack(spent);
    const killed = before ? this.#told(killing, before, signal) : this.#killed(killing, { tells, verified }, signal);
    // Who leaves between the entries must not leave the token half dead: all are appended.
    killed.catch(() => undefined);
    return orAborted(killed, signal);
  }

  async #killed(killing: Killing, more: { readonly tells: boolean; readonly verified: () => void }, signal: AbortSignal): Promise<Done> {
    const done = await kill(this.#parts, killing);
    await this.#telling.learn(killing, more.verified);
    return more.tells ? this.#told(killing, done, signal) : done;
  }

  async #told(killing: Killing, done: Done, signal: AbortSignal): Promise<Done> {
    return { ...done, forwarding: await this.#telling.tell(killing, signal) };
  }

  /** What is known of the token without asking anybody but its own keys; undefined where there is nothing to kill. */
  async #victim(digest: string, raw: string): Promise<Victim | undefined> {
    const { facts, issuers } = this.#parts;
    const known = facts.find(digest);
    if (known && this.#isCurrent(known)) return this.#unlessEnded(known, digest, raw);
    const to = known ? { kind: 'issuer' as const, issuer: known.issuer } : dispatch(issuers, raw, shapeOf(raw));
    if (to.kind === 'nobody') return undefined;
    const { issuer } = to;
    const token = { digest, raw, issuer };
    return asksAbout(issuer, raw) ? this.#atAGlance(token, known !== undefined) : this.#bySignature(token);
  }

  async #atAGlance(token: Glanced, wasKnown: boolean): Promise<Victim | undefined> {
    const sight = await glanceAt({ ...token, allowExpired: true }, this.#parts);
    // What its authority has once told facts of is a token, whatever keys say of it now. Of what none of them opens one may be missing here
    // that Keystone has: it is killed by its shape.
    if (sight.kind === 'inactive' && sight.reason === 'MALFORMED' && !wasKnown) return undefined;
    if (sight.kind !== 'seen') return { ...token, known: undefined };
    return this.#hasEnded(token.issuer, sight.seen) ? undefined : { ...token, known: undefined, seen: sight.seen };
  }

  async #bySignature(token: Glanced): Promise<Victim | undefined> {
    const { facts } = this.#parts;
    const shapeOnly: Victim = { ...token, known: undefined };
    try {
      // Its keys are at hand, or it is killed without them: nobody waits for an authority to have a token revoked.
      const fetched = await facts.fetch(token, AbortSignal.timeout(verificationWaitMs));
      if (fetched.kind === 'known') return this.#unlessEnded(fetched.known, token.digest, token.raw);
      // By keys that may be old now it is wrongly signed; by the issuer's next ones it may be good.
      return fetched.byOldKeys ? shapeOnly : undefined;
    } catch (error) {
      const noKeys = error instanceof SidecarError && (error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED');
      if (noKeys) return shapeOnly;
      throw error;
    }
  }

  /** Facts past their time may tell an end that the authority has moved since. */
  #isCurrent(known: Known): boolean {
    return !known.canAsk || this.#parts.clock.monotonicMs() < known.freshUntilMs;
  }

  #unlessEnded(known: Known, digest: string, raw: string): Victim | undefined {
    return this.#hasEnded(known.issuer, known.standing) ? undefined : { digest, raw, issuer: known.issuer, known };
  }

  #hasEnded(issuer: Issuer, { endsAtMs }: Pick<End, 'endsAtMs'>): boolean {
    const comesBackMs = endsAtMs + issuer.expiredWithinMs + this.#parts.skewMs;
    // Not by the wall clock alone: one that is ahead for a while would call a living token ended.
    return this.#parts.invalidations.steadyNowMs() >= comesBackMs;
  }

  /** The entry that killed it, where one names it and lives long enough: whoever has one token may not fill the journal with it. */
  async #alreadyDead({ digest, raw = '', issuer, known, seen }: Victim, lifeMs: number): Promise<Done | undefined> {
    const { facts, invalidations, clock } = this.#parts;
    const unknown = (): Covering => (seen ? invalidations.coveringOf(seen) : facts.coveringUnseen({ digest, raw, issuer }));
    const { revoked } = known ? invalidations.covering(known) : unknown();
    if (!revoked || revoked.issuedBeforeMs !== Infinity) return undefined;
    // What existed when it was first revoked has ended by the end of that entry; only a token that has told more of itself may not have.
    if ((known || seen) && revoked.forgetAtMs < clock.nowMs() + lifeMs - 1000) return undefined;
    const placed = await invalidations.journal.at(revisionOf(revoked.revision));
    return placed && { asOf: invalidations.cursor(), entryId: placed.entry.id, atMs: clock.nowMs() };
  }

  #nothing(): Done {
    return { asOf: this.#parts.invalidations.cursor(), entryId: '', atMs: this.#parts.clock.nowMs() };
  }
}

/** Asked again, what is dead here is told once the shared tier has the token. */
function cannotTell(isUnreachable: boolean): SidecarError {
  const message =
    'the token is dead here; its authority is not told, as nobody here has more of it than its handle: revoke the token itself';
  const facts = { reason: 'CANNOT_FORWARD' };
  return isUnreachable
    ? new SidecarError('UNAVAILABLE', message, { ...facts, retryAfterMs: 1000 })
    : new SidecarError('FAILED_PRECONDITION', message, facts);
}
