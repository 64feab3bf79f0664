// Entries for tests: what matters is named, the rest is the same everywhere.

import type { Entry } from '../../src/core/invalidation.ts';

/** When entries are learned of, unless a test says otherwise. */
export const learnedAtMs: number = Date.UTC(2026, 10, 21, 10, 0, 0);

/** A REVOKE of user u1 of `central`, live for an hour. */
export function entryOf(entry: Partial<Entry> & { readonly id: string }): Entry {
  return {
    effect: 'REVOKE',
    selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: 'u1' }] },
    alsoRefreshes: false,
    learnedAtMs,
    forgetAtMs: learnedAtMs + 3_600_000,
    keyId: 'k1',
    origin: { source: 'rpc', requestId: 'request', actor: 'admin', reason: 'left' },
    ...entry,
  };
}

/** The same as a REFRESH. */
export function refreshOf(entry: Partial<Entry> & { readonly id: string }): Entry {
  return entryOf({ effect: 'REFRESH', ...entry });
}
