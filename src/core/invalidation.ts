// An invalidation as the journal keeps it: a selector with an effect, and where it came from.

import type { Selector } from './selector.ts';

/** A position in one journal. Starts at 1; 0 is "before the first". Safe integers only. */
export type Revision = number & { readonly revision: unique symbol };

/** The only ways to make a revision. */
export const revision = (n: number): Revision => n as Revision;

/** A position as clients hold it. Revisions of two journals are never compared. */
export interface Cursor {
  readonly journal: string;
  readonly revision: Revision;
}

/** REVOKE kills; REFRESH has facts learned before it fetched again. */
export type Effect = 'REVOKE' | 'REFRESH';

/** Who said so, and why. */
export interface Origin {
  /** `rpc`, or a name of the configuration. */
  readonly source: string;
  /** What the source called it. */
  readonly event?: string;
  /** Its id at the source. */
  readonly requestId?: string;
  /** Who asked. */
  readonly actor?: string;
  /** In the caller's words. */
  readonly reason?: string;
}

/** One record of the journal (S14). Its id is the same on every sidecar, its revision is not. */
export interface Entry {
  readonly id: string;
  readonly effect: Effect;
  readonly selector: Selector;
  /** REVOKE of a selector that does not name one token: inclusive, whole seconds, in milliseconds. Absent: whenever issued. */
  readonly issuedBeforeMs?: number;
  /** REFRESH, also that of a REVOKE by news: it takes effect token by token, spread over so many milliseconds (S7). */
  readonly spreadMs?: number;
  /** A REVOKE by news is also a REFRESH of its selector, at the same revision (S4). */
  readonly alsoRefreshes: boolean;
  readonly learnedAtMs: number;
  /** After this no token can be concerned any more (S12). `Infinity` where tokens are endless. */
  readonly forgetAtMs: number;
  /** The deployment key that made the fingerprint in `selector`, if there is one; several, one a line, where it may be any of them. */
  readonly keyId: string;
  /** The journal that it was first appended to. Absent: this one. */
  readonly from?: string;
  readonly origin: Origin;
  /** As another version has written it, where only this much of it is understood (S3). */
  readonly inPart?: Readonly<Record<string, unknown>>;
}

/** An entry with its place. */
export interface PlacedEntry {
  readonly revision: Revision;
  readonly entry: Entry;
}
