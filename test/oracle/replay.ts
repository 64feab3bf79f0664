// Rows of a recording, played again: everything is known, what happened happens, and every answer is looked at until it has settled.

import { fits } from '../../src/client/tagged-answers.ts';
import { createFakeClock, type FakeClock } from '../fakes/clock.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { actionNamed } from './actions.ts';
import { judge, type Span, sameSaid } from './judge.ts';
import type { Kind } from './kinds.ts';
import { type PlaceName, saidAt } from './places.ts';
import { pollEveryMs, type RecordedKeystone, recordedKeystone, type Sources } from './recorded-keystone.ts';
import type { RecordedRow, RecordedVerdict } from './recording.ts';
import { type ReplayedSidecar, startReplayed } from './replayed-sidecar.ts';
import { longestPromiseMs, promisedOfMs, type Timing } from './row.ts';
import { accepting, type Verdict } from './truth.ts';

/** How it is played. */
export interface ReplayOptions {
  readonly sources: Sources;
  /** How long after its messages Keystone writes down, and so does, what they are about. */
  readonly lagMs: number;
  /** `again`: messages come in the wrong order, and once more. */
  readonly messages: 'once' | 'again';
}

/** As the sidecars are configured. */
export const timing: Timing = { settleMs: 2000, pollEveryMs, wideWindowMs: 4000, factsTimeMs: 20_000, refusalTimeMs: 5000 };

const stepMs = 250;

/** A row with the rows that look at its tokens again. */
export type Chain = readonly RecordedRow[];

/** The rows of a recording, in order. */
export function chainsOf(rows: readonly RecordedRow[]): readonly Chain[] {
  const chains: RecordedRow[][] = [];
  for (const row of rows) {
    if (actionNamed(row.action).follows === undefined) chains.push([row]);
    else chains.at(-1)?.push(row);
  }
  return chains;
}

/** Plays a chain; answers a line for each cell that is not as it has to be, and how many had to change. */
export async function replay(
  chain: Chain,
  options: ReplayOptions,
): Promise<{ readonly broken: readonly string[]; readonly changed: number }> {
  const clock = createFakeClock(begunAtMs(chain));
  const keystone = recordedKeystone();
  const store = createFakeSharedStore(clock);
  const caching = {
    settleMs: timing.settleMs,
    wideWindowMs: timing.wideWindowMs,
    token: { enabled: true, timeMs: timing.factsTimeMs, jitter: 0, refreshAhead: 1, staleWhileDownMs: 0 },
  };
  const start = () => startReplayed({ clock, keystone, shared: store.open(), sources: options.sources, caching });
  const [first, second] = [await start(), await start()] as const;
  try {
    const near = first.near();
    const stage: Stage = {
      clock,
      keystone,
      sidecars: [first, second],
      places: [
        ['memory', first],
        ['shared', second],
        ['near', near],
      ],
      tokens: new Map(),
      options,
    };
    // What was fetched before a journal was born is taken from nobody else.
    await clock.advance(3000);
    const results: { readonly broken: readonly string[]; readonly changed: number }[] = [];
    for (const row of chain) results.push(await playAgain(row, stage));
    return { broken: results.flatMap(({ broken }) => broken), changed: results.reduce((sum, { changed }) => sum + changed, 0) };
  } finally {
    const ending = Promise.all([first.close(), second.close()]);
    // Whatever waits for the clock is woken.
    await clock.advance(60_000);
    await ending;
  }
}

interface Stage {
  readonly clock: FakeClock;
  readonly keystone: RecordedKeystone;
  readonly sidecars: readonly ReplayedSidecar[];
  readonly places: readonly (readonly [PlaceName, Pick<ReplayedSidecar, 'ask'>])[];
  /** By kind, those of the row that is played. */
  readonly tokens: Map<Kind, string>;
  readonly options: ReplayOptions;
}

interface LookedAt {
  readonly kind: Kind;
  readonly token: string;
  readonly place: PlaceName;
  readonly spans: Span[];
  isAsking: boolean;
  readonly ask: Pick<ReplayedSidecar, 'ask'>;
}

