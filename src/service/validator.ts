// Validate: facts, what covers them, the clock and the demand make an answer. On a hit nothing is awaited.

import { type Decision, type Demand, decide, type InactiveReason } from '../core/decision.ts';
import { dispatch } from '../core/dispatch.ts';
import { appendedAtMsOf } from '../core/entry-id.ts';
import { SidecarError } from '../core/errors.ts';
import type { Cursor, Revision } from '../core/invalidation.ts';
import { type Covering, type Revoked, uncovered } from '../core/invalidation-index.ts';
import { canonical, digestOf, shapeOf } from '../core/raw.ts';
import type { Clock, Telemetry } from '../ports.ts';
import type { Degradations, DegradedReason } from './degradation.ts';
import type { FactsStore, Fetched, Wanted } from './facts.ts';
import type { Invalidations } from './invalidations.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import type { Known } from './known.ts';
import { orAborted } from './wakeup.ts';

/** One question about one token. */
export interface Question {
  /** As presented; surrounding white space is ignored. */
  readonly raw: string;
  /** `digestOf(canonical(raw))`, from those who have it without `raw`: then a hit never reads `raw`, which may be made on demand. */
  readonly digest?: string | undefined;
  readonly demand?: Demand | undefined;
  /** What must have been applied before the decision. */
  readonly atLeastAsFresh?: { readonly cursor: Cursor } | { readonly entryId: string } | undefined;
  /** Facts confirmed longer ago are fetched again first. */
  readonly maxStalenessMs?: number | undefined;
}

/** Where facts were found. */
export type Provenance = 'MEMORY' | 'AUTHORITY' | 'SIGNATURE';

/** An answer. `known` is there wherever facts are, also of an inactive token: who may see them is not decided here. */
export interface Answer {
  readonly decision: Decision;
  /** Public name of the token; empty where no issuer takes it. */
  readonly fingerprint: string;
  readonly known: Known | undefined;
  readonly provenance: Provenance | undefined;
  readonly revoked: Revoked | undefined;
  /** Everything up to here was applied. */
  readonly asOf: Revision;
  /** How long a near cache may repeat this, in milliseconds; 0: not at all. */
  readonly maxAgeMs: number;
  readonly degradedBy: readonly DegradedReason[];
}

/** What the validator needs. */
export interface ValidatorParts {
  readonly issuers: readonly Issuer[];
  readonly facts: FactsStore;
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Longer strings are MALFORMED. */
  readonly tokenSizeBytes: number;
  readonly settleMs: number;
  readonly freshnessWaitMs: number;
  /** Facts are kept: otherwise an answer may not be repeated either. */
  readonly caching: boolean;
}

/** For tokens that never end, where facts serve until then: nobody needs an answer to be repeated for longer than a day. */
const longestMaxAgeMs = 86_400_000;

/** Answers Validate. */
export class Validator {
  readonly #parts: ValidatorParts;
  /** Questions that were looked up in memory, and those that found usable facts. */
  lookups = 0;
  hits = 0;
  readonly #hits: { add(n?: number): void };
  readonly #misses: { add(n?: number): void };
  readonly #stale: { add(n?: number): void };
  readonly #refusalHits: { add(n?: number): void };

  constructor(parts: ValidatorParts) {
    this.#parts = parts;
    const lookups = (tier: string, outcome: string): { add(n?: number): void } =>
      parts.telemetry.counter('sidegate_cache_lookups_total', { tier, outcome });
    this.#hits = lookups('memory', 'hit');
    this.#misses = lookups('memory', 'miss');
    this.#stale = lookups('memory', 'stale');
    this.#refusalHits = lookups('unknown', 'hit');
  }

