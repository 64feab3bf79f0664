// What is recorded of a fleet while a fault comes and goes.

import type { Reached } from '../fleet/calls.ts';

/** What came back. `denied` by a REVOKE that the sidecar knows, or by an issuer that refuses it. */
export type Outcome =
  | { readonly kind: 'active'; readonly isDegraded: boolean; readonly degradedBy?: readonly string[] }
  | { readonly kind: 'denied'; readonly reason: string }
  | { readonly kind: 'none'; readonly code: string; readonly reason: string };

/** Something that happened. Times are milliseconds of the clock of whoever asks, which never steps. */
export type Happening =
  /** A Revoke is on its way: from now on nobody has to call the token active. */
  | { readonly kind: 'revoking'; readonly token: string; readonly atMs: number }
  /** It was acknowledged, as far as `reach`. */
  | {
      readonly kind: 'revoked';
      readonly token: string;
      readonly sidecar: string;
      readonly entryId: string;
      readonly reach: Reached;
      readonly atMs: number;
    }
  /** It was not: it may be there all the same. */
  | { readonly kind: 'unacknowledged'; readonly token: string; readonly sidecar: string; readonly why: string; readonly atMs: number }
  /** Keystone has ended it, of itself, and its bus has confirmed what it published of that. */
  | {
      readonly kind: 'ended';
      readonly token: string;
      /** At Keystone; where it is listed, from then on in its list too. */
      readonly atMs: number;
      readonly isListed: boolean;
      /** Absent: the bus has never taken it. */
      readonly publishedAtMs?: number;
      /** One of them proves that it is known; none: it is to be asked about again. */
      readonly entryIds: readonly string[];
    }
  | ({
      readonly kind: 'answered';
      readonly askedAtMs: number;
      readonly answeredAtMs: number;
      /** It was asked to be at least as fresh as the token's own revocation. */
      readonly isFresh?: boolean;
    } & Asked)
  /** At the end, when everything is there again. */
  | ({ readonly kind: 'last' } & Asked)
  /** A watcher of this sidecar was told of an entry, or that it has missed some. */
  | { readonly kind: 'watched'; readonly sidecar: string; readonly entryId: string; readonly atMs: number }
  | { readonly kind: 'reset'; readonly sidecar: string; readonly atMs: number }
  /** From the beginning of a fault until everybody had recovered from it. */
  | { readonly kind: 'disturbed'; readonly fromMs: number; readonly toMs: number }
  /** Where there may be no answer; without a sidecar: from none of them. */
  | { readonly kind: 'silent'; readonly sidecar?: string; readonly fromMs: number; readonly toMs: number }
  /** Whoever asks, and Keystone with him, stood still: what had come was read late. */
  | { readonly kind: 'stalled'; readonly fromMs: number; readonly toMs: number }
  /** This sidecar hears nothing that the log has taken since, whoever told it; or nothing that was published on the bus since. */
  | { readonly kind: 'apart'; readonly sidecar: string; readonly fromMs: number; readonly toMs: number }
  /** What the bus carries may come late to this sidecar; without one: to all of them. */
  | { readonly kind: 'unheard'; readonly sidecar?: string; readonly fromMs: number; readonly toMs: number }
  /** Not within its time after the fault. `why`: in words of its status. */
  | { readonly kind: 'unrecovered'; readonly sidecar: string; readonly why: string };

/** A question, and its answer. */
export interface Asked {
  readonly sidecar: string;
  readonly token: string;
  readonly outcome: Outcome;
}

/** Those of one kind. */
export type Of<Kind extends Happening['kind']> = Extract<Happening, { kind: Kind }>;
