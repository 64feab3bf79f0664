// Validate: facts, what covers them, the clock and the demand make an answer. On a hit nothing is awaited.

import { decide, type InactiveReason } from '../core/decision.ts';
import { dispatch } from '../core/dispatch.ts';
import { SidecarError } from '../core/errors.ts';
import { type Covering, uncovered } from '../core/invalidation-index.ts';
import { canonical, digestOf, shapeOf } from '../core/raw.ts';
import type { Telemetry } from '../ports.ts';
import type { Catalogs } from './catalogs.ts';
import { Currency, type CurrencyParts } from './currency.ts';
import type { Degradations } from './degradation.ts';
import type { FactsStore, Fetched, Wanted } from './facts.ts';
import { Freshness, type FreshnessParts } from './freshness.ts';
import { deathOf, type GlancingParts, glanceAt, type Seen } from './glancing.ts';
import type { Known } from './known.ts';
import type { Answer, Provenance, Question } from './question.ts';
import { digestOfHandle, type Handles } from './tier/handles.ts';

/** What the validator needs. */
export interface ValidatorParts extends CurrencyParts, FreshnessParts, GlancingParts {
  readonly facts: FactsStore;
  readonly catalogs: Catalogs;
  /** Where handles are accepted. */
  readonly handles: Handles | undefined;
  readonly degradations: Degradations;
  readonly telemetry: Telemetry;
  /** Longer strings are MALFORMED. */
  readonly tokenSizeBytes: number;
  /** The most that a question may ask for beyond the time of facts, while the authority cannot be reached. */
  readonly staleWhileDownMs: number;
}

/** What is asked about. `text` is undefined where only a handle was given, and what it stands for has not been looked for. */
interface Subject {
  readonly digest: string;
  readonly text: string | undefined;
}

/** What is known of a token before it is fetched. */
interface Before {
  readonly facts: Known | undefined;
  /** What its keys tell, where there are no facts. */
  readonly seen?: Seen | undefined;
}

/** Answers Validate. */
export class Validator {
  readonly #parts: ValidatorParts;
  readonly #currency: Currency;
  readonly #freshness: Freshness;
  /** Questions that were looked up in memory, and those that found usable facts. */
  lookups = 0;
  hits = 0;
  readonly #hits: { add(n?: number): void };
  readonly #misses: { add(n?: number): void };
  readonly #stale: { add(n?: number): void };
  readonly #refusalHits: { add(n?: number): void };
  readonly #catalogHits: { add(n?: number): void };
  readonly #catalogMisses: { add(n?: number): void };

  constructor(parts: ValidatorParts) {
    this.#parts = parts;
    this.#currency = new Currency(parts);
    this.#freshness = new Freshness(parts);
    const lookups = (tier: string, outcome: string): { add(n?: number): void } =>
      parts.telemetry.counter('sidegate_cache_lookups_total', { tier, outcome });
    this.#hits = lookups('memory', 'hit');
    this.#misses = lookups('memory', 'miss');
    this.#stale = lookups('memory', 'stale');
    this.#refusalHits = lookups('unknown', 'hit');
    this.#catalogHits = lookups('catalog', 'hit');
    this.#catalogMisses = lookups('catalog', 'miss');
  }