  /**
   * Good now, for this? Answers at once, not by a promise, where usable facts are in memory.
   * Throws (or rejects with) SidecarError where there is no answer. `signal` is asked for only on a miss.
   */
  validate(question: Question, signal: () => AbortSignal): Answer | Promise<Answer> {
    const { digest, atLeastAsFresh } = question;
    // What is in memory has been let in once: neither its length nor its spelling is looked at again.
    const known = digest === undefined || atLeastAsFresh ? undefined : this.#parts.facts.find(digest);
    if (known && this.#isUsable(known, question.maxStalenessMs)) return this.#hit(known, question);
    if (question.raw.length > this.#parts.tokenSizeBytes) return this.#nobody('MALFORMED');
    const text = canonical(question.raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    if (atLeastAsFresh && !this.#isApplied(atLeastAsFresh)) return this.#afterWaiting(question, text, signal());
    return this.#answer(question, text, signal);
  }

  #answer(question: Question, text: string, signal: () => AbortSignal): Answer | Promise<Answer> {
    const digest = digestOf(text);
    const known = this.#parts.facts.find(digest);
    if (known && this.#isUsable(known, question.maxStalenessMs)) return this.#hit(known, question);
    this.lookups += 1;
    (known ? this.#stale : this.#misses).add();
    return this.#miss(digest, text, question, known, signal);
  }

  #hit(known: Known, question: Question): Answer {
    this.lookups += 1;
    this.hits += 1;
    this.#hits.add();
    return this.#decided(known, question, 'MEMORY');
  }

  /** Young enough for the configuration and the question, learned after every REFRESH that matches, and settled (S1, S6). */
  #isUsable(known: Known, maxStalenessMs: number | undefined): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs >= known.freshUntilMs) return false;
    const covering = this.#parts.invalidations.covering(known);
    // Dead whatever a fetch would say: no question to the authority, and an answer also while it is down.
    if (covering.revoked) return true;
    if (maxStalenessMs !== undefined && nowMs - known.began.monotonicMs > maxStalenessMs) return false;
    if (known.began.revision < covering.refreshRevision) return false;
    return !this.#isProvisional(known, covering) || nowMs < this.#settledFromMs(covering);
  }

  /** The fetch began so soon after a matching REFRESH that the authority may have answered from before it (S6). */
  #isProvisional(known: Known, covering: Covering): boolean {
    return known.provenance === 'authority' && known.began.monotonicMs < this.#settledFromMs(covering);
  }

  #settledFromMs(covering: Covering): number {
    return covering.refreshAppliedMs + this.#parts.settleMs;
  }

  #miss(digest: string, text: string, question: Question, known: Known | undefined, signal: () => AbortSignal): Answer | Promise<Answer> {
    const { facts, issuers } = this.#parts;
    const to = known ? { kind: 'issuer' as const, issuer: known.issuer } : dispatch(issuers, text, shapeOf(text));
    if (to.kind === 'nobody') return this.#nobody(to.reason);
    const demanded = question.demand?.anyOfIssuers;
    if (demanded?.length && !demanded.includes(to.issuer.name)) return this.#nobody('WRONG_ISSUER', digest);
    if (facts.refused(digest, to.issuer)) {
      this.#refusalHits.add();
      return this.#nobody('REFUSED', digest);
    }
    const arrivedMs = this.#parts.clock.monotonicMs();
    const suits = (landed: Known): boolean => this.#suits(landed, arrivedMs, question.maxStalenessMs);
    return this.#fetched({ digest, raw: text, issuer: to.issuer, suits }, question, known, signal());
  }

