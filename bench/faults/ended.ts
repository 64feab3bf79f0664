// What is promised of tokens that Keystone ends by itself: what it publishes and what it lists is known in time, and never lost. Pure.

import type { Facts } from './facts.ts';
import type { Of } from './history.ts';
import type { Broken, Rules, Violation } from './promises.ts';

/** When one must be known, by whom, and how whoever calls it active then is excused: as it says that this very source may have more to tell. */
interface Bound {
  readonly atMs: number;
  readonly sinceMs: number;
  readonly excuses: readonly string[];
  readonly broken: Broken;
}

const ofBus = ['SOURCE_BEHIND(bus)', 'SOURCE_SUSPECT(bus)', 'GAP'];
const ofList = ['SOURCE_BEHIND(poll)'];

/** All that hold at that sidecar. */
function boundsOf({ atMs, publishedAtMs, isListed }: Of<'ended'>, sidecar: string, { unheard }: Facts, rules: Rules): readonly Bound[] {
  const { lagMs, slackMs, busMs } = rules;
  const bounds: Bound[] = [];
  if (publishedAtMs !== undefined) {
    const isHurt = unheard.some(
      (it) => [undefined, sidecar].includes(it.sidecar) && it.fromMs - busMs <= publishedAtMs && publishedAtMs <= it.toMs,
    );
    const withinMs = isHurt ? lagMs + slackMs : busMs;
    bounds.push({ atMs: publishedAtMs + withinMs, sinceMs: publishedAtMs, excuses: ofBus, broken: 'ACTIVE_AFTER_NEWS' });
  }
  // The list goes on where the bus is gone.
  if (isListed) bounds.push({ atMs: atMs + lagMs + slackMs, sinceMs: atMs, excuses: ofList, broken: 'ACTIVE_AFTER_LISTED' });
  return bounds;
}

/** Of an active answer. */
export function ofEnded(one: Of<'answered'>, facts: Facts, rules: Rules): readonly Violation[] {
  const { sidecar, token, outcome, askedAtMs } = one;
  const ended = facts.ended.get(token);
  if (ended === undefined || outcome.kind !== 'active') return [];
  const said = outcome.degradedBy ?? [];
  return boundsOf(ended, sidecar, facts, rules)
    .filter(({ atMs, excuses }) => askedAtMs >= atMs && !excuses.some((why) => said.includes(why)))
    .slice(0, 1)
    .map(({ sinceMs, broken }) => {
      const note = `asked ${Math.round(askedAtMs - sinceMs)} ms later, at ${Math.round(askedAtMs)} ms: degraded by ${said.join(', ') || 'nothing'}`;
      return { broken, sidecar, note };
    });
}

/** Whether a question is about one that must be known by then. */
export function isPast({ sidecar, token, askedAtMs }: Of<'answered'>, facts: Facts, rules: Rules): boolean {
  const ended = facts.ended.get(token);
  return ended !== undefined && boundsOf(ended, sidecar, facts, rules).some(({ atMs }) => askedAtMs >= atMs);
}

/** Whether it is one that somebody was told of: the bus has never taken what it alone tells, and nobody can know. */
const isTold = ({ isListed, publishedAtMs }: Of<'ended'>): boolean => isListed || publishedAtMs !== undefined;

/** Keystone goes on calling a token good that is ended by name: then only the entry proves that it is known. */
export function ofLastEnded({ sidecar, token, outcome }: Of<'last'>, { ended }: Facts): readonly Violation[] {
  const one = ended.get(token);
  if (one === undefined || !isTold(one)) return [];
  const isKnown = outcome.kind === 'denied' && (one.entryIds.length === 0 || outcome.reason === 'REVOKED');
  if (isKnown) return [];
  const said = outcome.kind === 'active' ? 'active' : outcome.reason;
  const how = one.isListed ? 'listed and published' : 'published';
  return [{ broken: 'LOST', sidecar, note: `what Keystone had ${how}: the last answer was ${said}` }];
}

/** Entries of what ended by name that this sidecar's watcher was not told of: any one of those that it may have will do. */
export function endedMissedBy(sidecar: string, { ended, watched }: Facts, isReset: (atMs: number) => boolean): readonly string[] {
  const told = watched.get(sidecar);
  return [...ended.values()]
    .filter(({ entryIds, atMs }) => entryIds.length > 0 && !entryIds.some((id) => told?.has(id)) && !isReset(atMs))
    .map(({ entryIds }) => `${entryIds.join(' or ')} of Keystone`);
}
