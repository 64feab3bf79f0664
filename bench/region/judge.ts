// What each answer of a region may be, by what its authority and each sidecar's own revocations were when it was given. Pure.

/** What a region promises. All times are milliseconds of one clock, which never steps. */
export interface Rules {
  /** `caching.token.time`: the greatest age of facts. */
  readonly timeMs: number;
  /** Between the clocks of the hosts: facts may serve so much longer, and what another host has confirmed so much shorter. */
  readonly skewMs: number;
  /** Between a moment and its note: timers, the scheduler, the way back. */
  readonly slackMs: number;
  /** After an authority or a sidecar is there again: what had failed before may still be told. */
  readonly recoveryMs: number;
  /** Every call ends within this, one way or the other: the caller's deadline. */
  readonly answerWithinMs: number;
}

/** What came back. `confirmedAtMs` where the answer tells it; `names` is what of the token the facts name. */
export type Outcome =
  | { readonly kind: 'active'; readonly names: string; readonly confirmedAtMs?: number | undefined }
  | { readonly kind: 'inactive'; readonly reason: string }
  | { readonly kind: 'none'; readonly code: string; readonly reason: string };

/** One answer. */
export interface Observation {
  readonly sidecar: string;
  readonly token: string;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
  readonly outcome: Outcome;
  /** The catalog was asked for too: it is a record of its own, and may have to be fetched where the facts are at hand. */
  readonly withCatalog?: boolean;
}

/** Which promise an answer has broken. */
export type Broken =
  | 'ANOTHERS_FACTS'
  | 'ACTIVE_NEVER_ISSUED'
  | 'ACTIVE_AFTER_REVOKE'
  | 'ACTIVE_TOO_LONG'
  | 'ACTIVE_BEYOND_END'
  | 'INACTIVE_WHILE_GOOD'
  | 'NO_ANSWER_WHILE_ALL_IS_THERE'
  | 'NO_ANSWER_BESIDE_FACTS'
  | 'STRANGE_ERROR'
  | 'LATE';

/** An answer that should not have been. */
export interface Violation {
  readonly broken: Broken;
  readonly observation: Observation;
  /** By how much, or since when: for people. */
  readonly note: string;
}

interface Life {
  readonly names: string;
  readonly endsAtMs: number;
  /** When the authority began to refuse it. */
  deniedAtMs: number;
  /** By sidecar: when it was first told, and when it had acknowledged. */
  readonly revokeAskedAtMs: Map<string, number>;
  readonly revokedAtMs: Map<string, number>;
  /** By sidecar: until when facts that it has shown must serve. */
  readonly atHandUntilMs: Map<string, number>;
}

/** Something that was not there for a while; the last one may go on. */
interface Absence {
  readonly fromMs: number;
  toMs: number;
}

/** What could have been caught: a judge that saw nothing proves nothing. */
export type Seen = Readonly<Record<'answers' | 'active' | 'inactive' | 'none' | 'afterRevoke' | 'afterDenial' | 'pastTime', number>>;

/** Holds every answer against what was true. Tell it first what happens, then what was answered. */
export class Judge {
  readonly #rules: Rules;
  readonly #lives = new Map<string, Life>();
  readonly #authorityAway: Absence[] = [];
  readonly #sidecarAway = new Map<string, Absence[]>();
  readonly #seen = { answers: 0, active: 0, inactive: 0, none: 0, afterRevoke: 0, afterDenial: 0, pastTime: 0 };
  readonly violations: Violation[] = [];

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  get seen(): Seen {
    return this.#seen;
  }

  /** From now on the authority accepts it, until `endsAtMs` or `denied`. Its facts name it `names`. */
  issued(token: string, { names, endsAtMs }: { readonly names: string; readonly endsAtMs: number }): void {
    const nothing = { revokeAskedAtMs: new Map(), revokedAtMs: new Map(), atHandUntilMs: new Map() };
    this.#lives.set(token, { names, endsAtMs, deniedAtMs: Infinity, ...nothing });
  }

