// What a record gives back, and what one of another version means.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dimensions } from '../../src/core/attributes.ts';
import { understand } from '../../src/core/entry-record.ts';
import { underAnotherId } from '../../src/core/entry-rules.ts';
import type { Entry } from '../../src/core/invalidation.ts';
import { decodeOnce, decodeRecord, encodeOnce, encodeRecord, keys, lastPlaceIn } from '../../src/journal/records.ts';
import { entryOf } from './entries.ts';

const time = fc.integer({ min: 0, max: 4_000_000_000_000 });
const issuer = fc.option(fc.string(), { nil: undefined }).map((name) => (name === undefined ? {} : { issuer: name }));
const condition = fc.record({ dimension: fc.constantFrom(...dimensions), value: fc.string() });
const entries: fc.Arbitrary<Entry> = fc.record(
  {
    id: fc.string(),
    effect: fc.constantFrom('REVOKE' as const, 'REFRESH' as const),
    selector: fc.oneof(
      issuer.map((of) => ({ kind: 'everything' as const, ...of })),
      fc
        .tuple(issuer, fc.array(condition, { minLength: 1, maxLength: 4 }))
        .map(([of, conditions]) => ({ kind: 'fit' as const, ...of, conditions })),
    ),
    issuedBeforeMs: time,
    spreadMs: time,
    alsoRefreshes: fc.boolean(),
    learnedAtMs: time,
    forgetAtMs: fc.oneof(time, fc.constant(Number.POSITIVE_INFINITY)),
    keyId: fc.string(),
    origin: fc.record(
      { source: fc.string(), event: fc.string(), requestId: fc.string(), actor: fc.string(), reason: fc.string() },
      { requiredKeys: ['source'] },
    ),
  },
  { requiredKeys: ['id', 'effect', 'selector', 'alsoRefreshes', 'learnedAtMs', 'forgetAtMs', 'keyId', 'origin'] },
);

/** An entry as another version might have written it. */
const written = (changes: Record<string, unknown>): Readonly<Record<string, unknown>> => ({
  v: 1,
  ...entryOf({ id: 'e1', issuedBeforeMs: 7_000 }),
  ...changes,
});

describe('a record', () => {
  it('gives back any entry as it was, with its once key', () => {
    fc.assert(
      fc.property(entries, fc.option(fc.string(), { nil: undefined }), (entry, onceKey) => {
        expect(decodeRecord(encodeRecord(entry, onceKey))).toEqual({ entry, onceKey });
      }),
    );
  });

  it('means something to us whatever stands there, and never a REVOKE that it does not say', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(decodeRecord(text).entry).toMatchObject({ effect: 'REFRESH', selector: { kind: 'everything' } });
      }),
    );
  });
});

