// No answer is older than it promised: judges a recorded history of a fleet. Pure.

import { type Book, bookOf, type Entry, type Told, type Truth } from './book.ts';
import type { Answered, Happening, Of, Position } from './happening.ts';

/** What the fleet promises, in milliseconds. */
export interface Rules {
  /** `caching.token.time`. */
  readonly timeMs: number;
  /** `caching.unknown.time`: a refusal is repeated for so long. */
  readonly unknownMs: number;
  readonly settleMs: number;
  /** `max_lag`: for so long another sidecar may not know what is in the log, and not say so. */
  readonly lagMs: number;
  /** For so long after a checkpoint a near cache needs no other. */
  readonly proofMs: number;
  /** Where two moments are not of one clock, or something has to come that nothing proves: journal to log, checkpoint to near cache. */
  readonly slackMs: number;
}

/** Which promise is broken. */
export type Broken =
  | 'OLDER_THAN_TIME'
  | 'OLDER_THAN_MAX_STALENESS'
  | 'OLDER_THAN_ASKED_ENTRY'
  | 'OLDER_THAN_REFRESH'
  | 'OLDER_THAN_REFRESH_ELSEWHERE'
  | 'NOT_SETTLED'
  | 'ACTIVE_WHERE_REVOKED'
  | 'ACTIVE_AS_OF_REVOKE'
  | 'ACTIVE_AFTER_ASKED_ENTRY'
  | 'ACTIVE_AFTER_FLEET'
  | 'ACTIVE_ELSEWHERE'
  | 'ACTIVE_AFTER_NEWS'
  | 'ACTIVE_AFTER_END'
  | 'ACTIVE_BY_NOBODY'
  | 'DEAD_WHILE_GOOD'
  | 'LOST'
  | 'WATCHER_MISSED'
  | 'ACKNOWLEDGEMENT_LOST'
  | 'ACKNOWLEDGEMENT_INVENTED';

/** One broken promise, told for people. */
export interface Violation {
  readonly broken: Broken;
  readonly sidecar: string;
  readonly note: string;
}

/** How many answers each promise held down: of facts where an older version would have broken it. What held nothing proves nothing. */
export type Held = Readonly<Partial<Record<Broken, number>>>;

/** How many there were. */
export interface Seen {
  readonly answers: number;
  readonly active: number;
  readonly degraded: number;
  readonly denied: number;
  readonly none: number;
  readonly near: number;
  readonly found: number;
  readonly revoked: number;
  readonly refreshed: number;
  readonly placed: number;
  readonly acknowledged: number;
  /** Why there was no answer, how often. */
  readonly noneBy: Readonly<Record<string, number>>;
  readonly held: Held;
}

/** Times of the wall are whole milliseconds, and facts of the shared tier are told by those. */
const roundingMs = 2;

/** Judges a whole history, in whatever order it is. */
export function judged(history: readonly Happening[], rules: Rules): { readonly violations: readonly Violation[]; readonly seen: Seen } {
  const book = bookOf(history);
  const violations: Violation[] = [];
  const held: Partial<Record<Broken, number>> = {};
  const noneBy: Record<string, number> = {};
  const count = { answers: 0, active: 0, degraded: 0, denied: 0, none: 0, near: 0, found: 0, acknowledged: 0 };
  for (const one of history) {
    if (one.kind === 'answered') {
      count.answers += 1;
      count[one.outcome.kind] += 1;
      if (one.how !== 'asked') count[one.how] += 1;
      if (one.outcome.kind === 'none') noneBy[one.outcome.reason] = (noneBy[one.outcome.reason] ?? 0) + 1;
      if (one.outcome.kind === 'active' && one.outcome.isDegraded) count.degraded += 1;
      for (const broken of holdsOf(one, book, rules)) held[broken] = (held[broken] ?? 0) + 1;
      violations.push(...ofAnswer(one, book, rules));
    } else if (one.kind === 'last') {
      violations.push(...ofLast(one));
    } else if (one.kind === 'counted') {
      count.acknowledged += 1;
      violations.push(...ofCount(one, book));
    }
  }
  violations.push(...ofWatchers(book));
  const revoked = book.entries.filter(({ effect }) => effect === 'REVOKE').length;
  const placed = [...book.placed.values()].reduce((sum, places) => sum + places.size, 0);
  return { violations, seen: { ...count, revoked, refreshed: book.entries.length - revoked, placed, noneBy, held } };
}

