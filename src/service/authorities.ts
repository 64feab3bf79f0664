// Questions to the authorities: each issuer's gate and deadline, what they took, and how its clock stands to ours.

import { SidecarError } from '../core/errors.ts';
import type { Clock, Reading, ReadOptions, Telemetry } from '../ports.ts';
import type { Degradations } from './degradation.ts';
import { Gate } from './gate.ts';
import { asksAbout, type Issuer } from './issuer.ts';
import { Pace } from './pace.ts';
import { orAborted } from './wakeup.ts';

/** What asking needs. */
export interface AuthoritiesParts {
  readonly issuers: readonly Issuer[];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly degradations: Degradations;
}

/**
 * To whom a question gives way (S7, S13). `others`: half of the queue is for those that have no facts. `others and doubt`: also while
 * nobody knows whether the authority answers at all, to the one question that is to show it.
 */
export type Yielding = 'others' | 'others and doubt';

/** One question. */
export interface AuthorityQuestion extends ReadOptions {
  readonly yieldsTo?: Yielding | undefined;
}

/** What is taken for the pace of an authority that has not answered yet, in milliseconds. */
const unknownPaceMs = 500;

/** Whoever can tell of a token. */
export class Authorities {
  readonly #parts: AuthoritiesParts;
  readonly #gates: ReadonlyMap<string, Gate>;
  readonly #paces: ReadonlyMap<string, Pace>;
  /** Those whose last question was not answered. */
  readonly #silent = new Set<string>();

  constructor(parts: AuthoritiesParts) {
    this.#parts = parts;
    this.#gates = new Map(parts.issuers.map((issuer) => [issuer.name, new Gate(`issuer "${issuer.name}"`, issuer.calls)]));
    this.#paces = new Map(parts.issuers.map((issuer) => [issuer.name, new Pace()]));
  }

  queued(issuer: string): number {
    return this.#gates.get(issuer)?.queued ?? 0;
  }

  /** What 99 of 100 questions to it took lately, in milliseconds. */
  p99Ms(issuer: Issuer): number {
    return this.#paces.get(issuer.name)?.p99(unknownPaceMs) ?? unknownPaceMs;
  }

  /** Whether a question that gives way may be asked now. */
  hasRoom(issuer: Issuer, yieldsTo: Yielding): boolean {
    const gate = this.#gates.get(issuer.name);
    if (!gate?.isHalfFree) return false;
    return yieldsTo === 'others' || gate.running === 0 || !this.#silent.has(issuer.name);
  }

  /**
   * What the issuer says. Throws as TokenFormat.read and Gate.run, UNAVAILABLE / UPSTREAM_BUSY where it gives way, and UNAVAILABLE /
   * UPSTREAM_TIMEOUT when `deadline` aborts.
   */
  async read(issuer: Issuer, raw: string, deadline: AbortSignal, { yieldsTo, ...options }: AuthorityQuestion): Promise<Reading> {
    const gate = this.#gates.get(issuer.name);
    if (!gate) throw new SidecarError('INTERNAL', `no gate for issuer "${issuer.name}"`, { reason: 'NO_GATE' });
    let isAsked = false;
    const read = (): Promise<Reading> => {
      isAsked = true;
      return orDeadline(issuer.format.read(raw, deadline, options), deadline, issuer.name);
    };
    // It does not stand in a queue with those that wait for somebody, nor does it tell how quick that one is.
    if (!asksAbout(issuer, raw) && issuer.canAsk) return read();
    const startedMs = this.#parts.clock.monotonicMs();
    try {
      // Here, where it would take its place: of those that found room when they came, all but a few may find none by now.
      if (yieldsTo && !this.hasRoom(issuer, yieldsTo)) throw yielded(issuer);
      const reading = await gate.run(deadline, read);
      this.#silent.delete(issuer.name);
      if (reading.clockOffsetMs !== undefined) this.clockRead(issuer, reading.clockOffsetMs);
      this.#paces.get(issuer.name)?.observe(this.#parts.clock.monotonicMs() - startedMs);
      this.#count(issuer, reading.kind === 'facts' ? 'good' : 'bad', startedMs);
      return reading;
    } catch (error) {
      if (isAsked) this.#silent.add(issuer.name);
      // Its turn did not come, while others were answered: there was no room, after all.
      const failure = !isAsked && yieldsTo && !this.#silent.has(issuer.name) ? yielded(issuer) : error;
      this.#count(issuer, (failure instanceof SidecarError ? outcomes[failure.reason] : undefined) ?? 'error', startedMs);
      throw failure;
    }
  }

  /** How the issuer's clock stands to ours, as somebody has seen (S1). */
  clockRead({ name, life }: Issuer, offsetMs: number): void {
    this.#parts.degradations.clockDiffers(name, 'authority', Math.abs(offsetMs) > life.skewMs, { offsetMs });
  }

  #count({ name }: Issuer, outcome: string, startedMs: number): void {
    const { telemetry, clock } = this.#parts;
    telemetry.counter('sidegate_upstream_calls_total', { issuer: name, outcome }).add();
    telemetry.histogram('sidegate_upstream_duration_seconds', { issuer: name, outcome }).observe((clock.monotonicMs() - startedMs) / 1000);
  }
}

/** The label of a metric for each machine reason that is not simply an error. */
const outcomes: Readonly<Record<string, string>> = {
  OUR_CREDENTIAL_REFUSED: 'our_credential',
  OUR_CREDENTIAL_FORBIDDEN: 'our_credential',
  UPSTREAM_BUSY: 'shed',
  UPSTREAM_TIMEOUT: 'timeout',
};

/** Too many wait already; it says nothing about the authority. */
export function isBusy(error: unknown): boolean {
  return error instanceof SidecarError && error.reason === 'UPSTREAM_BUSY';
}

function yielded({ name }: Issuer): SidecarError {
  return new SidecarError('UNAVAILABLE', `questions to issuer "${name}" that are in no hurry give way now`, {
    reason: 'UPSTREAM_BUSY',
    retryAfterMs: 250,
  });
}

function orDeadline<Value>(reading: Promise<Value>, deadline: AbortSignal, issuer: string): Promise<Value> {
  return orAborted(reading, deadline).catch((error: unknown) => {
    if (error instanceof SidecarError || !deadline.aborted) throw error;
    const message = `issuer "${issuer}" did not answer in time`;
    throw new SidecarError('UNAVAILABLE', message, { reason: 'UPSTREAM_TIMEOUT', retryAfterMs: 1000, cause: error });
  });
}
