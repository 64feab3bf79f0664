// Per issuer, why answers about its tokens may rest on missed news (S13).

import type { Clock, Telemetry } from '../ports.ts';
import { Source, type SourceStanding, type SourceState } from './source-standing.ts';
import { type Moment, WallMoments } from './wall-moments.ts';

/**
 * A closed list. Of an issuer: CLOCK, this sidecar's clock against the authority's, or against most of its fleet; SOURCE_BEHIND, a source of news has not proven lately
 * that it has told everything; FLEET_BEHIND, the log of the fleet has not; SOURCE_SUSPECT, another one told what it had not; GAP, what may have been missed has not taken effect yet.
 * STALE_FACTS: of one answer, past their time or past a REFRESH.
 */
export const degradedCauses = ['CLOCK', 'STALE_FACTS', 'FLEET_BEHIND', 'SOURCE_BEHIND', 'SOURCE_SUSPECT', 'GAP'] as const;

export type DegradedCause = (typeof degradedCauses)[number];

/** A cause, with the source where it is one's: `SOURCE_BEHIND(bus)`. */
export type DegradedReason = 'CLOCK' | 'STALE_FACTS' | 'GAP' | 'FLEET_BEHIND' | `SOURCE_BEHIND(${string})` | `SOURCE_SUSPECT(${string})`;

/**
 * What is answered about an issuer whose news may have been missed. `refuse`: nothing. `revalidate`: what is confirmed first, where the
 * authority can be asked; the rest as it is, marked. `serve-marked`: everything as ever, marked.
 */
export type DegradedPolicy = 'refuse' | 'revalidate' | 'serve-marked';

/** Without the source. */
export function causeOf(reason: DegradedReason): DegradedCause {
  return degradedCauses.find((cause) => reason.startsWith(cause)) ?? 'GAP';
}

/** It is about news that may have been missed: what `when_degraded` is for. */
export function isAboutNews(reasons: readonly DegradedReason[]): boolean {
  return reasons.some((reason) => reason !== 'CLOCK' && reason !== 'STALE_FACTS');
}

/** An issuer that is degraded; since when, by the wall clock, for any reason without a break. */
export interface Degraded {
  readonly issuer: string;
  readonly reasons: readonly DegradedReason[];
  readonly sinceMs: number;
}

/** What judging needs. */
export interface DegradationParts {
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly telemetry: Pick<Telemetry, 'log' | 'gauge'>;
  /** How far a source may be behind. */
  readonly maxLagMs: number;
}

interface Standing {
  readonly issuer: string;
  readonly sources: Source[];
  readonly clockSinceMs: Map<ClockWitness, number>;
  /** As judged last: each reason since when. */
  reasons: ReadonlyMap<DegradedReason, number>;
  list: readonly DegradedReason[];
  sinceMs: number;
  /** From either of these moments on it is judged anew, also where nobody has said anything. */
  until: Moment;
}

/** Whose clock ours is held against. */
export type ClockWitness = 'authority' | 'fleet';

/** What the log of the fleet is called among the sources of an issuer. */
export const fleetSource = 'fleet';

const none: readonly DegradedReason[] = [];
const never: Moment = { monotonicMs: Infinity, wallMs: Infinity };
const at: Moment = { monotonicMs: -Infinity, wallMs: -Infinity };

/** Who is degraded, since when and why, judged by the clocks at every read. Where nobody is, a read compares two numbers. */
export class Degradations {
  readonly #parts: DegradationParts;
  readonly #moments: WallMoments;
  readonly #standings = new Map<string, Standing>();
  /** Before both of these nobody is degraded. */
  #soundUntil: Moment = never;

  constructor(parts: DegradationParts) {
    this.#parts = parts;
    this.#moments = new WallMoments(parts.clock, parts.maxLagMs);
  }