  /**
   * Good now, for this? Answers at once, not by a promise, where usable facts are in memory.
   * Throws (or rejects with) SidecarError where there is no answer. `signal` is asked for only on a miss.
   */
  validate(question: Question, signal: () => AbortSignal): Answer | Promise<Answer> {
    const { digest, atLeastAsFresh, more } = question;
    // What is in memory has been let in once: neither its length nor its spelling is looked at again.
    const known = digest === undefined || atLeastAsFresh || more ? undefined : this.#parts.facts.find(digest);
    if (known && this.#currency.isUsable(known, question)) return this.#hit(known, question);
    if (more?.handle !== undefined && more.handle !== '') return this.#begin(question, this.#subjectOf(more.handle), signal);
    if (question.raw.length > this.#parts.tokenSizeBytes) return this.#nobody('MALFORMED');
    const text = canonical(question.raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    return this.#begin(question, { digest: digestOf(text), text }, signal);
  }

  /** As Validate would answer from these facts; undefined where it would have to fetch them again first. */
  confirm(known: Known, provenance: Provenance): Answer | undefined {
    const question: Question = { raw: '' };
    return this.#currency.isUsable(known, question) ? this.#decided(known, question, provenance) : undefined;
  }

  #begin(question: Question, subject: Subject, signal: () => AbortSignal): Answer | Promise<Answer> {
    const { atLeastAsFresh, more } = question;
    if (atLeastAsFresh && !this.#freshness.isThere(atLeastAsFresh)) return this.#afterWaiting(question, subject, signal());
    if (more?.serviceToken) return this.#withService(question, more.serviceToken, subject, signal);
    return this.#answer(question, subject, signal);
  }

  async #afterWaiting(question: Question, subject: Subject, signal: AbortSignal): Promise<Answer> {
    const { atLeastAsFresh, ...rest } = question;
    if (atLeastAsFresh) await this.#freshness.waitFor(atLeastAsFresh, signal);
    return this.#begin(rest, subject, () => signal);
  }

  #answer(question: Question, subject: Subject, signal: () => AbortSignal): Answer | Promise<Answer> {
    const known = this.#parts.facts.find(subject.digest);
    const usable = known !== undefined && this.#currency.isUsable(known, question);
    if (usable && !question.more?.catalog) return this.#hit(known, question, subject);
    if (usable) {
      const catalog = this.#parts.catalogs.find(known);
      // A dead token needs no catalog, nor does one that does not meet the demand.
      if (catalog || !this.#decided(known, question, 'MEMORY').decision.active) {
        if (catalog) this.#catalogHits.add();
        return this.#hit(known, question, subject, catalog);
      }
      this.#catalogMisses.add();
    }
    this.lookups += 1;
    (known ? this.#stale : this.#misses).add();
    const { digest, text } = subject;
    return text === undefined ? this.#opened(question, digest, signal) : this.#miss(question, { digest, text }, known, signal);
  }

  #hit(known: Known, question: Question, subject?: Subject, catalog?: Uint8Array): Answer {
    this.lookups += 1;
    this.hits += 1;
    this.#hits.add();
    const answer = this.#decided(known, question, 'MEMORY', catalog);
    if (this.#parts.clock.monotonicMs() >= known.refreshFromMs && answer.decision.active) this.#refreshAhead(known, question, subject);
    return answer;
  }

  /** A token in use is confirmed again before its time is over, beside the call that has it at hand (S5). */
  #refreshAhead(known: Known, question: Question, subject: Subject | undefined): void {
    const { digest, issuer, standing } = known;
    const text = subject ? subject.text : canonical(question.raw);
    // One that has ended, and is good all the same, would be refused as a matter of course.
    const isAlive = this.#parts.clock.nowMs() < standing.endsAtMs;
    if (digest !== undefined && text && isAlive) this.#parts.facts.refreshAhead(known, { digest, raw: text, issuer });
  }

  #miss(
    question: Question,
    { digest, text }: Subject & { readonly text: string },
    known: Known | undefined,
    signal: () => AbortSignal,
  ): Answer | Promise<Answer> {
    const { facts, issuers, clock } = this.#parts;
    const to = known ? { kind: 'issuer' as const, issuer: known.issuer } : dispatch(issuers, text, shapeOf(text));
    if (to.kind === 'nobody') return this.#nobody(to.reason);
    const { issuer } = to;
    const demanded = question.demand?.anyOfIssuers;
    if (demanded?.length && !demanded.includes(issuer.name)) return this.#nobody('WRONG_ISSUER', digest);
    const { catalog = false, allowExpired = false } = question.more ?? {};
    // Its name alone is in the journal: dead whatever the authority would say.
    const { revoked } = known ? uncovered : facts.coveringUnseen({ digest, raw: text, issuer });
    if (revoked) return { ...this.#nobody('REVOKED', digest), revoked };
    if (facts.refused({ digest, issuer, allowExpired })) {
      this.#refusalHits.add();
      return this.#nobody('REFUSED', digest);
    }
    const arrivedMs = clock.monotonicMs();
    const suits = (landed: Known): boolean => this.#currency.suits(landed, arrivedMs, question);
    const wanted: Wanted = { digest, raw: text, issuer, suits, catalog: catalog && issuer.hasCatalogs, allowExpired };
    if (!known && issuer.format.glance) return this.#glanced(wanted, question, signal());
    return this.#fetched(wanted, question, { facts: known }, signal());
  }

  /** What its keys tell comes before the tier, the lease, the flight and the authority: a stream of garbage costs none of them. */
  async #glanced(wanted: Wanted, question: Question, signal: AbortSignal): Promise<Answer> {
    const { facts } = this.#parts;
    const { digest } = wanted;
    const sight = await glanceAt(wanted, this.#parts);
    // Look again: meanwhile another call may have brought facts. Without this line a burst of misses asks the authority twice.
    const known = facts.find(digest);
    if (known && !wanted.catalog && this.#currency.isUsable(known, question)) return this.#decided(known, question, 'MEMORY');
    if (sight.kind === 'inactive') return this.#nobody(sight.reason, digest);
    const seen = sight.kind === 'seen' ? sight.seen : undefined;
    const dead = seen && deathOf(seen, wanted, this.#parts);
    if (dead) return { ...this.#nobody(dead.reason, digest), revoked: dead.revoked };
    return this.#fetched(wanted, question, { facts: known, seen }, signal);
  }

  async #fetched(wanted: Wanted, question: Question, before: Before, signal: AbortSignal): Promise<Answer> {
    const { facts } = this.#parts;
    let fetched: Fetched;
    try {
      fetched = await facts.fetch(wanted, signal);
    } catch (error) {
      const now = { ...before, facts: facts.find(wanted.digest) ?? before.facts };
      const answer = this.#withoutAuthority(wanted, question, now, error);
      if (answer) return answer;
      throw error;
    }
    if (fetched.kind === 'inactive') return this.#nobody(fetched.reason, wanted.digest);
    return this.#decided(fetched.known, question, provenances[fetched.from], fetched.catalog);
  }

  /**
   * Nobody can be asked. The journal itself may say that the token is dead; or the question takes facts past their time, where no
   * REFRESH about them has come since (S7: a precise one blocks while the authority is away). Undefined: there is no answer.
   */
  #withoutAuthority(wanted: Wanted, question: Question, { facts: before, seen }: Before, error: unknown): Answer | undefined {
    const { facts, invalidations, clock, staleWhileDownMs, catalogs } = this.#parts;
    // Another flight, or another sidecar, may have had more luck while this call waited for its own.
    const lucky = before && this.#currency.isUsable(before, question) ? before : undefined;
    const luckyCatalog = lucky && wanted.catalog ? catalogs.find(lucky) : undefined;
    if (lucky && (luckyCatalog || !wanted.catalog)) return this.#decided(lucky, question, 'MEMORY', luckyCatalog);
    const unknown = (): Covering => (seen ? invalidations.coveringOf(seen) : facts.coveringUnseen(wanted));
    const covering = before ? invalidations.covering(before) : unknown();
    if (covering.revoked && before) return this.#decided(before, question, 'MEMORY');
    if (covering.revoked) return { ...this.#nobody('REVOKED', wanted.digest), revoked: covering.revoked };
    const beyondMs = Math.min(question.more?.staleIfUnavailableMs ?? 0, staleWhileDownMs);
    const isAway = error instanceof SidecarError && (error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED');
    if (!before || beyondMs <= 0 || !isAway || clock.monotonicMs() >= before.freshUntilMs + beyondMs) return undefined;
    if (!this.#currency.suits(before, clock.monotonicMs(), question)) return undefined;
    const catalog = wanted.catalog ? catalogs.find(before) : undefined;
    if (wanted.catalog && !catalog) return undefined;
    const answer = this.#decided(before, question, 'MEMORY', catalog);
    return { ...answer, maxAgeMs: 0, degradedBy: [...answer.degradedBy, 'STALE_FACTS'] };
  }

  /** A token that has ended is good for whoever acts for its user in a long operation, and is a service of the same issuer (S16). */
  async #withService(question: Question, serviceToken: string, subject: Subject, signal: () => AbortSignal): Promise<Answer> {
    const service = await this.validate({ raw: serviceToken, maxStalenessMs: question.maxStalenessMs }, signal);
    const { known } = service;
    const isService = (): boolean => known !== undefined && this.#isService(known, service);
    if (!known || !isService()) return this.#nobody('BAD_SERVICE_TOKEN', subject.digest);
    const more = { ...question.more, allowExpired: true, expiredOf: known.issuer.name };
    const answer = await this.#answer({ ...question, more }, subject, signal);
    // Both at one moment: while the one was fetched, the other may have been revoked, and has aged.
    if (!isService()) return this.#nobody('BAD_SERVICE_TOKEN', subject.digest);
    const now = this.#decided(known, { raw: '', maxStalenessMs: question.maxStalenessMs }, 'MEMORY');
    const degradedBy = [...new Set([...answer.degradedBy, ...now.degradedBy])];
    return { ...answer, service: known, maxAgeMs: Math.min(answer.maxAgeMs, now.maxAgeMs), degradedBy };
  }

  #isService(known: Known, { decision }: Answer): boolean {
    if (!decision.active || !this.#decided(known, { raw: '' }, 'MEMORY').decision.active) return false;
    const { serviceRoles } = known.issuer;
    return known.token().roles.some((role) => serviceRoles.includes(role.name));
  }

  #subjectOf(handle: string): Subject {
    if (!this.#parts.handles) throw new SidecarError('INVALID_ARGUMENT', 'handles are not configured here', { reason: 'HANDLES_OFF' });
    return { digest: digestOfHandle(handle), text: undefined };
  }

  /** What the handle stands for comes from the shared tier; without it, facts that are there serve as long as they do. */
  async #opened(question: Question, digest: string, signal: () => AbortSignal): Promise<Answer> {
    const { facts, handles, catalogs } = this.#parts;
    const opened = (await handles?.open(digest)) ?? { kind: 'missing' as const };
    if (opened.kind === 'found') return this.#answer(question, { digest, text: canonical(opened.raw) }, signal);
    const here = facts.find(digest);
    const found = here && this.#currency.isUsable(here, question) ? here : await facts.findShared({ digest });
    const serves = typeof found !== 'string' && this.#currency.isUsable(found, question);
    if (serves) {
      const catalog = question.more?.catalog ? catalogs.find(found) : undefined;
      const answer = this.#decided(found, question, found === here ? 'MEMORY' : 'SHARED', catalog);
      if (catalog || !question.more?.catalog || !answer.decision.active) return answer;
    }
    const { revoked } = facts.coveringUnseen({ digest, raw: '', issuer: undefined });
    if (revoked) return { ...this.#nobody('REVOKED', digest), revoked };
    if (opened.kind === 'missing' && found !== 'unreachable' && !serves) return this.#nobody('UNKNOWN_HANDLE', digest);
    const message = 'what the handle stands for cannot be told now';
    throw new SidecarError('UNAVAILABLE', message, { reason: 'HANDLE_NOT_AT_HAND', retryAfterMs: 1000 });
  }

  #decided(known: Known, question: Question, provenance: Provenance, catalog?: Uint8Array): Answer {
    const { clock, invalidations, degradations } = this.#parts;
    const covering = invalidations.covering(known);
    const nowMs = clock.nowMs();
    const demand = question.more?.allowExpired ? this.#currency.beyondItsEnd(known, question) : question.demand;
    const decision = decide(known, covering.revoked !== undefined, demand, nowMs);
    const degradedBy = degradations.by(known.issuer.name);
    const maxAgeMs = decision.active && degradedBy.length === 0 ? this.#currency.maxAgeMs(known, covering, question, nowMs) : 0;
    const answer: Answer = {
      decision,
      fingerprint: known.fingerprint,
      known,
      provenance,
      revoked: covering.revoked,
      asOf: invalidations.applied,
      maxAgeMs,
      degradedBy,
    };
    if (!question.more?.catalog || !decision.active) return answer;
    return { ...answer, catalog: catalog ?? noCatalog, maxAgeMs: Math.min(maxAgeMs, this.#parts.catalogs.servesMs(known)) };
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
}

const noCatalog: Uint8Array = new Uint8Array();

const provenances: Readonly<Record<'shared' | 'authority' | 'signature', Provenance>> = {
  shared: 'SHARED',
  authority: 'AUTHORITY',
  signature: 'SIGNATURE',
};