/** A promise about an answer: its facts are from after this moment; `Infinity`: it is not active. */
interface Promised {
  readonly broken: Broken;
  readonly fromMs: number;
  readonly why: string;
}

/** Where it was asked for, or known, or nothing excuses that it is not: everything that this answer promises. */
function promisesOf(one: Answered, told: Told, book: Book, rules: Rules): readonly Promised[] {
  const { askedAtMs, wanted, outcome } = one;
  const promises: Promised[] = [{ broken: 'OLDER_THAN_TIME', fromMs: askedAtMs - rules.timeMs, why: `time is ${rules.timeMs} ms` }];
  if (wanted.maxStalenessMs !== undefined) {
    const why = `max_staleness was ${wanted.maxStalenessMs} ms`;
    promises.push({ broken: 'OLDER_THAN_MAX_STALENESS', fromMs: askedAtMs - wanted.maxStalenessMs, why });
  }
  const isDegraded = outcome.kind === 'active' && outcome.isDegraded;
  for (const entry of told.entries) {
    const why = `${entry.effect} ${entry.names.join(' ')} (${entry.entryId}) of ${entry.sidecar}, as far as ${entry.reach}`;
    if (entry.effect === 'REFRESH') promises.push(...byRefresh(entry, why, one, isDegraded, book, rules));
    else promises.push(...byRevoke(entry, why, one, isDegraded, book, rules));
  }
  for (const { atMs, names } of told.listed) {
    if (isDegraded || askedAtMs < atMs + rules.lagMs + rules.slackMs) continue;
    const why = `listed for ${Math.round(askedAtMs - atMs)} ms: ${names.join(' ')}`;
    promises.push({ broken: 'ACTIVE_AFTER_NEWS', fromMs: Number.POSITIVE_INFINITY, why });
  }
  return promises;
}

function byRefresh(entry: Entry, why: string, one: Answered, isDegraded: boolean, book: Book, rules: Rules): readonly Promised[] {
  const { beganMs } = entry;
  const { askedAtMs } = one;
  const knownMs = knownFor(one, entry, book, rules);
  const promises: Promised[] = [];
  if (isAskedFor(entry, one, book)) promises.push({ broken: 'OLDER_THAN_ASKED_ENTRY', fromMs: beganMs, why });
  if (askedAtMs >= knownMs) promises.push({ broken: 'OLDER_THAN_REFRESH', fromMs: beganMs, why });
  // An authority may answer from before what it has announced: facts from before it has settled serve until then; and where another one
  // has come before that, until that one has.
  if (askedAtMs >= knownMs + 2 * rules.settleMs) promises.push({ broken: 'NOT_SETTLED', fromMs: beganMs + rules.settleMs, why });
  if (!isDegraded && askedAtMs >= boundOf(one, entry, book, rules)) {
    promises.push({ broken: 'OLDER_THAN_REFRESH_ELSEWHERE', fromMs: beganMs, why });
  }
  return promises;
}

