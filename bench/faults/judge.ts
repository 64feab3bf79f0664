// What a fleet's recorded history may be, by what was acknowledged in it. Pure.

import { endedMissedBy, isPast, ofEnded, ofLastEnded } from './ended.ts';
import { type Facts, factsOf } from './facts.ts';
import type { Happening, Of } from './history.ts';
import type { Broken, Rules, Violation } from './promises.ts';

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
  /** By Keystone, of itself; and those of them that it published. */
  readonly ended: number;
  readonly published: number;
  /** Asked about such a one past a bound; and those that were active and may have been, as they said `degraded`. */
  readonly afterNews: number;
  readonly excusedNews: number;
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
    afterNews: 0,
    excusedNews: 0,
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
      violations.push(...ofLast(one, facts), ...ofLastEnded(one, facts));
    } else if (one.kind === 'unacknowledged') {
      seen.unacknowledged += 1;
    } else if (one.kind === 'unrecovered') {
      violations.push({ broken: 'NOT_RECOVERED', sidecar: one.sidecar, note: one.why });
    }
  }
  violations.push(...ofWatchers(facts));
  const watched = [...facts.watched.values()].reduce((sum, ids) => sum + ids.size, 0);
  const resets = [...facts.resets.values()].reduce((sum, times) => sum + times.length, 0);
  const published = [...facts.ended.values()].filter(({ publishedAtMs }) => publishedAtMs !== undefined).length;
  return { violations, seen: { ...seen, revoked: facts.revoked.size, ended: facts.ended.size, published, watched, resets } };
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
  const isDuring = (it: { readonly fromMs: number; readonly toMs: number }): boolean => it.fromMs <= answeredAtMs && askedAtMs <= it.toMs;
  const isOurs = facts.stalled.some(isDuring);
  if (tookMs > rules.answerWithinMs + rules.slackMs && !isOurs) return broken('LATE', `took ${Math.round(tookMs)} ms`);
  if (outcome.kind === 'none') {
    // What cannot be had in time is not answered.
    if (one.isFresh) return [];
    const may = isOurs || facts.silent.some((it) => [undefined, sidecar].includes(it.sidecar) && isDuring(it));
    return may ? [] : broken('NO_ANSWER', `${outcome.code} ${outcome.reason}, at ${Math.round(askedAtMs)} ms`);
  }
  if (outcome.kind === 'denied') {
    const isGood = answeredAtMs < (facts.revoking.get(token) ?? Infinity);
    return isGood ? broken('DEAD_WHILE_GOOD', outcome.reason) : [];
  }
  if (one.isFresh) return broken('OLDER_THAN_PROMISED', `asked for what was revoked, at ${Math.round(askedAtMs)} ms`);
  if (!outcome.isDegraded && isApart(one, facts, rules)) return broken('ACTIVE_WHILE_APART', `asked at ${Math.round(askedAtMs)} ms`);
  const revoked = facts.revoked.get(token);
  if (revoked === undefined) return ofEnded(one, facts, rules);
  const note = `asked ${Math.round(askedAtMs - revoked.atMs)} ms after ${revoked.sidecar} had acknowledged ${revoked.entryId}, as far as ${revoked.reach}`;
  if (revoked.sidecar === sidecar) return askedAtMs >= revoked.atMs ? broken('ACTIVE_WHERE_REVOKED', note) : [];
  if (outcome.isDegraded || askedAtMs < boundOf(revoked, facts, rules)) return [];
  return broken(revoked.reach === 'fleet' ? 'ACTIVE_AFTER_FLEET' : 'ACTIVE_ELSEWHERE', note);
}

function count(
  one: Of<'answered'>,
  facts: Facts,
  rules: Rules,
  seen: {
    afterHere: number;
    afterElsewhere: number;
    excused: number;
    fresh: number;
    whileApart: number;
    afterNews: number;
    excusedNews: number;
  },
): void {
  const { sidecar, token, outcome, askedAtMs } = one;
  if (outcome.kind === 'active' && isApart(one, facts, rules)) seen.whileApart += 1;
  const revoked = facts.revoked.get(token);
  if (one.isFresh && outcome.kind !== 'none') seen.fresh += 1;
  if (outcome.kind !== 'none' && isPast(one, facts, rules)) {
    seen.afterNews += 1;
    if (outcome.kind === 'active') seen.excusedNews += 1;
  }
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

function ofWatchers(facts: Facts): readonly Violation[] {
  const { revoked, watched, resets, sidecars } = facts;
  return [...sidecars].flatMap((sidecar) => {
    // Whoever was told to forget everything has missed nothing from before.
    const isReset = (atMs: number): boolean => (resets.get(sidecar) ?? []).some((resetMs) => resetMs >= atMs);
    const missed = [...revoked.values()]
      .filter(({ entryId, atMs }) => watched.get(sidecar)?.has(entryId) !== true && !isReset(atMs))
      .map(({ entryId, sidecar: by }) => `${entryId} of ${by}`);
    const notes = [...missed, ...endedMissedBy(sidecar, facts, isReset)];
    return notes.map((note): Violation => ({ broken: 'WATCHER_MISSED', sidecar, note }));
  });
}
