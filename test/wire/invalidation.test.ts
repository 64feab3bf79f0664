// Entries on the wire: W13 (who sees what) and W14 (what a client does not know).
import { describe, expect, it } from 'vitest';
import { type Entry, revision } from '../../src/core/invalidation.ts';
import { Invalidation as InvalidationMessage } from '../../src/gen/sidegate/v1/token_service.ts';
import { entryFromMessage, invalidationToMessage } from '../../src/wire/invalidation.ts';

const entry: Entry = {
  id: '1700000000-abc',
  effect: 'REVOKE',
  selector: { kind: 'fit', issuer: 'central', conditions: [{ dimension: 'user', value: 'alice' }] },
  issuedBeforeMs: 1_700_000_002_000,
  alsoRefreshes: false,
  learnedAtMs: 1_700_000_000_123,
  forgetAtMs: 1_700_086_400_000,
  keyId: 'k1',
  origin: { source: 'rpc', requestId: 'req-1', actor: 'ops', reason: 'left' },
};
const overTheWire = (message: InvalidationMessage) => InvalidationMessage.decode(InvalidationMessage.encode(message).finish());

describe('an entry on the wire', () => {
  it('W13: goes without selector and origin to those who did not ask or may not see', () => {
    const read = entryFromMessage(overTheWire(invalidationToMessage({ revision: revision(7), entry }, 'J', [1n, 2n ** 64n - 1n], false)));
    expect(read).toEqual({
      cursor: { journal: 'J', revision: 7 },
      effect: 'REVOKE',
      tags: [1n, 2n ** 64n - 1n],
      issuedBeforeMs: 1_700_000_002_000,
      learnedAtMs: 1_700_000_000_123,
      forgetAtMs: 1_700_086_400_000,
      entryId: '1700000000-abc',
    });
  });

  it('W13: goes with selector and origin to those who may', () => {
    const read = entryFromMessage(overTheWire(invalidationToMessage({ revision: revision(7), entry }, 'J', [], true)));
    expect(read).toMatchObject({
      selector: { issuer: 'central', userId: 'alice' },
      origin: { source: 'rpc', requestId: 'req-1', actor: 'ops', reason: 'left' },
    });
  });

  it('S7: tells over how long it is spread, where it is', () => {
    const spread = (spreadMs: number) => {
      const message = invalidationToMessage({ revision: revision(7), entry: { ...entry, spreadMs } }, 'J', [], false);
      return entryFromMessage(overTheWire(message));
    };
    expect([spread(30_000)?.spreadMs, spread(1500)?.spreadMs, spread(0)?.spreadMs]).toEqual([30_000, 1500, 0]);
  });

  it('that is never forgotten has no time of being forgotten', () => {
    const endless = { ...entry, forgetAtMs: Number.POSITIVE_INFINITY };
    const read = entryFromMessage(overTheWire(invalidationToMessage({ revision: revision(7), entry: endless }, 'J', [], false)));
    expect(read).not.toHaveProperty('forgetAtMs');
  });

  it.each([0, 9])('W14: with effect %i is read as one that we do not know', (effect) => {
    const message = invalidationToMessage({ revision: revision(7), entry }, 'J', [], false);
    expect(entryFromMessage(overTheWire({ ...message, effect } as InvalidationMessage))?.effect).toBe('UNKNOWN');
  });

  it('without a cursor has no place and is not read', () => {
    const { cursor: _, ...message } = invalidationToMessage({ revision: revision(7), entry }, 'J', [], false);
    expect(entryFromMessage(message)).toBeUndefined();
  });
});
