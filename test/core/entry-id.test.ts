// Names of entries (S14).

import { describe, expect, it } from 'vitest';
import { appendedAtMsOf, entryIdOf, freshRequestId, onceKeyOf } from '../../src/core/entry-id.ts';

describe('the id of an entry', () => {
  const name = { caller: 'a', requestId: 'r' };
  it('is the same for the same request, wherever it is made in that second', () =>
    expect(entryIdOf(name, 1_700_000_000_999)).toBe(entryIdOf(name, 1_700_000_000_000)));
  it('tells callers and requests apart, also where their joined text is the same', () => {
    expect(onceKeyOf({ caller: 'a', requestId: 'br' })).not.toBe(onceKeyOf({ caller: 'ab', requestId: 'r' }));
  });
  it('tells when it was appended', () => expect(appendedAtMsOf(entryIdOf(name, 1_700_000_000_999))).toBe(1_700_000_000_000));
  it('of another making tells nothing', () => {
    for (const id of ['', 'xyz', entryIdOf(name, 0).toUpperCase().replace('0', 'G'), `${entryIdOf(name, 0)}0`])
      expect(appendedAtMsOf(id)).toBeUndefined();
  });
  it('is fresh where a caller sends none', () => expect(freshRequestId()).not.toBe(freshRequestId()));
});