  /** The authority accepts it no longer. */
  denied(token: string, atMs: number): void {
    const life = this.#lives.get(token);
    if (life) life.deniedAtMs = Math.min(life.deniedAtMs, atMs);
  }

  /** Nobody asks about it any more. */
  forget(token: string): void {
    this.#lives.delete(token);
  }

  /** A Revoke is on its way: from now on the sidecar may know of it, whether it acknowledges or dies. */
  revoking(sidecar: string, token: string, atMs: number): void {
    const life = this.#lives.get(token);
    if (life && !life.revokeAskedAtMs.has(sidecar)) life.revokeAskedAtMs.set(sidecar, atMs);
  }

  /** The sidecar has acknowledged it. */
  revoked(sidecar: string, token: string, atMs: number): void {
    const life = this.#lives.get(token);
    if (life && !life.revokedAtMs.has(sidecar)) life.revokedAtMs.set(sidecar, atMs);
  }

  /** From now on the authority does not answer (slow is not away). */
  authorityLeft(atMs: number): void {
    this.#authorityAway.push({ fromMs: atMs, toMs: Infinity });
  }

  authorityCame(atMs: number): void {
    const last = this.#authorityAway.at(-1);
    if (last) last.toMs = Math.min(last.toMs, atMs);
  }

  /** From now on the sidecar does not serve; what it had in memory is gone. */
  sidecarLeft(sidecar: string, atMs: number): void {
    const absences = this.#sidecarAway.get(sidecar) ?? [];
    absences.push({ fromMs: atMs, toMs: Infinity });
    this.#sidecarAway.set(sidecar, absences);
    for (const life of this.#lives.values()) life.atHandUntilMs.delete(sidecar);
  }

  sidecarCame(sidecar: string, atMs: number): void {
    const last = this.#sidecarAway.get(sidecar)?.at(-1);
    if (last) last.toMs = Math.min(last.toMs, atMs);
  }

  /** Judges one answer; tells of at most one broken promise, the worst. */
  answered(observation: Observation): Violation | undefined {
    const { outcome } = observation;
    this.#seen.answers += 1;
    this.#seen[outcome.kind] += 1;
    const life = this.#lives.get(observation.token);
    const found = this.#judged(observation, life) ?? this.#late(observation);
    if (found) this.violations.push(found);
    if (life) this.#learn(observation, life);
    return found;
  }

  #judged(observation: Observation, life: Life | undefined): Violation | undefined {
    const { outcome } = observation;
    if (outcome.kind === 'none') return this.#noAnswer(observation, outcome, life);
    if (outcome.kind === 'inactive') return this.#inactive(observation, outcome, life);
    return life ? this.#active(observation, outcome, life) : broken('ACTIVE_NEVER_ISSUED', observation, 'nobody has issued it');
  }