  /** Facts of a flight that was under way when the call arrived: young enough, and not provisional beyond their window (S6). */
  #suits(known: Known, arrivedMs: number, maxStalenessMs: number | undefined): boolean {
    if (maxStalenessMs !== undefined && arrivedMs - known.began.monotonicMs > maxStalenessMs) return false;
    const covering = this.#parts.invalidations.covering(known);
    // A newer REFRESH hides the one whose window the flight may have begun in, so nothing can be told of that: one more flight.
    if (known.began.revision < covering.refreshRevision) return false;
    return !this.#isProvisional(known, covering) || arrivedMs < this.#settledFromMs(covering);
  }

  async #fetched(wanted: Wanted, question: Question, before: Known | undefined, signal: AbortSignal): Promise<Answer> {
    const { facts, invalidations } = this.#parts;
    let fetched: Fetched;
    try {
      fetched = await facts.fetch(wanted, signal);
    } catch (error) {
      // Nobody can be asked, but the journal itself says that it is dead: that is an answer.
      if (before && invalidations.covering(before).revoked) return this.#decided(before, question, 'MEMORY');
      const { revoked } = before ? uncovered : facts.coveringUnseen(wanted);
      if (revoked) return { ...this.#nobody('REVOKED', wanted.digest), revoked };
      throw error;
    }
    if (fetched.kind === 'inactive') return this.#nobody(fetched.reason, wanted.digest);
    const provenance = fetched.known.provenance === 'authority' ? 'AUTHORITY' : 'SIGNATURE';
    return this.#decided(fetched.known, question, provenance);
  }

  #decided(known: Known, question: Question, provenance: Provenance): Answer {
    const { clock, invalidations, degradations } = this.#parts;
    const covering = invalidations.covering(known);
    const nowMs = clock.nowMs();
    const decision = decide(known, covering.revoked !== undefined, question.demand, nowMs);
    const degradedBy = degradations.by(known.issuer.name);
    const maxAgeMs = decision.active && degradedBy.length === 0 ? this.#maxAgeMs(known, covering, question.maxStalenessMs, nowMs) : 0;
    return {
      decision,
      fingerprint: known.fingerprint,
      known,
      provenance,
      revoked: covering.revoked,
      asOf: invalidations.applied,
      maxAgeMs,
      degradedBy,
    };
  }

  /** W15: the only permission to keep an answer. Ends with the facts, the token, the settle window and the caller's own bound. */
  #maxAgeMs(known: Known, covering: Covering, maxStalenessMs: number | undefined, nowMs: number): number {
    if (!this.#parts.caching) return 0;
    // A REFRESH came while the answer was under way: the next one fetches.
    if (known.began.revision < covering.refreshRevision) return 0;
    const monotonicMs = this.#parts.clock.monotonicMs();
    let endsInMs = Math.min(longestMaxAgeMs, known.freshUntilMs - monotonicMs, known.standing.endsAtMs - nowMs);
    if (this.#isProvisional(known, covering)) endsInMs = Math.min(endsInMs, this.#settledFromMs(covering) - monotonicMs);
    if (maxStalenessMs !== undefined) endsInMs = Math.min(endsInMs, known.began.monotonicMs + maxStalenessMs - monotonicMs);
    return Math.max(0, Math.floor(endsInMs));
  }

  /** Without facts. `digest` where an issuer takes it: then it has a name to log. */
  #nobody(reason: InactiveReason, digest?: string): Answer {
    return {
      decision: { active: false, reason },
      fingerprint: digest === undefined ? '' : this.#parts.facts.fingerprintOf(digest),
      known: undefined,
      provenance: undefined,
      revoked: undefined,
      asOf: this.#parts.invalidations.applied,
      maxAgeMs: 0,
      degradedBy: [],
    };
  }

  #isApplied(wanted: NonNullable<Question['atLeastAsFresh']>): boolean {
    if (!('cursor' in wanted)) return false;
    const { journal } = this.#parts.invalidations;
    return wanted.cursor.journal === journal.id && wanted.cursor.revision <= this.#parts.invalidations.applied;
  }

  async #afterWaiting(question: Question, text: string, signal: AbortSignal): Promise<Answer> {
    const { freshnessWaitMs } = this.#parts;
    const timeout = AbortSignal.timeout(freshnessWaitMs);
    const limited = AbortSignal.any([signal, timeout]);
    const wanted = question.atLeastAsFresh;
    try {
      if (wanted && 'cursor' in wanted) await this.#cursorApplied(wanted.cursor, limited);
      if (wanted && 'entryId' in wanted) await this.#entryApplied(wanted.entryId, limited);
    } catch (error) {
      if (error instanceof SidecarError) throw error;
      // Looking at `timeout` here also keeps it alive: node 20 may collect one that only AbortSignal.any refers to.
      const waited = timeout.aborted ? 'in time' : 'before the caller left';
      const message = `what the request wants applied has not come here ${waited}`;
      throw new SidecarError('FAILED_PRECONDITION', message, { reason: 'NOT_FRESH_ENOUGH', retryAfterMs: freshnessWaitMs, cause: error });
    }
    return this.#answer(question, text, () => signal);
  }

  async #cursorApplied(cursor: Cursor, signal: AbortSignal): Promise<void> {
    const { invalidations } = this.#parts;
    if (cursor.journal !== invalidations.journal.id) {
      throw new SidecarError('FAILED_PRECONDITION', 'the cursor is of another journal', { reason: 'OTHER_JOURNAL' });
    }
    await invalidations.waitFor(cursor.revision, signal);
  }

  /** By id, wherever it was made. One older than anything kept is applied: its token's life is over (S14). */
  async #entryApplied(entryId: string, signal: AbortSignal): Promise<void> {
    const { invalidations, clock, issuers } = this.#parts;
    const appendedAtMs = appendedAtMsOf(entryId);
    if (appendedAtMs === undefined) {
      throw new SidecarError('INVALID_ARGUMENT', 'entry_id is not the id of an invalidation', { reason: 'ENTRY_ID_MALFORMED' });
    }
    for (;;) {
      const seen = invalidations.changed.version;
      const placed = await orAborted(invalidations.journal.find(entryId), signal);
      if (placed) return invalidations.waitFor(placed.revision, signal);
      if (appendedAtMs + longestLifeMs(issuers) < clock.nowMs()) return;
      await invalidations.changed.wait(seen, signal);
    }
  }
}
