// The breaker: when it opens, whom it lets through, and what closes it.

import { describe, expect, it } from 'vitest';
import { createBreaker } from '../../src/shared-cache/breaker.ts';

const limits = { failures: 3, retryAfterMs: 100 };

function opened(): ReturnType<typeof createBreaker> {
  const breaker = createBreaker(limits);
  for (let n = 0; n < limits.failures; n++) breaker.failed(0);
  return breaker;
}

describe('the breaker', () => {
  it('opens with the last of so many failures in a row, and says so once', () => {
    const breaker = createBreaker(limits);

    expect([breaker.failed(0), breaker.failed(0)]).toEqual([false, false]);
    expect([breaker.isOpen(), breaker.admits(0)]).toEqual([false, true]);
    expect([breaker.failed(0), breaker.failed(0)]).toEqual([true, false]);
    expect([breaker.isOpen(), breaker.admits(0)]).toEqual([true, false]);
  });

  it('a good answer in between starts the count again', () => {
    const breaker = createBreaker(limits);
    for (let n = 0; n < 10; n++) {
      breaker.failed(0);
      breaker.failed(0);
      expect(breaker.succeeded()).toBe(false);
    }

    expect(breaker.isOpen()).toBe(false);
  });

  it('opens at the first failure where one is enough', () => {
    const breaker = createBreaker({ failures: 1, retryAfterMs: 100 });

    expect([breaker.failed(0), breaker.isOpen()]).toEqual([true, true]);
  });

  it.each([
    { atMs: 99, admitted: false },
    { atMs: 100, admitted: true },
    { atMs: 101, admitted: true },
  ])('$atMs ms after it opened for 100 ms a probe goes through: $admitted', ({ atMs, admitted }) => {
    expect(opened().admits(atMs)).toBe(admitted);
  });

  it('of many that ask after the pause one goes through', () => {
    const breaker = opened();

    expect(Array.from({ length: 5 }, () => breaker.admits(500))).toEqual([true, false, false, false, false]);
    expect(breaker.isOpen()).toBe(true);
  });

  it('a probe that is answered closes it, and says so once', () => {
    const breaker = opened();
    breaker.admits(100);

    expect([breaker.succeeded(), breaker.succeeded()]).toEqual([true, false]);
    expect(Array.from({ length: 3 }, () => breaker.admits(101))).toEqual([true, true, true]);
    expect([breaker.failed(101), breaker.failed(101)]).toEqual([false, false]);
  });

  it('a probe that fails opens it for as long again', () => {
    const breaker = opened();
    breaker.admits(100);

    expect(breaker.failed(120)).toBe(false);
    expect([breaker.admits(219), breaker.admits(220)]).toEqual([false, true]);
  });

  it('a probe that shows nothing lets the next one through; whoever was no probe changes nothing', () => {
    const breaker = opened();
    breaker.undecided(50);
    expect(breaker.admits(99)).toBe(false);
    breaker.admits(100);
    breaker.undecided(110);

    expect([breaker.admits(110), breaker.admits(110)]).toEqual([true, false]);
  });

  it('a fault after a probe that showed nothing opens it for as long again', () => {
    const breaker = opened();
    breaker.admits(100);
    breaker.undecided(110);
    breaker.failed(115);

    expect([breaker.admits(214), breaker.admits(215)]).toEqual([false, true]);
  });
});
