// One row of the truth table, live: tokens are issued and known everywhere, the action is done, and every answer is watched until it has settled.

import { setTimeout as sleep } from 'node:timers/promises';
import type { KeystoneReply } from '../e2e/lab/keystone-api.ts';
import type { Action, Told } from './action.ts';
import { actionNamed } from './actions.ts';
import { fits, type Judgement, judge } from './judge.ts';
import { gotFrom, type Kind, tableKinds } from './kinds.ts';
import { type Place, type PlaceName, saidAt, type Watched, watchAt } from './places.ts';
import type { Things } from './things.ts';
import type { Truth, Verdict } from './truth.ts';

/** What the sidecars are configured with, as far as it says how long something takes. */
export interface Timing {
  readonly settleMs: number;
  readonly pollEveryMs: number;
  readonly wideWindowMs: number;
  /** `caching.token.time`. */
  readonly factsTimeMs: number;
  /** `caching.unknown.time`: a token that is refused is not asked about again sooner, where nobody knows any more what it was (S9). */
  readonly refusalTimeMs: number;
}

/** Where rows are played. */
export interface RowStage {
  readonly truth: Truth;
  readonly places: readonly Place[];
  readonly timing: Timing;
  /** Between two questions about one token at one place. */
  readonly intervalMs: number;
  /** How much longer than promised everything may take on this machine. */
  readonly slackMs: number;
  /** Has a tier that others share keep the tokens, as far as the stage can: told before they are asked about anywhere else. */
  readonly sharing?: (tokens: readonly string[]) => Promise<void>;
  /** Told when everything is known everywhere, right before the first token is watched. */
  readonly beginning?: (tokens: ReadonlyMap<Kind, string>) => Promise<void> | void;
}

/** One cell: a token at a place. */
export interface Cell extends Judgement {
  readonly kind: Kind;
  readonly place: PlaceName;
  /** Where its first answer in this row came from. */
  readonly firstFrom: string | undefined;
}

/** What came of a row. */
export interface Row {
  readonly action: Action;
  readonly reply: KeystoneReply;
  /** When the reply was there, by the clock of `performance.now`. */
  readonly repliedMs: number;
  readonly truth: ReadonlyMap<Kind, { readonly before: Verdict; readonly after: Verdict }>;
  readonly cells: readonly Cell[];
}

/** When the answers have changed at the latest, after the reply, as the rules promise it: without the way there and back. */
export function promisedMs(told: Told, { settleMs, pollEveryMs, wideWindowMs, factsTimeMs }: Timing): number {
  if (told === 'silent') return 0;
  if (told === 'poll') return pollEveryMs;
  if (told === 'nobody') return factsTimeMs;
  return told === 'wide' ? 2 * wideWindowMs : settleMs;
}

/** The same of one token; one that comes back to life may be taken for dead for longer. */
export function promisedOfMs(action: Action, kind: Kind, isRevival: boolean, timing: Timing): number {
  const told = action.toldOtherwise?.[kind] ?? action.told;
  return promisedMs(told, timing) + (isRevival ? timing.refusalTimeMs : 0);
}

/** Until the last of them: how long a row is looked at after its reply. */
export function longestPromiseMs(action: Action, timing: Timing): number {
  const all = [action.told, ...Object.values(action.toldOtherwise ?? {})].map((told) => promisedMs(told, timing));
  return Math.max(...all);
}

/** Plays `action` with `things`; what it needs has to be done already. */
export async function playRow(action: Action, things: Things, stage: RowStage): Promise<Row> {
  const { places, truth, timing, slackMs } = stage;
  const kinds = action.kinds ?? tableKinds;
  if (action.follows === undefined) await issueMissing(things, kinds);
  const tokens = new Map(kinds.flatMap((kind) => tokenOf(things, kind)));
  const before = await verdictsOn(tokens, truth);
  await stage.sharing?.([...tokens].flatMap(([kind, token]) => (verdictIn(before, kind).accepted ? [token] : [])));
  await knownEverywhere(tokens, before, stage);
  await stage.beginning?.(tokens);

  // The first looks closely; what comes late is late by seconds.
  const closelyUntilMs = performance.now() + timing.settleMs + slackMs;
  const interval = (): number => stage.intervalMs * (performance.now() < closelyUntilMs ? 1 : 4);
  const watched = [...tokens].flatMap(([kind, token]) =>
    places.map((place) => ({ kind, place: place.name, at: watchAt(place, token, interval) })),
  );
  // Each has answered once before anything is done.
  while (watched.some(({ at }) => at.spans.length === 0)) await sleep(5);
  const sentMs = performance.now();
  const reply = await action.perform(things);
  const repliedMs = performance.now();
  things.done.add(action.name);
  await sleep(longestPromiseMs(action, timing) + timing.settleMs + 500);
  const after = await verdictsOn(tokens, truth);
  await settled(watched, after, slackMs);
  await Promise.all(watched.map(({ at }) => at.end()));

  const told = new Map(
    [...tokens.keys()].map((kind) => [kind, { before: verdictIn(before, kind), after: verdictIn(after, kind) }] as const),
  );
  const cells = watched.map(({ kind, place, at }) => {
    const verdicts = { before: verdictIn(before, kind), after: verdictIn(after, kind) };
    const lateAfterMs = promisedOfMs(action, kind, !verdicts.before.accepted, timing) + slackMs;
    return { kind, place, firstFrom: at.firstFrom, ...judge(at.spans, { ...verdicts, sentMs, repliedMs, lateAfterMs }) };
  });
  return { action, reply, repliedMs, truth: told, cells };
}

