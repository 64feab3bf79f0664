// What another sidecar has heard for all of us: its entries are in the fleet's log, and tell what our own source would have told.

import { appendedAtMsOf } from '../../core/entry-id.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { CrossCheck } from './cross-check.ts';
import { gapEvent } from './drafts.ts';
import type { GapSource, Gaps } from './gaps.ts';
import type { Heard } from './heard.ts';

/** What it needs. */
export interface HeardForAllParts {
  readonly issuer: string;
  /** The source that one hears for all. */
  readonly source: GapSource;
  readonly heard: Heard;
  readonly gaps: Pick<Gaps, 'begunElsewhere'>;
  readonly crossCheck: Pick<CrossCheck, 'madeWhole'> | undefined;
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
}

/** Takes an entry that another sidecar has made. */
export function hearForAll(entry: Entry, parts: HeardForAllParts): void {
  const { issuer, source, heard, gaps, crossCheck, nowMs, monotonicMs } = parts;
  const { id, origin, selector, spreadMs, forgetAtMs } = entry;
  const atMs = appendedAtMsOf(id);
  if (origin.source !== `${issuer}/${source.name}` || atMs === undefined) return;
  if (selector.kind === 'everything') {
    if (spreadMs === undefined || !origin.event?.startsWith(gapEvent)) return;
    // Who is new reads those of hours ago: nothing that was fetched before them serves any more, anywhere.
    if (forgetAtMs <= nowMs()) return;
    crossCheck?.madeWhole();
    gaps.begunElsewhere(source);
    return;
  }
  const about = selector.conditions.map(({ value }) => value);
  heard.add({ id, event: origin.event ?? '', atMs, about, invalidations: [] }, monotonicMs());
}