  #active(observation: Observation, outcome: Outcome & { kind: 'active' }, life: Life): Violation | undefined {
    const { timeMs, skewMs, slackMs } = this.#rules;
    const { sidecar, askedAtMs } = observation;
    if (outcome.names !== life.names) return broken('ANOTHERS_FACTS', observation, `they name ${outcome.names}, it is ${life.names}`);
    const revokedAtMs = life.revokedAtMs.get(sidecar) ?? Infinity;
    // No slack: what is asked after the acknowledgement sees it.
    if (askedAtMs >= revokedAtMs) return broken('ACTIVE_AFTER_REVOKE', observation, `acknowledged ${since(askedAtMs, revokedAtMs)}`);
    if (askedAtMs > life.endsAtMs + slackMs) return broken('ACTIVE_BEYOND_END', observation, `it ended ${since(askedAtMs, life.endsAtMs)}`);
    const overMs = askedAtMs - (life.deniedAtMs + timeMs + skewMs + slackMs);
    if (overMs > 0) return broken('ACTIVE_TOO_LONG', observation, `denied ${since(askedAtMs, life.deniedAtMs)}`);
    return undefined;
  }

  #inactive(observation: Observation, outcome: Outcome & { kind: 'inactive' }, life: Life | undefined): Violation | undefined {
    if (!life) return undefined;
    const { slackMs } = this.#rules;
    const { sidecar, answeredAtMs } = observation;
    this.#count(observation, life);
    const mayKnow = (life.revokeAskedAtMs.get(sidecar) ?? Infinity) <= answeredAtMs;
    if (mayKnow || life.deniedAtMs <= answeredAtMs || life.endsAtMs <= answeredAtMs + slackMs) return undefined;
    return broken('INACTIVE_WHILE_GOOD', observation, outcome.reason);
  }

  /** How many answers had to be inactive, and would have been caught otherwise. */
  #count({ sidecar, askedAtMs }: Observation, life: Life): void {
    const { timeMs, skewMs, slackMs } = this.#rules;
    if (askedAtMs >= (life.revokedAtMs.get(sidecar) ?? Infinity)) this.#seen.afterRevoke += 1;
    if (askedAtMs > life.deniedAtMs) this.#seen.afterDenial += 1;
    if (askedAtMs > life.deniedAtMs + timeMs + skewMs + slackMs) this.#seen.pastTime += 1;
  }

  #noAnswer(observation: Observation, outcome: Outcome & { kind: 'none' }, life: Life | undefined): Violation | undefined {
    const { sidecar, askedAtMs, answeredAtMs } = observation;
    const { recoveryMs, slackMs } = this.#rules;
    const during = ({ fromMs, toMs }: Absence): boolean => fromMs <= answeredAtMs && askedAtMs <= toMs + recoveryMs;
    if ((this.#sidecarAway.get(sidecar) ?? []).some(during)) return undefined;
    const said = `${outcome.code} ${outcome.reason}`;
    if (!honest.has(outcome.code)) return broken('STRANGE_ERROR', observation, said);
    if (!this.#authorityAway.some(during)) return broken('NO_ANSWER_WHILE_ALL_IS_THERE', observation, said);
    if (observation.withCatalog) return undefined;
    // Its facts may have been confirmed again beside a hit, and refused: what the sidecar had shown is gone then, and nobody was told.
    if (life && life.deniedAtMs <= answeredAtMs) return undefined;
    const atHandUntilMs = life?.atHandUntilMs.get(sidecar) ?? -Infinity;
    return answeredAtMs < atHandUntilMs - slackMs ? broken('NO_ANSWER_BESIDE_FACTS', observation, said) : undefined;
  }

  #late(observation: Observation): Violation | undefined {
    const tookMs = observation.answeredAtMs - observation.askedAtMs;
    if (tookMs <= this.#rules.answerWithinMs + this.#rules.slackMs) return undefined;
    return broken('LATE', observation, `took ${Math.round(tookMs)} ms`);
  }

  /** What the answer tells of the sidecar's memory. */
  #learn({ sidecar, outcome, askedAtMs }: Observation, life: Life): void {
    const { timeMs, skewMs } = this.#rules;
    if (outcome.kind === 'inactive') life.atHandUntilMs.delete(sidecar);
    if (outcome.kind !== 'active' || outcome.confirmedAtMs === undefined) return;
    // An answer that was under way when the sidecar died tells nothing of the one after it.
    if ((this.#sidecarAway.get(sidecar) ?? []).some(({ toMs }) => askedAtMs <= toMs)) return;
    const untilMs = Math.min(outcome.confirmedAtMs + timeMs - skewMs, life.endsAtMs);
    life.atHandUntilMs.set(sidecar, Math.max(untilMs, life.atHandUntilMs.get(sidecar) ?? -Infinity));
  }
}

/** Codes that say "no answer" and mean it; all others are faults of ours. */
const honest: ReadonlySet<string> = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED']);

const since = (nowMs: number, thenMs: number): string => `${Math.round(nowMs - thenMs)} ms before`;

function broken(which: Broken, observation: Observation, note: string): Violation {
  return { broken: which, observation, note };
}