async function playAgain(row: RecordedRow, stage: Stage): Promise<{ readonly broken: readonly string[]; readonly changed: number }> {
  const { clock, keystone, sidecars, places, tokens, options } = stage;
  const action = actionNamed(row.action);
  const cells = Object.entries(row.tokens) as [Kind, NonNullable<RecordedRow['tokens'][Kind]>][];
  if (action.follows === undefined) for (const [kind, { before }] of cells) tokens.set(kind, nameOf(kind, before));
  for (const [kind, { before }] of cells) keystone.says(tokens.get(kind) ?? '', before);

  // Known in the memory of the first and in a near cache of it; the second finds it in the tier.
  const looked: LookedAt[] = cells.flatMap(([kind]) =>
    places.map(([place, ask]) => ({ kind, token: tokens.get(kind) ?? '', place, spans: [], isAsking: false, ask })),
  );
  const own = looked.filter(({ place }) => place !== 'shared');
  for (let step = 0; step < 4; step += 1) await look(own, clock);

  const entriesBefore = await Promise.all(sidecars.map(async (one) => (await one.entryTags()).length));
  const readsBefore = sidecars.map(({ reads }) => reads.length);
  await look(looked, clock);
  const sentMs = clock.monotonicMs();
  const messages = options.messages === 'once' ? row.messages : row.messages.toReversed();
  const deliver = (): void => {
    for (const { bus } of sidecars) for (const body of messages) bus.deliver(body);
  };
  deliver();
  for (let lateMs = 0; lateMs < options.lagMs; lateMs += stepMs) await look(looked, clock);
  for (const [kind, { before, after }] of cells) keystone.says(tokens.get(kind) ?? '', after ?? before);
  keystone.listed(row);
  const repliedMs = clock.monotonicMs();
  const endMs = repliedMs + longestPromiseMs(action, timing) + timing.refusalTimeMs + timing.settleMs;
  const againMs = repliedMs + timing.settleMs + 2 * stepMs;
  let isAgain = options.messages === 'once';
  while (clock.monotonicMs() < endMs || looked.some(({ isAsking }) => isAsking)) {
    if (!isAgain && clock.monotonicMs() >= againMs) {
      isAgain = true;
      deliver();
    }
    await look(looked, clock);
  }

  const judged = looked.map(({ kind, place, spans }) => {
    const [before, after] = verdictsOf(row, kind);
    // A look may come a step later than what it looks for.
    const lateAfterMs = promisedOfMs(action, kind, !before.accepted, timing) + 2 * stepMs;
    return { kind, place, ...judge(spans, { before, after, sentMs, repliedMs, lateAfterMs }) };
  });
  const broken = judged.flatMap((cell) =>
    cell.broken.map(({ what, note }) => `${row.action}: ${what} ${cell.kind} in ${cell.place}: ${note}`),
  );
  const tooMany = action.told === 'nobody' ? [] : await askedTooOften(stage, { entriesBefore, readsBefore });
  return {
    broken: [...broken, ...tooMany.map((line) => `${row.action}: ${line}`)],
    changed: judged.filter(({ changedAfterMs }) => changedAfterMs !== undefined).length,
  };
}

/** Asks about each that nobody is being asked about, and lets a step of time go by. */
async function look(looked: readonly LookedAt[], clock: FakeClock): Promise<void> {
  for (const one of looked) {
    if (one.isAsking) continue;
    one.isAsking = true;
    const askedMs = clock.monotonicMs();
    void saidAt(one.ask, one.token).then(({ said }) => {
      const answeredMs = clock.monotonicMs();
      const last = one.spans.at(-1);
      if (last && sameSaid(last.said, said)) {
        last.lastAnsweredMs = answeredMs;
        last.count += 1;
      } else one.spans.push({ said, firstAskedMs: askedMs, firstAnsweredMs: answeredMs, lastAnsweredMs: answeredMs, count: 1 });
      one.isAsking = false;
    });
  }
  await clock.advance(stepMs);
}

/** S6: at most two validations of a token by a sidecar for each entry that may concern it. */
async function askedTooOften(
  { sidecars, tokens }: Stage,
  { entriesBefore, readsBefore }: { readonly entriesBefore: readonly number[]; readonly readsBefore: readonly number[] },
): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const [at, sidecar] of sidecars.entries()) {
    const entries = (await sidecar.entryTags()).slice(entriesBefore[at]);
    for (const [kind, token] of tokens) {
      const asked = sidecar.reads.slice(readsBefore[at]).filter((read) => read === token).length;
      const answer = await sidecar.ask(token);
      // What is dead has no tags any more, and is not asked about: it was refused, at most as often as anything may concern it.
      const tags = answer.tags;
      const concerning = tags === undefined ? entries.length : entries.filter((sets) => sets.some((wanted) => fits(wanted, tags))).length;
      // Its facts may come to their time within the row.
      if (asked > 2 * concerning + 1) lines.push(`${kind} was asked about ${asked} times by a sidecar for ${concerning} entries`);
    }
  }
  return lines;
}

function begunAtMs(chain: Chain): number {
  const bodies = chain.slice(0, 1).flatMap(({ tokens }) => Object.values(tokens).map(({ before }) => before));
  const issuedAtMs = bodies.map((verdict) => ('body' in verdict ? Date.parse(String(verdict.body['issued_at'])) : 0));
  return Math.max(...issuedAtMs) + 1000;
}

/** Its own audit id tells it from every other. */
function nameOf(kind: Kind, verdict: RecordedVerdict): string {
  const [own] = 'body' in verdict ? (verdict.body['audit_ids'] as readonly string[]) : [];
  if (own === undefined) throw new Error(`a row that follows none begins with a dead token: ${kind}`);
  return `${kind}-${own}`;
}

function verdictsOf({ tokens }: RecordedRow, kind: Kind): readonly [before: Verdict, after: Verdict] {
  const told = tokens[kind];
  if (told === undefined) throw new Error(`nothing is recorded of ${kind}`);
  return [verdictOf(told.before), verdictOf(told.after ?? told.before)];
}

function verdictOf(verdict: RecordedVerdict): Verdict {
  return 'body' in verdict ? accepting(verdict.body) : { accepted: false, status: verdict.status };
}
