// What was answered about one token at one place, held against what Keystone said of it before an action and after. Pure.

import type { Verdict } from './truth.ts';

/** One answer, as the judge looks at it. `says` as in `Verdict`. */
export type Said =
  | { readonly kind: 'active'; readonly says: string }
  | { readonly kind: 'inactive'; readonly reason: string }
  | { readonly kind: 'none'; readonly why: string };

/** The same answer again and again. All times are of one clock that never steps. */
export interface Span {
  readonly said: Said;
  /** Of the first of them, and of the last. */
  readonly firstAskedMs: number;
  readonly firstAnsweredMs: number;
  lastAnsweredMs: number;
  count: number;
}

/** What happened around the answers. */
export interface Course {
  readonly before: Verdict;
  readonly after: Verdict;
  /** When the action was sent to Keystone, and when its reply was there. */
  readonly sentMs: number;
  readonly repliedMs: number;
  /** A change that comes later than this after the reply is too late, whatever the machine. */
  readonly lateAfterMs: number;
}

/** What an answer may not be. */
export type Broken =
  /** At the end it is not what Keystone says. */
  | 'WRONG'
  /** It was called inactive, and Keystone has accepted it all the time. */
  | 'KILLED'
  /** It was called inactive before anything had been done. */
  | 'EARLY'
  /** It said what Keystone had said neither before nor after. */
  | 'NEITHER'
  /** It had changed, and then changed back. */
  | 'FLAPPED'
  /** There was no answer, although everything was there. */
  | 'NO_ANSWER'
  | 'LATE';

/** What came of one token at one place. */
export interface Judgement {
  readonly broken: readonly { readonly what: Broken; readonly note: string }[];
  /** From the reply to the first answer that said what is true since; 0 where that was before the reply. Absent: nothing had to change. */
  readonly changedAfterMs?: number;
}

/** Judges it. `spans` in the order of their answers; at least one of them is from after the action. */
export function judge(spans: readonly Span[], course: Course): Judgement {
  const { before, after, sentMs, repliedMs, lateAfterMs } = course;
  const broken: { what: Broken; note: string }[] = [];
  const isBroken = (what: Broken, note: string): void => void broken.push({ what, note });
  const isAfter = (span: Span): boolean => fits(span.said, after);
  const last = spans.at(-1);
  if (last === undefined || !isAfter(last))
    isBroken('WRONG', `${last ? told(last.said, after) : 'nothing'}; Keystone ${toldBy(after, last?.said)}`);

  for (const span of spans) {
    const { said } = span;
    if (said.kind === 'none') isBroken('NO_ANSWER', said.why);
    else if (said.kind === 'inactive' && before.accepted) {
      if (after.accepted) isBroken('KILLED', `${said.reason} for ${Math.round(span.lastAnsweredMs - span.firstAskedMs)} ms`);
      else if (span.firstAnsweredMs < sentMs) isBroken('EARLY', said.reason);
    } else if (said.kind === 'active' && !fits(said, before) && !isAfter(span)) isBroken('NEITHER', told(said, after));
  }

  const changes = !sameVerdict(before, after);
  const firstAfter = changes ? spans.findIndex((span) => isAfter(span)) : -1;
  if (firstAfter < 0) return { broken };
  const back = spans.slice(firstAfter).find((span) => !isAfter(span) && span.said.kind !== 'none');
  if (back) isBroken('FLAPPED', `${told(back.said, after)} again after ${Math.round(back.firstAnsweredMs - repliedMs)} ms`);
  const changedAfterMs = Math.max(0, (spans[firstAfter]?.firstAnsweredMs ?? 0) - repliedMs);
  if (changedAfterMs > lateAfterMs) isBroken('LATE', `after ${Math.round(changedAfterMs)} ms`);
  return { broken, changedAfterMs };
}

/** Whether both are the same answer. */
export function sameSaid(one: Said, other: Said): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Whether Keystone says the same of it: how it refuses is its own affair. */
export function sameVerdict(one: Verdict, other: Verdict): boolean {
  if (!one.accepted || !other.accepted) return one.accepted === other.accepted;
  return one.says === other.says;
}

/** Whether the answer is what Keystone says. */
export function fits(said: Said, verdict: Verdict): boolean {
  if (said.kind === 'none') return false;
  return verdict.accepted ? said.kind === 'active' && said.says === verdict.says : said.kind === 'inactive';
}

/** For people: of two that are active, what differs. */
function told(said: Said, verdict?: Verdict): string {
  if (said.kind === 'inactive') return said.reason;
  if (said.kind === 'none') return said.why;
  return verdict?.accepted ? `active, with ${differing(said.says, verdict.says)}` : 'active';
}

function toldBy(verdict: Verdict, said: Said | undefined): string {
  if (!verdict.accepted) return `refuses it (${verdict.status})`;
  return said?.kind === 'active' ? `says ${differing(verdict.says, said.says)}` : 'accepts it';
}

/** Those members of `one` that are not so in `other`. */
function differing(one: string, other: string): string {
  const [here, there] = [one, other].map((says): Readonly<Record<string, unknown>> => JSON.parse(says));
  const names = Object.keys({ ...here, ...there }).filter((name) => JSON.stringify(here?.[name]) !== JSON.stringify(there?.[name]));
  return names.map((name) => `${name} ${JSON.stringify(here?.[name])}`).join(', ');
}
