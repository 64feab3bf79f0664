// What a fleet's recorded history may be, by what was acknowledged in it. Pure.

import type { Reached } from '../fleet/calls.ts';

/** What came back. `denied` by a REVOKE that the sidecar knows, or by an issuer that refuses it. */
export type Outcome =
  | { readonly kind: 'active'; readonly isDegraded: boolean }
  | { readonly kind: 'denied'; readonly reason: string }
  | { readonly kind: 'none'; readonly code: string; readonly reason: string };

/** Something that happened. Times are milliseconds of the clock of whoever asks, which never steps. */
export type Happening =
  /** A Revoke is on its way: from now on nobody has to call the token active. */
  | { readonly kind: 'revoking'; readonly token: string; readonly atMs: number }
  /** It was acknowledged, as far as `reach`. */
  | {
      readonly kind: 'revoked';
      readonly token: string;
      readonly sidecar: string;
      readonly entryId: string;
      readonly reach: Reached;
      readonly atMs: number;
    }
  /** It was not: it may be there all the same. */
  | { readonly kind: 'unacknowledged'; readonly token: string; readonly sidecar: string; readonly why: string; readonly atMs: number }
  | ({
      readonly kind: 'answered';
      readonly askedAtMs: number;
      readonly answeredAtMs: number;
      /** It was asked to be at least as fresh as the token's own revocation. */
      readonly isFresh?: boolean;
    } & Asked)
  /** At the end, when everything is there again. */
  | ({ readonly kind: 'last' } & Asked)
  /** A watcher of this sidecar was told of an entry, or that it has missed some. */
  | { readonly kind: 'watched'; readonly sidecar: string; readonly entryId: string; readonly atMs: number }
  | { readonly kind: 'reset'; readonly sidecar: string; readonly atMs: number }
  /** From the beginning of a fault until everybody had recovered from it. */
  | { readonly kind: 'disturbed'; readonly fromMs: number; readonly toMs: number }
  /** Where there may be no answer; without a sidecar: from none of them. */
  | { readonly kind: 'silent'; readonly sidecar?: string; readonly fromMs: number; readonly toMs: number }
  /** This sidecar hears nothing that the log has taken since, whoever told it. */
  | { readonly kind: 'apart'; readonly sidecar: string; readonly fromMs: number; readonly toMs: number }
  /** Not within its time after the fault. `why`: in words of its status. */
  | { readonly kind: 'unrecovered'; readonly sidecar: string; readonly why: string };

/** A question, and its answer. */
export interface Asked {
  readonly sidecar: string;
  readonly token: string;
  readonly outcome: Outcome;
}

/** What a fleet promises, in milliseconds. */
export interface Rules {
  /** `max_lag`: for so long another sidecar may not know what is in the log, and not say so. */
  readonly lagMs: number;
  /** Between a moment and its note, and from the journal to the log where nothing is wrong. */
  readonly slackMs: number;
  /** Every call ends within this, one way or the other: the caller's deadline. */
  readonly answerWithinMs: number;
}

/** Which promise is broken. */
export type Broken =
  | 'ACTIVE_WHERE_REVOKED'
  | 'ACTIVE_ELSEWHERE'
  | 'ACTIVE_AFTER_FLEET'
  | 'ACTIVE_WHILE_APART'
  | 'OLDER_THAN_PROMISED'
  | 'DEAD_WHILE_GOOD'
  | 'NO_ANSWER'
  | 'LATE'
  | 'LOST'
  | 'WATCHER_MISSED'
  | 'NOT_RECOVERED';

/** One broken promise, told for people. */
export interface Violation {
  readonly broken: Broken;
  readonly sidecar: string;
  readonly note: string;
}

/** What could have been caught: a judge that saw nothing proves nothing. */
export interface Seen {
  readonly answers: number;
  readonly revoked: number;
  readonly unacknowledged: number;
  readonly active: number;
  readonly denied: number;
  readonly none: number;
  /** Asked where the token was revoked, after that was acknowledged. */
  readonly afterHere: number;
  /** Asked elsewhere, after the bound; and those of them that were active and said `degraded`. */
  readonly afterElsewhere: number;
  readonly excused: number;
  /** Answers that had to know the revocation. */
  readonly fresh: number;
  /** Active, of whatever token, while apart for longer than the bound: each has to say so. */
  readonly whileApart: number;
  readonly watched: number;
  readonly resets: number;
  readonly lasts: number;
}