function byRevoke(entry: Entry, why: string, one: Answered, isDegraded: boolean, book: Book, rules: Rules): readonly Promised[] {
  const { askedAtMs, outcome } = one;
  const dead = (broken: Broken, more = ''): Promised => ({ broken, fromMs: Number.POSITIVE_INFINITY, why: `${why}${more}` });
  const promises: Promised[] = [];
  if (isAskedFor(entry, one, book)) promises.push(dead('ACTIVE_AFTER_ASKED_ENTRY'));
  if (outcome.kind === 'active' && isAtOrBelow(entry, outcome.asOf, book)) promises.push(dead('ACTIVE_AS_OF_REVOKE'));
  const knownMs = knownFor(one, entry, book, rules);
  if (askedAtMs >= knownMs) promises.push(dead('ACTIVE_WHERE_REVOKED', `, known for ${Math.round(askedAtMs - knownMs)} ms`));
  if (isDegraded) return promises;
  const fleetMs = entry.reach === 'fleet' ? entry.atMs + nearMs(one, rules) : Number.POSITIVE_INFINITY;
  if (askedAtMs >= fleetMs) promises.push(dead('ACTIVE_AFTER_FLEET', ` ${Math.round(askedAtMs - entry.atMs)} ms before`));
  if (askedAtMs >= boundOf(one, entry, book, rules))
    promises.push(dead('ACTIVE_ELSEWHERE', ` ${Math.round(askedAtMs - entry.atMs)} ms before`));
  return promises;
}

/** For so much longer a near cache may not know. */
function nearMs({ how }: Answered, { proofMs, slackMs }: Rules): number {
  return how === 'near' ? proofMs + slackMs : 0;
}

/** Since when the sidecar that answers has known of it, for sure. */
function knownFor(one: Answered, entry: Entry, book: Book, rules: Rules): number {
  const placed = book.placed.get(one.sidecar)?.get(entry.entryId)?.atMs ?? Number.POSITIVE_INFINITY;
  const own = entry.sidecar === one.sidecar ? entry.atMs : Number.POSITIVE_INFINITY;
  return Math.min(placed, own) + nearMs(one, rules);
}

/** From when on every sidecar knows of it or says that it may not. */
function boundOf(one: Answered, { reach, sidecar, atMs }: Entry, { severed }: Book, rules: Rules): number {
  const { lagMs, slackMs } = rules;
  if (reach !== 'sidecar') return atMs + lagMs + roundingMs + nearMs(one, rules);
  // Durable, and not known to be in the log: it may wait for as long as something is wrong there.
  const until = severed.filter((it) => it.sidecar === sidecar && it.fromMs - slackMs <= atMs && atMs <= it.toMs).map(({ toMs }) => toMs);
  return Math.max(atMs, ...until) + lagMs + slackMs + nearMs(one, rules);
}

function isAskedFor(entry: Entry, { wanted }: Answered, book: Book): boolean {
  return wanted.entryId === entry.entryId || (wanted.position !== undefined && isAtOrBelow(entry, wanted.position, book));
}

function isAtOrBelow(entry: Entry, { journal, revision }: Position, book: Book): boolean {
  const there = book.revisions.get(journal)?.get(entry.entryId);
  return there !== undefined && there <= revision;
}

/** Which promises an older answer would have broken. */
function holdsOf(one: Answered, book: Book, rules: Rules): ReadonlySet<Broken> {
  const told = book.tokens.get(one.token);
  if (told === undefined || one.outcome.kind === 'none') return new Set();
  const oldestMs = told.truths[0]?.untilMs ?? Number.POSITIVE_INFINITY;
  return new Set(
    promisesOf(one, told, book, rules).flatMap(({ broken, fromMs }) => (oldestMs < fromMs || fromMs === Infinity ? [broken] : [])),
  );
}

