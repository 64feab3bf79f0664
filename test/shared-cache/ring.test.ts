// The ring: everybody agrees on it, it is about even, and a server more or less moves only what it must.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRing } from '../../src/shared-cache/ring.ts';

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `10.0.0.${n}:11211`);
const keys = Array.from({ length: 20_000 }, (_, n) => `key ${n}`);
const namesOf = (servers: readonly string[]): string[] =>
  keys.map(
    (
      (ring) => (key: string) =>
        servers[ring(key)] ?? ''
    )(createRing(servers)),
  );

describe('the ring', () => {
  it.each([2, 3, 4, 9])('adding one to %i servers moves about what the new one gets, and all of that to it', (count) => {
    const before = namesOf(names(count));
    const after = namesOf(names(count + 1));
    const moved = after.filter((name, at) => name !== before[at]);

    expect(moved.every((name) => name === names(count + 1).at(-1))).toBe(true);
    expect(moved.length / keys.length).toBeGreaterThan(0.5 / (count + 1));
    expect(moved.length / keys.length).toBeLessThan(1.5 / (count + 1));
  });

  it('losing a server moves its keys and no others', () => {
    const before = namesOf(names(4));
    const [, ...left] = names(4);
    const after = namesOf(left);

    expect(before.every((name, at) => name === names(4)[0] || name === after[at])).toBe(true);
  });

  it('the order in which servers are named means nothing', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.domain(), { minLength: 1, maxLength: 6 }), fc.string(), (servers, key) => {
        const turned = [...servers].reverse();
        return servers[createRing(servers)(key)] === turned[createRing(turned)(key)];
      }),
      { numRuns: 50 },
    );
  });

  it.each([1, 2, 3, 16])('each of %i servers keeps at least half and at most twice its share', (count) => {
    const shares = new Map<string, number>();
    for (const name of namesOf(names(count))) shares.set(name, (shares.get(name) ?? 0) + 1 / keys.length);

    expect(shares.size).toBe(count);
    expect(Math.min(...shares.values())).toBeGreaterThan(0.5 / count);
    expect(Math.max(...shares.values())).toBeLessThan(2 / count);
  });
});