/** Judges a whole history, in whatever order it is. */
export function judged(history: readonly Happening[], rules: Rules): { readonly violations: readonly Violation[]; readonly seen: Seen } {
  const facts = factsOf(history);
  const violations: Violation[] = [];
  const seen = {
    answers: 0,
    unacknowledged: 0,
    active: 0,
    denied: 0,
    none: 0,
    afterHere: 0,
    afterElsewhere: 0,
    excused: 0,
    fresh: 0,
    whileApart: 0,
    lasts: 0,
  };
  for (const one of history) {
    if (one.kind === 'answered') {
      seen.answers += 1;
      seen[one.outcome.kind] += 1;
      count(one, facts, rules, seen);
      violations.push(...ofAnswer(one, facts, rules));
    } else if (one.kind === 'last') {
      seen.lasts += 1;
      violations.push(...ofLast(one, facts));
    } else if (one.kind === 'unacknowledged') {
      seen.unacknowledged += 1;
    } else if (one.kind === 'unrecovered') {
      violations.push({ broken: 'NOT_RECOVERED', sidecar: one.sidecar, note: one.why });
    }
  }
  violations.push(...ofWatchers(facts));
  const watched = [...facts.watched.values()].reduce((sum, ids) => sum + ids.size, 0);
  const resets = [...facts.resets.values()].reduce((sum, times) => sum + times.length, 0);
  return { violations, seen: { ...seen, revoked: facts.revoked.size, watched, resets } };
}

type Of<Kind extends Happening['kind']> = Extract<Happening, { kind: Kind }>;

interface Facts {
  readonly revoking: ReadonlyMap<string, number>;
  readonly revoked: ReadonlyMap<string, Of<'revoked'>>;
  /** By sidecar: of everybody who was watched. */
  readonly watched: ReadonlyMap<string, ReadonlySet<string>>;
  readonly resets: ReadonlyMap<string, readonly number[]>;
  readonly disturbed: readonly Of<'disturbed'>[];
  readonly silent: readonly Of<'silent'>[];
  readonly apart: readonly Of<'apart'>[];
  readonly sidecars: ReadonlySet<string>;
}

function factsOf(history: readonly Happening[]): Facts {
  const revoking = new Map<string, number>();
  const revoked = new Map<string, Of<'revoked'>>();
  const watched = new Map<string, Set<string>>();
  const resets = new Map<string, number[]>();
  const disturbed: Of<'disturbed'>[] = [];
  const silent: Of<'silent'>[] = [];
  const apart: Of<'apart'>[] = [];
  const sidecars = new Set<string>();
  for (const one of history) {
    if (one.kind === 'revoking') revoking.set(one.token, Math.min(one.atMs, revoking.get(one.token) ?? Infinity));
    if (one.kind === 'revoked' && !revoked.has(one.token)) revoked.set(one.token, one);
    if (one.kind === 'watched') watched.set(one.sidecar, (watched.get(one.sidecar) ?? new Set()).add(one.entryId));
    if (one.kind === 'reset') resets.set(one.sidecar, [...(resets.get(one.sidecar) ?? []), one.atMs]);
    if (one.kind === 'disturbed') disturbed.push(one);
    if (one.kind === 'silent') silent.push(one);
    if (one.kind === 'apart') apart.push(one);
    if (one.kind === 'last' || one.kind === 'answered') sidecars.add(one.sidecar);
  }
  return { revoking, revoked, watched, resets, disturbed, silent, apart, sidecars };
}

/** From when on nobody but who has acknowledged it may call it active without saying that it is degraded. */
function boundOf({ atMs, reach }: Of<'revoked'>, { disturbed }: Facts, { lagMs, slackMs }: Rules): number {
  // Dead everywhere: no slack.
  if (reach === 'fleet') return atMs;
  if (reach === 'shared') return atMs + lagMs + slackMs;
  // Durable, and not known to be in the log: where something is wrong it may wait for as long as that lasts.
  const delayed = disturbed.filter(({ fromMs, toMs }) => fromMs - slackMs <= atMs && atMs <= toMs).map(({ toMs }) => toMs);
  return Math.max(atMs, ...delayed) + lagMs + slackMs;
}

/** Whether it has been apart for so long that it must know. */
function isApart({ sidecar, askedAtMs, answeredAtMs }: Of<'answered'>, { apart }: Facts, { lagMs, slackMs }: Rules): boolean {
  return apart.some((it) => it.sidecar === sidecar && it.fromMs + lagMs + slackMs <= askedAtMs && answeredAtMs <= it.toMs);
}