function ofAnswer(one: Answered, book: Book, rules: Rules): readonly Violation[] {
  const { sidecar, token, outcome, askedAtMs, answeredAtMs, how } = one;
  const told = book.tokens.get(token);
  const at = `${how} ${token} at ${Math.round(askedAtMs)} ms`;
  if (outcome.kind === 'none') return [];
  if (told === undefined) return [{ broken: 'ACTIVE_BY_NOBODY', sidecar, note: at }];
  if (outcome.kind === 'denied') {
    return mayBeDenied(outcome.reason, told, one, rules) ? [] : [{ broken: 'DEAD_WHILE_GOOD', sidecar, note: `${outcome.reason}, ${at}` }];
  }
  const truth = told.truths.find(({ version }) => version === outcome.version);
  if (truth === undefined || !truth.isGood || truth.fromMs > answeredAtMs) {
    return [{ broken: 'ACTIVE_BY_NOBODY', sidecar, note: `${at}: version ${outcome.version}` }];
  }
  const violations = promisesOf(one, told, book, rules)
    .filter(({ fromMs }) => truth.untilMs < fromMs - roundingMs || fromMs === Number.POSITIVE_INFINITY)
    .map(({ broken, fromMs, why }): Violation => {
      const age = fromMs === Number.POSITIVE_INFINITY ? '' : `; its facts had ended ${Math.round(fromMs - truth.untilMs)} ms too early`;
      return { broken, sidecar, note: `${at}: ${why}${age}` };
    });
  if (truth.endsAtMs + rules.slackMs <= askedAtMs) violations.push({ broken: 'ACTIVE_AFTER_END', sidecar, note: at });
  return violations;
}

/** Somebody has begun to revoke it; or its authority refused it, or let it end, as lately as that may be repeated. */
function mayBeDenied(reason: string, told: Told, { askedAtMs, answeredAtMs }: Answered, rules: Rules): boolean {
  const within = (ageMs: number, isSo: (truth: Truth) => boolean): boolean =>
    told.truths.some((truth) => truth.untilMs >= askedAtMs - ageMs - rules.slackMs && truth.fromMs <= answeredAtMs && isSo(truth));
  const hasEnded = ({ endsAtMs }: Truth): boolean => endsAtMs <= answeredAtMs + rules.slackMs;
  if (reason === 'REVOKED') return told.revokingMs <= answeredAtMs || told.listed.some(({ atMs }) => atMs <= answeredAtMs);
  // An authority refuses what has ended.
  if (reason === 'REFUSED') return within(rules.unknownMs, (truth) => !truth.isGood || hasEnded(truth));
  return reason === 'EXPIRED' && within(rules.timeMs, hasEnded);
}

function ofLast({ sidecar, entryId, outcome }: Of<'last'>): readonly Violation[] {
  if (outcome.kind === 'denied') return [];
  return [{ broken: 'LOST', sidecar, note: `${entryId}: the last answer was ${outcome.kind === 'active' ? 'active' : outcome.reason}` }];
}

function ofWatchers({ entries, placed, resets }: Book): readonly Violation[] {
  return [...placed].flatMap(([sidecar, places]) =>
    entries
      .filter(({ entryId }) => !places.has(entryId))
      // Whoever was told to forget everything has missed nothing from before, nor what was being written then.
      .filter(({ beganMs }) => !(resets.get(sidecar) ?? []).some((resetMs) => resetMs >= beganMs))
      .map(({ entryId, sidecar: by, names, atMs }): Violation => {
        return { broken: 'WATCHER_MISSED', sidecar, note: `${entryId} of ${by}, about ${names.join(' ')}, at ${Math.round(atMs)} ms` };
      }),
  );
}

function ofCount({ sidecar, watcher, revision, askedAtMs, answeredAtMs }: Of<'counted'>, book: Book): readonly Violation[] {
  const said = book.acknowledged.get(watcher) ?? [];
  const least = Math.max(0, ...said.filter(({ atMs }) => atMs <= askedAtMs).map((one) => one.revision));
  const most = Math.max(0, ...said.filter(({ beganMs }) => beganMs <= answeredAtMs).map((one) => one.revision));
  const note = `${watcher}: ${revision}, of ${least} to ${most}`;
  if (revision < least) return [{ broken: 'ACKNOWLEDGEMENT_LOST', sidecar, note }];
  return revision > most ? [{ broken: 'ACKNOWLEDGEMENT_INVENTED', sidecar, note }] : [];
}
