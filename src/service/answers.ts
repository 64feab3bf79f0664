// Answers from what is at hand: decided, or as it serves where it should have been fetched first and could not be. Nothing is awaited.

import { decide, type InactiveReason } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import type { Yielding } from './authorities.ts';
import type { Catalogs } from './catalogs.ts';
import { Currency, type CurrencyParts } from './currency.ts';
import { isAboutNews } from './degradation.ts';
import type { FactsStore } from './facts.ts';
import type { Issuer } from './issuer.ts';
import type { Known } from './known.ts';
import type { Answer, Provenance, Question } from './question.ts';
import { catalogServingOf, type Need, servingOf, yieldingOf } from './use.ts';

/** What answering needs. */
export interface AnswersParts extends CurrencyParts {
  readonly facts: Pick<FactsStore, 'fingerprintOf'>;
  readonly catalogs: Catalogs;
}

/**
 * What is in memory for a question. `good`: all that it wants, to be believed. `in need`: all that it wants, to be fetched first by a
 * question that gives way; where that cannot be asked, it may serve.
 */
export type AtHand =
  | { readonly kind: 'good'; readonly catalog?: Uint8Array | undefined }
  | { readonly kind: 'in need'; readonly yieldsTo: Yielding };

/** Makes answers of facts. */
export class Answers {
  readonly currency: Currency;
  readonly #parts: AnswersParts;

  constructor(parts: AnswersParts) {
    this.#parts = parts;
    this.currency = new Currency(parts);
  }

  /** Undefined: something has to be fetched, and there is nothing in its place. */
  atHand(known: Known, question: Question): AtHand | undefined {
    const use = this.currency.use(known, question);
    if (use === 'stale') return undefined;
    // No fetch brings a token back that has ended by itself.
    if (use !== 'good' && this.#isOver(known, question)) return { kind: 'good' };
    const alone: AtHand = use === 'good' ? { kind: 'good' } : { kind: 'in need', yieldsTo: yieldingOf(use) };
    if (!question.more?.catalog) return alone;
    const found = this.#parts.catalogs.look(known);
    if (found?.currentness === 'current') return use === 'good' ? { kind: 'good', catalog: found.catalog } : alone;
    // A dead token needs no catalog, nor does one that does not meet the demand.
    if (use === 'good' && !this.decided(known, question, 'MEMORY').decision.active) return alone;
    if (!found) return undefined;
    return use === 'good' ? { kind: 'in need', yieldsTo: 'others and doubt' } : alone;
  }

  /**
   * From what should have been fetched first and could not be (S7, S13); undefined: it does not serve. Throws UNAVAILABLE / NEWS_BEHIND.
   */
  inNeed(known: Known, question: Question, need: Need): Answer | undefined {
    const serving = servingOf(this.currency.use(known, question), need);
    if (serving === 'not') return undefined;
    const catalog = question.more?.catalog ? this.#parts.catalogs.look(known) : undefined;
    const answer = this.decided(known, question, 'MEMORY', catalog?.catalog);
    if (question.more?.catalog && !catalog && answer.decision.active) return undefined;
    const isMarked = serving === 'marked' || (catalog && catalogServingOf(catalog.currentness, need) === 'marked');
    if (isMarked) return marked(answer);
    if (need === 'no answer' || !answer.decision.active || answer.degradedBy.length > 0) return answer;
    const { clock, invalidations } = this.#parts;
    const maxAgeMs = this.currency.maxAgeInNeedMs(known, invalidations.covering(known), question, clock.nowMs());
    return { ...answer, maxAgeMs: Math.min(maxAgeMs, catalog?.servesMs ?? Infinity) };
  }

  /** From these facts, whatever they are good for. Throws UNAVAILABLE / NEWS_BEHIND (S13). */
  decided(known: Known, question: Question, provenance: Provenance, catalog?: Uint8Array): Answer {
    const { clock, invalidations, degradations, catalogs } = this.#parts;
    const covering = invalidations.covering(known);
    const nowMs = clock.nowMs();
    const demand = question.more?.allowExpired ? this.currency.beyondItsEnd(known, question) : question.demand;
    const decision = decide(known, covering.revoked !== undefined, demand, nowMs);
    const degradedBy = degradations.by(known.issuer.name);
    if (decision.active && degradedBy.length > 0 && this.refuses(known.issuer)) throw newsBehind(known.issuer);
    const maxAgeMs = decision.active && degradedBy.length === 0 ? this.currency.maxAgeMs(known, covering, question, nowMs) : 0;
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
    const told = catalog ?? noCatalog;
    return { ...answer, catalog: told, maxAgeMs: Math.min(maxAgeMs, catalogs.servesMs(known, told)) };
  }

  /** Without facts. `digest` where an issuer takes it: then it has a name to log. */
  nobody(reason: InactiveReason, digest?: string): Answer {
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

  /** S13: the operator wants no answer rather than one that rests on news which may have been missed. */
  refuses({ name }: Issuer): boolean {
    return this.#parts.whenDegraded === 'refuse' && isAboutNews(this.#parts.degradations.by(name));
  }

  /** Where it refuses: no news bring back what is dead by itself. Throws UNAVAILABLE / NEWS_BEHIND where that cannot be told. */
  refused(issuer: Issuer, known: Known | undefined, question: Question): Answer {
    if (known && this.currency.tellsOfItsEnd(known, question)) return this.decided(known, { ...question, demand: undefined }, 'MEMORY');
    throw newsBehind(issuer);
  }

  /** Its facts say so whoever is asked again, unless its authority moves ends. */
  #isOver(known: Known, question: Question): boolean {
    if (known.issuer.movesEnds || question.more?.allowExpired) return false;
    return this.#parts.clock.nowMs() >= known.standing.endsAtMs;
  }
}

/** It rests on what a REFRESH has overtaken, or on facts past their time. */
export function marked(answer: Answer): Answer {
  return { ...answer, maxAgeMs: 0, degradedBy: [...answer.degradedBy, 'STALE_FACTS'] };
}

function newsBehind({ name }: Issuer): SidecarError {
  const message = `news of issuer "${name}" may have been missed, and the configuration wants no answer then`;
  return new SidecarError('UNAVAILABLE', message, { reason: 'NEWS_BEHIND', retryAfterMs: 1000 });
}

const noCatalog: Uint8Array = new Uint8Array();
