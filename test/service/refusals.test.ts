// Remembered refusals: bounded in number and time, and not at all when everything is refused (S9).

import { describe, expect, it } from 'vitest';
import { Refusals } from '../../src/service/refusals.ts';

const refusal = { began: { revision: 1, monotonicMs: 0 }, formerly: undefined };
const create = (limits: Partial<ConstructorParameters<typeof Refusals>[0]> = {}) =>
  new Refusals({ enabled: true, timeMs: 5000, maxEntries: 100, ...limits });

describe('Refusals', () => {
  it.each([
    { atMs: 4999, found: true },
    { atMs: 5000, found: false },
    { atMs: 5001, found: false },
  ])('S9 a refusal of 5 s holds at $atMs ms: $found', ({ atMs, found }) => {
    const refusals = create();
    refusals.remember('d', 'central', refusal, 0);

    expect(refusals.find('d', 'central', atMs) !== undefined).toBe(found);
  });

  it('S9 a refusal is of one token at one issuer', () => {
    const refusals = create();
    refusals.remember('d', 'central', refusal, 0);

    expect(refusals.find('d', 'corp', 0)).toBeUndefined();
    expect(refusals.find('e', 'central', 0)).toBeUndefined();
    expect(refusals.find('d', 'central', 0)).toMatchObject(refusal);
  });

  it.each([99, 100, 101])('S9 of 100 places, %i refusals take no more than there are, and the newest stay', (count) => {
    const refusals = create();
    for (let n = 0; n < count; n += 1) refusals.remember(`d${n}`, 'central', refusal, 0);

    expect(refusals.size).toBe(Math.min(count, 100));
    expect(refusals.find(`d${count - 1}`, 'central', 0)).toBeDefined();
    expect(refusals.find('d0', 'central', 0) !== undefined).toBe(count <= 100);
  });

  it('switched off, nothing is remembered', () => {
    const refusals = create({ enabled: false });

    expect(refusals.remember('d', 'central', refusal, 0)).toBe(false);
    expect(refusals.size).toBe(0);
  });

  it('forget ends it', () => {
    const refusals = create();
    refusals.remember('d', 'central', refusal, 0);
    refusals.forget('d', 'central');

    expect(refusals.find('d', 'central', 0)).toBeUndefined();
  });

  it.each([
    { refused: 19, good: 0, mass: false },
    { refused: 20, good: 0, mass: true },
    { refused: 11, good: 9, mass: true },
    { refused: 10, good: 10, mass: false },
    { refused: 11, good: 11, mass: false },
    { refused: 12, good: 11, mass: true },
  ])('S9 $refused refused and $good good answers about active tokens are a mass refusal: $mass', ({ refused, good, mass }) => {
    const refusals = create();
    for (let n = 0; n < good; n += 1) refusals.witness(false, 0);
    for (let n = 0; n < refused; n += 1) refusals.witness(true, 0);

    expect(refusals.inMassRefusal(0)).toBe(mass);
    expect(refusals.remember('d', 'central', refusal, 0)).toBe(!mass);
  });

  it('S9 a mass refusal also ends the refusals that were remembered before it was noticed', () => {
    const refusals = create();
    refusals.remember('d', 'central', refusal, 0);
    for (let n = 0; n < 20; n += 1) refusals.witness(true, 0);

    expect(refusals.find('d', 'central', 0)).toBeUndefined();
  });

  it.each([
    { atMs: 9999, mass: true },
    { atMs: 10_000, mass: false },
  ])('S9 a mass refusal is judged over ten seconds: $atMs ms later it is one: $mass', ({ atMs, mass }) => {
    const refusals = create();
    for (let n = 0; n < 20; n += 1) refusals.witness(true, 0);

    expect(refusals.inMassRefusal(atMs)).toBe(mass);
  });
});