/** Does what `action` needs and has not been done with these things, and does not watch it. Answers what it did. */
export async function prepare(action: Action, things: Things): Promise<readonly Action[]> {
  const did: Action[] = [];
  for (const name of action.needs ?? []) {
    if (things.done.has(name)) continue;
    const needed = actionNamed(name);
    did.push(...(await prepare(needed, things)), needed);
    const { status, body } = await needed.perform(things);
    if (status >= 300) throw new Error(`${name}, which ${action.name} needs -> ${status} ${JSON.stringify(body)}`);
    things.done.add(name);
  }
  return did;
}

/** Forgets the tokens that are dead: the next row has new ones. */
export function forgetDead(row: Row, things: Things): void {
  for (const [kind, { after }] of row.truth) if (!after.accepted) things.tokens.delete(kind);
}

/** Issues those that are not at hand. One that is issued in the second of a revocation is revoked with it: it is waited for the next. */
export async function issueMissing(things: Things, kinds: readonly Kind[]): Promise<void> {
  for (const kind of kinds) {
    const source = gotFrom[kind];
    // What it was got from is dead: it may be alive, but is of another round.
    if (source !== undefined && !things.tokens.has(source)) things.tokens.delete(kind);
  }
  const missing = kinds.filter((kind) => !things.tokens.has(kind));
  if (missing.length > 0) await sleep(1100);
  await Promise.all(missing.filter((kind) => gotFrom[kind] === undefined).map((kind) => things.issue(kind)));
  await Promise.all(missing.filter((kind) => gotFrom[kind] !== undefined).map((kind) => things.issue(kind)));
}

function tokenOf(things: Things, kind: Kind): readonly (readonly [Kind, string])[] {
  const issued = things.tokens.get(kind);
  return issued === undefined ? [] : [[kind, issued.token]];
}

async function verdictsOn(tokens: ReadonlyMap<Kind, string>, truth: Truth): Promise<ReadonlyMap<Kind, Verdict>> {
  return new Map(await Promise.all([...tokens].map(async ([kind, token]) => [kind, await truth.of(token)] as const)));
}

function verdictIn(verdicts: ReadonlyMap<Kind, Verdict>, kind: Kind): Verdict {
  const verdict = verdicts.get(kind);
  if (verdict === undefined) throw new Error(`nobody has said anything of ${kind}`);
  return verdict;
}

/** Resolves when every good token is known at every place, settled: nothing of before this row is on its way. */
async function knownEverywhere(tokens: ReadonlyMap<Kind, string>, verdicts: ReadonlyMap<Kind, Verdict>, stage: RowStage): Promise<void> {
  const { places, timing, slackMs } = stage;
  const good = [...tokens].filter(([kind]) => verdicts.get(kind)?.accepted);
  const untilMs = performance.now() + 3 * timing.wideWindowMs + 2 * timing.settleMs + 10 * slackMs;
  // Longer than anything that is spread may leave to it.
  const forMs = Math.min(timing.factsTimeMs / 4, timing.settleMs * 2);
  const known = async (place: Place, kind: Kind, token: string): Promise<void> => {
    while (!(await place.holds(token, forMs))) {
      if (performance.now() > untilMs) {
        const { said } = await saidAt(place, token);
        throw new Error(`${kind} does not come to be known in ${place.name}, where it is ${JSON.stringify(said)}`);
      }
      await sleep(100);
    }
  };
  for (const place of places) {
    // A near cache counts its hits, not whose they are: one after the other.
    if (place.name === 'near') for (const [kind, token] of good) await known(place, kind, token);
    else await Promise.all(good.map(([kind, token]) => known(place, kind, token)));
  }
}

interface Watching {
  readonly kind: Kind;
  readonly at: Watched;
}

/** Resolves when every answer is what Keystone says, or has had `slackMs` more. */
async function settled(watched: readonly Watching[], after: ReadonlyMap<Kind, Verdict>, slackMs: number): Promise<void> {
  const untilMs = performance.now() + slackMs;
  const isSettled = ({ kind, at }: Watching): boolean => {
    const last = at.spans.at(-1);
    return last !== undefined && fits(last.said, verdictIn(after, kind));
  };
  while (!watched.every(isSettled) && performance.now() < untilMs) await sleep(50);
}
