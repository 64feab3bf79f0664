// A recorded history, looked up: by token, by entry and by place.

import type { Happening, Of } from './happening.ts';

export type Entry = Of<'invalidated'>;

/** What its authority said of a token from one moment until another. */
export interface Truth {
  readonly version: number;
  readonly isGood: boolean;
  readonly endsAtMs: number;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What is told of one token. */
export interface Told {
  /** In their order. */
  readonly truths: readonly Truth[];
  /** Those that are about it for sure. */
  readonly entries: readonly Entry[];
  readonly listed: readonly Of<'listed'>[];
  /** The first moment at which somebody had begun to revoke it; `Infinity`: nobody has. */
  readonly revokingMs: number;
}

/** A history. */
export interface Book {
  readonly tokens: ReadonlyMap<string, Told>;
  readonly entries: readonly Entry[];
  /** By sidecar that is watched and entry. */
  readonly placed: ReadonlyMap<string, ReadonlyMap<string, Of<'placed'>>>;
  /** By journal and entry. */
  readonly revisions: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly resets: ReadonlyMap<string, readonly number[]>;
  readonly severed: readonly Of<'severed'>[];
  /** By who acknowledges. */
  readonly acknowledged: ReadonlyMap<string, readonly Of<'acknowledged'>[]>;
}

/** Of what was recorded, in whatever order that is. */
export function bookOf(history: readonly Happening[]): Book {
  const all = <Kind extends Happening['kind']>(kind: Kind): readonly Of<Kind>[] =>
    history.filter((one): one is Of<Kind> => one.kind === kind);
  const entries = all('invalidated');
  const placed = new Map<string, Map<string, Of<'placed'>>>();
  const revisions = new Map<string, Map<string, number>>();
  const note = (entryId: string, { journal, revision }: Entry['position']): void => {
    if (!revisions.has(journal)) revisions.set(journal, new Map());
    // A token that has several names has several entries, of which the last is told.
    revisions.get(journal)?.set(entryId, Math.max(revision, revisions.get(journal)?.get(entryId) ?? 0));
  };
  for (const { entryId, position } of entries) note(entryId, position);
  for (const one of all('placed')) {
    if (!placed.has(one.sidecar)) placed.set(one.sidecar, new Map());
    const places = placed.get(one.sidecar);
    const before = places?.get(one.entryId);
    if (before === undefined || one.atMs < before.atMs) places?.set(one.entryId, one);
    note(one.entryId, one.position);
  }
  const truths = grouped(all('truth'), ({ token }) => token);
  const listed = all('listed');
  const revoking = all('invalidating').filter(({ effect }) => effect === 'REVOKE');
  const tokens = new Map(
    all('issued').map(({ token, names, issuedAtMs }): [string, Told] => {
      const has = (wanted: readonly string[]): boolean => wanted.every((name) => names.includes(name));
      return [
        token,
        {
          truths: truthsOf(truths.get(token) ?? []),
          entries: entries.filter((one) => has(one.names) && (one.effect === 'REFRESH' || issuedAtMs <= one.cutOffMs)),
          listed: listed.filter((one) => has(one.names) && issuedAtMs <= one.cutOffMs),
          revokingMs: Math.min(Number.POSITIVE_INFINITY, ...revoking.filter((one) => has(one.names)).map(({ atMs }) => atMs)),
        },
      ];
    }),
  );
  const resets = new Map(
    [...grouped(all('reset'), ({ sidecar }) => sidecar)].map(([name, those]) => [name, those.map(({ atMs }) => atMs)]),
  );
  const acknowledged = grouped(all('acknowledged'), ({ watcher }) => watcher);
  return { tokens, entries, placed, revisions, resets, severed: all('severed'), acknowledged };
}

function truthsOf(told: readonly Of<'truth'>[]): readonly Truth[] {
  const inOrder = told.toSorted((a, b) => a.version - b.version);
  return inOrder.map(({ version, isGood, endsAtMs, atMs }, at) => {
    return { version, isGood, endsAtMs, fromMs: atMs, untilMs: inOrder[at + 1]?.atMs ?? Number.POSITIVE_INFINITY };
  });
}

function grouped<One>(those: readonly One[], keyOf: (one: One) => string): ReadonlyMap<string, readonly One[]> {
  const groups = new Map<string, One[]>();
  for (const one of those) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
  return groups;
}