function ofAnswer(one: Of<'answered'>, facts: Facts, rules: Rules): readonly Violation[] {
  const { sidecar, token, outcome, askedAtMs, answeredAtMs } = one;
  const broken = (which: Broken, note: string): readonly Violation[] => [{ broken: which, sidecar, note }];
  const tookMs = answeredAtMs - askedAtMs;
  if (tookMs > rules.answerWithinMs + rules.slackMs) return broken('LATE', `took ${Math.round(tookMs)} ms`);
  if (outcome.kind === 'none') {
    // What cannot be had in time is not answered.
    if (one.isFresh) return [];
    const may = facts.silent.some((it) => [undefined, sidecar].includes(it.sidecar) && it.fromMs <= answeredAtMs && askedAtMs <= it.toMs);
    return may ? [] : broken('NO_ANSWER', `${outcome.code} ${outcome.reason}, at ${Math.round(askedAtMs)} ms`);
  }
  if (outcome.kind === 'denied') {
    const isGood = answeredAtMs < (facts.revoking.get(token) ?? Infinity);
    return isGood ? broken('DEAD_WHILE_GOOD', outcome.reason) : [];
  }
  if (one.isFresh) return broken('OLDER_THAN_PROMISED', `asked for what was revoked, at ${Math.round(askedAtMs)} ms`);
  if (!outcome.isDegraded && isApart(one, facts, rules)) return broken('ACTIVE_WHILE_APART', `asked at ${Math.round(askedAtMs)} ms`);
  const revoked = facts.revoked.get(token);
  if (revoked === undefined) return [];
  const note = `asked ${Math.round(askedAtMs - revoked.atMs)} ms after ${revoked.sidecar} had acknowledged ${revoked.entryId}, as far as ${revoked.reach}`;
  if (revoked.sidecar === sidecar) return askedAtMs >= revoked.atMs ? broken('ACTIVE_WHERE_REVOKED', note) : [];
  if (outcome.isDegraded || askedAtMs < boundOf(revoked, facts, rules)) return [];
  return broken(revoked.reach === 'fleet' ? 'ACTIVE_AFTER_FLEET' : 'ACTIVE_ELSEWHERE', note);
}

function count(
  one: Of<'answered'>,
  facts: Facts,
  rules: Rules,
  seen: { afterHere: number; afterElsewhere: number; excused: number; fresh: number; whileApart: number },
): void {
  const { sidecar, token, outcome, askedAtMs } = one;
  if (outcome.kind === 'active' && isApart(one, facts, rules)) seen.whileApart += 1;
  const revoked = facts.revoked.get(token);
  if (one.isFresh && outcome.kind !== 'none') seen.fresh += 1;
  if (revoked === undefined || outcome.kind === 'none') return;
  if (revoked.sidecar === sidecar) {
    if (askedAtMs >= revoked.atMs) seen.afterHere += 1;
  } else if (askedAtMs >= boundOf(revoked, facts, rules)) {
    seen.afterElsewhere += 1;
    if (outcome.kind === 'active') seen.excused += 1;
  }
}

/** Only the entry itself proves that it is not lost: an issuer's refusal would hide that. */
function ofLast({ sidecar, token, outcome }: Of<'last'>, { revoked }: Facts): readonly Violation[] {
  const entry = revoked.get(token);
  if (entry === undefined || (outcome.kind === 'denied' && outcome.reason === 'REVOKED')) return [];
  const said = outcome.kind === 'active' ? 'active' : outcome.reason;
  return [{ broken: 'LOST', sidecar, note: `${entry.entryId} of ${entry.sidecar}, reach ${entry.reach}: the last answer was ${said}` }];
}

function ofWatchers({ revoked, watched, resets, sidecars }: Facts): readonly Violation[] {
  return [...sidecars].flatMap((sidecar) =>
    [...revoked.values()]
      .filter(({ entryId }) => watched.get(sidecar)?.has(entryId) !== true)
      // Whoever was told to forget everything has missed nothing from before.
      .filter(({ atMs }) => !(resets.get(sidecar) ?? []).some((resetMs) => resetMs >= atMs))
      .map((entry): Violation => ({ broken: 'WATCHER_MISSED', sidecar, note: `${entry.entryId} of ${entry.sidecar}` })),
  );
}