  /** Whether nobody is degraded at this moment, for who has read the monotonic clock anyway. Cost: two comparisons. */
  isSoundFor(monotonicMs: number): boolean {
    const { monotonicMs: untilMs, wallMs } = this.#soundUntil;
    // Infinity: nobody tells any news, and no clock is off.
    return monotonicMs < untilMs && (wallMs === Infinity || this.#parts.clock.nowMs() < wallMs);
  }

  by(issuer: string): readonly DegradedReason[] {
    if (this.#soundUntil === never || this.isSoundFor(this.#parts.clock.monotonicMs())) return none;
    const standing = this.#standings.get(issuer);
    return standing ? this.#judged(standing, this.#moments.look()).list : none;
  }

  all(): readonly Degraded[] {
    const degraded = this.#all().filter(({ list }) => list.length > 0);
    return degraded.map(({ issuer, list, sinceMs }) => ({ issuer, reasons: list, sinceMs }));
  }

  /** Whether our clock differs from the witness's by more than is allowed for. `details`: for the line that tells it. */
  clockDiffers(issuer: string, from: ClockWitness, differs: boolean, details: object = {}): void {
    const standing = this.#standingOf(issuer);
    const { clockSinceMs } = standing;
    if (differs === clockSinceMs.has(from)) return;
    if (differs) clockSinceMs.set(from, this.#moments.look().wallMs);
    else clockSinceMs.delete(from);
    this.#rejudge(standing, { from, ...details });
  }

  /** A source of news of this issuer, which may be degraded by it from now on. */
  addSource({ issuer, name }: { readonly issuer: string; readonly name: string }): SourceStanding {
    const standing = this.#standingOf(issuer);
    const changed = (): void => this.#rejudge(standing);
    const source = new Source({ issuer, name }, { moments: this.#moments, maxLagMs: this.#parts.maxLagMs, changed });
    standing.sources.push(source);
    // Not a number: left out of the scrape, as long as it has proven nothing.
    this.#parts.telemetry.gauge('sidegate_news_last_alive_timestamp_seconds', { source: `${issuer}/${name}` }, () => {
      return (source.state(this.#moments.look()).lastAliveAtMs ?? Number.NaN) / 1000;
    });
    changed();
    return source;
  }

  /** All sources, of all issuers. */
  sources(): readonly SourceState[] {
    const now = this.#moments.look();
    return this.#all().flatMap(({ sources }) => sources.map((source) => source.state(now)));
  }

  /** Until when everything has come that any source had to tell, by the wall clock; not of those that are behind: their issuers are degraded. */
  provenThroughMs(): number {
    const now = this.#moments.look();
    const current = this.#all().flatMap(({ sources }) => sources.filter((source) => source.verdict(now).behindSinceMs === undefined));
    return Math.min(Infinity, ...current.map((source) => source.provenThroughMs(now)));
  }

  #all(): Standing[] {
    const now = this.#moments.look();
    return [...this.#standings.values()].map((standing) => this.#judged(standing, now));
  }

  #standingOf(issuer: string): Standing {
    const there = this.#standings.get(issuer);
    if (there) return there;
    const made = { issuer, sources: [], clockSinceMs: new Map(), reasons: new Map(), list: none, sinceMs: 0, until: never };
    this.#standings.set(issuer, made);
    return made;
  }

  #rejudge(standing: Standing, details?: object): void {
    standing.until = at;
    this.#judged(standing, this.#moments.look(), details);
  }

  #judged(standing: Standing, now: Moment, details: object = {}): Standing {
    if (now.monotonicMs < standing.until.monotonicMs && now.wallMs < standing.until.wallMs) return standing;
    const reasons = new Map<DegradedReason, number>();
    const since = (reason: DegradedReason, ms: number | undefined): void => {
      if (ms !== undefined) reasons.set(reason, Math.min(ms, reasons.get(reason) ?? ms));
    };
    for (const ms of standing.clockSinceMs.values()) since('CLOCK', ms);
    let until = never;
    for (const source of standing.sources) {
      const verdict = source.verdict(now);
      since(source.name === fleetSource ? 'FLEET_BEHIND' : `SOURCE_BEHIND(${source.name})`, verdict.behindSinceMs);
      since(`SOURCE_SUSPECT(${source.name})`, verdict.suspectSinceMs);
      since('GAP', verdict.gapSinceMs);
      until = earlier(until, verdict.until);
    }
    const before = standing.reasons;
    if (before.size === 0 && reasons.size > 0) standing.sinceMs = Math.min(...reasons.values());
    standing.reasons = reasons;
    standing.list = reasons.size === 0 ? none : [...reasons.keys()];
    standing.until = until;
    this.#soundUntil = [...this.#standings.values()].reduce((sound, one) => (one.list.length > 0 ? at : earlier(sound, one.until)), never);
    this.#tell(standing.issuer, before, { now, details });
    return standing;
  }

  /** One line for each reason that begins or ends. */
  #tell(
    issuer: string,
    before: ReadonlyMap<DegradedReason, number>,
    { now, details }: { readonly now: Moment; readonly details: object },
  ): void {
    const { log } = this.#parts.telemetry;
    const reasons = this.#standings.get(issuer)?.reasons ?? new Map<DegradedReason, number>();
    for (const reason of reasons.keys()) {
      if (!before.has(reason)) log.warn({ issuer, reason, ...details }, `degraded: ${words[causeOf(reason)]}`);
    }
    for (const [reason, sinceMs] of before) {
      if (reasons.has(reason)) continue;
      log.info({ issuer, reason, ...details, forMs: Math.max(0, now.wallMs - sinceMs) }, `no longer degraded: ${words[causeOf(reason)]}`);
    }
  }
}

const words: Readonly<Record<DegradedCause, string>> = {
  CLOCK: 'our clock differs from the authority’s, or from most of the fleet',
  STALE_FACTS: 'facts past their time',
  FLEET_BEHIND: 'the log of the fleet is behind, and may have something to tell',
  SOURCE_BEHIND: 'a source of news is behind, and may have something to tell',
  SOURCE_SUSPECT: 'a source of news has not told what another one has',
  GAP: 'news may have been missed, and their tokens have not all been asked about again',
};

function earlier(one: Moment, other: Moment): Moment {
  if (other === never) return one;
  return { monotonicMs: Math.min(one.monotonicMs, other.monotonicMs), wallMs: Math.min(one.wallMs, other.wallMs) };
}
