// What a record of a fleet's log gives back, and what is not believed.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  digestOfRecord,
  type FleetRecord,
  openRecord,
  type Polled,
  type Presence,
  recordKeyOf,
  sealRecord,
} from '../../src/core/fleet-record.ts';
import type { DeploymentKey } from '../../src/core/tag.ts';

const keyOf = (letter: string): DeploymentKey => ({ id: letter, secret: Buffer.alloc(32, letter) });
const [ours, theirs] = [recordKeyOf(keyOf('a')), recordKeyOf(keyOf('b'))];

const entry = {
  id: '6745ab00deadbeef',
  effect: 'REVOKE' as const,
  selector: { kind: 'fit' as const, issuer: 'central', conditions: [{ dimension: 'user' as const, value: 'alice' }] },
  issuedBeforeMs: 1_700_000_000_000,
  alsoRefreshes: true,
  learnedAtMs: 1_700_000_000_123,
  forgetAtMs: Number.POSITIVE_INFINITY,
  keyId: 'a',
  from: 'journal-1',
  origin: { source: 'rpc', actor: 'socket', reason: 'found in a log' },
};
const presence: Presence = {
  journal: 'journal-1',
  name: 'nova-3',
  run: 'r1',
  turn: 7,
  atMs: 1_700_000_000_000,
  head: 42,
  isWhole: true,
  answers: ['x', 'y'],
  calls: ['z'],
  asks: 'q',
  isLeaving: true,
};
const polled: Polled = {
  journal: 'journal-1',
  issuer: 'central',
  source: 'poll',
  atMs: 1_700_000_000_000,
  tookMs: 31,
  sinceMs: 1_699_999_938_000,
  fromMs: 1_699_990_000_000,
  throughMs: 1_700_000_000_000,
  after: 4_711,
};
const records: readonly Exclude<FleetRecord, { kind: 'other' }>[] = [
  { kind: 'entry', entry },
  { kind: 'presence', presence },
  { kind: 'polled', polled },
  { kind: 'presence', presence, count: { run: 'r1', link: 1, nth: 7, sure: 5 } },
  { kind: 'entry', entry, count: { run: 'r1', link: 3, nth: 1, sure: 0, before: { link: 1, sure: 7 } } },
];

/** A record that a member of the deployment has written in another version. */
const signed = (said: unknown): Uint8Array => {
  const whole = sealRecord(ours, { kind: 'presence', presence: said as Presence });
  return whole;
};

describe('a record of the log (S14)', () => {
  it.each(records)('gives back what it says: $kind', (record) => {
    expect(openRecord([theirs, ours], sealRecord(ours, record))).toEqual(record);
  });

  it('is not believed where one bit of it is another', () => {
    const genuine = Buffer.from(sealRecord(ours, { kind: 'presence', presence }));
    for (let bit = 0; bit < genuine.length * 8; bit += 1) {
      const forged = Buffer.from(genuine);
      forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(['unauthenticated', 'unknown-key']).toContain(openRecord([ours, theirs], forged).kind);
      // Only its label may make it another key's.
      if (openRecord([ours, theirs], forged).kind === 'unknown-key') expect(bit >> 3).toBeLessThan(12);
    }
  });

  it('under a key that is not here tells which, and nothing else', () => {
    expect(openRecord([ours], sealRecord(theirs, { kind: 'presence', presence }))).toEqual({
      kind: 'unknown-key',
      label: theirs.label.toString('hex'),
    });
  });

  it('is nobody’s, whatever stands there, and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(['unauthenticated', 'unknown-key']).toContain(openRecord([ours], bytes).kind);
      }),
    );
  });

  it('of another version: what is not known is left out, and a kind that is not known is none of ours', () => {
    const plain = { journal: 'j', name: 5, run: 'r', turn: 'x', head: 1, isWhole: 'yes', answers: ['a', 3], mood: 'good' };
    // What a question was is told whole, or not at all: nothing of it may be guessed.
    for (const left of Object.keys(polled)) {
      const part = { ...polled, [left]: undefined };
      expect(openRecord([ours], sealRecord(ours, { kind: 'polled', polled: part as Polled }))).toEqual({ kind: 'other' });
    }
    expect(openRecord([ours], signed(plain))).toEqual({
      kind: 'presence',
      presence: { journal: 'j', name: '', run: 'r', turn: 0, atMs: 0, head: 1, isWhole: false, answers: ['a'], calls: [] },
    });
    expect(openRecord([ours], signed({ mood: 'good' }))).toEqual({ kind: 'other' });
    expect(openRecord([ours], sealRecord(ours, { kind: 'song' } as never))).toEqual({ kind: 'other' });
  });

  it('S3 an entry with a condition, an effect or a time that is not known here is a REFRESH of what is', () => {
    const of = (changes: object): unknown =>
      openRecord([ours], sealRecord(ours, { kind: 'entry', entry: { ...entry, ...changes } as never }));
    const planet = { dimension: 'planet', value: 'mars' };
    const common = { kind: 'entry', entry: { effect: 'REFRESH', inPart: expect.any(Object), id: entry.id, from: 'journal-1' } };
    expect(of({ effect: 'SHRINK' })).toMatchObject({ ...common, entry: { ...common.entry, selector: entry.selector } });
    expect(of({ selector: { ...entry.selector, conditions: [...entry.selector.conditions, planet] } })).toMatchObject({
      ...common,
      entry: { ...common.entry, selector: entry.selector },
    });
    expect(of({ selector: { ...entry.selector, conditions: [planet] } })).toMatchObject({
      ...common,
      entry: { ...common.entry, selector: { kind: 'everything', issuer: 'central' } },
    });
  });

  it('has a digest that no other has, also where it says the same', () => {
    const digests = [...records, ...records].map((record) => digestOfRecord(sealRecord(ours, record)));
    expect(new Set(digests).size).toBe(2 * records.length);
    expect(digests[0]).toMatch(/^[0-9a-f]{32}$/);
  });
});