describe('an entry of another version (S3)', () => {
  const user = { dimension: 'user', value: 'u1' };
  const planet = { dimension: 'planet', value: 'mars' };

  it('with a condition unknown here is a REFRESH of those that are known', () => {
    const selector = { kind: 'fit', issuer: 'central', conditions: [user, planet] };
    expect(understand(written({ selector }))).toEqual({
      ...entryOf({ id: 'e1' }),
      effect: 'REFRESH',
      inPart: written({ selector }),
      selector: { kind: 'fit', issuer: 'central', conditions: [user] },
    });
  });

  it.each([
    ['no known condition', { kind: 'fit', issuer: 'central', conditions: [planet] }],
    ['no condition', { kind: 'fit', issuer: 'central', conditions: [] }],
    ['conditions that are no list', { kind: 'fit', issuer: 'central', conditions: 'all' }],
    ['an unknown kind', { kind: 'regex', issuer: 'central', pattern: '.*' }],
  ])('with %s is a REFRESH of everything of its issuer', (_what, selector) => {
    expect(understand(written({ selector }))).toMatchObject({ effect: 'REFRESH', selector: { kind: 'everything', issuer: 'central' } });
  });

  it.each([undefined, null, 7, { kind: 'fit', conditions: [planet] }])('with the selector %o is a REFRESH of everything', (selector) => {
    expect(understand(written({ selector })).selector).toEqual({ kind: 'everything' });
    expect(understand(written({ selector })).effect).toBe('REFRESH');
  });

  it('with an issuer that is no text is a REFRESH of its conditions', () => {
    const selector = { kind: 'fit', issuer: ['a', 'b'], conditions: [user] };
    expect(understand(written({ selector }))).toMatchObject({ effect: 'REFRESH', selector: { kind: 'fit', conditions: [user] } });
  });

  it.each(['WIDE', 'revoke', undefined, 3])('with the effect %o is a REFRESH of its selector', (effect) => {
    const inPart = written({ effect });
    expect(understand(inPart)).toEqual(entryOf({ id: 'e1', effect: 'REFRESH', inPart }));
  });

  it('with a cut-off that is no number is a REFRESH: it must not kill what was issued later', () => {
    const inPart = written({ issuedBeforeMs: { after: 5 } });
    expect(understand(inPart)).toEqual(entryOf({ id: 'e1', effect: 'REFRESH', inPart }));
  });

  it.each([null, '30s', -1, [30_000], { to: 5 }])(
    'with a spread of %o is a REFRESH of its selector that takes effect at once',
    (spreadMs) => {
      const inPart = written({ spreadMs });
      expect(understand(inPart)).toEqual(entryOf({ id: 'e1', effect: 'REFRESH', inPart }));
    },
  );

  it('that is understood keeps its effect, and refreshes too: there may be more to it', () => {
    const inPart = written({ v: 2, except: 'u2' });
    expect(understand(inPart)).toEqual(entryOf({ id: 'e1', issuedBeforeMs: 7_000, alsoRefreshes: true, inPart }));
  });

  it('with more conditions than any version writes is a REFRESH of the first four: each one more doubles what it costs', () => {
    const conditions = dimensions.slice(0, 5).map((dimension) => ({ dimension, value: 'x' }));
    const entry = understand(written({ selector: { kind: 'fit', issuer: 'central', conditions } }));
    const selector = { kind: 'fit', issuer: 'central', conditions: conditions.slice(0, 4) };
    expect(entry).toMatchObject({ effect: 'REFRESH', selector, inPart: expect.any(Object) });
  });

  it('is kept as it was written, so that a version which knows more reads what it says', () => {
    const selector = { kind: 'fit', issuer: 'central', conditions: [user, planet] };
    const theirs = written({ v: 2, effect: 'BANISH', selector, until: { dawn: true }, from: 'other' });
    const kept = understand(theirs);
    const text = encodeRecord({ ...kept, learnedAtMs: 5_000, forgetAtMs: Number.POSITIVE_INFINITY }, 'once');
    expect(JSON.parse(text)).toEqual({ ...theirs, learnedAtMs: 5_000, forgetAtMs: 'never', once: 'once' });
    // What this version knows means the same, however often it is kept.
    const { inPart, ...again } = decodeRecord(text).entry;
    expect(again).toEqual({ ...kept, inPart: undefined, learnedAtMs: 5_000, forgetAtMs: Number.POSITIVE_INFINITY });
  });

  it('is kept under the other id that it was given where another one has its own', () => {
    const other = underAnotherId(understand(written({ v: 2, effect: 'BANISH' })));
    expect(other.id).not.toBe('e1');
    expect(decodeRecord(encodeRecord(other, undefined)).entry).toMatchObject({
      id: other.id,
      effect: 'REFRESH',
      inPart: { effect: 'BANISH' },
    });
  });

  it('without a readable end is kept for ever', () => {
    expect(understand(written({ forgetAtMs: 'soon' })).forgetAtMs).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('a once record', () => {
  it('comes back as it was, and as nothing where it is damaged', () => {
    const once = { revision: 7, digest: 'd' };
    expect([decodeOnce(encodeOnce(once)), decodeOnce('{'), decodeOnce('{"revision":"7"}')]).toEqual([once, undefined, undefined]);
  });
});

describe('the keys', () => {
  it('sort as their revisions and ends do', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (one, other) => {
        expect(keys.entry(one) < keys.entry(other)).toBe(one < other);
        expect(lastPlaceIn(keys.entry(one))).toBe(one);
        const [end, nowMs] = [keys.end(one, entryRevision), keys.endsBefore(other)];
        expect(end < nowMs).toBe(one < other);
      }),
    );
    expect(keys.end(Number.POSITIVE_INFINITY, entryRevision) > keys.endsBefore(Number.MAX_SAFE_INTEGER)).toBe(true);
  });
});

const entryRevision = 1 as Parameters<typeof keys.end>[1];
