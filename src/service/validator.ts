// Validate: facts, what covers them, the clock and the demand make an answer. On a hit nothing is awaited.

import { dispatch } from '../core/dispatch.ts';
import { SidecarError } from '../core/errors.ts';
import { type Covering, uncovered } from '../core/invalidation-index.ts';
import { canonical, digestOf, shapeOf } from '../core/raw.ts';
import type { Telemetry } from '../ports.ts';
import { Answers, type AnswersParts, marked } from './answers.ts';
import { isBusy, type Yielding } from './authorities.ts';
import type { FactsStore, Fetched, Wanted } from './facts.ts';
import { Freshness, type FreshnessParts } from './freshness.ts';
import { deathOf, type GlancingParts, glanceAt, type Seen } from './glancing.ts';
import type { Known } from './known.ts';
import type { Answer, Provenance, Question } from './question.ts';
import { digestOfHandle, type Handles } from './tier/handles.ts';
import { servingOf } from './use.ts';

/** What the validator needs. */
export interface ValidatorParts extends AnswersParts, FreshnessParts, GlancingParts {
  readonly facts: FactsStore;
  /** Where handles are accepted. */
  readonly handles: Handles | undefined;
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
  readonly #answers: Answers;
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
    this.#answers = new Answers(parts);
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
    if (known && this.#answers.currency.use(known, question) === 'good') return this.#hit(known, question);
    if (more?.handle !== undefined && more.handle !== '') return this.#begin(question, this.#subjectOf(more.handle), signal);
    if (question.raw.length > this.#parts.tokenSizeBytes) return this.#answers.nobody('MALFORMED');
    const text = canonical(question.raw);
    if (text === '') throw new SidecarError('INVALID_ARGUMENT', 'there is no token in the request', { reason: 'TOKEN_MISSING' });
    return this.#begin(question, { digest: digestOf(text), text }, signal);
  }

  /** Facts that Validate would answer from without asking anybody. */
  isGood(known: Known): boolean {
    return this.#answers.currency.use(known, { raw: '' }) === 'good';
  }

  /** As Validate would answer from these facts while nobody can be asked; undefined: not at all. Throws UNAVAILABLE / NEWS_BEHIND. */
  confirm(known: Known, provenance: Provenance): Answer | undefined {
    const answer = this.#answers.inNeed(known, { raw: '' }, 'no answer');
    return answer && { ...answer, provenance };
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
    const { digest, text } = subject;
    const known = this.#parts.facts.find(digest);
    const atHand = known && this.#answers.atHand(known, question);
    if (question.more?.catalog && atHand?.kind === 'good' && atHand.catalog) this.#catalogHits.add();
    if (known && atHand?.kind === 'good') return this.#hit(known, question, subject, atHand.catalog);
    const yieldsTo = atHand?.kind === 'in need' ? atHand.yieldsTo : undefined;
    const served = known && yieldsTo && this.#servedAtOnce(known, question, yieldsTo);
    if (served) return this.#counted(served);
    this.lookups += 1;
    if (known && question.more?.catalog && this.#answers.currency.use(known, question) === 'good') this.#catalogMisses.add();
    (known ? this.#stale : this.#misses).add();
    return text === undefined ? this.#opened(question, digest, signal) : this.#miss(question, { digest, text, yieldsTo }, known, signal);
  }

  /** What there is, where a fetch would have to give way; undefined: it need not, or another call has begun one already. */
  #servedAtOnce(known: Known, question: Question, yieldsTo: Yielding): Answer | undefined {
    const { digest, issuer } = known;
    if (digest === undefined) return undefined;
    const { catalog = false, allowExpired = false } = question.more ?? {};
    const wanted = { digest, raw: '', issuer, catalog: catalog && issuer.hasCatalogs, allowExpired, yieldsTo };
    return this.#parts.facts.hasRoom(wanted) ? undefined : this.#answers.inNeed(known, question, 'no room');
  }

  #hit(known: Known, question: Question, subject?: Subject, catalog?: Uint8Array): Answer {
    const answer = this.#counted(this.#answers.decided(known, question, 'MEMORY', catalog));
    if (this.#parts.clock.monotonicMs() >= known.refreshFromMs && answer.decision.active) this.#refreshAhead(known, question, subject);
    return answer;
  }

  #counted(answer: Answer): Answer {
    this.lookups += 1;
    this.hits += 1;
    this.#hits.add();
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
    { digest, text, yieldsTo }: Subject & { readonly text: string; readonly yieldsTo: Yielding | undefined },
    known: Known | undefined,
    signal: () => AbortSignal,
  ): Answer | Promise<Answer> {
    const { facts, issuers, clock, invalidations } = this.#parts;
    const to = known ? { kind: 'issuer' as const, issuer: known.issuer } : dispatch(issuers, text, shapeOf(text));
    if (to.kind === 'nobody') return this.#answers.nobody(to.reason);
    const { issuer } = to;
    const demanded = question.demand?.anyOfIssuers;
    if (demanded?.length && !demanded.includes(issuer.name)) return this.#answers.nobody('WRONG_ISSUER', digest);
    const { catalog = false, allowExpired = false } = question.more ?? {};
    // Its name alone is in the journal: dead whatever the authority would say.
    const { revoked } = known ? uncovered : facts.coveringUnseen({ digest, raw: text, issuer });
    if (revoked) return { ...this.#answers.nobody('REVOKED', digest), revoked };
    if (facts.refused({ digest, issuer, allowExpired })) {
      this.#refusalHits.add();
      return this.#answers.nobody('REFUSED', digest);
    }
    const arrived = { revision: invalidations.applied, monotonicMs: clock.monotonicMs() };
    const suits = (landed: Known): boolean => this.#answers.currency.suits(landed, arrived, question);
    const wanted: Wanted = { digest, raw: text, issuer, suits, catalog: catalog && issuer.hasCatalogs, allowExpired, yieldsTo };
    if (!known && issuer.format.glance) return this.#glanced(wanted, question, signal());
    if (this.#answers.refuses(issuer)) return this.#answers.refused(issuer, known, question);
    return this.#fetched(wanted, question, { facts: known }, signal());
  }

  /** What its keys tell comes before the tier, the lease, the flight and the authority: a stream of garbage costs none of them. */
  async #glanced(wanted: Wanted, question: Question, signal: AbortSignal): Promise<Answer> {
    const { facts } = this.#parts;
    const { digest } = wanted;
    const sight = await glanceAt(wanted, this.#parts);
    // Look again: meanwhile another call may have brought facts. Without this line a burst of misses asks the authority twice.
    const known = facts.find(digest);
    const isGood = known !== undefined && !wanted.catalog && this.#answers.currency.use(known, question) === 'good';
    if (isGood) return this.#answers.decided(known, question, 'MEMORY');
    // Of what its authority has told of meanwhile, keys are not believed.
    if (sight.kind === 'inactive' && !known) return this.#answers.nobody(sight.reason, digest);
    const seen = sight.kind === 'seen' ? sight.seen : undefined;
    const dead = seen && deathOf(seen, wanted, this.#parts);
    if (dead) return { ...this.#answers.nobody(dead.reason, digest), revoked: dead.revoked };
    if (this.#answers.refuses(wanted.issuer)) return this.#answers.refused(wanted.issuer, known, question);
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
    if (fetched.kind === 'inactive') return this.#answers.nobody(fetched.reason, wanted.digest);
    return this.#answers.decided(fetched.known, question, provenances[fetched.from], fetched.catalog);
  }

  /**
   * Nobody could be asked. What is at hand may serve all the same (S7, S13), perhaps because another flight, or another sidecar, had more
   * luck meanwhile. The journal itself may say that the token is dead; or the question takes facts past their time, where no REFRESH about
   * them has come since. Undefined: there is no answer.
   */
  #withoutAuthority(wanted: Wanted, question: Question, { facts: before, seen }: Before, error: unknown): Answer | undefined {
    const { facts, invalidations, clock, staleWhileDownMs, catalogs } = this.#parts;
    const isAway = error instanceof SidecarError && (error.code === 'UNAVAILABLE' || error.code === 'DEADLINE_EXCEEDED');
    const mayServe = before && (isAway || this.#answers.currency.use(before, question) === 'good');
    const served = mayServe ? this.#answers.inNeed(before, question, isBusy(error) ? 'no room' : 'no answer') : undefined;
    if (served) return served;
    const unknown = (): Covering => (seen ? invalidations.coveringOf(seen) : facts.coveringUnseen(wanted));
    const covering = before ? invalidations.covering(before) : unknown();
    if (covering.revoked && before) return this.#answers.decided(before, question, 'MEMORY');
    if (covering.revoked) return { ...this.#answers.nobody('REVOKED', wanted.digest), revoked: covering.revoked };
    const beyondMs = Math.min(question.more?.staleIfUnavailableMs ?? 0, staleWhileDownMs);
    if (!before || beyondMs <= 0 || !isAway || clock.monotonicMs() >= before.freshUntilMs + beyondMs) return undefined;
    const now = { revision: invalidations.applied, monotonicMs: clock.monotonicMs() };
    if (!this.#answers.currency.suits(before, now, question)) return undefined;
    const catalog = wanted.catalog ? catalogs.find(before) : undefined;
    if (wanted.catalog && !catalog) return undefined;
    return marked(this.#answers.decided(before, question, 'MEMORY', catalog));
  }

  /** A token that has ended is good for whoever acts for its user in a long operation, and is a service of the same issuer (S16). */
  async #withService(question: Question, serviceToken: string, subject: Subject, signal: () => AbortSignal): Promise<Answer> {
    const service = await this.validate({ raw: serviceToken, maxStalenessMs: question.maxStalenessMs }, signal);
    const { known } = service;
    const isService = (): boolean => known !== undefined && this.#isService(known, service);
    if (!known || !isService()) return this.#answers.nobody('BAD_SERVICE_TOKEN', subject.digest);
    const more = { ...question.more, allowExpired: true, expiredOf: known.issuer.name };
    const answer = await this.#answer({ ...question, more }, subject, signal);
    // Both at one moment: while the one was fetched, the other may have been revoked, and has aged.
    if (!isService()) return this.#answers.nobody('BAD_SERVICE_TOKEN', subject.digest);
    const now = this.#answers.decided(known, { raw: '', maxStalenessMs: question.maxStalenessMs }, 'MEMORY');
    const degradedBy = [...new Set([...answer.degradedBy, ...service.degradedBy, ...now.degradedBy])];
    return { ...answer, service: known, maxAgeMs: Math.min(answer.maxAgeMs, now.maxAgeMs), degradedBy };
  }

  #isService(known: Known, { decision }: Answer): boolean {
    if (!decision.active || !this.#answers.decided(known, { raw: '' }, 'MEMORY').decision.active) return false;
    const { serviceRoles } = known.issuer;
    return known.token().roles.some((role) => serviceRoles.includes(role.name));
  }

  #subjectOf(handle: string): Subject {
    if (!this.#parts.handles) throw new SidecarError('INVALID_ARGUMENT', 'handles are not configured here', { reason: 'HANDLES_OFF' });
    return { digest: digestOfHandle(handle), text: undefined };
  }

  /** What the handle stands for comes from the shared tier; without it, facts that are there serve as long as they do. */
  async #opened(question: Question, digest: string, signal: () => AbortSignal): Promise<Answer> {
    const { facts, handles } = this.#parts;
    const opened = (await handles?.open(digest)) ?? { kind: 'missing' as const };
    if (opened.kind === 'found') return this.#answer(question, { digest, text: canonical(opened.raw) }, signal);
    const here = facts.find(digest);
    const found = here && this.#answers.currency.use(here, question) === 'good' ? here : await facts.findShared({ digest });
    const best = typeof found === 'string' ? here : found;
    const answer = best && this.#answers.inNeed(best, question, 'no answer');
    if (answer) return { ...answer, provenance: best === here ? 'MEMORY' : 'SHARED' };
    const serves = best !== undefined && servingOf(this.#answers.currency.use(best, question), 'no answer') !== 'not';
    const { revoked } = facts.coveringUnseen({ digest, raw: '', issuer: undefined });
    if (revoked) return { ...this.#answers.nobody('REVOKED', digest), revoked };
    if (opened.kind === 'missing' && found !== 'unreachable' && !serves) return this.#answers.nobody('UNKNOWN_HANDLE', digest);
    const message = 'what the handle stands for cannot be told now';
    throw new SidecarError('UNAVAILABLE', message, { reason: 'HANDLE_NOT_AT_HAND', retryAfterMs: 1000 });
  }
}

const provenances: Readonly<Record<'shared' | 'authority' | 'signature', Provenance>> = {
  shared: 'SHARED',
  authority: 'AUTHORITY',
  signature: 'SIGNATURE',
};
