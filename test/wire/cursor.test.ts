// W1: a cursor is kept and returned whole, and a malformed one is refused.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { revision } from '../../src/core/invalidation.ts';
import { cursorFromMessage, cursorToMessage, formatCursor, parseCursor } from '../../src/wire/cursor.ts';

const cursors = fc.record({
  journal: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
  revision: fc.maxSafeNat().map(revision),
});
const malformed = expect.objectContaining({ code: 'INVALID_ARGUMENT', reason: 'CURSOR_MALFORMED' });

describe('W1: a cursor', () => {
  it('comes back whole from the wire', () => {
    fc.assert(
      fc.property(cursors, (cursor) => {
        expect(cursorFromMessage(cursorToMessage(cursor))).toEqual(cursor);
      }),
    );
  });

  it('comes back whole from text', () => {
    fc.assert(
      fc.property(cursors, (cursor) => {
        expect(parseCursor(formatCursor(cursor))).toEqual(cursor);
      }),
    );
  });

  it('is absent where the message is', () => {
    expect(cursorFromMessage(undefined)).toBeUndefined();
  });

  it.each([
    ['', 1n],
    ['a b', 1n],
    ['a:b', 1n],
    ['é', 1n],
    ['x'.repeat(65), 1n],
    ['J', BigInt(Number.MAX_SAFE_INTEGER) + 1n],
    ['J', 2n ** 64n - 1n],
  ])('of journal %j at %s is refused', (journal, at) => {
    expect(() => cursorFromMessage({ journal, revision: at })).toThrow(malformed);
  });

  it.each(['', 'J', ':1', 'J:', 'J:-1', 'J:1.5', 'J:1e3', 'J: 1', 'J:1:2', 'J:9007199254740992', 'J:0x10', `${'x'.repeat(65)}:1`])(
    'written as %j is refused',
    (text) => {
      expect(() => parseCursor(text)).toThrow(malformed);
    },
  );
});
