// Who asks for a revocation or a refresh, and what comes of it.

import type { Cursor, Origin } from '../core/invalidation.ts';

/** Who asks, under which id, and why. */
export interface Asked {
  /** Whom a retry is told apart by, and whom the entry names. */
  readonly actor: string;
  /** The same for every call of this caller: what its retries are told apart by (S14). */
  readonly caller: string;
  /** Empty: a retry is a second entry. */
  readonly requestId: string;
  readonly reason: string;
}

/** Done: durable here, and applied. `entryId` is empty where there was nothing to kill (RFC 7009 §2.2). */
export interface Done {
  readonly asOf: Cursor;
  readonly entryId: string;
  readonly atMs: number;
  /** What the authority has said so far, where it is to be told. */
  readonly forwarding?: Forwarded;
}

/** What an authority has said of a revocation by the time of the reply; `pending`: nothing yet, it is told again. */
export type Forwarded = 'accepted' | 'pending' | 'rejected';

/** Whether the authority is told of a revocation too; `as-configured`: where its issuer says so. */
export type Forward = 'always' | 'never' | 'as-configured';

/** Who asked, as an entry tells it. */
export function originOf(asked: Asked): Origin {
  return {
    source: 'rpc',
    actor: asked.actor,
    ...(asked.requestId ? { requestId: asked.requestId } : {}),
    ...(asked.reason ? { reason: asked.reason } : {}),
  };
}
