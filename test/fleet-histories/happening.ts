// What is recorded of a fleet's random history. Times are milliseconds of the test's own clock, which never steps.

/** As a cursor. */
export interface Position {
  readonly journal: string;
  readonly revision: number;
}

/** What came back. `denied`: it is not good, or FindToken finds none. */
export type Outcome =
  | { readonly kind: 'active'; readonly version: number; readonly isDegraded: boolean; readonly asOf: Position }
  | { readonly kind: 'denied'; readonly reason: string }
  | { readonly kind: 'none'; readonly code: string; readonly reason: string };

/** How fresh an answer was asked to be, beside what holds of every answer. */
export interface Wanted {
  readonly maxStalenessMs?: number;
  readonly entryId?: string;
  readonly position?: Position;
}

/**
 * Something that happened. `names`: what can be named of a token, and what an invalidation names; it is about the tokens that have all of
 * its names, so none is everything.
 */
export type Happening =
  | { readonly kind: 'issued'; readonly token: string; readonly names: readonly string[]; readonly issuedAtMs: number }
  /** From now on its authority says this of it. Versions of a token are counted up; they are in its facts. */
  | {
      readonly kind: 'truth';
      readonly token: string;
      readonly version: number;
      readonly isGood: boolean;
      readonly endsAtMs: number;
      readonly atMs: number;
    }
  /** A call is on its way: from now on nobody has to know, and anybody may. */
  | { readonly kind: 'invalidating'; readonly effect: Effect; readonly names: readonly string[]; readonly atMs: number }
  /** It was acknowledged. `cutOffMs`: a token that was issued at or before this is concerned, whatever the skew; as `issuedAtMs`. */
  | {
      readonly kind: 'invalidated';
      readonly effect: Effect;
      readonly names: readonly string[];
      readonly cutOffMs: number;
      readonly sidecar: string;
      readonly entryId: string;
      readonly position: Position;
      readonly reach: 'sidecar' | 'shared' | 'fleet';
      readonly beganMs: number;
      readonly atMs: number;
    }
  /** The authority lists a revocation of these since now: news, which a sidecar hears by asking. */
  | { readonly kind: 'listed'; readonly names: readonly string[]; readonly cutOffMs: number; readonly atMs: number }
  /** A watcher of this sidecar was told of an entry there; or that it has missed some. */
  | { readonly kind: 'placed'; readonly sidecar: string; readonly entryId: string; readonly position: Position; readonly atMs: number }
  | { readonly kind: 'reset'; readonly sidecar: string; readonly atMs: number }
  /** What this sidecar is told may not reach the log, until it had recovered. */
  | { readonly kind: 'severed'; readonly sidecar: string; readonly fromMs: number; readonly toMs: number }
  | Answered
  /** At the end, when everything is there again: asked for what is known of this entry. */
  | {
      readonly kind: 'last';
      readonly sidecar: string;
      readonly entryId: string;
      readonly outcome: Outcome;
    }
  /** A watcher has said how far it has come: begun, and taken. */
  | {
      readonly kind: 'acknowledged';
      readonly sidecar: string;
      readonly watcher: string;
      readonly revision: number;
      readonly beganMs: number;
      readonly atMs: number;
    }
  /** What the sidecar tells of that. */
  | {
      readonly kind: 'counted';
      readonly sidecar: string;
      readonly watcher: string;
      readonly revision: number;
      readonly askedAtMs: number;
      readonly answeredAtMs: number;
    };

export type Effect = 'REVOKE' | 'REFRESH';

/** `near`: a near cache said so from its memory. `found`: FindToken named it; where it names none nothing is recorded. */
export interface Answered {
  readonly kind: 'answered';
  readonly how: 'asked' | 'near' | 'found';
  readonly sidecar: string;
  readonly token: string;
  readonly wanted: Wanted;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
  readonly outcome: Outcome;
}

export type Of<Kind extends Happening['kind']> = Extract<Happening, { kind: Kind }>;
