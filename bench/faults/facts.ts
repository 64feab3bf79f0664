// A recorded history, sorted for whoever judges it.

import type { Happening, Of } from './history.ts';

/** A history, sorted. */
export interface Facts {
  readonly revoking: ReadonlyMap<string, number>;
  readonly revoked: ReadonlyMap<string, Of<'revoked'>>;
  readonly ended: ReadonlyMap<string, Of<'ended'>>;
  /** By sidecar: of everybody who was watched. */
  readonly watched: ReadonlyMap<string, ReadonlySet<string>>;
  readonly resets: ReadonlyMap<string, readonly number[]>;
  readonly disturbed: readonly Of<'disturbed'>[];
  readonly silent: readonly Of<'silent'>[];
  readonly stalled: readonly Of<'stalled'>[];
  readonly apart: readonly Of<'apart'>[];
  readonly unheard: readonly Of<'unheard'>[];
  readonly sidecars: ReadonlySet<string>;
}

/** Sorts it, in whatever order it is. */
export function factsOf(history: readonly Happening[]): Facts {
  const revoking = new Map<string, number>();
  const revoked = new Map<string, Of<'revoked'>>();
  const ended = new Map<string, Of<'ended'>>();
  const watched = new Map<string, Set<string>>();
  const resets = new Map<string, number[]>();
  const disturbed: Of<'disturbed'>[] = [];
  const silent: Of<'silent'>[] = [];
  const stalled: Of<'stalled'>[] = [];
  const apart: Of<'apart'>[] = [];
  const unheard: Of<'unheard'>[] = [];
  const sidecars = new Set<string>();
  for (const one of history) {
    if (one.kind === 'revoking') revoking.set(one.token, Math.min(one.atMs, revoking.get(one.token) ?? Infinity));
    if (one.kind === 'revoked' && !revoked.has(one.token)) revoked.set(one.token, one);
    if (one.kind === 'ended') ended.set(one.token, one);
    if (one.kind === 'watched') watched.set(one.sidecar, (watched.get(one.sidecar) ?? new Set()).add(one.entryId));
    if (one.kind === 'reset') resets.set(one.sidecar, [...(resets.get(one.sidecar) ?? []), one.atMs]);
    if (one.kind === 'disturbed') disturbed.push(one);
    if (one.kind === 'silent') silent.push(one);
    if (one.kind === 'stalled') stalled.push(one);
    if (one.kind === 'apart') apart.push(one);
    if (one.kind === 'unheard') unheard.push(one);
    if (one.kind === 'last' || one.kind === 'answered') sidecars.add(one.sidecar);
  }
  return { revoking, revoked, ended, watched, resets, disturbed, silent, stalled, apart, unheard, sidecars };
}
