// What a near cache may keep and repeat where an answer rests on two tokens: the token asked about, and a service token beside it.
import { describe, expect, it } from 'vitest';
import { type ActiveAnswer, parseCursor, type Token, type WatchFilter } from '../../src/client/index.ts';
import { Keeper } from '../../src/client/keeper.ts';

const cursor = parseCursor('J:5');
const token = (issuer: string, userId: string): Token => ({
  issuer,
  format: 'opaque',
  user: { id: userId },
  scope: { kind: 'unscoped' },
  roles: [],
  methods: [],
  auditIds: [],
  audiences: [],
  scopes: [],
  isAdminProject: false,
});
const answer = (service?: Token): ActiveAnswer => ({
  active: true,
  fingerprint: 'f',
  token: token('central', 'alice'),
  ...(service === undefined ? {} : { service }),
  provenance: 'memory',
  degraded: false,
  degradedBy: [],
  asOf: cursor,
  maxAgeMs: 60_000,
  // Of both tokens, in one list.
  tags: [1n, 2n, 30n],
});

/** A keeper whose stream proves, at 0. */
function proven(filter?: WatchFilter, degradedIssuers: readonly string[] = []): Keeper {
  const keeper = new Keeper(100, filter);
  keeper.subscribing(0);
  keeper.apply(
    { kind: 'opened', latest: cursor, checkpointIntervalMs: 60_000, proofLifetimeMs: 60_000, sidecar: 's', subscription: 's' },
    0,
  );
  keeper.apply({ kind: 'checkpoint', cursor, serverTimeMs: 0, provenThroughMs: 0, degraded: false, degradedIssuers, sources: [] }, 0);
  return keeper;
}

describe('an answer that rests on a service token too', () => {
  it('is kept, and dropped by what concerns the service token alone', () => {
    const keeper = proven();
    expect(keeper.keep('k', answer(token('other', 'glance')), keeper.asked(0))).toBe(true);
    expect(keeper.hit('k', 1)).toBeDefined();
    keeper.apply({ kind: 'invalidation', cursor: parseCursor('J:6'), effect: 'REVOKE', tags: [30n], entryId: 'e' }, 1);
    expect(keeper.hit('k', 1)).toBeUndefined();
  });

  it.each<[string, WatchFilter, boolean, boolean]>([
    ['the user of both', { userIds: ['alice', 'glance'] }, true, true],
    ['the user of the first alone', { userIds: ['alice'] }, true, false],
    ['the issuer of the first alone', { issuers: ['central'] }, true, false],
    ['the issuers of both', { issuers: ['central', 'other'] }, true, true],
    ['the user of the second alone', { userIds: ['glance'] }, false, false],
  ])('is kept only where the filter lets through what concerns either: %s', (_, filter, alone, both) => {
    const keeper = proven(filter);
    expect(keeper.keep('a', answer(), keeper.asked(0))).toBe(alone);
    expect(keeper.keep('b', answer(token('other', 'glance')), keeper.asked(0))).toBe(both);
  });

  it.each([
    ['central', false, false],
    ['other', true, false],
    ['third', true, true],
  ])('is not repeated while %s, an issuer of either, is degraded', (issuer, alone, both) => {
    const keeper = proven(undefined, [issuer]);
    keeper.keep('a', answer(), keeper.asked(0));
    keeper.keep('b', answer(token('other', 'glance')), keeper.asked(0));
    expect([keeper.hit('a', 1) !== undefined, keeper.hit('b', 1) !== undefined]).toEqual([alone, both]);
  });
});
