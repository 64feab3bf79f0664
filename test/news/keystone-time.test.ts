// The times that Keystone writes.

import { expect, test } from 'vitest';
import { keystoneTime, secondOf } from '../../src/news/keystone-time.ts';

const second = Date.UTC(2026, 10, 21, 17, 20, 0);

test.each([
  ['the envelope of a notification', '2026-11-21 17:20:00.123456', second + 123],
  ['an envelope on the second', '2026-11-21 17:20:00', second],
  ['a CADF event', '2026-11-21T17:20:00.123456+0000', second + 123],
  ['a token and a revocation event', '2026-11-21T17:20:00.000000Z', second],
  ['the end of an event', '2026-11-21T17:20:00Z', second],
  ['a time without a zone', '2026-11-21T17:20:00', second],
])('%s is read: %s', (_what, text, atMs) => {
  expect(keystoneTime(text)).toBe(atMs);
});

test.each([
  ['2026-02-30T00:00:00Z'],
  ['2026-13-01T00:00:00Z'],
  ['2026-11-21T17:20:00 Z'],
  ['2026-11-21T19:20:00+02:00'],
  ['2026-11-21'],
  ['now'],
  [''],
  [`2026-11-21T17:20:00.${'1'.repeat(10)}Z`],
  [1_792_000_000],
  [null],
  [undefined],
])('%j is none', (text) => {
  expect(keystoneTime(text)).toBeUndefined();
});

test('the second of a moment is cut off, not rounded', () => {
  expect([secondOf(second + 999), secondOf(second)]).toEqual([second, second]);
});
